"""The operator as a process of this clone, against a real API server, in a namespace of its own."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl import Kubectl, command

sys.path.insert(0, str(Path(__file__).parent))

from operator_process import Operator
from plane import Plane

CLUSTER = Path(__file__).parents[2] / "cluster"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A cluster that answers and has the CRD of this clone; KUBECONFIG names it.

    A CRD that was not there is taken away again: Helm installs over none but its own.
    """
    if "KUBECONFIG" not in os.environ:
        os.environ["KUBECONFIG"] = command(sys.executable, str(CLUSTER / "cluster.py"), "kubeconfig").strip()
    tools = command(sys.executable, str(CLUSTER / "cluster.py"), "tools", "helm").strip().splitlines()[-1]
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    command("kubectl", "get", "--raw", "/readyz")
    crd = str(ROOT / "crds" / "observabilitystacks.yaml")
    was_there = command("kubectl", "get", "crd", "observabilitystacks.observability.forge.dev", "--ignore-not-found")
    command("kubectl", "apply", "--server-side", "--force-conflicts", "-f", crd)
    command(
        "kubectl",
        "wait",
        "--for=condition=Established",
        "crd/observabilitystacks.observability.forge.dev",
        "--timeout=120s",
    )
    yield
    if not was_there:
        command("kubectl", "delete", "-f", crd, "--timeout=300s")


@pytest.fixture(scope="module")
def kubectl(cluster: None) -> Iterator[Kubectl]:
    """A namespace of its own."""
    namespace = f"operator-{uuid.uuid4().hex[:6]}"
    command("kubectl", "create", "namespace", namespace)
    command("kubectl", "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    yield Kubectl(namespace)
    command("kubectl", "delete", "namespace", namespace, "--wait=true", "--timeout=400s")


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, watching the test's namespace only."""
    running = Operator(kubectl.namespace, tmp_path_factory.mktemp("operator"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane without machines: real API server, etcd and controllers, played pods."""
    with Plane(tmp_path_factory.mktemp("p") / "p", nodes=2) as plane:
        yield plane
