"""What happens in Jira beside the changes that a changelog tells: a dataclass a kind. Times are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from forge_demo.events import Event


@dataclass(frozen=True, slots=True)
class SprintSet(Event):
    """A sprint is so from now on; `state` is future, active or closed. It touches no issue."""

    id: int
    board: int
    name: str
    state: str
    goal: str | None
    start: datetime | None
    end: datetime | None
    completed: datetime | None


@dataclass(frozen=True, slots=True)
class VersionSet(Event):
    """A version of a project is so from now on. It touches no issue."""

    id: str
    project: str
    name: str
    description: str | None
    released: bool
    archived: bool
    start: date | None
    release: date | None


@dataclass(frozen=True, slots=True)
class VersionDeleted(Event):
    """A version that no issue has is gone."""

    id: str


@dataclass(frozen=True, slots=True)
class CommentEdited(Event):
    """The `number`th comment of a ticket (from 0) says something else now."""

    number: int
    body: str


@dataclass(frozen=True, slots=True)
class CommentDeleted(Event):
    """The `number`th comment of a ticket (from 0) is gone."""

    number: int


@dataclass(frozen=True, slots=True)
class IssueMoved(Event):
    """A ticket (by the key it had first) is in another project now, under another key."""

    author: str
    project: str
    key: str


@dataclass(frozen=True, slots=True)
class IssueDeleted(Event):
    """A ticket (by the key it had first) is gone."""


@dataclass(frozen=True, slots=True)
class IssueRestored(Event):
    """A ticket that was gone is back, as it was."""
