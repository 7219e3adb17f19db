"""forge-transform itself, over the real staging and a small silver and gold: what runs, what is shown, what is kept."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_transform import batch, history, main, publish, store
from forge_transform.settings import Settings

pytestmark = pytest.mark.slow

GOLD = ("small_tickets", "small_states", "small_hours")


def issue(number: int, month: int, status: str = "To Do", **more: Any) -> dict[str, Any]:
    created = f"2026-{month:02}-01T00:00:00Z"
    return {
        "id": str(number),
        "key": f"FORGE-{number}",
        "project_key": "FORGE",
        "summary": "s",
        "issue_type": "Task",
        "status": status,
        "status_category": "new",
        "created_at": created,
        "updated_at": created,
    } | more


def sample(hour: int) -> dict[str, Any]:
    return {"fingerprint": "a", "sampled_at": f"2026-01-02T{hour:02}:00:00Z", "loaded_at": 0, "value": hour}


def gold(client: Client, database: str = "gold") -> dict[str, list[Any]]:
    return {table: client.query(f"select * from {database}.{table} order by all").result_rows for table in GOLD}


def last_run(client: Client) -> dict[str, Any]:
    result = client.query("select * from silver.transform_runs final order by started_at desc limit 1")
    return dict(zip(result.column_names, result.result_rows[0], strict=True))


def consumed(client: Client) -> list[tuple[Any, ...]]:
    asked = "select source_name, load_id from silver.transform_loads where source_name != '' order by all"
    return [tuple(row) for row in client.query(asked).result_rows]


def changes(client: Client) -> int:
    found = client.query("select sum(total_rows) from system.tables where endsWith(name, '__changes')").result_rows
    return int(found[0][0])


def parts(client: Client, database: str) -> list[Any]:
    asked = f"select table, name from system.parts where database = '{database}' and active order by all"
    return [row for row in client.query(asked).result_rows if not row[0].startswith("transform_")]


def first_loads(bronze: Any) -> None:
    bronze.write("jira", "jira", "1", issues=[issue(n, 1 + n % 3) for n in range(1, 7)])
    bronze.write("prometheus", "prometheus", "1", samples=[sample(1), sample(2)])


def test_a_load_is_read_once_and_only_what_it_touches_is_built(bronze: Any, run: Any, client: Client) -> None:
    first_loads(bronze)
    whole = run()
    assert whole.outcome == "succeeded", whole
    assert last_run(client)["full_refresh"]
    assert consumed(client) == [("jira", "1"), ("prometheus", "1")]
    assert len(gold(client)["small_tickets"]) == 6

    bronze.write("jira", "jira", "2", issues=[issue(7, 2)])
    bronze.write("jira", "jira", "3", complete=False, issues=[issue(8, 2)])
    summary = run("jira")
    told = last_run(client)
    assert summary.outcome == told["outcome"] == "succeeded"
    assert (told["selectors"], told["full_refresh"]) == (["source:jira+"], False)
    assert told["loads"] == [{"source_name": "jira", "load_id": "2"}]
    assert summary.models.ok < whole.models.ok
    assert [row[0] for row in gold(client)["small_tickets"]] == [f"FORGE-{n}" for n in range(1, 8)]
    assert told["published"] == ["small_states", "small_tickets"]
    assert summary.rows == {"gold.small_hours": 2, "gold.small_states": 1, "gold.small_tickets": 7}
    assert changes(client) == 0

    # The load that ends last began before the others: it is no less new for that.
    bronze.complete("jira", "3")
    assert run("jira").outcome == "succeeded"
    assert len(gold(client)["small_tickets"]) == 8
    assert consumed(client) == [("jira", "1"), ("jira", "2"), ("jira", "3"), ("prometheus", "1")]


def test_loads_that_nobody_named_are_read_too(bronze: Any, run: Any, client: Client) -> None:
    first_loads(bronze)
    run()
    bronze.write("prometheus", "prometheus", "2", samples=[sample(3)])
    bronze.write("jira", "jira", "2", issues=[issue(7, 2)])
    assert run("jira").outcome == "succeeded"
    assert last_run(client)["selectors"] == ["source:jira+", "source:prometheus+"]
    assert len(gold(client)["small_hours"]) == 3


def test_with_nothing_new_nothing_is_done_and_said(
    bronze: Any, run: Any, client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first_loads(bronze)
    whole = run()
    capsys.readouterr()
    monkeypatch.setattr(main, "build", lambda *_: pytest.fail("dbt was asked for"))
    before = parts(client, "gold"), parts(client, "gold_next"), parts(client, "silver")
    summary = run()
    assert (summary.outcome, summary.rows) == ("succeeded", whole.rows)
    assert "building nothing: every load is consumed already" in capsys.readouterr().out
    assert (parts(client, "gold"), parts(client, "gold_next"), parts(client, "silver")) == before
    assert last_run(client)["reason"] == "every load is consumed already"


def test_what_was_shown_before_is_brought_in_line_and_shown_again(bronze: Any, run: Any, client: Client) -> None:
    """From the second increment on two tables take turns: nothing is made anew, whatever changes and goes."""
    first_loads(bronze)
    run()
    asked = (
        "select groupUniqArray(uuid), countIf(database = 'gold') from system.tables where (database, name) in "
        "(('gold', 'small_tickets'), ('gold_next', 'small_tickets__shown'))"
    )
    takers = []
    gone = {"entity": "issues", "entity_key": '["4"]', "deleted_at": "2026-07-01T00:00:00Z", "reason": "deleted"}
    for load, written in enumerate(({"issues": [issue(7, 2)]}, {"issues": [issue(8, 2)]}, {"deletions": [gone]}), 2):
        bronze.write("jira", "jira", str(load), **written)
        assert run("jira").outcome == "succeeded"
        assert gold(client) == gold(client, "gold_next")
        takers.append(client.query(asked).result_rows)
    assert [len(row[0][0]) for row in takers] == [2, 2, 2]
    assert {frozenset(row[0][0]) for row in takers} == {frozenset(takers[0][0][0])}
    assert [row[0] for row in gold(client)["small_tickets"]] == [f"FORGE-{n}" for n in (1, 2, 3, 5, 6, 7, 8)]
    assert run(fullRefresh=True).outcome == "succeeded"
    assert gold(client) == gold(client, "gold_next")


def test_a_load_without_a_change_writes_no_table(bronze: Any, run: Any, client: Client) -> None:
    first_loads(bronze)
    run()
    before = parts(client, "gold"), parts(client, "gold_next")
    bronze.write("jira", "jira", "2", issues=[issue(1, 2)])
    assert run("jira").outcome == "succeeded"
    assert last_run(client)["published"] == []
    assert (parts(client, "gold"), parts(client, "gold_next")) == before
    assert consumed(client)[-2:] == [("jira", "2"), ("prometheus", "1")]


def test_gold_never_shows_what_a_test_of_gold_refused(bronze: Any, run: Any, client: Client) -> None:
    """The test fails after its table was built; that table stays in gold_next, and all of gold as it was."""
    first_loads(bronze)
    run()
    before = gold(client)
    bronze.write("jira", "jira", "2", issues=[issue(n, 5) for n in range(10, 17)])
    failed = run("jira")
    assert (failed.outcome, failed.error.reason) == ("failed", "TestsFailed")
    assert failed.rows == {"gold.small_hours": 2, "gold.small_states": 1, "gold.small_tickets": 6}
    assert gold(client) == before
    assert gold(client, "gold_next") != before
    assert ("jira", "2") not in consumed(client)
    assert changes(client) > 0
    told = last_run(client)
    assert (told["outcome"], told["error_reason"], told["tests_failed"]) == ("failed", "TestsFailed", 1)
    asked = f"select node, kind from silver.transform_nodes where run_id = '{told['run_id']}' and status = 'failed'"
    assert client.query(asked).result_rows == [("at_most_small_states_9__tickets", "test")]

    # Another source loads: what was refused is tested again, and stays where it is.
    bronze.write("prometheus", "prometheus", "2", samples=[sample(4)])
    assert run("prometheus").outcome == "failed"
    assert gold(client) == before

    # The source mends it: the load that was refused is read again together with the next.
    bronze.write(
        "jira",
        "jira",
        "3",
        issues=[issue(n, 5, "Done", updated_at="2026-06-01T00:00:00Z") for n in range(10, 17, 2)],
    )
    assert run("jira").outcome == "succeeded"
    assert gold(client)["small_states"] == [("Done", 4), ("To Do", 9)]
    assert len(gold(client)["small_tickets"]) == 13
    assert len(gold(client)["small_hours"]) == 3
    assert gold(client) == gold(client, "gold_next")
    assert changes(client) == 0


def test_what_a_failed_run_without_new_loads_left_is_tested_again(
    bronze: Any, run: Any, client: Client, settings: Any
) -> None:
    first_loads(bronze)
    run()
    made = settings("jira")
    with store.connect(made.dsn) as open_store:
        killed = main.start(open_store, made)
    assert last_run(client)["outcome"] == "running"
    assert killed.new_loads == []
    assert run().outcome == "succeeded"
    assert last_run(client)["selectors"] == ["source:jira+"]
    assert client.query("select outcome from silver.transform_runs final order by started_at").result_rows == [
        ("succeeded",),
        ("killed",),
        ("succeeded",),
    ]
    run()
    assert last_run(client)["reason"] == "every load is consumed already"


def test_a_change_of_settings_builds_everything_even_when_it_fails_at_first(
    bronze: Any, run: Any, client: Client
) -> None:
    first_loads(bronze)
    run()
    bronze.write("jira", "jira", "2", issues=[issue(7, 2, "Odd")])
    assert run("jira", variables={"ticketKeyPattern": "X"}).outcome == "failed"
    assert last_run(client)["full_refresh"]
    assert run("jira").outcome == "failed"
    assert last_run(client)["full_refresh"], "what the other settings left is not trusted"
    bronze.write("jira", "jira", "3", issues=[issue(7, 2, "Done", updated_at="2026-06-01T00:00:00Z")])
    assert run("jira").outcome == "succeeded"
    bronze.write("jira", "jira", "4", issues=[issue(9, 2)])
    assert run("jira").outcome == "succeeded"
    assert not last_run(client)["full_refresh"]


def test_tables_that_no_model_makes_leave_gold_and_those_of_others_stay(
    bronze: Any, run: Any, client: Client, small: Path
) -> None:
    first_loads(bronze)
    client.command("create database if not exists gold")
    client.command("create table gold.theirs (x Int8) order by x")
    model = small / "models/gold/small_more.sql"
    model.write_text("{{ config(contract={'enforced': false}) }}\nselect 1 as one\n")
    try:
        assert run().outcome == "succeeded"
        assert client.query("select * from gold.small_more").result_rows == [(1,)]
    finally:
        model.unlink()
    assert run().outcome == "succeeded"
    names = "select name from system.tables where database = '{}' and {} order by name"
    assert [r[0] for r in client.query(names.format("gold", "true")).result_rows] == sorted([*GOLD, "theirs"])
    assert client.query(names.format("gold_next", "startsWith(name, 'small_more')")).result_rows == []


def test_a_broken_contract_fails_and_gold_stays(bronze: Any, run: Any, client: Client, small: Path) -> None:
    """A model that no longer gives the type it promises does not replace its table, nor does anything else."""
    first_loads(bronze)
    run()
    before = gold(client)
    bronze.write("jira", "jira", "2", issues=[issue(7, 2)])
    model = small / "models/gold/small_states.sql"
    text = model.read_text()
    model.write_text(text.replace("count() as tickets", "toFloat64(count()) as tickets"))
    try:
        summary = run("jira")
    finally:
        model.write_text(text)
    assert (summary.outcome, summary.error.reason) == ("failed", "SchemaViolation")
    assert summary.error.message.startswith("small_states: ")
    assert "tickets" in summary.error.message
    assert gold(client) == before
    assert run("jira").outcome == "succeeded"
    assert gold(client)["small_states"] == [("To Do", 7)]


def test_each_layer_forgets_by_itself_and_a_full_refresh_remembers_what_bronze_holds(
    bronze: Any, run: Any, client: Client
) -> None:
    """Increments and publishing work under a TTL, which stays on what they replace."""

    def keys(table: str) -> list[str]:
        return [row[0] for row in client.query(f"select ticket_key from {table} order by 1").result_rows]

    now = datetime.now(UTC)
    new = {"created_at": now.isoformat(), "updated_at": now.isoformat()}
    old = {"created_at": "2020-01-01T00:00:00Z", "updated_at": now.isoformat()}
    bronze.write("jira", "jira", "1", issues=[issue(1, 1, **new), issue(2, 1, **old)])
    days = {"silverRetentionDays": 1000, "goldRetentionDays": 100}
    assert run(**days).outcome == "succeeded"
    assert keys("silver.small_issues") == keys("gold_next.small_tickets") == keys("gold.small_tickets") == ["FORGE-1"]

    altered = "select count() from system.mutations where database in ('silver', 'gold_next')"
    before = client.query(altered).result_rows
    bronze.write("jira", "jira", "2", issues=[issue(3, 1, **new), issue(4, 1, **old)])
    assert run("jira", **days).outcome == "succeeded"
    assert keys("silver.small_issues") == keys("gold.small_tickets") == ["FORGE-1", "FORGE-3"]
    assert client.query(altered).result_rows == before, "a partial build keeps the TTL"

    assert run("jira").outcome == "succeeded"
    assert keys("gold.small_tickets") == ["FORGE-1", "FORGE-3"]
    assert run(fullRefresh=True).outcome == "succeeded"
    assert keys("gold.small_tickets") == [f"FORGE-{n}" for n in range(1, 5)]


def test_the_run_is_kept_with_its_nodes_and_one_manifest_a_state(bronze: Any, run: Any, client: Client) -> None:
    first_loads(bronze)
    run()
    told = last_run(client)
    assert told["rows"] == {"gold.small_tickets": 6, "gold.small_states": 1, "gold.small_hours": 2}
    assert told["peak_memory_bytes"] > 10**7
    assert told["finished_at"] > told["started_at"]
    assert (told["error_reason"], told["models_failed"]) == (None, 0)
    nodes = client.query(
        "select node, kind, status, seconds > 0, rows, query_id != '' from silver.transform_nodes "
        f"where run_id = '{told['run_id']}' and startsWith(node, 'small') order by node"
    ).result_rows
    assert nodes == [
        ("small_hours", "model", "ok", 1, 2, 1),
        ("small_issues", "model", "ok", 1, 6, 1),
        ("small_states", "model", "ok", 1, 1, 1),
        ("small_tickets", "model", "ok", 1, 6, 1),
    ]
    bronze.write("jira", "jira", "2", issues=[issue(7, 2)])
    run("jira")
    manifests = client.query("select settings_fingerprint, manifest from silver.transform_manifests").result_rows
    assert [row[0] for row in manifests] == [told["settings_fingerprint"]]
    assert "model.forge_observability.small_tickets" in json.loads(manifests[0][1])["nodes"]
    ttl = client.query(
        "select count() from system.tables where database = 'silver' and startsWith(name, 'transform_') "
        "and create_table_query like '%TTL toDate(%) + toIntervalDay(90)%'"
    )
    assert ttl.result_rows == [(3,)]


def test_a_full_disk_or_a_missing_right_is_a_failure_with_a_summary(
    bronze: Any, run: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses a statement of publishing: nothing is committed, and the next run does the rest."""
    first_loads(bronze)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "SUFFIX", "__shown_nonsense nonsense")
        failed = run()
    assert (failed.outcome, failed.error.reason) == ("failed", "Internal")
    assert "nonsense" in failed.error.message
    assert last_run(client)["outcome"] == "failed"
    assert consumed(client) == []
    assert run().outcome == "succeeded"
    assert gold(client) == gold(client, "gold_next")


# Killed anywhere

STATEMENTS = "statements"


def killed_at(number: int, made: Settings, folder: Path) -> int:
    """Run a transform in a child process that is killed before its statement of that number; what it had sent."""
    child = os.fork()
    if child == 0:
        from clickhouse_connect.driver.httpclient import HttpClient

        sent = [0]

        def counted(method: Any) -> Any:
            def call(self: Any, *args: Any, **named: Any) -> Any:
                sent[0] += 1
                # By a rename: dbt's other thread may be about to write when this one is killed.
                own = folder / f"{STATEMENTS}-{threading.get_ident()}"
                own.write_text(str(sent[0]))
                own.replace(folder / STATEMENTS)
                if sent[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return method(self, *args, **named)

            return call

        HttpClient.command = counted(HttpClient.command)  # type: ignore[method-assign]
        HttpClient.raw_insert = counted(HttpClient.raw_insert)  # type: ignore[method-assign]
        HttpClient.data_insert = counted(HttpClient.data_insert)  # type: ignore[method-assign]
        code = 1
        try:
            code = 0 if main.transform(made, time.monotonic()).outcome == "succeeded" else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    # One that has a statement less than was counted (dbt's threads share connections as they come) is not killed.
    assert (number and os.WIFSIGNALED(status)) or os.WEXITSTATUS(status) == 0
    return int((folder / STATEMENTS).read_text())


def copied(client: Client, origin: str, target: str) -> None:
    """Make a database what another is: its tables by hard links, its views by their text."""
    client.command(f"drop database if exists {target} sync")
    client.command(f"create database {target}")
    asked = f"select name, engine, as_select from system.tables where database = '{origin}' order by engine = 'View'"
    for name, engine, select in client.query(asked).result_rows:
        if engine == "View":
            client.command(f"create view {target}.{name} as {select}")
        else:
            client.command(f"create table {target}.{name} as {origin}.{name}")
            client.command(f"alter table {target}.{name} attach partition all from {origin}.{name}")


@pytest.mark.timeout(1800)
def test_killed_at_any_statement_the_next_run_makes_it_good(
    bronze: Any, run: Any, client: Client, settings: Any, tmp_path: Path
) -> None:
    """A stack that was built, and loads of both sources that change, add and delete, in a run that is killed."""
    import forge_transform.build  # noqa: F401 - once, not in each child

    first_loads(bronze)
    assert run().outcome == "succeeded"
    gone = {"entity": "issues", "entity_key": '["4"]', "deleted_at": "2026-07-01T00:00:00Z", "reason": "deleted"}
    moved = issue(2, 5, "Done", updated_at="2026-06-01T00:00:00Z")
    bronze.write("jira", "jira", "2", issues=[moved, issue(8, 1)], deletions=[gone])
    bronze.write("prometheus", "prometheus", "2", samples=[sample(2), sample(5)])
    databases = ("silver", "gold_next", "gold")
    for database in databases:
        copied(client, database, f"{database}_kept")
    before = gold(client)
    made = settings("jira", "prometheus")
    total = killed_at(0, made, tmp_path)
    expected = gold(client)
    assert [row[0] for row in expected["small_tickets"]] == ["FORGE-1", *(f"FORGE-{n}" for n in (2, 3, 5, 6, 8))]
    # Every statement of the end (publish, commit, record), and some of all that comes before.
    points = [*range(total - 20, total), *random.Random(5).sample(range(1, total - 20), 6)]
    mixed = 0
    for point in points:
        for database in databases:
            copied(client, f"{database}_kept", database)
        killed_at(point, made, tmp_path)
        seen = gold(client)
        assert all(seen[table] in (before[table], expected[table]) for table in GOLD), point
        mixed += seen != before
        assert run().outcome == "succeeded", point
        assert gold(client) == gold(client, "gold_next") == expected, point
        assert consumed(client) == [("jira", "1"), ("jira", "2"), ("prometheus", "1"), ("prometheus", "2")], point
        assert run().outcome == "succeeded", point
        assert last_run(client)["reason"] == "every load is consumed already", point
        assert changes(client) == 0, point
        left = client.query(
            "select name from system.tables where database in ('silver', 'gold_next', 'gold') and (name like "
            "'%\\_\\_new' or name like '%\\_\\_diff' or name like '%\\_\\_dbt\\_%')"
        ).result_rows
        assert left == [], point
    assert 0 < mixed < len(points), "the points lie on both sides of the exchange"
    for database in databases:
        client.command(f"drop database {database}_kept sync")


def test_steps_can_be_repeated(bronze: Any, run: Any, client: Client, settings: Any) -> None:
    """Each step of the end, twice: publishing again copies nothing, a second commit consumes nothing more."""
    first_loads(bronze)
    run()
    made = settings()
    before = parts(client, "gold")
    with store.connect(made.dsn) as open_store:
        assert publish.publish(open_store, set(GOLD)) == []
        assert batch.write(open_store, made.request.sources) == []
        batch.commit(open_store, "again", None)
        assert history.unsettled(open_store) == ()
    assert parts(client, "gold") == before
    assert consumed(client) == [("jira", "1"), ("prometheus", "1")]
