"""The chart on a real cluster: its own test passes in a pod, and every pod of the operator is ready."""

from __future__ import annotations

import json

import pytest
from kubectl import command

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NAMESPACE = ("-n", "forge-observability")


def test_helm_test_passes(operator: None) -> None:
    told = command("helm", "test", "forge", *NAMESPACE, "--timeout", "5m")
    assert "Phase:          Succeeded" in told


def test_one_replica_leads_and_the_others_stand_by_ready(operator: None) -> None:
    deployment = json.loads(
        command("kubectl", *NAMESPACE, "get", "deployment", "forge-forge-observability", "-o", "json")
    )
    assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"] == 2
    lease = json.loads(command("kubectl", *NAMESPACE, "get", "lease", "forge-operator", "-o", "json"))
    pods = command("kubectl", *NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name")
    assert any(lease["spec"]["holderIdentity"].startswith(name.removeprefix("pod/")) for name in pods.split())
