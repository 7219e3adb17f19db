"""The ground truth: what the numbers must be, in plain Python.

`tickets` counts from the event log alone, and shares no code with the APIs. `TABLES` gives the rows that bronze must
hold at a moment: column names of docs/architecture.md, times as aware datetimes, money as Decimal, JSON columns as
Python values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from forge_demo import events as ev
from forge_demo import github_events, jira_events, truth_github, truth_jira, truth_langfuse
from forge_demo import organisation as org
from forge_demo.state import State
from forge_demo.traces import observation_cost, trace_cost

Row = dict[str, Any]


@dataclass(slots=True)
class Ticket:
    """What is true of one ticket. Durations in seconds, cost in US dollars.

    Names are those of gold.tickets. started_at: first came into a status of category indeterminate. resolved_at: None
    while it is open (again). Pull requests are those whose title begins with the ticket's key; reviews and requested
    changes are theirs, without those by their authors. Traces are those that Forge ran for it, however poorly they say
    so; llm_calls, tokens and cost are of their generations.
    """

    ticket_key: str
    project_key: str
    issue_type: str
    summary: str
    status: str
    status_category: str
    created_at: datetime
    started_at: datetime | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    assignee_name: str | None = None
    pull_requests: int = 0
    merged_pull_requests: int = 0
    first_commit_at: datetime | None = None
    first_merged_at: datetime | None = None
    reviews: int = 0
    changes_requested: int = 0
    deployments: int = 0
    traces: int = 0
    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    cost_by_stage: dict[str, Decimal] = field(default_factory=dict)

    @property
    def lead_time_seconds(self) -> float | None:
        """Created to resolved."""
        return None if self.resolved_at is None else (self.resolved_at - self.created_at).total_seconds()

    @property
    def cycle_time_seconds(self) -> float | None:
        """First in progress to resolved."""
        if self.resolved_at is None or self.started_at is None:
            return None
        return (self.resolved_at - self.started_at).total_seconds()


def tickets(past: Sequence[ev.Event]) -> dict[str, Ticket]:
    """Every ticket of the loaded projects that exists after these events (oldest first), by the key it has then."""
    found: dict[str, Ticket] = {}
    gone: set[str] = set()
    authors = {event.ref: event.author for event in past if isinstance(event, ev.PullRequestOpened)}
    deleted = {event.trace for event in past if isinstance(event, ev.TraceDeleted)}
    for event in past:
        if isinstance(event, ev.TraceIngested) and event.id in deleted:
            continue
        if isinstance(event, ev.IssueCreated) and event.ticket is not None:
            found[event.ticket] = Ticket(
                event.ticket,
                event.project,
                event.issue_type,
                event.summary,
                org.TODO.name,
                org.TODO.category,
                event.at,
            )
        elif event.ticket is not None:
            _count(found[event.ticket], event, authors)
            if isinstance(event, jira_events.IssueDeleted):
                gone.add(event.ticket)
            elif isinstance(event, jira_events.IssueRestored):
                gone.discard(event.ticket)
    here = (ticket for first_key, ticket in found.items() if first_key not in gone)
    return {ticket.ticket_key: ticket for ticket in here if ticket.project_key in truth_jira.LOADED}


def _count(ticket: Ticket, event: ev.Event, authors: dict[str, str]) -> None:
    match event:
        case ev.IssueChanged():
            for change in event.changes:
                _change(ticket, event.at, change)
        case jira_events.IssueMoved():
            ticket.ticket_key, ticket.project_key = event.key, event.project
        case ev.PullRequestOpened():
            ticket.pull_requests += 1
            _commits(ticket, event.commits)
        case ev.CommitsPushed():
            _commits(ticket, event.commits)
        case ev.PullRequestMerged():
            ticket.merged_pull_requests += 1
            ticket.first_merged_at = ticket.first_merged_at or event.at
        case ev.ReviewSubmitted():
            ticket.reviews += 1
            ticket.changes_requested += event.state == "CHANGES_REQUESTED"
        case github_events.ThreadCommented(reviewed=False):
            # To GitHub a single comment on a line is a review; the author's own is an answer.
            ticket.reviews += event.author != authors[event.ref]
        case ev.DeploymentCreated():
            ticket.deployments += 1
        case ev.TraceIngested():
            _trace(ticket, event)


def _change(ticket: Ticket, at: datetime, change: ev.Change) -> None:
    if change.field_id == "status":
        status = org.STATUSES[change.to_value or ""]
        ticket.status, ticket.status_category = status.name, status.category
        if status.category == "indeterminate":
            ticket.started_at = ticket.started_at or at
    elif change.field_id == "resolution":
        ticket.resolution, ticket.resolved_at = change.to_string, at if change.to_string else None
    elif change.field_id == "assignee":
        ticket.assignee_name = change.to_string


def _commits(ticket: Ticket, commits: tuple[ev.Commit, ...]) -> None:
    first = min(commit.authored_at for commit in commits)
    ticket.first_commit_at = min(ticket.first_commit_at or first, first)


def _trace(ticket: Ticket, trace: ev.TraceIngested) -> None:
    ticket.traces += 1
    for step in trace.observations:
        if step.type != "GENERATION":
            continue
        ticket.llm_calls += 1
        ticket.input_tokens += step.input_tokens or 0
        ticket.output_tokens += step.output_tokens or 0
        ticket.total_tokens += (step.input_tokens or 0) + (step.output_tokens or 0) + step.cached_tokens
        ticket.cost_usd += observation_cost(step)
    stage = next(name for name in org.STAGES if org.STAGE_AGENTS[name].login == trace.user)
    ticket.cost_by_stage[stage] = ticket.cost_by_stage.get(stage, Decimal(0)) + trace_cost(trace)


def unattributed_cost(past: Sequence[ev.Event]) -> Decimal:
    """US dollars of traces that were run for no ticket."""
    deleted = {event.trace for event in past if isinstance(event, ev.TraceDeleted)}
    chats = (e for e in past if isinstance(e, ev.TraceIngested) and e.ticket is None and e.id not in deleted)
    return sum((trace_cost(e) for e in chats), Decimal(0))


def everything(past: Sequence[ev.Event]) -> Row:
    """The tickets in order of key, and what belongs to none."""
    found = tickets(past)
    return {"tickets": [found[key] for key in sorted(found)], "unattributed_cost_usd": unattributed_cost(past)}


# Bronze


TABLES: dict[str, Callable[[State], list[Row]]] = {
    **truth_langfuse.TABLES,
    **truth_github.TABLES,
    **truth_jira.TABLES,
}


def summary(state: State) -> Row:
    """Counts of what exists."""
    return {
        "now": plain(state.now),
        "tickets": len(state.issues),
        "pullRequests": len(state.pull_requests),
        "workflowRuns": len(state.runs),
        "deployments": len(state.deployments),
        "traces": len(state.traces),
        "observations": sum(len(t.observations) for t in state.traces.values()),
        "scores": len(state.scores),
    }


def plain(value: Any) -> Any:
    """As JSON can say it: RFC 3339 in UTC with microseconds, decimals as strings."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Ticket):
        durations = {"lead_time_seconds": value.lead_time_seconds, "cycle_time_seconds": value.cycle_time_seconds}
        return plain(asdict(value) | durations)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
