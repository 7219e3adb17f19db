"""Three stores with the same gold rows: ClickHouse's interface through two dialects, and PostgreSQL.

The rows are made here, in Python, so that each test can compute its own expectation from them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from forge_api.listings import ENTITIES, PATHS, SERIES, TIMELINE
from forge_api.repository import Gold
from forge_api.store import Store
from forge_api.tables import CONTRACT, metadata
from sqlalchemy import Column, Table, create_engine, make_url, text

from tests.conftest import StoreServer, start_store, stop_store

Row = dict[str, Any]
BACKENDS = ("clickhousedb", "clickhouse+http", "postgresql")

BEGIN = datetime(2026, 9, 1, tzinfo=UTC)
MONDAY = date(2026, 8, 31)
ODD_SUMMARIES = ['it\'s 100% "done"', "back\\slash \\' and %s {x}", "two\nlines\tand a tab", "Größe ändern ☃", ""]


def make_rows(count: int = 60, seed: int = 7) -> dict[str, list[Row]]:
    """Gold rows with ties, nulls, microseconds, twelve decimals and odd text."""
    rng = random.Random(seed)
    tickets = [_ticket(rng, number) for number in range(count)]
    costs = [
        {
            "ticket_key": key,
            "stage": stage,
            "model": model,
            "traces": 1,
            "llm_calls": rng.randint(1, 9),
            "input_tokens": rng.randint(100, 10_000),
            "output_tokens": rng.randint(10, 1000),
            "total_tokens": rng.randint(10_000, 20_000),
            "cost_usd": Decimal(rng.randint(1, 10**13)).scaleb(-12),
            "link_method": "metadata" if key else "",
        }
        for key in ["", *(t["ticket_key"] for t in tickets if t["traces"])]
        for stage, model in rng.sample([(s, m) for s in ("plan", "implement", "") for m in ("opus", "haiku")], 3)
    ]
    for ticket in tickets:
        if ticket["traces"]:
            ticket["cost_usd"] = sum(
                (c["cost_usd"] for c in costs if c["ticket_key"] == ticket["ticket_key"]), Decimal()
            )
    hours = [
        {
            "hour": BEGIN + timedelta(hours=hour),
            "query": query,
            "metric": f"forge_{query}",
            "series": 2,
            "samples": 120,
            "average": rng.random(),
            "minimum": 0.0,
            "maximum": 1.5,
        }
        for hour in range(20)
        for query in ("queue_depth", "errors")
    ]
    moment = datetime(2026, 11, 1, 10, 0, 0, 123456, UTC)
    sources = [
        ("jira", "jira", True, 60, moment, 3, moment + timedelta(minutes=5)),
        ("langfuse", "langfuse", True, 400, moment, 2, moment),
        ("metrics", "prometheus", False, 0, None, 0, None),
    ]
    names = ("source", "type", "available", "rows", "newest_event_at", "loads", "last_load_at")
    coverage = [dict(zip(names, values, strict=True)) for values in sources]
    made = {"tickets": tickets, "ticket_costs": costs, "platform_hourly": hours, "coverage": coverage}
    made["metrics"] = [
        _any_row(rng, metadata.tables["gold.metrics"], number)
        | {"metric": f"m{number}", "model": name, "drill_down": "tickets"}
        | {"missing_sources": ["langfuse", "jira"] if name == "quality_metrics" else []}
        for number, name in enumerate(PATHS)
    ]
    for table in metadata.sorted_tables:
        if table.name not in made:
            made[table.name] = _rows(rng, table, [t["ticket_key"] for t in tickets[:3]])
    return made


CHOICES: dict[str, list[Any]] = {
    "period": ["day", "week"],
    "scope": ["all", "team"],
    "scope_value": ["", "core", "web"],
    "ticket_outcome": ["done", "open", "unattributed"],
    "ref": ["https://github.example/acme/web/pull/1", "trace-1"],
    "rejection_reasons": [[], ["Too broad"], ["Too broad", 'it\'s "odd", [really]']],
}


def _rows(rng: random.Random, table: Table, ticket_keys: list[str]) -> list[Row]:
    """Rows of any table, alike in no key of a list."""
    listing = next((each for each in (*SERIES, *ENTITIES, TIMELINE) if each.table is table), None)
    names = [name.removeprefix("-") for name in listing.order] if listing else [column.name for column in table.columns]
    names += ["ticket_key"] if listing is TIMELINE else [name for name in ("period", "scope") if name in table.c]
    found: dict[tuple[Any, ...], Row] = {}
    for number in range(160):
        row = _any_row(rng, table, number)
        if table.name == "ticket_timeline":
            row["ticket_key"] = rng.choice(ticket_keys)
        found[tuple(row[name] for name in names)] = row
    return list(found.values())


def _any_row(rng: random.Random, table: Table, number: int) -> Row:
    return {column.name: _any_value(rng, column, number) for column in table.columns}


def _any_value(rng: random.Random, column: Column[Any], number: int) -> Any:
    if column.name in CHOICES:
        return rng.choice(CHOICES[column.name])
    if column.nullable and rng.random() < 0.2:
        return None
    kind = column.type.python_type
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return number if column.name == "sequence" else rng.randint(0, 50)
    if kind is float:
        return rng.choice([0.0, 0.5, rng.random() * 1e5])
    if kind is Decimal:
        return Decimal(rng.randint(0, 10**13)).scaleb(-12)
    if kind is date:
        return MONDAY + timedelta(days=7 * rng.randint(0, 9))
    if kind is datetime:
        return BEGIN + timedelta(seconds=rng.randint(0, 10**6), microseconds=rng.choice([0, 1]))
    if kind is list:
        return rng.choice([[], ["one"], ["one", "zwei ☃"]])
    return rng.choice(["", "one", "two ☃", "it's"])


def _ticket(rng: random.Random, number: int) -> Row:
    created = BEGIN + timedelta(days=rng.randint(0, 20), microseconds=rng.choice([0, 1, 999_999]))
    lead = rng.choice([None, 3600.0, 3600.0, 86400.5, rng.random() * 1e6])
    in_jira = rng.random() > 0.1
    pulls = rng.choice([None, 0, 0, 1, 2])
    traces = rng.choice([None, 0, 1, 3])
    return {
        "ticket_key": f"{rng.choice(['PAY', 'web', 'Ops'])}-{number}",
        "project_key": rng.choice(["PAY", "web", "Ops"]) if in_jira else None,
        "summary": rng.choice([None, "Refund twice", *ODD_SUMMARIES]) if in_jira else None,
        "issue_type": rng.choice(["Bug", "Story"]) if in_jira else None,
        "status": "Done" if lead else "In Progress",
        "status_category": "done" if lead else "indeterminate",
        "assignee_name": rng.choice([None, "Ada O'Hara", "Bo"]),
        "created_at": created if in_jira else None,
        "started_at": created + timedelta(hours=1) if lead else None,
        "resolved_at": created + timedelta(seconds=lead) if lead else None,
        "lead_time_seconds": lead,
        "cycle_time_seconds": lead - 3600 if lead else None,
        "pull_requests": pulls,
        "merged_pull_requests": pulls,
        "first_commit_at": None,
        "first_merged_at": None,
        "reviews": pulls,
        "changes_requested": 0 if pulls else pulls,
        "traces": traces,
        "llm_calls": traces,
        "input_tokens": traces,
        "output_tokens": traces,
        "cost_usd": None if traces is None else Decimal(),
        "is_done": bool(lead) if in_jira else None,
        "in_jira": in_jira,
    }


@dataclass(frozen=True)
class Backend:
    """One way to reach one store that holds the rows."""

    name: str
    dsn: str
    writer_dsn: str
    gold: Gold


def fill_clickhouse(dsn: str, rows: dict[str, list[Row]]) -> None:
    """Creates the gold tables in the store and inserts the rows."""
    url = make_url(dsn)
    client = clickhouse_connect.get_client(
        host=url.host, port=url.port, username=url.username, password=url.password, autogenerate_session_id=False
    )
    client.command("create database if not exists gold")
    for table in rows:
        kinds = {name: said for name, (said, _) in CONTRACT[table]["columns"].items()}
        columns = ", ".join(
            f"{column.name} {kinds[column.name]}" for column in metadata.tables[f"gold.{table}"].columns
        )
        client.command(f"create or replace table gold.{table} ({columns}) engine = MergeTree order by tuple()")
        if rows[table]:
            names = list(rows[table][0])
            client.insert(f"gold.{table}", [[row[name] for name in names] for row in rows[table]], names)
    client.close()


def fill_postgres(url: str, rows: dict[str, list[Row]]) -> None:
    """The same in PostgreSQL, from the API's own table metadata."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("drop schema if exists gold cascade"))
        connection.execute(text("create schema gold"))
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            if rows[table.name]:
                connection.execute(table.insert(), rows[table.name])
    engine.dispose()


@pytest.fixture(scope="session")
def rows() -> dict[str, list[Row]]:
    return make_rows()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL of this run alone, on a Unix socket; installed from Debian when it is missing."""
    programs = _postgres_programs()
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="forge-pg-"))
    if account:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    common: dict[str, Any] = {**account, "cwd": folder}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
        check=True, stdout=subprocess.DEVNULL, **common,
    )  # fmt: skip
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
        stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"), **common,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([programs / "pg_isready", "-q", "-h", folder], **common).returncode != 0:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
            time.sleep(0.1)
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: clients that are still connected are cut off
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def refill(backend: Backend, rows: dict[str, list[Row]]) -> None:
    """Replaces the rows in this backend's store; a test that does so puts the old ones back."""
    (fill_postgres if backend.name == "postgresql" else fill_clickhouse)(backend.writer_dsn, rows)


def _postgres_programs() -> Path:
    for install in (False, True):
        if install and not _install_postgres():
            break
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if found:
            return found[-1].parent
    pytest.skip("PostgreSQL is not installed, and only root on Debian can install it here")


def _install_postgres() -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"]
    subprocess.run(install, check=True, env=environment)
    return True


@pytest.fixture(scope="session")
def postgres(postgres_url: str, rows: dict[str, list[Row]]) -> str:
    fill_postgres(postgres_url, rows)
    return postgres_url


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[Row]]) -> Iterator[StoreServer]:
    """A store of these tests alone: the database is named gold, whoever else builds one."""
    server = start_store(tmp_path_factory.mktemp("api-store"))
    fill_clickhouse(server.dsn, rows)
    yield server
    stop_store(server)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn."""
    yield from _backend(request.param, request)


@pytest.fixture(scope="session")
def backends(request: pytest.FixtureRequest) -> Iterator[list[Backend]]:
    """All of them at once."""
    made = [_backend(name, request) for name in BACKENDS]
    yield [next(each) for each in made]
    for each in made:
        next(each, None)


def _backend(name: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    if name == "postgresql":
        dsn = writer_dsn = request.getfixturevalue("postgres")
    else:
        server: StoreServer = request.getfixturevalue("store")
        dsn = make_url(server.reader_dsn).set(drivername=name).render_as_string(hide_password=False)
        writer_dsn = server.dsn
    store = Store(lambda: dsn)
    yield Backend(name, dsn, writer_dsn, Gold(store))
    store.close()
