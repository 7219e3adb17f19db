"""What a stack lays over its pods, on a real API server that enforces the restricted Pod Security Standard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubectl import eventually
from operator_process import Operator
from plane import Plane

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NAMESPACE = "pods"
STACK = """
apiVersion: observability.forge.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: acme, labels: {observability.forge.dev/operator: test}}
spec:
  podTemplate:
    labels: {team: platform}
    annotations: {example.com/owner: platform}
    nodeSelector: {kubernetes.io/os: linux}
    tolerations: [{key: data, operator: Exists}]
    priorityClassName: batch
    imagePullSecrets: [registry]
    securityContext: {runAsUser: 5000, runAsGroup: 5000, fsGroup: 5000}
    env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
  store:
    managed:
      storage: {size: 1Gi}
      podTemplate: {topologySpreadConstraints: [{topologyKey: topology.kubernetes.io/zone}]}
  sources: [{name: metrics, prometheus: {url: "http://prometheus:9090"}}]
  transform: {settleTime: 0s}
  api: {replicas: 2}
"""
PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "batch"},
    "value": 7,
}
Manifest = dict[str, Any]
Get = Callable[..., Manifest]


@pytest.fixture(scope="module")
def get(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """One stack that is Ready; gives objects of its namespace."""
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(PRIORITY))
    environment = {"KUBECONFIG": str(plane.account("pods-operator"))}
    operator = Operator(NAMESPACE, tmp_path_factory.mktemp("operator"), environment)
    operator.start()
    plane.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=STACK)

    def get(*what: str) -> Manifest:
        return dict(json.loads(plane.kubectl("-n", NAMESPACE, "get", *what, "-o", "json")))

    eventually("the stack is Ready", lambda: condition(get, "Ready")["status"] == "True", every=0.5)
    yield get
    operator.stop()
    plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def condition(get: Get, name: str) -> Manifest:
    found = get("obs", "acme").get("status", {}).get("conditions", [])
    return next((dict(c) for c in found if c["type"] == name), {"status": ""})


def change(plane: Plane, spec: Manifest) -> None:
    """Change the stack, and wait until the operator has seen it."""
    plane.kubectl("-n", NAMESPACE, "patch", "obs", "acme", "--type=merge", "-p", json.dumps({"spec": spec}))

    def seen() -> bool:
        live = json.loads(plane.kubectl("-n", NAMESPACE, "get", "obs", "acme", "-o", "json"))
        return bool(live["status"]["observedGeneration"] == live["metadata"]["generation"])

    eventually("the operator has seen it", seen, every=0.2)


def generations(get: Get) -> dict[str, int]:
    """How often each workload's spec has changed."""
    items = get("statefulsets,deployments,cronjobs")["items"]
    return {item["kind"]: item["metadata"]["generation"] for item in items}


def test_the_pods_of_every_component_are_admitted_as_they_were_asked_for(get: Get) -> None:
    pods: dict[str, Manifest] = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in get("pods")["items"]
    }
    assert pods.keys() == {"store", "load", "transform", "api"}
    for pod in pods.values():
        spec = pod["spec"]
        assert pod["metadata"]["labels"]["team"] == "platform"
        assert pod["metadata"]["annotations"]["example.com/owner"] == "platform"
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert {"key": "data", "operator": "Exists"} in spec["tolerations"]
        assert (spec["priority"], spec["imagePullSecrets"]) == (7, [{"name": "registry"}])
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (5000, 5000)
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in spec["containers"][0]["env"]
        assert spec["containers"][0]["resources"]["requests"].keys() == {"cpu", "memory"}
    spread = {c: p["spec"].get("topologySpreadConstraints", [{}])[0].get("topologyKey") for c, p in pods.items()}
    assert (spread["store"], spread["api"]) == ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"loads": {"image": "mirror.example/pipelines:2"}}, "CronJob"),
        ({"api": {"image": "mirror.example/api:2"}}, "Deployment"),
        ({"store": {"managed": {"image": "mirror.example/store:2"}}}, "StatefulSet"),
        ({"transform": {"image": "mirror.example/dbt:2"}}, ""),
    ],
)
def test_another_image_of_a_component_replaces_only_its_pods(plane: Plane, get: Get, spec: Manifest, kind: str) -> None:
    before = generations(get)
    change(plane, spec)
    expected = {name: number + (name == kind) for name, number in before.items()}
    eventually("its own is changed", lambda: generations(get) == expected, every=0.2)
    time.sleep(1)
    assert generations(get) == expected


def test_what_does_not_fit_a_pod_is_told_and_the_rest_goes_on(plane: Plane, get: Get) -> None:
    """An affinity is free in the stack; the API server has its word when it gets the pods."""
    store = get("statefulset", "acme-store")["metadata"]["generation"]
    change(plane, {"api": {"podTemplate": {"affinity": {"nodeAffinity": {"nonsense": []}}}}})
    eventually("it is told", lambda: condition(get, "APIReady").get("reason") == "ApplyRefused", every=0.2)
    assert "affinity.nodeAffinity.nonsense" in condition(get, "APIReady")["message"]
    change(plane, {"loads": {"image": "mirror.example/pipelines:3"}})
    job = "spec.jobTemplate.spec.template.spec.containers[0].image"
    path = f"jsonpath={{.{job}}}"
    image = lambda: plane.kubectl("-n", NAMESPACE, "get", "cronjob", "acme-load-metrics", "-o", path)  # noqa: E731
    eventually("the rest goes on", lambda: image() == "mirror.example/pipelines:3", every=0.2)
    assert get("statefulset", "acme-store")["metadata"]["generation"] == store
    change(plane, {"api": {"podTemplate": None}})
    eventually("all is well", lambda: condition(get, "APIReady")["status"] == "True", every=0.3)


def test_an_autoscaler_is_left_the_number_of_pods(plane: Plane, get: Get) -> None:
    change(plane, {"api": {"autoscaled": True}})
    plane.kubectl("-n", NAMESPACE, "scale", "deployment", "acme-api", "--replicas=4")
    eventually("its pods are counted", lambda: "4 of 4" in condition(get, "APIReady").get("message", ""), every=0.3)
    time.sleep(2)
    assert get("deployment", "acme-api")["spec"]["replicas"] == 4
    change(plane, {"api": {"autoscaled": False}})
    eventually(
        "the stack's number holds again", lambda: get("deployment", "acme-api")["spec"]["replicas"] == 2, every=0.2
    )
