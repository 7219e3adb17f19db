"""The gold tables, once: what dbt builds and every query of this room reads.

Column names and meanings are those of docs/gold.md. The types below give the same Python
values on every store: aware UTC datetimes, exact decimals, booleans, whatever the driver hands over.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, MetaData, Numeric, String, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

SCHEMA = "gold"

metadata = MetaData(schema=SCHEMA)


def is_clickhouse(dialect: Dialect) -> bool:
    """True for clickhouse-sqlalchemy's dialect (`clickhouse`) and for clickhouse-connect's (`clickhousedb`)."""
    return dialect.name.startswith("clickhouse")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC.

    To ClickHouse it goes as text with `digits` of a second: one driver would drop microseconds and offset, and
    ClickHouse reads the text in the column's own zone, which is UTC for every gold column.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def __init__(self, digits: int = 6) -> None:
        super().__init__()
        self.digits = digits

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return String() if is_clickhouse(dialect) else DateTime(timezone=True)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or not is_clickhouse(dialect):
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S" + (".%f" if self.digits else ""))

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """US dollars, exact to 12 decimals. Text to ClickHouse: one driver would send a float."""

    impl = Numeric(38, 12)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return String() if is_clickhouse(dialect) else Numeric(38, 12)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return format(value, "f") if value is not None and is_clickhouse(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Flag(TypeDecorator[bool]):
    """A boolean. One ClickHouse driver hands over the words `true` and `false`."""

    impl = Boolean()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return String() if is_clickhouse(dialect) else Boolean()

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        return int(value) if value is not None and is_clickhouse(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else value in (True, 1, "true", "1")


def text() -> String:
    """Text that sorts by bytes everywhere, as ClickHouse does, so that pages come in one order on every store."""
    return String().with_variant(String(collation="C"), "postgresql")


tickets = Table(
    "tickets",
    metadata,
    Column("ticket_key", text(), primary_key=True),
    Column("project_key", text()),
    Column("summary", text()),
    Column("issue_type", text()),
    Column("status", text()),
    Column("status_category", text()),
    Column("assignee_name", text()),
    Column("created_at", UtcDateTime()),
    Column("started_at", UtcDateTime()),
    Column("resolved_at", UtcDateTime()),
    Column("lead_time_seconds", Double()),
    Column("cycle_time_seconds", Double()),
    Column("pull_requests", BigInteger()),
    Column("merged_pull_requests", BigInteger()),
    Column("first_commit_at", UtcDateTime()),
    Column("first_merged_at", UtcDateTime()),
    Column("reviews", BigInteger()),
    Column("changes_requested", BigInteger()),
    Column("traces", BigInteger()),
    Column("llm_calls", BigInteger()),
    Column("input_tokens", BigInteger()),
    Column("output_tokens", BigInteger()),
    Column("cost_usd", Money()),
    Column("is_done", Flag()),
    Column("in_jira", Flag(), nullable=False),
)

ticket_costs = Table(
    "ticket_costs",
    metadata,
    Column("ticket_key", text(), nullable=False),
    Column("stage", text(), nullable=False),
    Column("model", text(), nullable=False),
    Column("traces", BigInteger(), nullable=False),
    Column("llm_calls", BigInteger(), nullable=False),
    Column("input_tokens", BigInteger(), nullable=False),
    Column("output_tokens", BigInteger(), nullable=False),
    Column("total_tokens", BigInteger(), nullable=False),
    Column("cost_usd", Money(), nullable=False),
    Column("link_method", text(), nullable=False),
)

platform_hourly = Table(
    "platform_hourly",
    metadata,
    Column("hour", UtcDateTime(digits=0), nullable=False),
    Column("query", text(), nullable=False),
    Column("metric", text(), nullable=False),
    Column("series", BigInteger(), nullable=False),
    Column("samples", BigInteger(), nullable=False),
    Column("average", Double(), nullable=False),
    Column("minimum", Double(), nullable=False),
    Column("maximum", Double(), nullable=False),
)

coverage = Table(
    "coverage",
    metadata,
    Column("source", text(), nullable=False),
    Column("type", text(), nullable=False),
    Column("available", Flag(), nullable=False),
    Column("rows", BigInteger(), nullable=False),
    Column("newest_event_at", UtcDateTime()),
    Column("loads", BigInteger(), nullable=False),
    Column("last_load_at", UtcDateTime()),
)
