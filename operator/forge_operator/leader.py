"""Leadership by a Lease: only its holder works, and a holder that cannot renew it ends.

Leadership is no lock in the strict sense; what must not happen twice is held together by names and resource versions.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from forge_operator.api import Api, ApiError
from forge_operator.settings import Settings

logger = logging.getLogger(__name__)

LEASE = "forge-operator"
DURATION, DEADLINE, PERIOD = 15, 10, 2
"""Seconds: how long a lease holds, how long its holder tries to renew it, how often."""


class LeadershipLostError(RuntimeError):
    """The Lease could not be renewed in time."""


async def lead(api: Api, settings: Settings, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work while leading, for ever when no election is wanted.

    Raises LeadershipLostError when the Lease is lost, and whatever the work raises. Cancelled, it gives the Lease back.
    """
    if not settings.leader_election:
        await work()
        return
    identity = f"{settings.identity}-{os.getpid()}"
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def leading() -> None:
        logger.info("leading as %s", identity)
        try:
            await work()
        except Exception as error:
            outcome.set_exception(error)

    async def lost() -> None:
        if not outcome.done():
            outcome.set_exception(LeadershipLostError(f"{identity} lost the Lease {LEASE}"))

    lock = LeaseLock(LEASE, settings.namespace, identity, api.client)
    config = Config(lock, DURATION, DEADLINE, PERIOD, leading, lost)
    election = asyncio.create_task(LeaderElection(config).run())
    try:
        await outcome
    finally:
        election.cancel()
        await asyncio.gather(election, return_exceptions=True)
        await _release(api, settings, identity)


async def _release(api: Api, settings: Settings, identity: str) -> None:
    """Let the next one start at once, if the Lease is still ours."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases/{LEASE}"
    try:
        lease = await api.request("GET", path)
        if lease.get("spec", {}).get("holderIdentity") == identity:
            lease["spec"]["holderIdentity"] = None
            await api.request("PUT", path, body=lease)
    except (ApiError, OSError, TimeoutError) as error:
        logger.info("the Lease was not given back: %s", error)
