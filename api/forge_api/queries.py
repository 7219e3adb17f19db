"""The SQL of the API: pure builders of SELECTs over gold. Nothing here opens a connection.

Only columns and sort keys named here can be asked for. What the stores spell differently (quantiles, text search) is a
construct with one spelling a dialect; everything else is plain SQLAlchemy Core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Double, Integer, Select, String, and_, case, func, literal, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from forge_api.keyset import SortKey
from forge_api.listings import Wanted, between, page
from forge_api.tables import (
    approval_funnel,
    cost_attribution,
    coverage,
    metrics,
    platform_hourly,
    ticket_costs,
    tickets,
)

TICKET_SORTS = (
    "ticket_key",
    "created_at",
    "resolved_at",
    "lead_time_seconds",
    "cycle_time_seconds",
    "pull_requests",
    "llm_calls",
    "cost_usd",
)
MAX_GROUPS = 1000
"""The most projects, or stage and model pairs, that a summary lists."""
MAX_REASONS = 20
"""The most reasons of rejections that a funnel lists."""
COST_KEYS = (
    *("day", "team", "project_key", "ticket_outcome", "stage", "model", "agent_kind", "link_method"),
    *("link_confidence", "is_failed_run"),
)
"""What the cost can be parted by."""
COST_SUMS = ("llm_calls", "input_tokens", "output_tokens", "total_tokens", "cost_usd")
GATES = {
    "proposed": ("proposed_at", None),
    "plan_approved": ("plan_approved_at", "plan_wait_seconds"),
    "pull_request_opened": ("pull_request_opened_at", "open_wait_seconds"),
    "reviewed": ("first_reviewed_at", "review_wait_seconds"),
    "approved": ("approved_at", "approve_wait_seconds"),
    "merged": ("merged_at", "merge_wait_seconds"),
    "deployed": ("deployed_at", "deploy_wait_seconds"),
}
"""The gates of the approval funnel in their order: when a ticket passed, and how long it waited before."""
WAITS = {"p50": 0.5, "p75": 0.75, "p90": 0.9}


@dataclass(frozen=True)
class TicketFilter:
    """What narrows the list of tickets. Empty or None: no limit. `after` is inclusive, `before` exclusive."""

    project: Sequence[str] = ()
    status_category: Sequence[str] = ()
    issue_type: Sequence[str] = ()
    assignee: Sequence[str] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    resolved_after: datetime | None = None
    resolved_before: datetime | None = None
    min_cost: Decimal | None = None
    max_cost: Decimal | None = None
    has_pull_request: bool | None = None
    search: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The WHERE, one element a filter that is set."""
        t = tickets.c
        found: list[ColumnElement[bool]] = [
            column.in_(list(values))
            for column, values in (
                (t.project_key, self.project),
                (t.status_category, self.status_category),
                (t.issue_type, self.issue_type),
                (t.assignee_name, self.assignee),
            )
            if values
        ]
        found += between(t.created_at, self.created_after, self.created_before)
        found += between(t.resolved_at, self.resolved_after, self.resolved_before)
        if self.min_cost is not None:
            found.append(t.cost_usd >= self.min_cost)
        if self.max_cost is not None:
            found.append(t.cost_usd <= self.max_cost)
        if self.has_pull_request is not None:
            found.append(t.pull_requests > 0 if self.has_pull_request else t.pull_requests == 0)
        if self.search:
            found.append(or_(*(TextPosition(column, literal(self.search)) > 0 for column in (t.ticket_key, t.summary))))
        return found


@dataclass(frozen=True)
class PlatformFilter:
    """What narrows the platform's hours."""

    query: Sequence[str] = ()
    metric: Sequence[str] = ()
    after: datetime | None = None
    before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The WHERE, one element a filter that is set."""
        p = platform_hourly.c
        found: list[ColumnElement[bool]] = [
            column.in_(list(values)) for column, values in ((p.query, self.query), (p.metric, self.metric)) if values
        ]
        return found + between(p.hour, self.after, self.before)


def ticket_order(sort: str) -> list[SortKey]:
    """The order for `sort`: a name of TICKET_SORTS, `-` before it for descending; the ticket key breaks ties."""
    name = sort.removeprefix("-")
    if name not in TICKET_SORTS:
        raise ValueError(f"sort must be one of {', '.join(TICKET_SORTS)}, not {name!r}")
    first = SortKey(tickets.c[name], descending=sort.startswith("-"))
    return [first] if name == "ticket_key" else [first, SortKey(tickets.c.ticket_key)]


PLATFORM_ORDER = [
    SortKey(platform_hourly.c.hour, descending=True),
    SortKey(platform_hourly.c.query),
    SortKey(platform_hourly.c.metric),
]


def list_tickets(
    wanted: TicketFilter, order: Sequence[SortKey], start: Sequence[Any] | None, limit: int
) -> Select[Any]:
    """At most `limit` tickets in order, from the first or after the row whose sort values are `start`."""
    return page(select(tickets).where(*wanted.conditions()), order, start, limit)


def list_platform(wanted: PlatformFilter, start: Sequence[Any] | None, limit: int) -> Select[Any]:
    """At most `limit` hours, newest first."""
    return page(select(platform_hourly).where(*wanted.conditions()), PLATFORM_ORDER, start, limit)


def one_ticket(key: str) -> Select[Any]:
    """The ticket with this key: one row or none."""
    return select(tickets).where(tickets.c.ticket_key == key).limit(1)


def costs_of_ticket(key: str) -> Select[Any]:
    """What agents spent on one ticket, a row for each stage and model, dearest first."""
    c = ticket_costs.c
    return (
        select(*(column for column in c if column.name != "ticket_key"))
        .where(c.ticket_key == key)
        .order_by(c.cost_usd.desc(), c.stage, c.model, c.link_method)
        .limit(MAX_GROUPS)
    )


def flow() -> Select[Any]:
    """One row: tickets, done tickets, lead-time quantiles (seconds), cost of done tickets that agents worked on."""
    by_agents = and_(tickets.c.is_done, tickets.c.traces > 0)
    return select(
        *_ticket_counts(),
        Quantile(tickets.c.lead_time_seconds, 0.5).label("median"),
        Quantile(tickets.c.lead_time_seconds, 0.75).label("p75"),
        Quantile(tickets.c.lead_time_seconds, 0.9).label("p90"),
        func.count(tickets.c.lead_time_seconds).label("measured"),
        func.count(case((by_agents, 1))).label("done_by_agents"),
        func.sum(case((by_agents, tickets.c.cost_usd))).label("cost_of_done_by_agents"),
    )


def by_project() -> Select[Any]:
    """A row a project: tickets, done tickets, median lead time (seconds), cost."""
    return (
        select(
            tickets.c.project_key,
            *_ticket_counts(),
            Quantile(tickets.c.lead_time_seconds, 0.5).label("median_lead_time_seconds"),
            func.sum(tickets.c.cost_usd).label("cost_usd"),
        )
        .group_by(tickets.c.project_key)
        .order_by(tickets.c.project_key.asc().nulls_last())
        .limit(MAX_GROUPS)
    )


def by_stage_and_model() -> Select[Any]:
    """A row for each stage and model, dearest first: calls, tokens, and cost that has a ticket and that has none."""
    c = ticket_costs.c
    total = func.sum(c.cost_usd)
    return (
        select(
            c.stage,
            c.model,
            func.sum(c.llm_calls).label("llm_calls"),
            func.sum(c.total_tokens).label("total_tokens"),
            total.label("cost_usd"),
            func.sum(case((c.ticket_key != "", c.cost_usd))).label("attributed_usd"),
        )
        .group_by(c.stage, c.model)
        .order_by(total.desc(), c.stage, c.model)
        .limit(MAX_GROUPS)
    )


def costs_total() -> Select[Any]:
    """One row: all cost, and that which has a ticket; both null when there are no calls."""
    c = ticket_costs.c
    attributed = case((c.ticket_key != "", c.cost_usd))
    return select(func.sum(c.cost_usd).label("total_usd"), func.sum(attributed).label("attributed_usd"))


def costs_over(wanted: Wanted) -> Select[Any]:
    """One row: all cost that is wanted, and the part whose ticket is named; both null without a call."""
    c = cost_attribution.c
    attributed = case((c.ticket_outcome != "unattributed", c.cost_usd))
    return select(func.sum(c.cost_usd).label("total_usd"), func.sum(attributed).label("attributed_usd")).where(
        *wanted.conditions(cost_attribution, "day")
    )


def cost_groups(wanted: Wanted, start: Sequence[Any] | None, limit: int) -> tuple[Select[Any], Sequence[SortKey]]:
    """At most `limit` groups of the keys `wanted.by`, newest day first, then dearest first; and that order."""
    c = cost_attribution.c
    keys = [c[name] for name in wanted.by]
    sums = [func.sum(c[name]).label(name) for name in COST_SUMS]
    parted = select(*keys, *sums).where(*wanted.conditions(cost_attribution, "day")).group_by(*keys).subquery("parted")
    days = [SortKey(parted.c.day, descending=True)] if "day" in wanted.by else []
    rest = [SortKey(parted.c[name]) for name in wanted.by if name != "day"]
    order = [*days, SortKey(parted.c.cost_usd, descending=True), *rest]
    return page(select(parted), order, start, limit), order


def funnel(wanted: Wanted) -> Select[Any]:
    """One row: tickets that passed each gate, quantiles and mean of their waits (seconds), rejections."""
    c = approval_funnel.c
    asked: list[ColumnElement[Any]] = [
        func.sum(c.plan_rejections).label("plan_rejections"),
        func.sum(c.review_rejections).label("review_rejections"),
    ]
    for gate, (passed, wait) in GATES.items():
        asked.append(func.count(c[passed]).label(gate))
        if wait is not None:
            waited = case((c[passed].is_not(None), c[wait]))
            asked += [Quantile(waited, level).label(f"{gate}_{name}") for name, level in WAITS.items()]
            asked.append(func.avg(waited).label(f"{gate}_mean"))
    return select(*asked).where(*_proposed(wanted))


def rejection_reasons(wanted: Wanted) -> Select[Any]:
    """A row a reason that was said with a rejection, the most frequent first."""
    said = select(Each(approval_funnel.c.rejection_reasons).label("reason")).where(*_proposed(wanted)).subquery("said")
    rejections = func.count().label("rejections")
    return (
        select(said.c.reason, rejections)
        .group_by(said.c.reason)
        .order_by(rejections.desc(), said.c.reason)
        .limit(MAX_REASONS)
    )


def list_metrics() -> Select[Any]:
    """A row a number of the catalogue."""
    return select(metrics).order_by(metrics.c.theme, metrics.c.metric).limit(MAX_GROUPS)


def missing_sources(table: str) -> Select[Any]:
    """The catalogue's lists of sources that the numbers of this table, or those that it explains, lack."""
    m = metrics.c
    return select(m.missing_sources).where(or_(m.model == table, m.drill_down == table)).limit(MAX_GROUPS)


def list_coverage() -> Select[Any]:
    """A row a source."""
    return select(coverage).order_by(coverage.c.source).limit(MAX_GROUPS)


def probe() -> Select[Any]:
    """Answers (with or without a row) when the store does and gold.tickets is there."""
    return select(tickets.c.ticket_key).limit(1)


def _proposed(wanted: Wanted) -> list[ColumnElement[bool]]:
    known = approval_funnel.c.proposed_at.is_not(None)
    return [known, *wanted.conditions(approval_funnel, "proposed_at")]


def _ticket_counts() -> list[ColumnElement[int]]:
    return [
        func.count(tickets.c.ticket_key).label("tickets"),
        func.count(case((tickets.c.is_done, 1))).label("done"),
    ]


class Quantile(FunctionElement[float]):
    """The continuous quantile of a column, nulls left out: linear between two values (SQL's percentile_cont)."""

    type = Double()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], level: float) -> None:
        super().__init__(column, literal(level, literal_execute=True))


@compiles(Quantile)
def _percentile_cont(element: Quantile, compiler: SQLCompiler, **kw: Any) -> str:
    column, level = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"percentile_cont({level}) WITHIN GROUP (ORDER BY {column})"


@compiles(Quantile, "clickhouse")
@compiles(Quantile, "clickhousedb")
def _quantile_exact_inclusive(element: Quantile, compiler: SQLCompiler, **kw: Any) -> str:
    column, level = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"quantileExactInclusive({level})({column})"


class TextPosition(FunctionElement[int]):
    """Where a text begins inside another, letter case aside, from 1; 0 when it is not there."""

    type = Integer()
    inherit_cache = True


@compiles(TextPosition)
def _strpos(element: TextPosition, compiler: SQLCompiler, **kw: Any) -> str:
    inside, wanted = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"strpos(lower({inside}), lower({wanted}))"


@compiles(TextPosition, "clickhouse")
@compiles(TextPosition, "clickhousedb")
def _position_case_insensitive(element: TextPosition, compiler: SQLCompiler, **kw: Any) -> str:
    return f"positionCaseInsensitiveUTF8({compiler.process(element.clauses, **kw)})"


class Each(FunctionElement[str]):
    """A row for each element of a list."""

    type = String()
    inherit_cache = True


@compiles(Each)
def _unnest(element: Each, compiler: SQLCompiler, **kw: Any) -> str:
    return f"unnest({compiler.process(element.clauses, **kw)})"


@compiles(Each, "clickhouse")
@compiles(Each, "clickhousedb")
def _array_join(element: Each, compiler: SQLCompiler, **kw: Any) -> str:
    return f"arrayJoin({compiler.process(element.clauses, **kw)})"
