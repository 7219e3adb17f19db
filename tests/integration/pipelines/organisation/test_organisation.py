"""The simulated organisation's ground truth equals bronze, row by row and field by field."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from forge_demo import truth

KINDS = ("langfuse", "github", "jira")
NOTHING_NEW = {"langfuse": 4, "github": 18, "jira": 6}
"""Requests: at most two an entity."""


def test_every_column_of_every_table_has_its_truth(exact: Any) -> None:
    assert exact.without_truth() == {}
    assert {name for name in truth.TABLES if name.startswith(KINDS)} == set(exact.tables)


@pytest.mark.parametrize("kind", KINDS)
def test_full_again_and_after_the_world_moved_on(exact: Any, kind: str) -> None:
    first = exact.load(kind, kind)
    exact.assert_equal(kind, kind)
    again = exact.load(kind, kind)
    assert again.summary["requests"] <= NOTHING_NEW[kind], "a load with nothing new is cheap"
    exact.assert_equal(kind, kind)
    exact.organisation.ask("/advance", {"hours": 5})
    exact.organisation.ask("/tickets", {"count": 2, "minutes": 30})
    moved = exact.load(kind, kind)
    assert sum(moved.summary["rows"].values()) < sum(first.summary["rows"].values())
    exact.assert_equal(kind, kind)


def test_a_load_in_many_small_steps(exact: Any) -> None:
    names = {kind: f"steps-{kind}" for kind in (*KINDS, "prometheus")}
    for step in range(12):
        exact.load_all(names)
        exact.organisation.ask("/advance", {"minutes": 37 * (step % 4 + 1)})
        if step % 5 == 1:
            exact.organisation.ask("/tickets", {"count": 1, "minutes": 20})
    exact.load_all(names)
    exact.assert_all(names)
    exact.drop(names)


@pytest.mark.slow
@pytest.mark.parametrize("api", ["cursor", "pages"])
def test_langfuse_with_one_api_alone(exact: Any, api: str) -> None:
    exact.organisation.ask("/settings", {"langfuse_v2": api == "cursor", "langfuse_legacy": api == "pages"})
    try:
        exact.load("langfuse", f"langfuse-{api}")
    finally:
        exact.organisation.ask("/settings", {"langfuse_v2": True, "langfuse_legacy": True})
    # The older pages give an observation no tags, nor what only a tag says.
    leave = ("tags", "ticket", "stage") if api == "pages" else ()
    exact.assert_equal("langfuse", f"langfuse-{api}", leave)


def test_prometheus(exact: Any) -> None:
    first = exact.load("prometheus", "metrics")
    exact.assert_samples("metrics")
    maps = exact.forge.rows(
        "select labels, toJSONString(labels_map), labels_map['stage'] from bronze.metrics_series final"
    )
    assert maps and all(orjson.loads(text) == orjson.loads(typed) for text, typed, _ in maps)
    assert any(stage for *_, stage in maps)
    again = exact.load("prometheus", "metrics")
    assert again.summary["rows"]["samples"] < first.summary["rows"]["samples"] / 10
    exact.assert_samples("metrics")
    failed = exact.run("prometheus", "metrics-bad", queries=[{"name": "bad", "expr": "sum(("}])
    assert (failed.code, failed.reason) == (1, "InvalidConfiguration")
    assert "prometheus.queries 'bad'" in failed.summary["error"]["message"]


def test_two_sources_of_one_type_do_not_meet(exact: Any) -> None:
    mine = {"fleet-one": ["acme-robotics/fleet-api", "acme-robotics/fleet-web"], "pay-two": ["acme-robotics/pay-core"]}
    for name, repositories in mine.items():
        exact.load("github", name, organizations=[], repositories=repositories)

    def assert_apart() -> None:
        for name, repositories in mine.items():
            exact.assert_equal("github", name, only=lambda row, of=repositories: row.get("repository") in of)

    assert_apart()
    exact.organisation.ask("/tickets", {"count": 4, "minutes": 30})
    for name, repositories in reversed(mine.items()):
        exact.load("github", name, organizations=[], repositories=repositories)
    assert_apart()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_token_is_told(exact: Any, kind: str) -> None:
    source = exact.organisation.source(kind, f"wrong-{kind}")
    wrong = {"token": "wr0ng", "email": "wr0ng@x.example", "publicKey": "wr0ng", "secretKey": "wr0ng"}
    failed = exact.forge.load(source, wrong)
    assert (failed.code, failed.reason) == (1, "Unauthorized")
    assert "wr0ng" not in failed.stdout + failed.stderr + json.dumps(failed.summary)


def test_a_used_up_budget_stops_the_load_and_the_next_one_goes_on(exact: Any) -> None:
    try:
        for points in (25, 50, 100, 200, 400):
            name = f"thrifty-{points}"
            exact.organisation.ask("/settings", {"rate_limits": {"github_graphql": points}})
            stopped = exact.run("github", name)
            if stopped.summary["outcome"] == "stopped":
                break
            assert stopped.reason == "RateLimited", "so little that not one page could be had"
    finally:
        exact.organisation.ask("/settings", {"rate_limits": {}})
    assert (stopped.code, stopped.summary["outcome"]) == (0, "stopped"), stopped.stdout + stopped.stderr
    assert any("limits the rate" in warning for warning in stopped.summary["warnings"])
    rest = exact.load("github", name)
    exact.assert_equal("github", name)
    assert sum(rest.summary["rows"].values()) > 0
