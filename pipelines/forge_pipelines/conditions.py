"""Conditions of SQL, for what a source asks of the rows that bronze holds of it (`Scope.stored`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from clickhouse_connect.driver.binding import format_str


def quoted(text: str) -> str:
    """A text in SQL."""
    return str(format_str(text))


def texts_in(column: str, values: Iterable[str]) -> str:
    """The column has one of these texts."""
    return f"{column} in ({', '.join(map(quoted, values))})"


def sql_second(at: datetime) -> str:
    """A moment in SQL, to the second."""
    return f"'{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
