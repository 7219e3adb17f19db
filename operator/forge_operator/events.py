"""Events: what happened to a stack, with a reason for machines and a note for people.

An Event's name is made from what it says, so that saying it again, after a restart or by a second operator, is a
conflict that is ignored: no storms, no duplicates while the API server keeps the first (an hour by default).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from forge_stack.model import API_VERSION, KIND, ObservabilityStack

from forge_operator.api import TROUBLE, Api, ApiError
from forge_operator.names import EVENT, MANAGER, Manifest

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
WRITERS = 4
LAST_WORDS = 3.0
"""Seconds in which a process that ends writes what waits."""
NOTE_LENGTH = 1024
"""Bytes of a note; the API server refuses an Event with a longer one."""


@dataclass(frozen=True)
class Happening:
    """One thing to tell. `subject` tells two happenings of one reason apart (a Job's uid, a generation)."""

    reason: str
    action: str
    note: str
    subject: str
    type: Literal["Normal", "Warning"] = "Normal"


class Recorder:
    """Writes Events, beside the reconciles: none waits for one, and a failure to write one fails none."""

    def __init__(self, api: Api, identity: str) -> None:
        self._api = api
        self._identity = identity
        self._told: dict[str, None] = {}
        self._waiting: asyncio.Queue[Manifest] = asyncio.Queue(MOST_WAITING)

    def tell(self, namespace: str, name: str, uid: str, happening: Happening) -> None:
        """Write one Event about a stack, once."""
        manifest = event(namespace, name, uid, happening, self._identity, datetime.now(UTC))
        key = f"{namespace}/{manifest['metadata']['name']}"
        if key in self._told:
            return
        try:
            self._waiting.put_nowait(manifest)
        except asyncio.QueueFull:
            logger.warning("an Event was dropped: %s", happening.note, extra={"stack": f"{namespace}/{name}"})
            return
        self._told[key] = None
        while len(self._told) > MOST_WAITING:
            del self._told[next(iter(self._told))]

    async def run(self) -> None:
        """Write what waits, until cancelled, and then for LAST_WORDS what waits still."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(WRITERS):
                    tasks.create_task(self._write_all())
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    while not self._waiting.empty():
                        await self._write(self._waiting.get_nowait())

    async def _write_all(self) -> None:
        while True:
            manifest = await self._waiting.get()
            try:
                await self._write(manifest)
            except asyncio.CancelledError:
                with suppress(asyncio.QueueFull):
                    self._waiting.put_nowait(manifest)  # if it was written, its name is taken
                raise

    async def _write(self, manifest: Manifest) -> None:
        try:
            await self._api.create(manifest, EVENT)
        except TROUBLE as error:
            if not (isinstance(error, ApiError) and (error.reason == "AlreadyExists" or error.terminating)):
                meta, regarding = manifest["metadata"], manifest["regarding"]
                self._told.pop(f"{meta['namespace']}/{meta['name']}", None)
                stack = f"{regarding['namespace']}/{regarding['name']}"
                logger.warning("an Event was not written: %s", error, extra={"stack": stack})


def event(namespace: str, name: str, uid: str, happening: Happening, identity: str, now: datetime) -> Manifest:
    """The manifest of an events.k8s.io/v1 Event."""
    identifier = hashlib.sha256("\0".join([uid, happening.reason, happening.subject]).encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{name}.{identifier}", "namespace": namespace},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"observability.forge.dev/{MANAGER}",
        "reportingInstance": identity[:128],
        "type": happening.type,
        "reason": happening.reason,
        "action": happening.action,
        "note": happening.note.encode()[:NOTE_LENGTH].decode(errors="ignore"),
        "regarding": {"apiVersion": API_VERSION, "kind": KIND, "namespace": namespace, "name": name, "uid": uid},
    }


def subject_of(stack: ObservabilityStack) -> tuple[str, str, str]:
    """What `tell` needs of a stack."""
    return stack.metadata.namespace, stack.metadata.name, stack.metadata.uid
