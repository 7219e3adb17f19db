"""What every number in gold must be, counted from the world's events in plain Python.

A table is a function of what is known (`Known`: the events of a past, and what a stack loads of them) and gives rows
with gold's column names: times as aware datetimes, money as Decimal, durations and ratios as floats. It shares nothing
with the simulated APIs, and no rule is read from SQL: a number that both come to is right twice.

It knows more than the warehouse: which ticket a run was for, who is an agent, what a deployment carries. Only where the
sources cannot tell does it apply the documented rule to what they can tell.
"""

from __future__ import annotations

from collections.abc import Callable

from forge_demo.oracle import agents, ci, costs, dora, funnel, platform, pulls, quality, tickets, timeline
from forge_demo.oracle.known import Known
from forge_demo.oracle.periods import Row
from forge_demo.oracle.stack import Stack

__all__ = ["KEYS", "TABLES", "Known", "Stack"]

TABLES: dict[str, Callable[[Known], list[Row]]] = {
    "tickets": tickets.tickets,
    "ticket_stage_times": tickets.ticket_stage_times,
    "ticket_flow": tickets.ticket_flow,
    "ticket_ageing": tickets.ticket_ageing,
    "ticket_timeline": timeline.ticket_timeline,
    "pull_request_flow": pulls.pull_request_flow,
    "pull_request_metrics": pulls.pull_request_metrics,
    "change_lead_times": dora.change_lead_times,
    "deployment_outcomes": dora.deployment_outcomes,
    "dora_metrics": dora.dora_metrics,
    "ci_metrics": ci.ci_metrics,
    "agent_runs": costs.agent_runs,
    "ticket_costs": costs.ticket_costs,
    "cost_attribution": costs.cost_attribution,
    "agent_metrics": agents.agent_metrics,
    "approval_funnel": funnel.approval_funnel,
    "approval_funnel_metrics": funnel.approval_funnel_metrics,
    "approver_load": funnel.approver_load,
    "quality_outcomes": quality.quality_outcomes,
    "quality_metrics": quality.quality_metrics,
    "platform_hourly": platform.platform_hourly,
}
_PERIOD = ("period", "period_start", "scope", "scope_value")
KEYS: dict[str, tuple[str, ...]] = {
    "tickets": ("ticket_key",),
    "ticket_stage_times": ("ticket_key", "status", "status_kind"),
    "ticket_flow": (*_PERIOD, "issue_type"),
    "ticket_ageing": ("scope", "scope_value", "status", "status_kind"),
    "ticket_timeline": ("ticket_key", "sequence"),
    "pull_request_flow": ("repository_id", "pull_request_number"),
    "pull_request_metrics": (*_PERIOD, "author_kind"),
    "change_lead_times": ("repository_id", "pull_request_number"),
    "deployment_outcomes": ("deployment_key",),
    "dora_metrics": _PERIOD,
    "ci_metrics": (*_PERIOD, "workflow"),
    "agent_runs": ("project_id", "trace_id"),
    "ticket_costs": ("ticket_key", "stage", "model"),
    "cost_attribution": (
        "day",
        "project_id",
        "team",
        "project_key",
        "ticket_outcome",
        "stage",
        "model",
        "agent_kind",
        "link_method",
        "is_failed_run",
    ),
    "agent_metrics": (*_PERIOD, "actor_kind", "issue_type"),
    "approval_funnel": ("ticket_key",),
    "approval_funnel_metrics": (*_PERIOD, "gate"),
    "approver_load": ("period", "period_start", "approver", "gate"),
    "quality_outcomes": ("project_id", "score_id"),
    "quality_metrics": ("score_name", "bin"),
    "platform_hourly": ("hour", "query", "metric"),
}
