"""What a local run tells: a line a load and a transform, and the gold summary, asked of the API as any user would."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
from forge_stack.wire import LoadSummary, TransformSummary
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text


def load_line(name: str, good: bool, seconds: float, summary: LoadSummary | None, failure: str) -> str:
    """One load, as a line."""
    if not good:
        why = summary.error.message if summary and summary.error else failure
        return f"[red]✗[/red] load {name}: {why}"
    rows = ", ".join(f"{count:,} {table}" for table, count in summary.rows.items()) if summary else ""
    requests = f", {summary.requests} requests" if summary else ""
    warnings = "".join(f"\n  [yellow]![/yellow] {text}" for text in (summary.warnings if summary else []))
    return f"[green]✓[/green] load {name}: {rows or 'nothing new'} in {seconds:.1f} s{requests}{warnings}"


def transform_line(sequence: int, good: bool, seconds: float, summary: TransformSummary | None, failure: str) -> str:
    """One transform, as a line."""
    if not good:
        return f"[red]✗[/red] transform {sequence}: {failure}"
    counts = f"{summary.models.ok} models, {summary.tests.ok} tests" if summary else ""
    rows = f"{sum(summary.rows.values()):,} rows in {len(summary.rows)} tables of gold" if summary else ""
    return f"[green]✓[/green] transform {sequence}: {counts} in {seconds:.1f} s; {rows}"


async def print_summary(out: Console, api_url: str, headers: dict[str, str]) -> None:
    """Ask the API for the summary and print it."""
    async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=30) as client:
        try:
            answer = (await client.get(f"{api_url}/api/v1/summary")).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            out.print(f"[yellow]no summary: the API says {error}[/yellow]")
            return
    out.print()
    out.print(summary_view(answer))


def _hours(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds / 3600:,.1f} h"


def _dollars(amount: str | None) -> str:
    return "unknown" if amount is None else f"${Decimal(amount):,.2f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def summary_view(summary: dict[str, Any]) -> RenderableType:
    """The gold summary: the organisation at a glance, by project, where the money goes, what each source brought."""
    lead, cost = summary["lead_time"], summary["cost"]
    head = Text.assemble(
        ("gold  ", "bold"),
        f"{summary['tickets']:,} tickets, {summary['done']:,} done; lead time median {_hours(lead['median_seconds'])}, "
        f"p90 {_hours(lead['p90_seconds'])}\n      agents {_dollars(cost['total_usd'])}, of that "
        f"{_dollars(cost['unattributed_usd'])} without a ticket; {_dollars(cost['per_done_ticket_usd'])} a done ticket",
    )
    projects = _table("project", "tickets", "done", "median lead time", "agents")
    for p in summary["by_project"]:
        name = p["project_key"] or "(not in Jira)"
        projects.add_row(
            name, f"{p['tickets']:,}", f"{p['done']:,}", _hours(p["median_lead_time_seconds"]), _dollars(p["cost_usd"])
        )
    stages = _table("stage and model", "calls", "tokens", "cost")
    for s in summary["by_stage_and_model"][:6]:
        name = f"{s['stage'] or '(no stage)'}  {s['model']}"
        stages.add_row(name, f"{s['llm_calls']:,}", f"{s['total_tokens']:,}", _dollars(s["cost_usd"]))
    coverage = _table("source", "rows", "loads", "newest event")
    for c in summary["coverage"]:
        newest = (c["newest_event_at"] or "nothing yet")[:16].replace("T", " ")
        coverage.add_row(f"{c['source']} ({c['type']})", f"{c['rows']:,}", f"{c['loads']:,}", newest)
    return Group(head, Text(), projects, Text(), stages, Text(), coverage)
