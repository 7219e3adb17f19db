"""Tickets: what each took, where its time went, and the flow of all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from forge_demo import organisation as org
from forge_demo.oracle import costs, dora, pulls
from forge_demo.oracle.known import NEVER, Known, Pull, Stay, Ticket, once
from forge_demo.oracle.periods import Cells, Row, scopes, seconds, stats
from forge_demo.oracle.stack import kind_of

FLOWING = ("queue", "active", "waiting")
_JIRA = (
    "project_key", "team", "summary", "issue_type", "is_incident", "story_points", "resolution", "reporter_name",
    "status", "status_category", "status_entered_at", "assignee_name", "created_at", "started_at", "resolved_at",
    "lead_time_seconds", "cycle_time_seconds", "reopened", "queue_seconds", "active_seconds", "waiting_seconds",
    "flow_efficiency", "is_autonomous", "is_done",
)  # fmt: skip
"""What only Jira says."""
_TOLD = {
    "jira": ("incidents",),
    "github": ("pull_requests", "merged_pull_requests", "reviews", "changes_requested"),
    "langfuse": (
        "traces", "agent_runs", "llm_calls", "input_tokens", "output_tokens", "total_tokens", "cost_usd",
        "failed_cost_usd",
    ),
}  # fmt: skip
"""What only the other sources count."""


def cut(stays: list[Stay], until: datetime) -> dict[str, float]:
    """Seconds by kind of status, as far as they lie before a moment."""
    found = dict.fromkeys(FLOWING, 0.0)
    for stay in stays:
        end = min(stay.left_at or until, until)
        if stay.kind in found and end > stay.entered_at:
            found[stay.kind] += (end - stay.entered_at).total_seconds()
    return found


def flow(ticket: Ticket) -> dict[str, float] | None:
    """The same of a ticket that is resolved."""
    return cut(ticket.stays, ticket.resolved_at) if ticket.resolved_at else None


def efficiency(parts: list[dict[str, float]]) -> float | None:
    """The part of the time in which somebody worked."""
    whole = sum(sum(part.values()) for part in parts)
    return sum(part["active"] for part in parts) / whole if whole else None


def delivered_by(mine: list[Pull]) -> str | None:
    """Who wrote what was merged."""
    kinds = {pulls.commit_kind(commit) for pull in mine if pull.merged for commit in pull.commits}
    if not kinds:
        return None
    kinds -= {"bot"}
    if not kinds:
        return "bot"
    return "agent" if kinds == {"agent"} else "mixed" if "agent" in kinds else "human"


def is_autonomous(ticket: Ticket, mine: list[Pull]) -> bool | None:
    """Whether agents did it alone; None while it is not done, or when nothing was merged."""
    if not ticket.is_done or not any(pull.merged for pull in mine):
        return None
    alone = all(kind_of(pull.author) == "agent" for pull in mine)
    human = any(pulls.commit_kind(commit) == "human" for pull in mine for commit in pull.commits)
    back = any(stay.is_reentry and kind_of(stay.by) == "human" for stay in ticket.stays)
    return alone and not human and not back


def reopened(ticket: Ticket) -> list[datetime]:
    """When it left a status that ends work."""
    return [stay.left_at for stay in ticket.stays if stay.kind == "done" and stay.left_at]


@once
def tickets(known: Known) -> list[Row]:
    """A row a ticket that any source names; of one that Jira does not have, only what the others say of it."""
    rows = []
    for ticket in known.named:
        row = _ticket(known, ticket)
        if known.in_jira(ticket) is None:
            row |= dict.fromkeys(_JIRA, None) | {"ticket_key": known.key(ticket), "in_jira": False}
        for type_, columns in _TOLD.items():
            if not known.loads(type_):
                row |= dict.fromkeys(columns, None)
        rows.append(row)
    return rows


def _ticket(known: Known, it: Ticket) -> Row:
    mine = [pull for pull in known.pulls if pull.ticket is it]
    runs = [row for row in costs.agent_runs(known) if row["ticket_key"] == known.key(it)]
    reviews = [review for pull in mine for review in pull.by_others]
    merged = [pull.merged.at for pull in mine if pull.merged]
    deployed = [one.deployed_at for pull in mine if (one := dora.carried(known).get(pull.key)) and not one.is_baseline]
    parts = flow(it)
    reporter = org.BY_LOGIN.get(it.created.reporter)
    return {
        "ticket_key": it.key,
        "project_key": it.project,
        "team": known.team(it),
        "summary": it.created.summary,
        "issue_type": it.created.issue_type,
        "is_incident": re.search(known.stack.incident, it.created.issue_type) is not None,
        "story_points": it.created.story_points,
        "resolution": it.resolution,
        "reporter_name": reporter.name if reporter else None,
        "status": it.status.name,
        "status_category": it.status.category,
        "status_entered_at": it.stays[-1].entered_at,
        "assignee_name": it.assignee,
        "created_at": it.at,
        "started_at": it.started_at,
        "resolved_at": it.resolved_at,
        "lead_time_seconds": seconds(it.at, it.resolved_at),
        "cycle_time_seconds": seconds(it.started_at, it.resolved_at),
        "reopened": len(reopened(it)),
        **{f"{kind}_seconds": parts[kind] if parts else None for kind in FLOWING},
        "flow_efficiency": efficiency([parts]) if parts else None,
        "pull_requests": len(mine),
        "merged_pull_requests": len(merged),
        "first_commit_at": min((pull.first_commit_at for pull in mine), default=None),
        "first_merged_at": min(merged, default=None),
        "first_deployed_at": min(deployed, default=None),
        "reviews": len(reviews),
        "changes_requested": sum(review.state == "CHANGES_REQUESTED" for review in reviews),
        "incidents": sum(it in incident.causes for incident in dora.incidents(known)),
        "traces": len(runs),
        "agent_runs": len(runs),
        "llm_calls": sum(row["llm_calls"] for row in runs),
        "input_tokens": sum(row["input_tokens"] for row in runs),
        "output_tokens": sum(row["output_tokens"] for row in runs),
        "total_tokens": sum(row["total_tokens"] for row in runs),
        "cost_usd": sum((row["cost_usd"] for row in runs), Decimal(0)),
        "failed_cost_usd": sum((row["cost_usd"] for row in runs if row["is_failed"]), Decimal(0)),
        "has_human_commit": any(pulls.commit_kind(c) == "human" for pull in mine for c in pull.commits)
        if mine
        else None,
        "delivered_by": delivered_by(mine),
        "is_autonomous": is_autonomous(it, mine),
        "is_done": it.is_done,
        "in_jira": True,
    }


def ticket_stage_times(known: Known) -> list[Row]:
    """A row a ticket, status and kind of status."""
    rows: dict[tuple[str, str, str], Row] = {}
    for ticket in known.tickets:
        for stay in ticket.stays:
            row = rows.setdefault(
                (ticket.key, stay.status.name, stay.kind),
                {
                    "ticket_key": ticket.key,
                    "status": stay.status.name,
                    "status_kind": stay.kind,
                    "visits": 0,
                    "seconds": 0.0,
                    "is_current": False,
                },
            )
            row["visits"] += 1
            row["seconds"] += seconds(stay.entered_at, stay.left_at) or 0.0
            row["is_current"] = row["is_current"] or stay.left_at is None
    return list(rows.values())


def ticket_flow(known: Known) -> list[Row]:
    """A row a period, scope and type ('': all)."""
    cells = Cells("issue_type")
    for ticket in known.tickets:
        where = scopes(known.team(ticket), ticket.project)
        types = (("",), (ticket.created.issue_type,))
        cells.add("created", ticket.at, where, ticket, types)
        cells.add("started", ticket.started_at, where, ticket, types)
        cells.add("resolved", ticket.resolved_at, where, ticket, types)
        for at in reopened(ticket):
            cells.add("reopened", at, where, ticket, types)

    def numbers(facts: Mapping[str, list[Ticket]]) -> Row:
        ended = facts["resolved"]
        return {
            **{name: len(facts[name]) for name in ("created", "started", "resolved", "reopened")},
            **stats("lead_time_seconds", (seconds(t.at, t.resolved_at) for t in ended)),
            **stats("cycle_time_seconds", (seconds(t.started_at, t.resolved_at) for t in ended)),
            "flow_efficiency": efficiency([part for t in ended if (part := flow(t))]),
        }

    return cells.rows(numbers)


def ticket_ageing(known: Known) -> list[Row]:
    """A row a scope and status, of what is open when Jira last changed."""
    as_of = max((ticket.updated_at for ticket in known.tickets), default=NEVER)
    cells: dict[tuple[str, str, str, str], list[Ticket]] = {}
    for ticket in known.tickets:
        if not ticket.is_done:
            for scope in scopes(known.team(ticket), ticket.project):
                cells.setdefault((*scope, ticket.status.name, ticket.stays[-1].kind), []).append(ticket)
    return [
        {
            **dict(zip(("scope", "scope_value", "status", "status_kind"), key, strict=True)),
            "tickets": len(there),
            **stats("age_seconds", (seconds(t.at, as_of) for t in there)),
            **stats("in_status_seconds", (seconds(t.stays[-1].entered_at, as_of) for t in there)),
            "oldest_ticket_key": min(there, key=lambda t: (t.at, t.key)).key,
            "as_of": as_of,
        }
        for key, there in cells.items()
    ]
