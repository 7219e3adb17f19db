"""The API server as a bare asynchronous client sees it, and watches that tell when a thing was seen."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from forge_operator.names import Kind, Manifest

LINE = 1 << 24
"""Bytes of the longest event of a watch."""
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Client:
    """Requests as the user of a kubeconfig with a token. Raises RuntimeError with what the API server refused."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    @classmethod
    @asynccontextmanager
    async def connect(cls, kubeconfig: str) -> AsyncIterator[Client]:
        """A client with as many connections as it needs; the kubeconfig is text in JSON."""
        given = json.loads(kubeconfig)
        cluster, user = given["clusters"][0]["cluster"], given["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        headers = {"Authorization": f"Bearer {user['token']}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=timeout, read_bufsize=LINE
        ) as session:
            yield cls(session, cluster["server"])

    async def send(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """One request with a body of the content type `kind`; the answer as it came."""
        while True:
            async with self._session.request(
                method, self._server + path, data=body, headers={"Content-Type": kind}
            ) as answer:
                content = await answer.read()
                if answer.status == 429:
                    await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
                    continue
                if answer.status >= 400:
                    raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')[:500]}")
                return content

    async def create(self, kind: Kind, manifest: Manifest) -> Any:
        """POST."""
        path = kind.path(manifest["metadata"].get("namespace", ""))
        return json.loads(await self.send("POST", path, json.dumps(manifest).encode()))

    async def merge(self, kind: Kind, namespace: str, name: str, change: Manifest) -> Any:
        """A merge patch."""
        return json.loads(await self.send("PATCH", kind.path(namespace, name), json.dumps(change).encode(), MERGE))

    async def get(self, kind: Kind, namespace: str, name: str) -> Any:
        """One object."""
        return json.loads(await self.send("GET", kind.path(namespace, name)))

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """One object goes, and what it owns after it."""
        await self.send("DELETE", kind.path(namespace, name), b'{"propagationPolicy":"Background"}')

    @asynccontextmanager
    async def watching(self, kind: Kind) -> AsyncIterator[Watch]:
        """All objects of a kind, and what happens to them while this lasts."""
        path = kind.path("")
        listed = json.loads(await self.send("GET", path))
        watch = Watch(listed["items"])
        version = listed["metadata"]["resourceVersion"]
        url = f"{self._server}{path}?watch=1&timeoutSeconds=3600&resourceVersion={version}"
        async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as stream:
            task = asyncio.create_task(watch.follow(stream.content))
            try:
                yield watch
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class Watch:
    """Events as they come in. `initial` is what was there before the first."""

    def __init__(self, initial: list[Manifest]) -> None:
        self.initial = initial
        self._expected: list[tuple[Callable[[str, Manifest], bool], asyncio.Future[float]]] = []
        self._ended: BaseException | None = None

    def expect(self, what: str, holds: Callable[[str, Manifest], bool], seconds: float) -> Awaitable[float]:
        """The moment (of time.monotonic) at which an event (its type and object) from now on makes `holds` true.
        Raises RuntimeError that names `what` when none did in so many seconds, or the watch ended."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self._ended is not None:
            future.set_exception(self._ended)
        self._expected.append((holds, future))
        return self._within(what, future, seconds)

    @staticmethod
    async def _within(what: str, future: asyncio.Future[float], seconds: float) -> float:
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}") from None

    async def follow(self, stream: aiohttp.StreamReader) -> None:
        """Read events until cancelled."""
        try:
            async for line in stream:
                now = time.monotonic()
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"a watch failed: {event['object']}")
                for holds, future in list(self._expected):
                    if future.done():
                        self._expected.remove((holds, future))
                    elif holds(event["type"], event["object"]):
                        future.set_result(now)
            raise RuntimeError("a watch ended")
        except (RuntimeError, aiohttp.ClientError, ValueError, LookupError) as error:
            self._ended = error
            for _, future in self._expected:
                if not future.done():
                    future.set_exception(error)
