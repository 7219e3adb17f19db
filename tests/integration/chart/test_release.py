"""A release of the chart from its installation by the version before to its end, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import eventually
from machine import run
from plane import Plane
from rendering import CHART, Manifest

pytestmark = pytest.mark.slow

KEPT = Path(__file__).parents[2] / "unit" / "chart" / "releases"
NAMESPACE = "upgraded"
CRD = "observabilitystacks.observability.forge.dev"
Helm = Callable[..., str]


@pytest.fixture
def release(plane: Plane, helm: Path) -> Helm:
    """Helm in a namespace that admits restricted pods only; the CRD that the plane brings is not there."""
    plane.kubectl("delete", "crd", CRD, "--ignore-not-found")
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    return lambda *arguments: run(helm, f"--kubeconfig={plane.kubeconfig}", "--namespace", NAMESPACE, *arguments)


def previous(folder: Path, version: str) -> Path:
    """The chart of an earlier version: what it rendered for this namespace."""
    text = (KEPT / version / "cluster.yaml").read_text()
    chart = folder / "forge-observability"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": chart.name, "version": version}))
    (chart / "templates" / "all.yaml").write_text(
        text.replace("namespace: forge-observability\n", f"namespace: {NAMESPACE}\n")
    )
    return chart


def stack() -> Manifest:
    return {
        "apiVersion": "observability.forge.dev/v1alpha1",
        "kind": "ObservabilityStack",
        "metadata": {"name": "acme", "namespace": NAMESPACE},
        "spec": {"sources": [{"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}}]},
    }


def test_from_the_version_before_to_the_end_and_back(plane: Plane, release: Helm, tmp_path: Path) -> None:
    def get(*arguments: str) -> Any:
        return json.loads(plane.kubectl("-n", NAMESPACE, "get", *arguments, "-o", "json"))

    def pods() -> list[Manifest]:
        """The operator's pods that run."""
        found = get("pods", "-l", "app.kubernetes.io/component=operator")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    release("install", "forge", str(previous(tmp_path, "0.1.0")), "--wait", "--timeout", "4m")
    plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=120s")
    eventually(
        "the API serves stacks",
        lambda: plane.kubectl("api-resources", "--api-group=observability.forge.dev", "-o", "name"),
    )
    plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump(stack()))
    before = get("obs", "acme")
    assert [pod["spec"]["containers"][0]["image"] for pod in pods()] == ["forge-observability/operator:0.1.0"]

    old = {pod["metadata"]["uid"] for pod in pods()}
    release("upgrade", "forge", str(CHART), "--wait", "--timeout", "4m")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    # Helm is content when the new pods are ready: the old one may be about to go, and the new CRD about to be served.
    eventually("the new pods alone", lambda: {pod["metadata"]["uid"] for pod in pods()}.isdisjoint(old), every=0.3)
    after = get("obs", "acme")
    assert {name: after["metadata"][name] for name in ("uid", "generation")} == {
        "uid": before["metadata"]["uid"],
        "generation": 1,
    }
    images = [pod["spec"]["containers"][0]["image"] for pod in pods()]
    assert images == [f"forge-observability/operator:{version}"] * 2
    assert len({pod["spec"]["nodeName"] for pod in pods()}) == 2

    def autoscaled() -> bool:
        change = '{"spec":{"api":{"autoscaled":true}}}'
        plane.kubectl("-n", NAMESPACE, "patch", "obs", "acme", "--type=merge", "-p", change)
        return get("obs", "acme")["spec"]["api"].get("autoscaled") is True

    eventually("the new CRD is there: a field that 0.1.0 did not know is kept", autoscaled)

    # Back to the version before, and on again: the stack stays.
    release("rollback", "forge", "1", "--wait", "--timeout", "4m")
    eventually("the CRD before", lambda: "autoscaled" not in get("obs", "acme")["spec"]["api"])
    release("upgrade", "forge", str(CHART), "--wait", "--timeout", "4m")
    assert get("obs", "acme")["metadata"]["uid"] == before["metadata"]["uid"]

    release("uninstall", "forge", "--wait", "--timeout", "4m")
    assert get("obs", "acme")["metadata"]["uid"] == before["metadata"]["uid"]
    assert not get("deployments,services,roles,poddisruptionbudgets,networkpolicies")["items"]
    release("install", "forge", str(CHART), "--wait", "--timeout", "4m")
    assert get("obs", "acme")["metadata"]["uid"] == before["metadata"]["uid"]
    assert len(pods()) == 2
