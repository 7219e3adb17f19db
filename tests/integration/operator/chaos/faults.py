"""A proxy before the API server that misbehaves as networks and API servers do: one listener an operator."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from recorder import Client

T = TypeVar("T")
REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 504: "Timeout"}
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class Faults:
    """What goes wrong; may be changed while it is in use.

    Shares are probabilities a request. `refuse` maps a status to the share of requests (of `methods`; 409: of writes)
    that get it instead of an answer. `lose` is the share of writes that are done and whose answer never comes. Of
    watches: `refuse_watches` is as `refuse`, but a 410 and some others come as an error inside the stream; each is cut
    in the middle of a line after about `cut` seconds; each event comes `delay` seconds late; nothing comes through
    before `silent_until` (time.monotonic).
    """

    seed: int = 0
    refuse: dict[int, float] = field(default_factory=dict)
    methods: frozenset[str] = frozenset({"GET", *WRITES})
    lose: float = 0.0
    refuse_watches: dict[int, float] = field(default_factory=dict)
    cut: float = 0.0
    delay: float = 0.0
    silent_until: float = 0.0
    done: int = 0
    """Faults that happened."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def draw(self, shares: dict[int, float]) -> int:
        """A status, or 0 for none."""
        for status, share in shares.items():
            if self.chance.random() < share:
                self.done += 1
                return status
        return 0

    def stop(self) -> None:
        """From now on nothing goes wrong any more."""
        self.refuse, self.refuse_watches, self.lose, self.cut, self.delay, self.silent_until = {}, {}, 0, 0, 0, 0


def refusal(status: int) -> dict[str, Any]:
    told = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status}
    return {**told, "reason": REASONS[status], "message": "a fault of the test"}


class Proxy:
    """Runs in a thread of its own; `open` gives a kubeconfig for one operator."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy").start()
        self._session = self._do(self._connect())
        self._runners: list[web.AppRunner] = []

    def open(self, faults: Faults) -> Path:
        """A kubeconfig whose server has these faults."""
        port = self._do(self._listen(faults))
        server = {"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [server],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [context],
            "current-context": "proxy",
        }
        path = self._folder / f"proxy-{next(self._numbers)}.kubeconfig"
        path.write_text(json.dumps(content))
        return path

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _connect(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._client.tls)
        return aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=2**20)

    async def _end(self) -> None:
        await self._session.close()
        for runner in self._runners:
            await runner.cleanup()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _listen(self, faults: Faults) -> int:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.query.get("watch") == "true":
                return await self._watch(request, faults)
            return await self._answer(request, faults)

        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    def _forward(self, request: web.Request, body: bytes) -> Any:
        headers = {name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers}
        url = f"https://{self._client.host}:{self._client.port}{request.raw_path}"
        return self._session.request(request.method, url, data=body or None, headers=headers)

    async def _answer(self, request: web.Request, faults: Faults) -> web.StreamResponse:
        body = await request.read()
        shares = {s: share for s, share in faults.refuse.items() if s != 409 or request.method in WRITES}
        if request.method in faults.methods and (status := faults.draw(shares)):
            return web.json_response(
                refusal(status), status=status, headers={"Retry-After": "1"} if status == 429 else None
            )
        async with self._forward(request, body) as upstream:
            answer = await upstream.read()
            if request.method in WRITES and faults.draw({1: faults.lose}):
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=500)
            kept = {name: upstream.headers[name] for name in ("Content-Type", "Date", "Content-Encoding")
                    if name in upstream.headers}  # fmt: skip
            return web.Response(status=upstream.status, body=answer, headers=kept)

    async def _watch(self, request: web.Request, faults: Faults) -> web.StreamResponse:
        status = faults.draw(faults.refuse_watches)
        if status and status != 410 and faults.chance.random() < 0.5:
            return web.json_response(refusal(status), status=status)
        async with self._forward(request, b"") as upstream:
            response = web.StreamResponse(status=upstream.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            if status:
                await response.write(json.dumps({"type": "ERROR", "object": refusal(status)}).encode() + b"\n")
                return response
            end = time.monotonic() + faults.cut * faults.chance.uniform(0.5, 1.5) if faults.cut else None
            lines: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            reader = asyncio.create_task(_read(upstream, lines))
            try:
                while True:
                    left = None if end is None else max(end - time.monotonic(), 0)
                    try:
                        came, line = await asyncio.wait_for(lines.get(), left)
                    except TimeoutError:
                        break
                    await asyncio.sleep(came + faults.delay - time.monotonic())
                    while (silence := faults.silent_until - time.monotonic()) > 0:  # noqa: ASYNC110 - it may be prolonged
                        await asyncio.sleep(silence)
                    if not line:
                        return response
                    if end is not None and faults.cut and time.monotonic() > end:
                        await response.write(line[: len(line) // 2])
                        break
                    await response.write(line)
            finally:
                reader.cancel()
            faults.done += 1
            if request.transport is not None:
                request.transport.abort()
            return response


async def _read(upstream: aiohttp.ClientResponse, lines: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Every line with the moment at which it came; an empty one at the end."""
    rest = b""
    try:
        async for chunk in upstream.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                lines.put_nowait((time.monotonic(), line + b"\n"))
    except aiohttp.ClientError:
        pass
    lines.put_nowait((time.monotonic(), b""))
