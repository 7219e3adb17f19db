"""The controller: watches that fill the caches, one queue of stacks, the resync, and what the probes ask."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping

from forge_operator import metrics
from forge_operator.api import NO_ANSWER, TROUBLE, Api, ApiError
from forge_operator.cache import Cache
from forge_operator.credentials import NOT_HELMS, SECRET, Credentials
from forge_operator.events import Recorder
from forge_operator.names import CHILDREN, SERVICE_MONITOR, STACK, Key, class_selector, selector
from forge_operator.queue import WorkQueue
from forge_operator.reconcile import Reconciler
from forge_operator.settings import Settings
from forge_operator.stacks import Stacks, key_of, version_of
from forge_operator.watch import Collection, Reflector

logger = logging.getLogger(__name__)

STALLED = 600.0
"""Seconds after which a key that still waits, a watch that is still silent, or a resync that never came, means that
this process is stuck."""
UNLISTED = 0.5
"""Seconds after which a stack is looked at again whose children are not known yet."""
ASK_AGAIN = 5.0
"""Seconds after which the API server is asked again that gave no answer."""
LATE = 30.0
"""Seconds in which kopf's watch must tell what a list has shown."""


class Controller:
    """Watches from the start; works on stacks while `run` runs."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self.stacks = Stacks(self.wake)
        self._cache = Cache(self.wake)
        self._credentials = Credentials(api, self.wake)
        self._recorder = Recorder(api, settings.identity)
        self._reconciler = Reconciler(api, settings, self.stacks, self._cache, self._credentials, self._recorder)
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, concurrency=settings.workers)
        self._reflectors = [
            Reflector(api, collection, self._credentials if collection.meta else self._cache)
            for namespace in self._namespaces
            for collection in [
                *(Collection(k, namespace, selector()) for k in CHILDREN.values() if k is not SECRET),
                Collection(SECRET, namespace, fields=NOT_HELMS, meta=True),
            ]
        ]
        self._leading = False
        self._listed: set[str] = set()
        self._resynced = time.monotonic()
        self._deaf = ""

    @property
    def _namespaces(self) -> tuple[str, ...]:
        return self._settings.watch_namespaces or ("",)

    def wake(self, key: Key) -> None:
        """A stack or one of its children changed. A process that does not lead looks at all when it starts to."""
        if self._leading and key[1]:
            self._queue.add(key)

    async def watch(self) -> None:
        """Keep the caches until cancelled, leading or standing by."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run())
            tasks.create_task(self._watch_service_monitors())
            tasks.create_task(self._resync())

    async def run(self) -> None:
        """Work until cancelled."""
        self._leading = True
        metrics.LEADER.set(1)
        for key in self.stacks:
            self._queue.add(key)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._queue.run())
                tasks.create_task(self._recorder.run())
        finally:
            self._leading = False
            metrics.LEADER.set(0)

    def check_ready(self) -> str:
        """A word for the readiness probe. Raises RuntimeError until everything was listed once."""
        waiting = self._unlisted("", *self._settings.watch_namespaces)
        if waiting or not self._listed.issuperset(self._namespaces):
            raise RuntimeError(f"not listed yet: {', '.join(waiting or [STACK.plural])}")
        return "leading" if self._leading else "standing by"

    def check_alive(self) -> str:
        """A word for the liveness probe. Raises RuntimeError when the queue, a watch or the resync stands still."""
        resynced = time.monotonic() - self._resynced
        waited = self._queue.stalled_for() if self._leading else 0.0
        kind, silent = max(self._silences().items(), key=lambda pair: pair[1])
        if self._deaf:
            raise RuntimeError(self._deaf)
        if waited > STALLED or silent > STALLED or resynced > STALLED + 2 * self._settings.resync:
            told = f"a stack waits for {waited:.0f} s, {kind} are silent for {silent:.0f} s"
            raise RuntimeError(f"stalled: {told}, the last resync was {resynced:.0f} s ago")
        return f"{len(self._queue)} waiting" if self._leading else "standing by"

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics.QUEUE_DEPTH.set(len(self._queue))
        metrics.QUEUE_OLDEST.set(self._queue.stalled_for() if self._leading else 0.0)
        for kind, silent in self._silences().items():
            metrics.WATCH_SILENT.labels(kind).set(silent)

    def _silences(self) -> Mapping[str, float]:
        now = time.monotonic()
        silences: dict[str, float] = {}
        for reflector in self._reflectors:
            kind = reflector.collection.kind.plural
            silences[kind] = max(silences.get(kind, 0.0), now - reflector.heard)
        return silences

    def _unlisted(self, *namespaces: str) -> list[str]:
        """What is not known yet of these namespaces."""
        return [
            "/".join(part for part in (reflector.collection.namespace, reflector.collection.kind.plural) if part)
            for reflector in self._reflectors
            if reflector.collection.namespace in namespaces and not reflector.synced.is_set()
        ]

    async def _watch_service_monitors(self) -> None:
        """Follow ServiceMonitors wherever there are any: the Prometheus operator may come and go. Only the API server
        itself can say that there are none; while it says nothing, what was known holds."""
        while True:
            pause = self._settings.resync
            try:
                self._reconciler.service_monitors = await self._api.serves(SERVICE_MONITOR)
                if self._reconciler.service_monitors:
                    for key in self.stacks:
                        self.wake(key)
                    async with asyncio.TaskGroup() as tasks:
                        for namespace in self._namespaces:
                            collection = Collection(SERVICE_MONITOR, namespace, selector())
                            tasks.create_task(Reflector(self._api, collection, self._cache).run())
            except* TROUBLE as errors:
                logger.info("ServiceMonitors are not followed: %s", errors.exceptions[0])
                pause = ASK_AGAIN
            await asyncio.sleep(pause)

    async def _resync(self) -> None:
        """List all stacks now and again, and look at each: what a watch missed is found here, whatever became of it."""
        stacks = class_selector(self._settings.operator_class)
        while True:
            pause = self._settings.resync * random.uniform(0.9, 1.1)  # noqa: S311 - a spread, no secret
            unheard: dict[Key, int] = {}
            for namespace in self._namespaces:
                listed: dict[Key, int] = {}
                try:
                    async for items, _ in self._api.pages(STACK, namespace, stacks):
                        for item in items:
                            listed[key_of(item)] = version_of(item)
                            self.stacks.put(item)
                except TROUBLE as error:
                    logger.warning("the stacks of %s could not be listed: %r", namespace or "the cluster", error)
                    pause = ASK_AGAIN
                    continue
                self.stacks.keep(listed, namespace)
                unheard |= self.stacks.unheard(listed)
                for key in listed:
                    self.wake(key)
                self._resynced = time.monotonic()
                self._listed.add(namespace)
            if unheard:
                await self._hear(unheard)
            await asyncio.sleep(pause)

    async def _hear(self, versions: dict[Key, int]) -> None:
        """Wait for kopf's watch to tell what the list has shown; when it does not, this process is deaf."""
        until = time.monotonic() + LATE
        while versions and time.monotonic() < until:
            await asyncio.sleep(1)
            versions = {k: v for k, v in self.stacks.unheard(versions).items() if self.stacks.get(k) is not None}
        if versions:
            self._deaf = f"the watch of stacks is deaf: {len(versions)} changed and it said nothing for {LATE:.0f} s"
            logger.error(self._deaf)

    async def _reconcile(self, key: Key) -> float | None:
        if self._unlisted("", key[0]):
            return UNLISTED
        stack = "/".join(key)
        began = time.monotonic()
        result = "error"
        try:
            delay = await self._reconciler.reconcile(key)
            result = "ok"
        except ApiError as error:
            if error.status == 409:
                result = "conflict"
                logger.info("read an old version, again: %s", error.message, extra={"stack": stack})
            else:
                logger.warning("reconcile failed: %s", error, extra={"stack": stack})
            raise
        except NO_ANSWER as error:
            logger.warning("the API server did not answer: %r", error, extra={"stack": stack})
            raise
        except Exception:
            logger.exception("reconcile failed", extra={"stack": stack})
            raise
        finally:
            seconds = round(time.monotonic() - began, 4)
            metrics.RECONCILE_SECONDS.labels(result).observe(seconds)
        logger.debug("reconciled", extra={"stack": stack, "seconds": seconds, "next": delay})
        return delay
