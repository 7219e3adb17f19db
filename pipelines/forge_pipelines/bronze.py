"""What a load asks the store of its own tables: are they of the right types, and which rows are there already."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
from clickhouse_connect.driver import exceptions as driver
from forge_stack.wire import StoreDsn, bronze_prefix

from forge_pipelines.destination import BRONZE, FIRST_ATTEMPTS, SEPARATOR, UNDEFINED_RELATION, patiently, store_client
from forge_pipelines.problems import LoadError
from forge_pipelines.tables import LOAD_RUNS, Table

log = logging.getLogger("forge_pipelines")

STATES, STATES_KEPT = 1_000, 100
"""How many states of committed loads there may be before old ones go, and how many stay then."""
UNKNOWN_IDENTIFIER = 47
NO_SUCH_COLUMN = (8, 16)
"""THERE_IS_NO_COLUMN and NO_SUCH_COLUMN_IN_TABLE."""

TYPES: Mapping[pa.DataType, str] = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.int32(): "Int32",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.date32(): "Date",
    pa.decimal128(38, 12): "Decimal(38, 12)",
    pa.timestamp("us", tz="UTC"): "DateTime64(6, 'UTC')",
}
"""Arrow's types as the destination stores them."""


Columns = dict[str, tuple[str, bool]]
"""Of a stored table: the type of each column, and whether it is in the key."""


def kind(field: pa.Field) -> str:
    """The type of a column in the store."""
    return f"Nullable({TYPES[field.type]})" if field.nullable else TYPES[field.type]


@dataclass(frozen=True)
class Bronze:
    """The tables of one source in the store."""

    dsn: StoreDsn
    source: str

    def name(self, table: Table) -> str:
        """The full name of a table, for people and for SQL: a source's name holds no letter that needs quotes."""
        return f"{BRONZE}.{bronze_prefix(self.source)}{SEPARATOR}{table.name}"

    def stored(self, table: Table, columns: Sequence[str], where: str = "") -> pa.Table:
        """Columns of the rows that meet an SQL condition, read with FINAL; empty when the table is not there yet.

        A table of an older release that lacks one of the columns counts as not there: it gains them by this load.
        Rows of loads that did not end are among them: they are what the source said.
        """
        wanted = pa.schema([table.schema.field(name) for name in columns])
        sql = f"select {', '.join(columns)} from {self.name(table)} final"  # noqa: S608 - names of our own
        if where:
            sql += f" where {where}"
        try:
            found = patiently(lambda: store_client(self.dsn).query_arrow(sql, use_strings=True))
        except driver.Error as error:
            if error.code == UNKNOWN_IDENTIFIER:
                log.warning(f"{self.name(table)} is of an older release ({str(error)[:200]}): read as if it were empty")
            if error.code in UNDEFINED_RELATION or error.code == UNKNOWN_IDENTIFIER:
                return wanted.empty_table()
            raise
        return found.cast(pa.schema([field.with_nullable(True) for field in wanted])).cast(wanted)

    def record(self, row: Mapping[str, Any]) -> None:
        """Write a row of LOAD_RUNS: one insert, and the table before it when it is not there or of an older release.

        Raises driver.Error.
        """
        client, name, page = store_client(self.dsn), self.name(LOAD_RUNS), LOAD_RUNS.page([row])
        database, _, table = name.partition(".")
        try:
            patiently(lambda: client.insert_arrow(table, page, database=database), FIRST_ATTEMPTS)
        except driver.Error as error:
            if error.code not in (*UNDEFINED_RELATION, *NO_SUCH_COLUMN):
                raise
            columns = [f"{field.name} {kind(field)}" for field in LOAD_RUNS.schema]
            client.command(f"create database if not exists {BRONZE}")
            client.command(
                f"create table if not exists {name} ({', '.join(columns)}) "
                f"engine = ReplacingMergeTree({LOAD_RUNS.version}) order by ({', '.join(LOAD_RUNS.key)})"
            )
            client.command(f"alter table {name} {', '.join(f'add column if not exists {c}' for c in columns)}")
            patiently(lambda: client.insert_arrow(table, page, database=database), FIRST_ATTEMPTS)

    def forget_states(self, pipeline: str) -> None:
        """Delete old states of the loads: every load writes one, and all are read to find the newest.

        Raises driver.Error.
        """
        states, loads = (
            f"{BRONZE}.{bronze_prefix(self.source)}{SEPARATOR}_dlt_{n}" for n in ("pipeline_state", "loads")
        )
        mine = f"pipeline_name = '{pipeline}'"
        oldest = store_client(self.dsn).command(
            f"select if(count() > {STATES}, arrayReverseSort(groupArray(_dlt_load_id))[{STATES_KEPT}], '') "  # noqa: S608
            f"from {states} where {mine} and _dlt_load_id in (select load_id from {loads} where status = 0)"
        )
        if oldest:
            store_client(self.dsn).command(f"delete from {states} where {mine} and _dlt_load_id < '{oldest}'")  # noqa: S608

    def columns(self, tables: Iterable[Table]) -> dict[str, Columns]:
        """The columns of those of the tables that are there: the first question of a load. Raises driver.Error."""
        names = ", ".join(f"'{self.name(table).removeprefix(BRONZE + '.')}'" for table in tables)
        sql = (
            "select concat(database, '.', table), name, type, is_in_sorting_key from system.columns "  # noqa: S608
            f"where database = '{BRONZE}' and table in ({names})"
        )
        stored: dict[str, Columns] = {}
        rows = patiently(lambda: store_client(self.dsn).query(sql), FIRST_ATTEMPTS).result_rows
        for table, column, type_, in_key in rows:
            stored.setdefault(table, {})[column] = (type_, bool(in_key))
        return stored

    def refuse_others(self, tables: Iterable[Table], stored: Mapping[str, Columns]) -> None:
        """Refuse tables that would change or lose what is loaded into them. Raises LoadError (SchemaViolation)."""
        for table in tables:
            name = self.name(table)
            if found := difference(table, stored.get(name, {})):
                raise LoadError(
                    "SchemaViolation",
                    f"{name}: {found}; bronze never changes in place: rename or drop the tables "
                    f"{BRONZE}.{bronze_prefix(self.source)}{SEPARATOR}*, then load again (it reads everything anew)",
                )


def difference(table: Table, stored: Columns) -> str | None:
    """What makes a stored table another than ours; None if nothing does.

    Columns that it lacks are no difference, they come with the load; further columns of others are none either.
    """
    for field in table.schema:
        if field.name not in stored or field.type not in TYPES:
            continue
        found, ours = stored[field.name][0], kind(field)
        if found not in (ours, f"LowCardinality({ours})"):
            return f"column {field.name} is {found}, but this release writes {ours}"
    key = {name for name, (_, in_key) in stored.items() if in_key}
    if key and key != set(table.key):
        return f"its key is ({', '.join(sorted(key))}), but this release's is ({', '.join(table.key)})"
    return None
