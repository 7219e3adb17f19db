"""The end of a stack, and its return: what goes, what stays, and that nothing stands in the way.

There is no finalizer: owner references and the StatefulSet's persistentVolumeClaimRetentionPolicy do the work, so a
stack can be deleted with the operator gone and the store dead (docs/operations.md says why that is enough).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubectl import eventually
from operator_process import Operator
from plane import Plane

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KINDS = (
    "configmaps,cronjobs,deployments,ingresses,jobs,networkpolicies,poddisruptionbudgets,pods,secrets,services,"
    "serviceaccounts,statefulsets"
)
LABEL = "observability.forge.dev/stack=acme"
SOURCES = [{"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}, "schedule": "0 0 1 1 *"}]
"""Its schedule does not fire in a test."""
Manifest = dict[str, Any]


def stack(**spec: Any) -> str:
    labels = {"observability.forge.dev/operator": "test"}
    return json.dumps(
        {
            "apiVersion": "observability.forge.dev/v1alpha1",
            "kind": "ObservabilityStack",
            "metadata": {"name": "acme", "labels": labels},
            "spec": {"sources": SOURCES, "store": {"managed": {"storage": {"size": "1Gi"}}}, **spec},
        }
    )


class Namespace:
    """kubectl on the plane, in one namespace."""

    def __init__(self, plane: Plane, name: str) -> None:
        self.plane, self.name = plane, name

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", self.name, *arguments, stdin=stdin)

    def items(self, kinds: str = KINDS, *more: str) -> list[Manifest]:
        return list(json.loads(self("get", kinds, "-l", LABEL, "-o", "json", *more))["items"])

    def uids(self, kinds: str = KINDS) -> dict[str, str]:
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["uid"] for i in self.items(kinds)}

    def get(self, kind: str, name: str) -> Manifest:
        found = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return dict(json.loads(found)) if found else {}

    def is_whole(self) -> bool:
        """The store's pod and the API's run, and all is done: no Job's pod will come any more."""
        running = [p["metadata"]["name"] for p in self.items("pods") if p["status"].get("phase") == "Running"]
        conditions = self.get("obs", "acme").get("status", {}).get("conditions", [])
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return ready and "acme-store-0" in running and any(name.startswith("acme-api-") for name in running)

    def make(self, **spec: Any) -> Manifest:
        self("create", "-f", "-", stdin=stack(**spec))
        eventually("the stack is Ready", self.is_whole, every=0.3)
        return self.get("pvc", "data-acme-store-0")

    def is_empty(self) -> bool:
        return self.uids() == {}


@pytest.fixture(scope="module")
def operator(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for all namespaces."""
    environment = {"KUBECONFIG": str(plane.account("deletion-operator")), "FORGE_WATCH_NAMESPACES": ""}
    running = Operator("", tmp_path_factory.mktemp("operator"), environment)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def namespace(plane: Plane, operator: Operator) -> Iterator[Namespace]:
    name = f"deletion-{uuid.uuid4().hex[:6]}"
    plane.kubectl("create", "namespace", name)
    yield Namespace(plane, name)
    plane.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_retain_keeps_the_volume_and_a_new_stack_of_the_name_takes_it(namespace: Namespace) -> None:
    claim = namespace.make()
    secret = namespace.get("secret", "acme-store-auth")
    assert "finalizers" not in namespace.get("obs", "acme")["metadata"]
    namespace("delete", "obs", "acme", "--timeout=120s")
    eventually("nothing but the volume is left", namespace.is_empty, every=0.3)
    kept = namespace.get("pvc", "data-acme-store-0")
    assert (kept["metadata"]["uid"], kept["metadata"].get("ownerReferences")) == (claim["metadata"]["uid"], None)

    again = namespace.make()
    assert again["metadata"]["uid"] == claim["metadata"]["uid"]
    pod = namespace.get("pod", "acme-store-0")
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert claims == ["data-acme-store-0"]
    # The passwords went with the stack: the users are the configuration's, so that new ones open the old data
    # (test_adoption.py shows it on a store).
    assert namespace.get("secret", "acme-store-auth")["data"] != secret["data"]


def test_delete_takes_the_volume(namespace: Namespace) -> None:
    namespace.make(deletionPolicy="Delete")
    eventually(
        "the claim is the store's",
        lambda: namespace.get("pvc", "data-acme-store-0")["metadata"].get("ownerReferences"),
    )
    namespace("delete", "obs", "acme", "--timeout=120s")
    eventually("nothing is left", namespace.is_empty, every=0.3)
    eventually("nor the volume", lambda: not namespace.get("pvc", "data-acme-store-0"), every=0.3)


def test_the_policy_can_change_its_mind(namespace: Namespace) -> None:
    """It holds what the stack said last, once the operator has seen it: status.observedGeneration tells."""
    claim = namespace.make(deletionPolicy="Delete")
    namespace("patch", "obs", "acme", "--type=merge", "-p", '{"spec": {"deletionPolicy": "Retain"}}')

    def seen() -> bool:
        live = namespace.get("obs", "acme")
        return bool(live["status"]["observedGeneration"] == live["metadata"]["generation"])

    eventually("the operator has seen it", seen, every=0.2)
    eventually(
        "the claim is nobody's",
        lambda: not namespace.get("pvc", "data-acme-store-0")["metadata"].get("ownerReferences"),
        every=0.2,
    )
    namespace("delete", "obs", "acme", "--timeout=120s")
    eventually("nothing but the volume is left", namespace.is_empty, every=0.3)
    time.sleep(2)
    assert namespace.get("pvc", "data-acme-store-0")["metadata"]["uid"] == claim["metadata"]["uid"]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_stack_goes_while_the_operator_is_down(namespace: Namespace, operator: Operator, policy: str) -> None:
    namespace.make(deletionPolicy=policy)
    operator.stop(kill=True)
    try:
        namespace("delete", "obs", "acme", "--timeout=120s")
        eventually("nothing is left", namespace.is_empty, every=0.3)
        eventually(
            f"the volume, by {policy}",
            lambda: bool(namespace.get("pvc", "data-acme-store-0")) == (policy == "Retain"),
        )
    finally:
        operator.start()
    time.sleep(2)
    assert namespace.is_empty()


def test_a_stack_goes_while_its_machines_are_dead(namespace: Namespace, plane: Plane) -> None:
    """No store is asked for anything; pods that nobody can end hold up the volume, and nothing else."""
    namespace.make(deletionPolicy="Delete")
    plane.stop("kwok")
    try:
        namespace("delete", "obs", "acme", "--timeout=120s")
        eventually("pods alone are left", lambda: all(k.startswith("Pod/") for k in namespace.uids()), every=0.3)
        assert namespace.get("pvc", "data-acme-store-0")
    finally:
        plane.start("kwok")
    eventually("nothing is left", namespace.is_empty, every=0.3)
    eventually("nor the volume", lambda: not namespace.get("pvc", "data-acme-store-0"), every=0.3)


def test_nothing_is_made_anew_while_a_stack_goes(namespace: Namespace, operator: Operator, plane: Plane) -> None:
    """In the foreground the stack stays until its children are gone; the operator is killed and started half way."""
    namespace.make()
    before = set(namespace.uids().values())
    plane.stop("kwok")
    try:
        namespace("delete", "obs", "acme", "--cascade=foreground", "--wait=false")
        eventually("it is going", lambda: namespace.get("obs", "acme")["metadata"].get("deletionTimestamp"))
        operator.stop(kill=True)
        operator.start()
        for _ in range(5):
            time.sleep(1)
            assert set(namespace.uids().values()) <= before
        assert namespace.get("obs", "acme"), "pods that do not end hold it in the foreground"
    finally:
        plane.start("kwok")
    eventually("it is gone", lambda: not namespace.get("obs", "acme"), every=0.3)
    eventually("nothing is left", namespace.is_empty, every=0.3)


def test_a_namespace_goes_with_all_its_stacks(namespace: Namespace, operator: Operator, plane: Plane) -> None:
    namespace.make()
    said = len(operator.log())
    plane.kubectl("delete", "namespace", namespace.name, "--timeout=120s")
    lines = [json.loads(line) for line in operator.log()[said:].splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    failed = [line for line in lines if line["message"].startswith("reconcile failed")]
    assert len(failed) < 10, "it tries and tries"


def test_a_new_stack_of_the_name_at_once(namespace: Namespace) -> None:
    """Its children are still the earlier one's, and about to go: it waits, and makes its own."""
    claim = namespace.make()
    before = set(namespace.uids().values())
    namespace("delete", "obs", "acme", "--timeout=120s")
    namespace("create", "-f", "-", stdin=stack())
    uid = namespace.get("obs", "acme")["metadata"]["uid"]

    def whole() -> bool:
        kinds = KINDS.replace(",jobs,", ",").replace("pods,", "")
        found = namespace.items(kinds)
        owners = {o["uid"] for i in found for o in i["metadata"]["ownerReferences"]}
        return owners == {uid} and len(found) > 10 and namespace.is_whole()

    eventually("the new stack runs on children of its own", whole, every=0.5)
    assert not before & set(namespace.uids().values())
    assert namespace.get("pvc", "data-acme-store-0")["metadata"]["uid"] == claim["metadata"]["uid"]


def test_children_that_were_left_behind_are_taken_as_they_are(namespace: Namespace) -> None:
    """`--cascade=orphan`, or a backup that was brought back: no pod is replaced, no password changes."""
    namespace.make()
    kinds = KINDS.replace(",jobs,", ",")
    before = namespace.uids(kinds)
    secret = namespace.get("secret", "acme-store-auth")["data"]
    namespace("delete", "obs", "acme", "--cascade=orphan", "--timeout=120s")
    time.sleep(1)
    assert namespace.uids(kinds) == before
    namespace("create", "-f", "-", stdin=stack())
    uid = namespace.get("obs", "acme")["metadata"]["uid"]

    def taken() -> bool:
        found = namespace.items("statefulsets,deployments,services,configmaps")
        return all([o["uid"] for o in i["metadata"].get("ownerReferences", [])] == [uid] for i in found)

    eventually("they are the new stack's", taken, every=0.5)
    time.sleep(3)
    after = namespace.uids(kinds)
    assert {name: after.get(name) for name in before} == before
    assert namespace.get("secret", "acme-store-auth")["data"] == secret


def test_a_source_of_another_name_is_another_source(namespace: Namespace) -> None:
    """The old CronJob and its Jobs go; what was loaded is not touched: it stands under the old prefix."""
    namespace.make()

    def has_loaded(name: str) -> Callable[[], bool]:
        def probe() -> bool:
            status = namespace.get("obs", "acme").get("status", {})
            return {s["name"]: s["state"] for s in status.get("sources", [])} == {name: "Healthy"}

        return probe

    eventually("metrics has loaded", has_loaded("metrics"), every=0.3)
    renamed = [{**SOURCES[0], "name": "series"}]
    namespace("patch", "obs", "acme", "--type=merge", "-p", json.dumps({"spec": {"sources": renamed}}))
    eventually("series has loaded", has_loaded("series"), every=0.3)

    def names() -> set[str]:
        return {key for key in namespace.uids("cronjobs,jobs") if "load-" in key}

    eventually(
        "what was of metrics is gone",
        lambda: names() == {"CronJob/acme-load-series", "Job/acme-load-series-first"},
        every=0.3,
    )
