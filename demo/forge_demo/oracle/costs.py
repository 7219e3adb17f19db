"""Agents' runs and what they cost."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from forge_demo import organisation as org
from forge_demo.oracle.known import CONFIDENCE, Known, Ticket, Trace, cost, once, tokens
from forge_demo.oracle.periods import Row, mean
from forge_demo.oracle.stack import kind_of

_SUREST = ("metadata", "session", "tag", "trace_name", "none")
_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def _sums(calls: list[Any]) -> Row:
    counted = [tokens(call) for call in calls]
    return {
        "llm_calls": len(calls),
        **{name: sum(one[place] for one in counted) for place, name in enumerate(_TOKENS)},
        "cost_usd": sum((cost(call) for call in calls), Decimal(0)),
    }


@once
def agent_runs(known: Known) -> list[Row]:
    """A row a trace."""
    return [_run(known, trace) for trace in known.traces]


def _run(known: Known, it: Trace) -> Row:
    said, ticket = it.metadata, it.ticket
    ends = [step.ended_at for step in it.steps if step.ended_at]
    errors = sorted(it.errors, key=lambda step: (step.started_at, step.id))
    judged = [
        float(score.value)
        for score in it.scores
        if score.added.kind == "NUMERIC"
        and score.added.source == "EVAL"
        and score.added.session is None
        and score.added.observation is None
    ]
    attempt = int(said["attempt"]) if "attempt" in said else None
    return {
        "project_id": org.LANGFUSE_PROJECT_ID,
        "trace_id": it.ingested.id,
        "trace_name": it.ingested.name,
        "ticket_key": known.key(ticket),
        "project_key": known.prefix(ticket),
        "team": known.team(ticket),
        "stage": it.stage,
        "link_method": it.method,
        "link_confidence": CONFIDENCE[it.method],
        "agent": it.ingested.user,
        "agent_kind": kind_of(it.user),
        "attempt": attempt,
        "event": said.get("event"),
        "repository": said.get("repo"),
        "environment": it.ingested.environment,
        "started_at": it.ingested.timestamp,
        "duration_seconds": (max(ends) - it.ingested.timestamp).total_seconds() if ends else None,
        "is_failed": bool(errors),
        "error": errors[-1].status_message if errors else None,
        **_sums(it.calls),
        "is_retry": attempt is not None and attempt > 1,
        "judge_score": mean(judged),
    }


def ticket_costs(known: Known) -> list[Row]:
    """A row a ticket, stage and model."""
    cells: dict[tuple[str, str, str], list[tuple[Trace, Any]]] = {}
    for trace in known.traces:
        for call in trace.calls:
            cells.setdefault((known.key(trace.ticket), trace.stage, call.model or ""), []).append((trace, call))
    return [
        {
            **dict(zip(("ticket_key", "stage", "model"), key, strict=True)),
            "traces": len({trace.ingested.id for trace, _ in calls}),
            **_sums([call for _, call in calls]),
            "link_method": max((trace.method for trace, _ in calls), key=_SUREST.index),
        }
        for key, calls in cells.items()
    ]


def outcome(known: Known, ticket: Ticket | None) -> str:
    """What became of the ticket that a run was for."""
    if ticket is None:
        return "unattributed"
    if known.in_jira(ticket) is None:
        return "unknown_ticket"
    if not ticket.is_done:
        return "open"
    merged = any(pull.merged for pull in known.pulls if pull.ticket is ticket)
    given_up = re.search(r"(?i)won.?t|cancel|duplicate|abandon", ticket.resolution or "")
    return "done" if (merged or not known.loads("github")) and not given_up else "abandoned"


def cost_attribution(known: Known) -> list[Row]:
    """A row a day and everything that cost is cut by."""
    cells: dict[tuple[Any, ...], list[Any]] = {}
    for trace in known.traces:
        ticket = trace.ticket
        for call in trace.calls:
            key = (
                call.started_at.date(),
                org.LANGFUSE_PROJECT_ID,
                known.team(ticket),
                known.prefix(ticket),
                outcome(known, ticket),
                trace.stage,
                call.model or "",
                kind_of(trace.user),
                trace.method,
                CONFIDENCE[trace.method],
                bool(trace.errors),
            )
            cells.setdefault(key, []).append(call)
    names = (
        "day", "project_id", "team", "project_key", "ticket_outcome", "stage", "model", "agent_kind", "link_method",
        "link_confidence", "is_failed_run",
    )  # fmt: skip
    return [dict(zip(names, key, strict=True)) | _sums(calls) for key, calls in cells.items()]
