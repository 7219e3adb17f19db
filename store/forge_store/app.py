"""ClickHouse's HTTP interface as an ASGI application.

Definitions: ClickHouse's documentation, "HTTP interface" (parameters, headers, sessions, response codes).
"""

import asyncio
import base64
import binascii
import contextlib
import fcntl
import logging
import os
import random
import string
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from forge_store.body import Body, ClientGoneError, Text
from forge_store.engine import Engine, Summary
from forge_store.errors import StoreError, http_status
from forge_store.guard import Guard
from forge_store.query import Query, Result, read_statement, run
from forge_store.sessions import DEFAULT_TIMEOUT, Session, Sessions
from forge_store.sql import split_insert
from forge_store.users import User, Users

logger = logging.getLogger(__name__)

FIRST = 256 << 10
HEAD = 64 << 10
MAX_STATEMENT = 64 << 20
PIPE = 1 << 20
# The cheapest first: the engine compresses, and its peers are near.
ENCODINGS = ("lz4", "zstd", "gzip", "deflate", "br", "xz")
NOT_SETTINGS = frozenset(
    """query database default_format query_id session_id session_timeout session_check user password quota_key compress
    decompress wait_end_of_query buffer_size client_protocol_version enable_http_compression stacktrace
    http_zlib_compression_level add_http_cors_header send_progress_in_http_headers http_headers_progress_interval_ms
    cancel_http_readonly_queries_on_client_close http_write_exception_in_output_format http_response_buffer_size
    promql_table""".split()
)


class CutOffError(Exception):
    """A response that began well and failed: raised to the server so that it breaks the connection."""


@dataclass(frozen=True)
class Limits:
    """How many statements run at once, and how many may be here at all (the others wait, in order)."""

    running: int = 8
    concurrent: int = 100


class Store:
    """The application."""

    def __init__(self, engine: Engine, users: Users, spool: Path, limits: Limits) -> None:
        self._engine = engine
        self._users = users
        self._spool = spool
        self._limits = limits
        self._guard = Guard(engine.sources())
        self._sessions = Sessions()
        self._threads = ThreadPoolExecutor(limits.running, thread_name_prefix="query")
        self._control = ThreadPoolExecutor(2, thread_name_prefix="control")
        self._running: dict[str, Query] = {}
        self._served = {"ok": 0, "failed": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        exchange = Exchange(scope, receive, send, self._engine)
        path = scope["path"]
        if path in ("/ping", "/replicas_status"):
            await exchange.plain(200, "Ok.\n")
        elif path == "/metrics":
            await exchange.plain(200, self._metrics())
        elif path not in ("/", "/query"):
            await exchange.plain(404, f"There is no handle {path}\n\nUse / or /ping for health checks.\n")
        elif scope["method"] not in ("GET", "POST", "HEAD"):
            await exchange.plain(501, f"{scope['method']}: GET or POST is wanted\n")
        else:
            await self._query(exchange)

    async def _query(self, exchange: "Exchange") -> None:
        body = None
        try:
            user = self._authenticate(exchange)
            body = Body(self._spool, exchange.headers.get("content-encoding", "").strip().lower())
            await body.receive(exchange.receive)
            if not exchange.params.get("query") and not body.size:
                await exchange.plain(200, "Ok.\n")
                return
            query = await asyncio.to_thread(read_request, exchange, user, body)
            await self._execute(exchange, query)
            self._served["ok"] += 1
        except ClientGoneError:
            self._served["failed"] += 1
        except StoreError as error:
            self._served["failed"] += 1
            await exchange.fail(error)
        finally:
            if body:
                body.close()

    def _authenticate(self, exchange: "Exchange") -> User:
        self._users.load_if_changed()
        name, password = exchange.credentials()
        return self._users.authenticate(name, password, exchange.address)

    async def _execute(self, exchange: "Exchange", query: Query) -> None:
        form = read_statement(query, self._guard)
        if query.id in self._running:
            raise StoreError(
                216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", f"Query with id = {query.id} is already running."
            )
        if len(self._running) >= self._limits.concurrent:
            raise StoreError(
                202,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                f"Too many simultaneous queries. Maximum: {self._limits.concurrent}. Try again later.",
            )
        session = self._session(exchange, query)
        self._running[query.id] = query
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            # Larger pipes save switches between threads; the system grants only so many.
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
        try:
            os.set_blocking(reading, False)
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._threads, run, query, self._engine, session, writing, self._running)
            gone = asyncio.create_task(exchange.until_gone())
            cancel = asyncio.create_task(self._cancel_when(gone, query, work))
            try:
                await exchange.answer(query, form, _chunks(reading), work)
            except BaseException:
                await self._cancel(query, work)
                raise
            finally:
                gone.cancel()
                await cancel
        finally:
            os.close(reading)
            del self._running[query.id]
            if session:
                self._sessions.give_back(session)

    def _session(self, exchange: "Exchange", query: Query) -> Session | None:
        name = exchange.params.get("session_id")
        if not name:
            return None
        try:
            timeout = float(exchange.params.get("session_timeout", DEFAULT_TIMEOUT))
        except ValueError:
            timeout = 0
        check = exchange.params.get("session_check") == "1"
        return self._sessions.take(query.user.name, name, timeout, must_exist=check)

    async def _cancel_when(self, gone: "asyncio.Task[None]", query: Query, work: "asyncio.Future[Result]") -> None:
        """Stops a reading statement whose client went away; one that writes goes on to its end."""
        await asyncio.wait([gone])
        if not gone.cancelled() and (query.is_read or query.reads_only):
            await self._cancel(query, work)

    async def _cancel(self, query: Query, work: "asyncio.Future[Result]") -> None:
        query.cancelled = True
        work.cancel()
        while not work.done():
            if query.tag:
                await asyncio.get_running_loop().run_in_executor(self._control, self._engine.kill, query.tag)
            await asyncio.wait([work], timeout=0.1)

    def _metrics(self) -> str:
        return (
            "# TYPE forge_store_queries_total counter\n"
            + "".join(
                f'forge_store_queries_total{{outcome="{name}"}} {count}\n' for name, count in self._served.items()
            )
            + f"# TYPE forge_store_queries_running gauge\nforge_store_queries_running {len(self._running)}\n"
            + f"# TYPE forge_store_sessions gauge\nforge_store_sessions {len(self._sessions)}\n"
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for query in self._running.values():
            query.cancelled = True
            if query.tag:
                self._engine.kill(query.tag)
        self._threads.shutdown()
        self._control.shutdown()
        self._sessions.close()
        self._engine.close()
        await send({"type": "lifespan.shutdown.complete"})


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, engine: Engine) -> None:
        self.headers = Headers(scope=scope)
        self.params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.method = scope["method"]
        self.address = scope["client"][0] if scope.get("client") else None
        self.receive = receive
        self._send = send
        self._engine = engine
        self._started = time.monotonic()
        self._id = self.params.get("query_id") or str(uuid.uuid4())
        self._tag = "".join(random.choices(string.ascii_lowercase, k=16))  # noqa: S311

    @property
    def id(self) -> str:
        """The query's id."""
        return self._id

    def credentials(self) -> tuple[str, str]:
        """User and password: of the headers X-ClickHouse-*, of Basic, of the URL; `default` without a password else."""
        if "x-clickhouse-user" in self.headers or "x-clickhouse-key" in self.headers:
            return self.headers.get("x-clickhouse-user", "default"), self.headers.get("x-clickhouse-key", "")
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise StoreError(
                    516, "AUTHENTICATION_FAILED", "The Authorization header is not Basic user:password"
                ) from None
            return user or "default", password
        return self.params.get("user") or "default", self.params.get("password", "")

    def compression(self) -> str:
        """The encoding of the response that the client takes and the engine makes most cheaply."""
        if self.params.get("enable_http_compression", "0") not in ("1", "true"):
            return "none"
        accepted = {
            part.partition(";")[0].strip().lower() for part in self.headers.get("accept-encoding", "").split(",")
        }
        return next((name for name in ENCODINGS if name in accepted), "none")

    async def until_gone(self) -> None:
        """Returns when the client has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def plain(self, status: int, text: str) -> None:
        """A whole response of text."""
        await self._start(status, {"Content-Type": "text/plain; charset=UTF-8"})
        await self._send({"type": "http.response.body", "body": text.encode()})

    async def fail(self, error: StoreError) -> None:
        """An error before the response began."""
        text = self._error_text(error)
        logger.debug("query failed", extra=self._facts(status=http_status(error.code), code=error.code))
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Query-Id": self._id,
        }
        if error.code == 202:
            headers["Retry-After"] = "1"
        if error.code == 194:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        await self._start(http_status(error.code), headers)
        await self._send({"type": "http.response.body", "body": text})

    async def answer(
        self, query: Query, form: str, chunks: AsyncIterator[bytes], work: "asyncio.Future[Result]"
    ) -> None:
        """Sends a result as it comes. A StoreError is raised only while nothing was sent."""
        whole = self.params.get("wait_end_of_query") in ("1", "true")
        kept, size, ended = [], 0, True
        async for chunk in chunks:
            kept.append(chunk)
            size += len(chunk)
            if size >= FIRST and not whole:
                ended = False
                break
        result = await work if ended else None
        headers = {
            "Content-Type": self._engine.content_types.get(form, "text/plain; charset=UTF-8"),
            "X-ClickHouse-Format": form,
            "X-ClickHouse-Query-Id": self._id,
            "X-ClickHouse-Summary": (result.summary if result else Summary()).header(),
            "X-ClickHouse-Exception-Tag": self._tag,
        }
        if kept and query.compression != "none":
            headers["Content-Encoding"] = query.compression
        if result:
            kept = kept or [result.content]
            headers["Content-Length"] = str(sum(map(len, kept)))
        await self._start(200, headers)
        for chunk in kept:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not ended:
            async for chunk in chunks:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            try:
                await work
            except StoreError as error:
                await self._cut_off(error, query)
        await self._send({"type": "http.response.body", "body": b""})
        logger.debug("query", extra=self._facts(status=200, size=size))

    async def _cut_off(self, error: StoreError, query: Query) -> None:
        """An error after the beginning: the marker ClickHouse's clients look for, then a broken connection."""
        logger.debug("query failed half-way", extra=self._facts(status=200, code=error.code))
        text = self._error_text(error).rstrip()
        marker = f"\r\n__exception__\r\n{self._tag}\r\n".encode() + text
        marker += f"\n{len(text) + 1} {self._tag}\r\n__exception__\r\n".encode()
        if query.compression == "none":
            await self._send({"type": "http.response.body", "body": marker, "more_body": True})
        raise CutOffError

    def _error_text(self, error: StoreError) -> bytes:
        text = error.text if "(version " in error.text else f"{error.text} (version {self._engine.version})"
        return f"{text}\n".encode("utf-8", "replace")

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        headers |= {
            "X-ClickHouse-Server-Display-Name": "forge-store",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        listed = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    def _facts(self, **facts: object) -> dict[str, object]:
        return {"query_id": self._id, "seconds": round(time.monotonic() - self._started, 6), **facts}


def read_request(exchange: Exchange, user: User, body: Body) -> Query:
    """The statement of a request, its data and its parameters."""
    params = exchange.params
    for name in ("compress", "decompress"):
        if params.get(name, "0") not in ("0", "false"):
            raise StoreError(
                48,
                "NOT_IMPLEMENTED",
                f"{name}=1 (blocks of the native protocol): use Content-Encoding and Accept-Encoding",
            )
    query = Query(
        id=exchange.id,
        user=user,
        text="",
        default_format=params.get("default_format") or exchange.headers.get("x-clickhouse-format", "TabSeparated"),
        database=params.get("database") or exchange.headers.get("x-clickhouse-database"),
        settings={
            name: value for name, value in params.items() if name not in NOT_SETTINGS and not name.startswith("param_")
        },
        params={name[6:]: value for name, value in params.items() if name.startswith("param_")},
        compression=exchange.compression(),
        reads_only=exchange.method != "POST",
    )
    if not query.default_format.isalnum():
        raise StoreError(73, "UNKNOWN_FORMAT", f"Unknown format {query.default_format}")
    _find_statement(query, params.get("query", ""), body)
    return query


def _find_statement(query: Query, text: str, body: Body) -> None:
    content = Text(body.pieces())
    if text.strip():
        query.insert = split_insert(text, complete=True)
        if query.insert:
            query.data = _joined(text[query.insert.data_at :].encode(), content)
            return
        query.text = text + "\n" + _decoded(content.take(MAX_STATEMENT)) if body.size else text
        return
    head = content.take(HEAD)
    # A head cut in the middle of a letter ends before it.
    query.insert = split_insert(head.decode("utf-8", "ignore"), complete=content.complete)
    if not query.insert:
        head = content.take(MAX_STATEMENT)
        query.text = _decoded(head)
        query.insert = split_insert(query.text, complete=True)
        if not content.complete:
            raise StoreError(229, "QUERY_IS_TOO_LARGE", f"A statement may have {MAX_STATEMENT} bytes")
    if query.insert:
        at = len(head.decode("utf-8", "ignore")[: query.insert.data_at].encode())
        query.data = content.after(at)


def _joined(first: bytes, content: Text) -> Iterator[bytes]:
    if first.strip(b"; \t\r\n"):
        yield first
    yield from content.after(0)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")


async def _chunks(pipe: int) -> AsyncIterator[bytes]:
    """What comes through a pipe until its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            chunk = os.read(pipe, FIRST)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(pipe, lambda: ready.done() or ready.set_result(None))
            try:
                await ready
            finally:
                loop.remove_reader(pipe)
            continue
        if not chunk:
            return
        yield chunk
