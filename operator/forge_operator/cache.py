"""What is known of the stacks' children, kept by watches: small enough for thousands, whole enough to decide from.

Of each object stays what the decisions read, and a digest of all that is not status: two objects of one digest are the
same to the applier. The whole object is kept, packed, only until it was compared with what it should be. All of it is
kept as bytes: as dicts the same takes four times the memory, and holds together what was read for it. Everything here
may be late; what must not happen twice is held together by names and resource versions.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from forge_stack.model import GROUP

from forge_operator.names import (
    COMPONENT_LABEL,
    MANAGED_BY_LABEL,
    STACK_LABEL,
    Key,
    Manifest,
    controller_uid,
    label,
)
from forge_operator.watch import Collection

ChildKey = tuple[str, str]
"""Kind and name."""

NEVER_APPLIED = frozenset({"Pod", "Job"})
"""What others make, or what is made once: nobody compares it with what it should be."""
_VOLATILE = ("resourceVersion", "managedFields", "generation")
_LABELS = (f"{GROUP}/", COMPONENT_LABEL, MANAGED_BY_LABEL)
_GRAVES = 10_000


@dataclass(slots=True)
class Entry:
    """One object. `shape` is what decisions read of it, `owner` the uid of what controls it, `digest` stands for all
    but its status, `packed` is the whole of it until somebody compared it with what it should be."""

    shape: bytes
    owner: str
    version: int
    digest: bytes
    packed: bytes | None = None

    def facts(self) -> Manifest:
        """What decisions read of it, as a manifest."""
        return dict(orjson.loads(self.shape))

    def whole(self) -> Manifest | None:
        """The object as it was read; None when it was compared already."""
        return dict(orjson.loads(zlib.decompress(self.packed))) if self.packed is not None else None


class Cache:
    """The labelled objects by stack. A change of anything that decisions or the applier read wakes the stack."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._stacks: dict[Key, dict[ChildKey, Entry]] = {}
        self._homes: dict[tuple[str, str, str], Key] = {}
        self._graves: dict[tuple[str, str, str], int] = {}

    def of(self, key: Key) -> Mapping[ChildKey, Entry]:
        """The objects that carry a stack's label."""
        return self._stacks.get(key, {})

    def put(self, item: Manifest, *, ours: bool = False) -> None:
        """An object is there, in this version; an older one changes nothing. What this process wrote itself (`ours`)
        wakes nobody and is right as it is."""
        where, version = _where(item), int(item["metadata"]["resourceVersion"])
        stack = label(item, STACK_LABEL)
        key, child = (item["metadata"]["namespace"], stack), where[::2]
        home = self._homes.get(where)
        old = self._stacks[home].get(child) if home is not None else None
        if (old is not None and version <= old.version) or version <= self._graves.get(where, -1) or not stack:
            return
        if home is not None and home != key:
            self._remove(where)
            self._wake(home)
            old = None
        compared = item["kind"] not in NEVER_APPLIED
        digest, shape = digest_of(item) if compared else b"", as_bytes(shape_of(item))
        same = old is not None and old.digest == digest
        packed = old.packed if old is not None and same else None
        if compared and not ours and not same:
            packed = _pack(item)
        entry = Entry(shape, sys.intern(controller_uid(item)), version, digest, packed)
        self._stacks.setdefault(key, {})[child] = entry
        self._homes[where] = key
        if not ours and not (same and old is not None and old.shape == shape):
            self._wake(key)

    def drop(self, item: Manifest) -> None:
        """An object is gone; its last version comes with the news."""
        where = _where(item)
        self._bury(where, int(item["metadata"]["resourceVersion"]))
        if (home := self._homes.get(where)) is not None:
            self._remove(where)
            self._wake(home)

    def keep(self, collection: Collection, names: set[tuple[str, str]], version: int) -> None:
        """What a list of that version does not hold is gone, unless this process made it since."""
        kind, within = collection.kind.kind, collection.namespace
        for where, home in list(self._homes.items()):
            if where[0] != kind or (within and where[1] != within) or where[1:] in names:
                continue
            if self._stacks[home][where[::2]].version <= version:
                self._remove(where)
                self._wake(home)

    def _remove(self, where: tuple[str, str, str]) -> None:
        home = self._homes.pop(where)
        objects = self._stacks[home]
        del objects[where[::2]]
        if not objects:
            del self._stacks[home]

    def _bury(self, where: tuple[str, str, str], version: int) -> None:
        """Remember the end, so that an answer that was long on its way brings nothing back."""
        self._graves.pop(where, None)
        self._graves[where] = version
        while len(self._graves) > _GRAVES:
            del self._graves[next(iter(self._graves))]


def as_bytes(value: Manifest) -> bytes:
    """A value to keep: a copy as long as its text, for what orjson gives holds on to the kilobytes it began with."""
    return bytes(memoryview(orjson.dumps(value)))


def digest_of(item: Manifest) -> bytes:
    """Stands for the object without its status and its bookkeeping."""
    meta = {name: value for name, value in item["metadata"].items() if name not in _VOLATILE}
    stable = {**{name: value for name, value in item.items() if name != "status"}, "metadata": meta}
    return hash_of(stable)


def hash_of(value: Manifest) -> bytes:
    """Stands for a value, whatever the order of its keys."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def shape_of(item: Manifest) -> Manifest:
    """What decisions read of an object: who it is, whose it is, and its kind's own facts."""
    meta = item["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "creationTimestamp") if name in meta}
    if "deletionTimestamp" in meta:
        kept["deletionTimestamp"] = meta["deletionTimestamp"]
    kept["labels"] = {name: value for name, value in meta.get("labels", {}).items() if name.startswith(_LABELS)}
    if owner := controller_uid(item):
        kept["ownerReferences"] = [
            {name: o[name] for name in ("kind", "name", "uid", "controller")}
            for o in meta["ownerReferences"]
            if o["uid"] == owner
        ]
    shape: Manifest = {"kind": item["kind"], "apiVersion": item["apiVersion"], "metadata": kept}
    more = _FACTS.get(item["kind"])
    if more is not None:
        for name, value in more(item):
            if name in ("annotations", "generation"):
                kept[name] = value
            else:
                shape[name] = value
    return shape


def _job(item: Manifest) -> Iterator[tuple[str, Any]]:
    yield "annotations", item["metadata"].get("annotations", {})
    status = item.get("status", {})
    yield (
        "status",
        {
            **{name: status[name] for name in ("startTime", "completionTime") if name in status},
            "conditions": [
                {name: c[name] for name in ("type", "status", "reason", "message", "lastTransitionTime") if name in c}
                for c in status.get("conditions") or []
                if c["type"] in ("Complete", "Failed")
            ],
        },
    )


def _pod(item: Manifest) -> Iterator[tuple[str, Any]]:
    """Its troubles and its ends: a healthy pod on its way is of no interest, so its steps wake nobody."""
    status = item.get("status", {})
    phase = status.get("phase", "")
    yield (
        "status",
        {
            "phase": phase if phase in ("Succeeded", "Failed") else "",
            "conditions": [
                {name: c[name] for name in ("type", "status", "reason", "message") if name in c}
                for c in status.get("conditions") or []
                if c["type"] == "PodScheduled" and c["status"] == "False"
            ],
            **{
                name: [_container(each) for each in status[name]]
                for name in ("initContainerStatuses", "containerStatuses")
                if name in status
            },
        },
    )


def _container(status: Manifest) -> Manifest:
    """Of a container: what it waits for, how it ended."""
    states = {}
    for name in ("state", "lastState"):
        for phase, facts in status.get(name, {}).items():
            if phase == "terminated":
                told = ("reason", "exitCode", "message", "finishedAt")
                states[name] = {phase: {field: facts[field] for field in told if field in facts}}
            elif phase == "waiting" and facts.get("reason") != "ContainerCreating":
                states[name] = {phase: facts}
    return {"name": status["name"], "image": status.get("image", ""), **states}


def _cron_job(item: Manifest) -> Iterator[tuple[str, Any]]:
    status = item.get("status", {})
    yield "status", {name: status[name] for name in ("lastSuccessfulTime",) if name in status}
    yield "spec", {"suspend": item["spec"].get("suspend", False)}


def _deployment(item: Manifest) -> Iterator[tuple[str, Any]]:
    status = item.get("status", {})
    names = ("observedGeneration", "readyReplicas", "updatedReplicas", "replicas", "unavailableReplicas")
    yield "generation", item["metadata"].get("generation")
    yield "status", {name: status[name] for name in names if name in status}
    yield "spec", {"replicas": item["spec"].get("replicas")}


def _stateful_set(item: Manifest) -> Iterator[tuple[str, Any]]:
    status, spec = item.get("status", {}), item["spec"]
    names = ("observedGeneration", "readyReplicas", "currentRevision", "updateRevision")
    yield "generation", item["metadata"].get("generation")
    yield "status", {name: status[name] for name in names if name in status}
    policy = spec.get("persistentVolumeClaimRetentionPolicy", {})
    yield (
        "spec",
        {
            "volumeClaimTemplates": [_claim(each) for each in spec.get("volumeClaimTemplates", [])],
            "persistentVolumeClaimRetentionPolicy": policy,
        },
    )


def _claim(template: Manifest) -> Manifest:
    """A live claim template without what the API server filled in."""
    spec = {name: value for name, value in template["spec"].items() if name != "volumeMode"}
    meta = {name: template["metadata"][name] for name in ("name", "labels") if name in template["metadata"]}
    return {"metadata": meta, "spec": spec}


_FACTS: Mapping[str, Callable[[Manifest], Iterator[tuple[str, Any]]]] = {
    "Job": _job,
    "Pod": _pod,
    "CronJob": _cron_job,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
}


def _where(item: Manifest) -> tuple[str, str, str]:
    meta = item["metadata"]
    return sys.intern(item["kind"]), sys.intern(meta["namespace"]), meta["name"]


def _pack(item: Manifest) -> bytes:
    return zlib.compress(orjson.dumps(item), 1)
