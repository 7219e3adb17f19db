"""One HTTP request and its response, in ClickHouse's terms: credentials, parameters, headers, errors."""

import asyncio
import base64
import binascii
import logging
import random
import string
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from forge_store.engine import Engine, Summary
from forge_store.errors import StoreError, http_status
from forge_store.query import Query, Result

logger = logging.getLogger(__name__)

# A result smaller than this is whole before its status is sent, so that its error has a status.
FIRST = 256 << 10
# The cheapest first: the engine compresses, and its peers are near.
ENCODINGS = ("lz4", "zstd", "gzip", "deflate", "br", "xz")


class CutOffError(Exception):
    """A response that began well and failed: raised to the server so that it breaks the connection."""


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, engine: Engine, spool: Path) -> None:
        self.headers = Headers(scope=scope)
        self.params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.method: str = scope["method"]
        self.address: str | None = scope["client"][0] if scope.get("client") else None
        self.receive = receive
        self.id = self.params.get("query_id") or str(uuid.uuid4())
        self._send = send
        self._engine = engine
        self._spool = spool
        self._began = time.monotonic()
        self._exception_tag = "".join(random.choices(string.ascii_lowercase, k=16))  # noqa: S311

    def says(self, name: str) -> bool:
        """Whether a parameter is true."""
        return self.params.get(name, "0").lower() in ("1", "true")

    def credentials(self) -> tuple[str, str]:
        """User and password: of the headers X-ClickHouse-*, of Basic, of the URL; else `default` without a password."""
        if "x-clickhouse-user" in self.headers or "x-clickhouse-key" in self.headers:
            return self.headers.get("x-clickhouse-user", "default"), self.headers.get("x-clickhouse-key", "")
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise StoreError(516, "AUTHENTICATION_FAILED", "Authorization is not Basic user:password") from None
            return user or "default", password
        return self.params.get("user") or "default", self.params.get("password", "")

    def compression(self) -> str:
        """The encoding of the response that the client takes and the engine makes most cheaply."""
        if not self.says("enable_http_compression"):
            return "none"
        offered = self.headers.get("accept-encoding", "").split(",")
        accepted = {part.partition(";")[0].strip().lower() for part in offered if not part.endswith("q=0")}
        return next((name for name in ENCODINGS if name in accepted), "none")

    async def until_gone(self) -> None:
        """Returns when the client has closed the connection. Only after the body was received."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def plain(self, status: int, text: str) -> None:
        """A whole response of text."""
        await self._respond(status, {"Content-Type": "text/plain; charset=UTF-8"}, text.encode())

    async def fail(self, error: StoreError) -> None:
        """An error before the response began."""
        status = http_status(error.code)
        logger.debug("failed", extra=self._facts(status=status, code=error.code))
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Query-Id": self.id,
        }
        if status == 503:
            headers["Retry-After"] = "1"
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        await self._respond(status, headers, self._text_of(error))

    async def answer(self, query: Query, chunks: AsyncIterator[bytes], work: "asyncio.Future[Result]") -> None:
        """Sends a result as it comes. Raises StoreError only while nothing was sent, CutOffError after."""
        with tempfile.SpooledTemporaryFile(max_size=FIRST * 2, dir=str(self._spool)) as kept:
            ended = True
            async for chunk in chunks:
                kept.write(chunk)
                if kept.tell() >= FIRST and not self.says("wait_end_of_query"):
                    ended = False
                    break
            result = await work if ended else None
            size = kept.tell()
            headers = {
                "Content-Type": self._engine.content_types.get(query.format, "text/plain; charset=UTF-8"),
                "X-ClickHouse-Format": query.format,
                "X-ClickHouse-Query-Id": self.id,
                "X-ClickHouse-Exception-Tag": self._exception_tag,
                "X-ClickHouse-Summary": (result.summary if result else Summary()).header(),
            }
            if size and query.compression != "none":
                headers["Content-Encoding"] = query.compression
            if result and size <= FIRST * 2:
                kept.seek(0)
                await self._respond(200, headers, kept.read() or result.content)
                return
            await self._start(200, headers)
            kept.seek(0)
            while chunk := kept.read(FIRST):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not ended:
            async for chunk in chunks:
                size += len(chunk)
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            try:
                await work
            except StoreError as error:
                await self._cut_off(error, query)
        await self._send({"type": "http.response.body", "body": b""})
        logger.debug("answered", extra=self._facts(status=200, size=size))

    async def _cut_off(self, error: StoreError, query: Query) -> None:
        """An error after the beginning: the marker ClickHouse's clients look for, then a broken connection."""
        logger.debug("failed half-way", extra=self._facts(status=200, code=error.code))
        if query.compression == "none":
            text = self._text_of(error).rstrip()
            marker = f"\r\n__exception__\r\n{self._exception_tag}\r\n".encode() + text
            marker += f"\n{len(text) + 1} {self._exception_tag}\r\n__exception__\r\n".encode()
            await self._send({"type": "http.response.body", "body": marker, "more_body": True})
        raise CutOffError

    def _text_of(self, error: StoreError) -> bytes:
        text = error.text if "(version " in error.text else f"{error.text} (version {self._engine.version})"
        return f"{text}\n".encode("utf-8", "replace")

    async def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
        await self._start(status, headers | {"Content-Length": str(len(content))})
        await self._send({"type": "http.response.body", "body": content})
        logger.debug("answered", extra=self._facts(status=status, size=len(content)))

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        headers = headers | {
            "X-ClickHouse-Server-Display-Name": self._engine.display_name,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        listed = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    def _facts(self, **facts: object) -> dict[str, object]:
        return {"query_id": self.id, "seconds": round(time.monotonic() - self._began, 6), **facts}
