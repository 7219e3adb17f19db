"""The client and the four sources against a server that limits, breaks off, and moves things while they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from forge_pipelines.answers import Patience
from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError, RateLimited
from forge_pipelines.sources import Page, Scope, github, prometheus
from forge_stack.model import GitHubSource, PrometheusSource

FAST = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = {"credentialsSecretRef": {"name": "s"}}


def api(url: str, **values: Any) -> Api:
    return Api(url, {"Authorization": "Bearer t0p-s3cret"}, patience=FAST, **values)


def rows(pages: list[Page], table: str) -> list[dict[str, Any]]:
    return [row for page in pages if table in page.rows for row in page.rows[table].to_pylist()]


def reply(**values: Any) -> Any:
    """An answer of the script; the fields are those of conftest's Reply."""
    return SimpleNamespace(**{"body": None, "status": 200, "headers": {}, "cut": False, "drop": False, **values})


# GitHub


def github_source(url: str, *repositories: str, **values: Any) -> GitHubSource:
    return GitHubSource.model_validate({"url": url, **SECRET, "repositories": repositories, **values})


def load_github(spec: GitHubSource, state: dict[str, Any], **values: Any) -> list[Page]:
    return list(github.pages(spec, api(spec.url), Scope(state, NOW, **values)))


def test_github_first_then_nothing_new_then_one(scripted: Any, hub_of: Any) -> None:
    old = NOW - timedelta(days=1)
    hub = hub_of({"a/x": {n: old - timedelta(minutes=n) for n in range(60)}, "a/y": {1: old}, "a/empty": {}})
    scripted.script = hub
    spec = github_source(scripted.url, "a/x", "a/y", "a/empty")
    first = load_github(spec, {})
    assert {(r["repository"], r["number"]) for r in rows(first, "pull_requests")} == {
        *(("a/x", n) for n in range(60)),
        ("a/y", 1),
    }
    scripted.calls.clear()
    second = load_github(spec, first[-1].state or {})
    assert rows(second, "pull_requests") == [] and len(scripted.calls) == 1, "one query tells that nothing is new"
    hub.repositories["a/y"][2] = NOW
    third = load_github(spec, second[-1].state or {})
    assert {r["number"] for r in rows(third, "pull_requests")} == {1, 2}, "1 is in the overlap"
    # What is newest is fresh: the next load reads its overlap again, in case something came late beside it.
    hub.repositories["a/y"][3] = NOW - timedelta(minutes=2)
    assert {r["number"] for r in rows(load_github(spec, third[-1].state or {}), "pull_requests")} == {2, 3}


def test_github_updates_while_walking_are_not_lost(scripted: Any, hub_of: Any) -> None:
    start = NOW - timedelta(days=30)
    hub = hub_of({"a/x": {n: start + timedelta(hours=n) for n in range(100)}})

    def touch(page: int) -> None:
        hub.repositories["a/x"][page * 3] = NOW - timedelta(minutes=30 - page)

    scripted.script, hub.before_page = hub, touch
    spec = github_source(scripted.url, "a/x")
    first = load_github(spec, {})
    hub.before_page = lambda page: None
    second = load_github(spec, first[-1].state or {})
    found: dict[int, datetime] = {}
    for row in rows([*first, *second], "pull_requests"):
        found[row["number"]] = max(found.get(row["number"], row["updated_at"]), row["updated_at"])
    assert found == hub.repositories["a/x"]


def test_github_a_cut_walk_goes_on_from_its_page(scripted: Any, hub_of: Any) -> None:
    start = NOW - timedelta(days=30)
    hub = hub_of({"a/x": {n: start + timedelta(hours=n) for n in range(100)}})
    scripted.script = hub
    spec = github_source(scripted.url, "a/x")
    pages = github.pages(spec, api(spec.url), Scope({}, NOW))
    begun = [next(pages), next(pages)]
    hub.repositories["a/x"][0] = NOW - timedelta(minutes=1)
    rest = load_github(spec, begun[-1].state or {})
    found = {r["number"]: r["updated_at"] for r in rows([*begun, *rest], "pull_requests")}
    assert found == hub.repositories["a/x"]
    assert len(rows(rest, "pull_requests")) <= 52, "what was read before the cut is not read again"


def test_github_heavy_pages_are_halved_and_grow_again(scripted: Any, hub_of: Any) -> None:
    hub = hub_of({"a/x": {n: NOW - timedelta(days=1, minutes=n) for n in range(40)}})
    hub.too_heavy = 8
    scripted.script = hub
    found = load_github(github_source(scripted.url, "a/x"), {})
    assert len({r["number"] for r in rows(found, "pull_requests")}) == 40
    assert hub.sizes[:3] == [25, 25, 12] and 6 in hub.sizes and 7 in hub.sizes


def test_github_parts_left_out_for_want_of_resources_are_asked_for_again(scripted: Any, pull_request_of: Any) -> None:
    sizes, kind = [], "RESOURCE_LIMITS_EXCEEDED"

    def script(call: Any) -> Any:
        sizes.append(call.body["variables"]["first"])
        whole = {"nodes": [{"commit": {"oid": "c1"}}], "pageInfo": {"hasNextPage": False}}
        node = pull_request_of(1, NOW, commits=None if sizes[-1] > 6 else whole)
        one = {"nodes": [node], "pageInfo": {"hasNextPage": False, "endCursor": None}}
        error = {"type": kind, "path": ["repository", "pullRequests", "nodes", 0, "commits"], "message": "too much"}
        answer = {"data": {"repository": {"pullRequests": one}}}
        return reply(body=answer if sizes[-1] <= 6 else answer | {"errors": [error]})

    scripted.script = script
    warnings: list[str] = []
    (row,) = rows(load_github(github_source(scripted.url, "a/x"), {}, warn=warnings.append), "pull_requests")
    assert '"c1"' in row["commits"] and sizes == [25, 12, 6] and warnings == []
    kind = "FORBIDDEN"
    (row,) = rows(load_github(github_source(scripted.url, "a/x"), {}, warn=warnings.append), "pull_requests")
    assert row["commits"] == "[]" and sizes[3:] == [25] and "too much" in warnings[0]


def test_github_a_missing_repository_costs_a_warning_and_all_missing_an_error(scripted: Any, hub_of: Any) -> None:
    scripted.script = hub_of({"a/x": {1: NOW}})
    warnings: list[str] = []
    found = load_github(github_source(scripted.url, "a/gone", "a/x"), {}, warn=warnings.append)
    assert [r["number"] for r in rows(found, "pull_requests")] == [1]
    assert len(warnings) == 1 and "a/gone" in warnings[0]
    with pytest.raises(LoadError, match="a/gone") as error:
        load_github(github_source(scripted.url, "a/gone"), {})
    assert error.value.reason == "NotFound"


def test_github_limits_inside_a_200_are_waited_for_or_stop_the_load(scripted: Any, hub_of: Any) -> None:
    hub, limited = hub_of({"a/x": {1: NOW}}), [1]

    def script(call: Any) -> Any:
        if limited:
            limited.pop()
            return reply(body={"errors": [{"type": "RATE_LIMITED", "message": "limit"}]}, headers={"Retry-After": "0"})
        return hub(call)

    scripted.script = script
    assert len(rows(load_github(github_source(scripted.url, "a/x"), {}), "pull_requests")) == 1
    scripted.replies(reply(body={"errors": [{"type": "RATE_LIMITED"}]}, headers={"Retry-After": "4000"}))
    with pytest.raises(RateLimited):
        load_github(github_source(scripted.url, "a/x"), {})


def test_github_nested_connections_are_followed_to_their_ends(scripted: Any, pull_request_of: Any) -> None:
    commits = [{"commit": {"oid": f"c{n}", "authoredDate": "2026-01-01T00:00:00Z", "author": {}}} for n in range(230)]

    def script(call: Any) -> Any:
        variables = call.body["variables"]
        after = int(variables["after"] or 0)
        info = {"hasNextPage": after + 100 < 230, "endCursor": str(after + 100)}
        part = {"totalCount": 230, "nodes": commits[after : after + 100], "pageInfo": info}
        if "id" in variables:
            assert variables["id"] == "PR_1"
            return reply(body={"data": {"node": {"commits": part}}})
        one = {"nodes": [pull_request_of(1, NOW, commits=part)], "pageInfo": {"hasNextPage": False, "endCursor": None}}
        return reply(body={"data": {"repository": {"pullRequests": one}}})

    scripted.script = script
    (row,) = rows(load_github(github_source(scripted.url, "a/x"), {}), "pull_requests")
    assert row["commits_count"] == 230 and row["commits"].count('"oid"') == 230
    assert len(scripted.calls) == 3


# Prometheus


def test_prometheus_reads_long_spans_in_parts_and_a_bad_query_is_named(scripted: Any) -> None:
    heavy = [1]

    def script(call: Any) -> Any:
        if call.path == "/api/v1/metadata":
            return reply(body={"status": "success", "data": {"up": [{"type": "gauge", "help": "Up.", "unit": ""}]}})
        start, end, step = (int(call.body[name]) for name in ("start", "end", "step"))
        assert (end - start) / step < 11_000
        if (end - start) / step > 5_000 and heavy:
            heavy.pop()
            return reply(status=422, body={"status": "error", "error": "query would load too many samples into memory"})
        values = [[t, "1"] for t in range(start, end + 1, step)]
        result = [{"metric": {"__name__": "up"}, "values": values}]
        return reply(body={"status": "success", "data": {"resultType": "matrix", "result": result}, "warnings": ["w"]})

    scripted.script = script
    spec = PrometheusSource.model_validate({"url": scripted.url, "step": "60s", "backfill": "20d"})
    warnings: list[str] = []
    found = list(prometheus.pages(spec, api(spec.url), Scope({}, NOW, warn=warnings.append)))
    times = [r["sampled_at"] for r in rows(found, "samples")]
    assert len(times) == len(set(times)) == 20 * 1440 + 1 and len(scripted.calls) == 7
    assert {(r["metric_type"], r["unit"], r["help"]) for r in rows(found, "series")} == {("gauge", None, "Up.")}
    assert "w" in warnings[0]
    scripted.replies(reply(status=400, body={"status": "error", "errorType": "bad_data", "error": "parse error"}))
    with pytest.raises(LoadError, match=r"prometheus.queries 'forge'.*parse error") as error:
        list(prometheus.pages(spec, api(spec.url), Scope({}, NOW)))
    assert error.value.reason == "InvalidConfiguration"


def test_prometheus_asks_for_little_until_it_knows_how_many_series_there_are(scripted: Any) -> None:
    born = NOW - timedelta(days=3)
    counts: list[int] = []

    def script(call: Any) -> Any:
        times = range(int(call.body["start"]), int(call.body["end"]) + 1, int(call.body["step"]))
        values = [[t, "1"] for t in times if t >= born.timestamp()]
        series = [{"metric": {"n": str(n)}, "values": values} for n in range(100)] if values else []
        counts.append(len(times) * 100)
        return reply(body={"status": "success", "data": {"resultType": "matrix", "result": series}})

    scripted.script = script
    spec = PrometheusSource.model_validate({"url": scripted.url, "step": "60s", "backfill": "30d"})
    found = list(prometheus.pages(spec, api(spec.url), Scope({}, NOW)))
    assert sum(page.rows["samples"].num_rows for page in found if page.rows) == 100 * 3 * 1440
    assert max(counts) <= prometheus.SAMPLES_A_CALL
