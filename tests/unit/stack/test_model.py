"""The resource: defaults, rules and the generated CRD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_stack.crd import custom_resource_definition
from forge_stack.duration import seconds
from forge_stack.generate import FILES
from forge_stack.model import ObservabilityStack, explain
from forge_stack.schedule import is_cron
from forge_stack.wire import TransformRequest
from pydantic import ValidationError

ROOT = Path(__file__).parents[3]


def manifest(**spec: Any) -> dict[str, Any]:
    sources = [{"name": "prom", "prometheus": {"url": "http://prom:9090"}}]
    return {
        "apiVersion": "observability.forge.dev/v1alpha1",
        "kind": "ObservabilityStack",
        "metadata": {"name": "demo"},
        "spec": {"sources": sources} | spec,
    }


@pytest.mark.parametrize("name", FILES)
def test_generated_files_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), "run `make generate`"


def test_the_smallest_stack_is_whole() -> None:
    spec = ObservabilityStack.parse(manifest()).spec
    assert spec.store.managed is not None
    assert spec.deletion_policy == "Retain"
    assert spec.sources[0].type == "prometheus"
    assert spec.api.auth.mode == "Token"


def test_defaults_are_the_same_in_the_crd_and_in_the_model() -> None:
    """Fill a manifest as the API server does; the model must read from it what it makes of the bare manifest."""
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def fill(value: Any, part: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            for name, child in part.get("properties", {}).items():
                if name not in value and "default" in child:
                    value[name] = yaml.safe_load(yaml.safe_dump(child["default"]))
                if name in value:
                    value[name] = fill(value[name], child)
        if isinstance(value, list):
            return [fill(item, part["items"]) for item in value]
        return value

    bare = manifest(
        sources=[
            {"name": "p", "prometheus": {"url": "http://p"}},
            {"name": "l", "langfuse": {"credentialsSecretRef": {"name": "s"}}},
        ]
    )
    filled = fill(yaml.safe_load(yaml.safe_dump(bare)), schema)
    assert filled["spec"]["transform"]["settleTime"] == "30s"
    assert filled["spec"]["store"]["managed"]["storage"]["size"] == "10Gi"
    assert ObservabilityStack.parse(filled) == ObservabilityStack.parse(bare)


def test_every_field_is_described() -> None:
    def undescribed(part: dict[str, Any], path: str) -> list[str]:
        missing = [] if part.get("description") else [path]
        for name, child in part.get("properties", {}).items():
            missing += undescribed(child, f"{path}.{name}")
        if "properties" in part.get("items", {}):
            missing += undescribed(part["items"], f"{path}[]")
        return missing

    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert (
        undescribed(schema["properties"]["spec"], "spec") + undescribed(schema["properties"]["status"], "status") == []
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"sourcez": []}, "spec.sourcez: unknown field"),
        (
            {"store": {"managed": {}, "external": {"dsnSecretRef": {"name": "x"}}}},
            "spec.store: store: set exactly one of managed",
        ),
        (
            {"sources": [{"name": "a", "schedule": "every day", "prometheus": {"url": "http://p"}}]},
            "spec.sources[0]: schedule: not a cron",
        ),
        ({"sources": [{"name": "a\n", "prometheus": {"url": "http://p"}}]}, "spec.sources[0].name: not a name"),
        ({"sources": [{"name": "a"}]}, "spec.sources[0]: source: set exactly one"),
        ({"transform": {"settleTime": "1h", "longestWait": "5m"}}, "spec.transform: transform: settleTime is longer"),
        # Longer than a timedelta: the sum of it and a moment would be an error in each reconcile.
        ({"transform": {"longestWait": "99999999999999d"}}, "spec.transform.longestWait: not a duration"),
        (
            {"transform": {"variables": {"teams": [{"name": "a"}, {"name": "a"}]}}},
            "spec.transform.variables: teams: Duplicate value 'a'",
        ),
        (
            {"transform": {"variables": {"identities": [{"name": "a", "kind": "robot"}]}}},
            "spec.transform.variables.identities[0].kind: ",
        ),
        (
            {
                "transform": {
                    "variables": {"identities": [{"name": f"{n}", "github": ["x" * 128] * 8} for n in range(120)]}
                }
            },
            "spec.transform.variables: the variables are 1",
        ),
        ({"transform": {"variables": {"costOutlierFactor": 0.5}}}, "spec.transform.variables.costOutlierFactor: "),
        ({"retention": {"bronze": 30, "silver": 0}}, "spec.retention.silver: "),
        # A part of a URL path at the API server: with dots and slashes it would lead into another namespace.
        (
            {"store": {"external": {"dsnSecretRef": {"name": "../../other/secrets/x"}}}},
            "spec.store.external.dsnSecretRef.name: not the name of a Secret",
        ),
    ],
)
def test_bad_specs_are_explained(spec: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ObservabilityStack.parse(manifest(**spec))
    assert any(line.startswith(expected) for line in explain(caught.value)), explain(caught.value)


def test_a_transform_is_told_what_the_organisation_calls_things() -> None:
    """Variables keep their types on the way to dbt, and a layer may be kept longer than the one below it."""
    variables = {
        "agentPattern": "^coder",
        "costOutlierFactor": 50,
        "teams": [{"name": "shop", "repositories": ["acme/shop-.*"], "jiraProjects": ["SHOP"]}],
        "identities": [{"name": "Ann", "github": ["ann"], "kind": "human"}],
    }
    retention = {"bronze": 30, "silver": 400, "gold": 3650}
    spec = ObservabilityStack.parse(manifest(transform={"variables": variables}, retention=retention)).spec
    request = TransformRequest.model_validate_json(spec.transform_request([]).model_dump_json(by_alias=True))
    assert request.variables["teams"] == [
        {"name": "shop", "repositories": ["acme/shop-.*"], "jira_projects": ["SHOP"]},
    ]
    assert request.variables["identities"] == [
        {"name": "Ann", "github": ["ann"], "jira": [], "langfuse": [], "kind": "human"}
    ]
    assert (request.variables["agent_pattern"], request.variables["cost_outlier_factor"]) == ("^coder", 50)
    assert (request.bronze_retention_days, request.silver_retention_days, request.gold_retention_days) == (
        30,
        400,
        3650,
    )


def test_two_sources_of_one_name() -> None:
    twice = [{"name": "a", "prometheus": {"url": "http://p"}}] * 2
    with pytest.raises(ValidationError, match="Duplicate value 'a'"):
        ObservabilityStack.parse(manifest(sources=twice))


@pytest.mark.parametrize("good", ["*/15 * * * *", "0 6 * * 1-5", "5,35 0-12/2 1 jan-mar MON", "59 23 31 12 6"])
def test_cron_good(good: str) -> None:
    assert is_cron(good)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "@daily",
        "* * * * * *",
        "*/0 * * * *",
        "a * * * *",
        "0 0 * * *\n",
    ],
)
def test_cron_bad(bad: str) -> None:
    assert not is_cron(bad)


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "1h30m", "7d")] == [90, 5400, 604800]
    with pytest.raises(ValueError, match="no duration"):
        seconds("5 minutes")
