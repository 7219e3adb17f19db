#!/usr/bin/env python3
"""The chart, the simulated organisation and a stack in a cluster: what `make up` shows and the end-to-end tests use.

    sample.py chart            install or upgrade the operator
    sample.py world NAMESPACE  the simulated organisation as a pod
    sample.py stack NAMESPACE  the Secrets and the stack that load it, schedules every minute
    sample.py up               all three in namespace forge-demo, wait until Ready, tell how to look

KUBECONFIG names the cluster (default: the one that cluster.py started).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import cluster
from machine import MachineError, bin_folder, cache, ensure_tool

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "forge-observability"
OPERATOR_NAMESPACE = "forge-observability"
SAMPLE_NAMESPACE = "forge-demo"
READY_SECONDS = 1200


def run(*command: str | Path, stdin: str | None = None) -> str:
    """Run a command against the cluster and give its output; its error output is shown as it comes."""
    environment = os.environ | {
        "KUBECONFIG": cluster.path_of_kubeconfig(),
        "PATH": f"{bin_folder()}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [str(part) for part in command], input=stdin, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise MachineError(f"{' '.join(str(part) for part in command[:4])} failed ({done.returncode})\n{done.stdout}")
    return done.stdout


def chart() -> None:
    """Install or upgrade the operator with the images that images/build.py made."""
    ensure_tool("helm")
    values = [f"--set=images.{name}.tag=dev" for name in ("operator", "store", "pipelines", "dbt", "api")]
    # The official server image cannot be pulled where no image registry is reached: the embedded store stands in.
    values.append("--set=images.store.repository=forge-observability/store")
    # The tag says nothing of what is in it: an operator that runs an older build must roll.
    values.append(f"--set-string=podAnnotations.build={build()}")
    run("helm", "upgrade", "--install", "forge", CHART, "--namespace", OPERATOR_NAMESPACE, "--create-namespace",
        "--take-ownership", *values, "--wait", "--timeout", "10m")  # fmt: skip


def build() -> str:
    """What tells these images from those of another build; docker keeps no such record, so there each call is new."""
    index = cache() / "images" / "layout" / "index.json"
    return hashlib.sha256(index.read_bytes()).hexdigest()[:12] if index.exists() else f"at-{time.time():.0f}"


def world(namespace: str) -> None:
    """The simulated organisation, and wait until it answers."""
    if namespace not in run("kubectl", "get", "namespaces", "-o", "name").replace("namespace/", "").split():
        run("kubectl", "create", "namespace", namespace)
    # Every pod of a stack must live under the strictest Pod Security Standard.
    run("kubectl", "label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    run("kubectl", "apply", "-n", namespace, "-f", ROOT / "demo" / "kubernetes")
    run("kubectl", "rollout", "status", "-n", namespace, "deployment/forge-demo", "--timeout=600s")


def stack(namespace: str) -> None:
    """The stack that loads it."""
    run("kubectl", "apply", "-n", namespace, "-f", "-", stdin=stack_manifest())


def stack_manifest() -> str:
    """The demo's stack file for the addresses inside the cluster."""
    forge_demo = ROOT / ".venv" / "bin" / "forge-demo"
    urls = ("--url", "http://forge-demo:8080", "--prometheus-url", "http://forge-demo:9090")
    return run(forge_demo, "stack", *urls, "--schedule", "* * * * *")


def up() -> None:
    """Everything, told step by step."""
    steps = (("operator", chart), ("simulated organisation", lambda: world(SAMPLE_NAMESPACE)),
             ("stack", lambda: stack(SAMPLE_NAMESPACE)), ("Ready", ready))  # fmt: skip
    for name, step in steps:
        begun = time.monotonic()
        step()
        print(f"{name}: {time.monotonic() - begun:.0f} s")
    print(run("kubectl", "get", "obs", "-n", SAMPLE_NAMESPACE))
    print(f"export KUBECONFIG={cluster.path_of_kubeconfig()} PATH={bin_folder()}:$PATH")
    print(f"kubectl -n {SAMPLE_NAMESPACE} get secret demo-api-token -o jsonpath='{{.data.token}}' | base64 -d")
    print(f"kubectl -n {SAMPLE_NAMESPACE} port-forward service/demo-api 8080:80    # then open http://127.0.0.1:8080/")


def ready() -> None:
    """Wait for the stack."""
    run("kubectl", "wait", "-n", SAMPLE_NAMESPACE, "obs/demo", "--for=condition=Ready", f"--timeout={READY_SECONDS}s")


def main() -> int:
    verbs = {"chart": chart, "world": world, "stack": stack, "up": up}
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verbs[sys.argv[1]](*sys.argv[2:])
    except MachineError as error:
        print(f"sample: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
