"""forge-transform over a real store: a small stack goes into bronze, gold comes out as computed by hand."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import StoreDsn
from forge_transform import project

pytestmark = pytest.mark.slow

STACK = [
    {"name": "langfuse", "type": "langfuse"},
    {"name": "github", "type": "github"},
    {"name": "gh-two", "type": "github"},
    {"name": "jira", "type": "jira"},
    {"name": "prometheus", "type": "prometheus"},
]


def pull_request(repository: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "repository_id": {"o/r": 1, "o/s": 2}[repository],
        "repository": repository,
        "number": number,
        "node_id": f"{repository}#{number}",
        "url": f"https://github.com/{repository}/pull/{number}",
        "state": "OPEN",
        "created_at": "2026-01-02T08:00:00Z",
        "updated_at": "2026-01-02T08:00:00Z",
    } | more


def issue(id_: str, key: str, status: str, category: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "key": key,
        "project_key": key.split("-")[0],
        "summary": f"Summary of {key}",
        "issue_type": "Task",
        "status": status,
        "status_category": category,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    } | more


def status_change(issue_id: str, history_id: str, at: str, before: str, after: str) -> dict[str, Any]:
    return {
        "issue_id": issue_id,
        "history_id": history_id,
        "created_at": at,
        "field": "status",
        "from_string": before,
        "to_string": after,
    }


def trace(id_: str, **more: Any) -> dict[str, Any]:
    return {
        "project_id": "p",
        "id": id_,
        "updated_at": "2026-01-02T10:00:00Z",
        "timestamp": "2026-01-02T09:00:00Z",
    } | more


def observation(id_: str, trace_id: str | None, type_: str = "GENERATION", **more: Any) -> dict[str, Any]:
    return {
        "project_id": "p",
        "id": id_,
        "trace_id": trace_id,
        "type": type_,
        "updated_at": "2026-01-02T10:00:00Z",
        "start_time": "2026-01-02T09:00:00Z",
    } | more


def review(author: str, state: str, at: str) -> dict[str, str]:
    return {"author": author, "authorType": "User", "state": state, "submittedAt": at}


LANGFUSE = {
    "traces": [
        trace("t1", metadata=json.dumps({"ticket": "FORGE-1", "stage": "plan"})),
        trace("t2", session_id="FORGE-1", tags='["stage:implement"]'),
        trace("t3", session_id="OPS-9"),
        trace("t4", name="chat", timestamp="2026-01-05T00:00:00Z"),
    ],
    "observations": [
        # the span repeats what its call costs
        observation("o1", "t1", "SPAN", total_cost="0.300000000001"),
        observation(
            "o2",
            "t1",
            parent_observation_id="o1",
            model="m",
            input_tokens=10,
            output_tokens=5,
            total_cost="0.300000000001",
        ),
        observation("o3", "t2", model="m", input_tokens=20, output_tokens=6, total_cost="0.1"),
        observation("o4", "t2", model="n", input_tokens=1, output_tokens=1, total_tokens=3, total_cost="0.2"),
        observation("o5", "t3", model="m", level="ERROR"),
        observation("o6", "t4", model="m", input_tokens=4, output_tokens=4, total_cost="0.05"),
        observation("o7", None, model="m", total_cost="0.000000000001"),
    ],
}
GITHUB = {
    "pull_requests": [
        pull_request(
            "o/r",
            1,
            head_ref="forge/FORGE-1",
            state="MERGED",
            author_login="agent",
            first_commit_at="2026-01-02T07:00:00Z",
            merged_at="2026-01-03T00:00:00Z",
            closed_at="2026-01-03T00:00:00Z",
            updated_at="2026-01-03T00:00:00Z",
            reviews=json.dumps(
                [
                    review("ann", "CHANGES_REQUESTED", "2026-01-02T09:00:00Z"),
                    review("agent", "COMMENTED", "2026-01-02T10:00:00Z"),
                    review("ann", "APPROVED", "2026-01-02T11:00:00Z"),
                ]
            ),
        ),
        pull_request("o/r", 2, head_ref="utf-8", title="Support UTF-8"),
    ]
}
GH_TWO = {
    "pull_requests": [
        # the first source sees this one too, and knows it older
        pull_request(
            "o/r", 2, head_ref="utf-8", title="Support UTF-8", state="CLOSED", updated_at="2026-01-04T00:00:00Z"
        ),
        pull_request("o/s", 1, title="FORGE-1: the other half", body=None, first_commit_at="2026-01-02T06:30:00Z"),
    ]
}
JIRA = {
    "issues": [
        issue(
            "1",
            "FORGE-1",
            "Done",
            "done",
            resolved_at="2026-01-04T00:00:00Z",
            assignee_name="Ann",
            updated_at="2026-01-04T00:00:00Z",
        ),
        issue("2", "FORGE-2", "In Progress", "indeterminate", created_at="2026-01-02T00:00:00Z"),
        issue("3", "FORGE-3", "To Do", "new"),
    ],
    "issue_changelogs": [
        status_change("1", "1", "2026-01-02T06:00:00Z", "To Do", "In Progress"),
        status_change("1", "2", "2026-01-04T00:00:00Z", "In Progress", "Done"),
        status_change("2", "3", "2026-01-02T12:00:00Z", "To Do", "In Progress"),
    ],
}
PROMETHEUS = {
    "series": [
        {
            "fingerprint": "a",
            "last_seen_at": "2026-01-02T10:30:00Z",
            "query": "queue",
            "metric": "forge_queue_depth",
            "labels": '{"q": "x"}',
        },
        {
            "fingerprint": "b",
            "last_seen_at": "2026-01-02T10:30:00Z",
            "query": "queue",
            "metric": "forge_queue_depth",
            "labels": '{"q": "y"}',
        },
    ],
    "samples": [
        {"fingerprint": "a", "sampled_at": "2026-01-02T10:00:00Z", "loaded_at": "2026-01-02T11:00:00Z", "value": 1},
        {"fingerprint": "a", "sampled_at": "2026-01-02T10:30:00Z", "loaded_at": "2026-01-02T11:00:00Z", "value": 2},
        {"fingerprint": "b", "sampled_at": "2026-01-02T10:30:00Z", "loaded_at": "2026-01-02T11:00:00Z", "value": 6},
        {"fingerprint": "b", "sampled_at": "2026-01-02T11:00:00Z", "loaded_at": "2026-01-02T11:00:00Z", "value": 7},
    ],
}

LOADS: list[tuple[str, str, dict[str, Any]]] = [
    ("langfuse", "langfuse", LANGFUSE),
    ("github", "github", GITHUB),
    ("gh-two", "github", GH_TWO),
    ("jira", "jira", JIRA),
    ("prometheus", "prometheus", PROMETHEUS),
]


def write_all(bronze: Any) -> None:
    for source, type_, entities in LOADS:
        bronze.write(source, type_, "1", **entities)


def request(*loaded: str, **more: Any) -> dict[str, Any]:
    return {"sources": STACK, "loaded": list(loaded)} | more


def rows(client: Client, query: str) -> list[dict[str, Any]]:
    return list(client.query(query).named_results())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def naive_is_utc(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in row.items()}


MODELS = [relation for relation in project.relations(project.project_dir()) if relation[0] != "gold"]
"""Each is built once; what is in gold is a copy."""


def gold(client: Client) -> dict[str, list[dict[str, Any]]]:
    """All of gold, in a fixed order."""
    tables = sorted(project.gold_tables(project.project_dir()))
    return {table: rows(client, f"select * from gold.{table} order by all") for table in tables}


def test_gold_of_all_sources(bronze: Any, transform: Any, client: Client) -> None:
    write_all(bronze)
    done = transform.run(request("langfuse", "github", "gh-two", "jira", "prometheus"))
    assert done.code == 0, done.output

    nothing = {
        "project_key": None, "summary": None, "issue_type": None, "status": None, "status_category": None,
        "assignee_name": None, "created_at": None, "started_at": None, "resolved_at": None, "lead_time_seconds": None,
        "cycle_time_seconds": None, "pull_requests": 0, "merged_pull_requests": 0, "first_commit_at": None,
        "first_merged_at": None, "reviews": 0, "changes_requested": 0, "traces": 0, "llm_calls": 0, "input_tokens": 0,
        "output_tokens": 0, "cost_usd": Decimal(0), "is_done": None, "in_jira": False,
    }  # fmt: skip
    forge = {"project_key": "FORGE", "issue_type": "Task", "in_jira": True}
    columns = ", ".join(["ticket_key", *nothing])
    tickets = [naive_is_utc(row) for row in rows(client, f"select {columns} from gold.tickets order by ticket_key")]
    assert tickets == [
        nothing
        | forge
        | {
            "ticket_key": "FORGE-1",
            "summary": "Summary of FORGE-1",
            "status": "Done",
            "status_category": "done",
            "assignee_name": "Ann",
            "created_at": at("2026-01-01"),
            "started_at": at("2026-01-02T06:00:00"),
            "resolved_at": at("2026-01-04"),
            "lead_time_seconds": 3 * 86400.0,
            "cycle_time_seconds": 42 * 3600.0,
            "pull_requests": 2,
            "merged_pull_requests": 1,
            "first_commit_at": at("2026-01-02T06:30:00"),
            "first_merged_at": at("2026-01-03"),
            "reviews": 2,
            "changes_requested": 1,
            "traces": 2,
            "llm_calls": 3,
            "input_tokens": 31,
            "output_tokens": 12,
            "cost_usd": Decimal("0.600000000001"),
            "is_done": True,
        },
        nothing
        | forge
        | {
            "ticket_key": "FORGE-2",
            "summary": "Summary of FORGE-2",
            "status": "In Progress",
            "status_category": "indeterminate",
            "created_at": at("2026-01-02"),
            "started_at": at("2026-01-02T12:00:00"),
            "is_done": False,
        },
        nothing
        | forge
        | {
            "ticket_key": "FORGE-3",
            "summary": "Summary of FORGE-3",
            "status": "To Do",
            "status_category": "new",
            "created_at": at("2026-01-01"),
            "is_done": False,
        },
        nothing | {"ticket_key": "OPS-9", "traces": 1, "llm_calls": 1},
    ]

    columns = (
        "ticket_key, stage, model, traces, llm_calls, input_tokens, output_tokens, total_tokens, cost_usd, link_method"
    )
    assert client.query(f"select {columns} from gold.ticket_costs order by 1, 2, 3").result_rows == [
        ("", "", "m", 1, 2, 4, 4, 8, Decimal("0.050000000001"), "none"),
        ("FORGE-1", "implement", "m", 1, 1, 20, 6, 26, Decimal("0.1"), "session"),
        ("FORGE-1", "implement", "n", 1, 1, 1, 1, 3, Decimal("0.2"), "session"),
        ("FORGE-1", "plan", "m", 1, 1, 10, 5, 15, Decimal("0.300000000001"), "metadata"),
        ("OPS-9", "", "m", 1, 1, 0, 0, 0, Decimal(0), "session"),
    ]

    hours = client.query(
        "select toUnixTimestamp(hour), * except hour from gold.platform_hourly order by hour"
    ).result_rows
    ten = int(at("2026-01-02T10:00:00").timestamp())
    assert hours == [
        (ten, "queue", "forge_queue_depth", 2, 3, 3.0, 1.0, 6.0),
        (ten + 3600, "queue", "forge_queue_depth", 1, 1, 7.0, 7.0, 7.0),
    ]

    coverage = client.query(
        "select source, type, available, rows, newest_event_at, loads from gold.coverage order by 1"
    )
    assert [(*r[:4], r[4].replace(tzinfo=UTC), r[5]) for r in coverage.result_rows] == [
        ("gh-two", "github", True, 2, at("2026-01-04"), 1),
        ("github", "github", True, 2, at("2026-01-03"), 1),
        ("jira", "jira", True, 6, at("2026-01-04"), 1),
        ("langfuse", "langfuse", True, 11, at("2026-01-05"), 1),
        ("prometheus", "prometheus", True, 6, at("2026-01-02T11:00:00"), 1),
    ]

    summary = done.summary
    assert (summary.outcome, summary.error, summary.failures) == ("succeeded", None, [])
    told = {"gold.tickets": 4, "gold.ticket_costs": 5, "gold.platform_hourly": 2, "gold.coverage": 5}
    assert summary.rows | told == summary.rows
    assert set(summary.rows) == {f"gold.{table}" for table in project.gold_tables(project.project_dir())}
    assert (summary.models.ok, summary.models.failed, summary.models.skipped) == (len(MODELS), 0, 0)
    assert summary.tests.ok > 40
    for line in done.output.splitlines():
        assert {"time", "level", "message"} <= json.loads(line).keys()
    leaks = [
        f
        for f in transform.folder.rglob("*")
        if f.is_file() and f.name != "dsn" and transform.dsn.password.encode() in f.read_bytes()
    ]
    assert leaks == []
    assert transform.dsn.password not in done.output


def test_a_second_run_changes_nothing(bronze: Any, build: Any, client: Client) -> None:
    write_all(bronze)
    assert build(request()).outcome == "succeeded"
    first = gold(client)
    assert build(request("langfuse", "github", "gh-two", "jira", "prometheus")).outcome == "succeeded"
    assert gold(client) == first


def test_an_unfinished_load_is_not_read(bronze: Any, build: Any, client: Client) -> None:
    """Neither its new rows nor its newer versions of older ones, which must not hide the older ones either."""
    write_all(bronze)
    newer = issue("3", "FORGE-3", "Done", "done", updated_at="2026-01-09T00:00:00Z", resolved_at="2026-01-09T00:00:00Z")
    client.command("system stop merges bronze.jira_issues")
    bronze.write("jira", "jira", "2", complete=False, issues=[newer, issue("4", "FORGE-4", "To Do", "new")])
    assert build(request()).outcome == "succeeded"
    asked = "select ticket_key, status from gold.tickets where project_key = 'FORGE' order by 1"
    assert client.query(asked).result_rows == [("FORGE-1", "Done"), ("FORGE-2", "In Progress"), ("FORGE-3", "To Do")]

    bronze.write("jira", "jira", "2")
    assert build(request("jira")).outcome == "succeeded"
    assert client.query(asked).result_rows[2:] == [("FORGE-3", "Done"), ("FORGE-4", "To Do")]


def test_what_the_source_has_no_more_is_left_out_until_it_is_written_again(
    bronze: Any, build: Any, client: Client
) -> None:
    issues = [issue("1", "FORGE-1", "Done", "done"), issue("2", "FORGE-2", "Done", "done")]
    bronze.write("jira", "jira", "1", issues=issues, issue_changelogs=[])
    gone = {"entity": "issues", "entity_key": '["1"]', "deleted_at": "2026-02-01T00:00:00Z", "reason": "deleted"}
    bronze.write("jira", "jira", "2", deletions=[gone])
    request = {"sources": [{"name": "jira", "type": "jira"}], "loaded": ["jira"]}

    def keys() -> list[str]:
        assert build(request).outcome == "succeeded"
        return [row[0] for row in client.query("select ticket_key from gold.tickets order by 1").result_rows]

    assert keys() == ["FORGE-2"]
    bronze.write("jira", "jira", "3", issues=[issues[0] | {"updated_at": "2026-02-02T00:00:00Z"}])
    assert keys() == ["FORGE-1", "FORGE-2"]
    bronze.write("jira", "jira", "4", deletions=[gone | {"entity_key": '["2"]'}])
    bronze.write(
        "jira",
        "jira",
        "5",
        deletions=[gone | {"entity_key": '["2"]', "deleted_at": "2026-02-03T00:00:00Z", "reason": "returned"}],
    )
    assert keys() == ["FORGE-1", "FORGE-2"]


def test_only_what_is_downstream_of_the_loads_is_built(bronze: Any, build: Any, client: Client) -> None:
    write_all(bronze)
    everything = build(request("jira"))
    assert everything.models.ok == len(MODELS)

    bronze.write(
        "prometheus",
        "prometheus",
        "2",
        samples=[{"fingerprint": "a", "sampled_at": "2026-01-02T12:00:00Z", "value": 3}],
    )
    hours = build(request("prometheus"))
    assert 0 < hours.models.ok < everything.models.ok / 2
    assert hours.rows["gold.platform_hourly"] == 3
    assert hours.rows["gold.tickets"] == 4

    bronze.write("jira", "jira", "2", issues=[issue("5", "FORGE-5", "To Do", "new")])
    assert build(request("jira")).rows["gold.tickets"] == 5
    changed = build(request("prometheus", variables={"ticketKeyPattern": "FORGE-[0-9]+"}))
    assert changed.models.ok == everything.models.ok
    assert build(request(fullRefresh=True)).models.ok == everything.models.ok


@pytest.mark.parametrize(
    "types", [c for n in range(5) for c in itertools.combinations(["langfuse", "github", "jira", "prometheus"], n)]
)
def test_any_subset_of_sources_builds(types: tuple[str, ...], bronze: Any, build: Any, client: Client) -> None:
    for source, type_, entities in LOADS:
        if type_ in types:
            bronze.write(source, type_, "1", **entities)
    summary = build(request())
    assert summary.outcome == "succeeded", summary
    known = {row["ticket_key"]: row for row in rows(client, "select * from gold.tickets")}
    expected = {"FORGE-1"} if set(types) & {"langfuse", "github", "jira"} else set()
    expected |= {"FORGE-2", "FORGE-3"} if "jira" in types else set()
    expected |= {"OPS-9"} if "langfuse" in types else set()
    # without Jira nothing tells that UTF is no project
    expected |= {"UTF-8"} if "github" in types and "jira" not in types else set()
    assert set(known) == expected
    for row in known.values():
        assert (row["pull_requests"] is not None) == (row["reviews"] is not None) == ("github" in types)
        assert (row["cost_usd"] is not None) == (row["traces"] is not None) == ("langfuse" in types)
    covered = rows(client, "select type, min(available) as available from gold.coverage group by type order by type")
    assert covered == [{"type": t, "available": t in types} for t in ("github", "jira", "langfuse", "prometheus")]


def test_a_source_that_loaded_nothing_counts_zero(bronze: Any, build: Any, client: Client) -> None:
    """dlt makes no table for an entity without rows; its finished load says that there are none."""
    bronze.write("jira", "jira", "1", **JIRA)
    bronze.write("github", "github", "1")
    assert build(request()).outcome == "succeeded"
    assert client.query("select distinct pull_requests, cost_usd from gold.tickets").result_rows == [(0, None)]
    assert client.query("select available, rows from gold.coverage where source = 'github'").result_rows == [(True, 0)]


def test_a_whole_build_that_fails_is_made_good_by_the_next(bronze: Any, build: Any, client: Client) -> None:
    """Other settings that end half-way, then the old settings again: what was built with the others must not stay."""
    write_all(bronze)
    everything = build(request())
    before = gold(client)
    assert build(request(variables={"ticketKeyPattern": "("})).outcome == "failed"
    again = build(request("prometheus"))
    assert (again.outcome, again.models.ok) == ("succeeded", everything.models.ok)
    assert gold(client) == before


def test_unit_tests_of_the_models_pass(bronze: Any, build: Any, dbt: Any) -> None:
    assert build({"sources": STACK}).outcome == "succeeded"
    result = dbt("test", "--select", "test_type:unit")
    bad = {r.node.name: r.message for r in result.result.results if str(r.status) != "pass"}
    assert bad == {}
    assert len(result.result.results) >= 14


def test_wrong_password_is_said_and_not_shown(bronze: Any, transform: Any) -> None:
    dsn = StoreDsn(transform.dsn.host, transform.dsn.port, transform.dsn.user, "wr0ng-secret", False)
    done = transform.run(request(), dsn=dsn.url)
    assert (done.code, done.summary.error.reason) == (1, "Unauthorized")
    assert "wr0ng-secret" not in done.output + done.summary.model_dump_json()


def test_unreachable_store_is_said(transform: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = transform.run(request(), dsn=f"http://u:p@127.0.0.1:{taken.getsockname()[1]}")
    assert (done.code, done.summary.error.reason) == (1, "StoreUnavailable")
    assert "127.0.0.1" in done.summary.error.message


def test_sigterm_ends_it_with_a_summary(bronze: Any, transform: Any, client: Client) -> None:
    write_all(bronze)
    process = transform.start(request())
    for line in process.stdout:
        if json.loads(line).get("event") == "LogModelResult":
            break
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    stopped = transform.result(process.returncode, output)
    assert time.monotonic() - began < 20
    assert (stopped.code, stopped.summary.outcome) == (1, "stopped")
    assert transform.run(request()).code == 0
    left = client.query(
        "select name from system.tables where database in ('silver', 'gold') and name like '%\\_\\_dbt\\_%'"
    )
    assert left.result_rows == []
