"""Lists that differ in nothing but their table: which there are, their order, and what may narrow them.

A series is a mart by period (`/metrics/...`). The others hold one row a thing, and say why a number is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Select, Table, or_, select

from forge_api import keyset, tables
from forge_api.keyset import SortKey

PREFIX: Final = "/api/v1"
PERIODS: Final = ("day", "week", "month")
_PARAMETERS: Final = {"project_key": "project"}
_COLUMNS: Final = {parameter: column for column, parameter in _PARAMETERS.items()}


def parameter(column: str) -> str:
    """The parameter that compares with a column."""
    return _PARAMETERS.get(column, column)


def column_of(parameter: str) -> str:
    """The column that a parameter compares with."""
    return _COLUMNS.get(parameter, parameter)


@dataclass(frozen=True)
class Listing:
    """One list. `order`: columns, `-` before them for descending, unique together once `period` and `scope` are set."""

    path: str
    table: Table
    summary: str
    order: tuple[str, ...]
    filters: tuple[str, ...] = ()
    """Columns to compare with what the caller says."""
    breakdowns: tuple[str, ...] = ()
    """Columns whose empty text is the row over all of them: left alone unless asked for."""
    scopes: tuple[str, ...] = ()
    time: str | None = None
    """The column that `after` and `before` narrow."""

    def columns(self) -> list[Column[Any]]:
        """The columns that are shown: all but the store's own parting of tickets."""
        return [column for column in self.table.columns if column.name != "ticket_bucket"]

    def sort_keys(self) -> list[SortKey]:
        """`order` as columns."""
        return [SortKey(self.table.c[name.removeprefix("-")], name.startswith("-")) for name in self.order]


@dataclass(frozen=True)
class Wanted:
    """What narrows a list. `equal`: column to the values that it may have, no limit without one; the empty text is
    null too. `by`: the breakdowns that are asked for."""

    equal: Mapping[str, Sequence[Any]]
    by: Sequence[str] = ()
    after: date | datetime | None = None
    before: date | datetime | None = None

    def conditions(self, table: Table, time: str | None, breakdowns: Sequence[str] = ()) -> list[ColumnElement[bool]]:
        """The WHERE, one element a filter that is set."""
        found: list[ColumnElement[bool]] = []
        for name, values in self.equal.items():
            if values:
                found.append(among(table.c[name], values))
        for name in breakdowns:
            if name in self.by:
                found.append(table.c[name] != "")
            elif not self.equal.get(name):
                found.append(table.c[name] == "")
        if time is not None:
            found += between(table.c[time], self.after, self.before)
        return found


def rows(listing: Listing, wanted: Wanted, start: Sequence[Any] | None, limit: int) -> Select[Any]:
    """At most `limit` rows in order, from the first or after the row whose sort values are `start`."""
    query = select(*listing.columns()).where(*wanted.conditions(listing.table, listing.time, listing.breakdowns))
    return page(query, listing.sort_keys(), start, limit)


def page(query: Select[Any], order: Sequence[SortKey], start: Sequence[Any] | None, limit: int) -> Select[Any]:
    """One page of a query."""
    if start is not None:
        query = query.where(keyset.after(order, start))
    return query.order_by(*(key.clause() for key in order)).limit(limit)


def among(column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """One of the values; the empty text also stands for null."""
    found: ColumnElement[bool] = column.in_(list(values))
    return or_(found, column.is_(None)) if column.nullable and "" in values else found


def between(column: ColumnElement[Any], start: Any, end: Any) -> list[ColumnElement[bool]]:
    """From `start` on, up to and without `end`."""
    return ([column >= start] if start is not None else []) + ([column < end] if end is not None else [])


def _series(
    name: str,
    table: Table,
    summary: str,
    scopes: tuple[str, ...] = (),
    breakdowns: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
) -> Listing:
    """A list under `/metrics`; `parts` are columns that a row always names, such as the gate."""
    by_period = "period_start" in table.c
    first = ("-period_start",) if by_period else ()
    scope_value = ("scope_value",) if scopes else ()
    return Listing(
        path=f"/metrics/{name}",
        table=table,
        summary=summary,
        order=(*first, *scope_value, *parts, *breakdowns),
        filters=(*scope_value, *parts, *breakdowns),
        breakdowns=breakdowns,
        scopes=scopes,
        time="period_start" if by_period else None,
    )


_BY_PROJECT = ("all", "team", "project")
_BY_REPOSITORY = ("all", "team", "repository")

SERIES: Final = (
    _series("dora", tables.dora_metrics, "DORA's five", (*_BY_PROJECT, "repository")),
    _series(
        "pull_requests",
        tables.pull_request_metrics,
        "Pull requests: cycle time in its parts, first pass, reverts",
        (*_BY_PROJECT, "repository"),
        ("author_kind",),
    ),
    _series("ci", tables.ci_metrics, "CI: pass rate, flakes, duration", _BY_REPOSITORY, ("workflow",)),
    _series("tickets", tables.ticket_flow, "Flow of tickets", _BY_PROJECT, ("issue_type",)),
    _series(
        "ageing",
        tables.ticket_ageing,
        "Ages of open tickets, now, by status",
        _BY_PROJECT,
        parts=("status", "status_kind"),
    ),
    _series(
        "agents",
        tables.agent_metrics,
        "Agents, bots and people side by side",
        _BY_PROJECT,
        ("issue_type",),
        ("actor_kind",),
    ),
    _series(
        "approvals", tables.approval_funnel_metrics, "The human-approval funnel by gate", _BY_PROJECT, parts=("gate",)
    ),
    _series("approvers", tables.approver_load, "Load of approvers", parts=("approver", "gate")),
    _series("quality", tables.quality_metrics, "Scores against outcomes, all time", parts=("score_name", "bin")),
)

ENTITIES: Final = (
    Listing(
        path="/changes",
        table=tables.change_lead_times,
        summary="Changes: why the lead time is what it is",
        order=("-deployed_at", "repository_id", "pull_request_number"),
        filters=("repository", "team", "project_key", "ticket_key", "linked_by", "is_counted", "excluded_because"),
        time="deployed_at",
    ),
    Listing(
        path="/deployments",
        table=tables.deployment_outcomes,
        summary="Deployments: what they brought, what failed, what was rework",
        order=("-finished_at", "deployment_key"),
        filters=("repository", "team", "environment", "outcome", "creator_kind", "is_failed", "is_rework"),
        time="finished_at",
    ),
    Listing(
        path="/pull_requests",
        table=tables.pull_request_flow,
        summary="Pull requests: where their time went",
        order=("-merged_at", "repository_id", "pull_request_number"),
        filters=(
            *("repository", "team", "project_key", "ticket_key", "issue_type", "author_kind", "author_login", "state"),
            *("is_first_pass", "is_human_intervened", "is_reverted"),
        ),
        time="merged_at",
    ),
    Listing(
        path="/agent_runs",
        table=tables.agent_runs,
        summary="Runs of agents: what they worked on, what they cost",
        order=("-started_at", "project_id", "trace_id"),
        filters=(
            *("team", "project_key", "ticket_key", "stage", "agent", "agent_kind", "repository", "link_method"),
            *("is_failed", "is_retry"),
        ),
        time="started_at",
    ),
    Listing(
        path="/approvals",
        table=tables.approval_funnel,
        summary="Tickets on their way through people's hands",
        order=("-proposed_at", "ticket_key"),
        filters=("team", "project_key", "issue_type", "reached"),
        time="proposed_at",
    ),
    Listing(
        path="/scores",
        table=tables.quality_outcomes,
        summary="Scores, each beside what became of the work",
        order=("-scored_at", "project_id", "score_id"),
        filters=("score_name", "score_source", "ticket_key", "stage", "is_merged", "is_first_pass", "ticket_outcome"),
        time="scored_at",
    ),
    Listing(
        path="/stage_times",
        table=tables.ticket_stage_times,
        summary="Time of tickets in each status",
        order=("ticket_key", "status", "status_kind"),
        filters=("ticket_key", "status", "status_kind", "is_current"),
    ),
    Listing(
        path="/data_quality",
        table=tables.data_quality,
        summary="What the sources say that cannot be, or is strange",
        order=("rule", "entity", "entity_key", "detail"),
        filters=("rule", "severity", "entity", "ticket_key"),
    ),
)

TIMELINE: Final = Listing(
    path="/tickets/{key}/timeline",
    table=tables.ticket_timeline,
    summary="All that happened to a ticket, from all sources",
    order=("sequence",),
    filters=("kind", "actor_kind", "source"),
    time="at",
)

PATHS: Final = {
    **{listing.table.name: listing.path for listing in (*SERIES, *ENTITIES, TIMELINE)},
    "tickets": "/tickets",
    "ticket_costs": "/tickets/{key}",
    "cost_attribution": "/costs",
    "platform_hourly": "/platform",
    "coverage": "/coverage",
}
"""Where the rows of a gold table are, below PREFIX."""
