"""The drift matrix: another manager edits every field of every child, and it comes back, with an Event that says so.

The edits are made from what the builders make (edits.py), one at a time a child and all children at once. What the API
server itself refuses to change is in FIXED; docs/operations.md names what is left to the user.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from edits import Edit, Manifest, edits, holds, leaves, pointer
from forge_operator.builders import Inputs, desired_children
from forge_operator.names import CHILDREN, EVENT, SECRETS_ANNOTATION, SERVICE_MONITOR, Kind, kind_of
from forge_operator.settings import IMAGES, Settings
from forge_stack.model import ObservabilityStack
from kubectl import command, eventually
from operator_process import Operator
from plane import Plane

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

FIXED: Mapping[str, str] = {
    r"StatefulSet .* spec\.(serviceName|podManagementPolicy|volumeClaimTemplates\..*)": "fixed when it is made",
    r"(StatefulSet|Deployment) .* spec\.(selector\.matchLabels|template\.metadata\.labels)"
    r"\.(observability\.forge\.dev/stack|app\.kubernetes\.io/component)": "the selector is fixed when it is made",
    r"Service acme-store-headless spec\.clusterIP": "fixed when it is made",
    r"Deployment .* spec\.strategy\.type": "rollingUpdate needs RollingUpdate",
    r"CronJob .*\.restartPolicy": "podFailurePolicy needs Never",
    r".*\.tolerations\.0\.effect": "tolerationSeconds needs NoExecute",
    r".*\.tolerations\.1\.operator": "a value needs Equal",
}
"""Fields for which the API server takes no other value, and why. That it lets nobody remove a field that it requires
needs no list."""
SIGHT = re.compile(
    r"metadata\.(labels\.(app\.kubernetes\.io/managed-by|observability\.forge\.dev/stack)|ownerReferences\..*)"
)
"""What the operator knows its children by: without it a child is out of its sight, as if it were deleted."""
LONGEST = 10.0
"""Seconds within which an edit must be undone; most are within a tenth of one."""
NAMESPACE = "drift"

STACK = """
apiVersion: observability.forge.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: acme, namespace: drift, labels: {observability.forge.dev/operator: test}}
spec:
  suspend: true
  podTemplate:
    labels: {team: platform}
    annotations: {example.com/owner: platform}
    nodeSelector: {kubernetes.io/os: linux}
    tolerations:
      - {key: data, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
      - {key: spot, value: "yes"}
    priorityClassName: system-node-critical
    imagePullSecrets: [registry]
    securityContext: {runAsUser: 5000, runAsGroup: 5000, fsGroup: 5000}
    env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
  store:
    managed:
      storage: {size: 1Gi, storageClassName: standard}
      resources: {requests: {cpu: "0.5", memory: 1024Mi}, limits: {memory: 2Gi}}
      podTemplate:
        topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname}]
        affinity:
          nodeAffinity:
            preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 1
                preference: {matchExpressions: [{key: disk, operator: In, values: [fast]}]}
  sources:
    - {name: metrics, prometheus: {url: "http://prometheus:9090"}}
    - {name: github, github: {credentialsSecretRef: {name: github}, repositories: [acme/shop]}, schedule: "7 * * * *"}
  api:
    replicas: 2
    ingress: {host: forge.example, className: nginx, tlsSecretName: tls, annotations: {example.com/a: b}}
  monitoring: {serviceMonitor: true, labels: {release: prometheus}}
"""
SERVICE_MONITORS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@dataclass
class Cluster:
    """The API server through `kubectl proxy`, and what its objects are now."""

    session: aiohttp.ClientSession
    address: str
    live: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    events: list[Manifest] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, kind: Kind) -> None:
        """Keep what is there of a kind current."""
        url = self.address + kind.path(NAMESPACE)
        async with self.session.get(url) as answer:
            found = await answer.json()
            assert answer.status == 200, found
        for item in found["items"]:
            await self._put("ADDED", kind, {"apiVersion": kind.api_version, "kind": kind.kind, **item})
        version = found["metadata"]["resourceVersion"]
        timeout = aiohttp.ClientTimeout(total=None)
        query = {"watch": "1", "resourceVersion": version}
        async with self.session.get(url, params=query, timeout=timeout, read_bufsize=2**22) as stream:
            async for line in stream.content:
                event = json.loads(line)
                await self._put(event["type"], kind, event["object"])

    async def _put(self, what: str, kind: Kind, item: Manifest) -> None:
        async with self.changed:
            if kind is EVENT:
                self.events.append(item)
            elif what == "DELETED":
                self.live.pop((kind.kind, item["metadata"]["name"]), None)
            else:
                self.live[kind.kind, item["metadata"]["name"]] = item
            self.changed.notify_all()

    async def until(self, what: str, holds: Callable[[], Any], seconds: float = LONGEST) -> None:
        """Wait; AssertionError tells for what."""
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:.0f} s: {what}") from None

    async def send(self, method: str, kind: Kind, name: str, manager: str, body: object = None) -> tuple[int, Manifest]:
        """One request of another manager; gives the HTTP status and the answer."""
        headers = {"Content-Type": "application/json-patch+json"} if method == "PATCH" else {}
        data = json.dumps(body) if body is not None else None
        url = self.address + kind.path(NAMESPACE, name)
        query = {"fieldManager": manager} if method == "PATCH" else {}
        async with self.session.request(method, url, params=query, data=data, headers=headers) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def proxied(plane: Plane) -> AsyncIterator[Cluster]:
    """A cluster whose children and Events are followed."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", f"--kubeconfig={plane.kubeconfig}", "proxy", "--port=0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            cluster = Cluster(session, f"http://{line.split()[-1]}")
            kinds = [k for k in CHILDREN.values() if k.kind not in ("Pod", "Job")] + [SERVICE_MONITOR, EVENT]
            followers = [asyncio.create_task(cluster.follow(kind)) for kind in kinds]
            yield cluster
            for follower in followers:
                follower.cancel()
    finally:
        process.terminate()
        await process.wait()


def served(plane: Plane) -> str:
    return command("kubectl", f"--kubeconfig={plane.kubeconfig}", "get", "servicemonitors", "-A", check=False)


@pytest.fixture(scope="module")
def operator(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, and one stack with everything that a stack may ask for."""
    plane.kubectl("apply", "-f", "-", stdin=SERVICE_MONITORS)
    plane.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=30s")
    eventually("they are served", lambda: "No resources" in served(plane), seconds=30, every=0.2)
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    plane.kubectl("-n", NAMESPACE, "create", "secret", "generic", "github", "--from-literal=token=t")
    kubeconfig = plane.account("drift-operator")
    running = Operator(NAMESPACE, tmp_path_factory.mktemp("operator"), {"KUBECONFIG": str(kubeconfig)})
    running.start()
    plane.kubectl("create", "-f", "-", stdin=STACK)
    yield running
    running.stop()


def intents(stored: Manifest, live: Mapping[tuple[str, str], Manifest]) -> list[Manifest]:
    """What the builders make of the stack; what they are told of Secrets is read from the pods."""

    def told(kind: str, name: str) -> str:
        return str(live[kind, name]["spec"]["template"]["metadata"]["annotations"][SECRETS_ANNOTATION])

    settings = Settings(
        images={name: f"forge.test/{name}:none" for name in IMAGES}, pull_policies=dict.fromkeys(IMAGES, "Never")
    )
    inputs = Inputs(
        stack=ObservabilityStack.parse(stored),
        settings=settings,
        store_secret="acme-store-auth",
        store_hash=told("StatefulSet", "acme-store"),
        api_hash=told("Deployment", "acme-api"),
        service_monitors=True,
    )
    return list(json.loads(json.dumps(desired_children(inputs))))


@dataclass
class Matrix:
    """What became of the edits."""

    seconds: list[float] = field(default_factory=list)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    idle: int = 0
    undone: collections.Counter[str] = field(default_factory=collections.Counter)
    named: list[tuple[str, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        times = sorted(self.seconds)
        return (
            f"{len(times)} edits undone: p50 {times[len(times) // 2] * 1000:.0f} ms, "
            f"p95 {times[len(times) * 95 // 100] * 1000:.0f} ms, longest {times[-1] * 1000:.0f} ms; "
            f"{len(self.refused)} refused by the API server, {self.idle} changed nothing"
        )


async def undone(cluster: Cluster, intent: Manifest, edit: Edit, manager: str, matrix: Matrix) -> None:
    """Make one edit, and wait until it is undone."""
    kind, name = kind_of(intent), intent["metadata"]["name"]
    key = (intent["kind"], name)
    child, told = f"{key[0]} {name}", f"{key[0]} {name} {edit.told} {edit.how}"
    await cluster.until(f"{told}: the child is whole before", lambda: holds(intent, cluster.live.get(key)))
    place = pointer(edit.path, cluster.live[key])
    assert place is not None, told
    change = {"op": "remove", "path": place} if edit.how == "removed" else _set(place, edit.value)
    began = time.monotonic()
    status, answer = await cluster.send("PATCH", kind, name, manager, [change])
    if status == 422:
        matrix.refused[f"{child} {edit.told}", edit.how] = answer["message"]
        return
    assert status == 200, f"{told}: {answer}"
    if edit.how == "removed" and holds(intent, answer):
        matrix.idle += 1  # what was removed is what the API server fills in
        return
    assert not holds(intent, answer), f"{told}: the edit changed nothing"
    edited = int(answer["metadata"]["resourceVersion"])

    def back() -> bool:
        now = cluster.live.get(key)
        return now is not None and int(now["metadata"]["resourceVersion"]) > edited and holds(intent, now)

    await cluster.until(f"{told} by {manager} is undone", back)
    matrix.seconds.append(time.monotonic() - began)
    matrix.undone[child] += 1
    # Who only removes owns nothing afterwards: the API server forgets who it was.
    if any(entry["manager"] == manager for entry in answer["metadata"]["managedFields"]) and not SIGHT.match(edit.told):
        matrix.named.append((child, edit.told, manager))


def _set(place: str, value: object) -> Manifest:
    return {"op": "replace", "path": place, "value": value}


async def test_every_field_of_every_child_comes_back(plane: Plane, operator: Operator) -> None:
    matrix, numbers = Matrix(), itertools.count(1)

    async def one_child(cluster: Cluster, intent: Manifest) -> list[str]:
        failed = []
        for edit in edits(intent):
            try:
                await undone(cluster, intent, edit, f"edit-{next(numbers)}", matrix)
            except AssertionError as error:
                failed.append(str(error))
                if len(failed) > 5:
                    break
        return failed

    async with proxied(plane) as cluster:
        children = await settled(plane, cluster)
        failed = [told for each in await asyncio.gather(*(one_child(cluster, c) for c in children)) for told in each]
        print(matrix)
        assert failed == []
        await cluster.until("an Event of each edit", lambda: not missing_events(cluster, matrix))
    assert {kind_of(child).kind for child in children} == {
        *CHILDREN.keys() - {"Pod", "Job", "Secret"},
        SERVICE_MONITOR.kind,
    }
    refused = [what for what, how in matrix.refused if how == "set"]
    assert [what for what in refused if not any(re.fullmatch(fixed, what) for fixed in FIXED)] == []
    assert [fixed for fixed in FIXED if not any(re.fullmatch(fixed, what) for what in refused)] == []


def missing_events(cluster: Cluster, matrix: Matrix) -> list[str]:
    """Edits of which no Event tells the child and, where the API server knows it, the manager."""
    notes = [event["note"] for event in cluster.events if event["reason"] == "DriftRepaired"]
    told = [
        f"{child} {what} by {manager}"
        for child, what, manager in matrix.named
        if not any(f"{child} was put back" in note and re.search(rf"\b{manager}\b", note) for note in notes)
    ]
    counts = {child: sum(f"{child} was put back" in note for note in notes) for child in matrix.undone}
    return told + [f"{child}: {counts[child]} of {n} Events" for child, n in matrix.undone.items() if counts[child] < n]


async def test_every_child_comes_back_when_it_is_deleted(plane: Plane, operator: Operator) -> None:
    async def delete(cluster: Cluster, intent: Manifest) -> None:
        key = (intent["kind"], intent["metadata"]["name"])
        uid = cluster.live[key]["metadata"]["uid"]
        status, _ = await cluster.send("DELETE", kind_of(intent), key[1], "")
        assert status == 200

        def back() -> bool:
            now = cluster.live.get(key)
            return now is not None and now["metadata"]["uid"] != uid and holds(intent, now)

        await cluster.until(f"{key} is back", back)
        what = f"{key[0]} {key[1]} was put back"
        await cluster.until(f"an Event of {key}", lambda: any(what in event["note"] for event in cluster.events))

    async with proxied(plane) as cluster:
        children = await settled(plane, cluster)
        claim = plane.kubectl("-n", NAMESPACE, "get", "pvc", "data-acme-store-0", "-o", "jsonpath={.metadata.uid}")
        await asyncio.gather(*(delete(cluster, child) for child in children))
    now = plane.kubectl("-n", NAMESPACE, "get", "pvc", "data-acme-store-0", "-o", "jsonpath={.metadata.uid}")
    assert now == claim, "the data's claim is kept"


async def test_what_others_add_is_left_to_them(plane: Plane, operator: Operator) -> None:
    """Labels, annotations, sidecars, variables: what no intent speaks of is nobody's drift."""
    async with proxied(plane) as cluster:
        await settled(plane, cluster)
        sidecar = {"name": "sidecar", "image": "mesh:1", "securityContext": {"allowPrivilegeEscalation": False}}
        added = [
            {"op": "add", "path": "/metadata/annotations", "value": {"mesh.example/injected": "yes"}},
            {"op": "add", "path": "/metadata/labels/mesh", "value": "yes"},
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": sidecar},
            {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "MESH", "value": "1"}},
        ]
        status, answer = await cluster.send("PATCH", CHILDREN["Deployment"], "acme-api", "mesh", added)
        assert status == 200, answer
        await asyncio.sleep(3)
        now = cluster.live["Deployment", "acme-api"]
    for what in ("labels", "annotations"):
        assert now["metadata"][what].items() >= answer["metadata"][what].items()
    assert now["spec"] == answer["spec"]


def test_every_leaf_is_edited_to_something_else(plane: Plane, operator: Operator) -> None:
    """The matrix leaves no field out: each leaf of each intent is set or, being a key, goes with its element."""
    live = json.loads(plane.kubectl("-n", NAMESPACE, "get", "statefulsets,deployments", "-o", "json"))["items"]
    stored = json.loads(plane.kubectl("-n", NAMESPACE, "get", "obs", "acme", "-o", "json"))
    for intent in intents(stored, {(item["kind"], item["metadata"]["name"]): item for item in live}):
        made = list(edits(intent))
        covered = {edit.path for edit in made}
        for path, value in leaves(intent):
            assert path in covered or path[:-1] in covered, path
            assert [e.value for e in made if e.path == path and e.how == "set" and e.value == value] == []


async def settled(plane: Plane, cluster: Cluster) -> list[Manifest]:
    """The intents of the children, once all of them are there and whole."""
    owners = [("StatefulSet", "acme-store"), ("Deployment", "acme-api")]
    await cluster.until("the pods' owners", lambda: all(key in cluster.live for key in owners), 30)
    stored = json.loads(plane.kubectl("-n", NAMESPACE, "get", "obs", "acme", "-o", "json"))
    children = intents(stored, cluster.live)
    for child in children:
        key = (child["kind"], child["metadata"]["name"])
        await cluster.until(f"{key} is whole", lambda child=child, key=key: holds(child, cluster.live.get(key)), 30)
    return children
