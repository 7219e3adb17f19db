"""Renders the chart, and reads what came out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from machine import KUBERNETES

Manifest = dict[str, Any]

CHART = Path(__file__).parents[3] / "charts" / "forge-observability"
NAMESPACE = "forge-observability"
# A test needs the CRD only where it speaks of it; without it YAML is read in a tenth of the time.
WITHOUT_CRD = {"crds": {"install": False}}


def render(helm: Path, values: Mapping[str, Any], chart: Path = CHART) -> list[Manifest]:
    """The manifests of a release `forge`. Raises CalledProcessError that holds what Helm said."""
    command = [helm, "template", "forge", chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "-f", "-"]
    given = json.dumps({**WITHOUT_CRD, **values})
    done = subprocess.run([str(part) for part in command], input=given, capture_output=True, text=True, check=True)
    return documents(done.stdout)


def documents(text: str) -> list[Manifest]:
    """The manifests of a YAML stream."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def only(manifests: Iterable[Manifest], kind: str) -> Manifest:
    """The one of a kind."""
    (found,) = of_kind(manifests, kind)
    return found


def operator(manifests: Iterable[Manifest]) -> Manifest:
    """The operator's container."""
    return dict(only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0])


def rights(rules: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Each (group, resource, verb) that the rules give, as often as they give it."""
    return [
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
