"""What `helm upgrade` changes: what the chart before rendered, compared with what this one renders.

`releases/<version>/` holds it; before a release is tagged, `FORGE_RELEASE=<version>` renews it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from machine import KUBERNETES
from rendering import CHART, NAMESPACE, Manifest, documents

sys.path.insert(0, str(Path(__file__).parents[1] / "operator"))

from test_release import changed_fields

RELEASES = Path(__file__).parent / "releases"
INSTALLS: dict[str, dict[str, Any]] = {
    "cluster": {},
    "namespaces": {
        "crds": {"install": False},
        "watchNamespaces": ["team-a", "team-b"],
        "operatorClass": "blue",
        "imagePullSecrets": ["registry"],
    },
}
FIXED = {"Deployment": ["selector"], "Service": ["clusterIP"]}
"""Fields that Kubernetes lets nobody change."""


def text(helm: Path, values: dict[str, Any]) -> str:
    """What Helm renders of a release `forge`, the CRD too."""
    command = [helm, "template", "forge", CHART, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "-f", "-"]
    given = yaml.safe_dump(values)
    done = subprocess.run([str(p) for p in command], input=given, capture_output=True, text=True, check=True)
    return done.stdout


def kept() -> Path:
    """The newest release that is kept."""
    return max((p for p in RELEASES.iterdir() if p.is_dir()), key=lambda p: [*map(int, p.name.split("."))])


Objects = dict[tuple[str, str, str], Manifest]


def by_name(manifests: list[Manifest]) -> Objects:
    return {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]): m for m in manifests}


@pytest.fixture(scope="module", params=INSTALLS)
def upgrade(request: pytest.FixtureRequest, helm: Path) -> tuple[Objects, Objects]:
    """One way to install the chart: what was rendered, and what is."""
    now = text(helm, INSTALLS[request.param])
    if release := os.environ.get("FORGE_RELEASE"):
        (RELEASES / release).mkdir(exist_ok=True)
        (RELEASES / release / f"{request.param}.yaml").write_text(now)
    return by_name(documents((kept() / f"{request.param}.yaml").read_text())), by_name(documents(now))


def announced() -> str:
    """What the changelog says of the coming release's chart."""
    coming = (CHART.parents[1] / "CHANGELOG.md").read_text().split("\n## ")[1]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert coming.startswith(f"{version}\n"), "the changelog's newest section is not of the chart's version"
    return coming.split("### Chart")[1].split("\n### ")[0]


def test_changes_of_the_operators_pod_are_announced(upgrade: tuple[Objects, Objects]) -> None:
    before, now = ({k: m for k, m in side.items() if k[0] == "Deployment"} for side in upgrade)
    assert before.keys() == now.keys()
    told = announced()
    for key, manifest in before.items():
        fields = changed_fields(manifest["spec"]["template"], now[key]["spec"]["template"])
        assert fields
        assert [field for field in sorted(fields) if f"`{field}`" not in told] == []


def test_kinds_that_come_or_go_are_announced(upgrade: tuple[Objects, Objects]) -> None:
    before, now = upgrade
    told = announced()
    assert [key for key in before.keys() ^ now.keys() if f"`{key[0]}`" not in told] == []


def test_rights_that_come_or_go_are_announced(upgrade: tuple[Objects, Objects]) -> None:
    before, now = (
        {
            f"{verb} {resource}"
            for key, manifest in side.items()
            if key[0] in ("Role", "ClusterRole") and not key[2].endswith(("-view", "-edit"))
            for rule in manifest["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for side in upgrade
    )
    told = announced()
    assert before != now
    assert [
        f"{verb} {resource}"
        for verb, resource in map(str.split, before ^ now)
        if f"`{verb}`" not in told or resource not in told
    ] == []


def test_what_cannot_be_changed_is_not(upgrade: tuple[Objects, Objects]) -> None:
    before, now = upgrade
    for key in before.keys() & now.keys():
        for field in FIXED.get(key[0], []):
            assert before[key]["spec"].get(field) == now[key]["spec"].get(field), key
        assert before[key].get("roleRef") == now[key].get("roleRef"), key
