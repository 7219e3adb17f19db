"""What there is in GitHub: repositories, pull requests, issues, reviews, checks, runs, deployments, as they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo.github_places import ACCOUNTS, App, Place, node_id
from forge_demo.organisation import Person


@dataclass(slots=True)
class Remark:
    """A comment below a pull request or an issue."""

    id: int
    at: datetime
    author: Person
    body: str


@dataclass(slots=True)
class ThreadRemark:
    """A comment on a line, part of a `review`; perhaps a reply `to` another."""

    id: int
    at: datetime
    author: Person
    body: str
    review: Review
    to: ThreadRemark | None


@dataclass(slots=True)
class Thread:
    """What was said about a line of the change at `oid`."""

    id: int
    path: str
    line: int
    oid: str
    comments: list[ThreadRemark] = field(default_factory=list)
    resolved_by: Person | None = None


@dataclass(slots=True)
class Review:
    """A submitted review, of the head `oid`."""

    id: int
    at: datetime
    author: Person
    state: str
    body: str
    oid: str


@dataclass(slots=True, kw_only=True)
class Subject:
    """What pull requests and issues share. `timeline` holds (id, event), oldest first."""

    repo: Repo
    number: int
    id: int
    title: str
    body: str
    author: Person
    created_at: datetime
    updated_at: datetime
    labels: list[str]
    assignees: list[Person] = field(default_factory=list)
    milestone: str | None = None
    comments: list[Remark] = field(default_factory=list)
    timeline: list[tuple[int, ev.Event]] = field(default_factory=list)
    closed: ev.PullRequestClosed | gh.IssueClosed | None = None

    @property
    def closed_at(self) -> datetime | None:
        """When it was closed, unless it is open again."""
        return self.closed.at if self.closed else None


@dataclass(slots=True, kw_only=True)
class Issue(Subject):
    """A GitHub issue as it stands; `reopened` after its newest closing."""

    opened: gh.IssueOpened
    reopened: bool = False

    @property
    def node_id(self) -> str:
        """Its global id."""
        return node_id("I", self.id)

    @property
    def state(self) -> str:
        """OPEN or CLOSED."""
        return "CLOSED" if self.closed else "OPEN"

    @property
    def state_reason(self) -> str | None:
        """COMPLETED, NOT_PLANNED or REOPENED."""
        if isinstance(self.closed, gh.IssueClosed):
            return self.closed.reason
        return "REOPENED" if self.reopened else None


@dataclass(slots=True, kw_only=True)
class PullRequest(Subject):
    """A pull request as it stands."""

    opened: ev.PullRequestOpened
    draft: bool
    commits: list[ev.Commit]
    files: int
    reviews: list[Review] = field(default_factory=list)
    threads: dict[str, Thread] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    merged: ev.PullRequestMerged | None = None

    @property
    def node_id(self) -> str:
        """Its global id."""
        return node_id("PR", self.id)

    @property
    def repository(self) -> str:
        """The key of its repository."""
        return self.opened.repository

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
        """People who were asked and have not answered (teams aside)."""
        return [ACCOUNTS[login] for login in self.requested if not login.startswith("@")]

    @property
    def review_decision(self) -> str | None:
        """GitHub's: by the latest verdict of each reviewer; None where no review is required (dependency updates)."""
        if self.opened.ticket is None:
            return "APPROVED" if any(r.state == "APPROVED" for r in self.reviews) else None
        verdicts = {r.author.login: r.state for r in self.reviews if r.state != "COMMENTED"}
        if "CHANGES_REQUESTED" in verdicts.values():
            return "CHANGES_REQUESTED"
        return "APPROVED" if verdicts else "REVIEW_REQUIRED"

    def happened(self, kind: type[Any]) -> list[Any]:
        """Its events of a kind, oldest first."""
        return [event for _, event in self.timeline if isinstance(event, kind)]

    @property
    def ready(self) -> list[ev.ReadyForReview]:
        """When it left draft."""
        return self.happened(ev.ReadyForReview)

    @property
    def pushes(self) -> list[ev.CommitsPushed]:
        """Pushes after the first."""
        return self.happened(ev.CommitsPushed)


@dataclass(slots=True)
class Check:
    """A check run; of Actions it is a job, with an attempt, a runner and steps."""

    id: int
    suite: Suite
    name: str
    started_at: datetime
    attempt: int = 1
    runner: str | None = None
    completed_at: datetime | None = None
    conclusion: str | None = None
    steps: tuple[gh.Step, ...] = ()


@dataclass(slots=True)
class Suite:
    """The checks of an app on a commit; those of Actions are of one workflow run."""

    id: int
    repo: Repo
    sha: str
    branch: str
    app: App
    created_at: datetime
    run: WorkflowRun | None = None
    checks: list[Check] = field(default_factory=list)

    def latest(self) -> list[Check]:
        """The newest check of each name."""
        return list({check.name: check for check in self.checks}.values())

    @property
    def conclusion(self) -> str | None:
        """None while anything runs."""
        if self.run is not None:
            return self.run.conclusion
        ends = [check.conclusion for check in self.latest()]
        if None in ends or not ends:
            return None
        return next((c for c in ("failure", "timed_out", "success", "neutral", "skipped") if c in ends), "neutral")

    @property
    def updated_at(self) -> datetime:
        """When anything in it last changed."""
        if self.run is not None:
            return self.run.updated_at
        return max(check.completed_at or check.started_at for check in self.checks)


@dataclass(slots=True)
class CommitStatus:
    """A legacy status of a commit, the newest of its context."""

    id: int
    set: gh.CommitStatusSet


@dataclass(slots=True)
class WorkflowRun:
    """A workflow run, its newest attempt."""

    started: ev.WorkflowRunStarted
    repo: Repo
    created_at: datetime
    id: int
    number: int
    updated_at: datetime
    conclusion: str | None = None
    suite: Suite | None = None
    pull: PullRequest | None = None

    @property
    def event(self) -> str:
        """What started it: pull_request, push or schedule."""
        return self.started.event or ("pull_request" if self.started.ref else "push")

    @property
    def jobs(self) -> list[Check]:
        """Those of all attempts, oldest first."""
        return self.suite.checks if self.suite else []


@dataclass(slots=True)
class Deployment:
    """A deployment with its states, oldest first."""

    created: ev.DeploymentCreated
    repo: Repo
    id: int
    updated_at: datetime
    statuses: list[tuple[int, ev.DeploymentStatusCreated]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The newest state."""
        return self.statuses[-1][1].state if self.statuses else "pending"


@dataclass(slots=True)
class Tag:
    """A tag."""

    created: gh.TagCreated
    repo: Repo


@dataclass(slots=True)
class Release:
    """A release as it stands."""

    created: gh.ReleaseCreated
    repo: Repo
    id: int
    body: str
    draft: bool
    published_at: datetime | None
    updated_at: datetime


@dataclass(slots=True)
class Repo:
    """A repository as it stands."""

    place: Place
    owner: str
    name: str
    head: str
    pushed_at: datetime | None = None
    updated_at: datetime | None = None
    archived: bool = False
    changes: int = 0
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    deployments: dict[int, Deployment] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    suites: dict[str, list[Suite]] = field(default_factory=dict)
    statuses: dict[str, dict[str, CommitStatus]] = field(default_factory=dict)
    commits: dict[str, ev.Commit] = field(default_factory=dict)
    landed: list[str] = field(default_factory=list)
    _kept: dict[str, tuple[int, Any]] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """owner/name."""
        return f"{self.owner}/{self.name}"

    @property
    def node_id(self) -> str:
        """Its global id."""
        return node_id("R", self.place.id)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made again only after something happened in this repository."""
        changes, found = self._kept.get(name, (-1, None))
        if changes != self.changes:
            found = make()
            self._kept[name] = self.changes, found
        return found
