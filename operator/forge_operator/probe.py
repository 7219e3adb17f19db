"""Whether an external store answers: `GET /ping`, which needs no password."""

from __future__ import annotations

import time

import aiohttp
from forge_stack.status import Fact
from forge_stack.wire import StoreDsn

KEEP = 30.0
"""Seconds for which an answer counts."""


class Prober:
    """Asks external stores, each at most once in a while."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Fact]] = {}

    async def ask(self, dsn: str) -> Fact:
        """Whether the store of that DSN answers."""
        try:
            parsed = StoreDsn.parse(dsn)
        except ValueError as error:
            return Fact(False, "InvalidDsn", str(error))
        url = f"{'https' if parsed.secure else 'http'}://{parsed.host}:{parsed.port}/ping"
        asked, fact = self._known.get(url, (0.0, None))
        if fact is None or time.monotonic() - asked > KEEP or fact.holds is not True:
            fact = await _ping(url, f"{parsed.host}:{parsed.port}")
            self._known[url] = (time.monotonic(), fact)
        return fact


async def _ping(url: str, told: str) -> Fact:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session, session.get(url) as answer:
            if answer.status == 200:
                return Fact(True, "Ready", f"{told} answers")
            return Fact(False, "Unhealthy", f"{told} answers /ping with status {answer.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        why = type(error).__name__
        return Fact(False, "Unreachable", f"{told} does not answer ({why}); check the DSN and the network from here")
