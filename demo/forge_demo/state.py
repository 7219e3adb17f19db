"""What is known at a moment: the events so far, folded into issues, pull requests, runs, deployments, traces, scores.

Numbers and ids that the real systems give in order of arrival (pull request numbers, history ids) are given here, in
that order.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo.organisation import Person, Status

T = TypeVar("T")
NEVER = datetime.min.replace(tzinfo=UTC)
"""Before everything."""


def node_id(prefix: str, of: str | int) -> str:
    """A global id as GitHub gives one: opaque."""
    return f"{prefix}_{base64.urlsafe_b64encode(str(of).encode()).decode().rstrip('=')}"


@dataclass(slots=True)
class History:
    """One changelog entry with Jira's id."""

    id: str
    at: datetime
    author: Person
    changes: tuple[ev.Change, ...]


@dataclass(slots=True)
class Comment:
    """A comment with Jira's id."""

    id: str
    at: datetime
    author: Person
    body: str


@dataclass(slots=True)
class Issue:
    """A ticket as it stands."""

    created: ev.IssueCreated
    key: str
    updated_at: datetime
    priority: str
    status: Status = org.TODO
    assignee: Person | None = None
    resolution: str | None = None
    resolved_at: datetime | None = None
    histories: list[History] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)


@dataclass(slots=True)
class Review:
    """A submitted review, of the head `oid`."""

    id: int
    at: datetime
    author: Person
    state: str
    body: str
    oid: str


@dataclass(slots=True)
class PullRequest:
    """A pull request as it stands."""

    opened: ev.PullRequestOpened
    number: int
    id: int
    updated_at: datetime
    draft: bool
    commits: list[ev.Commit]
    labels: list[str]
    files: int
    pushes: list[ev.CommitsPushed] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    requests: list[ev.ReviewRequested] = field(default_factory=list)
    labeled: list[ev.Labeled] = field(default_factory=list)
    ready: list[ev.ReadyForReview] = field(default_factory=list)
    merged: ev.PullRequestMerged | None = None
    closed: ev.PullRequestClosed | None = None

    @property
    def node_id(self) -> str:
        """Its global id."""
        return node_id("PR", self.id)

    @property
    def repository(self) -> str:
        """Its name without the owner."""
        return self.opened.repository

    @property
    def author(self) -> Person:
        """Who opened it."""
        return org.BY_LOGIN[self.opened.author]

    @property
    def state(self) -> str:
        """OPEN, CLOSED or MERGED."""
        return "MERGED" if self.merged else "CLOSED" if self.closed else "OPEN"

    @property
    def closed_at(self) -> datetime | None:
        """When it was merged or closed."""
        end = self.merged or self.closed
        return end.at if end else None

    @property
    def head(self) -> str:
        """The newest commit."""
        return self.commits[-1].oid

    @property
    def requested_reviewers(self) -> list[Person]:
        """Who was asked and has not answered."""
        answered = {review.author.login for review in self.reviews}
        return [org.BY_LOGIN[r.reviewer] for r in self.requests if r.reviewer not in answered]

    @property
    def review_decision(self) -> str | None:
        """GitHub's: by the latest verdict of each reviewer; None where no review is required (dependency updates)."""
        if self.opened.ticket is None:
            return "APPROVED" if self.reviews else None
        verdicts = {r.author.login: r.state for r in self.reviews if r.state != "COMMENTED"}
        if "CHANGES_REQUESTED" in verdicts.values():
            return "CHANGES_REQUESTED"
        return "APPROVED" if verdicts else "REVIEW_REQUIRED"


@dataclass(slots=True)
class WorkflowRun:
    """A workflow run, its newest attempt."""

    started: ev.WorkflowRunStarted
    created_at: datetime
    id: int
    number: int
    updated_at: datetime
    conclusion: str | None = None


@dataclass(slots=True)
class Deployment:
    """A deployment with its states, oldest first."""

    created: ev.DeploymentCreated
    id: int
    updated_at: datetime
    statuses: list[tuple[int, ev.DeploymentStatusCreated]] = field(default_factory=list)


@dataclass(slots=True)
class ObservationState:
    """An observation as it stands."""

    observation: ev.Observation
    trace: Trace
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, str]


@dataclass(slots=True)
class Trace:
    """A trace as it stands."""

    ingested: ev.TraceIngested
    updated_at: datetime
    metadata: dict[str, str]
    observations: list[ObservationState] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """Everything that exists at `now`. `version` counts the events applied."""

    now: datetime = NEVER
    version: int = 0
    issues: dict[str, Issue] = field(default_factory=dict)
    pull_requests: dict[str, PullRequest] = field(default_factory=dict)
    runs: dict[str, WorkflowRun] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    scores: list[ev.ScoreAdded] = field(default_factory=list)
    _counters: dict[str, int] = field(default_factory=dict)
    _derived: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[State], T]) -> T:
        """What `make` gives, made again only after something happened."""
        version, found = self._derived.get(name, (-1, None))
        if version != self.version:
            found = make(self)
            self._derived[name] = self.version, found
        return cast(T, found)

    def apply(self, event: ev.Event) -> None:
        """Fold one event in; events come in order of time."""
        self.now, self.version = event.at, self.version + 1
        change = _CHANGES.get(type(event))
        if change is not None:
            change(self, event)

    def pulls_of(self, repository: str) -> list[PullRequest]:
        """The pull requests of one repository, oldest first."""
        return [pull for pull in self.pull_requests.values() if pull.repository == repository]

    def _next(self, what: str, base: int = 0) -> int:
        self._counters[what] = self._counters.get(what, base) + 1
        return self._counters[what]

    # Jira

    def _issue_created(self, event: ev.IssueCreated) -> None:
        assert event.ticket is not None  # noqa: S101 (an issue is a ticket)
        self.issues[event.ticket] = Issue(event, event.ticket, event.at, event.priority)

    def _issue_changed(self, event: ev.IssueChanged) -> None:
        issue = self.issues[event.ticket or ""]
        issue.updated_at = event.at
        number = self._next("history", 100_000)
        issue.histories.append(History(str(number), event.at, org.BY_LOGIN[event.author], event.changes))
        for change in event.changes:
            if change.field_id == "status":
                issue.status = org.STATUSES[change.to_value or ""]
            elif change.field_id == "assignee":
                issue.assignee = next((p for p in org.PEOPLE if p.account_id == change.to_value), None)
            elif change.field_id == "priority":
                issue.priority = change.to_string or issue.priority
            elif change.field_id == "resolution":
                issue.resolution = change.to_string
                issue.resolved_at = event.at if change.to_string else None

    def _comment_added(self, event: ev.CommentAdded) -> None:
        issue = self.issues[event.ticket or ""]
        issue.updated_at = event.at
        number = self._next("comment", 30_000)
        issue.comments.append(Comment(str(number), event.at, org.BY_LOGIN[event.author], event.body))

    # GitHub

    def _opened(self, event: ev.PullRequestOpened) -> None:
        number = self._next(f"number/{event.repository}")
        self.pull_requests[event.ref] = PullRequest(
            event,
            number,
            self._next("pull", 2_100_000_000),
            event.at,
            event.draft,
            list(event.commits),
            list(event.labels),
            event.files,
        )

    def _pull(self, ref: str, at: datetime) -> PullRequest:
        pull = self.pull_requests[ref]
        pull.updated_at = at
        return pull

    def _pushed(self, event: ev.CommitsPushed) -> None:
        pull = self._pull(event.ref, event.at)
        pull.commits += event.commits
        pull.files += event.files
        pull.pushes.append(event)

    def _ready(self, event: ev.ReadyForReview) -> None:
        pull = self._pull(event.ref, event.at)
        pull.draft = False
        pull.ready.append(event)

    def _requested(self, event: ev.ReviewRequested) -> None:
        self._pull(event.ref, event.at).requests.append(event)

    def _reviewed(self, event: ev.ReviewSubmitted) -> None:
        pull = self._pull(event.ref, event.at)
        number = self._next("review", 1_900_000_000)
        author = org.BY_LOGIN[event.author]
        pull.reviews.append(Review(number, event.at, author, event.state, event.body, pull.head))

    def _labeled(self, event: ev.Labeled) -> None:
        pull = self._pull(event.ref, event.at)
        if event.label not in pull.labels:
            pull.labels.append(event.label)
        pull.labeled.append(event)

    def _merged(self, event: ev.PullRequestMerged) -> None:
        self._pull(event.ref, event.at).merged = event

    def _closed(self, event: ev.PullRequestClosed) -> None:
        self._pull(event.ref, event.at).closed = event

    def _run_started(self, event: ev.WorkflowRunStarted) -> None:
        known = self.runs.get(event.run)
        if known is None:
            id_, number = self._next("run", 9_000_000_000), self._next(f"run/{event.repository}/{event.name}")
            self.runs[event.run] = WorkflowRun(event, event.at, id_, number, event.at)
        else:
            known.started, known.updated_at, known.conclusion = event, event.at, None

    def _run_completed(self, event: ev.WorkflowRunCompleted) -> None:
        run = self.runs[event.run]
        run.updated_at, run.conclusion = event.at, event.conclusion

    def _deployment_created(self, event: ev.DeploymentCreated) -> None:
        self.deployments[event.deployment] = Deployment(event, self._next("deployment", 1_200_000_000), event.at)

    def _deployment_status(self, event: ev.DeploymentStatusCreated) -> None:
        deployment = self.deployments[event.deployment]
        deployment.updated_at = event.at
        deployment.statuses.append((self._next("deployment status", 3_300_000_000), event))

    # Langfuse

    def _trace_ingested(self, event: ev.TraceIngested) -> None:
        trace = Trace(event, event.at, dict(event.metadata))
        trace.observations = [
            ObservationState(o, trace, event.at, event.at, dict(o.metadata)) for o in event.observations
        ]
        self.traces[event.id] = trace

    def _trace_updated(self, event: ev.TraceUpdated) -> None:
        trace = self.traces[event.trace]
        root = trace.observations[0]
        trace.updated_at = root.updated_at = event.at
        trace.metadata.update(event.metadata)
        root.metadata.update(event.metadata)

    def _score_added(self, event: ev.ScoreAdded) -> None:
        self.scores.append(event)


_CHANGES: dict[type[ev.Event], Callable[[State, Any], None]] = {
    ev.IssueCreated: State._issue_created,
    ev.IssueChanged: State._issue_changed,
    ev.CommentAdded: State._comment_added,
    ev.PullRequestOpened: State._opened,
    ev.CommitsPushed: State._pushed,
    ev.ReadyForReview: State._ready,
    ev.ReviewRequested: State._requested,
    ev.ReviewSubmitted: State._reviewed,
    ev.Labeled: State._labeled,
    ev.PullRequestMerged: State._merged,
    ev.PullRequestClosed: State._closed,
    ev.WorkflowRunStarted: State._run_started,
    ev.WorkflowRunCompleted: State._run_completed,
    ev.DeploymentCreated: State._deployment_created,
    ev.DeploymentStatusCreated: State._deployment_status,
    ev.TraceIngested: State._trace_ingested,
    ev.TraceUpdated: State._trace_updated,
    ev.ScoreAdded: State._score_added,
}
