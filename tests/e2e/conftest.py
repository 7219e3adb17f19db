"""A cluster with the chart installed, and helpers that speak to it as a user does: by kubectl."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubectl import Kubectl, command

CLUSTER = Path(__file__).parents[1] / "cluster"


@pytest.fixture(scope="session")
def cluster() -> None:
    """A cluster that answers; KUBECONFIG names it."""
    if "KUBECONFIG" not in os.environ:
        os.environ["KUBECONFIG"] = command(sys.executable, str(CLUSTER / "cluster.py"), "kubeconfig").strip()
    tools = command(sys.executable, str(CLUSTER / "cluster.py"), "tools", "helm").strip().splitlines()[-1]
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    command("kubectl", "get", "--raw", "/readyz")


@pytest.fixture(scope="session")
def operator(cluster: None) -> None:
    """The chart, installed from this clone."""
    command(sys.executable, str(CLUSTER / "sample.py"), "chart")


@pytest.fixture(scope="module")
def kubectl(operator: None) -> Iterator[Kubectl]:
    """A namespace of its own, with the simulated organisation in it; what it holds is shown when a test fails."""
    namespace = f"e2e-{uuid.uuid4().hex[:6]}"
    command(sys.executable, str(CLUSTER / "sample.py"), "world", namespace)
    yield Kubectl(namespace)
    command("kubectl", "delete", "namespace", namespace, "--wait=true", "--timeout=400s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Beside a failure: the stacks, pods, Events and the operator's last words."""
    report = yield
    kubectl = getattr(item, "funcargs", {}).get("kubectl")
    if report.failed and isinstance(kubectl, Kubectl):
        told = [
            kubectl("get", "obs,pods,jobs,cronjobs", check=False),
            kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-6000:],
            kubectl("get", "obs", "-o", "yaml", check=False)[-6000:],
            command(
                "kubectl",
                "-n",
                "forge-observability",
                "logs",
                "deploy/forge-forge-observability",
                "--tail=60",
                check=False,
            ),
        ]
        report.sections.append(("the cluster", "\n".join(told)))
    return report
