"""The gold tables, once: what dbt builds and every query of this room reads.

Columns come from gold.json, which `make generate` makes of the dbt models, as it makes docs/gold.md. The types below
give the same Python values on every store: aware UTC datetimes, exact decimals, booleans, whatever the driver hands
over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    MetaData,
    Numeric,
    String,
    Table,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

SCHEMA = "gold"

metadata = MetaData(schema=SCHEMA)


def is_clickhouse(dialect: Dialect) -> bool:
    """True for clickhouse-sqlalchemy's dialect (`clickhouse`) and for clickhouse-connect's (`clickhousedb`)."""
    return dialect.name.startswith("clickhouse")


ValueT = TypeVar("ValueT")


class _AsText(TypeDecorator[ValueT]):
    """A type that goes to ClickHouse, and comes from it, as text; elsewhere it is its `impl`."""

    value: type[Any]

    @property
    def python_type(self) -> type[Any]:
        return self.value

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return String() if is_clickhouse(dialect) else super().load_dialect_impl(dialect)


class UtcDateTime(_AsText[datetime]):
    """An aware datetime in UTC.

    To ClickHouse it goes as text with `digits` of a second: one driver would drop microseconds and offset, and
    ClickHouse reads the text in the column's own zone, which is UTC for every gold column.
    """

    impl = DateTime(timezone=True)
    cache_ok = True
    value = datetime

    def __init__(self, digits: int = 6) -> None:
        super().__init__()
        self.digits = digits

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or not is_clickhouse(dialect):
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S" + (".%f" if self.digits else ""))

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Money(_AsText[Decimal]):
    """US dollars, exact to 12 decimals. Text to ClickHouse: one driver would send a float."""

    impl = Numeric(38, 12)
    cache_ok = True
    value = Decimal

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return format(value, "f") if value is not None and is_clickhouse(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Flag(_AsText[bool]):
    """A boolean. One ClickHouse driver hands over the words `true` and `false`."""

    impl = Boolean()
    cache_ok = True
    value = bool

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        return int(value) if value is not None and is_clickhouse(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else value in (True, 1, "true", "1")


def text() -> String:
    """Text that sorts by bytes everywhere, as ClickHouse does, so that pages come in one order on every store."""
    return String().with_variant(String(collation="C"), "postgresql")


class Day(_AsText[date]):
    """A day. Text to ClickHouse, like every time."""

    impl = Date()
    cache_ok = True
    value = date

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        return value.isoformat() if value is not None and is_clickhouse(dialect) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value


class _AsJson(FunctionElement[str]):
    """An array as ClickHouse's JSON text, which every driver reads alike; elsewhere the array itself."""

    type = String()
    inherit_cache = True


@compiles(_AsJson)
def _itself(element: _AsJson, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_AsJson, "clickhouse")
@compiles(_AsJson, "clickhousedb")
def _to_json(element: _AsJson, compiler: SQLCompiler, **kw: Any) -> str:
    return f"toJSONString({compiler.process(element.clauses, **kw)})"


class Words(_AsText[list[str]]):
    """A list of texts; to read only."""

    impl = String()
    cache_ok = True
    value = list

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return String() if is_clickhouse(dialect) else ARRAY(String())

    def column_expression(self, column: Any) -> Any:
        return type_coerce(_AsJson(column), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> list[str] | None:
        words: list[str] | None = json.loads(value) if isinstance(value, str) else value
        return words


CONTRACT: Final[dict[str, dict[str, Any]]] = json.loads((files("forge_api") / "gold.json").read_text("utf-8"))
"""Table to its description and its columns: name to ClickHouse type and meaning."""
_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "String": text(),
    "DateTime64(6, 'UTC')": UtcDateTime(),
    "DateTime('UTC')": UtcDateTime(digits=0),
    "Date": Day(),
    "UInt32": BigInteger(),
    "UInt64": BigInteger(),
    "Int64": BigInteger(),
    "Float64": Double(),
    "Decimal(38, 12)": Money(),
    "Bool": Flag(),
    "Array(String)": Words(),
}


def _gold(name: str, only: Container[str] | None = None) -> Table:
    """The table by the contract, its columns' meanings as their comments; `only` some of its columns."""
    columns = []
    for column, (said, meaning) in CONTRACT[name]["columns"].items():
        if only is not None and column not in only:
            continue
        bare = re.sub(r"^Nullable\((.*)\)$", r"\1", said)
        columns.append(Column(column, _TYPES[bare], nullable=bare != said, comment=meaning))
    return Table(name, metadata, *columns, comment=CONTRACT[name]["description"])


tickets = _gold(
    "tickets",
    only=(
        "ticket_key",
        "project_key",
        "summary",
        "issue_type",
        "status",
        "status_category",
        "assignee_name",
        "created_at",
        "started_at",
        "resolved_at",
        "lead_time_seconds",
        "cycle_time_seconds",
        "pull_requests",
        "merged_pull_requests",
        "first_commit_at",
        "first_merged_at",
        "reviews",
        "changes_requested",
        "traces",
        "llm_calls",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "is_done",
        "in_jira",
    ),
)
ticket_costs = _gold(
    "ticket_costs",
    only=(
        "ticket_key",
        "stage",
        "model",
        "traces",
        "llm_calls",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost_usd",
        "link_method",
    ),
)
platform_hourly = _gold("platform_hourly")
coverage = _gold("coverage")
metrics = _gold("metrics")
ticket_timeline = _gold("ticket_timeline")
ticket_stage_times = _gold("ticket_stage_times")
cost_attribution = _gold("cost_attribution")
approval_funnel = _gold("approval_funnel")
change_lead_times = _gold("change_lead_times")
deployment_outcomes = _gold("deployment_outcomes")
pull_request_flow = _gold("pull_request_flow")
agent_runs = _gold("agent_runs")
quality_outcomes = _gold("quality_outcomes")
data_quality = _gold("data_quality")
dora_metrics = _gold("dora_metrics")
pull_request_metrics = _gold("pull_request_metrics")
ci_metrics = _gold("ci_metrics")
ticket_flow = _gold("ticket_flow")
ticket_ageing = _gold("ticket_ageing")
agent_metrics = _gold("agent_metrics")
approval_funnel_metrics = _gold("approval_funnel_metrics")
approver_load = _gold("approver_load")
quality_metrics = _gold("quality_metrics")
