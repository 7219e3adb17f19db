"""How a stack's status looks on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from forge_stack.model import ObservabilityStack, StackStatus
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_COLOURS = {"True": "green", "False": "red", "Unknown": "yellow", "Healthy": "green", "Failing": "red"}


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "never"
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{max(seconds, 0)}s ago"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def status_view(status: StackStatus) -> RenderableType:
    """Sources and conditions."""
    sources = _table("SOURCE", "TYPE", "STATE", "LAST LOAD", "ROWS", "MESSAGE")
    for s in status.sources:
        rows = ", ".join(f"{count:,} {table}" for table, count in s.rows.items())
        state = Text(s.state, style=_COLOURS.get(s.state, ""))
        sources.add_row(s.name, s.type, state, age(s.last_load_time), rows, s.message)
    conditions = _table("CONDITION", "STATUS", "REASON", "MESSAGE")
    for c in status.conditions:
        conditions.add_row(c.type, Text(c.status, style=_COLOURS[c.status]), c.reason, c.message)
    return Group(sources, Text(), conditions)


def stack_view(stack: ObservabilityStack) -> RenderableType:
    """One stack of a cluster."""
    head = Text(f"{stack.metadata.namespace}/{stack.metadata.name}", style="bold")
    if stack.status.api_url:
        head.append(f"   {stack.status.api_url}", style="dim")
    return Group(head, Text(), status_view(stack.status), Text())
