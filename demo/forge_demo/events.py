"""What happens in the world: one dataclass a kind of event. The log of these is all there is; the rest is derived.

Times are aware datetimes in UTC: whole seconds in GitHub, milliseconds in Jira and Langfuse, as the real ones have.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `at`, for the ticket whose key is `ticket` (None: for none)."""

    at: datetime
    ticket: str | None


# Jira


@dataclass(frozen=True, slots=True)
class IssueCreated(Event):
    """A ticket appears, in status To Do."""

    id: str
    project: str
    summary: str
    description: str
    issue_type: str
    priority: str
    reporter: str
    labels: tuple[str, ...]
    story_points: float | None
    parent: str | None
    due: date | None


@dataclass(frozen=True, slots=True)
class Change:
    """One item of a changelog entry, as Jira writes it."""

    field: str
    field_id: str | None
    from_value: str | None
    from_string: str | None
    to_value: str | None
    to_string: str | None


@dataclass(frozen=True, slots=True)
class IssueChanged(Event):
    """Somebody changed fields of a ticket: one changelog entry."""

    author: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class CommentAdded(Event):
    """Somebody commented a ticket."""

    author: str
    body: str


# GitHub


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; `author` is a login."""

    oid: str
    author: str
    authored_at: datetime
    committed_at: datetime
    message: str
    additions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class PullRequestOpened(Event):
    """A pull request appears; `ref` names it for later events (its number is given in order of opening).

    fork: the repository (owner/name) that holds its branch, empty when that is deleted; None: the same one.
    """

    ref: str
    repository: str
    author: str
    title: str
    body: str
    branch: str
    draft: bool
    labels: tuple[str, ...]
    files: int
    commits: tuple[Commit, ...]
    fork: str | None = None


@dataclass(frozen=True, slots=True)
class CommitsPushed(Event):
    """New commits on the branch of an open pull request."""

    ref: str
    commits: tuple[Commit, ...]
    files: int


@dataclass(frozen=True, slots=True)
class ReadyForReview(Event):
    """A draft became ready."""

    ref: str
    actor: str


@dataclass(frozen=True, slots=True)
class ReviewRequested(Event):
    """Somebody is asked for a review: a login, or a team's name after an @."""

    ref: str
    actor: str
    reviewer: str


@dataclass(frozen=True, slots=True)
class ReviewSubmitted(Event):
    """A review; `state` is APPROVED, CHANGES_REQUESTED or COMMENTED."""

    ref: str
    author: str
    state: str
    body: str


@dataclass(frozen=True, slots=True)
class Labeled(Event):
    """A label was put on a pull request."""

    ref: str
    actor: str
    label: str


@dataclass(frozen=True, slots=True)
class PullRequestMerged(Event):
    """A pull request was merged as `sha`."""

    ref: str
    actor: str
    sha: str


@dataclass(frozen=True, slots=True)
class PullRequestClosed(Event):
    """A pull request was closed without a merge."""

    ref: str
    actor: str


@dataclass(frozen=True, slots=True)
class WorkflowRunStarted(Event):
    """CI starts, or starts again with a higher `attempt`, for `sha` (empty: what main is at then).

    ref: the pull request (None: on main). event: what started it; None: the pull request, or a push without one.
    """

    run: str
    repository: str
    name: str
    ref: str | None
    sha: str
    branch: str
    actor: str
    attempt: int
    event: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowRunCompleted(Event):
    """CI ends; `conclusion` is success, failure or cancelled."""

    run: str
    conclusion: str


@dataclass(frozen=True, slots=True)
class DeploymentCreated(Event):
    """A deployment of `sha` to `environment` begins."""

    deployment: str
    repository: str
    sha: str
    environment: str
    actor: str


@dataclass(frozen=True, slots=True)
class DeploymentStatusCreated(Event):
    """A deployment's state changed: queued, in_progress, success, failure or inactive."""

    deployment: str
    state: str
    actor: str


# Langfuse


@dataclass(frozen=True, slots=True)
class Observation:
    """A step of a trace. Only generations carry usage and cost; a parent repeats neither."""

    id: str
    parent: str | None
    type: str
    name: str
    started_at: datetime
    ended_at: datetime | None
    completion_started_at: datetime | None = None
    level: str = "DEFAULT"
    status_message: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    prompt_name: str | None = None
    prompt_version: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    input: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class TraceIngested(Event):
    """A trace with its observations arrives, some time after it ended."""

    id: str
    name: str
    timestamp: datetime
    session: str | None
    user: str | None
    environment: str
    release: str | None
    version: str | None
    tags: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class TraceUpdated(Event):
    """Metadata is added to a trace and its root observation, long after it was first seen."""

    trace: str
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ObservationChanged(Event):
    """An observation's level and status message change, some hours after it was first seen."""

    trace: str
    observation: str
    level: str
    status_message: str


@dataclass(frozen=True, slots=True)
class TraceDeleted(Event):
    """A trace is deleted, with its observations and scores."""

    trace: str


@dataclass(frozen=True, slots=True)
class ScoreAdded(Event):
    """A verdict on a trace, on one of its observations, or on its session; `source` is ANNOTATION, EVAL or API.

    kind: NUMERIC, BOOLEAN (value 1 or 0) or CATEGORICAL (`text`). given_at: what it says of its time, None: when it
    arrived.
    """

    id: str
    trace: str
    name: str
    value: Decimal
    source: str
    comment: str | None
    kind: str = "NUMERIC"
    text: str | None = None
    observation: str | None = None
    session: str | None = None
    author: str | None = None
    config: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    given_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScoreChanged(Event):
    """Somebody thinks better of a score."""

    score: str
    value: Decimal
    comment: str


# Forge itself: what its own metrics count


@dataclass(frozen=True, slots=True)
class StageQueued(Event):
    """A stage of a ticket waits for an agent."""

    run: str
    project: str
    stage: str


@dataclass(frozen=True, slots=True)
class StageStarted(Event):
    """An agent took it."""

    run: str
    project: str
    stage: str
    agent: str


@dataclass(frozen=True, slots=True)
class StageEnded(Event):
    """The agent is done with it; `error` says why it failed."""

    run: str
    project: str
    stage: str
    agent: str
    started_at: datetime
    cost: Decimal
    error: str | None


def moved(value: Any, origin: datetime, target: datetime, factor: float, grain: int) -> Any:
    """`value` (an event, or a part of one) with every time mapped to target + (time - origin) * factor.

    grain: milliseconds that the times are floored to.
    """
    if isinstance(value, datetime):
        later = target + (value - origin) * factor
        milliseconds = later.microsecond // 1000
        return later.replace(microsecond=(milliseconds - milliseconds % min(grain, 1000)) * 1000)
    if isinstance(value, tuple):
        return tuple(moved(item, origin, target, factor, grain) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: moved(getattr(value, f.name), origin, target, factor, grain) for f in fields(value)}
        )
    return value
