"""What a local run tells: a line a load and a transform, and the gold summary, asked of the API as any user would."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
from forge_stack.wire import LoadSummary, TransformSummary
from rich.console import Console
from rich.table import Table


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
    rows = ", ".join(f"{count:,} {table}" for table, count in summary.rows.items()) if summary else ""
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
    out.print(summary_table(answer))


def _hours(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds / 3600:,.1f} h"


def _dollars(amount: str | None) -> str:
    return "unknown" if amount is None else f"${Decimal(amount):,.2f}"


def summary_table(summary: dict[str, Any]) -> Table:
    """The gold summary as a table."""
    table = Table(title="gold", box=None, pad_edge=False, title_justify="left", show_header=False, padding=(0, 2, 0, 0))
    for name, value in summary.items():
        table.add_row(str(name), str(value))
    return table
