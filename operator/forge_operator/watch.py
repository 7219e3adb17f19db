"""One collection of objects, followed: a list, then what happens after it, for ever.

The shape of client-go's reflector. An event may be missed for many reasons, so the list is read anew when its version
is too old (410), and now and again without a reason; what is gone from it is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from forge_operator.api import TROUBLE, Api, ApiError
from forge_operator.names import Kind, Manifest
from forge_operator.queue import back_off

logger = logging.getLogger(__name__)

RELIST = 1800.0
"""Seconds after which the list is read anew without a reason, give or take a fifth."""

SHORT = 1.0
"""Seconds: a watch that was taken on and lasted longer is no failure, however it ended; the next begins soon."""


@dataclass(frozen=True)
class Collection:
    """What is followed: a kind, in one namespace (all when empty), by labels and fields, whole or by its metadata."""

    kind: Kind
    namespace: str = ""
    selector: str = ""
    fields: str = ""
    meta: bool = False


class Sink(Protocol):
    """Where the objects go."""

    def put(self, item: Manifest) -> None:
        """An object is there, in this version."""

    def drop(self, item: Manifest) -> None:
        """An object is gone."""

    def keep(self, collection: Collection, names: set[tuple[str, str]], version: int) -> None:
        """The list of that version holds these (namespace, name) and no other."""


class Reflector:
    """Keeps a sink in line with a collection."""

    def __init__(
        self, api: Api, collection: Collection, sink: Sink, spread: Callable[[], float] = random.random
    ) -> None:
        self._api = api
        self.collection = collection
        self._sink = sink
        self._spread = spread
        self._version = ""
        self.synced = asyncio.Event()
        self.heard = time.monotonic()
        """When the API server last said a word about the collection, if only that it takes a watch on, by this
        process's monotonic clock."""

    async def run(self) -> None:
        """Follow until cancelled. Raises ApiError 404 when the API server does not have the kind, RuntimeError when its
        versions went back."""
        failures = 0
        while True:
            try:
                await self._list()
                self.synced.set()
                failures = 0
                await self._follow(time.monotonic() + RELIST * (0.8 + 0.4 * self._spread()))
            except TROUBLE as error:
                if isinstance(error, ApiError):
                    self._hear()  # no is an answer
                    if error.status == 404:
                        raise
                if not (isinstance(error, ApiError) and error.status == 410):
                    failures += 1
                    logger.warning("%s could not be listed: %r", self.collection.kind.plural, error)
                    await asyncio.sleep(_pause(error, failures))

    def _hear(self) -> None:
        self.heard = time.monotonic()

    async def _list(self) -> None:
        it, before = self.collection, self._version
        names: set[tuple[str, str]] = set()
        async for items, version in self._api.pages(it.kind, it.namespace, it.selector, it.fields, meta=it.meta):
            self._hear()
            self._version = version
            for item in items:
                names.add((item["metadata"]["namespace"], item["metadata"]["name"]))
                self._sink.put(item)
        if before and int(self._version) < int(before):
            told = f"the API server went back in time: {it.kind.plural} {self._version} after {before}"
            raise RuntimeError(f"{told} (a backup of etcd?); what is known is worth nothing, starting anew")
        self._sink.keep(it, names, int(self._version))

    async def _follow(self, until: float) -> None:
        """Watch, again and again, until it is time for a new list or the version is too old (ApiError 410)."""
        failures = 0
        while (began := time.monotonic()) < until:
            try:
                await self._watch()
                failures = 0
            except TROUBLE as error:
                if isinstance(error, ApiError) and error.status in (404, 410):
                    raise
                lived = self.heard > began and time.monotonic() - began > SHORT
                failures = 1 if lived else failures + 1
                logger.info("the watch of %s ended: %r", self.collection.kind.plural, error)
                await asyncio.sleep(_pause(error, failures))

    async def _watch(self) -> None:
        it = self.collection
        async for happened, item in self._api.watch(
            it.kind, self._version, it.namespace, it.selector, it.fields, meta=it.meta, begun=self._hear
        ):
            self._hear()
            self._version = item["metadata"]["resourceVersion"]
            if happened == "DELETED":
                self._sink.drop(item)
            elif happened != "BOOKMARK":
                self._sink.put(item)


def _pause(error: Exception, failures: int) -> float:
    """Seconds to wait: what the API server asks for, else with back-off."""
    asked = error.retry_after if isinstance(error, ApiError) else None
    return max(asked or 0.0, back_off(failures))
