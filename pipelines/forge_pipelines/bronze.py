"""What a load asks the store of its own tables: are they of the right types, and which rows are there already."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa  # type: ignore[import-untyped]
from clickhouse_connect.driver import exceptions as driver
from forge_stack.wire import StoreDsn, bronze_prefix

from forge_pipelines.destination import BRONZE, FIRST_ATTEMPTS, SEPARATOR, UNDEFINED_RELATION, patiently, store_client
from forge_pipelines.problems import LoadError
from forge_pipelines.tables import Table

log = logging.getLogger("forge_pipelines")

UNKNOWN_IDENTIFIER = 47

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

    def check(self, tables: Iterable[Table]) -> None:
        """Ask the store first of all, so that nothing is fetched in vain, and refuse tables of other types.

        Raises LoadError (SchemaViolation) for a column whose type differs, driver.Error when the store does not answer.
        """
        by_name = {self.name(table): table for table in tables}
        names = ", ".join(f"'{name.removeprefix(BRONZE + '.')}'" for name in by_name)
        sql = (
            "select concat(database, '.', table), name, type, is_in_sorting_key from system.columns "  # noqa: S608
            f"where database = '{BRONZE}' and table in ({names})"
        )
        rows = patiently(lambda: store_client(self.dsn).query(sql), FIRST_ATTEMPTS).result_rows
        stored: dict[str, dict[str, tuple[str, bool]]] = {}
        for table, column, kind, in_key in rows:
            stored.setdefault(table, {})[column] = (kind, bool(in_key))
        for name, columns in stored.items():
            if found := difference(by_name[name], columns):
                raise LoadError(
                    "SchemaViolation",
                    f"{name}: {found}; bronze never changes in place: rename or drop the tables "
                    f"{BRONZE}.{bronze_prefix(self.source)}{SEPARATOR}*, then load again (it reads everything anew)",
                )


def difference(table: Table, stored: Mapping[str, tuple[str, bool]]) -> str | None:
    """What makes a stored table (type and whether it is in the key, a column) another than ours; None if nothing.

    Columns that it lacks are no difference, they come with the load; further columns of others are none either.
    """
    for field in table.schema:
        if field.name not in stored or field.type not in TYPES:
            continue
        kind, ours = stored[field.name][0], TYPES[field.type]
        ours = f"Nullable({ours})" if field.nullable else ours
        if kind not in (ours, f"LowCardinality({ours})"):
            return f"column {field.name} is {kind}, but this release writes {ours}"
    key = {name for name, (_, in_key) in stored.items() if in_key}
    if key and key != set(table.key):
        return f"its key is ({', '.join(sorted(key))}), but this release's is ({', '.join(table.key)})"
    return None
