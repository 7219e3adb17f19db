"""What must hold of a stack's life, told from the history of its objects alone.

Pure: a history goes in, broken promises come out as sentences. It reads objects by itself, with no code of the operator
but the names of labels, so that it cannot make the operator's mistakes. Order is the resourceVersion, which the API
server counts up over all objects; no clock is trusted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations, pairwise
from typing import Any, Literal

from forge_operator.names import (
    COMPONENT_LABEL,
    COVERS_ANNOTATION,
    FIRST_LABEL,
    REQUEST_ANNOTATION,
    SEQUENCE_LABEL,
    SOURCE_LABEL,
    STACK_LABEL,
    load_name,
)

Manifest = dict[str, Any]
STACK = "ObservabilityStack"
NEVER = 1 << 62
"""Later than every resourceVersion."""


@dataclass(frozen=True)
class Seen:
    """One version of one object. At DELETED, `version` is when it went and `object` what it was last."""

    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Manifest


@dataclass
class Story:
    """All versions of one object, from its creation on."""

    kind: str
    name: str
    uid: str
    versions: list[tuple[int, Manifest]] = field(default_factory=list)
    gone: int = NEVER

    @property
    def born(self) -> int:
        return self.versions[0][0]

    @property
    def first(self) -> Manifest:
        return self.versions[0][1]

    @property
    def last(self) -> Manifest:
        return self.versions[-1][1]

    def label(self, name: str) -> str:
        return str(self.first["metadata"].get("labels", {}).get(name, ""))

    def since(self, holds: Any) -> int:
        """The first version for which something holds."""
        return next((version for version, manifest in self.versions if holds(manifest)), NEVER)


def stories(history: Iterable[Seen]) -> dict[str, Story]:
    """The objects of a history, by uid."""
    found: dict[str, Story] = {}
    for seen in sorted(history, key=lambda seen: seen.version):
        meta = seen.object["metadata"]
        story = found.setdefault(meta["uid"], Story(seen.object["kind"], meta["name"], meta["uid"]))
        if seen.type == "DELETED":
            story.gone = min(story.gone, seen.version)
            if not story.versions:
                story.versions.append((seen.version, seen.object))
        elif not story.versions or story.versions[-1][0] != seen.version:
            story.versions.append((seen.version, seen.object))
    return found


def has_ended(job: Manifest, how: str = "") -> bool:
    """Whether a Job has ended (`how`: Complete or Failed; either when empty)."""
    conditions = job.get("status", {}).get("conditions") or []
    wanted = (how,) if how else ("Complete", "Failed")
    return any(condition["type"] in wanted and condition["status"] == "True" for condition in conditions)


def is_over(pod: Manifest) -> bool:
    """Whether no container of a pod runs any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def covers(job: Manifest) -> list[tuple[str, str, str]]:
    """The loads that a transform was made for: uid, source, end."""
    rows = json.loads(job["metadata"].get("annotations", {}).get(COVERS_ANNOTATION, "[]"))
    return [(uid, source, ended) for uid, source, ended in rows]


def load_names(load: Manifest) -> set[str]:
    """What the status may call a load that succeeded: its Job's uid, or its CronJob's record, when that came first."""
    labels, ended = load["metadata"]["labels"], _moment(load["status"]["completionTime"])
    return {load["metadata"]["uid"], f"{load_name(labels[STACK_LABEL], labels[SOURCE_LABEL])}@{ended.isoformat()}"}


@dataclass
class Life:
    """One stack and what belongs to it. `by_hand` are uids of objects that the test itself deleted or changed."""

    stack: Story
    by_uid: Mapping[str, Story]
    by_hand: frozenset[str]

    def __post_init__(self) -> None:
        self.dying = min(self.stack.gone, self.stack.since(lambda m: "deletionTimestamp" in m["metadata"]))

    def of(self, kind: str, component: str = "") -> list[Story]:
        """Its objects of a kind, oldest first; only those that were made before its deletion was asked for."""
        return sorted(
            (
                story
                for story in self.by_uid.values()
                if story.kind == kind
                and story.born < self.dying
                and component in ("", story.label(COMPONENT_LABEL))
                and self._root(story) == self.stack.uid
            ),
            key=lambda story: story.born,
        )

    def _root(self, story: Story) -> str:
        while True:
            owners = story.first["metadata"].get("ownerReferences", [])
            owner = next((reference["uid"] for reference in owners if reference.get("controller")), "")
            if owner == self.stack.uid or owner not in self.by_uid:
                return self._by_name(story) if owner and owner != self.stack.uid else owner
            story = self.by_uid[owner]

    def _by_name(self, story: Story) -> str:
        """A pod of the API belongs to a ReplicaSet, which is not watched: it counts by its label and its name."""
        labelled = story.kind == "Pod" and story.label("observability.forge.dev/stack") == self.stack.name
        return self.stack.uid if labelled and self.stack.born < story.born else ""

    def touched(self, *uids: str) -> bool:
        """Whether the test had a hand in one of them, or in the stack's own status."""
        return not self.by_hand.isdisjoint({*uids, self.stack.uid})

    def has_source(self, name: str, since: int, until: int) -> bool:
        """Whether the spec named a source in every version of the stack that was current in that time."""
        before = [manifest for version, manifest in self.stack.versions if version <= since][-1:]
        while_ = [manifest for version, manifest in self.stack.versions if since < version < until]
        return all(any(s["name"] == name for s in m["spec"]["sources"]) for m in [*before, *while_])


def violations(history: Iterable[Seen], *, by_hand: Iterable[str] = ()) -> list[str]:
    """Every promise that the history of one namespace breaks, as a sentence."""
    by_uid = stories(history)
    found = []
    for stack in by_uid.values():
        if stack.kind == STACK:
            life = Life(stack, by_uid, frozenset(by_hand))
            for promise in PROMISES:
                found += [f"{stack.name}: {sentence}" for sentence in promise(life)]
    return found


def uncovered(life: Life) -> Iterator[str]:
    """Every finished load is covered by a successful transform of its source that was created after its end.

    Whether that one names the load does not matter: it reads all that its sources had loaded. It may know the load by
    its CronJob's record, or by a later load of the source when the Job was deleted. A stack that is deleted is owed
    nothing any more.
    """
    if life.dying < NEVER:
        return
    transforms = [
        (job, covers(job.first))
        for job in life.of("Job", "transform")
        if job.since(lambda m: has_ended(m, "Complete")) < life.dying
    ]
    for load in life.of("Job", "load"):
        ended = load.since(lambda m: has_ended(m, "Complete"))
        source = load.label(SOURCE_LABEL)
        if ended >= life.dying or not life.has_source(source, ended, life.dying):
            continue
        if not any(job.born > ended and source in {name for _, name, _ in batch} for job, batch in transforms):
            yield f"no successful transform covers the load {load.name} (version {ended})"


def overlapping(life: Life) -> Iterator[str]:
    """Never two transforms at once, as Jobs or as pods, nor two loads of one source."""
    yield from _overlaps("transforms", life.of("Job", "transform"), has_ended)
    yield from _overlaps("pods of transforms", life.of("Pod", "transform"), is_over)
    for kind, holds in (("Job", has_ended), ("Pod", is_over)):
        by_source = defaultdict(list)
        for story in life.of(kind, "load"):
            by_source[story.label(SOURCE_LABEL)].append(story)
        for source, loads in by_source.items():
            yield from _overlaps(f"loads of {source} ({kind}s)", loads, holds)


def _overlaps(what: str, objects: list[Story], holds: Any) -> Iterator[str]:
    for one, other in combinations(objects, 2):  # ordered by birth
        end = min(one.gone, one.since(holds))
        if other.born < end:
            yield f"two {what} at once: {one.name} (until {end}) and {other.name} (from {other.born})"


def doubled(life: Life) -> Iterator[str]:
    """One Job a sequence, one first load an attempt, none after a success, one Job a request, no load transformed
    twice."""
    transforms = life.of("Job", "transform")
    for one, other in combinations(transforms, 2):
        if one.label(SEQUENCE_LABEL) == other.label(SEQUENCE_LABEL) and not life.touched(one.uid):
            yield f"transform {one.label(SEQUENCE_LABEL)} was made twice: {one.uid}, {other.uid}"
    loads = life.of("Job", "load")
    first = [load for load in loads if load.label(FIRST_LABEL)]
    for one, other in combinations(loads, 2):
        source = one.label(SOURCE_LABEL)
        if other not in first or other.label(SOURCE_LABEL) != source or life.touched(one.uid):
            continue
        if not life.has_source(source, one.born, other.born):
            continue  # it was removed meanwhile, and is new again
        if one.label(FIRST_LABEL) == other.label(FIRST_LABEL):
            yield f"the first load {one.name} was made twice: {one.uid}, {other.uid}"
        elif one.since(lambda m: has_ended(m, "Complete")) < other.born:
            yield f"the first load {other.name} was made after {one.name} had succeeded"
    asked: dict[str, Story] = {}
    for job in [*transforms, *loads]:
        for request in filter(
            None, job.first["metadata"].get("annotations", {}).get(REQUEST_ANNOTATION, "").split(",")
        ):
            if request in asked and not life.touched(asked[request].uid):
                yield f"{asked[request].name} and {job.name} were both made for the request {request}"
            asked[request] = job
    yield from _transformed_twice(life, transforms, loads)


def _transformed_twice(life: Life, transforms: list[Story], loads: list[Story]) -> Iterator[str]:
    ends = {
        (load.label(SOURCE_LABEL), _moment(str(load.last["status"]["completionTime"]))): load.uid
        for load in loads
        if has_ended(load.last, "Complete")
    }
    by: dict[str, Story] = {}
    for job in transforms:
        if not has_ended(job.last, "Complete"):
            continue
        for uid, source, ended in covers(job.first):
            # A load that is known only by its CronJob's record is the Job that ended then.
            load = ends.get((source, _moment(ended)), uid) if "@" in uid else uid
            if load in by and by[load] is not job and not life.touched(load, by[load].uid):
                yield f"{by[load].name} and {job.name} both succeeded for one load of {source} ({load})"
            by[load] = job


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def restarted(life: Life) -> Iterator[str]:
    """Pods of the store and of the API stay, and so do their templates."""
    for kind in ("StatefulSet", "Deployment"):
        for workload in life.of(kind):
            if workload.gone < life.dying and not life.touched(workload.uid):
                yield f"{kind} {workload.name} was deleted"
            templates = [manifest["spec"]["template"] for _, manifest in workload.versions]
            if any(template != templates[0] for template in templates) and not life.touched(workload.uid):
                yield f"the pod template of {kind} {workload.name} changed"
    for pod in [*life.of("Pod", "store"), *life.of("Pod", "api")]:
        if pod.gone < life.dying and not life.touched(pod.uid):
            yield f"pod {pod.name} was deleted"
        count = max((status.get("restartCount", 0) for status in _containers(pod.last)), default=0)
        if count:
            yield f"a container of pod {pod.name} restarted {count} times"


def _containers(pod: Manifest) -> list[Manifest]:
    return list(pod.get("status", {}).get("containerStatuses", []))


def rewritten(life: Life) -> Iterator[str]:
    """A made Secret keeps its content, and lives as long as its stack: others hold copies of what it says."""
    for secret in life.of("Secret"):
        if life.touched(secret.uid):
            continue
        if secret.gone < life.dying:
            yield f"Secret {secret.name} was deleted"
        if any(manifest.get("data") != secret.first.get("data") for _, manifest in secret.versions):
            yield f"Secret {secret.name} changed"


def set_back(life: Life) -> Iterator[str]:
    """The status goes forward only."""
    if life.touched(life.stack.uid):
        return
    statuses = [(version, manifest.get("status", {})) for version, manifest in life.stack.versions]
    for (_, old), (version, new) in pairwise(statuses):
        if new.get("observedGeneration", 0) < old.get("observedGeneration", 0):
            yield f"observedGeneration went back in version {version}"
        before, after = old.get("transform", {}), new.get("transform", {})
        if after.get("sequence", 0) < before.get("sequence", 0):
            yield f"the committed sequence went back in version {version}"
        for source, moment in before.get("covered", {}).items():
            if _moment(after.get("covered", {}).get(source, moment)) < _moment(moment):
                yield f"the covered time of {source} went back in version {version}"
        later = {known["name"]: known for known in new.get("sources", [])}
        for known in old.get("sources", []):
            for name in ("lastLoadTime", "lastSuccessTime"):
                told = later.get(known["name"], known).get(name)
                if known.get(name) and (told is None or _moment(told) < _moment(known[name])):
                    yield f"{name} of {known['name']} went back in version {version}"


def told_twice(life: Life) -> Iterator[str]:
    """One Event an end of a transform."""
    notes: dict[str, str] = {}
    for event in life.by_uid.values():
        if event.kind != "Event" or event.first.get("regarding", {}).get("uid") != life.stack.uid:
            continue
        if event.first["reason"] not in ("TransformSucceeded", "TransformFailed", "TransformStarted"):
            continue
        key = f"{event.first['reason']}: {' '.join(event.first['note'].split()[:3])}"
        if key in notes and not life.touched(life.stack.uid, *life.by_hand):
            yield f"two Events say {key}: {notes[key]}, {event.name}"
        notes[key] = event.name


PROMISES = (uncovered, overlapping, doubled, restarted, rewritten, set_back, told_twice)


# What is there in the end

_OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace")
_DRAWN = {"clusterIP", "clusterIPs", "ipFamilies", "healthCheckNodePort"}
_LASTING = ("ServiceAccount", "Secret", "ConfigMap", "Service", "StatefulSet", "Deployment", "PodDisruptionBudget",
            "NetworkPolicy", "Ingress", "CronJob")  # fmt: skip


def shape(history: Iterable[Seen], stack: str) -> dict[str, Manifest]:
    """The lasting children of a stack as they are in the end, without what the API server or chance gave them.

    Two stacks of one spec have one shape, whatever happened to them on the way.
    """
    by_uid = stories(history)
    owner = next(s for s in by_uid.values() if s.kind == STACK and s.name == stack and s.gone == NEVER)
    return {
        f"{story.kind}/{story.name}": _plain(story.last)
        for story in by_uid.values()
        if story.kind in _LASTING
        and story.gone == NEVER
        and any(o["uid"] == owner.uid for o in story.last["metadata"].get("ownerReferences", []))
    }


def _plain(manifest: Manifest) -> Manifest:
    meta = {k: v for k, v in manifest["metadata"].items() if k not in _OF_THE_SERVER}
    meta["annotations"] = {k: v for k, v in meta.get("annotations", {}).items() if "kubernetes.io" not in k}
    meta["ownerReferences"] = [{k: v for k, v in o.items() if k != "uid"} for o in meta["ownerReferences"]]
    rest = {k: v for k, v in manifest.items() if k not in ("metadata", "status")}
    if manifest["kind"] == "Secret":
        rest["data"] = sorted(manifest.get("data", {}))
    if manifest["kind"] == "Service":
        rest["spec"] = {k: v for k, v in rest["spec"].items() if k not in _DRAWN}
    return {"metadata": meta, **_without_hashes(rest)}


def _without_hashes(value: Any) -> Any:
    """Annotations that stand for drawn passwords differ from stack to stack."""
    if isinstance(value, dict):
        return {k: _without_hashes(v) for k, v in value.items() if k != "observability.forge.dev/secrets"}
    if isinstance(value, list):
        return [_without_hashes(item) for item in value]
    return value


def differences(wanted: Mapping[str, Manifest], found: Mapping[str, Manifest]) -> list[str]:
    """How two shapes differ."""
    told = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    told += [f"{name} is there though nothing wants it" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        if wanted[name] != found[name]:
            told.append(f"{name} differs: {'; '.join(_paths(wanted[name], found[name]))}")
    return told


def _paths(wanted: Any, found: Any, path: str = "") -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted(wanted.keys() | found.keys())
        return [p for key in keys for p in _paths(wanted.get(key), found.get(key), f"{path}.{key}")]
    return [] if wanted == found else [f"{path} is {found!r}, not {wanted!r}"[:300]]
