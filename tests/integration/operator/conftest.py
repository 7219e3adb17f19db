"""The operator as a process of this clone, against a real API server, in a namespace of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubectl import Kubectl, command

CLUSTER = Path(__file__).parents[2] / "cluster"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def cluster() -> None:
    """A cluster that answers and has the CRD of this clone; KUBECONFIG names it."""
    if "KUBECONFIG" not in os.environ:
        os.environ["KUBECONFIG"] = command(sys.executable, str(CLUSTER / "cluster.py"), "kubeconfig").strip()
    tools = command(sys.executable, str(CLUSTER / "cluster.py"), "tools", "helm").strip().splitlines()[-1]
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    command("kubectl", "get", "--raw", "/readyz")
    crd = str(ROOT / "crds" / "observabilitystacks.yaml")
    command("kubectl", "apply", "--server-side", "--force-conflicts", "-f", crd)
    command("kubectl", "wait", "--for=condition=Established", "crd/observabilitystacks.observability.forge.dev")


@pytest.fixture(scope="session")
def alone(cluster: None) -> Iterator[None]:
    """No installed operator works on the same stacks meanwhile."""
    found = json.loads(
        command("kubectl", "get", "deployments", "-A", "-l", "app.kubernetes.io/component=operator", "-o", "json")
    )["items"]
    running = [
        (d["metadata"]["namespace"], d["metadata"]["name"], d["spec"]["replicas"])
        for d in found
        if d["metadata"]["labels"].get("app.kubernetes.io/name") == "forge-observability" and d["spec"]["replicas"]
    ]
    for namespace, name, _ in running:
        command("kubectl", "-n", namespace, "scale", "deployment", name, "--replicas=0")
        command("kubectl", "-n", namespace, "rollout", "status", "deployment", name, "--timeout=60s")
    yield
    for namespace, name, replicas in running:
        command("kubectl", "-n", namespace, "scale", "deployment", name, f"--replicas={replicas}")


@pytest.fixture(scope="module")
def kubectl(cluster: None) -> Iterator[Kubectl]:
    """A namespace of its own."""
    namespace = f"operator-{uuid.uuid4().hex[:6]}"
    command("kubectl", "create", "namespace", namespace)
    command("kubectl", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    yield Kubectl(namespace)
    command("kubectl", "delete", "namespace", namespace, "--wait=true", "--timeout=120s")


@dataclass
class Operator:
    """A running operator; `start` and `stop` as often as a test likes."""

    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is alive."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Images that are never pulled: what is tested here is what the API server holds, and pods stay as still as it.
        names = ("STORE", "PIPELINES", "DBT", "API")
        images = {f"FORGE_IMAGE_{name}": f"forge.test/{name.lower()}:none" for name in names}
        policies = {f"FORGE_IMAGE_{name}_PULL_POLICY": "Never" for name in names}
        environment = {
            **os.environ,
            **images,
            **policies,
            "FORGE_WATCH_NAMESPACES": self.namespace,
            "FORGE_HEALTH_PORT": str(port),
            "FORGE_RESYNC_SECONDS": "300",
            "FORGE_LOG_LEVEL": "debug",
        }
        program = str(Path(sys.executable).parent / "forge-operator")
        with (self.folder / "operator.log").open("ab") as log:
            self.process = subprocess.Popen([program], env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end or self.process.poll() is not None:
                    pytest.fail(f"the operator did not start:\n{self.log()[-3000:]}", pytrace=False)
                time.sleep(0.1)

    def stop(self, kill: bool = False) -> None:
        """Stop as Kubernetes does, or at once."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(30)
            self.process = None

    def log(self) -> str:
        """What it said."""
        return (self.folder / "operator.log").read_text()

    def rss_mib(self) -> float:
        """Its resident memory."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture(scope="module")
def operator(alone: None, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, watching the test's namespace only."""
    running = Operator(kubectl.namespace, tmp_path_factory.mktemp("operator"))
    running.start()
    yield running
    running.stop()
