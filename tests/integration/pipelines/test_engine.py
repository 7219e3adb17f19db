"""The engine of a load with sources that a test makes up: columns, misfits, backfills, loads that did not end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    done = subprocess.run(command, env=forge.env, capture_output=True, text=True, timeout=300)
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
    killed = subprocess.run([*command, str(tmp_path / "a"), "filling"], env=forge.env, capture_output=True, timeout=300)
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
    subprocess.run(program(first), env=forge.env, check=True, timeout=300, capture_output=True)
    # A backfill that is killed: 'a' as it was, 'b' newer, 'd' for the first time.
    rows = "[('a', days[0], 'old'), ('b', days[1], 'left'), ('c', days[1], 'left'), ('d', days[1], 'left')]"
    step = f"killed_before_the_commit()\nrun(table, pages({rows}), (days[0], days[1]))"
    killed = subprocess.run(program(step), env=forge.env, timeout=300, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert forge.rows(silver) == [("a", "old"), ("b", "old"), ("c", "old")], "what is not committed is not seen"
    forge.store.command("optimize table bronze.orphans_things final")
    assert forge.rows(silver) == [], "a merge has taken the older rows away"
    # The next load reads 'c' alone, which is newer than what was left or as old but read later.
    step = "run(table, pages([('c', days[1], 'new')]))"
    subprocess.run(program(step), env=forge.env, check=True, timeout=300, capture_output=True)
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
