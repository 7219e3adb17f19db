"""The bundle by which the Operator Lifecycle Manager installs the operator, made from what the chart renders.

`bundle.py FOLDER` writes manifests/, metadata/ and bundle.Dockerfile there. Rights, pod and images stand in the chart
alone; what differs under this manager is said here: it names the namespaces, makes the roles and owns the CRD.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from forge_observability import template
from forge_stack.crd import custom_resource_definition
from forge_stack.model import KIND, SOURCE_TYPES, ObservabilityStack

Manifest = dict[str, Any]

CHART = Path(__file__).parents[1] / "forge-observability"
NAME = "forge-observability"
TARGETS = {"fieldRef": {"fieldPath": "metadata.annotations['olm.targetNamespaces']"}}
"""Where this manager says which namespaces the operator is for; empty for all of them."""
CHANNEL = "alpha"
KEPT_KINDS = ("Service", "PodDisruptionBudget")
"""What goes into the bundle as it is; accounts, roles and the Deployment stand in the ClusterServiceVersion."""


def render(helm: Path) -> list[Manifest]:
    """The chart for one namespace, its own: the roles that come of it are given for each target."""
    values = {
        "crds": {"install": False},
        "fullnameOverride": NAME,
        "watchNamespaces": [NAME],
        "rbac": {"aggregateToUserRoles": False},  # this manager makes such roles itself, for every CRD
    }
    command = [helm, "template", NAME, CHART, "--namespace", NAME, "--no-hooks", "--kube-version", "1.30.0", "-f", "-"]
    done = subprocess.run(  # noqa: S603 - the chart of this clone
        [str(part) for part in command], input=json.dumps(values), capture_output=True, text=True, check=True
    )
    return [_unlabelled(manifest) for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _unlabelled(manifest: Manifest) -> Manifest:
    """Without what speaks of Helm, and without a namespace: the user of the bundle chooses it."""
    for meta in (manifest["metadata"], manifest.get("spec", {}).get("template", {}).get("metadata", {})):
        for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            meta.get("labels", {}).pop(label, None)
        meta.pop("namespace", None)
    return manifest


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def deployment(manifests: list[Manifest]) -> Manifest:
    """The operator's Deployment, told its namespaces by this manager."""
    (made,) = of_kind(manifests, "Deployment")
    for variable in made["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == "FORGE_WATCH_NAMESPACES":
            del variable["value"]
            variable["valueFrom"] = TARGETS
    return made


def images(made: Manifest) -> dict[str, str]:
    """Every image that the operator is or starts, by name."""
    (container,) = made["spec"]["template"]["spec"]["containers"]
    named = {
        variable["name"].removeprefix("FORGE_IMAGE_").lower(): variable["value"]
        for variable in container["env"]
        if variable["name"].startswith("FORGE_IMAGE_") and not variable["name"].endswith(("_POLICY", "_SECRETS"))
    }
    return {"operator": container["image"], **named}


def example() -> Manifest:
    """The stack that `forge-observability init` writes."""
    documents = yaml.safe_load_all(template.render("forge", SOURCE_TYPES))
    (stack,) = [document for document in documents if document and document["kind"] == KIND]
    stack["metadata"].setdefault("namespace", "default")
    ObservabilityStack.parse({**stack, "metadata": {**stack["metadata"], "uid": "example"}})
    return dict(stack)


def service_version(manifests: list[Manifest], chart: Mapping[str, Any]) -> Manifest:
    """The ClusterServiceVersion."""
    made = deployment(manifests)
    account = made["spec"]["template"]["spec"]["serviceAccountName"]
    rules = [rule for role in of_kind(manifests, "Role") for rule in role["rules"]]
    definition = custom_resource_definition()
    (version,) = definition["spec"]["versions"]
    told = images(made)
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": f"{NAME}.v{chart['version']}",
            "namespace": "placeholder",
            "annotations": {
                "alm-examples": json.dumps([example()]),
                "capabilities": "Seamless Upgrades",
                "categories": "Developer Tools, Monitoring",
                "containerImage": told["operator"],
                "description": chart["description"],
                "operatorframework.io/suggested-namespace": NAME,
            },
        },
        "spec": {
            "displayName": "Forge Observability",
            "description": chart["description"],
            "version": chart["version"],
            "maturity": CHANNEL,
            "minKubeVersion": chart["kubeVersion"].removeprefix(">=").removesuffix("-0"),
            "keywords": chart["keywords"],
            "provider": {"name": "Forge Observability"},
            "installModes": [
                {"type": mode, "supported": True}
                for mode in ("OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces")
            ],
            "customresourcedefinitions": {
                "owned": [
                    {
                        "name": definition["metadata"]["name"],
                        "version": version["name"],
                        "kind": KIND,
                        "displayName": "Observability stack",
                        "description": version["schema"]["openAPIV3Schema"]["description"],
                    }
                ]
            },
            "install": {
                "strategy": "deployment",
                "spec": {
                    "permissions": [{"serviceAccountName": account, "rules": rules}],
                    "deployments": [
                        {"name": NAME, "label": made["metadata"]["labels"], "spec": made["spec"]},
                    ],
                },
            },
            "relatedImages": [{"name": name, "image": image} for name, image in told.items()],
        },
    }


def catalogue() -> dict[str, str]:
    """What a catalogue reads of the bundle before it looks inside."""
    prefix = "operators.operatorframework.io.bundle"
    return {
        f"{prefix}.mediatype.v1": "registry+v1",
        f"{prefix}.manifests.v1": "manifests/",
        f"{prefix}.metadata.v1": "metadata/",
        f"{prefix}.package.v1": NAME,
        f"{prefix}.channels.v1": CHANNEL,
        f"{prefix}.channel.default.v1": CHANNEL,
    }


def write(folder: Path, helm: Path) -> None:
    """Write the bundle."""
    manifests = render(helm)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    files = {f"{NAME}.clusterserviceversion.yaml": service_version(manifests, chart)}
    files |= {f"{each['kind'].lower()}.yaml": each for kind in KEPT_KINDS for each in of_kind(manifests, kind)}
    files["observabilitystacks.crd.yaml"] = custom_resource_definition()
    for name, content in files.items():
        _write(folder / "manifests" / name, yaml.safe_dump(content, sort_keys=False))
    _write(folder / "metadata" / "annotations.yaml", yaml.safe_dump({"annotations": catalogue()}, sort_keys=False))
    labels = [f"LABEL {name}={value}" for name, value in catalogue().items()]
    copies = [f"COPY {name} /{name}/" for name in ("manifests", "metadata")]
    _write(folder / "bundle.Dockerfile", "\n".join(["FROM scratch", *labels, *copies]) + "\n")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(CHART.parents[1] / "tests" / "cluster"))
    from machine import ensure_tool

    write(Path(sys.argv[1]), ensure_tool("helm"))
