"""Run the benchmarks, print a table, write bench/results/latest.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import demo, loads, operator, sources, stack, transform
from bench.result import Benchmark, Result

BENCHMARKS: dict[str, Benchmark] = {
    "stack.apply_to_gold_seconds": stack.apply_to_gold,
    "load.http_to_bronze_rows_per_second": loads.http_to_bronze,
    "demo.seconds": demo.seconds,
    **operator.BENCHMARKS,
    **sources.BENCHMARKS,
    **transform.BENCHMARKS,
}
LATEST = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Run what is asked for; the exit code is 1 when a benchmark could not run."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", help="run the benchmarks whose name starts with this")
    only = parser.parse_args().only
    console = Console(width=max(Console().width, 140))
    chosen = {name: run for name, run in BENCHMARKS.items() if name.startswith(only)}
    if not chosen:
        console.print(f"no benchmark starts with {only!r}; there are: {', '.join(BENCHMARKS)}")
        return 2
    results: list[Result] = []
    failed = []
    for name, run in chosen.items():
        console.print(f"[dim]{name} ...[/dim]")
        try:
            results.append(run(name))
        except Exception as error:
            failed.append(name)
            console.print(f"[red]{name}: {type(error).__name__}: {error}[/red]")
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    _write(results, machine)
    console.print(_table(results))
    return 1 if failed else 0


def _write(results: list[Result], machine: str) -> None:
    """Replace the entries that were measured; what was not run this time stays."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    old = json.loads(LATEST.read_text(encoding="utf-8")) if LATEST.exists() else []
    at = datetime.now(UTC).isoformat(timespec="seconds")
    new = [result.as_entry() | {"machine": machine, "commit": commit, "at": at} for result in results]
    names = {entry["name"] for entry in new}
    LATEST.parent.mkdir(exist_ok=True)
    entries = [entry for entry in old if entry["name"] not in names] + new
    LATEST.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def _table(results: list[Result]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("NAME", "VALUE", "UNIT", "FLOOR", "PEER", "NOTE"):
        table.add_column(column, justify="right" if column in ("VALUE", "FLOOR", "PEER") else "left", overflow="fold")
    for r in results:
        shown = [f"{number:,.2f}" if number is not None else "" for number in (r.value, r.floor, r.peer)]
        table.add_row(r.name, shown[0], r.unit, shown[1], shown[2], r.note)
    return table


if __name__ == "__main__":
    sys.exit(main())
