"""What the tests over hand-made bronze share: loads in steps, times as they write them, tables to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client

Row = dict[str, Any]
Load = tuple[str, dict[str, list[Row]]]
"""Type of the source (its name too), and the rows it brings."""


def at(text: str) -> str:
    """`05 08:30` in January 2026, as bronze has it. The 5th is a Monday."""
    day, time = text.split()
    return f"2026-01-{day}T{time}:00Z"


def write(bronze: Any, steps: list[list[Load]], after: Callable[[], object]) -> None:
    """Write the loads of each step, and do something after it."""
    for number, step in enumerate(steps, 1):
        for source, entities in step:
            bronze.write(source, source, str(number), **entities)
        after()


def moments(row: Row) -> Row:
    """With times as `at` reads them."""
    return {key: value.strftime("%d %H:%M") if isinstance(value, datetime) else value for key, value in row.items()}


def rows(client: Client, query: str) -> list[Row]:
    """The rows of a query, with times as `at` reads them."""
    return [moments(row) for row in client.query(query).named_results()]


def all_rows(client: Client, tables: Iterable[str]) -> dict[str, Any]:
    """All of some tables (`gold.tickets`), in an order of their own."""
    return {
        table: client.query(f"select formatRow('JSONEachRow', *) as row from {table} order by row").result_columns
        for table in tables
    }
