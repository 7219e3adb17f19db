"""Bring the children in line: server-side apply of what differs, deletion of what is no longer wanted."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from forge_operator.api import Api, ApiError
from forge_operator.names import MANAGED_BY_LABEL, MANAGER, STACK_LABEL, Manifest, controller_uid, kind_of, label
from forge_operator.world import ChildKey, World

NEVER_PRUNED = frozenset({"Pod", "Job", "Secret"})
"""Pods are their controllers'; Jobs have a history of their own; a made Secret goes only with its stack."""

REFUSED = frozenset({400, 403, 422})
"""HTTP statuses by which the API server says that it will not have an object as it is."""

_VOLATILE = ("resourceVersion", "managedFields", "generation")


@dataclass(frozen=True)
class Repair:
    """A child that somebody else had changed or deleted, and that was put back."""

    kind: str
    name: str
    by: str


@dataclass(frozen=True)
class Refusal:
    """A child that cannot be: an admission webhook, a quota or a fixed field forbids it, or its name is taken."""

    manifest: Manifest
    message: str


@dataclass(frozen=True)
class _Memory:
    intent: str
    live: str


class Applier:
    """Applies manifests, and remembers what each child looked like when it was right.

    A child is applied when its intent is new or when the live object differs, in anything but its status, from what it
    was when the intent was last applied. So nothing is written at rest, and no drift goes unseen: a difference that is
    none of ours costs one apply that changes nothing. The memory only saves calls; without it everything is applied
    once more, to the same result.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._memory: dict[tuple[str, ChildKey], _Memory] = {}

    def forget(self, uid: str) -> None:
        """A stack is gone."""
        for key in [key for key in self._memory if key[0] == uid]:
            del self._memory[key]

    async def apply(self, uid: str, desired: Iterable[Manifest], world: World) -> list[Repair | Refusal]:
        """Apply what needs it, in order. Returns the drift that was repaired and the children that were refused."""
        outcomes = [await self._apply_one(uid, manifest, world) for manifest in desired]
        return [outcome for outcome in outcomes if outcome is not None]

    async def prune(self, desired: Iterable[Manifest], world: World) -> list[ChildKey]:
        """Delete the stack's children that are no longer wanted."""
        wanted = {_key(manifest) for manifest in desired}
        extra = [
            item
            for key, item in world.children.items()
            if key not in wanted and key[0] not in NEVER_PRUNED and "deletionTimestamp" not in item["metadata"]
        ]
        await asyncio.gather(*(self._prune_one(item) for item in extra))
        return [_key(item) for item in extra]

    async def _prune_one(self, item: Manifest) -> None:
        """Delete one child. A StatefulSet first lets go of its volumes: the deletion policy speaks of the stack's end,
        not of a store that an edit of the spec took away."""
        if item["kind"] == "StatefulSet":
            policy = item["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted", "Retain")
            if policy != "Retain":
                await self._api.merge(
                    item, {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}}
                )
                return
            if item.get("status", {}).get("observedGeneration") != item["metadata"]["generation"]:
                return  # its status will change, and that wakes the stack
        await self._api.delete(item)

    async def _apply_one(self, uid: str, manifest: Manifest, world: World) -> Repair | Refusal | None:
        key = _key(manifest)
        live = world.children.get(key)
        intent = _digest(manifest)
        known = self._memory.get((uid, key))
        before = _digest(_stable(live)) if live is not None else ""
        if known == _Memory(intent, before):
            return None
        if live is None and (told := await self._taken(uid, manifest)):
            return Refusal(manifest, told)
        try:
            after_manifest = await self._api.apply(manifest)
        except ApiError as error:
            if error.status in REFUSED:
                return Refusal(manifest, error.message)
            raise
        after = _digest(_stable(after_manifest))
        self._memory[uid, key] = _Memory(intent, after)
        if known is None or known.intent != intent or before == after:
            return None
        return Repair(key[0], key[1], _last_manager(live) if live is not None else "whoever deleted it")

    async def _taken(self, uid: str, manifest: Manifest) -> str:
        """Whose the name is already; empty when it is free or the stack's own.

        A forced apply would take over anybody's object, and the end of the stack would delete it. What carries the
        stack's labels and has no owner was brought back from a backup, and is taken.
        """
        meta = manifest["metadata"]
        found = await self._api.find(kind_of(manifest), meta["namespace"], meta["name"])
        if found is None or controller_uid(found) == uid:
            return ""
        same = all(label(found, name) == label(manifest, name) for name in (MANAGED_BY_LABEL, STACK_LABEL))
        if same and not controller_uid(found):
            return ""
        owner = next(
            (f"{o['kind']} {o['name']}" for o in found["metadata"].get("ownerReferences", [])), "somebody else"
        )
        return (
            f"the name is taken by one of {owner}; remove or rename that, or give the stack or its source another name"
        )


def _key(manifest: Manifest) -> ChildKey:
    return manifest["kind"], manifest["metadata"]["name"]


def _stable(manifest: Manifest) -> Manifest:
    """The object without its status and its bookkeeping."""
    meta = {name: value for name, value in manifest["metadata"].items() if name not in _VOLATILE}
    return {**{name: value for name, value in manifest.items() if name != "status"}, "metadata": meta}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _last_manager(manifest: Manifest) -> str:
    """Who wrote last, of those that are not us and do not write status."""
    others = [
        entry
        for entry in manifest["metadata"].get("managedFields", [])
        if entry.get("manager") != MANAGER and not entry.get("subresource")
    ]
    return str(max(others, key=lambda entry: entry.get("time", ""))["manager"]) if others else "another client"
