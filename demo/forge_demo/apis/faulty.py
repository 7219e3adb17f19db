"""The faults of forge_demo.faults made to happen: around every API, and in the world behind them."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge_demo import faults as on_demand
from forge_demo.apis.common import Live
from forge_demo.faults import Fault

LOGIN_PAGE = "<!DOCTYPE html><html><body><form action=/login><input type=password></form></body></html>"
DRIPS = 20
STORY = timedelta(minutes=5)
"""How long the story of an injected ticket takes."""


async def turn_on(live: Live, fault: Fault) -> None:
    """Let a fault stand, or do at once what is done to the world."""
    state, seconds = live.state(), timedelta(seconds=fault.span)
    if fault.kind in ("unicode", "huge"):
        live.world.inject(1, STORY, on_demand.odd if fault.kind == "unicode" else on_demand.huge)
        if live.clock.speed == 0:
            live.clock.advance(STORY)
    elif fault.kind == "late":
        live.world.lateness = on_demand.Lateness(live.faults.seed, fault.probability, seconds)
    elif fault.kind == "skew":
        live.skew_seconds = fault.span
        live.clock.advance(max(seconds, timedelta(0)))
    else:
        live.faults.standing.append(fault)
        return
    if live.clock.now() > state.now:
        await live.settle()


def turn_off(live: Live) -> None:
    """End all faults; what was late is visible now."""
    live.faults.clear()
    live.skew_seconds = 0.0
    live.world.lateness = None
    live.state()
    live.world.release()


@dataclass
class Faulty:
    """ASGI application around another: counts requests by API, waits the simulated latency, makes the faults happen."""

    app: ASGIApp
    live: Live
    replays: on_demand.Replays = field(default_factory=on_demand.Replays)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/_world"):
            await self.app(scope, receive, send)
            return
        api = path.split("/")[1]
        self.live.requests[api] = self.live.requests.get(api, 0) + 1
        met, dice = self.live.faults.strike(api, path)
        kinds = {fault.kind: fault for fault in met}
        delay = self.live.settings.latency_seconds + sum(f.delay_seconds for f in met)
        delay += kinds["slow"].span if "slow" in kinds else 0.0
        if delay:
            await asyncio.sleep(delay)
        failing = next((fault for fault in met if fault.in_place), None)
        if failing is not None and failing.kind == "reset":
            await _hang_up(send, reset=True)
            return
        if failing is not None and (instead := _instead(failing)) is not None:
            await instead(scope, receive, _dated(send, self.live))
            return
        exchange = await self._exchange(scope, receive)
        await exchange.run(self.app)
        self._change(exchange, kinds, dice)
        await exchange.reply(_dated(send, self.live), failing, kinds["drip"].span if "drip" in kinds else 0.0)
        if "moving" in kinds:
            self.live.clock.advance(timedelta(seconds=kinds["moving"].span))
            await self.live.settle()

    async def _exchange(self, scope: Scope, receive: Receive) -> Exchange:
        """The request, with the API's own cursors in it."""
        body = b"".join([part async for part in _parts(receive)])
        query = dict(parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True))
        given = _json(body) if body else None
        if b"again-" in body and isinstance(given, dict):
            given = self.replays.real(given)
            body = json.dumps(given).encode()
        if "again-" in scope.get("query_string", b"").decode():
            query = {k: v for k, v in self.replays.real(query).items() if v is not None}
            scope = {**scope, "query_string": urlencode(query).encode()}
        return Exchange(scope, body, query, given)

    def _change(self, exchange: Exchange, kinds: dict[str, Fault], dice: random.Random) -> None:
        """What the faults do to the rows of a good answer."""
        wanted = kinds.keys() & {"reordered", "duplicates", "repeated_page", "empty_page"}
        if not wanted or exchange.status != 200 or (document := _json(exchange.content)) is None:
            return
        repeatable, cursor = on_demand.asked_cursor(exchange.query, exchange.given)
        if repeatable and wanted & {"repeated_page", "empty_page"}:
            self.replays.again(document, cursor, empty="empty_page" in wanted)
        if "duplicates" in wanted:
            on_demand.duplicated(document, dice)
        if "reordered" in wanted:
            on_demand.reordered(document, dice)
        exchange.content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Exchange:
    """A request, and the whole of its answer before any of it is sent."""

    scope: Scope
    body: bytes
    query: dict[str, str]
    given: Any
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytes = b""

    async def run(self, app: ASGIApp) -> None:
        """Let the API answer."""
        left: list[Message] = [{"type": "http.request", "body": self.body, "more_body": False}]

        async def receive() -> Message:
            return left.pop() if left else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status, self.headers = message["status"], list(message["headers"])
            elif message["type"] == "http.response.body":
                self.content += message.get("body", b"")

        await app(self.scope, receive, send)

    async def reply(self, send: Send, failing: Fault | None, drip_seconds: float) -> None:
        """Send the answer: whole, dripping, or less than was promised."""
        headers = [(name, value) for name, value in self.headers if name != b"content-length"]
        if self.status not in (204, 304):
            headers.append((b"content-length", str(len(self.content)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if failing is not None:
            cut = failing.truncate_bytes if failing.truncate_bytes is not None else len(self.content) // 2
            await send({"type": "http.response.body", "body": self.content[:cut], "more_body": True})
            await _hang_up(send, reset=failing.kind == "reset_midway")
            return
        pieces = DRIPS if drip_seconds and len(self.content) >= DRIPS else 1
        size = -(-len(self.content) // pieces)
        for n in range(pieces - 1):
            await send(
                {"type": "http.response.body", "body": self.content[n * size : (n + 1) * size], "more_body": True}
            )
            await asyncio.sleep(drip_seconds / pieces)
        await send({"type": "http.response.body", "body": self.content[(pieces - 1) * size :]})


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _instead(fault: Fault) -> Response | None:
    """The answer that a fault gives in place of the API's; None when it is the API's that goes wrong on its way."""
    limit = {"Retry-After": f"{fault.span:g}", "X-RateLimit-Remaining": "0"}
    match fault.kind:
        case "rate_limit":
            return _said("Rate limit exceeded", 429, limit)
        case "rate_limit_date":
            return _said("Rate limit exceeded", 429, {"Retry-After": formatdate(time.time() + fault.span, usegmt=True)})
        case "secondary_limit":
            return _said("You have exceeded a secondary rate limit", 403, {"Retry-After": f"{fault.span:g}"})
        case "server_error":
            return _said("Internal Server Error", 500)
        case "bad_gateway":
            return Response("<html><body><h1>502 Bad Gateway</h1></body></html>", 502, media_type="text/html")
        case "unavailable":
            return _said("Service Unavailable", 503)
        case "login_page":
            return Response(LOGIN_PAGE, 200, media_type="text/html")
    return Response(fault.body, fault.status, fault.headers) if fault.status is not None else None


def _said(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps({"message": message}), status, headers, media_type="application/json")


def _dated(send: Send, live: Live) -> Send:
    """Tell the time by a Date header, wrongly if that is wanted (the server that this runs in must not tell it)."""

    async def dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            date = formatdate(time.time() + live.skew_seconds, usegmt=True).encode()
            message = {**message, "headers": [*message["headers"], (b"date", date)]}
        await send(message)

    dated.__wrapped__ = send  # type: ignore[attr-defined]
    return dated


async def _hang_up(send: Send, *, reset: bool) -> None:
    """End the connection of a request without the rest of the answer: by RST, or as if all were said."""
    cycle = getattr(getattr(send, "__wrapped__", send), "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the connection was ended on demand")
    await asyncio.sleep(0.02)  # what was sent is read by now: a reset takes away what is not
    if reset and (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    for _ in range(1000):  # until uvicorn knows, which else would answer for us
        if getattr(cycle, "disconnected", True):
            break
        await asyncio.sleep(0.001)
