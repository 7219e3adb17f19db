"""What the API server does not have: names that are somebody else's, Jobs that are not admitted. Status and Events say
so, nothing of others is touched, and the rest of the stack goes on."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from forge_operator.api import ApiError
from forge_operator.cache import Cache
from forge_operator.credentials import Credentials
from forge_operator.events import Happening, Recorder
from forge_operator.names import CHILDREN, Kind, Manifest
from forge_operator.reconcile import Reconciler
from forge_operator.stacks import Stacks
from stack_objects import RICH, make_settings

KEY = ("team-a", "acme")


class Objects:
    """The API server's rules that matter here: unique names, forced apply, and what it is told to refuse."""

    def __init__(self, *objects: Manifest) -> None:
        self.kept = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        self.refuse: dict[str, str] = {}
        self.calls: list[str] = []
        self._seen: dict[tuple[str, str], tuple[str, str]] = {}

    def stack(self) -> Manifest:
        return self.kept["ObservabilityStack", "acme"]

    def conditions(self) -> dict[str, tuple[str, str, str]]:
        found = self.stack()["status"]["conditions"]
        return {c["type"]: (c["status"], c["reason"], c.get("message", "")) for c in found}

    def versioned(self, kind: str, name: str) -> Manifest:
        """A copy with a version that is new when the object is."""
        item = copy.deepcopy(self.kept[kind, name])
        version, text = self._seen.get((kind, name), ("0", ""))
        if text != repr(item):
            version = str(1 + max((int(v) for v, _ in self._seen.values()), default=0))
            self._seen[kind, name] = (version, repr(item))
        item["metadata"]["resourceVersion"] = version
        return item

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self.versioned(kind.kind, name) if (kind.kind, name) in self.kept else None

    async def peek(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return await self.get(kind, namespace, name)

    async def create(self, manifest: Manifest, kind: Kind | None = None) -> Manifest:
        if (manifest["kind"], manifest["metadata"]["name"]) in self.kept:
            raise ApiError(409, "AlreadyExists", "it exists")
        return self._store("create", manifest)

    async def apply(self, manifest: Manifest) -> Manifest:
        return self._store("apply", manifest)

    async def delete(self, manifest: Manifest) -> None:
        del self.kept[manifest["kind"], manifest["metadata"]["name"]]

    async def replace(self, kind: Kind, manifest: Manifest, subresource: str = "") -> Manifest:
        self.stack()["status"] = copy.deepcopy(manifest["status"])
        return self.versioned(kind.kind, manifest["metadata"]["name"])

    def _store(self, verb: str, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in self.refuse:
            raise ApiError(403, "Forbidden", self.refuse[kind])
        self.calls.append(f"{verb} {kind} {name}")
        stored = copy.deepcopy(manifest)
        stored["metadata"]["uid"] = f"uid-of-{kind}-{name}"
        if kind == "StatefulSet":
            stored["status"] = {"readyReplicas": 1, "currentRevision": "1", "updateRevision": "1"}
        stored["data"] = dict.fromkeys(stored.pop("stringData", {}), "eA==") or stored.get("data", {})
        self.kept[kind, name] = stored
        return self.versioned(kind, name)


class Told(Recorder):
    """Events that are kept."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def tell(self, namespace: str, name: str, uid: str, happening: Happening) -> None:
        self.happenings.append(happening)


class Operator:
    """A reconciler and what it knows, brought up to date before each pass."""

    def __init__(self, objects: Objects) -> None:
        api: Any = objects
        self._objects = objects
        self._stacks = Stacks(lambda _: None)
        self._cache = Cache(lambda _: None)
        self._credentials = Credentials(api, lambda _: None)
        self.told = Told()
        known = (self._stacks, self._cache, self._credentials, self.told)
        self.reconciler = Reconciler(api, make_settings(), *known)

    def hear(self) -> None:
        for kind, name in list(self._objects.kept):
            item = self._objects.versioned(kind, name)
            if kind == "ObservabilityStack":
                self._stacks.put(item)
            elif kind in CHILDREN and kind != "Secret":
                self._cache.put(item)

    async def passes(self, times: int = 2) -> float:
        for _ in range(times):
            self.hear()
            delay = await self.reconciler.reconcile(KEY)
        assert delay is not None
        return delay


def theirs(kind: str, name: str, **meta: Any) -> Manifest:
    found: Mapping[str, Any] = {"name": name, "namespace": "team-a", "uid": "uid-of-theirs", **meta}
    return {"apiVersion": CHILDREN[kind].api_version, "kind": kind, "metadata": found, "mark": "theirs"}


def cluster(*objects: Manifest) -> Objects:
    secrets = [
        {**theirs("Secret", name), "data": dict.fromkeys(("token", "publicKey", "secretKey"), "eA==")}
        for name in ("langfuse", "github", "jira")
    ]
    return Objects(copy.deepcopy(RICH), *secrets, *objects)


async def reconcile(objects: Objects, times: int = 2) -> float:
    return await Operator(objects).passes(times)


@pytest.mark.parametrize(
    ("kind", "name", "condition"),
    [
        ("ServiceAccount", "acme", "SpecAccepted"),
        ("StatefulSet", "acme-store", "StoreReady"),
        ("Deployment", "acme-api", "APIReady"),
        ("CronJob", "acme-load-github", "SourcesHealthy"),
    ],
)
async def test_what_somebody_else_made_is_never_taken_over(kind: str, name: str, condition: str) -> None:
    """Taken over, it would change to our liking and be deleted with the stack."""
    objects = cluster(theirs(kind, name))
    delay = await reconcile(objects)
    assert objects.kept[kind, name] == theirs(kind, name)
    status, reason, message = objects.conditions()[condition]
    assert (status, reason) == ("False", "ApplyRefused")
    assert f"{kind} {name}: the name is taken by one of somebody else; remove or rename" in message
    assert objects.conditions()["Ready"][0] == "False"
    assert delay <= 30


async def test_two_stacks_whose_names_meet_do_not_fight() -> None:
    """Stack `acme` with source `x-load-github`, stack `acme-load-x` with source `github`: one CronJob's name."""
    other = {"kind": "ObservabilityStack", "name": "acme-load-x", "uid": "u2", "controller": True}
    taken = theirs("CronJob", "acme-load-x-load-github", ownerReferences=[other])
    objects = cluster(taken)
    objects.stack()["spec"]["sources"][1]["name"] = "x-load-github"
    await reconcile(objects)
    assert objects.kept["CronJob", "acme-load-x-load-github"] == taken
    assert "taken by one of ObservabilityStack acme-load-x" in objects.conditions()["SourcesHealthy"][2]
    assert not [call for call in objects.calls if "x-load-github" in call]
    assert "create Job acme-load-langfuse-first" in objects.calls, "the other sources load"


async def test_what_came_back_from_a_backup_is_taken() -> None:
    ours = {"app.kubernetes.io/managed-by": "forge-operator", "observability.forge.dev/stack": "acme"}
    objects = cluster(theirs("Service", "acme-api", labels=ours))
    await reconcile(objects)
    assert "mark" not in objects.kept["Service", "acme-api"]


@pytest.mark.parametrize("gone", [False, True])
async def test_what_a_deletion_left_behind_is_not_taken_back(gone: bool) -> None:
    """`--cascade=orphan`: that the children have no owner any more may be heard of before the stack's deletion is."""
    objects = cluster()
    operator = Operator(objects)
    await operator.passes()
    operator.hear()
    for (kind, _), item in objects.kept.items():
        if kind in CHILDREN:
            item["metadata"].pop("ownerReferences", None)
    stack = objects.kept.pop(("ObservabilityStack", "acme"))
    operator.hear()
    if not gone:
        stack["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
        objects.kept["ObservabilityStack", "acme"] = stack
    objects.calls.clear()
    for _ in range(2):
        with contextlib.suppress(ApiError):  # it is tried again
            assert await operator.reconciler.reconcile(KEY) is None
    assert objects.calls == []


async def test_a_refused_transform_is_told_in_the_status_and_tried_again() -> None:
    objects = cluster()
    await reconcile(objects)
    first = next(o for (kind, _), o in objects.kept.items() if kind == "Job" and "github" in o["metadata"]["name"])
    ended = "2026-11-24T12:00:00Z"
    done = {"type": "Complete", "status": "True", "lastTransitionTime": ended}
    first["status"] = {"conditions": [done], "completionTime": ended, "startTime": ended}
    objects.refuse["Job"] = "exceeded quota: compute"
    delay = await reconcile(objects)
    assert objects.conditions()["Transformed"][:2] == ("False", "ApplyRefused")
    assert "acme-transform-1: exceeded quota: compute" in objects.conditions()["Transformed"][2]
    assert delay <= 30
    objects.refuse.clear()
    await reconcile(objects)
    assert "create Job acme-transform-1" in objects.calls
    assert objects.conditions()["Transformed"][1] == "Running"


async def test_a_refused_first_load_is_told_in_the_status_and_tried_again() -> None:
    objects = cluster()
    objects.refuse["Job"] = "exceeded quota: count/jobs.batch"
    await reconcile(objects)
    assert objects.conditions()["SourcesHealthy"][:2] == ("False", "ApplyRefused")
    assert "exceeded quota: count/jobs.batch" in objects.conditions()["SourcesHealthy"][2]
    objects.refuse.clear()
    await reconcile(objects)
    assert "create Job acme-load-github-first" in objects.calls
    assert objects.conditions()["SourcesHealthy"][:2] == ("Unknown", "FirstLoad")


async def test_a_kind_that_goes_away_holds_up_no_stack() -> None:
    objects = cluster()
    operator = Operator(objects)
    operator.reconciler.service_monitors = True
    await operator.passes(1)
    assert ("ServiceMonitor", "acme-api") in objects.kept
    operator.reconciler.service_monitors = False
    await operator.passes(1)
    assert "ServiceMonitorUnavailable" in {happening.reason for happening in operator.told.happenings}
