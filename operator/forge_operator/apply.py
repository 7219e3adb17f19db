"""Bring the children in line: server-side apply of what differs, deletion of what is no longer wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from forge_operator import metrics
from forge_operator.api import Api, ApiError
from forge_operator.cache import Cache, ChildKey, Entry, digest_of, hash_of
from forge_operator.intent import changed_by, differences
from forge_operator.names import (
    MANAGED_BY_LABEL,
    STACK,
    STACK_LABEL,
    Key,
    Manifest,
    controller_uid,
    kind_of,
    label,
)

NEVER_PRUNED = frozenset({"Pod", "Job", "Secret"})
"""Pods are their controllers'; Jobs have a history of their own; a made Secret goes only with its stack."""


@dataclass(frozen=True)
class Repair:
    """A child that somebody else had changed (`path`, empty: deleted), and that was put back."""

    kind: str
    name: str
    by: str
    path: str = ""


@dataclass(frozen=True)
class Refusal:
    """A child that cannot be: an admission webhook, a quota or a fixed field forbids it, or its name is taken."""

    manifest: Manifest
    message: str


class Plan:
    """What a stack's children should be, in the order in which they are applied. Only a digest of each intent is kept:
    the manifests are built again should one of them have to be written later."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._built: list[Manifest] | None = list(manifests)
        self.intents: Mapping[ChildKey, bytes] = {_key(manifest): hash_of(manifest) for manifest in self._built}

    def manifests(self, build: Callable[[], Iterable[Manifest]]) -> Iterable[Manifest]:
        """The intents, from the builder that made the plan if they were not kept."""
        return self._built if self._built is not None else build()

    def settle(self) -> None:
        """They were applied: they need not be kept."""
        self._built = None


_Held = dict[ChildKey, tuple[bytes, bytes]]
"""Of one stack: each child's intent, and what the child looked like when it held it, both as digests."""


class Applier:
    """Applies what does not hold its intent.

    Whether a child does is read from the object itself, so nothing is written at rest nor after a restart; what was
    compared once is remembered by two digests, so that a pass at rest costs next to nothing. What others add to a child
    is theirs.
    """

    def __init__(self, api: Api, cache: Cache) -> None:
        self._api = api
        self._cache = cache
        self._held: dict[str, _Held] = {}

    def forget(self, uid: str) -> None:
        """A stack is gone."""
        self._held.pop(uid, None)

    async def apply(
        self, key: Key, uid: str, plan: Plan, build: Callable[[], Iterable[Manifest]]
    ) -> list[Repair | Refusal]:
        """Apply what needs it, in order; `build` makes the plan's manifests. Returns the drift that was repaired and
        the children that were refused."""
        held = self._held.setdefault(uid, {})
        entries = self._cache.of(key)
        changed = {child for child, intent in plan.intents.items() if not _rests(held, child, intent, entries, uid)}
        if not changed:
            return []
        due = [manifest for manifest in plan.manifests(build) if _key(manifest) in changed]
        outcomes = [await self._bring(held, key, uid, manifest, plan.intents[_key(manifest)]) for manifest in due]
        plan.settle()
        return [outcome for outcome in outcomes if outcome is not None]

    async def prune(self, key: Key, uid: str, plan: Plan) -> None:
        """Delete the stack's children that are no longer wanted."""
        extra = [
            entry.facts()
            for child, entry in self._cache.of(key).items()
            if child not in plan.intents and child[0] not in NEVER_PRUNED and entry.owner == uid
        ]
        await asyncio.gather(*(self._prune_one(i) for i in extra if "deletionTimestamp" not in i["metadata"]))

    async def _prune_one(self, item: Manifest) -> None:
        """Delete one child. A StatefulSet first lets go of its volumes: the deletion policy speaks of the stack's end,
        not of a store that an edit of the spec took away."""
        if item["kind"] == "StatefulSet":
            policy = item["spec"]["persistentVolumeClaimRetentionPolicy"].get("whenDeleted", "Retain")
            if policy != "Retain":
                await self._api.merge(
                    item, {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}}
                )
                return
            if item["status"].get("observedGeneration") != item["metadata"]["generation"]:
                return  # its status will change, and that wakes the stack
        await self._api.delete(item)

    async def _bring(
        self, held: _Held, key: Key, uid: str, manifest: Manifest, intent: bytes
    ) -> Repair | Refusal | None:
        """Compare one child with its intent, and apply it where it does not hold it."""
        child = _key(manifest)
        entry = self._cache.of(key).get(child)
        expected = held.get(child, (b"", b""))[0] == intent
        live = None
        if entry is not None and entry.owner == uid:
            live = await self._whole(manifest, entry)
            found = differences(manifest, live) if live is not None else []
            lost = next((each for each in found if each.lost), None)
            if live is not None and not found:
                entry.packed = None
                held[child] = (intent, entry.digest)
                return None
        elif told := await self._taken(key, uid, manifest):
            return Refusal(manifest, told)
        try:
            after = await self._write(manifest, drifted=live is not None)
        except ApiError as error:
            if error.refused:
                return Refusal(manifest, error.message)
            raise
        self._cache.put(after, ours=True)
        held[child] = (intent, digest_of(after))
        if live is None:
            repair = Repair(*child, "whoever deleted it") if expected else None
        else:
            repair = Repair(*child, changed_by(live, lost.path), lost.told) if lost is not None else None
        if repair is not None:
            metrics.DRIFT_REPAIRS.labels(child[0]).inc()
        return repair

    async def _write(self, manifest: Manifest, *, drifted: bool) -> Manifest:
        """Apply, and where what somebody else left behind makes that invalid, put ours in its place first: a Service
        whose port was edited has two ports of one name when only ours is put beside it."""
        try:
            return await self._api.apply(manifest)
        except ApiError as error:
            if error.status != 422 or not drifted or "spec" not in manifest:
                raise
            await self._api.merge(manifest, {"spec": manifest["spec"]})
            return await self._api.apply(manifest)

    async def _whole(self, manifest: Manifest, entry: Entry) -> Manifest | None:
        """The live object; asked for when the cache no longer has all of it."""
        meta = manifest["metadata"]
        return entry.whole() or await self._api.get(kind_of(manifest), meta["namespace"], meta["name"])

    async def _taken(self, key: Key, uid: str, manifest: Manifest) -> str:
        """Whose the name is already; empty when it is free or the stack's own.

        A forced apply would take over anybody's object, and the end of the stack would delete it. What carries the
        stack's labels and has no owner was brought back from a backup, and is taken. Raises ApiError when it was left
        behind by a stack that is deleted without its children, the news of which is on its way: what a stack that is
        gone owns would be deleted.
        """
        meta = manifest["metadata"]
        found = await self._api.peek(kind_of(manifest), meta["namespace"], meta["name"])
        if found is None or controller_uid(found) == uid:
            return ""
        same = all(label(found, name) == label(manifest, name) for name in (MANAGED_BY_LABEL, STACK_LABEL))
        if same and not controller_uid(found):
            stack = await self._api.peek(STACK, *key)
            if stack is None or stack["metadata"]["uid"] != uid or "deletionTimestamp" in stack["metadata"]:
                raise ApiError(409, "Conflict", "the stack is about to go, or gone")
            return ""
        owner = next(
            (f"{o['kind']} {o['name']}" for o in found["metadata"].get("ownerReferences", [])), "somebody else"
        )
        return (
            f"the name is taken by one of {owner}; remove or rename that, or give the stack or its source another name"
        )


def _rests(held: _Held, child: ChildKey, intent: bytes, entries: Mapping[ChildKey, Entry], uid: str) -> bool:
    """Whether a child is what it was when it held this intent."""
    entry = entries.get(child)
    return entry is not None and held.get(child) == (intent, entry.digest) and entry.owner == uid


def _key(manifest: Manifest) -> ChildKey:
    return manifest["kind"], manifest["metadata"]["name"]
