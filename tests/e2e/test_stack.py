"""One stack from `kubectl apply` to an answer about gold, on a real cluster; then change, bad input and deletion."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import Kubectl, command, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ASK = """
import json, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


class Gold:
    """The API, asked from a pod through its Service."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.url = kubectl.json("obs", "demo")["status"]["apiUrl"]
        self.token = kubectl("get", "secret", "demo-api-token", "-o", "go-template={{.data.token | base64decode}}")

    def get(self, path: str) -> Any:
        answer = self.kubectl("exec", "deploy/forge-demo", "--", "python3", "-c", ASK, f"{self.url}{path}", self.token)
        return json.loads(answer)

    def tickets(self) -> dict[str, dict[str, Any]]:
        """All tickets, over all pages."""
        found: dict[str, dict[str, Any]] = {}
        path: str | None = "/api/v1/tickets?limit=500"
        while path:
            page = self.get(path)
            found |= {ticket["ticket_key"]: ticket for ticket in page["items"]}
            path = f"/api/v1/tickets?limit=500&next={page['next']}" if page.get("next") else None
        return found


def demo_stack(*args: str) -> str:
    """The stack file of the simulated organisation, for its address inside the cluster."""
    urls = ("--url", "http://forge-demo:8080", "--prometheus-url", "http://forge-demo:9090")
    return command(sys.executable, "-m", "forge_demo.main", "stack", *urls, *args)


def world(kubectl: Kubectl, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the simulated organisation itself."""
    code = (
        "import json, sys, urllib.request as r\n"
        "data = sys.argv[2].encode() if len(sys.argv) > 2 else None\n"
        "q = r.Request('http://127.0.0.1:8080' + sys.argv[1], data, {'Content-Type': 'application/json'})\n"
        "print(r.urlopen(q, timeout=60).read().decode())\n"
    )
    args = [path] + ([json.dumps(body)] if body is not None else [])
    return json.loads(kubectl("exec", "deploy/forge-demo", "--", "python3", "-c", code, *args))


def test_from_apply_to_gold_and_on(kubectl: Kubectl) -> None:
    """Apply, wait as a user waits, read gold, see a change of the world arrive."""
    kubectl("apply", "-f", "-", stdin=demo_stack("--schedule", "* * * * *"))
    kubectl("wait", "obs/demo", "--for=condition=Ready", "--timeout=600s")

    def well() -> dict[str, Any] | None:
        """The status; None while loads of the next minute have ended and their transform has not."""
        status = dict(kubectl.json("obs", "demo")["status"])
        return status if all(c["status"] == "True" for c in status["conditions"]) else None

    status = eventually("every condition holds", well)
    assert {s["name"]: s["state"] for s in status["sources"]} == dict.fromkeys(
        ("langfuse", "github", "jira", "prometheus"), "Healthy"
    )
    assert status["healthySources"] == "4/4"
    assert status["transform"]["sequence"] >= 1
    line = kubectl("get", "obs", "demo").splitlines()
    assert line[0].split()[:4] == ["NAME", "READY", "STORE", "SOURCES"]
    assert line[1].split()[:4] == ["demo", "True", "True", "4/4"]

    gold = Gold(kubectl)
    tickets = gold.tickets()
    truth = {t["ticket_key"]: t for t in world(kubectl, "/_world/truth")["tickets"]}
    assert set(truth) <= set(tickets)
    assert len(truth) > 100

    before = len(tickets)
    world(kubectl, "/_world/advance", {"days": 3})  # one of them is a working day
    eventually("new tickets in gold", lambda: len(gold.tickets()) > before, every=5)


def test_pods_say_nothing_they_should_not(kubectl: Kubectl) -> None:
    """No secret in the logs of any pod, in Events or in the status."""
    secrets = yaml.safe_load(kubectl("get", "secrets", "-o", "yaml"))["items"]
    words = {
        base64.b64decode(value).decode(errors="replace").strip()
        for secret in secrets
        for key, value in (secret.get("data") or {}).items()
        if key not in ("email", "username", "publicKey", "user", "url") and secret["type"] == "Opaque"
    }
    words = {word for word in words if len(word) >= 8}
    assert words
    told = kubectl("get", "obs,events,jobs,cronjobs,pods,configmaps,statefulsets,deployments", "-o", "yaml")
    for pod in kubectl.names("pods"):
        told += kubectl("logs", pod, "--all-containers", check=False)
    told += command(
        "kubectl", "-n", "forge-observability", "logs", "-l", "app.kubernetes.io/name=forge-observability", "--tail=-1"
    )
    assert [word[:4] + "..." for word in words if word in told] == []


def test_the_cli_applies_and_tells(kubectl: Kubectl, tmp_path: Path) -> None:
    """The same file through the CLI changes nothing; its status tells what kubectl tells."""
    before = kubectl.json("obs", "demo")["metadata"]["generation"]
    file = tmp_path / "stack.yaml"
    file.write_text(demo_stack("--schedule", "* * * * *"))
    cli = str(Path(sys.executable).parent / "forge-observability")
    told = command(cli, "apply", "-f", str(file), "-n", kubectl.namespace)
    assert f"observabilitystack/demo applied in {kubectl.namespace}" in told
    assert kubectl.json("obs", "demo")["metadata"]["generation"] == before
    told = command(cli, "status", "demo", "-n", kubectl.namespace)
    assert len(re.findall(r"\bHealthy\b", told)) == 4, told
    assert kubectl.json("obs", "demo")["status"]["apiUrl"] in told
    file.write_text(file.read_text().replace("sources:", "sourcez: []\n  sources:"))
    assert "spec.sourcez: unknown field" in command(cli, "apply", "-f", str(file), check=False)


def bad_stack(kubectl: Kubectl) -> None:
    """A second stack: a missing Secret, a wrong token, an unreachable host, and one good source."""
    documents = [d for d in yaml.safe_load_all(demo_stack()) if d]
    stack = next(d for d in documents if d["kind"] == "ObservabilityStack")
    by_type = {
        next(t for t in ("langfuse", "github", "jira", "prometheus") if t in s): s for s in stack["spec"]["sources"]
    }
    by_type["langfuse"]["langfuse"]["credentialsSecretRef"]["name"] = "not-there"
    by_type["github"]["github"]["credentialsSecretRef"]["name"] = "wrong-token"
    by_type["jira"]["jira"]["url"] = "http://no-such-host.invalid"
    stack["metadata"]["name"] = "bad"
    stack["spec"]["transform"] = {"settleTime": "1s"}
    wrong = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "wrong-token"},
        "stringData": {"token": "not-the-token"},
    }
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([wrong, stack]))


def test_bad_input_is_told_and_the_rest_goes_on(kubectl: Kubectl) -> None:
    """Each bad source says what to do; the good one loads."""
    bad_stack(kubectl)

    def sources() -> dict[str, dict[str, Any]]:
        return {s["name"]: s for s in kubectl.json("obs", "bad").get("status", {}).get("sources", [])}

    eventually(
        "three failing sources and a healthy one",
        lambda: sorted(s["state"] for s in sources().values()) == ["Failing", "Failing", "Failing", "Healthy"],
    )
    told = sources()
    assert "not-there" in told["langfuse"]["message"]
    assert told["github"]["reason"] == "Unauthorized"
    assert "credentialsSecretRef" in told["github"]["message"]
    assert told["jira"]["reason"] == "Unreachable"
    assert "no-such-host.invalid" in told["jira"]["message"]
    assert told["prometheus"]["rows"]["samples"] > 0
    assert kubectl.condition("bad", "SourcesHealthy")["status"] == "False"
    assert kubectl.condition("bad", "Ready")["status"] == "False"
    # Mended input heals without a restart: the Secret appears, the source loads.
    good = kubectl.json("secret", "langfuse-credentials")
    mended = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "not-there"}, "data": good["data"]}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(mended))
    eventually("langfuse healed", lambda: sources()["langfuse"]["state"] == "Healthy")
    kubectl("delete", "obs", "bad", "--timeout=300s")


def test_a_deleted_child_comes_back(kubectl: Kubectl) -> None:
    """Drift is repaired."""
    kubectl("delete", "service", "demo-api")
    eventually("the Service is back", lambda: "service/demo-api" in kubectl.names("services"))
    kubectl("patch", "cronjob", "demo-load-github", "--type=merge", "-p", '{"spec":{"schedule":"0 0 1 1 *"}}')
    eventually(
        "the schedule is back",
        lambda: kubectl.json("cronjob", "demo-load-github")["spec"]["schedule"] == "* * * * *",
    )


def test_deletion_leaves_only_the_volume(kubectl: Kubectl) -> None:
    """Delete the stack: every child goes, the data stays."""
    kubectl("delete", "obs", "demo", "--timeout=300s")
    kinds = (
        "statefulsets,deployments,services,cronjobs,jobs,configmaps,secrets,networkpolicies,poddisruptionbudgets,"
        "serviceaccounts"
    )
    selector = "observability.forge.dev/stack=demo"
    eventually("no children", lambda: not kubectl.names(kinds, selector))
    claims = kubectl.json("persistentvolumeclaims", "-l", selector)["items"]
    assert len(claims) == 1
    assert claims[0]["status"]["phase"] == "Bound"
    eventually("no pods", lambda: not kubectl.names("pods", selector))
