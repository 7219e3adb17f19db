"""The rights that the chart gives the operator, held against what it asks of a real API server.

The operator runs as the chart's ServiceAccount, with the chart's environment, through everything that can happen to a
stack. No request may be refused, and every right must have been used. Then rights are taken away, one in each of many
namespaces, and each is missed in its namespace and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_operator.names import SERVICE_MONITOR, STACK
from kubectl import eventually
from machine import MachineError
from operator_process import Operator
from plane import WRITES, Plane
from rendering import CHART, NAMESPACE, Manifest, of_kind, operator, render, rights

pytestmark = pytest.mark.slow

NAME = "acme"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:forge-forge-observability"
Right = tuple[str, str, str]
REFUSED = (401, 403)
BLOCKING = (STACK.group, f"{STACK.plural}/finalizers", "update")
"""Asked for by no request: admission demands it of who makes an object that blocks its owner's deletion."""

SERVICE_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{SERVICE_MONITOR.plural}.{SERVICE_MONITOR.group}"},
    "spec": {
        "group": SERVICE_MONITOR.group,
        "names": {"kind": SERVICE_MONITOR.kind, "plural": SERVICE_MONITOR.plural},
        "scope": "Namespaced",
        "versions": [
            {
                "name": SERVICE_MONITOR.version,
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


def stack() -> Manifest:
    """A stack with everything on; its schedules do not fire in a test."""
    never = "0 0 1 1 *"
    return {
        "apiVersion": "observability.forge.dev/v1alpha1",
        "kind": "ObservabilityStack",
        "metadata": {"name": NAME},
        "spec": {
            "sources": [
                {
                    "name": "github",
                    "schedule": never,
                    "github": {"credentialsSecretRef": {"name": "github"}, "repositories": ["acme/shop"]},
                },
                {"name": "metrics", "schedule": never, "prometheus": {"url": "http://prometheus:9090"}},
            ],
            "transform": {"settleTime": "0s"},
            "api": {"replicas": 2, "ingress": {"host": "acme.example"}},
            "monitoring": {"serviceMonitor": True},
        },
    }


def secret(name: str, **values: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def job(name: str) -> Manifest:
    """Somebody else's Job that says it is the stack's."""
    labels = {"app.kubernetes.io/managed-by": "forge-operator", "observability.forge.dev/stack": NAME}
    pod = {"restartPolicy": "Never", "containers": [{"name": "sleep", "image": "forge.test/none:none"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


class Life:
    """Everything that can happen to a stack, to one in each of some namespaces at the same time."""

    def __init__(self, plane: Plane, namespaces: Iterable[str]) -> None:
        self.plane = plane
        self.namespaces = list(namespaces)

    def run(self) -> None:
        # The name of a Job that the operator needs is taken; then it is free.
        taken = job(f"{NAME}-load-github-first")
        self.apply(
            taken, secret("github", token="t"), secret("clickhouse", dsn="http://forge:secret@127.0.0.1:9"), stack()
        )
        self.quiet()
        self.each("delete", "job", taken["metadata"]["name"], "--wait=false")
        self.quiet()
        # Drift, and a run that somebody asks for.
        self.each("scale", "deployment", f"{NAME}-api", "--replicas=1")
        self.each("annotate", "obs", NAME, "observability.forge.dev/run-now=metrics")
        self.quiet()
        # All that a stack can do without.
        spec = {
            "store": {"managed": None, "external": {"dsnSecretRef": {"name": "clickhouse"}}},
            "sources": stack()["spec"]["sources"][1:],
            "api": {"replicas": 1, "ingress": None},
            "monitoring": None,
            "networkPolicy": {"enabled": False},
        }
        self.each("patch", "obs", NAME, "--type=merge", "-p", json.dumps({"spec": spec}))
        self.quiet()

    def end(self) -> None:
        self.each("delete", "obs", NAME, "--wait=false")

    def apply(self, *manifests: Manifest) -> None:
        """Create them in each namespace."""
        everywhere = [
            {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
            for namespace in self.namespaces
            for manifest in manifests
        ]
        self.plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(everywhere))

    def each(self, *arguments: str) -> None:
        """kubectl in each namespace; where a right is missing the object may be too."""
        for namespace in self.namespaces:
            with contextlib.nullcontext() if len(self.namespaces) == 1 else contextlib.suppress(MachineError):
                self.plane.kubectl("-n", namespace, *arguments)

    def quiet(self, seconds: float = 3.0, longest: float = 300.0) -> None:
        """Wait until the operator has done something, and then nothing for a while."""
        end, last, position = time.monotonic() + longest, 0.0, self.plane.audit_position()
        while not last or time.monotonic() < last + seconds:
            time.sleep(0.2)
            assert time.monotonic() < end, (
                f"the operator {'still writes' if last else 'wrote nothing'} after {longest} s"
            )
            seen, position = position, self.plane.audit_position()
            new = self.plane.audit(seen)
            if any(right[2] in WRITES and right[1] != "leases" and code < 300 for right, _, code in asked(new)):
                last = time.monotonic()


@pytest.fixture(scope="module")
def made(plane: Plane, helm: Path) -> list[Manifest]:
    """What the chart gives the operator, but for its pods: those run as processes here."""
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(SERVICE_MONITORS))
    plane.kubectl("wait", "--for=condition=Established", "crd", SERVICE_MONITORS["metadata"]["name"], "--timeout=120s")
    plane.kubectl("create", "namespace", NAMESPACE)
    return render(helm, {"rbac": {"aggregateToUserRoles": False}})


def kubeconfig(plane: Plane, folder: Path) -> Path:
    """Of the chart's ServiceAccount."""
    content = json.loads(plane.kubeconfig.read_text())
    token = plane.kubectl("-n", NAMESPACE, "create", "token", ACCOUNT.rsplit(":", 1)[1], "--duration=1h").strip()
    content["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


def process(plane: Plane, made: Iterable[Manifest], folder: Path) -> Operator:
    """The operator with the chart's environment and the chart's account."""
    environment = {each["name"]: each["value"] for each in operator(made)["env"] if "value" in each}
    del environment["FORGE_HEALTH_PORT"]  # any free one
    environment |= {"FORGE_OPERATOR_NAMESPACE": NAMESPACE, "KUBECONFIG": str(kubeconfig(plane, folder))}
    return Operator("", folder, environment)


def install(plane: Plane, manifests: Iterable[Manifest], namespaces: Iterable[str]) -> None:
    """Accounts and roles, in namespaces that are made."""
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in namespaces]
    objects = [manifest for manifest in manifests if manifest["kind"] not in ("Deployment", "Pod")]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*spaces, *objects]))


def served(running: Operator) -> set[str]:
    """Names of the series that the operator serves."""
    assert running.process is not None
    told = Path(f"/proc/{running.process.pid}/environ").read_text().split("\0")
    port = next(each.split("=")[1] for each in told if each.startswith("FORGE_HEALTH_PORT="))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return set(re.findall(r"^(\w+)", answer.read().decode(), re.M))


def alerted() -> set[str]:
    """Names of the series of which alerts speak."""
    return set(re.findall(r"\bforge_operator_\w+", (CHART / "files" / "alerts.yaml").read_text()))


def selftest(running: Operator) -> str:
    """What the pod of `helm test` complains of."""
    command = [sys.executable, "-m", "forge_operator.selftest"]
    done = subprocess.run(
        command, env={**os.environ, **running.environment}, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def asked(entries: Iterable[dict[str, Any]]) -> Iterator[tuple[Right, str, int]]:
    """Of the operator's requests: the right that each needs, its namespace, and the HTTP status of the answer."""
    for entry in entries:
        reference = entry.get("objectRef", {})
        if entry["user"]["username"] != ACCOUNT or "resource" not in reference:
            continue
        resource = "/".join(part for part in (reference["resource"], reference.get("subresource")) if part)
        place, code = reference.get("namespace", ""), entry["responseStatus"]["code"]
        yield (reference.get("apiGroup", ""), resource, entry["verb"]), place, code
        if entry["verb"] == "patch" and code == 201:  # an apply of what was not there
            yield (reference.get("apiGroup", ""), resource, "create"), place, code


def watched_life(plane: Plane, running: Operator, namespaces: Iterable[str]) -> list[tuple[Right, str, int]]:
    """What the operator asks for while stacks live, and `helm test` beside it."""
    start = plane.audit_position()
    running.start()
    try:
        life = Life(plane, namespaces)
        life.run()
        assert alerted() <= served(running)
        assert selftest(running) == ""
        life.end()
    finally:
        running.stop()
    assert "is the operator running?" in selftest(running)
    return list(asked(plane.audit(start)))


def test_every_right_is_used_and_none_is_missing(plane: Plane, made: list[Manifest], tmp_path: Path) -> None:
    install(plane, made, ["team-a"])
    requests = watched_life(plane, process(plane, made, tmp_path), ["team-a"])
    assert [request for request in requests if request[2] in REFUSED] == []
    given = {
        right for role in [*of_kind(made, "ClusterRole"), *of_kind(made, "Role")] for right in rights(role["rules"])
    }
    assert {right for right, _, _ in requests} == given - {BLOCKING}


def rules(given: Iterable[Right]) -> list[dict[str, list[str]]]:
    """A role's rules, a right each."""
    return [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for group, resource, verb in given]


def without(plane: Plane, helm: Path, lacking: dict[str, set[Right]]) -> list[Manifest]:
    """The chart for namespaces whose Roles lack some rights, installed."""
    made = render(helm, {"watchNamespaces": list(lacking), "rbac": {"aggregateToUserRoles": False}})
    for manifest in of_kind(made, "Role"):
        if missing := lacking.get(manifest["metadata"]["namespace"]):
            manifest["rules"] = rules(each for each in rights(manifest["rules"]) if each not in missing)
    plane.kubectl("delete", "clusterrolebinding", "forge-forge-observability", "--ignore-not-found")
    install(plane, made, lacking)
    return made


FOLLOW = ("list", "watch")


PARTS = 3
"""So many operators one after the other: each that watches a namespace has a connection a kind."""


@pytest.mark.parametrize("part", range(PARTS))
def test_each_right_is_missed_where_it_is_missing(
    plane: Plane, helm: Path, made: list[Manifest], tmp_path: Path, part: int
) -> None:
    """Namespaces as `watchNamespaces` makes them, each with a Role that lacks one right."""
    (role,) = of_kind(made, "ClusterRole")
    alone = [right for right in rights(role["rules"]) if right[2] not in FOLLOW]
    singles = {f"lacks-{n}": right for n, right in enumerate(alone) if n % PARTS == part}
    everything = without(plane, helm, {place: {right} for place, right in singles.items()})
    requests = watched_life(plane, process(plane, everything, tmp_path), singles)
    missed: dict[str, set[Right]] = {place: set() for place in singles}
    for right, place, code in requests:
        if code in REFUSED:
            missed[place].add(right)
    applied = {right[:2] for right in alone if right[2] == "patch"}
    for place, right in singles.items():
        if right == BLOCKING:
            assert missed[place], right
        else:
            # An apply that may not create is refused as the patch that it is.
            seen = (*right[:2], "patch") if right[2] == "create" and right[:2] in applied else right
            assert missed[place] == {seen}, right


@pytest.mark.parametrize("verb", FOLLOW)
def test_what_is_followed_must_be_listed_and_watched(
    plane: Plane, helm: Path, made: list[Manifest], tmp_path: Path, verb: str
) -> None:
    """Each kind is followed by itself, so that all may be missed at once."""
    (role,) = of_kind(made, "ClusterRole")
    place, lacking = f"lacks-{verb}", {right for right in rights(role["rules"]) if right[2] == verb}
    everything = without(plane, helm, {place: lacking})
    start, running = plane.audit_position(), process(plane, everything, tmp_path)
    running.start()
    try:
        eventually(
            "a refusal of each",
            lambda: {right for right, _, code in asked(plane.audit(start)) if code in REFUSED} == lacking,
        )
    finally:
        running.stop()
