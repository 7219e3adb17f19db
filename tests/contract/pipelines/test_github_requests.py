"""Every request that the GitHub source can send is valid: by GitHub's GraphQL schema, by its OpenAPI descriptions."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forge_pipelines.sources import Scope
from forge_pipelines.sources import github_queries as queries
from forge_pipelines.sources.github_actions import Actions
from forge_pipelines.sources.github_auth import Installation
from forge_pipelines.sources.github_rows import Place
from graphql import GraphQLSchema, NoDeprecatedCustomRule, build_schema, parse, validate

DESCRIPTIONS = ("api.github.com", "ghec", "ghes-3.17", "ghes-3.18", "ghes-3.19")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def schema(octokit: Path) -> GraphQLSchema:
    text = (octokit / "graphql-schema" / "schema.graphql").read_text()
    # GitHub's own schema breaks rules about itself (fields twice, deprecations); that is not what is tested.
    return build_schema(text, assume_valid=True, assume_valid_sdl=True)


def all_queries() -> dict[str, str]:
    """Every query text that the source can send."""
    made = {listing.name: listing.query() for listing in queries.LISTINGS}
    made |= {f"ids of {listing.name}": listing.query(listing.ids) for listing in queries.LISTINGS}
    for parts in (tuple(queries.PROBES), (), *((name,) for name in queries.PROBES)):
        made[f"organization {parts}"] = queries.organization_query(parts)
        made[f"repositories {parts}"] = queries.repositories_query([parts] * queries.PROBED)
    gaps = [(owner, name) for owner, nested in queries.NESTED.items() for name in nested]
    made |= {f"follow {gap}": queries.follow_query([gap]) for gap in gaps} | {"follow": queries.follow_query(gaps)}
    for owner, selections in queries.NODES.items():
        made |= {f"nodes {owner} {fields[:20]}": queries.nodes_query(owner, fields) for fields in selections}
    return made


@pytest.mark.parametrize("name", sorted(all_queries()))
def test_a_query_is_valid_by_githubs_schema(schema: GraphQLSchema, name: str) -> None:
    document = parse(all_queries()[name])
    assert [error.message for error in validate(schema, document)] == []
    assert [error.message for error in validate(schema, document, [NoDeprecatedCustomRule])] == []


@pytest.mark.parametrize("name", sorted(all_queries()))
def test_a_query_stays_within_githubs_limits(name: str) -> None:
    """Nodes below 500,000 and points few, each `first` at most 100 ("Rate limits and query limits", GitHub docs)."""
    text = all_queries()[name]
    most = {"pulls": 50, "organization": 50}.get(name.split()[0], 100)
    requests = nodes = 0

    def count(selections: Any, times: int) -> None:
        nonlocal requests, nodes
        for node in selections.selections if selections else ():
            arguments = {a.name.value: a.value for a in getattr(node, "arguments", None) or ()}
            first = arguments.get("first")
            many = times
            if first is not None:
                size = int(getattr(first, "value", most))
                assert size <= 100
                requests += times
                nodes += times * size
                many = times * size
            if "ids" in arguments:
                many = times * (50 if "timelineItems" in text else 100)
            count(node.selection_set, many)

    count(parse(text).definitions[0].selection_set, 1)  # type: ignore[attr-defined]
    assert nodes < 500_000
    assert requests / 100 <= 45, "points"


class Recorder:
    """Stands in for the client: answers so that every call is made, and keeps what was asked."""

    host, clock, requests = "api.github.com", staticmethod(NOW.timestamp), 0

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.next_page: str | None = None
        self.last_headers: dict[str, str] = {}

    def get(self, path: str, params: dict[str, Any] | None = None, **_: Any) -> Any:
        self.calls.append(("get", path, params or {}))
        return {"total_count": 1500 if len(self.calls) == 1 else 3, "workflow_runs": [], "jobs": []}

    def send(self, method: str, path: str, **_: Any) -> Any:
        self.calls.append((method.lower(), path, {}))
        return {"token": "t", "expires_at": "2026-03-01T13:00:00Z"}


def all_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    recorder: Any = Recorder()
    place = Place(1, "acme/web")
    actions = Actions(recorder, Scope({}, NOW))
    list(actions.listing(place, NOW - timedelta(days=30), None))
    list(actions.listing(place, NOW - timedelta(days=30), NOW))
    actions.run(place, 7)
    actions.jobs(place, 7)
    installation = Installation(recorder, "1", "2", "key")
    monkeypatch.setattr(installation, "app_token", lambda: "jwt")
    installation(False)
    return list(recorder.calls)


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_a_call_is_described(octokit: Path, description: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((octokit / "openapi" / "generated" / f"{description}.json").read_text())
    calls = all_calls(monkeypatch)
    assert {call[1].rpartition("/")[2] for call in calls} == {"runs", "7", "jobs", "access_tokens"}
    for method, path, params in calls:
        operations = [
            operations[method]
            for template, operations in document["paths"].items()
            if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        ]
        assert operations, f"{description} does not describe {method} {path}"
        described = {
            parameter["name"]: parameter
            for parameter in (resolved(document, p) for p in operations[0].get("parameters", []))
            if parameter["in"] == "query"
        }
        for name, value in params.items():
            assert name in described, f"{path}: {name} is no parameter"
            allowed = resolved(document, described[name].get("schema", {})).get("enum")
            assert allowed is None or value in allowed
        assert not operations[0].get("deprecated")


def resolved(document: Any, thing: Any) -> Any:
    """A part of an OpenAPI description, where it is said."""
    while "$ref" in thing:
        found = document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        thing = found
    return thing


def test_the_recorder_is_whole() -> None:
    """Nothing else of the source talks to GitHub: all texts of queries are in one module, all REST in two."""
    folder = Path(queries.__file__).parent
    speaking = {
        path.name for path in folder.glob("github*.py") if re.search(r"api\.(get|send|post)\(", path.read_text())
    }
    assert speaking == {"github_graph.py", "github_actions.py", "github_auth.py"}
    writing = {
        path.name for path in folder.glob("github*.py") if re.search(r"\bquery [A-Z]|query \{", path.read_text())
    }
    assert writing <= {"github_queries.py"}
