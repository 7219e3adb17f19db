"""What the log of events says, gathered thing by thing: tickets, pull requests, runs, deployments, traces, verdicts.

Nothing here is shared with the simulated APIs. Numbers are those that GitHub gives in order of arrival.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import jira_events as jira
from forge_demo import organisation as org
from forge_demo.github_places import ACCOUNTS, GHOST, PLACES, STRANGER, Place
from forge_demo.github_tales import TICKET
from forge_demo.oracle.stack import Stack
from forge_demo.organisation import Person, Status
from forge_demo.traces import observation_cost

WEB = "https://github.example"
NEVER = datetime.min.replace(tzinfo=UTC)
T = TypeVar("T")


def somebody(login: str) -> Person | None:
    """Who has a login in GitHub; None whose account is gone."""
    person = ACCOUNTS[login]
    return None if person in (GHOST, STRANGER) else person


# Jira


@dataclass(slots=True, eq=False)
class Stay:
    """A ticket's stay in a status; `by`: who moved it there. Category and kind are what can be known of the status."""

    index: int
    status: Status
    entered_at: datetime
    by: Person | None
    left_at: datetime | None = None
    is_reentry: bool = False
    next_status: Status | None = None
    category: str = ""
    kind: str = ""


@dataclass(slots=True, eq=False)
class Ticket:
    """A ticket as it stands."""

    created: ev.IssueCreated
    key: str
    project: str
    updated_at: datetime
    former_keys: set[str] = field(default_factory=set)
    stays: list[Stay] = field(default_factory=list)
    resolution: str | None = None
    resolved_at: datetime | None = None
    assignee: str | None = None
    causes: list[str] = field(default_factory=list)
    """First keys of the tickets that it says it is caused by."""
    comments: list[tuple[datetime, Person, str]] = field(default_factory=list)
    gone: bool = False

    @property
    def at(self) -> datetime:
        """When it was created."""
        return self.created.at

    @property
    def first_key(self) -> str:
        """What it was called when it was created: what branches and runs call it."""
        return self.created.ticket or ""

    @property
    def keys(self) -> set[str]:
        """All that it is and was called."""
        return {self.first_key, self.key, *self.former_keys}

    @property
    def status(self) -> Status:
        """Where it is."""
        return self.stays[-1].status

    @property
    def is_done(self) -> bool:
        """Whether it is in a status that ends work."""
        return self.status.category == "done"

    @property
    def started_at(self) -> datetime | None:
        """When it first was in progress, as far as that can be known."""
        return min((s.entered_at for s in self.stays if s.category == "indeterminate"), default=None)


# GitHub


@dataclass(slots=True, eq=False)
class Repo:
    """A repository as it stands. landed: when each commit came to main."""

    place: Place
    owner: str = org.ORGANISATION
    name: str = ""
    deleted: bool = False
    landed: dict[str, datetime] = field(default_factory=dict)
    head: str = ""
    numbers: int = 0

    @property
    def full_name(self) -> str:
        """owner/name."""
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class Review:
    """A review; to GitHub a single comment on a line is one."""

    at: datetime
    author: str
    state: str
    body: str = ""

    @property
    def by(self) -> Person | None:
        """Who wrote it."""
        return somebody(self.author)


@dataclass(slots=True, eq=False)
class Pull:
    """A pull request as it stands."""

    opened: ev.PullRequestOpened
    repo: Repo
    number: int
    title: str
    body: str
    commits: list[ev.Commit]
    files: int
    draft: bool
    ticket: Ticket | None = None
    reviews: list[Review] = field(default_factory=list)
    events: list[ev.Event] = field(default_factory=list)
    merged: ev.PullRequestMerged | None = None
    closed: ev.PullRequestClosed | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, int]:
        """The repository's id and the number."""
        return self.repo.place.id, self.number

    @property
    def url(self) -> str:
        """Its page."""
        return f"{WEB}/{self.repo.full_name}/pull/{self.number}"

    @property
    def author(self) -> Person | None:
        """Who opened it."""
        return somebody(self.opened.author)

    @property
    def merged_at(self) -> datetime | None:
        """When it was merged."""
        return self.merged.at if self.merged else None

    @property
    def closed_at(self) -> datetime | None:
        """When it was merged or closed, unless it is open again."""
        return self.merged.at if self.merged else self.closed.at if self.closed else None

    @property
    def first_commit_at(self) -> datetime:
        """When the first of its commits was written."""
        return min(c.authored_at for c in self.commits)

    @property
    def ready_at(self) -> datetime | None:
        """When it first was for review."""
        for event in self.events:
            if isinstance(event, ev.ReadyForReview):
                return event.at
        return None if self.opened.draft else self.opened.at

    @property
    def method(self) -> str:
        """Where it names its ticket: the surest place."""
        if self.ticket is None:
            return "none"
        messages = " ".join(commit.message for commit in self.commits)
        places = {"branch": self.opened.branch, "title": self.title, "body": self.body, "commit": messages}
        names = [re.compile(rf"\b{key}\b") for key in self.ticket.keys]
        return next(place for place, text in places.items() if any(name.search(text) for name in names))

    @property
    def by_others(self) -> list[Review]:
        """Its reviews, oldest first, without its author's."""
        mine = self.author
        return sorted((r for r in self.reviews if mine is None or r.by != mine), key=lambda r: r.at)


@dataclass(slots=True, eq=False)
class Job:
    """A job of a run's attempt."""

    name: str
    attempt: int
    started_at: datetime
    completed_at: datetime | None = None
    conclusion: str | None = None


@dataclass(slots=True, eq=False)
class Run:
    """A workflow run: `attempts` holds when each began, `ends` what each came to."""

    id: int
    repo: Repo
    name: str
    event: str
    sha: str
    branch: str
    created_at: datetime
    pull: Pull | None
    actors: list[Person | None] = field(default_factory=list)
    attempts: list[datetime] = field(default_factory=list)
    ends: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def conclusion(self, attempt: int) -> str | None:
        """What an attempt (from 1) came to; None while it runs."""
        return self.ends[attempt][1] if attempt in self.ends else None

    @property
    def last(self) -> int:
        """The number of its newest attempt."""
        return len(self.attempts)

    def began(self, attempt: int) -> datetime:
        """When an attempt began: GitHub tells it of the newest, the jobs of those before."""
        if attempt == self.last:
            return self.attempts[-1]
        return min(job.started_at for job in self.jobs if job.attempt == attempt)

    def ended(self, attempt: int) -> datetime | None:
        """When the last job of an attempt that ended was over."""
        if attempt not in self.ends:
            return None
        ends = [job.completed_at for job in self.jobs if job.attempt == attempt and job.completed_at]
        return max(ends, default=self.ends[attempt][0])


@dataclass(slots=True, eq=False)
class Deployment:
    """A deployment with its states, oldest first."""

    created: ev.DeploymentCreated
    repo: Repo
    id: int
    states: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """How silver and gold name it."""
        return f"github:{self.repo.place.id}/{self.id}"

    def first(self, *states: str) -> datetime | None:
        """When it first was in one of these states."""
        return next((at for at, state in self.states if state in states), None)

    @property
    def outcome(self) -> str:
        """succeeded, failed or pending."""
        if self.first("success"):
            return "succeeded"
        return "failed" if self.first("failure", "error") else "pending"

    @property
    def finished_at(self) -> datetime | None:
        """When that was known."""
        return self.first("success") or self.first("failure", "error")


# Langfuse


@dataclass(slots=True, eq=False)
class Score:
    """A verdict as it stands."""

    added: ev.ScoreAdded
    value: Decimal
    comment: str | None

    @property
    def at(self) -> datetime:
        """What it says of its time."""
        return self.added.given_at or self.added.at


@dataclass(slots=True, eq=False)
class Trace:
    """A run of an agent (or a chat) as it stands."""

    ingested: ev.TraceIngested
    ticket: Ticket | None
    steps: list[ev.Observation]
    metadata: dict[str, str]
    scores: list[Score] = field(default_factory=list)

    @property
    def user(self) -> Person | None:
        """On whose behalf it ran."""
        return org.BY_LOGIN[self.ingested.user] if self.ingested.user else None

    @property
    def stage(self) -> str:
        """What the agent did; nothing of a chat."""
        stages = {agent.login: stage for stage, agent in org.STAGE_AGENTS.items()}
        return "" if self.ingested.ticket is None else stages[self.ingested.user or ""]

    @property
    def method(self) -> str:
        """The surest evidence that the run left of its ticket."""
        if self.ticket is None:
            return "none"
        if "ticket" in self.metadata:
            return "metadata"
        if self.ingested.session is not None:
            return "session"
        return "tag" if any(tag.startswith("ticket:") for tag in self.ingested.tags) else "trace_name"

    @property
    def calls(self) -> list[ev.Observation]:
        """The calls of models, the innermost: what is around one that has tokens only tells of it again."""
        inner = {step.id: step for step in self.steps}
        around: set[str] = set()
        for step in self.steps:
            above = inner.get(step.parent or "")
            while step.input_tokens is not None and above is not None and above.id not in around:
                around.add(above.id)
                above = inner.get(above.parent or "")
        return [
            step
            for step in self.steps
            if (step.type == "GENERATION" or step.input_tokens is not None) and step.id not in around
        ]

    @property
    def errors(self) -> list[ev.Observation]:
        """The steps that failed."""
        return [step for step in self.steps if step.level == "ERROR"]


CONFIDENCE = {
    "metadata": 1.0,
    "session": 0.95,
    "tag": 0.9,
    "branch": 0.95,
    "title": 0.9,
    "body": 0.7,
    "commit": 0.6,
    "trace_name": 0.7,
    "none": 0.0,
}


def tokens(step: ev.Observation) -> tuple[int, int, int]:
    """Input, output and all tokens of a call."""
    ours, theirs = step.input_tokens or 0, step.output_tokens or 0
    return ours, theirs, ours + theirs + step.cached_tokens if step.input_tokens is not None else 0


cost = observation_cost
"""US dollars of a step: its tokens by the model's prices."""


class Known:
    """Everything that the events of `past` (oldest first) say, of which the stack loads what it loads."""

    def __init__(self, past: Sequence[ev.Event], stack: Stack) -> None:
        self.past, self.stack = past, stack
        self.kept: dict[str, Any] = {}
        self._tickets: dict[str, Ticket] = {}
        self._repos = {key: Repo(place, name=key) for key, place in PLACES.items()}
        self._pulls: dict[str, Pull] = {}
        self._runs: dict[str, Run] = {}
        self._jobs: dict[str, Job] = {}
        self._deployments: dict[str, Deployment] = {}
        self._ids = {"run": 9_000_000_000, "deployment": 1_200_000_000}
        self._traces: dict[str, Trace] = {}
        self._scores: dict[str, Score] = {}
        for event in past:
            if (take := _TAKES.get(type(event))) is not None:
                take(self, event)
        self._judge_statuses()
        if not self.loads("jira"):
            self._believe()

    # What of it is loaded

    def loads(self, type_: str) -> bool:
        """Whether there is a source of a type: what it would tell is not 0 but unknown without."""
        return type_ in self.stack.types

    @functools.cached_property
    def tickets(self) -> list[Ticket]:
        """The tickets that Jira gives."""
        if not self.loads("jira"):
            return []
        return [t for t in self._tickets.values() if not t.gone and t.project in self.stack.projects]

    @functools.cached_property
    def _loaded(self) -> set[Ticket]:
        return set(self.tickets)

    @functools.cached_property
    def repos(self) -> list[Repo]:
        """The repositories that can be read."""
        wanted = set(self.stack.topics)
        return [
            repo
            for repo in self._repos.values()
            if self.loads("github")
            and repo.owner == org.ORGANISATION
            and not repo.deleted
            and not repo.place.forbidden
            and (not wanted or wanted & set(repo.place.topics))
        ]

    @functools.cached_property
    def pulls(self) -> list[Pull]:
        """Their pull requests."""
        return [pull for pull in self._pulls.values() if pull.repo in self.repos]

    @functools.cached_property
    def runs(self) -> list[Run]:
        """Their workflow runs."""
        return [run for run in self._runs.values() if run.repo in self.repos]

    @functools.cached_property
    def deployments(self) -> list[Deployment]:
        """Their deployments."""
        return [deployment for deployment in self._deployments.values() if deployment.repo in self.repos]

    @functools.cached_property
    def traces(self) -> list[Trace]:
        """The traces."""
        return list(self._traces.values()) if self.loads("langfuse") else []

    @functools.cached_property
    def scores(self) -> list[Score]:
        """The verdicts."""
        return list(self._scores.values()) if self.loads("langfuse") else []

    def trace(self, id_: str) -> Trace:
        """A trace by its id."""
        return self._traces[id_]

    def ticket(self, first_key: str | None) -> Ticket | None:
        """A ticket by the key that it had first, loaded or not."""
        return self._tickets.get(first_key or "")

    def in_jira(self, ticket: Ticket | None) -> Ticket | None:
        """The ticket, if it is loaded."""
        return ticket if ticket is not None and ticket in self._loaded else None

    def key(self, ticket: Ticket | None) -> str:
        """How it is called, as far as Jira can tell, else by what names it; empty for none."""
        return "" if ticket is None else ticket.key if self.in_jira(ticket) else ticket.first_key

    @functools.cached_property
    def named(self) -> list[Ticket]:
        """The tickets that any source names."""
        others = [pull.ticket for pull in self.pulls] + [trace.ticket for trace in self.traces]
        return [ticket for ticket in dict.fromkeys((*self.tickets, *others)) if ticket is not None]

    def prefix(self, ticket: Ticket | None) -> str | None:
        """The project that its key begins with."""
        return self.key(ticket).rpartition("-")[0] or None

    def project(self, ticket: Ticket | None) -> str | None:
        """The project of a ticket that is loaded."""
        return ticket.project if self.in_jira(ticket) and ticket else None

    def team(self, it: Ticket | Repo | None) -> str | None:
        """The team of a ticket (by its project), or of a repository."""
        if isinstance(it, Repo):
            return self.stack.team_of_repository(it.full_name)
        return self.stack.team_of_project(self.prefix(it)) if it else None

    def _believe(self) -> None:
        """Without Jira nothing is known of projects: what looks like a key of one is believed."""
        project = TICKET.partition("-")[0]
        created = ev.IssueCreated(NEVER, TICKET, TICKET, project, "", "", "", "", "", (), None, None, None)
        there = Ticket(created, TICKET, project, NEVER, stays=[Stay(1, org.TODO, NEVER, None)])
        for pull in self._pulls.values():
            if pull.ticket is None and any(TICKET in text for text in (pull.title, *(c.message for c in pull.commits))):
                pull.ticket = there

    # Jira's events

    def _created(self, event: ev.IssueCreated) -> None:
        assert event.ticket is not None  # noqa: S101 (an issue is a ticket)
        ticket = Ticket(event, event.ticket, event.project, event.at)
        ticket.stays.append(Stay(1, org.TODO, event.at, None))
        self._tickets[event.ticket] = ticket

    def _of(self, event: ev.Event) -> Ticket:
        ticket = self._tickets[event.ticket or ""]
        ticket.updated_at = event.at
        return ticket

    def _changed(self, event: ev.IssueChanged) -> None:
        ticket = self._of(event)
        for change in event.changes:
            if change.field == "status":
                last, status = ticket.stays[-1], org.STATUSES[change.to_value or ""]
                last.left_at, last.next_status = event.at, status
                again = any(stay.status == status for stay in ticket.stays)
                person = org.BY_LOGIN[event.author]
                ticket.stays.append(Stay(last.index + 1, status, event.at, person, is_reentry=again))
            elif change.field == "resolution":
                ticket.resolution, ticket.resolved_at = change.to_string, event.at if change.to_string else None
            elif change.field == "assignee":
                ticket.assignee = change.to_string
            elif change.field == "Link" and "is caused by" in (change.to_string or ""):
                ticket.causes.append(change.to_value or "")

    def _commented(self, event: ev.CommentAdded) -> None:
        self._of(event).comments.append((event.at, org.BY_LOGIN[event.author], event.body))

    def _touched(self, event: ev.Event) -> None:
        self._of(event)

    def _edited(self, event: jira.CommentEdited) -> None:
        comments = self._of(event).comments
        comments[event.number] = (*comments[event.number][:2], event.body)

    def _uncommented(self, event: jira.CommentDeleted) -> None:
        comments = self._of(event).comments
        comments[event.number] = (*comments[event.number][:2], "")

    def _moved(self, event: jira.IssueMoved) -> None:
        ticket = self._of(event)
        ticket.former_keys.add(ticket.key)
        ticket.key, ticket.project = event.key, event.project

    def _issue_deleted(self, event: jira.IssueDeleted) -> None:
        self._tickets[event.ticket or ""].gone = True

    def _restored(self, event: jira.IssueRestored) -> None:
        self._of(event).gone = False

    def _judge_statuses(self) -> None:
        """Of a status the tickets in it tell the category; where there are none, its place in a history has to."""
        seen = {ticket.status for ticket in self.tickets}
        for ticket in self._tickets.values():
            for stay in ticket.stays:
                guess = "new" if stay.index == 1 else "indeterminate"
                stay.category = stay.status.category if stay.status in seen else guess
                if stay.category == "indeterminate":
                    stay.kind = "waiting" if re.search(self.stack.waiting, stay.status.name) else "active"
                else:
                    stay.kind = {"new": "queue", "done": "done"}[stay.category]

    # GitHub's events

    def _at(self, key: str) -> Repo | None:
        repo = self._repos[key]
        return None if repo.deleted else repo

    def _next(self, what: str) -> int:
        self._ids[what] += 1
        return self._ids[what]

    def _renamed(self, event: gh.RepositoryRenamed) -> None:
        if (repo := self._at(event.repository)) is not None:
            repo.owner, repo.name = event.owner, event.name

    def _repository_deleted(self, event: gh.RepositoryDeleted) -> None:
        self._repos[event.repository].deleted = True

    def _landed(self, event: gh.CommitLanded) -> None:
        if (repo := self._at(event.repository)) is not None:
            repo.landed[event.commit.oid], repo.head = event.at, event.commit.oid

    def _issue_opened(self, event: gh.IssueOpened) -> None:
        if (repo := self._at(event.repository)) is not None:
            repo.numbers += 1

    def _opened(self, event: ev.PullRequestOpened) -> None:
        if (repo := self._at(event.repository)) is None:
            return
        repo.numbers += 1
        self._pulls[event.ref] = Pull(
            event,
            repo,
            repo.numbers,
            event.title,
            event.body,
            list(event.commits),
            event.files,
            event.draft,
            ticket=self._tickets.get(event.ticket or ""),
        )

    def _pushed(self, event: ev.CommitsPushed) -> None:
        if (pull := self._pulls.get(event.ref)) is not None:
            pull.commits += event.commits
            pull.files += event.files

    def _force_pushed(self, event: gh.HeadForcePushed) -> None:
        if (pull := self._pulls.get(event.ref)) is not None:
            pull.commits = list(event.commits)
            pull.events.append(event)

    def _told(self, event: Any) -> None:
        if (pull := self._pulls.get(event.ref)) is None:
            return
        pull.events.append(event)
        match event:
            case ev.ReadyForReview():
                pull.draft = False
            case gh.ConvertedToDraft():
                pull.draft = True
            case ev.PullRequestMerged():
                pull.merged = event
                pull.repo.landed[event.sha], pull.repo.head = event.at, event.sha
            case ev.PullRequestClosed():
                pull.closed = event
            case gh.Reopened():
                pull.closed = None
            case gh.Retitled():
                pull.title = event.title
            case gh.BodyEdited():
                pull.body = event.body

    def _reviewed(self, event: ev.ReviewSubmitted) -> None:
        if (pull := self._pulls.get(event.ref)) is not None:
            pull.reviews.append(Review(event.at, event.author, event.state, event.body))

    def _remarked(self, event: gh.ThreadCommented) -> None:
        pull = self._pulls.get(event.ref)
        if pull is not None and not event.reviewed:
            pull.reviews.append(Review(event.at, event.author, "COMMENTED"))

    def _run_started(self, event: ev.WorkflowRunStarted) -> None:
        if (repo := self._at(event.repository)) is None:
            return
        run = self._runs.get(event.run)
        if run is None:
            kind = event.event or ("pull_request" if event.ref else "push")
            run = Run(
                self._next("run"), repo, event.name, kind, event.sha or repo.head, event.branch, event.at,
                self._pulls.get(event.ref or ""),
            )  # fmt: skip
            self._runs[event.run] = run
            if run.pull is not None:
                run.pull.runs.append(run)
        run.attempts.append(event.at)
        run.actors.append(somebody(event.actor))

    def _run_completed(self, event: ev.WorkflowRunCompleted) -> None:
        if (run := self._runs.get(event.run)) is not None:
            run.ends[run.last] = event.at, event.conclusion

    def _job_started(self, event: gh.JobStarted) -> None:
        if (run := self._runs.get(event.run)) is not None:
            job = Job(event.name, event.attempt, event.at)
            run.jobs.append(job)
            self._jobs[event.job] = job

    def _job_completed(self, event: gh.JobCompleted) -> None:
        if (job := self._jobs.get(event.job)) is not None:
            job.completed_at, job.conclusion = event.at, event.conclusion

    def _deployment_created(self, event: ev.DeploymentCreated) -> None:
        if (repo := self._at(event.repository)) is not None:
            self._deployments[event.deployment] = Deployment(event, repo, self._next("deployment"))

    def _deployment_status(self, event: ev.DeploymentStatusCreated) -> None:
        if (deployment := self._deployments.get(event.deployment)) is not None:
            deployment.states.append((event.at, event.state))

    # Langfuse's events

    def _ingested(self, event: ev.TraceIngested) -> None:
        ticket = self._tickets.get(event.ticket or "")
        self._traces[event.id] = Trace(event, ticket, list(event.observations), dict(event.metadata))

    def _trace_updated(self, event: ev.TraceUpdated) -> None:
        if (trace := self._traces.get(event.trace)) is not None:
            trace.metadata.update(event.metadata)
            trace.ticket = self._tickets.get(trace.metadata.get("ticket", ""), trace.ticket)

    def _step_changed(self, event: ev.ObservationChanged) -> None:
        if (trace := self._traces.get(event.trace)) is not None:
            trace.steps = [
                replace(step, level=event.level, status_message=event.status_message)
                if step.id == event.observation
                else step
                for step in trace.steps
            ]

    def _trace_deleted(self, event: ev.TraceDeleted) -> None:
        if (trace := self._traces.pop(event.trace, None)) is not None:
            for score in trace.scores:
                del self._scores[score.added.id]

    def _scored(self, event: ev.ScoreAdded) -> None:
        if (trace := self._traces.get(event.trace)) is not None:
            score = Score(event, event.value, event.comment)
            trace.scores.append(score)
            self._scores[event.id] = score

    def _score_changed(self, event: ev.ScoreChanged) -> None:
        if (score := self._scores.get(event.score)) is not None:
            score.value, score.comment = event.value, event.comment


_TAKES: dict[type[ev.Event], Callable[[Known, Any], None]] = {
    ev.IssueCreated: Known._created,
    ev.IssueChanged: Known._changed,
    ev.CommentAdded: Known._commented,
    jira.CommentEdited: Known._edited,
    jira.CommentDeleted: Known._uncommented,
    jira.IssueMoved: Known._moved,
    jira.IssueDeleted: Known._issue_deleted,
    jira.IssueRestored: Known._restored,
    gh.RepositoryRenamed: Known._renamed,
    gh.RepositoryDeleted: Known._repository_deleted,
    gh.CommitLanded: Known._landed,
    gh.IssueOpened: Known._issue_opened,
    ev.PullRequestOpened: Known._opened,
    ev.CommitsPushed: Known._pushed,
    gh.HeadForcePushed: Known._force_pushed,
    ev.ReadyForReview: Known._told,
    gh.ConvertedToDraft: Known._told,
    ev.PullRequestMerged: Known._told,
    ev.PullRequestClosed: Known._told,
    gh.Reopened: Known._told,
    gh.Retitled: Known._told,
    gh.BodyEdited: Known._told,
    ev.ReviewSubmitted: Known._reviewed,
    gh.ThreadCommented: Known._remarked,
    ev.WorkflowRunStarted: Known._run_started,
    ev.WorkflowRunCompleted: Known._run_completed,
    gh.JobStarted: Known._job_started,
    gh.JobCompleted: Known._job_completed,
    ev.DeploymentCreated: Known._deployment_created,
    ev.DeploymentStatusCreated: Known._deployment_status,
    ev.TraceIngested: Known._ingested,
    ev.TraceUpdated: Known._trace_updated,
    ev.ObservationChanged: Known._step_changed,
    ev.TraceDeleted: Known._trace_deleted,
    ev.ScoreAdded: Known._scored,
    ev.ScoreChanged: Known._score_changed,
}


def once(make: Callable[[Known], T]) -> Callable[[Known], T]:
    """Worked out once for each `Known`: tables lean on one another."""

    @functools.wraps(make)
    def kept(known: Known) -> T:
        name = f"{make.__module__}.{make.__name__}"
        if name not in known.kept:
            known.kept[name] = make(known)
        return cast(T, known.kept[name])

    return kept
