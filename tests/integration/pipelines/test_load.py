"""`forge-load` as a process: into a real store, killed, stopped, beside others, and when something is wrong."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "t0ken-that-nobody-may-see"
CREDENTIALS = {"email": "a@b.example", "token": TOKEN}


THINGS = Path(__file__).with_name("things.py")


def jira(address: str, name: str, **values: Any) -> dict[str, Any]:
    """A source of type jira, whose module is that of things.py."""
    spec = {"url": address, "credentialsSecretRef": {"name": "s"}, "projects": ["AB"], "deployment": "Cloud"}
    return {"name": name, "jira": {**spec, **values}}


class Site:
    """Things by their update, a hundred a page; the cursor of a page is the place of its last thing."""

    def __init__(self, updates: dict[int, datetime]) -> None:
        self.updates = updates
        self.before_page: Any = lambda number: None
        self.pages = 0

    def __call__(self, call: Any) -> Any:
        if call.params["project"] != "AB":
            return SimpleNamespace(body={"message": "no"}, status=404, headers={}, cut=False, drop=False)
        self.pages += 1
        self.before_page(self.pages)
        order = sorted((at, n) for n, at in self.updates.items())
        for name, fits in (("from", datetime.__ge__), ("to", datetime.__lt__)):
            if bound := call.params.get(name):
                order = [(at, n) for at, n in order if fits(at, datetime.fromisoformat(bound))]
        if after := call.params.get("after"):
            at, number = after.split("|")
            order = [place for place in order if place > (datetime.fromisoformat(at), int(number))]
        things = [{"id": str(n), "updated": at.isoformat()} for at, n in order[:100]]
        more = f"{order[99][0].isoformat()}|{order[99][1]}" if len(order) > 100 else None
        body = {"things": things, "next": more}
        return SimpleNamespace(body=body, status=200, headers={}, cut=False, drop=False)


def load(forge: Any, source: dict[str, Any], credentials: dict[str, str] = CREDENTIALS, **env: str) -> Any:
    return forge.load(source, credentials, program=THINGS, **env)


def start(forge: Any, source: dict[str, Any]) -> Any:
    return forge.start(source, CREDENTIALS, program=THINGS)


def loaded_issues(forge: Any, prefix: str) -> dict[int, datetime]:
    """What is in bronze, of committed loads alone, as silver reads it."""
    committed = f"select load_id from bronze.{prefix}__dlt_loads where status = 0"
    rows = forge.rows(
        f"select id, updated_at from bronze.{prefix}_issues final where _dlt_load_id in ({committed}) order by id"
    )
    return {int(id_): at.replace(tzinfo=UTC) for id_, at in rows}


def assert_no_secret(loaded: Any) -> None:
    assert TOKEN not in loaded.stdout + loaded.stderr + json.dumps(loaded.summary)
    assert all(json.loads(line)["time"] for line in loaded.stdout.splitlines()), "standard output is JSON lines"


def test_first_load_rerun_and_update(forge: Any, scripted: Any) -> None:
    site = scripted.script = Site({n: NOW - timedelta(days=9) + timedelta(hours=n) for n in range(95)})
    source = jira(scripted.url, "jira-a")
    first = load(forge, source)
    assert first.code == 0, first.stdout + first.stderr
    assert_no_secret(first)
    assert first.summary["outcome"] == "succeeded" and first.summary["rows"] == {"issues": 95, "issue_changelogs": 95}
    assert first.summary["requests"] == len(scripted.calls)
    assert first.summary["cursor"] == first.summary["newestEventAt"] == "2026-02-24T10:00:00Z"
    assert loaded_issues(forge, "jira_a") == site.updates
    site.updates[7], site.updates[95] = NOW - timedelta(hours=1), NOW
    second = load(forge, source)
    assert second.code == 0 and second.summary["rows"]["issues"] < 10, "only what is new, and the overlap"
    assert loaded_issues(forge, "jira_a") == site.updates
    third = load(forge, source)
    assert third.code == 0 and loaded_issues(forge, "jira_a") == site.updates
    assert forge.rows("select count(), uniqExact(load_id), max(status) from bronze.jira_a__dlt_loads") == [(3, 3, 0)]


def test_tables_are_of_the_contract(forge: Any, scripted: Any) -> None:
    scripted.script = Site({})
    assert load(forge, jira(scripted.url, "jira-b")).code == 0
    tables = dict(
        forge.rows(
            "select name, concat(engine, ' ', trim(both '()' from sorting_key)) from system.tables "
            "where database = 'bronze' and startsWith(name, 'jira_b_')"
        )
    )
    assert tables["jira_b_issues"] == "ReplacingMergeTree id", "tables are there even when the source is empty"
    assert tables["jira_b_issue_changelogs"] == "ReplacingMergeTree issue_id, item_index"
    assert tables["jira_b_deletions"] == "ReplacingMergeTree entity, entity_key"
    assert tables["jira_b_rejected_rows"] == "ReplacingMergeTree entity, payload_hash"
    assert tables["jira_b_load_runs"] == "ReplacingMergeTree started_at"
    assert "jira_b__dlt_loads" in tables
    columns = dict(
        forge.rows("select name, type from system.columns where database = 'bronze' and table = 'jira_b_issues'")
    )
    assert columns["updated_at"] == "DateTime64(6, 'UTC')" and columns["due_date"] == "Nullable(Date)"
    assert columns["id"] == columns["labels"] == columns["_dlt_load_id"] == "String"


def test_sigterm_stops_at_a_clean_cursor(forge: Any, scripted: Any) -> None:
    site = Site({n: NOW - timedelta(days=90) + timedelta(hours=n) for n in range(900)})
    site.before_page = lambda page: time.sleep(0.4)
    scripted.script = site
    source = jira(scripted.url, "jira-c")
    process = start(forge, source)
    while site.pages < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stopped = forge.finish(source, process)
    assert (stopped.code, stopped.summary["outcome"]) == (0, "stopped"), stopped.stdout + stopped.stderr
    assert "signal" in stopped.summary["warnings"][0]
    kept = loaded_issues(forge, "jira_c")
    assert kept and kept == {n: site.updates[n] for n in range(len(kept))}
    site.before_page = lambda page: None
    rest = load(forge, source)
    assert rest.code == 0 and rest.summary["rows"]["issues"] <= 900 - len(kept) + 3
    assert loaded_issues(forge, "jira_c") == site.updates


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_or_doubled(forge: Any, scripted: Any) -> None:
    site = scripted.script = Site({n: NOW - timedelta(days=90) + timedelta(hours=n) for n in range(600)})
    source, dice = jira(scripted.url, "jira-d"), random.Random(7)
    started = time.monotonic()
    while time.monotonic() - started < 10:
        process = start(forge, source)
        time.sleep(dice.uniform(0.8, 3.5))
        process.kill()
        process.communicate()
        site.updates[dice.randrange(600)] = NOW + timedelta(seconds=time.monotonic() - started)
    assert load(forge, source).code == 0
    assert loaded_issues(forge, "jira_d") == site.updates
    logs = forge.rows("select count(), uniqExact(issue_id) from bronze.jira_d_issue_changelogs final")
    assert logs == [(600, 600)]


def test_four_first_loads_at_once_do_not_meet(fresh_forge: Any, scripted: Any) -> None:
    forge, _ = fresh_forge
    site = scripted.script = Site({n: NOW - timedelta(hours=n) for n in range(50)})
    sources = [jira(scripted.url, name) for name in ("one", "one-two", "two", "one-two-three")]
    processes = [start(forge, source) for source in sources]
    for source, process in zip(sources, processes, strict=True):
        loaded = forge.finish(source, process)
        assert loaded.code == 0, loaded.stdout + loaded.stderr
    for source in sources:
        assert loaded_issues(forge, source["name"].replace("-", "_")) == site.updates


def test_what_came_before_a_failure_is_kept(forge: Any, scripted: Any) -> None:
    site = Site({n: NOW - timedelta(days=90) + timedelta(hours=n) for n in range(500)})
    broken = True

    def script(call: Any) -> Any:
        if broken and site.pages >= 3:
            return SimpleNamespace(body={"message": "no"}, status=401, headers={}, cut=False, drop=False)
        return site(call)

    scripted.script = script
    source = jira(scripted.url, "jira-e")
    failed = load(forge, source)
    assert (failed.code, failed.reason) == (1, "Unauthorized")
    assert failed.summary["rows"]["issues"] == 300
    broken = False
    rest = load(forge, source)
    assert rest.code == 0 and rest.summary["rows"]["issues"] <= 202
    assert loaded_issues(forge, "jira_e") == site.updates


def test_a_backfill_reads_its_window_and_moves_no_cursor(forge: Any, scripted: Any) -> None:
    site = scripted.script = Site({n: NOW - timedelta(days=9) + timedelta(hours=n) for n in range(200)})
    source = jira(scripted.url, "jira-f", since=(NOW - timedelta(days=2)).isoformat())
    assert load(forge, source).code == 0
    recent = {n: at for n, at in site.updates.items() if at >= NOW - timedelta(days=2)}
    assert loaded_issues(forge, "jira_f") == recent
    start, end = NOW - timedelta(days=5), NOW - timedelta(days=4)
    window = {"DLT_INTERVAL_START": start.isoformat(), "DLT_INTERVAL_END": end.isoformat()}
    assert load(forge, source, **window).code == 0
    wanted = recent | {n: at for n, at in site.updates.items() if start <= at < end}
    assert loaded_issues(forge, "jira_f") == wanted
    again = load(forge, source)
    assert again.code == 0 and again.summary["rows"]["issues"] <= 3
    assert loaded_issues(forge, "jira_f") == wanted


def test_every_load_that_reached_the_store_is_recorded(fresh_forge: Any, scripted: Any) -> None:
    forge, _ = fresh_forge
    scripted.script = Site({n: NOW - timedelta(hours=n) for n in range(5)})
    source = jira(scripted.url, "jira-h")
    refused = load(forge, jira(scripted.url, "jira-h", projects=["NO"]))
    assert refused.code == 1
    first, second = load(forge, source), load(forge, source)
    load(forge, source, {"email": "a@b.example"})
    runs = forge.rows(
        "select outcome, error_reason, rows, requests, bytes_read > 0, cursor, finished_at > started_at, warnings, "
        "newest_event_at from bronze.jira_h_load_runs final order by started_at"
    )
    assert [run[:2] for run in runs] == [("failed", "NotFound"), ("succeeded", None), ("succeeded", None)]
    for run, done in zip(runs[1:], (first, second), strict=True):
        assert json.loads(run[2]) == done.summary["rows"] and run[3] == done.summary["requests"]
        assert run[4] and run[5] == done.summary["cursor"] and run[6] and run[7] == "[]"
        assert run[8].replace(tzinfo=UTC) == NOW
    # A table of an older release gains what it lacks.
    forge.store.command("alter table bronze.jira_h_load_runs drop column retries")
    load(forge, source)
    assert forge.rows("select count(), sum(retries) from bronze.jira_h_load_runs") == [(4, 0)]


WRONG: list[tuple[str, dict[str, Any], dict[str, str], dict[str, str], str, str]] = [
    ("url", {"url": "http://127.0.0.1:1"}, CREDENTIALS, {}, "Unreachable", "127.0.0.1:1 did not answer"),
    ("project", {"projects": ["NO"]}, CREDENTIALS, {}, "NotFound", "no project NO"),
    ("credentials", {}, {"email": "a@b.example"}, {}, "InvalidConfiguration", "lacks the key 'token'"),
    ("dsn", {}, CREDENTIALS, {"FORGE_STORE_DSN_FILE": "/nowhere"}, "InvalidConfiguration", "FORGE_STORE_DSN_FILE"),
    ("source", {}, CREDENTIALS, {"FORGE_SOURCE": "{}"}, "InvalidConfiguration", "FORGE_SOURCE"),
]


@pytest.mark.parametrize(("what", "spec", "credentials", "env", "reason", "text"), WRONG, ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_told(
    forge: Any,
    scripted: Any,
    what: str,
    spec: dict[str, Any],
    credentials: dict[str, str],
    env: dict[str, str],
    reason: str,
    text: str,
) -> None:
    scripted.script = Site({1: NOW})
    failed = load(forge, jira(scripted.url, f"wrong-{what}", **spec), credentials, **env)
    assert (failed.code, failed.reason) == (1, reason), failed.stdout + failed.stderr
    assert re.search(text, failed.summary["error"]["message"])
    assert_no_secret(failed)
    assert len(json.dumps(failed.summary)) < 4096


@pytest.mark.parametrize(
    ("dsn", "text"),
    [("http://forge:wr0ng@{}", "refuses user 'forge'"), ("http://forge:wr0ng@127.0.0.1:1", "does not answer")],
)
def test_a_store_that_refuses_is_told(
    forge: Any, scripted: Any, store_server: Any, tmp_path: Any, dsn: str, text: str
) -> None:
    scripted.script = Site({1: NOW})
    file = tmp_path / "dsn"
    file.write_text(dsn.format(f"127.0.0.1:{store_server.port}"))
    failed = load(forge, jira(scripted.url, "no-store"), FORGE_STORE_DSN_FILE=str(file))
    assert (failed.code, failed.reason) == (1, "StoreUnavailable"), failed.stdout + failed.stderr
    assert text in failed.summary["error"]["message"] and "wr0ng" not in failed.stdout + failed.stderr
    assert scripted.calls == [], "the source is not asked in vain"


def test_a_store_that_pauses_is_waited_for(fresh_forge: Any, scripted: Any) -> None:
    forge, store = fresh_forge
    site = Site({n: NOW - timedelta(days=90) + timedelta(hours=n) for n in range(300)})
    scripted.script = site
    source = jira(scripted.url, "jira-g")
    process = start(forge, source)
    while site.pages < 1:
        time.sleep(0.02)
    store.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    store.process.send_signal(signal.SIGCONT)
    assert forge.finish(source, process).code == 0
    assert loaded_issues(forge, "jira_g") == site.updates


def test_an_unknown_source_is_refused_by_the_command_line(forge: Any) -> None:
    process: subprocess.Popen[str] = forge.start({"name": "x"}, {})
    loaded = forge.finish({"name": "x"}, process)
    assert (loaded.code, loaded.reason) == (1, "InvalidConfiguration")
