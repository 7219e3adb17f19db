"""The stack that loads the demo is one that the resource's model takes, and the pod's manifests hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_demo.main import main
from forge_stack.model import ObservabilityStack

KUBERNETES = Path(__file__).parents[3] / "demo" / "kubernetes"


def test_the_stack_is_valid_and_its_secrets_hold_what_the_sources_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_DEMO_GITHUB_TOKEN", "yes: [no]")
    assert main(["stack", "--url", "http://demo:8080/", "--prometheus-url", "http://demo:9090", "--name", "mine"]) == 0
    stack, *secrets = yaml.safe_load_all(capsys.readouterr().out)
    parsed = ObservabilityStack.parse(stack)
    assert parsed.metadata.name == "mine"
    assert [source.type for source in parsed.spec.sources] == ["langfuse", "github", "jira", "prometheus"]
    assert str(parsed.spec.sources[1].connection.url) == "http://demo:8080/github/api/v3"
    held = {secret["metadata"]["name"]: secret["stringData"] for secret in secrets}
    assert {source.secret_name for source in parsed.spec.sources} - {None} == held.keys()
    assert held["github-credentials"] == {"token": "yes: [no]"}
    assert set(held["langfuse-credentials"]) == {"publicKey", "secretKey"}
    assert set(held["jira-credentials"]) == {"email", "token"}


def test_the_pod_is_restricted_and_finds_what_it_mounts() -> None:
    objects: list[dict[str, Any]] = [
        o for f in sorted(KUBERNETES.glob("*.yaml")) for o in yaml.safe_load_all(f.read_text())
    ]
    named = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    pod = named["Deployment", "forge-demo"]["spec"]["template"]["spec"]
    assert ("ServiceAccount", pod["serviceAccountName"]) in named
    for volume in pod["volumes"]:
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in named
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert isinstance(yaml.safe_load(named["ConfigMap", "forge-demo-scrape"]["data"]["scrape.yaml"]), list)
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in named["Service", "forge-demo"]["spec"]["ports"]} == ports
