"""The ground truth: what the numbers must be, in plain Python.

`tickets` counts from the event log alone, and shares no code with the APIs. `TABLES` gives the rows that bronze must
hold at a moment: column names of docs/architecture.md, times as aware datetimes, money as Decimal, JSON columns as
Python values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo.organisation import Person
from forge_demo.state import ObservationState, State
from forge_demo.traces import cost_parts, observation_cost, trace_cost

Row = dict[str, Any]


@dataclass(slots=True)
class Ticket:
    """What is true of one ticket. Durations in seconds, cost in US dollars.

    Names are those of gold.tickets. started_at: first came into a status of category indeterminate. resolved_at: None
    while it is open (again). Pull requests are those whose title begins with the ticket's key; reviews and requested
    changes are theirs. Traces are those that Forge ran for it, however poorly they say so; llm_calls, tokens and cost
    are of their generations.
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


def tickets(past: Iterable[ev.Event]) -> dict[str, Ticket]:
    """Every ticket that exists after these events (oldest first), by key."""
    found: dict[str, Ticket] = {}
    for event in past:
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
            _count(found[event.ticket], event)
    return found


def _count(ticket: Ticket, event: ev.Event) -> None:
    match event:
        case ev.IssueChanged():
            for change in event.changes:
                _change(ticket, event.at, change)
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


def unattributed_cost(past: Iterable[ev.Event]) -> Decimal:
    """US dollars of traces that were run for no ticket."""
    return sum((trace_cost(e) for e in past if isinstance(e, ev.TraceIngested) and e.ticket is None), Decimal(0))


def everything(past: Sequence[ev.Event]) -> Row:
    """The tickets in order of key, and what belongs to none."""
    found = tickets(past)
    return {"tickets": [found[key] for key in sorted(found)], "unattributed_cost_usd": unattributed_cost(past)}


# Bronze


def traces(state: State) -> list[Row]:
    """bronze langfuse_traces."""
    rows = []
    for trace in state.traces.values():
        it = trace.ingested
        ends = [o.ended_at for o in it.observations if o.ended_at is not None]
        rows.append(
            {
                "project_id": org.LANGFUSE_PROJECT_ID,
                "id": it.id,
                "updated_at": trace.updated_at,
                "created_at": it.at,
                "timestamp": it.timestamp,
                "name": it.name,
                "session_id": it.session,
                "user_id": it.user,
                "environment": it.environment,
                "release": it.release,
                "version": it.version,
                "tags": list(it.tags),
                "metadata": dict(trace.metadata),
                "total_cost": trace_cost(it),
                "latency_seconds": (max(ends) - it.timestamp).total_seconds(),
            }
        )
    return rows


def observations(state: State) -> list[Row]:
    """bronze langfuse_observations."""
    return [_observation(row) for trace in state.traces.values() for row in trace.observations]


def _observation(row: ObservationState) -> Row:
    it, trace = row.observation, row.trace.ingested
    parts = cost_parts(it)
    costs = {**parts, "total": sum(parts.values(), Decimal(0))} if parts else {}
    usage: dict[str, int] = {}
    if it.input_tokens is not None and it.output_tokens is not None:
        usage = {"input": it.input_tokens, "output": it.output_tokens}
        usage |= {"cache_read_input_tokens": it.cached_tokens} if it.cached_tokens else {}
        usage["total"] = sum(usage.values())
    return {
        "project_id": org.LANGFUSE_PROJECT_ID,
        "id": it.id,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
        "trace_id": trace.id,
        "parent_observation_id": it.parent,
        "type": it.type,
        "name": it.name,
        "level": it.level,
        "status_message": it.status_message,
        "environment": trace.environment,
        "start_time": it.started_at,
        "end_time": it.ended_at,
        "completion_start_time": it.completion_started_at,
        "model": it.model,
        "usage_details": usage,
        "cost_details": costs,
        "input_tokens": usage.get("input"),
        "output_tokens": usage.get("output"),
        "total_tokens": usage.get("total"),
        "total_cost": costs.get("total"),
        "prompt_name": it.prompt_name,
        "prompt_version": it.prompt_version,
        "metadata": dict(row.metadata),
    }


def pull_requests(state: State) -> list[Row]:
    """bronze github_pull_requests.

    Logins as GraphQL writes them (without [bot]); first_commit_at: the earliest author date; ready_for_review_at: the
    newest such event; a commit's author: the login, or the name where the commit has no user (bots).
    """
    rows = []
    for pull in state.pull_requests.values():
        it = pull.opened
        rows.append(
            {
                "repository": f"{org.ORGANISATION}/{it.repository}",
                "number": pull.number,
                "updated_at": pull.updated_at,
                "node_id": pull.node_id,
                "database_id": pull.id,
                "created_at": it.at,
                "closed_at": pull.closed_at,
                "merged_at": pull.merged.at if pull.merged else None,
                "title": it.title,
                "body": it.body,
                "state": pull.state,
                "is_draft": pull.draft,
                "url": f"https://github.example/{org.ORGANISATION}/{it.repository}/pull/{pull.number}",
                "author_login": it.author,
                "author_type": _type(pull.author),
                "merged_by_login": pull.merged.actor if pull.merged else None,
                "head_ref": it.branch,
                "base_ref": "main",
                "head_sha": pull.head,
                "merge_commit_sha": pull.merged.sha if pull.merged else None,
                "additions": sum(c.additions for c in pull.commits),
                "deletions": sum(c.deletions for c in pull.commits),
                "changed_files": pull.files,
                "commits_count": len(pull.commits),
                "first_commit_at": min(c.authored_at for c in pull.commits),
                "ready_for_review_at": pull.ready[-1].at if pull.ready else None,
                "review_decision": pull.review_decision,
                "labels": list(pull.labels),
                "reviews": [
                    {"author": r.author.login, "authorType": _type(r.author), "state": r.state, "submittedAt": r.at}
                    for r in pull.reviews
                ],
                "commits": [_commit(c) for c in pull.commits],
            }
        )
    return rows


def _type(person: Person) -> str:
    return "Bot" if person.is_agent else "User"


def _commit(commit: ev.Commit) -> Row:
    author = org.BY_LOGIN[commit.author]
    return {
        "oid": commit.oid,
        "authoredAt": commit.authored_at,
        "committedAt": commit.committed_at,
        "author": author.git_name if author.is_agent else author.login,
        "authorEmail": author.email,
        "message": commit.message,
    }


def issues(state: State) -> list[Row]:
    """bronze jira_issues of a Cloud site; custom_fields holds every custom field of the world."""
    rows = []
    for issue in state.issues.values():
        it, reporter = issue.created, org.BY_LOGIN[issue.created.reporter]
        severity = {"id": "10200", "value": "Sev 2"} if it.issue_type == "Incident" else None
        rows.append(
            {
                "id": it.id,
                "updated_at": issue.updated_at,
                "key": issue.key,
                "project_key": it.project,
                "summary": it.summary,
                "issue_type": it.issue_type,
                "status": issue.status.name,
                "status_category": issue.status.category,
                "priority": issue.priority,
                "resolution": issue.resolution,
                "assignee_id": issue.assignee.account_id if issue.assignee else None,
                "assignee_name": issue.assignee.name if issue.assignee else None,
                "reporter_id": reporter.account_id,
                "reporter_name": reporter.name,
                "parent_key": it.parent,
                "labels": list(it.labels),
                "created_at": it.at,
                "resolved_at": issue.resolved_at,
                "due_date": it.due,
                "custom_fields": {org.STORY_POINTS: it.story_points, org.SEVERITY: severity},
            }
        )
    return rows


def issue_changelogs(state: State) -> list[Row]:
    """bronze jira_issue_changelogs of a Cloud site."""
    return [
        {
            "issue_id": issue.created.id,
            "history_id": history.id,
            "item_index": index,
            "created_at": history.at,
            "issue_key": issue.key,
            "author_id": history.author.account_id,
            "author_name": history.author.name,
            **asdict(change),
        }
        for issue in state.issues.values()
        for history in issue.histories
        for index, change in enumerate(history.changes)
    ]


TABLES: dict[str, Callable[[State], list[Row]]] = {
    "langfuse_traces": traces,
    "langfuse_observations": observations,
    "github_pull_requests": pull_requests,
    "jira_issues": issues,
    "jira_issue_changelogs": issue_changelogs,
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
