"""Leadership by a Lease: only its holder works, and a holder that cannot renew it ends.

Leadership is no lock in the strict sense; what must not happen twice is held together by names and resource versions.
Written here because the lock of `kubernetes.aio.leaderelection` (release 37) can make no Lease, and because it ends on
the first request that gets no answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from forge_operator.api import TROUBLE, Api, ApiError
from forge_operator.names import Kind, Manifest
from forge_operator.settings import Settings

logger = logging.getLogger(__name__)

KIND = Kind("Lease", "coordination.k8s.io", "v1", "leases")
DURATION, DEADLINE, PERIOD = 15.0, 10.0, 2.0
"""Seconds: how long a Lease holds, how long its holder goes on without renewing it, how often it is renewed."""


def lease_name(operator_class: str) -> str:
    """The Lease of a class of operators; those of another class may lead in the same namespace at the same time."""
    return f"forge-operator-{operator_class}" if operator_class else "forge-operator"


class LeadershipLostError(RuntimeError):
    """The Lease could not be renewed in time, or another took it."""


class Lease:
    """The Lease as one candidate sees it. Whether it ran out is told by this process's own clock alone: by how long
    ago it was last seen to change."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        self._api = api
        self._namespace = namespace
        self.name = name
        self._identity = identity
        self._seen: tuple[object, float] = (None, 0.0)

    async def hold(self) -> bool:
        """Take or renew the Lease; whether it is ours now."""
        lease = await self._api.get(KIND, self._namespace, self.name)
        if lease is None:
            return await self._write({}, create=True)
        spec = lease.get("spec", {})
        holder, mark = spec.get("holderIdentity"), (spec.get("holderIdentity"), spec.get("renewTime"))
        if mark != self._seen[0]:
            self._seen = (mark, time.monotonic())
        ran_out = time.monotonic() - self._seen[1] > DURATION
        if holder and holder != self._identity and not ran_out:
            return False
        return await self._write(lease)

    async def give_back(self) -> None:
        """Let the next one start at once, if the Lease is still ours."""
        lease = await self._api.get(KIND, self._namespace, self.name)
        if lease is not None and lease.get("spec", {}).get("holderIdentity") == self._identity:
            lease["spec"]["holderIdentity"] = ""
            await self._api.replace(KIND, lease)

    async def _write(self, lease: Manifest, create: bool = False) -> bool:
        old = lease.get("spec", {})
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = old.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if ours or create else 1),
        }
        meta = lease.get("metadata", {"name": self.name, "namespace": self._namespace})
        manifest = {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": meta, "spec": spec}
        try:
            await (self._api.create(manifest, KIND) if create else self._api.replace(KIND, manifest))
        except ApiError as error:
            if error.status == 409:
                return False  # another was faster
            raise
        return True


async def lead(api: Api, settings: Settings, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work while leading, for ever when no election is wanted.

    Raises LeadershipLostError when the Lease is lost, and whatever the work raises. Cancelled, it gives the Lease back.
    """
    if not settings.leader_election:
        await work()
        return
    lease = Lease(api, settings.namespace, lease_name(settings.operator_class), settings.identity)
    while not await _try(lease):  # noqa: ASYNC110 - the Lease is not ours to be woken by
        await asyncio.sleep(PERIOD)
    logger.info("leading")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_renew(lease))
            tasks.create_task(_run(work))
    finally:
        try:
            await lease.give_back()
        except TROUBLE as error:
            logger.info("the Lease was not given back: %s", error)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _renew(lease: Lease) -> None:
    renewed = time.monotonic()
    while True:
        await asyncio.sleep(PERIOD)
        asked = time.monotonic()
        held = await _try(lease)
        if held:
            renewed = asked
        elif held is False:
            raise LeadershipLostError(f"another took the Lease {lease.name}")
        elif time.monotonic() - renewed > DEADLINE:
            raise LeadershipLostError(f"the Lease {lease.name} was not renewed for {DEADLINE:.0f} s")


async def _try(lease: Lease) -> bool | None:
    """Whether the Lease is ours; None when that is not known."""
    try:
        async with asyncio.timeout(DEADLINE / 2):
            return await lease.hold()
    except TROUBLE as error:
        logger.warning("the Lease was not reached: %r", error)
        return None
