"""The operator against a real API server: children appear, nothing is written at rest, drift goes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kubectl import Kubectl, eventually
from operator_process import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STACK = """
apiVersion: observability.forge.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: acme, labels: {observability.forge.dev/operator: test}}
spec:
  store: {managed: {storage: {size: 1Gi}}}
  sources:
    - {name: metrics, prometheus: {url: "http://prometheus:9090"}}
    - {name: github, github: {credentialsSecretRef: {name: github}, repositories: [acme/shop]}, schedule: "7 * * * *"}
  api: {ingress: {host: forge.example}}
"""
CHILDREN = {
    "configmap/acme-store-config",
    "cronjob.batch/acme-load-github",
    "cronjob.batch/acme-load-metrics",
    "deployment.apps/acme-api",
    "ingress.networking.k8s.io/acme-api",
    "networkpolicy.networking.k8s.io/acme-api",
    "networkpolicy.networking.k8s.io/acme-jobs",
    "networkpolicy.networking.k8s.io/acme-store",
    "poddisruptionbudget.policy/acme-store",
    "secret/acme-api-token",
    "secret/acme-store-auth",
    "service/acme-api",
    "service/acme-store",
    "service/acme-store-headless",
    "serviceaccount/acme",
    "statefulset.apps/acme-store",
}
KINDS = (
    "configmaps,cronjobs,deployments,ingresses,networkpolicies,poddisruptionbudgets,secrets,services,serviceaccounts,"
    "statefulsets"
)
SELECTOR = "observability.forge.dev/stack=acme"


def versions(kubectl: Kubectl) -> dict[str, str]:
    """The resourceVersion of each child and of the stack."""
    items = kubectl.json(KINDS, "-l", SELECTOR)["items"] + [kubectl.json("obs", "acme")]
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


def at_rest(kubectl: Kubectl) -> dict[str, str]:
    """The versions once they stand still for two seconds."""
    seen: list[dict[str, str]] = [versions(kubectl)]

    def still() -> bool:
        time.sleep(2)
        seen.append(versions(kubectl))
        return seen[-1] == seen[-2]

    eventually("nothing changes any more", still, every=0)
    return seen[-1]


def events(kubectl: Kubectl, reason: str) -> list[dict[str, Any]]:
    items = kubectl.json("events.events.k8s.io")["items"]
    return [e for e in items if e["reason"] == reason and e["regarding"].get("kind") == "ObservabilityStack"]


@pytest.fixture(scope="module")
def acme(operator: Operator, kubectl: Kubectl) -> Kubectl:
    kubectl("create", "-f", "-", stdin=STACK)
    eventually("children", lambda: set(kubectl.names(KINDS, SELECTOR)) == CHILDREN, every=0.2)
    at_rest(kubectl)
    return kubectl


def test_children_are_owned_and_pods_are_admitted(acme: Kubectl) -> None:
    """The namespace enforces the restricted standard: a pod that it refused would not be there."""
    stack = acme.json("obs", "acme")
    for item in acme.json(KINDS, "-l", SELECTOR)["items"]:
        assert [o["uid"] for o in item["metadata"]["ownerReferences"]] == [stack["metadata"]["uid"]]
    assert "finalizers" not in stack["metadata"]
    assert "annotations" not in stack["metadata"]
    pods = " ".join(acme.names("pods", SELECTOR))
    assert "pod/acme-store-0" in pods
    assert "pod/acme-api-" in pods
    claim = acme.json("pvc", "data-acme-store-0")
    assert "ownerReferences" not in claim["metadata"]


def test_the_status_says_what_is_wrong(acme: Kubectl) -> None:
    ready = acme.condition("acme", "Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 1)
    assert acme.condition("acme", "StoreReady")["reason"] == "ImagePullBackOff"
    assert "forge.test/store:none" in acme.condition("acme", "StoreReady")["message"]
    sources = {s["name"]: s for s in acme.json("obs", "acme")["status"]["sources"]}
    assert (sources["github"]["state"], sources["github"]["reason"]) == ("Failing", "SecretMissing")
    assert sources["metrics"]["state"] == "Pending"
    assert acme.json("cronjob", "acme-load-github")["spec"]["suspend"] is True
    assert [e["note"] for e in events(acme, "SecretMissing")] != []


def test_nothing_is_written_at_rest(acme: Kubectl, operator: Operator) -> None:
    """Not by looks either: the passes of a resync write nothing."""
    operator.stop()
    operator.environment["FORGE_RESYNC_SECONDS"] = "5"
    operator.start()
    before = at_rest(acme)
    passes = operator.log().count('"reconciled"')
    eventually("three more passes", lambda: operator.log().count('"reconciled"') >= passes + 3)
    assert versions(acme) == before
    del operator.environment["FORGE_RESYNC_SECONDS"]
    operator.stop()
    operator.start()


def test_a_restart_writes_nothing(acme: Kubectl, operator: Operator) -> None:
    before = at_rest(acme)
    operator.stop()
    operator.start()
    eventually("a pass", lambda: '"reconciled"' in operator.log().rsplit("Using selector", 1)[-1])
    time.sleep(3)
    assert versions(acme) == before


DRIFT: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("cronjob", "acme-load-metrics", {"spec": {"schedule": "0 0 1 1 *"}}, "spec.schedule", "*/15 * * * *"),
    (
        "service",
        "acme-store",
        {"spec": {"selector": {"observability.forge.dev/stack": "other"}}},
        r"spec.selector.observability\.forge\.dev/stack",
        "acme",
    ),
    ("deployment", "acme-api", {"spec": {"replicas": 5}}, "spec.replicas", "1"),
    ("configmap", "acme-store-config", {"data": {"users.yaml": "users: {}"}}, "metadata.name", "acme-store-config"),
    ("networkpolicy", "acme-store", {"spec": {"ingress": [{}]}}, "spec.ingress[0].ports[0].port", "8123"),
    ("statefulset", "acme-store", {"spec": {"replicas": 3}}, "spec.replicas", "1"),
    (
        "deployment",
        "acme-api",
        {"metadata": {"labels": {"app.kubernetes.io/component": "x"}}},
        r"metadata.labels.app\.kubernetes\.io/component",
        "api",
    ),
]


@pytest.mark.parametrize(("kind", "name", "patch", "path", "value"), DRIFT)
def test_drift_is_repaired_and_told(
    acme: Kubectl, kind: str, name: str, patch: dict[str, Any], path: str, value: str
) -> None:
    before = acme.json(kind, name)
    told = len(events(acme, "DriftRepaired"))
    acme("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def repaired() -> bool:
        now = acme.json(kind, name)
        same = now.get("spec", now.get("data")) == before.get("spec", before.get("data"))
        labels = now["metadata"]["labels"] == before["metadata"]["labels"]
        return same and labels and acme("get", kind, name, "-o", f"jsonpath={{.{path}}}") == value

    eventually(f"{kind} {name} repaired", repaired, every=0.1)
    eventually("the Event", lambda: len(events(acme, "DriftRepaired")) > told, every=0.5)
    assert any(f"{name} was put back" in e["note"] and "kubectl" in e["note"] for e in events(acme, "DriftRepaired"))


@pytest.mark.parametrize("child", ["service/acme-api", "networkpolicy/acme-store", "cronjob/acme-load-metrics"])
def test_a_deleted_child_comes_back(acme: Kubectl, child: str) -> None:
    kind, name = child.split("/")
    uid = acme.json(kind, name)["metadata"]["uid"]
    acme("delete", kind, name)

    def back() -> bool:
        return name in acme("get", kind, "-o", "name") and acme.json(kind, name)["metadata"]["uid"] != uid

    eventually("it is back", back, every=0.2)


def test_made_secrets_are_kept(acme: Kubectl, operator: Operator) -> None:
    before = {name: acme.json("secret", name)["data"] for name in ("acme-store-auth", "acme-api-token")}
    operator.stop(kill=True)
    operator.start()
    acme("patch", "obs", "acme", "--type=merge", "-p", '{"spec":{"api":{"replicas":0}}}')
    eventually("the edit", lambda: acme.json("deployment", "acme-api")["spec"]["replicas"] == 0, every=0.1)
    assert {name: acme.json("secret", name)["data"] for name in before} == before


def test_the_secret_comes_and_the_source_is_well(acme: Kubectl) -> None:
    acme("create", "secret", "generic", "github", "--from-literal=token=t")
    eventually(
        "github waits for its first load",
        lambda: {s["name"]: s["state"] for s in acme.json("obs", "acme")["status"]["sources"]}["github"] == "Pending",
    )


def test_a_removed_source_goes_and_its_name_with_it(acme: Kubectl) -> None:
    source = [{"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}}]
    acme("patch", "obs", "acme", "--type=merge", "-p", json.dumps({"spec": {"sources": source}}))
    eventually("the CronJob is gone", lambda: "cronjob.batch/acme-load-github" not in acme.names("cronjobs"), every=0.2)
    eventually("the status", lambda: len(acme.json("obs", "acme")["status"]["sources"]) == 1, every=0.2)


def test_an_edit_of_a_field_that_cannot_change_is_told_and_the_rest_goes_on(acme: Kubectl) -> None:
    """A bigger volume is not made in place: the claim stays, the stack is not stuck."""
    change = {"spec": {"store": {"managed": {"storage": {"size": "2Gi"}}}, "api": {"replicas": 1}}}
    acme("patch", "obs", "acme", "--type=merge", "-p", json.dumps(change))
    eventually("the rest", lambda: acme.json("deployment", "acme-api")["spec"]["replicas"] == 1, every=0.2)
    eventually("told", lambda: events(acme, "StorageUnchanged"), every=0.5)


def test_an_external_store_takes_the_managed_ones_place_but_not_its_data(acme: Kubectl) -> None:
    external = {"managed": None, "external": {"dsnSecretRef": {"name": "mine"}}}
    change = {"spec": {"deletionPolicy": "Delete", "store": external}}
    acme("patch", "obs", "acme", "--type=merge", "-p", json.dumps(change))
    eventually("the StatefulSet is gone", lambda: acme.names("statefulsets") == [])
    # Status is written at the end of a pass, after the children.
    eventually("told", lambda: acme.condition("acme", "StoreReady")["reason"] == "SecretMissing", every=0.5)
    store = acme.condition("acme", "StoreReady")
    assert store["status"] == "False" and "mine" in store["message"]
    time.sleep(3)
    assert "persistentvolumeclaim/data-acme-store-0" in acme.names("pvc")


def test_deletion_leaves_the_volume(acme: Kubectl, operator: Operator) -> None:
    operator.stop()  # needs no operator: there is no finalizer
    acme("delete", "obs", "acme", "--timeout=120s")
    eventually("no children", lambda: acme.names(KINDS, SELECTOR) == [])
    assert "persistentvolumeclaim/data-acme-store-0" in acme.names("pvc")
    operator.start()


def test_the_deletion_policy_delete_takes_the_volume(operator: Operator, kubectl: Kubectl) -> None:
    stack = STACK.replace("name: acme,", "name: gone,").replace("spec:\n", "spec:\n  deletionPolicy: Delete\n", 1)
    kubectl("create", "-f", "-", stdin=stack)
    claim = "persistentvolumeclaim/data-gone-store-0"
    eventually("the claim", lambda: claim in kubectl.names("pvc"))
    eventually("its owner", lambda: kubectl.json("pvc", "data-gone-store-0")["metadata"].get("ownerReferences"))
    kubectl("delete", "obs", "gone", "--timeout=120s")
    eventually("no claim", lambda: claim not in kubectl.names("pvc"))
