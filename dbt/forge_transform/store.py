"""What the program itself asks the store: is it there, what was built, how many rows gold has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from forge_stack.wire import Problem, StoreDsn

from forge_transform.cluster import SINGLE, Cluster
from forge_transform.selection import Built

DATABASES = ("bronze", "silver", "gold_next", "gold")

BATCH = "source_name String, load_id String, loaded_at DateTime64(6, 'UTC'), is_new Bool"
OWN_TABLES = {
    "transform_batch": (BATCH, "MergeTree", "", "order by (source_name, load_id)"),
    "transform_loads": (
        "source_name String, load_id String, run_id String, consumed_at DateTime64(6, 'UTC')",
        "MergeTree",
        "",
        "order by (source_name, load_id)",
    ),
    "transform_settings": (
        "settings_fingerprint String, built_at DateTime64(6, 'UTC')",
        "MergeTree",
        "",
        "order by tuple()",
    ),
    "transform_runs": (
        "run_id String, started_at DateTime64(6, 'UTC'), finished_at Nullable(DateTime64(6, 'UTC')), outcome String, "
        "reason String, selectors Array(String), full_refresh Bool, "
        "loads Array(Tuple(source_name String, load_id String)), models_ok UInt32, models_failed UInt32, "
        "models_skipped UInt32, tests_ok UInt32, tests_failed UInt32, tests_skipped UInt32, "
        '"rows" Map(String, UInt64), published Array(String), seconds Float64, peak_memory_bytes UInt64, '
        "error_reason Nullable(String), error_message Nullable(String), settings_fingerprint String, "
        "recorded_at DateTime64(6, 'UTC')",
        "ReplacingMergeTree",
        "recorded_at",
        "order by (started_at, run_id) ttl toDate(started_at) + toIntervalDay(90)",
    ),
    "transform_nodes": (
        "run_id String, recorded_at DateTime64(6, 'UTC'), unique_id String, node String, kind String, status String, "
        'seconds Float64, "rows" Nullable(UInt64), bytes Nullable(UInt64), message String, query_id String',
        "MergeTree",
        "",
        "order by (recorded_at, run_id, unique_id) ttl toDate(recorded_at) + toIntervalDay(90)",
    ),
    "transform_manifests": (
        "settings_fingerprint String, made_at DateTime64(6, 'UTC'), manifest String codec(ZSTD(6))",
        "MergeTree",
        "",
        "order by settings_fingerprint ttl toDate(made_at) + toIntervalDay(90)",
    ),
}
"""The program's own tables, in silver: columns, engine, its arguments, the rest."""


class StoreError(Exception):
    """The store cannot be used; `problem` says why and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass
class Store:
    """A connection to the store, and how tables are made in it."""

    client: Client
    cluster: Cluster = SINGLE

    def run(self, statement: str) -> None:
        """Carry out a statement that gives nothing back."""
        self.client.command(statement)

    def rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in self.client.query(query, parameters=parameters).result_rows]

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as JSON: the client's own way to insert loads pandas, which takes a second."""
        if rows:
            lines = "\n".join(json.dumps(row, default=_as_text) for row in rows)
            settings = {"date_time_input_format": "best_effort"}
            self.client.raw_insert(table, insert_block=lines.encode(), fmt="JSONEachRow", settings=settings)

    def make(self, name: str, *, as_: str = "") -> None:
        """Make one of the program's own tables under its name, or another that is like it."""
        columns, engine, arguments, rest = OWN_TABLES[as_ or name]
        self.run(
            f"create table if not exists silver.{name}{self.cluster.on} ({columns}) "
            f"engine = {self.cluster.engine(engine, arguments)} {rest}"
        )

    def drop(self, table: str) -> None:
        """Drop a table, named with its database, if it is there."""
        self.run(f"drop table if exists {table}{self.cluster.on} sync")

    def truncate(self, table: str) -> None:
        """Empty a table."""
        self.run(f"truncate table if exists {table}{self.cluster.on}")


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@contextmanager
def connect(dsn: StoreDsn, cluster: Cluster = SINGLE) -> Iterator[Store]:
    """The store. Raises StoreError when it does not answer, or refuses the user or one of the statements."""
    try:
        client = clickhouse_connect.get_client(
            host=dsn.host,
            port=dsn.port,
            username=dsn.user,
            password=dsn.password,
            secure=dsn.secure,
            connect_timeout=10,
            send_receive_timeout=1800,
            settings=cluster.settings,
            autogenerate_session_id=False,
        )
    except ClickHouseError as error:
        raise StoreError(_explain(dsn, str(error))) from None
    try:
        yield Store(client, cluster)
    except ClickHouseError as error:
        raise StoreError(
            Problem(reason="Internal", message=f"the store at {dsn.host}:{dsn.port} says: {_first_line(str(error))}")
        ) from error
    finally:
        client.close()


def _explain(dsn: StoreDsn, message: str) -> Problem:
    """Why connecting failed. 516 and 194 are ClickHouse's AUTHENTICATION_FAILED and REQUIRED_PASSWORD."""
    where = f"the store at {dsn.host}:{dsn.port}"
    if any(sign in message for sign in ("AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "Code: 516", "Code: 194", "401")):
        return Problem(
            reason="Unauthorized",
            message=f"{where} refuses user {dsn.user!r}: wrong user or password; correct the store's DSN",
        )
    return Problem(
        reason="StoreUnavailable",
        message=f"{where} does not answer: {_first_line(message)}; is it running and reachable?",
    )


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0][:300] if message.strip() else "no message"


def read_built(store: Store) -> Built:
    """What earlier transforms left."""
    found = store.rows("select database, name from system.tables where database in ('silver', 'gold_next', 'gold')")
    relations = frozenset((str(database), str(name)) for database, name in found)
    fingerprint = None
    if ("silver", "transform_settings") in relations:
        rows = store.rows("select settings_fingerprint from silver.transform_settings")
        fingerprint = str(rows[0][0]) if len(rows) == 1 else None
    return Built(relations, fingerprint)


def prepare(store: Store) -> None:
    """Make what is missing of the databases and the program's own tables; a stack without a load has no bronze yet."""
    databases = {row[0] for row in store.rows("select name from system.databases")}
    for database in DATABASES:
        if database not in databases:
            store.run(f"create database if not exists {database}{store.cluster.on}{store.cluster.database}")
    tables = {row[0] for row in store.rows("select name from system.tables where database = 'silver'")}
    for name in OWN_TABLES:
        if name not in tables:
            store.make(name)


def gold_rows(store: Store) -> dict[str, int]:
    """Rows of the gold tables."""
    found = store.rows("select name, total_rows from system.tables where database = 'gold' order by name")
    return {f"gold.{name}": int(rows) for name, rows in found if rows is not None}
