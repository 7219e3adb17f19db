"""ClickHouse's HTTP interface as an ASGI application.

Definitions: ClickHouse's documentation, "HTTP interface" (parameters, headers, sessions, response codes).
"""

import asyncio
import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Receive, Scope, Send

from forge_store.body import Body, ClientGoneError
from forge_store.engine import Engine
from forge_store.errors import StoreError
from forge_store.exchange import Exchange
from forge_store.guard import Guard
from forge_store.query import Query, Result, check, run
from forge_store.request import read_request
from forge_store.sessions import DEFAULT_TIMEOUT, Session, Sessions
from forge_store.users import Users

PIPE = 1 << 20
READ = 256 << 10
# A small body is read in the event loop, a larger one in a thread.
SMALL_BODY = 64 << 10


@dataclass(frozen=True)
class Limits:
    """How many statements run at once, and how many may be here at all (the others wait, in order)."""

    running: int = 16
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
        self._outcomes: Counter[str] = Counter(answered=0, failed=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        exchange = Exchange(scope, receive, send, self._engine, self._spool)
        path = scope["path"]
        if path in ("/ping", "/replicas_status"):
            await exchange.plain(200, "Ok.\n")
        elif path == "/metrics":
            await exchange.plain(200, self._metrics())
        elif path != "/":
            await exchange.plain(404, f"There is no handle {path}\n\nUse / or /ping for health checks.\n")
        elif exchange.method not in ("GET", "POST", "HEAD"):
            await exchange.plain(501, f"{exchange.method}: GET or POST is wanted\n")
        else:
            await self._serve(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        outcome, body = "failed", None
        try:
            self._users.load_if_changed()
            user = self._users.authenticate(*exchange.credentials(), exchange.address)
            body = Body(self._spool, exchange.headers.get("content-encoding", "").strip().lower())
            await body.receive(exchange.receive)
            if not exchange.params.get("query") and not body.size:
                await exchange.plain(200, "Ok.\n")
                return
            if body.size < SMALL_BODY:
                query = read_request(exchange, user, body)
                check(query, self._guard)
            else:
                query = await asyncio.to_thread(read_request, exchange, user, body)
                await asyncio.to_thread(check, query, self._guard)
            await self._execute(exchange, query)
            outcome = "answered"
        except ClientGoneError:
            pass
        except StoreError as error:
            await exchange.fail(error)
        finally:
            self._outcomes[outcome] += 1
            if body:
                body.close()

    async def _execute(self, exchange: Exchange, query: Query) -> None:
        reading, writing = _pipe()
        try:
            self._admit(query)
            session = self._session(exchange, query)
        except StoreError:
            os.close(reading)
            os.close(writing)
            raise
        self._running[query.id] = query
        work = asyncio.create_task(self._work(query, session, writing))
        gone = asyncio.create_task(exchange.until_gone())
        watch = asyncio.create_task(self._stop_when_gone(gone, query, work))
        try:
            await exchange.answer(query, _chunks(reading), asyncio.shield(work))
        finally:
            gone.cancel()
            await self._stop(query, work)
            await watch
            os.close(reading)

    async def _work(self, query: Query, session: Session | None, pipe: int) -> Result:
        """The statement in a thread. Id and session are free again before the client can see its end."""
        job = asyncio.get_running_loop().run_in_executor(
            self._threads, run, query, self._engine, session, pipe, self._running
        )
        try:
            return await job
        finally:
            del self._running[query.id]
            if session:
                self._sessions.give_back(session)

    def _admit(self, query: Query) -> None:
        if query.id in self._running:
            text = f"Query with id = {query.id} is already running."
            raise StoreError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", text)
        if len(self._running) >= self._limits.concurrent:
            text = f"Too many simultaneous queries. Maximum: {self._limits.concurrent}. Try again later."
            raise StoreError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", text)

    def _session(self, exchange: Exchange, query: Query) -> Session | None:
        self._sessions.expire()
        name = exchange.params.get("session_id")
        if not name:
            return None
        try:
            timeout = float(exchange.params.get("session_timeout", DEFAULT_TIMEOUT))
        except ValueError:
            timeout = 0
        return self._sessions.take(query.user, name, timeout, must_exist=exchange.says("session_check"))

    async def _stop_when_gone(self, gone: "asyncio.Task[None]", query: Query, work: "asyncio.Task[Result]") -> None:
        """Stops a reading statement whose client went away; one that writes goes on to its end."""
        await asyncio.wait([gone])
        if gone.cancelled():
            return
        query.abandoned = True  # before the question below: what still waits for its turn asks the other way round
        if query.is_read or query.reads_only:
            await self._stop(query, work)

    async def _stop(self, query: Query, work: "asyncio.Task[Result]") -> None:
        """Returns when a statement has ended, and stops it if it still runs."""
        while not work.done():
            query.cancelled = True
            if query.tag:
                await asyncio.get_running_loop().run_in_executor(self._control, self._engine.kill, query.tag)
            await asyncio.wait([work], timeout=0.1)
        work.exception()

    def _metrics(self) -> str:
        lines = ["# TYPE forge_store_queries_total counter"]
        lines += [f'forge_store_queries_total{{outcome="{name}"}} {count}' for name, count in self._outcomes.items()]
        lines += ["# TYPE forge_store_queries_running gauge", f"forge_store_queries_running {len(self._running)}"]
        lines += ["# TYPE forge_store_sessions gauge", f"forge_store_sessions {len(self._sessions)}"]
        return "\n".join(lines) + "\n"

    async def _live(self, receive: Receive, send: Send) -> None:
        """The end of the server: what still runs is stopped, then the engine is closed."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for query in list(self._running.values()):
            query.cancelled = True
            if query.tag:
                self._engine.kill(query.tag)
        await asyncio.to_thread(self._threads.shutdown)
        self._control.shutdown()
        self._sessions.close()
        self._engine.close()
        await send({"type": "lifespan.shutdown.complete"})


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    with contextlib.suppress(OSError):
        # A larger pipe saves switches between threads; the system grants only so many.
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    return reading, writing


async def _chunks(pipe: int) -> AsyncIterator[bytes]:
    """What comes through a pipe until its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            chunk = os.read(pipe, READ)
        except BlockingIOError:
            ready = asyncio.Event()
            loop.add_reader(pipe, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(pipe)
            continue
        if not chunk:
            return
        yield chunk
