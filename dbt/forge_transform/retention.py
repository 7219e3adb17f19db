"""Retention of bronze: a TTL on each of its tables, by the time of the event, which the store's merges carry out.

ClickHouse's documentation, "Manage data with TTL". Silver and gold are built from what bronze holds, so it bounds
them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from clickhouse_connect.driver.client import Client
from forge_stack.wire import TransformSource

EVENT_TIMES = {
    "langfuse": {"traces": "timestamp", "observations": "start_time"},
    "github": {"pull_requests": "updated_at"},
    "jira": {"issues": "updated_at", "issue_changelogs": "created_at"},
    "prometheus": {"series": "last_seen_at", "samples": "sampled_at"},
}
"""Which column says how old a row of an entity is. An entity that still changes is as old as its last change."""


def statements(sources: Iterable[TransformSource], days: int | None, tables: dict[str, str]) -> list[str]:
    """What must be altered so that bronze keeps `days` (None: everything). `tables` maps names to their definitions."""
    wanted = []
    for source in sources:
        for entity, column in EVENT_TIMES[source.type].items():
            name = f"{source.prefix}_{entity}"
            if name not in tables:
                continue
            kept = re.search(r"\bTTL toDateTime\(\w+\) \+ toIntervalDay\((\d+)\)", tables[name])
            if days is None and kept:
                wanted.append(f"alter table bronze.`{name}` remove ttl")
            elif days is not None and (kept is None or int(kept[1]) != days):
                wanted.append(f"alter table bronze.`{name}` modify ttl toDateTime({column}) + toIntervalDay({days})")
    return wanted


def apply(client: Client, sources: Iterable[TransformSource], days: int | None) -> int:
    """Bring the TTLs in line; gives how many were changed, none in most runs."""
    rows = client.query("select name, create_table_query from system.tables where database = 'bronze'").result_rows
    todo = statements(sources, days, {str(name): str(definition) for name, definition in rows})
    for statement in todo:
        client.command(statement)
    return len(todo)
