"""What is made from the chart: its page, and the bundle for the Operator Lifecycle Manager."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_stack import crd
from rendering import CHART, Manifest, of_kind, only, operator, rights

Render = Callable[..., list[Manifest]]


def test_the_page_gives_every_value_a_meaning() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \| ([^|]*) \|$", (CHART / "README.md").read_text(), re.M)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {name.split(".")[0] for name, _, _ in rows} == values.keys()
    assert [name for name, _, meaning in rows if not meaning.strip()] == []


@pytest.fixture(scope="module")
def bundle(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of the bundle, read."""
    spec = importlib.util.spec_from_file_location("bundle", CHART.parent / "olm" / "bundle.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("bundle")
    module.write(folder, helm)
    return {str(file.relative_to(folder)): yaml.safe_load(file.read_text()) for file in folder.rglob("*.yaml")}


def version(bundle: dict[str, Any]) -> Manifest:
    """Its ClusterServiceVersion."""
    return dict(bundle["manifests/forge-observability.clusterserviceversion.yaml"])


def test_the_bundle_gives_the_charts_rights(bundle: dict[str, Any], rendered: Render) -> None:
    (given,) = version(bundle)["spec"]["install"]["spec"]["permissions"]
    made = rendered(watchNamespaces=["team-a"], rbac={"aggregateToUserRoles": False})
    assert sorted(rights(given["rules"])) == sorted(
        right for role in of_kind(made, "Role") for right in rights(role["rules"])
    )


def test_the_bundle_runs_the_charts_pod_where_it_is_told(bundle: dict[str, Any], rendered: Render) -> None:
    install = version(bundle)["spec"]["install"]["spec"]
    (deployment,) = install["deployments"]
    pod = deployment["spec"]["template"]["spec"]
    ours = only(rendered(), "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == install["permissions"][0]["serviceAccountName"]
    (container,) = pod["containers"]
    watched = [each for each in container["env"] if each["name"] == "FORGE_WATCH_NAMESPACES"]
    assert watched[0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.annotations['olm.targetNamespaces']"
    for name in ("image", "resources", "securityContext", "livenessProbe", "readinessProbe"):
        assert container[name] == ours["containers"][0][name]
    assert "helm" not in json.dumps(bundle).lower()


def test_the_bundle_names_every_image_and_the_crd(bundle: dict[str, Any], rendered: Render) -> None:
    container = operator(rendered())
    used = {container["image"]} | {
        each["value"]
        for each in container["env"]
        if re.fullmatch("FORGE_IMAGE_(STORE|PIPELINES|DBT|API)", each["name"])
    }
    assert {each["image"] for each in version(bundle)["spec"]["relatedImages"]} == used
    assert bundle["manifests/observabilitystacks.crd.yaml"] == crd.custom_resource_definition()
