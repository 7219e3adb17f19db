"""How long each layer keeps its rows: a TTL on its tables, by the time of the event; the store's merges carry it out.

ClickHouse's documentation, "Manage data with TTL". Bronze's tables are known by their sources, those of silver and gold
by the models that name their event's time. A table in gold is a copy of one in gold_next, its TTL included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forge_stack.wire import TransformRequest, TransformSource

from forge_transform.store import Store

EVENT_TIMES = {
    "langfuse": {
        "traces": "timestamp",
        "observations": "start_time",
        "scores": "timestamp",
        "sessions": "created_at",
    },
    "github": {
        "pull_requests": "updated_at",
        "check_runs": "loaded_at",
        "workflow_runs": "updated_at",
        "workflow_jobs": "loaded_at",
        "deployments": "updated_at",
        "releases": "updated_at",
        "issues": "updated_at",
    },
    "jira": {"issues": "updated_at", "issue_changelogs": "created_at"},
    "prometheus": {"series": "last_seen_at", "samples": "sampled_at"},
}
"""Which column says how old a row of an entity is. An entity that still changes is as old as its last change. What
has no time of its own (repositories, projects, sprints, versions, tags) is kept: it is little, the rest names it."""

_TTL = re.compile(r"\bTTL toDate\((assumeNotNull\()?`?(\w+)`?\)+ \+ toIntervalDay\((\d+)\)")


@dataclass(frozen=True)
class Table:
    """A table as the store has it: its definition, and the types of its columns."""

    definition: str
    columns: Mapping[str, str]


def wanted(
    request: TransformRequest, event_times: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], tuple[str, int | None]]:
    """Column and days (None: for ever) of every table that can be kept for a time."""
    days = {"silver": request.silver_retention_days, "gold_next": request.gold_retention_days}
    return _bronze(request.sources, request.bronze_retention_days) | {
        (database, name): (column, days[database])
        for (database, name), column in event_times.items()
        if database in days
    }


def _bronze(sources: Iterable[TransformSource], days: int | None) -> dict[tuple[str, str], tuple[str, int | None]]:
    return {
        ("bronze", f"{source.prefix}_{entity}"): (column, days)
        for source in sources
        for entity, column in EVENT_TIMES[source.type].items()
    }


def statements(
    wanted: Mapping[tuple[str, str], tuple[str, int | None]], tables: Mapping[tuple[str, str], Table], on: str = ""
) -> list[str]:
    """What must be altered so that each table keeps what is wanted."""
    todo = []
    for (database, name), (column, days) in wanted.items():
        table = tables.get((database, name))
        if table is None or column not in table.columns:
            continue
        found = _TTL.search(table.definition)
        has = " TTL " in table.definition
        is_wanted = found is not None and found[2] == column and days is not None and int(found[3]) == days
        if days is None and has:
            todo.append(f"alter table {database}.`{name}`{on} remove ttl")
        elif days is not None and not is_wanted:
            todo.append(f"alter table {database}.`{name}`{on} modify ttl {_expression(column, days, table)}")
    return todo


def _expression(column: str, days: int, table: Table) -> str:
    """By the day: a DateTime ends in 2106, and a hundred years on from now would be a moment long ago."""
    if table.columns[column].startswith("Nullable("):
        return f"toDate(assumeNotNull({column})) + toIntervalDay({days}) where {column} is not null"
    return f"toDate({column}) + toIntervalDay({days})"


def apply(store: Store, request: TransformRequest, event_times: Mapping[tuple[str, str], str]) -> int:
    """Bring the TTLs in line; gives how many were changed, none in most runs."""
    kept = wanted(request, event_times)
    found = store.rows(
        "select tables.database, tables.name, create_table_query, columns.names, columns.types from system.tables "
        "as tables inner join (select database, table, groupArray(name) as names, groupArray(type) as types "
        "from system.columns where database in ('bronze', 'silver', 'gold_next') group by database, table) as columns "
        "on columns.database = tables.database and columns.table = tables.name "
        "where tables.database in ('bronze', 'silver', 'gold_next') and endsWith(engine, 'MergeTree')"
    )
    tables = {
        (str(database), str(name)): Table(str(definition), dict(zip(names, types, strict=True)))
        for database, name, definition, names, types in found
    }
    todo = statements(kept, tables, store.cluster.on)
    for statement in todo:
        store.run(statement)
    _count_again(store, [table for table, (_, days) in kept.items() if days is not None])
    return len(todo)


def _count_again(store: Store, tables: Iterable[tuple[str, str]]) -> None:
    """Let parts that came from a table without a TTL (a partition that was replaced) know when their rows expire."""
    limited = set(tables)
    found = store.rows(
        "select distinct database, table, partition_id from system.parts where active and rows > 0 "
        "and database in ('silver', 'gold_next') and delete_ttl_info_max = 0 "
        "and empty(rows_where_ttl_info.max) order by all"
    )
    for database, name, partition in found:
        if (database, name) in limited:
            store.run(
                f"alter table {database}.`{name}`{store.cluster.on} materialize ttl in partition id '{partition}'"
            )
