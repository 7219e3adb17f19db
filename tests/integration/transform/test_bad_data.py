"""What cannot be, all of it at once: the transform succeeds, every row is kept, and data_quality names what is wrong.

A second load mends some of it and breaks something else; what has grown is what a full refresh makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import TransformSummary

sys.path.insert(0, str(Path(__file__).parent))

from by_hand import Row, all_rows, at

pytestmark = pytest.mark.slow

Build = Callable[[Row], TransformSummary]

REQUEST = {"sources": [{"name": name, "type": name} for name in ("langfuse", "github", "jira", "prometheus")]}


def load_at(moment: str) -> str:
    """The id of a load that ended then."""
    return str(int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()))


FIRST, SECOND = load_at("2026-01-20 00:00:00"), load_at("2026-01-21 00:00:00")


def issue(number: int, **more: Any) -> Row:
    return {
        "id": str(number),
        "key": f"FORGE-{number}",
        "project_key": "FORGE",
        "issue_type": "Bug",
        "status": "To Do",
        "status_category": "new",
        "reporter_id": "ada",
        "created_at": at("05 08:00"),
        "updated_at": at("05 08:00"),
    } | more


def caused_by(*numbers: int) -> str:
    links = [{"type": "Problem/Incident", "direction": "inward", "id": str(n), "key": f"FORGE-{n}"} for n in numbers]
    return json.dumps(links)


ISSUES = [
    issue(1, resolved_at=at("04 08:00"), resolution="Done", status="Done", status_category="done", reporter_id=None),
    issue(2, links=caused_by(3)),
    issue(3, links=caused_by(2, 99), created_at="2025-12-05T08:00:00Z"),
    issue(4, parent_key="FORGE-5"),
    issue(5, parent_key="FORGE-6", created_at="2025-11-05T08:00:00Z"),
    issue(6, parent_key="FORGE-4"),
    # part of what is in the circle, but not in it
    issue(7, parent_key="FORGE-4", updated_at="2031-01-01T00:00:00Z"),
    # the next load will have seen that time
    issue(10, updated_at=at("20 12:00")),
    issue(8, status="Limbo", status_category="undefined", links="no json", comments="", custom_fields="[", labels=""),
]
CHANGES = [
    # older than the issue, of an issue that is gone, and to nowhere
    {
        "issue_id": "1",
        "history_id": "1",
        "created_at": "2020-01-01T00:00:00Z",
        "field": "status",
        "from_string": "Idea",
    },
    {"issue_id": "404", "history_id": "2", "created_at": at("05 09:00"), "field": "status", "to_string": "Done"},
    {"issue_id": "8", "history_id": "no number", "created_at": at("05 09:00"), "field": "status", "to_string": None},
]


def pull_request(number: int, **more: Any) -> Row:
    return {
        "repository_id": 1,
        "repository": "o/r",
        "number": number,
        "node_id": f"PR{number}",
        "url": f"https://github.com/o/r/pull/{number}",
        "head_ref": "main",
        "base_ref": "main",
        "author_login": "ada",
        "author_type": "User",
        "state": "OPEN",
        "created_at": at("06 08:00"),
        "updated_at": at("06 08:00"),
    } | more


def commit(oid: str, author: str | None, moment: str) -> Row:
    return {"oid": oid, "authoredAt": at(moment), "committedAt": at(moment), "author": author, "message": oid}


PULL_REQUESTS = [
    pull_request(
        1,
        head_ref="FORGE-1",
        author_login=None,
        author_type=None,
        state="MERGED",
        merged_at=at("06 07:00"),
        closed_at=at("06 07:00"),
        merge_commit_sha="m1",
        reviews=json.dumps([{"author": None, "state": "APPROVED", "submittedAt": at("06 09:00"), "comments": 0}]),
        commits=json.dumps([commit("c1", None, "06 06:00"), commit("c2", "ada", "06 10:00")]),
    ),
    # a state that GitHub did not have yet, and fewer lines than none
    pull_request(2, head_ref="FORGE-99", state="QUEUED", closed_at=at("06 07:59"), additions=-5),
    pull_request(
        3,
        reviews=json.dumps([{"author": "ben", "state": "SHRUGGED", "submittedAt": "never", "comments": None}]),
        commits="no json",
        events="{",
        labels="null",
    ),
]
REPOSITORY = {"repository_id": 1, "repository": "o/r"}
RUN = REPOSITORY | {
    "run_id": 31,
    "run_attempt": 1,
    "name": "test",
    "event": "push",
    "status": "completed",
    "conclusion": "a new one",
    "head_sha": "c1",
    "created_at": at("06 08:00"),
    "run_started_at": at("06 08:10"),
    "updated_at": at("06 08:05"),
    "pull_requests": "",
}


def deployment(number: int, sha: str, made: str, succeeded: str) -> Row:
    return REPOSITORY | {
        "deployment_id": number,
        "updated_at": at(succeeded),
        "environment": "production",
        "sha": sha,
        "created_at": at(made),
        "statuses": json.dumps([{"state": "SUCCESS", "createdAt": at(succeeded)}]),
    }


DEPLOYMENTS = [deployment(500, "m1", "06 09:00", "06 08:00"), deployment(501, "m1", "07 09:00", "07 09:05")]


def trace(id_: str, **more: Any) -> Row:
    return {"project_id": "p", "id": id_, "updated_at": at("05 10:00"), "timestamp": at("05 09:00")} | more


TRACES = [
    trace("t1", session_id="FORGE-1", total_cost="9.5", metadata="no json"),
    trace("t2", session_id="OPS-404", tags="no json"),
    trace("t3", timestamp="2030-06-01T00:00:00Z"),
]


def call(id_: str, trace_id: str | None, cost: str, **more: Any) -> Row:
    return {
        "project_id": "p",
        "id": id_,
        "trace_id": trace_id,
        "type": "GENERATION",
        "model": "m",
        "updated_at": at("05 10:00"),
        "start_time": at("05 09:00"),
        "end_time": at("05 09:01"),
        "total_tokens": 1,
        "total_cost": cost,
    } | more


CALLS = [
    *(call(f"o{number}", "t1", "0.001") for number in range(5)),
    call("dear", "t1", "1"),
    call("hasty", "t1", "0.001", end_time=at("05 08:59")),
    call("gift", "t1", "-0.5", total_tokens=-3),
    call("lost", "nowhere", "0.001"),
    call("alone", None, "0.001"),
    # each the parent of the other
    call("egg", "t2", "0.001", parent_observation_id="hen"),
    call("hen", "t2", "0.001", parent_observation_id="egg"),
]
SCORES = [
    {"project_id": "p", "id": "s1", "name": "plan_approval", "trace_id": "nowhere", "value": None}
    | {"timestamp": at("05 10:00"), "updated_at": at("05 10:00"), "metadata": "no json"},
]
SAMPLES = [
    {"fingerprint": "f", "sampled_at": at("05 10:00"), "loaded_at": at("05 10:00"), "value": "nan"},
    {"fingerprint": "f", "sampled_at": at("05 10:01"), "loaded_at": at("05 10:00"), "value": "inf"},
    {"fingerprint": "of no series", "sampled_at": at("05 10:00"), "loaded_at": at("05 10:00"), "value": 1},
]
SERIES = [{"fingerprint": "f", "last_seen_at": at("05 10:00"), "query": "q", "metric": "up", "labels": "no json"}]

FLAGGED = {
    ("negative_duration", "pull_requests", "o/r#1"),
    ("negative_duration", "pull_requests", "o/r#2"),
    ("negative_duration", "pull_request_commits", "o/r#1/c2"),
    ("negative_duration", "ci_runs", "o/r/31/1"),
    ("negative_duration", "deployments", "github:1/500"),
    ("negative_duration", "jira_issues", "FORGE-1"),
    ("negative_duration", "llm_calls", "p/hasty"),
    ("missing_author", "pull_requests", "o/r#1"),
    ("missing_author", "pull_request_reviews", "o/r#1/1"),
    ("missing_author", "pull_request_commits", "o/r#1/c1"),
    ("missing_author", "jira_issues", "FORGE-1"),
    ("cyclic_link", "jira_issues", "FORGE-2/cause"),
    ("cyclic_link", "jira_issues", "FORGE-3/cause"),
    ("cyclic_link", "jira_issues", "FORGE-4/parent"),
    ("cyclic_link", "jira_issues", "FORGE-5/parent"),
    ("cyclic_link", "jira_issues", "FORGE-6/parent"),
    ("unknown_ticket", "pull_requests", "o/r#2"),
    ("unknown_ticket", "traces", "p/t2"),
    ("cost_outlier", "llm_calls", "p/dear"),
    ("orphan_observation", "llm_calls", "p/lost"),
    ("orphan_observation", "llm_calls", "p/alone"),
    ("trace_cost_differs", "traces", "p/t1"),
    ("duplicate_deployment", "deployments", "github:1/501"),
    ("future_time", "jira_issues", "FORGE-7"),
    ("future_time", "jira_issues", "FORGE-10"),
    ("future_time", "traces", "p/t3"),
    ("negative_amount", "llm_calls", "p/gift"),
    ("rejected_rows", "github_pull_requests", "github/title/202601"),
}


def flagged(client: Client) -> set[tuple[str, str, str]]:
    found = client.query("select rule, entity, entity_key from gold.data_quality").result_rows
    things = {(str(rule), str(entity), str(key)) for rule, entity, key in found}
    assert len(found) == len(things)
    return things


def value(client: Client, query: str) -> Any:
    return client.query(query).result_rows[0][0]


def gold(client: Client) -> dict[str, Any]:
    """All rows of gold."""
    tables = client.query("select name from system.tables where database = 'gold' order by name").result_columns[0]
    return all_rows(client, [f"gold.{table}" for table in tables])


def reject(client: Client, load: str) -> None:
    """A row that did not fit its table, as a load keeps it."""
    client.command(
        "create table bronze.github_rejected_rows (entity String, payload_hash String, "
        "rejected_at DateTime64(6, 'UTC'), column_name String, problem String, payload String, _dlt_load_id String) "
        "engine = ReplacingMergeTree(rejected_at) order by (entity, payload_hash)"
    )
    client.command(
        "insert into bronze.github_rejected_rows values "
        f"('pull_requests', 'h1', '2026-01-19 00:00:00', 'title', 'null', '{{}}', '{load}'), "
        f"('pull_requests', 'h2', '2026-01-19 00:00:00', 'title', 'null', '{{}}', '{load}')"
    )


def test_bad_rows_are_kept_and_named(bronze: Any, build: Build, client: Client) -> None:
    bronze.write("jira", "jira", FIRST, issues=ISSUES, issue_changelogs=CHANGES)
    bronze.write("langfuse", "langfuse", FIRST, traces=TRACES, observations=CALLS, scores=SCORES)
    bronze.write("prometheus", "prometheus", FIRST, series=SERIES, samples=SAMPLES)
    bronze.write(
        "github",
        "github",
        FIRST,
        repositories=[
            REPOSITORY | {"loaded_at": at("06 00:00"), "default_branch": "main", "created_at": at("01 00:00")}
        ],
        pull_requests=PULL_REQUESTS,
        workflow_runs=[RUN],
        deployments=DEPLOYMENTS,
    )
    reject(client, FIRST)
    summary = build(REQUEST)
    assert summary.outcome == "succeeded", summary.model_dump_json()
    assert flagged(client) == FLAGGED

    told = client.query(
        "select entity_key, detail from gold.data_quality where rule in ('cyclic_link', 'rejected_rows')"
    )
    details = {str(key): detail for key, detail in told.result_rows}
    assert details["FORGE-2/cause"] == "caused by itself: FORGE-2 < FORGE-3 < FORGE-2"
    assert details["FORGE-5/parent"] == "part of itself: FORGE-5 < FORGE-6 < FORGE-4 < FORGE-5"
    assert details["github/title/202601"] == "2 answers made no row, for one: null"

    # Nothing is dropped, and every dollar counts
    assert value(client, "select count() from silver.jira_issues") == len(ISSUES)
    assert value(client, "select count() from silver.pull_requests") == len(PULL_REQUESTS)
    assert value(client, "select count() from silver.traces") == len(TRACES)
    paid = sum(Decimal(one["total_cost"]) for one in CALLS)
    assert value(client, "select sum(cost_usd) from silver.llm_calls") == paid
    assert value(client, "select sum(cost_usd) from gold.ticket_costs") == paid
    # What would be negative is unknown
    lead_time = "select lead_time_seconds from gold.tickets where ticket_key = 'FORGE-1'"
    assert value(client, lead_time) is None
    assert value(client, "select duration_seconds from silver.llm_calls where observation_id = 'hasty'") is None
    assert value(client, "select merge_seconds from gold.pull_request_flow where pull_request_number = 1") is None

    # The unknown ticket turns up, a cause is taken back, another circle closes; the newest load is later now
    bronze.write(
        "jira",
        "jira",
        SECOND,
        issues=[
            issue(99, updated_at=at("20 12:00")),
            issue(3, updated_at=at("20 12:00"), created_at="2025-12-05T08:00:00Z"),
            issue(8, updated_at=at("20 12:00"), parent_key="FORGE-9"),
            issue(9, updated_at=at("20 12:00"), parent_key="FORGE-8"),
        ],
    )
    bronze.write("langfuse", "langfuse", SECOND, traces=[trace("nowhere", session_id="FORGE-2")])
    summary = build(REQUEST)
    assert summary.outcome == "succeeded", summary.model_dump_json()
    assert flagged(client) == FLAGGED - {
        ("unknown_ticket", "pull_requests", "o/r#2"),
        ("cyclic_link", "jira_issues", "FORGE-2/cause"),
        ("cyclic_link", "jira_issues", "FORGE-3/cause"),
        ("orphan_observation", "llm_calls", "p/lost"),
        ("future_time", "jira_issues", "FORGE-10"),
    } | {("cyclic_link", "jira_issues", "FORGE-8/parent"), ("cyclic_link", "jira_issues", "FORGE-9/parent")}

    grown = gold(client)
    summary = build(REQUEST | {"fullRefresh": True})
    assert summary.outcome == "succeeded", summary.model_dump_json()
    whole = gold(client)
    assert whole.keys() == grown.keys()
    for table in whole:
        assert whole[table] == grown[table], table
