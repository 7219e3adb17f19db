"""Rows of loads that did not end: the next load that ends takes them over.

A load that is killed between its inserts and its commit leaves rows that silver must not read, yet the engine replaces
older, committed rows by them when it merges parts: a key would be gone until its thing is read again, or for ever when
the rows are those of a backfill that nobody repeats. So a load is written down before its first insert, and one that
ends makes its own the rows which others left and which nothing newer hides: each is the whole of its thing, and what
the source said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

OPEN_LOADS = "_dlt_open_loads"
"""Beside dlt's own tables, by their manner of naming."""
IN_FLIGHT = "interval 1 hour"
"""A load that was begun within it may still be at work: its rows are taken over, but looked for again."""


@dataclass(frozen=True)
class OpenLoads:
    """The loads of one source that were begun."""

    client: SqlClientBase[object]
    loads: str
    """The full name of dlt's table of committed loads."""

    @property
    def name(self) -> str:
        """The full name of the table."""
        return self.client.make_qualified_table_name(OPEN_LOADS)

    def begin(self, load_id: str) -> None:
        """Write down that rows of a load are going to be inserted."""
        insert = f"insert into {self.name} (load_id, begun_at, settled) values ('{load_id}', now64(6, 'UTC'), 0)"  # noqa: S608
        try:
            self.client.execute_sql(insert)
        except DatabaseUndefinedRelation:
            self.client.execute_sql(
                f"create table if not exists {self.name} "
                "(load_id String, begun_at DateTime64(6, 'UTC'), settled UInt8) engine = ReplacingMergeTree(settled) "
                "order by load_id ttl toDateTime(begun_at) + interval 90 day"
            )
            self.client.execute_sql(insert)

    def left(self, load_id: str) -> Sequence[str]:
        """Other loads that were begun and not committed."""
        try:
            rows = self.client.execute_sql(
                f"select load_id from {self.name} final where settled = 0 and load_id != '{load_id}' "  # noqa: S608
                f"and load_id not in (select load_id from {self.loads} where status = 0)"
            )
        except DatabaseUndefinedRelation:
            return []
        return [str(row[0]) for row in rows or []]

    def take_over(self, left: Sequence[str], load_id: str, keys: Mapping[str, Sequence[str]]) -> None:
        """Give the rows of loads that did not end to this one, table by table; `keys` are the tables' key columns."""
        theirs = f"_dlt_load_id in ({', '.join(repr(one) for one in left)})"
        for table, key in keys.items():
            name, columns = self.client.make_qualified_table_name(table), ", ".join(key)
            # The keys first: FINAL then reads what their index finds, and not the whole table.
            found = f"select {columns} from {name} where {theirs}"  # noqa: S608
            rows = f"select * from {name} final where ({columns}) in ({found}) and {theirs}"  # noqa: S608
            self.client.execute_sql(
                f"insert into {name} select * replace ('{load_id}' as _dlt_load_id) from ({rows})"  # noqa: S608
            )

    def settle(self, left: Sequence[str]) -> None:
        """Look no more for the rows of loads that were taken over, once they cannot be at work any more."""
        ids = ", ".join(repr(one) for one in left)
        self.client.execute_sql(
            f"insert into {self.name} select load_id, begun_at, 1 from {self.name} final "  # noqa: S608
            f"where load_id in ({ids}) and begun_at < now() - {IN_FLIGHT}"
        )
