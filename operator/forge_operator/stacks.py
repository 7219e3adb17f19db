"""The stacks that are known: by kopf's watch, by this process's own writes, and by the list of every resync."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from forge_stack.model import ObservabilityStack, StackStatus
from forge_stack.runs import RUN_NOW
from pydantic import ValidationError

from forge_operator.cache import as_bytes
from forge_operator.names import Key, Manifest

PARSED = 64
"""Stacks whose spec is kept as it was parsed: those that are busy just now."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A manifest as bytes, which take a fifth of the memory of dicts."""

    manifest: bytes
    uid: str
    version: int


class Stacks:
    """Manifests by key; an older version never replaces a newer one, and a change wakes the stack."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._known: dict[Key, _Kept] = {}
        self._specs: OrderedDict[Key, tuple[tuple[str, int], ObservabilityStack]] = OrderedDict()
        self._heard: dict[Key, int] = {}

    def get(self, key: Key) -> Manifest | None:
        """The stack's manifest; None when it is gone."""
        kept = self._known.get(key)
        return dict(orjson.loads(kept.manifest)) if kept is not None else None

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._known))

    def put(self, manifest: Manifest, *, ours: bool = False) -> None:
        """A stack is there, in this version. What this process wrote itself wakes nobody."""
        key = key_of(manifest)
        old, uid, version = self._known.get(key), manifest["metadata"]["uid"], version_of(manifest)
        if old is not None and old.uid == uid and version <= old.version:
            return
        self._known[key] = _Kept(as_bytes(_trimmed(manifest)), uid, version)
        if not ours:
            self._wake(key)

    def drop(self, key: Key, uid: str = "") -> None:
        """A stack is gone (the one of that uid, when it is given)."""
        old = self._known.get(key)
        if old is not None and uid in ("", old.uid):
            del self._known[key]
            self._specs.pop(key, None)
            self._heard.pop(key, None)
        self._wake(key)

    def hear(self, happened: str | None, manifest: Manifest) -> None:
        """What the watch says."""
        key = key_of(manifest)
        if happened == "DELETED":
            self.drop(key, manifest["metadata"]["uid"])
        else:
            self._heard[key] = version_of(manifest)
            self.put(manifest)

    def keep(self, listed: Mapping[Key, int], namespace: str = "") -> None:
        """A list of the stacks (of a namespace, or of all) holds these, and no other is there."""
        for key in self:
            if key not in listed and namespace in ("", key[0]):
                self.drop(key)

    def unheard(self, versions: Mapping[Key, int]) -> dict[Key, int]:
        """Which of these versions the watch has not told yet: it is late, or deaf."""
        return {key: version for key, version in versions.items() if self._heard.get(key, 0) < version}

    def statuses(self) -> Iterator[tuple[Key, StackStatus]]:
        """The status of each stack."""
        for key, kept in list(self._known.items()):
            yield key, status_of(orjson.loads(kept.manifest))

    def parse(self, manifest: Manifest) -> ObservabilityStack:
        """The stack of a manifest. Raises ValidationError when its spec cannot be read; a status that cannot be read is
        none, for it is computed anew."""
        key, meta = key_of(manifest), manifest["metadata"]
        version = (meta["uid"], meta.get("generation", 0))
        known = self._specs.get(key)
        if known is None or known[0] != version:
            spec_only = {name: value for name, value in manifest.items() if name != "status"}
            known = self._specs[key] = (version, ObservabilityStack.parse(spec_only))
        self._specs.move_to_end(key)
        while len(self._specs) > PARSED:
            self._specs.popitem(last=False)
        return known[1].model_copy(update={"status": status_of(manifest)})


def status_of(manifest: Manifest) -> StackStatus:
    """The status, without the parts that cannot be read (a newer release wrote them): they are computed anew."""
    status = manifest.get("status", {})
    try:
        return StackStatus.model_validate(status)
    except ValidationError as error:
        unread = {item["loc"][0] for item in error.errors()}
        return StackStatus.model_validate({name: part for name, part in status.items() if name not in unread})


def key_of(manifest: Manifest) -> Key:
    """The key of a stack's manifest."""
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def version_of(manifest: Manifest) -> int:
    """Its resourceVersion, as the number that it is (https://kep.k8s.io/5504)."""
    return int(manifest["metadata"]["resourceVersion"])


def _trimmed(manifest: Manifest) -> Manifest:
    """Without the bookkeeping, which only a request for a run is read from."""
    meta = manifest["metadata"]
    if "managedFields" in meta and RUN_NOW not in meta.get("annotations", {}):
        meta = {name: value for name, value in meta.items() if name != "managedFields"}
    return {**manifest, "metadata": meta}
