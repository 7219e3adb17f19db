"""Jira at a moment: the events so far folded into issues, sprints and versions. Histories are numbered on arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forge_demo import events as ev
from forge_demo import jira_events as jira
from forge_demo import organisation as org
from forge_demo.jira_places import PROJECTS, SPRINT
from forge_demo.organisation import Person, Status


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
    edited_at: datetime
    deleted: bool = False


@dataclass(slots=True)
class Link:
    """A link to an `other` issue (by a key that it had); `direction` is how that one stands: inward or outward."""

    id: str
    type: str
    direction: str
    other: str


@dataclass(slots=True)
class Issue:
    """A ticket as it stands."""

    created: ev.IssueCreated
    key: str
    project: str
    updated_at: datetime
    priority: str
    status: Status = org.TODO
    assignee: Person | None = None
    resolution: str | None = None
    resolved_at: datetime | None = None
    histories: list[History] = field(default_factory=list)
    said: list[Comment] = field(default_factory=list)
    sprints: list[int] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    affected: list[str] = field(default_factory=list)
    components: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    estimate: int | None = None
    spent: int | None = None

    @property
    def comments(self) -> list[Comment]:
        """Those that were not deleted, oldest first."""
        return [comment for comment in self.said if not comment.deleted]


@dataclass(slots=True)
class Site:
    """Everything in Jira. `issues` by the key that each has now."""

    issues: dict[str, Issue] = field(default_factory=dict)
    by_id: dict[str, Issue] = field(default_factory=dict)
    sprints: dict[int, jira.SprintSet] = field(default_factory=dict)
    versions: dict[str, jira.VersionSet] = field(default_factory=dict)
    keys_ever: dict[str, Issue] = field(default_factory=dict)
    """By every key that an issue has or had; Jira gives none twice."""
    _counters: dict[str, int] = field(default_factory=dict)

    def apply(self, event: ev.Event) -> bool:
        """Fold one event in; False when it is none of Jira's."""
        change = _CHANGES.get(type(event))
        if change is None:
            return False
        change(self, event)
        return True

    def find(self, name: str, *, deleted: bool = False) -> Issue | None:
        """An issue by id, key, or a key that it had; one that was deleted only if that is wanted."""
        found = self.by_id.get(name) or self.issues.get(name) or self.keys_ever.get(name)
        return found if found is not None and (found.key in self.issues) != deleted else None

    def _next(self, what: str, base: int) -> int:
        self._counters[what] = self._counters.get(what, base) + 1
        return self._counters[what]

    def _created(self, event: ev.IssueCreated) -> None:
        assert event.ticket is not None  # noqa: S101 (an issue is a ticket)
        issue = Issue(event, event.ticket, event.project, event.at, event.priority)
        self.issues[issue.key] = self.by_id[event.id] = self.keys_ever[issue.key] = issue

    def _of(self, event: ev.Event) -> Issue:
        issue = self.keys_ever[event.ticket or ""]
        issue.updated_at = event.at
        return issue

    def _changed(self, event: ev.IssueChanged) -> None:
        issue = self._of(event)
        number = str(self._next("history", 100_000))
        issue.histories.append(History(number, event.at, org.BY_LOGIN[event.author], event.changes))
        for change in event.changes:
            if change.field in _FIELDS:
                _FIELDS[change.field](self, issue, change, event.at)

    def _commented(self, event: ev.CommentAdded) -> None:
        issue, author = self._of(event), org.BY_LOGIN[event.author]
        number = f"{issue.created.id}{len(issue.said):04d}"
        issue.said.append(Comment(number, event.at, author, event.body, event.at))

    def _comment_edited(self, event: jira.CommentEdited) -> None:
        comment = self._of(event).said[event.number]
        comment.body, comment.edited_at = event.body, event.at

    def _comment_deleted(self, event: jira.CommentDeleted) -> None:
        self._of(event).said[event.number].deleted = True

    def _moved(self, event: jira.IssueMoved) -> None:
        issue = self._of(event)
        before, after = PROJECTS[issue.project], PROJECTS[event.project]
        self.issues.pop(issue.key, None)
        changes = (
            ev.Change("project", "project", before.id, before.name, after.id, after.name),
            ev.Change("Key", None, None, issue.key, None, event.key),
        )
        issue.project, issue.key, issue.components = event.project, event.key, []
        self.issues[issue.key] = self.keys_ever[issue.key] = issue
        number = str(self._next("history", 100_000))
        issue.histories.append(History(number, event.at, org.BY_LOGIN[event.author], changes))

    def _deleted(self, event: jira.IssueDeleted) -> None:
        issue = self.keys_ever[event.ticket or ""]
        self.issues.pop(issue.key, None)
        self.by_id.pop(issue.created.id, None)

    def _restored(self, event: jira.IssueRestored) -> None:
        issue = self._of(event)
        self.issues[issue.key] = self.by_id[issue.created.id] = issue

    def _sprint(self, event: jira.SprintSet) -> None:
        self.sprints[event.id] = event

    def _version(self, event: jira.VersionSet) -> None:
        self.versions[event.id] = event

    def _version_deleted(self, event: jira.VersionDeleted) -> None:
        del self.versions[event.id]

    # Fields, by their names in the changelog

    def _status(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.status = org.STATUSES[change.to_value or ""]

    def _assignee(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.assignee = next((p for p in org.PEOPLE if p.account_id == change.to_value), None)

    def _priority(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.priority = change.to_string or issue.priority

    def _resolution(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.resolution = change.to_string
        issue.resolved_at = at if change.to_string else None

    def _sprints(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.sprints = [int(number) for number in (change.to_value or "").split(", ") if number]

    def _fix_version(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.versions.append(change.to_value or "")

    def _affects_version(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.affected.append(change.to_value or "")

    def _component(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.components.append(change.to_value or "")

    def _link(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        words = {"is caused by": ("Problem/Incident", "inward"), "causes": ("Problem/Incident", "outward"),
                 "is blocked by": ("Blocks", "inward"), "blocks": ("Blocks", "outward")}  # fmt: skip
        told = (change.to_string or "").removeprefix("This issue ").rpartition(" ")[0]
        if told in words:
            issue.links.append(Link(f"{issue.created.id}{len(issue.links)}", *words[told], change.to_value or ""))

    def _estimate(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.estimate = int(change.to_value or 0)

    def _spent(self, issue: Issue, change: ev.Change, at: datetime) -> None:
        issue.spent = int(change.to_value or 0)


_FIELDS: dict[str, Callable[[Site, Issue, ev.Change, datetime], None]] = {
    "status": Site._status,
    "assignee": Site._assignee,
    "priority": Site._priority,
    "resolution": Site._resolution,
    "Sprint": Site._sprints,
    "Fix Version": Site._fix_version,
    "Version": Site._affects_version,
    "Component": Site._component,
    "Link": Site._link,
    "timeoriginalestimate": Site._estimate,
    "timespent": Site._spent,
}
_CHANGES: dict[type[ev.Event], Callable[[Site, Any], None]] = {
    ev.IssueCreated: Site._created,
    ev.IssueChanged: Site._changed,
    ev.CommentAdded: Site._commented,
    jira.CommentEdited: Site._comment_edited,
    jira.CommentDeleted: Site._comment_deleted,
    jira.IssueMoved: Site._moved,
    jira.IssueDeleted: Site._deleted,
    jira.IssueRestored: Site._restored,
    jira.SprintSet: Site._sprint,
    jira.VersionSet: Site._version,
    jira.VersionDeleted: Site._version_deleted,
}
SPRINT_CHANGE = ("Sprint", SPRINT)
"""Name and id of the field in the changelog."""
