"""The controller: one queue of stacks, its workers, the periodic resync, and the answer to the liveness probe."""

from __future__ import annotations

import asyncio
import logging
import random
import time

import aiohttp

from forge_operator.api import Api, ApiError
from forge_operator.names import STACK, Key, class_selector
from forge_operator.queue import WorkQueue
from forge_operator.reconcile import Reconciler
from forge_operator.settings import Settings
from forge_operator.world import key_of

logger = logging.getLogger(__name__)

STALLED = 600.0
"""Seconds after which a key that still waits, or a resync that never came, means that this process is stuck."""


class Controller:
    """Gathers keys from the start; works on them while `run` runs."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._reconciler = Reconciler(api, settings)
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, concurrency=settings.workers)
        self._leading = False
        self._resynced = time.monotonic()

    def wake(self, key: Key) -> None:
        """A stack or one of its children changed. A process that does not lead lists everything when it starts to."""
        if self._leading and key[1]:
            self._queue.add(key)

    async def run(self) -> None:
        """Work until cancelled."""
        self._leading = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._queue.run())
                tasks.create_task(self._resync())
        finally:
            self._leading = False

    def check_alive(self) -> str:
        """A word for the probe. Raises RuntimeError when the queue or the resync stands still."""
        if not self._leading:
            self._resynced = time.monotonic()
            return "standing by"
        waited, resynced = self._queue.stalled_for(), time.monotonic() - self._resynced
        if waited > STALLED or resynced > STALLED + 2 * self._settings.resync:
            raise RuntimeError(f"stalled: a stack waits for {waited:.0f} s, last resync {resynced:.0f} s ago")
        return f"{len(self._queue)} waiting"

    async def _resync(self) -> None:
        """List all stacks now and again: what a watch missed is found here, whatever became of the watch."""
        stacks = class_selector(self._settings.operator_class)
        while True:
            try:
                for namespace in self._settings.watch_namespaces or ("",):
                    for manifest in await self._api.list(STACK, namespace, stacks):
                        self._queue.add(key_of(manifest))
                self._resynced = time.monotonic()
                pause = self._settings.resync * random.uniform(0.9, 1.1)  # noqa: S311 - a spread, no secret
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                logger.warning("the stacks could not be listed: %s", error)
                pause = 5.0
            await asyncio.sleep(pause)

    async def _reconcile(self, key: Key) -> float | None:
        stack = "/".join(key)
        began = time.monotonic()
        try:
            delay = await self._reconciler.reconcile(key)
        except ApiError as error:
            if error.status == 409:
                logger.info("read an old version, again: %s", error.message, extra={"stack": stack})
            else:
                logger.warning("reconcile failed: %s", error, extra={"stack": stack})
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("the API server did not answer: %r", error, extra={"stack": stack})
            raise
        except Exception:
            logger.exception("reconcile failed", extra={"stack": stack})
            raise
        seconds = round(time.monotonic() - began, 3)
        logger.debug("reconciled", extra={"stack": stack, "seconds": seconds, "next": delay})
        return delay
