"""The work queue: nothing is lost, nothing runs twice at once, failures wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from forge_operator.queue import LONGEST_DELAY, WorkQueue, back_off


@asynccontextmanager
async def running(
    process: Callable[[str], Awaitable[float | None]], concurrency: int = 2
) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(process, concurrency=concurrency)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing tells when it holds
            await asyncio.sleep(0.002)


async def test_a_burst_is_one_run() -> None:
    runs: list[str] = []

    async def process(key: str) -> float | None:
        runs.append(key)
        return None

    async with running(process) as queue:
        for _ in range(100):
            queue.add("a")
        queue.add("b")
        await until(lambda: len(runs) == 2)
        await asyncio.sleep(0.05)
    assert sorted(runs) == ["a", "b"]


async def test_what_is_added_during_its_run_runs_again_and_never_beside_itself() -> None:
    active, most, runs = 0, 0, 0
    release = asyncio.Event()

    async def process(key: str) -> float | None:
        nonlocal active, most, runs
        active += 1
        most = max(most, active)
        runs += 1
        await release.wait()
        active -= 1
        return None

    async with running(process, concurrency=4) as queue:
        queue.add("a")
        await until(lambda: runs == 1)
        queue.add("a")
        queue.add("a")
        await asyncio.sleep(0.05)
        assert runs == 1
        release.set()
        await until(lambda: runs == 2)
        await asyncio.sleep(0.05)
    assert (runs, most) == (2, 1)


async def test_the_cap_holds() -> None:
    active, most, done = 0, 0, 0

    async def process(key: str) -> float | None:
        nonlocal active, most, done
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        active -= 1
        done += 1
        return None

    async with running(process, concurrency=3) as queue:
        for number in range(20):
            queue.add(str(number))
        await until(lambda: done == 20)
    assert most == 3


async def test_a_failure_comes_back_and_does_not_hold_up_others() -> None:
    seen: list[str] = []

    async def process(key: str) -> float | None:
        seen.append(key)
        if key == "bad" and seen.count("bad") < 3:
            raise RuntimeError("no")
        return None

    async with running(process, concurrency=1) as queue:
        queue.add("bad")
        queue.add("good")
        await until(lambda: seen.count("bad") == 3)
    assert seen[:2] == ["bad", "good"]


async def test_a_key_comes_back_when_it_is_due_and_the_newest_time_counts() -> None:
    times: list[float] = []
    clock = asyncio.get_running_loop().time

    async def process(key: str) -> float | None:
        times.append(clock())
        return None

    async with running(process) as queue:
        began = clock()
        queue.add_after("a", 0.05)
        queue.add_after("a", 0.15)
        await until(lambda: len(times) == 1)
        assert times[0] - began >= 0.15
        await asyncio.sleep(0.1)
    assert len(times) == 1


async def test_a_run_takes_the_place_of_the_one_that_was_due() -> None:
    runs = 0

    async def process(key: str) -> float | None:
        nonlocal runs
        runs += 1
        return None

    async with running(process) as queue:
        queue.add_after("a", 0.1)
        queue.add("a")
        await asyncio.sleep(0.25)
    assert runs == 1


async def test_a_stuck_key_is_seen() -> None:
    began: list[float] = []
    clock = asyncio.get_running_loop().time

    async def process(key: str) -> float | None:
        began.append(clock())
        await asyncio.sleep(3600)
        return None

    async with running(process, concurrency=1) as queue:
        assert queue.stalled_for() == 0
        queue.add("a")
        await until(lambda: bool(began))
        await asyncio.sleep(0.1)
        queue.add("b")
        stuck = clock() - began[0]
        assert queue.stalled_for() >= stuck


@pytest.mark.parametrize("steps", range(6))
async def test_it_ends_though_it_is_woken_in_the_same_moment(steps: int) -> None:
    """Else a leader that has lost its Lease would go on leading."""

    async def process(key: str) -> float | None:
        return None

    queue: WorkQueue[str] = WorkQueue(process, concurrency=1)
    queue.add_after("later", 100)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.01)
    queue.add("now")
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_back_off_grows_to_a_cap(spread: float) -> None:
    delays = [back_off(n, lambda: spread) for n in range(1, 40)]
    assert delays == sorted(delays)
    assert 0 < delays[0] <= 0.2
    assert LONGEST_DELAY / 2 <= delays[-1] <= LONGEST_DELAY
