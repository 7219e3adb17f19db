"""A de-duplicating work queue, the shape of client-go's: a key waits once, is processed once at a time, and comes back
when it was added meanwhile, when its time has come, or, with a growing delay, when its processing failed."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LONGEST_DELAY = 15.0
"""Seconds; a pass costs the API server little, and after an outage nobody should wait a minute for a stack."""


def back_off(failures: int, spread: Callable[[], float] = random.random) -> float:
    """Seconds to wait after that many failures in a row: doubled each time, capped, and a random half of it taken off,
    so that what failed together does not come back together."""
    full = min(FIRST_DELAY * 2.0 ** min(failures - 1, 30), LONGEST_DELAY)
    return full * (0.5 + spread() / 2)


class WorkQueue(Generic[K]):
    """Keys to process, at most `concurrency` at once. All methods belong to one event loop."""

    def __init__(self, process: Callable[[K], Awaitable[float | None]], *, concurrency: int) -> None:
        """`process` returns the seconds after which the key is due again, None when only an event brings it back.
        An exception of it brings the key back with back-off; it must have reported it itself."""
        self._process = process
        self._concurrency = concurrency
        self._ready: dict[K, float] = {}  # insertion-ordered; the value is when it became dirty
        self._processing: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: K) -> None:
        """The key needs a look now."""
        self._ready.setdefault(key, self._now())
        self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """The key needs a look in `delay` seconds, or earlier when it is added earlier. The newest call counts."""
        at = self._now() + max(delay, 0.0)
        self._due[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        self._wake.set()

    def stalled_for(self) -> float:
        """Seconds for which the oldest key has waited or has been in work; what a liveness probe asks."""
        since = [*self._ready.values(), *self._processing.values()]
        return self._now() - min(since) if since else 0.0

    def __len__(self) -> int:
        return len(self._ready)

    async def run(self) -> None:
        """Process keys until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                self._take_due()
                for key in [k for k in self._ready if k not in self._processing]:
                    if len(self._processing) >= self._concurrency:
                        break
                    del self._ready[key]
                    self._due.pop(key, None)
                    self._processing[key] = self._now()
                    tasks.create_task(self._work(key))
                timeout = max(self._heap[0][0] - self._now(), 0.0) if self._heap else None
                try:
                    # Not wait_for: when it is woken and cancelled at once it forgets that it was cancelled.
                    async with asyncio.timeout(timeout):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _work(self, key: K) -> None:
        try:
            delay = await self._process(key)
        except Exception:
            self._failures[key] = self._failures.get(key, 0) + 1
            delay = back_off(self._failures[key])
        else:
            self._failures.pop(key, None)
        finally:
            del self._processing[key]
            self._wake.set()
        if delay is not None:
            self.add_after(key, delay)

    def _take_due(self) -> None:
        while self._heap and self._heap[0][0] <= self._now():
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:  # else it was superseded
                del self._due[key]
                self.add(key)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
