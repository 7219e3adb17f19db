"""A stack from `kubectl apply` to gold on the cluster, beside the same pods with nothing to do."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.result import Result

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "tests" / "cluster"
LIMIT_SECONDS = 600
CONDITIONS = ("StoreReady", "SourcesHealthy", "Transformed")
RESTRICTED = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "automountServiceAccountToken": False,
    "restartPolicy": "Never",
}


def _run(*args: str, stdin: str | None = None) -> str:
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(args[:6])}: {done.stderr or done.stdout}")
    return done.stdout


def apply_to_gold(name: str) -> Result:
    """Seconds from `kubectl apply` of the sample stack to its first gold row, by phase; floor: the same pods, empty."""
    _cluster()
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    try:
        _run(sys.executable, str(CLUSTER / "sample.py"), "world", namespace)
        floor = _floor(namespace)
        phases = _phases(namespace)
    finally:
        _run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s")
    note = ", ".join(f"{phase} {phases[phase]:.1f} s" for phase in (*CONDITIONS, "gold.tickets"))
    return Result(name, "s", phases["gold.tickets"], floor=floor, note=f"since apply: {note}; image pulls excluded")


def _cluster() -> None:
    """What `make up` has before its stack: a cluster, the images in it (a cluster of your own has them), the chart."""
    program = (sys.executable, str(CLUSTER / "cluster.py"))
    _run(*program, "up")
    if "KUBECONFIG" not in os.environ:
        _run(sys.executable, str(ROOT / "images" / "build.py"), "--load")
        os.environ["KUBECONFIG"] = _run(*program, "kubeconfig").strip()
    tools = _run(*program, "tools", "kubectl").strip().splitlines()[-1]
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    _run(sys.executable, str(CLUSTER / "sample.py"), "chart")


def _phases(namespace: str) -> dict[str, float]:
    """When each condition became True and gold had tickets, in seconds since the apply.

    A transform may cover only the loads that ended first: gold counts when the summary of one has tickets in it.
    """
    kubectl = ("kubectl", "-n", namespace)
    urls = ("--url", "http://forge-demo:8080", "--prometheus-url", "http://forge-demo:9090")
    manifest = _run(str(Path(sys.executable).parent / "forge-demo"), "stack", *urls)
    begun = time.monotonic()
    _run(*kubectl, "apply", "-f", "-", stdin=manifest)
    seen: dict[str, float] = {}
    while not {*CONDITIONS, "gold.tickets"} <= seen.keys():
        status = json.loads(_run(*kubectl, "get", "obs", "demo", "-o", "json")).get("status", {})
        now = time.monotonic() - begun
        for condition in status.get("conditions", []):
            if condition["status"] == "True":
                seen.setdefault(condition["type"], now)
        if (status.get("transform") or {}).get("rows", {}).get("gold.tickets"):
            seen.setdefault("gold.tickets", now)
        if now > LIMIT_SECONDS:
            raise RuntimeError(f"no gold within {LIMIT_SECONDS} s: {json.dumps(status.get('conditions'))}")
        time.sleep(0.25)
    return seen


def _floor(namespace: str) -> float:
    """Seconds of the same chain of pods that do nothing: the store, then four loads at once, then a transform."""
    begun = time.monotonic()
    _pods(namespace, {"floor-store": "store"})
    _pods(namespace, {f"floor-load-{number}": "pipelines" for number in range(4)})
    _pods(namespace, {"floor-transform": "dbt"})
    took = time.monotonic() - begun
    _run("kubectl", "-n", namespace, "delete", "pods", "-l", "bench=floor", "--wait=false")
    return took


def _pods(namespace: str, images: dict[str, str]) -> None:
    pods = [_pod(pod, image) for pod, image in images.items()]
    _run(
        "kubectl",
        "-n",
        namespace,
        "apply",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}),
    )
    for pod in images:
        _wait(functools.partial(_succeeded, namespace, pod), pod)


def _succeeded(namespace: str, pod: str) -> bool:
    return _run("kubectl", "-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Succeeded"


def _wait(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not end within {LIMIT_SECONDS} s")
        time.sleep(0.1)


def _pod(name: str, image: str) -> dict[str, object]:
    container = {
        "name": "empty",
        "image": f"forge-observability/{image}:dev",
        "imagePullPolicy": "IfNotPresent",
        "command": ["true"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    metadata = {"name": name, "labels": {"bench": "floor"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**RESTRICTED, "containers": [container]}}
