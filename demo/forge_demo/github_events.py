"""What happens in GitHub beside the stories of tickets: one dataclass a kind of event.

`ref` names a pull request or an issue, `repository` a place by its key; times are whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forge_demo.events import Commit, Event

# Repositories


@dataclass(frozen=True, slots=True)
class RepositoryRenamed(Event):
    """A repository has a new name, or a new owner; the old address still leads to it."""

    repository: str
    owner: str
    name: str


@dataclass(frozen=True, slots=True)
class RepositoryDeleted(Event):
    """A repository is gone."""

    repository: str


@dataclass(frozen=True, slots=True)
class CommitLanded(Event):
    """A commit on main that came through no pull request."""

    repository: str
    commit: Commit


@dataclass(frozen=True, slots=True)
class TagCreated(Event):
    """A tag; with `message` it is annotated, else it points at the commit itself."""

    repository: str
    name: str
    sha: str
    tagger: str
    message: str | None


@dataclass(frozen=True, slots=True)
class ReleaseCreated(Event):
    """A release, or the draft of one (which has no tag yet)."""

    release: str
    repository: str
    tag: str
    name: str | None
    body: str
    author: str
    draft: bool
    prerelease: bool


@dataclass(frozen=True, slots=True)
class ReleaseEdited(Event):
    """Notes were changed; a draft is published by it."""

    release: str
    body: str


@dataclass(frozen=True, slots=True)
class Removed(Event):
    """Something is deleted: `kind` is issue, pull_request, release, tag, deployment, run or comment, `of` its id."""

    kind: str
    repository: str
    of: str


# Issues


@dataclass(frozen=True, slots=True)
class IssueOpened(Event):
    """A GitHub issue appears; numbers are given from the same row as those of pull requests."""

    ref: str
    repository: str
    author: str
    title: str
    body: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssueClosed(Event):
    """`reason` is COMPLETED or NOT_PLANNED; `by` the pull request whose merge did it."""

    ref: str
    actor: str
    reason: str
    by: str | None


@dataclass(frozen=True, slots=True)
class IssueLinked(Event):
    """Merging the pull request will close the issue."""

    ref: str
    actor: str
    issue: str


# Pull requests and issues


@dataclass(frozen=True, slots=True)
class Reopened(Event):
    """It was closed by mistake."""

    ref: str
    actor: str


@dataclass(frozen=True, slots=True)
class Commented(Event):
    """A comment below it."""

    ref: str
    author: str
    body: str


@dataclass(frozen=True, slots=True)
class Unlabeled(Event):
    """A label was taken off."""

    ref: str
    actor: str
    label: str


@dataclass(frozen=True, slots=True)
class Assigned(Event):
    """Somebody shall care; `assigned` false: not any more."""

    ref: str
    actor: str
    assignee: str
    assigned: bool = True


@dataclass(frozen=True, slots=True)
class Milestoned(Event):
    """It belongs to a milestone."""

    ref: str
    actor: str
    milestone: str


@dataclass(frozen=True, slots=True)
class Retitled(Event):
    """It has another title."""

    ref: str
    actor: str
    title: str


@dataclass(frozen=True, slots=True)
class BodyEdited(Event):
    """Its description was changed."""

    ref: str
    actor: str
    body: str


@dataclass(frozen=True, slots=True)
class ConvertedToDraft(Event):
    """A pull request is not ready after all."""

    ref: str
    actor: str


@dataclass(frozen=True, slots=True)
class ReviewRequestRemoved(Event):
    """Somebody need not review any more."""

    ref: str
    actor: str
    reviewer: str


@dataclass(frozen=True, slots=True)
class HeadForcePushed(Event):
    """The branch was rewritten: `commits` are all it has now, in place of those up to `before`."""

    ref: str
    actor: str
    before: str
    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class ThreadCommented(Event):
    """A comment on a line: the first of a `thread` starts it.

    reviewed: as part of the newest review; else it is a review of its own, in state COMMENTED.
    """

    ref: str
    thread: str
    author: str
    body: str
    path: str
    line: int
    reviewed: bool


@dataclass(frozen=True, slots=True)
class ThreadResolved(Event):
    """A thread is done with."""

    ref: str
    thread: str
    actor: str


# Checks


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job."""

    name: str
    conclusion: str
    started_at: datetime
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class JobStarted(Event):
    """A job of a workflow run's attempt."""

    job: str
    run: str
    name: str
    attempt: int
    runner: str | None


@dataclass(frozen=True, slots=True)
class JobCompleted(Event):
    """`conclusion` is success, failure, cancelled or skipped."""

    job: str
    conclusion: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class CheckStarted(Event):
    """A check by an app that is not Actions; its `suite` is made by the first of it."""

    check: str
    suite: str
    repository: str
    sha: str
    branch: str
    app: str
    name: str


@dataclass(frozen=True, slots=True)
class CheckCompleted(Event):
    """`conclusion` is success, failure, neutral, skipped or timed_out."""

    check: str
    conclusion: str


@dataclass(frozen=True, slots=True)
class CommitStatusSet(Event):
    """A legacy commit status; `state` is pending, success, failure or error."""

    repository: str
    sha: str
    context: str
    state: str
    actor: str
