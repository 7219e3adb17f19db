"""The Lease: one leads, the next takes over when it is given back or ran out, a lost one ends its holder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from forge_operator import leader
from forge_operator.api import ApiError
from forge_operator.names import Kind
from stack_objects import make_settings

Manifest = dict[str, Any]
DURATION = 2.0
"""Seconds; so long that a busy machine does not stand still for it."""


def test_operators_of_two_classes_in_one_namespace_do_not_share_a_lease() -> None:
    """Else the second would stand by for ever, and look well. The chart gives the right to the same name."""
    assert leader.lease_name("") == "forge-operator"
    assert leader.lease_name("canary") == "forge-operator-canary"


class OneLease:
    """Where the Lease is kept, with the API server's rules: unique name, writes over the version that was read."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.version = 0
        self.down = False

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        if self.down:
            raise TimeoutError
        return None if self.lease is None else {**self.lease, "spec": dict(self.lease["spec"])}

    async def create(self, manifest: Manifest, kind: Kind) -> Manifest:
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "")
        return self._store(manifest)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        if self.down:
            raise TimeoutError
        if manifest["metadata"].get("resourceVersion") != str(self.version):
            raise ApiError(409, "Conflict", "")
        return self._store(manifest)

    def _store(self, manifest: Manifest) -> Manifest:
        self.version += 1
        self.lease = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    @property
    def holder(self) -> str:
        return str((self.lease or {"spec": {}})["spec"].get("holderIdentity", ""))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "PERIOD", 0.02)
    monkeypatch.setattr(leader, "DEADLINE", 0.5)
    monkeypatch.setattr(leader, "DURATION", DURATION)


def start(api: OneLease, identity: str, working: list[str]) -> asyncio.Task[None]:
    async def work() -> None:
        working.append(identity)
        try:
            await asyncio.sleep(3600)
        finally:
            working.remove(identity)

    settings = make_settings(leader_election=True, identity=identity)
    return asyncio.create_task(leader.lead(api, settings, work))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells when it holds
            await asyncio.sleep(0.005)


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_works_and_the_next_follows_at_once_when_it_stops() -> None:
    api, working = OneLease(), list[str]()
    first = start(api, "a", working)
    await until(lambda: working == ["a"])
    second = start(api, "b", working)
    await asyncio.sleep(0.2)
    assert working == ["a"]
    await end(first)
    began = asyncio.get_running_loop().time()
    await until(lambda: working == ["b"])
    assert asyncio.get_running_loop().time() - began < DURATION
    assert api.lease is not None
    assert api.lease["spec"]["leaseTransitions"] == 1
    await end(second)
    assert api.holder == ""


async def test_a_dead_holders_lease_runs_out() -> None:
    api, working = OneLease(), list[str]()
    api._store({"metadata": {}, "spec": {"holderIdentity": "dead", "renewTime": "2099-01-01T00:00:00.000000Z"}})
    began = asyncio.get_running_loop().time()
    task = start(api, "b", working)
    await until(lambda: working == ["b"])
    took = asyncio.get_running_loop().time() - began
    assert DURATION <= took < 10 * DURATION, "a clock that is ahead makes no difference"
    await end(task)


async def test_a_holder_that_cannot_renew_ends_before_its_lease_does() -> None:
    api, working = OneLease(), list[str]()
    task = start(api, "a", working)
    await until(lambda: working == ["a"])
    api.down = True
    with pytest.raises(ExceptionGroup, match="unhandled") as lost:
        await asyncio.wait_for(task, DURATION)
    assert lost.group_contains(leader.LeadershipLostError)
    assert working == []


async def test_a_holder_that_was_overruled_ends_at_once() -> None:
    api, working = OneLease(), list[str]()
    task = start(api, "a", working)
    await until(lambda: working == ["a"])
    assert api.lease is not None
    api._store({**api.lease, "spec": {"holderIdentity": "b", "renewTime": "x"}})
    with pytest.raises(ExceptionGroup) as lost:
        await asyncio.wait_for(task, 60)
    assert lost.group_contains(leader.LeadershipLostError, match="another took")
    assert (working, api.holder) == ([], "b")
