"""`forge-load` as a process: into a real store, killed, stopped, beside others, and when something is wrong."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
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


INVENTED = """
import json, sys, threading
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from forge_pipelines import load, sources
from forge_pipelines.sources import Credentials, Page, prometheus
from forge_pipelines.tables import *
from forge_stack.model import Source
from forge_stack.wire import StoreDsn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
dsn, folder, name = StoreDsn.parse(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
folder.mkdir(exist_ok=True)
source = Source.model_validate({"name": name, "prometheus": {"url": "http://x"}})
loads = 0

def run(table, pages, window=None):
    global loads
    module = type("Module", (), {"TABLES": (table,), "connect": prometheus.connect, "pages": lambda *a: pages(a[-1])})
    sources.module = lambda kind: module
    loads += 1
    work = folder / name / str(loads)
    work.mkdir(parents=True)
    load.configure_dlt(work)
    done = load.run(load.LoadRequest(source, dsn, Credentials(name, {}), work, window), threading.Event())
    print(done.model_dump_json(), flush=True)
    return done

def table_of(*extra):
    return Table("things", pa.schema([required("id", TEXT), required("at", MOMENT), *extra]), ("id",), "at")

"""


def invented(forge: Any, folder: Path, name: str, program: str) -> list[dict[str, Any]]:
    """Loads of a source that only a test knows, in a process of their own; the summaries of the loads."""
    command = [sys.executable, "-c", INVENTED + program, forge.dsn, str(folder), name]
    done = subprocess.run(command, env=forge.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


EVOLVING = """
for day, (extra, row) in enumerate((
    ([optional("a", INTEGER)], {"id": "1", "a": 1}),
    ([optional("a", INTEGER), optional("b", TEXT)], {"id": "2", "a": 1, "b": "new"}),
    ([optional("a", TEXT)], {"id": "3", "a": "text"}),
)):
    table = table_of(*extra)
    at = datetime(2026, 1, day + 1, tzinfo=UTC)
    run(table, lambda scope: iter([Page({"things": table.page([{"at": NOW, **row}])}, {}, at, NOW)]))
"""


def test_columns_may_come_but_types_never_change(forge: Any, tmp_path: Path) -> None:
    first, second, third = invented(forge, tmp_path, "evolving", EVOLVING)
    assert first["outcome"] == second["outcome"] == "succeeded"
    assert forge.rows("select id, a, b from bronze.evolving_things order by id") == [("1", 1, None), ("2", 1, "new")]
    assert (third["outcome"], third["error"]["reason"]) == ("failed", "SchemaViolation")
    message = third["error"]["message"]
    assert "bronze.evolving_things: column a is Nullable(Int64), but this release writes Nullable(String)" in message
    assert "rename or drop the tables bronze.evolving_*" in message


def test_a_table_of_the_users_own_is_refused_before_the_source_is_asked(forge: Any, tmp_path: Path) -> None:
    forge.store.command("create database if not exists bronze")
    forge.store.command("create table bronze.mine_things (id String, at DateTime) engine = MergeTree order by id")
    forge.store.command(
        "create table bronze.other_things (id LowCardinality(String), at DateTime64(6, 'UTC')) "
        "engine = ReplacingMergeTree(at) order by at"
    )
    program = "run(table_of(), lambda scope: exit('asked'))"
    (done,) = invented(forge, tmp_path, "mine", program)
    assert "bronze.mine_things: column at is DateTime, but this release writes" in done["error"]["message"]
    (done,) = invented(forge, tmp_path, "other", program)
    assert "bronze.other_things: its key is (at), but this release's is (id)" in done["error"]["message"]


STORED = """
table = table_of(optional("day", DAY), optional("cost", MONEY), optional("flag", FLAG), optional("size", NUMBER))
rows = [
    {"id": "a", "day": NOW.date(), "cost": money("0.1"), "flag": True, "size": 1.5},
    {"id": "b"},
    {"id": "c", "flag": False},
]

def first(scope):
    assert scope.stored(table, ["id", "day"]).num_rows == 0
    yield Page({"things": table.page({"at": NOW, **row} for row in rows)}, {})

def second(scope):
    found = scope.stored(table, ["id", "at", "day", "cost", "flag", "size"], "id < 'c'")
    assert found.schema == pa.schema([table.schema.field(name) for name in found.schema.names]), found.schema
    found = sorted(found.to_pylist(), key=lambda row: row["id"])
    assert found == table.page({"at": NOW, **row} for row in rows[:2]).to_pylist()
    later = datetime(2026, 1, 2, tzinfo=UTC)
    yield Page({"things": table.page([{"id": "c", "at": later, "flag": True}])}, {})
    assert later not in scope.stored(table, ["at"]).column("at").to_pylist(), "not stored until the slice is"

def third(scope):
    assert scope.stored(table, ["id"], "flag").num_rows == 2, "FINAL: the newest version of c"
    newer = table_of(optional("more", TEXT))
    assert scope.stored(newer, ["id", "more"]).num_rows == 0, "a column that this table does not have yet"
    yield Page({}, {})

for pages in (first, second, third):
    assert run(table, pages).outcome == "succeeded"
"""


def test_a_source_may_read_what_bronze_holds_of_it(fresh_forge: Any, tmp_path: Path) -> None:
    forge, _ = fresh_forge
    assert len(invented(forge, tmp_path, "reading", STORED)) == 3


MISFITS = """
table = table_of(optional("size", INTEGER))
answers = [{"id": "a", "size": 1}, {"id": "b", "size": "big"}, {"id": "c", "size": "huge"}, {"size": 4}, {"id": "d"}]

def pages(scope):
    to_row = lambda answer: {"id": answer["id"], "at": NOW, "size": answer.get("size")}
    yield Page({"things": scope.page(table, answers, to_row)}, {"n": 1}, NOW, NOW)
    scope.page(table, ["no object"], to_row)

run(table, pages)
run(table, pages)
"""


def test_answers_that_do_not_fit_are_set_aside_whole_and_told(forge: Any, tmp_path: Path) -> None:
    first, second = invented(forge, tmp_path, "mis-fits", MISFITS)
    for done in (first, second):
        assert (done["outcome"], done["rows"], done["rejected_rows"]) == ("succeeded", {"things": 2}, 4)
        assert len(done["warnings"]) == 2
        unreadable, size = sorted(done["warnings"])
        assert size.startswith(
            "2 rows of things were set aside in bronze.mis_fits_rejected_rows: column size must be int64, but is 'big'"
        )
        assert unreadable.startswith("2 rows of things") and "KeyError: 'id'" in unreadable
    kept = forge.rows("select payload, column_name, entity from bronze.mis_fits_rejected_rows final order by payload")
    assert kept == [
        ('"no object"', "", "things"),
        ('{"id":"b","size":"big"}', "size", "things"),
        ('{"id":"c","size":"huge"}', "size", "things"),
        ('{"size":4}', "", "things"),
    ]
    loads = "select count() from bronze.mis_fits_rejected_rows where _dlt_load_id in "
    assert forge.rows(loads + "(select load_id from bronze.mis_fits__dlt_loads where status = 0)")[0][0] >= 4


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


BACKFILL = """
import os, time
load.SLICE_ROWS = 10
table = table_of()
seen = folder / "seen"

def pages(scope):
    assert scope.window, "a backfill"
    for n in range(scope.state.get("n", 0), 12):
        with seen.open("a") as file:
            print(n, file=file)
        if n == 7 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), 9)
        at = datetime(2026, 1, 1 + n, tzinfo=UTC)
        rows = [{"id": f"{scope.window[0].year}-{n}-{m}", "at": at} for m in range(5)]
        yield Page({"things": table.page(rows)}, {"n": n + 1}, at, at)

def ordinary(scope):
    assert scope.window is None
    yield Page({"things": table.page([{"id": "x", "at": NOW}])}, {"mine": scope.state.get("mine", 0) + 1}, NOW, NOW)

window = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
"""


def test_a_backfill_that_was_killed_goes_on_where_it_was(forge: Any, tmp_path: Path) -> None:
    invented(forge, tmp_path / "0", "filling", BACKFILL + "run(table, ordinary)")
    command = [sys.executable, "-c", INVENTED + BACKFILL + "run(table, pages, window)", forge.dsn]
    killed = subprocess.run([*command, str(tmp_path / "a"), "filling"], env=forge.env, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    stored = forge.rows("select count() from bronze.filling_things final where id like '2025-%'")[0][0]
    assert stored == 30, "of eight pages, the slices of the first six were committed"
    # An ordinary load in between knows nothing of it, and sets nothing back.
    invented(forge, tmp_path / "1", "filling", BACKFILL + "run(table, ordinary)")
    (done,) = invented(forge, tmp_path / "a", "filling", BACKFILL + "loads = 9\nrun(table, pages, window)")
    assert (done["outcome"], done["rows"]) == ("succeeded", {"things": 30})
    seen = [int(line) for line in (tmp_path / "a" / "seen").read_text().split()]
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10, 11], "what was committed is not fetched again"
    assert forge.rows("select count() from bronze.filling_things final where id like '2025-%'") == [(60,)]
    # Asked for once more it is read once more; another window begins at its own beginning.
    other = "run(table, pages, window)\nrun(table, pages, (NOW, datetime(2026, 2, 1, tzinfo=UTC)))\n"
    again, second = invented(forge, tmp_path / "a", "filling", BACKFILL + "loads = 19\n" + other)
    assert again["rows"] == second["rows"] == {"things": 60}
    assert forge.rows("select count() from bronze.filling_things final") == [(121,)]
    (last,) = invented(forge, tmp_path / "2", "filling", BACKFILL + CHECK)
    assert last["outcome"] == "succeeded", last


STATES = """
from forge_pipelines import bronze
bronze.STATES, bronze.STATES_KEPT = 5, 2
for n in range(8):
    run(table_of(), lambda scope: iter([Page({}, {"n": scope.state.get("n", 0) + 1}, NOW, NOW)]))
"""


TOLD = """
def pages(scope):
    scope.warn(str(scope.state["n"]))
    yield Page({}, {"n": scope.state["n"]}, NOW, NOW)

run(table_of(), pages)
"""


def test_old_states_go_and_the_newest_stays(forge: Any, tmp_path: Path) -> None:
    assert [done["outcome"] for done in invented(forge, tmp_path, "states", STATES)] == ["succeeded"] * 8
    assert forge.rows("select count() from bronze.states__dlt_pipeline_state") == [(4,)]
    (done,) = invented(forge, tmp_path / "more", "states", TOLD)
    assert done["warnings"] == ["8"]


ORPHANS = """
import os
table = table_of(optional("text", TEXT))
days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 9)]

def pages(rows):
    page = table.page({"id": id_, "at": at, "text": text} for id_, at, text in rows)
    return lambda scope: iter([Page({"things": page}, {"n": 1}, NOW, NOW)])

def killed_before_the_commit():
    from forge_pipelines.destination import HttpJobClient
    HttpJobClient.complete_load = lambda *_: os.kill(os.getpid(), 9)
"""


def test_a_load_that_did_not_end_hides_no_older_rows_for_ever(forge: Any, tmp_path: Path) -> None:
    committed = "_dlt_load_id in (select load_id from bronze.orphans__dlt_loads where status = 0)"
    silver = f"select id, text from bronze.orphans_things final prewhere {committed} order by id"

    def program(step: str) -> list[str]:
        return [sys.executable, "-c", INVENTED + ORPHANS + step, forge.dsn, str(tmp_path / str(len(step))), "orphans"]

    first = "run(table, pages([('a', days[0], 'old'), ('b', days[0], 'old'), ('c', days[0], 'old')]))"
    subprocess.run(program(first), env=forge.env, check=True, timeout=60, capture_output=True)
    # A backfill that is killed: 'a' as it was, 'b' newer, 'd' for the first time.
    rows = "[('a', days[0], 'old'), ('b', days[1], 'left'), ('c', days[1], 'left'), ('d', days[1], 'left')]"
    step = f"killed_before_the_commit()\nrun(table, pages({rows}), (days[0], days[1]))"
    killed = subprocess.run(program(step), env=forge.env, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert forge.rows(silver) == [("a", "old"), ("b", "old"), ("c", "old")], "what is not committed is not seen"
    forge.store.command("optimize table bronze.orphans_things final")
    assert forge.rows(silver) == [], "a merge has taken the older rows away"
    # The next load reads 'c' alone, which is newer than what was left or as old but read later.
    step = "run(table, pages([('c', days[1], 'new')]))"
    subprocess.run(program(step), env=forge.env, check=True, timeout=60, capture_output=True)
    whole = [("a", "old"), ("b", "left"), ("c", "new"), ("d", "left")]
    assert forge.rows(silver) == whole
    forge.store.command("optimize table bronze.orphans_things final")
    assert forge.rows(silver) == whole
    assert forge.rows("select count(), uniqExact(_dlt_load_id) from bronze.orphans_things final") == [(4, 1)]


CHECK = """
def check(scope):
    if scope.state != {"mine": 2}:
        raise LoadError("Internal", str(scope.state))
    yield Page({}, scope.state, NOW, NOW)

run(table, check)
"""


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
