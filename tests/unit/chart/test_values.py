"""The chart's values: each is known to the schema, wrong ones are refused, and each does what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from rendering import CHART, Manifest, of_kind, only, operator

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
Render = Callable[..., list[Manifest]]


def check(values: dict[str, Any]) -> None:
    jsonschema.validate(values, SCHEMA)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, its reference followed."""
    if "$ref" in schema:
        return dict(SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]])
    return schema


def differences(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Values without a place in the schema, places without a value, and objects that take anything."""
    properties = resolved(schema).get("properties")
    if properties is None:
        return
    if resolved(schema).get("additionalProperties") is not False:
        yield f"{path} takes anything"
    for name in values.keys() ^ properties.keys():
        yield f"{path}.{name}"
    for name in values.keys() & properties.keys():
        if isinstance(values[name], dict):
            yield from differences(values[name], properties[name], f"{path}.{name}")


def test_values_and_schema_name_the_same() -> None:
    """`global` is Helm's own; `claims` of resources has no default."""
    assert set(differences(VALUES, SCHEMA)) == {".global", ".resources.claims"}
    check(VALUES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replica", 2),
        ("replicas", "two"),
        ("watchNamespaces", ["Team A"]),
        ("logLevel", "loud"),
        ("images", {}),
        ("imageRegistry", "https://mirror.example.com"),
        ("fullnameOverride", "Forge Operator"),
        ("networkPolicy", {"enabled": True, "scraper": []}),
        ("extraEnv", [{"value": "no name"}]),
        ("rbac", {"create": "yes", "aggregateToUserRoles": True}),
    ],
)
def test_wrong_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({**VALUES, name: value})


def test_helm_refuses_them_with_the_place(refused: Callable[..., str]) -> None:
    assert "/metrics/prometheusRule/alerts/ForgeLoadLate/threshold" in refused(
        metrics={"prometheusRule": {"alerts": {"ForgeLoadLate": {"threshold": "long"}}}}
    )
    assert "metrics.service.enabled" in refused(
        metrics={"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}
    )


def test_images_come_from_a_mirror_and_by_digest(rendered: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    made = rendered(
        imageRegistry="mirror.example.com/forge/",
        images={"operator": {"digest": digest}, "store": {"tag": "26.1"}, "api": {"pullPolicy": "Always"}},
    )
    container = operator(made)
    variables = {each["name"]: each.get("value") for each in container["env"]}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert container["image"] == f"mirror.example.com/forge/forge-observability/operator:{version}@{digest}"
    assert variables["FORGE_IMAGE_STORE"] == "mirror.example.com/forge/clickhouse/clickhouse-server:26.1"
    assert variables["FORGE_IMAGE_API"] == f"mirror.example.com/forge/forge-observability/api:{version}"
    assert variables["FORGE_IMAGE_API_PULL_POLICY"] == "Always"
    assert of_kind(made, "Pod")[0]["spec"]["containers"][0]["image"] == container["image"]


def test_what_users_add_to_the_pod_is_there(rendered: Render) -> None:
    ours = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    volume = {"name": "ca", "configMap": {"name": "ca"}}
    mount = {"name": "ca", "mountPath": "/etc/ssl/ours"}
    spread = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
    made = rendered(
        extraEnv=[ours],
        extraVolumes=[volume],
        extraVolumeMounts=[mount],
        topologySpreadConstraints=[spread],
        priorityClassName="system-cluster-critical",
        nodeSelector={"kubernetes.io/arch": "amd64"},
        tolerations=[{"operator": "Exists"}],
        affinity={"nodeAffinity": {}},
        imagePullSecrets=["registry"],
        podLabels={"team": "platform"},
        podAnnotations={"a": "b"},
        commonLabels={"cost-centre": "42"},
        resources={"limits": {"memory": "1Gi"}},
    )
    template = only(made, "Deployment")["spec"]["template"]
    spec, container = template["spec"], operator(made)
    assert ours in container["env"]
    assert mount in container["volumeMounts"]
    assert volume in spec["volumes"]
    assert spec["topologySpreadConstraints"] == [spread]
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert template["metadata"]["labels"]["team"] == "platform"
    assert template["metadata"]["annotations"] == {"a": "b"}
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert {m["metadata"]["labels"].get("cost-centre") for m in made if m["kind"] != "Pod"} == {"42"}


def test_a_second_replica_stands_by_under_a_budget(rendered: Render) -> None:
    made = rendered()
    deployment = only(made, "Deployment")["spec"]
    budget = only(made, "PodDisruptionBudget")["spec"]
    assert deployment["replicas"] == 2
    assert budget["selector"] == deployment["selector"]
    assert budget["maxUnavailable"] == 1
    labels = deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"]["matchLabels"].items() <= labels
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert not of_kind(rendered(replicas=1), "PodDisruptionBudget")
    assert not of_kind(rendered(podDisruptionBudget={"enabled": False}), "PodDisruptionBudget")


def test_who_may_connect_and_where_the_operator_may(rendered: Render) -> None:
    made = only(rendered(), "NetworkPolicy")["spec"]
    everybody = [{"namespaceSelector": {}}]
    assert made["policyTypes"] == ["Ingress"]
    assert made["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}], "from": everybody}]
    closed = only(rendered(networkPolicy={"scrapers": []}), "NetworkPolicy")["spec"]
    assert closed["ingress"] == []
    egress = [{"ports": [{"port": 443}]}]
    fenced = only(rendered(networkPolicy={"egress": egress}), "NetworkPolicy")["spec"]
    assert fenced["policyTypes"] == ["Ingress", "Egress"]
    assert fenced["egress"] == egress
    assert not of_kind(rendered(networkPolicy={"enabled": False}), "NetworkPolicy")


def test_metrics_are_found_by_prometheus(rendered: Render) -> None:
    made = rendered(
        metrics={"serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}}}
    )
    service, monitor = only(made, "Service"), only(made, "ServiceMonitor")
    container = operator(made)
    (port,) = service["spec"]["ports"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert port["targetPort"] in {each["name"] for each in container["ports"]}
    assert endpoint["port"] == port["name"]
    assert (endpoint["interval"], endpoint["honorLabels"]) == ("1m", True)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    pods = only(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pods.items()
    assert not of_kind(rendered(), "ServiceMonitor")
    assert not of_kind(rendered(metrics={"service": {"enabled": False}}), "Service")


def test_somebody_else_may_make_accounts_and_roles(rendered: Render) -> None:
    made = rendered(serviceAccount={"create": False, "name": "theirs"}, rbac={"create": False})
    assert {m["kind"] for m in made} == {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "Pod"}
    assert only(made, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "theirs"
    assert {m["metadata"]["name"] for m in rendered(fullnameOverride="ops") if m["kind"] == "Deployment"} == {"ops"}


def test_every_pod_is_restricted(rendered: Render) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, whatever users add."""
    made = rendered(extraVolumes=[{"name": "ca", "configMap": {"name": "ca"}}])
    pods = [only(made, "Deployment")["spec"]["template"]["spec"], only(made, "Pod")["spec"]]
    for spec in pods:
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(volume.keys() & {"emptyDir", "configMap"} for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", []))
