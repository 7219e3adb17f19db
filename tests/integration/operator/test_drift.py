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
from machine import bin_folder
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
LONGEST = 180.0
"""Seconds within which an edit must be undone on a machine that is slow and busy; the most take a fraction of one."""
USUAL = 5.0
"""Seconds within which nineteen of twenty must be."""
COLLECTED = 300.0
"""Seconds for a child that was given another owner: it is that one's, until the garbage collector finds no such owner
and deletes the child."""
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
    """The API server through `kubectl proxy`, what its objects are now, and the notes of DriftRepaired a child."""

    session: aiohttp.ClientSession
    address: str
    live: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self, kind: Kind) -> str:
        """Read what is there of a kind; gives the version from which to follow it."""
        async with self.session.get(self.address + kind.path(NAMESPACE)) as answer:
            found = await answer.json()
            assert answer.status == 200, found
        for item in found["items"]:
            await self._put("ADDED", kind, {"apiVersion": kind.api_version, "kind": kind.kind, **item})
        return str(found["metadata"]["resourceVersion"])

    async def follow(self, kind: Kind, version: str) -> None:
        """Keep what was read current."""
        url, timeout = self.address + kind.path(NAMESPACE), aiohttp.ClientTimeout(total=None)
        query = {"watch": "1", "resourceVersion": version}
        async with self.session.get(url, params=query, timeout=timeout, read_bufsize=2**22) as stream:
            async for line in stream.content:
                event = json.loads(line)
                await self._put(event["type"], kind, event["object"])

    async def _put(self, what: str, kind: Kind, item: Manifest) -> None:
        async with self.changed:
            if kind is EVENT:
                if item["reason"] == "DriftRepaired":
                    self.told[item["note"].split(" was put back")[0]].append(item["note"])
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
        bin_folder() / "kubectl",
        f"--kubeconfig={plane.kubeconfig}",
        "proxy",
        "--port=0",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            cluster = Cluster(session, f"http://{line.split()[-1]}")
            kinds = [k for k in CHILDREN.values() if k.kind not in ("Pod", "Job")] + [SERVICE_MONITOR, EVENT]
            versions = await asyncio.gather(*(cluster.read(kind) for kind in kinds))
            followers = [asyncio.create_task(cluster.follow(*each)) for each in zip(kinds, versions, strict=True)]
            yield cluster
            for follower in followers:
                follower.cancel()
    finally:
        process.terminate()
        await process.wait()


def served(plane: Plane) -> str:
    return command(
        str(bin_folder() / "kubectl"), f"--kubeconfig={plane.kubeconfig}", "get", "servicemonitors", "-A", check=False
    )


@pytest.fixture(scope="module")
def operator(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, and one stack with everything that a stack may ask for."""
    plane.kubectl("apply", "-f", "-", stdin=SERVICE_MONITORS)
    plane.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=120s")
    eventually("they are served", lambda: "No resources" in served(plane), every=0.2)
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

    def percentile(self, share: int) -> float:
        """Seconds within which a share of the edits, in percent, was undone."""
        times = sorted(self.seconds)
        return times[min(len(times) * share // 100, len(times) - 1)]

    def __str__(self) -> str:
        return (
            f"{len(self.seconds)} edits undone: p50 {self.percentile(50):.2f} s, p95 {self.percentile(95):.2f} s, "
            f"longest {max(self.seconds):.2f} s; "
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
    change = {"op": "remove" if edit.how == "removed" else "replace", "path": place, "value": edit.value}
    began, before = time.monotonic(), len(cluster.told[child])
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

    patience = COLLECTED if edit.how == "rekeyed" and SIGHT.match(edit.told) else LONGEST
    await cluster.until(f"{told} by {manager} is undone", back, patience)
    matrix.seconds.append(time.monotonic() - began)
    await cluster.until(f"an Event of {told}", lambda: len(cluster.told[child]) > before)
    # Who removes a field (or sets it to what the API server leaves out) owns nothing: it is not known who it was.
    known = any(entry["manager"] == manager for entry in answer["metadata"]["managedFields"])
    if edit.how == "set" and known and not SIGHT.match(edit.told):
        assert re.search(rf"\b{manager}\b", cluster.told[child][-1]), f"{told}: {cluster.told[child][-1]}"


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
        assert failed == [], "\n".join(failed)
        assert matrix.percentile(95) < USUAL
    assert {kind_of(child).kind for child in children} == {
        *CHILDREN.keys() - {"Pod", "Job", "Secret"},
        SERVICE_MONITOR.kind,
    }
    refused = [what for what, how in matrix.refused if how == "set"]
    assert [what for what in refused if not any(re.fullmatch(fixed, what) for fixed in FIXED)] == []
    assert [fixed for fixed in FIXED if not any(re.fullmatch(fixed, what) for what in refused)] == []


async def test_every_child_comes_back_when_it_is_deleted(plane: Plane, operator: Operator) -> None:
    async def delete(cluster: Cluster, intent: Manifest) -> None:
        key = (intent["kind"], intent["metadata"]["name"])
        uid, before = cluster.live[key]["metadata"]["uid"], len(cluster.told[f"{key[0]} {key[1]}"])
        status, _ = await cluster.send("DELETE", kind_of(intent), key[1], "")
        assert status == 200

        def back() -> bool:
            now = cluster.live.get(key)
            return now is not None and now["metadata"]["uid"] != uid and holds(intent, now)

        await cluster.until(f"{key} is back", back)
        await cluster.until(f"an Event of {key}", lambda: len(cluster.told[f"{key[0]} {key[1]}"]) > before)

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
    await cluster.until("the pods' owners", lambda: all(key in cluster.live for key in owners))
    stored = json.loads(plane.kubectl("-n", NAMESPACE, "get", "obs", "acme", "-o", "json"))
    children = intents(stored, cluster.live)
    for child in children:
        key = (child["kind"], child["metadata"]["name"])
        await cluster.until(f"{key} is whole", lambda child=child, key=key: holds(child, cluster.live.get(key)))
    return children
