"""An upgrade of the CRD: what the API server filled in under the release before stays, so no store pod is replaced.

Both CRDs are installed under a group of their own; the cluster's stacks are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_stack.crd import custom_resource_definition
from kubectl import Kubectl, command, eventually

pytestmark = pytest.mark.cluster

UNIT = Path(__file__).parents[2] / "unit"
OLD_CHART = UNIT / "chart" / "releases" / "0.1.0" / "cluster.yaml"
GROUP = "upgrade.forge.example"
NAME = f"observabilitystacks.{GROUP}"


def regrouped(crd: dict[str, Any]) -> str:
    text = json.dumps({**crd, "metadata": {"name": crd["metadata"]["name"]}})
    return text.replace("observabilitystacks.observability.forge.dev", NAME).replace(
        '"group": "observability.forge.dev"', f'"group": "{GROUP}"'
    )


@pytest.fixture
def install(cluster: None) -> Iterator[Callable[[dict[str, Any]], None]]:
    def apply(crd: dict[str, Any]) -> None:
        command("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=regrouped(crd))
        command("kubectl", "wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=120s")

    yield apply
    command("kubectl", "delete", "crd", NAME, "--ignore-not-found", "--timeout=120s")


def test_a_stack_keeps_the_defaults_under_which_it_was_written(
    install: Callable[[dict[str, Any]], None], kubectl: Kubectl
) -> None:
    (old,) = [d for d in yaml.safe_load_all(OLD_CHART.read_text()) if d and d["kind"] == "CustomResourceDefinition"]
    kept, *_ = yaml.safe_load_all((UNIT / "operator" / "releases" / "0.1.0" / "smallest.yaml").read_text())
    written = next(yaml.safe_load_all((UNIT / "operator" / "releases" / "stacks.yaml").read_text()))
    written["apiVersion"] = f"{GROUP}/v1alpha1"
    del written["metadata"]["namespace"], written["metadata"]["uid"]

    install(old)
    eventually("it is served", lambda: NAME in kubectl("api-resources", "-o", "name"), every=0.5)
    kubectl("apply", "-f", "-", stdin=json.dumps(written))
    # The record that the release comparison reads is what a real API server keeps.
    assert kubectl.json(NAME, "smallest")["spec"] == kept["spec"]

    install(custom_resource_definition())
    served = lambda: '"podTemplate"' in kubectl("get", "--raw", f"/openapi/v3/apis/{GROUP}/v1alpha1")  # noqa: E731
    eventually("the new CRD is served", served, every=0.5)
    kubectl("annotate", NAME, "smallest", "touched=yes")
    after = kubectl.json(NAME, "smallest")["spec"]
    assert after["store"]["managed"]["resources"] == {}
    # Applied again as it stands in somebody's repository: the default that was filled in stays.
    kubectl("apply", "-f", "-", stdin=json.dumps(written))
    assert kubectl.json(NAME, "smallest")["spec"] == after

    written["metadata"]["name"] = "new"
    kubectl("create", "-f", "-", stdin=json.dumps(written))
    assert kubectl.json(NAME, "new")["spec"]["store"]["managed"]["resources"]["requests"] == {
        "cpu": "250m",
        "memory": "1Gi",
    }
