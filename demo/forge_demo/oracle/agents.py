"""Agents, bots and people side by side."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from forge_demo.oracle import costs, pulls, tickets
from forge_demo.oracle.known import Known
from forge_demo.oracle.periods import Cells, Row, mean, quantile, scopes, share

KINDS = ("agent", "human", "bot")


def agent_metrics(known: Known) -> list[Row]:
    """A row a period, scope, kind of actor and type of ticket ('': all)."""
    cells = Cells("actor_kind", "issue_type")
    types = {ticket.key: ticket.created.issue_type for ticket in known.tickets}

    def cut(kind: str, issue_type: str | None) -> list[tuple[str, str]]:
        return [(kind, ""), *([(kind, issue_type)] if issue_type else [])]

    for row in pulls.pull_request_flow(known):
        if row["author_kind"] in KINDS:
            where = scopes(row["team"], row["project_key"])
            kinds = cut(row["author_kind"], row["issue_type"])
            cells.add("opened", row["created_at"], where, row, kinds)
            ended = row["merged_at"] if row["is_merged"] else row["closed_at"]
            cells.add("merged" if row["is_merged"] else "closed", ended, where, row, kinds)
    for row in tickets.tickets(known):
        if row["is_done"]:
            where = scopes(row["team"], row["project_key"])
            if row["delivered_by"] in KINDS:
                cells.add("done", row["resolved_at"], where, row, cut(row["delivered_by"], row["issue_type"]))
            cells.add("ended", row["resolved_at"], where, row, cut("agent", row["issue_type"]))
    for row in costs.agent_runs(known):
        where = scopes(row["team"], row["project_key"])
        cells.add("runs", row["started_at"], where, row, cut("agent", types.get(row["ticket_key"])))

    rows = cells.rows(_numbers)
    for row in rows:
        if row["actor_kind"] != "agent":
            row |= dict.fromkeys(
                ("cost_usd", "autonomy_rate", "cost_per_merged_pull_request", "cost_per_done_ticket"), None
            )
        for type_, columns in _TOLD.items():
            if not known.loads(type_):
                row |= dict.fromkeys(columns, None)
    return rows


_TOLD = {
    "jira": ("tickets_done",),
    "github": ("pull_requests_opened", "merged", "closed_unmerged", "reviewed", "durable_merges"),
    "langfuse": (
        "agent_runs", "failed_runs", "retries", "cost_usd", "cost_per_merged_pull_request", "cost_per_done_ticket",
    ),
}  # fmt: skip
"""What only those sources count."""


def _numbers(facts: Mapping[str, list[Row]]) -> Row:
    merged, closed, runs, ended = (facts[name] for name in ("merged", "closed", "runs", "ended"))
    finished = merged + closed
    money = sum((row["cost_usd"] for row in runs), Decimal(0))
    return {
        "pull_requests_opened": len(facts["opened"]),
        "merged": len(merged),
        "closed_unmerged": len(closed),
        "merge_rate": share(len(merged), len(finished)),
        "reviewed": sum(row["human_reviews"] > 0 for row in finished),
        "first_pass_rate": _rate(finished, "is_first_pass"),
        "human_intervention_rate": _rate(finished, "is_human_intervened"),
        "revision_cycles_mean": mean([row["revision_cycles"] for row in merged]),
        "revision_cycles_p90": quantile((row["revision_cycles"] for row in merged), 0.9),
        "durable_merges": sum(pulls.lasted(row) for row in merged),
        "tickets_done": len(facts["done"]),
        "autonomy_rate": _rate(ended, "is_autonomous"),
        "agent_runs": len(runs),
        "failed_runs": sum(row["is_failed"] for row in runs),
        "retries": sum(row["is_retry"] for row in runs),
        "cost_usd": money,
        "cost_per_merged_pull_request": float(money) / len(merged) if merged else None,
        "cost_per_done_ticket": float(money) / len(ended) if ended else None,
    }


def _rate(rows: list[Row], column: str) -> float | None:
    """Of those where it is known."""
    known: list[Any] = [row[column] for row in rows if row[column] is not None]
    return share(sum(known), len(known))
