"""What Cloud and Data Center share: searches as JQL, how far a page reaches, and the plain resources of a site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.tables import json_text, moment

PAGE = 100
AT_LEAST_LATER = 10
NOT_HERE = ("NotFound", "Forbidden", "InvalidConfiguration", "BadResponse")
"""Reasons of an answer that a site without a resource, or without the right to it, gives."""

Issue = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """Issues of some projects, in order of `by`, from one moment on, that also meet a condition."""

    projects: tuple[str, ...]
    start: datetime | None = None
    by: Literal["updated", "created"] = "updated"
    also: str = ""

    @property
    def jql(self) -> str:
        """Bounded by projects, as Cloud demands; moments are epoch milliseconds, which no account's zone shifts."""
        names = ", ".join(f'"{key}"' for key in self.projects)
        bound = f" AND {self.by} >= {millis(self.start)}" if self.start else ""
        also = f" AND {self.also}" if self.also else ""
        return f"project in ({names}){also}{bound} ORDER BY {self.by} ASC, key ASC"


@dataclass
class Site(ABC):
    """A Jira: the path of its REST API, the fields that a search asks for, how many issues make a clean cut."""

    api: Api
    fields: tuple[str, ...]
    root: str = field(init=False)
    batch: int = field(init=False)

    @abstractmethod
    def search(self, search: Search) -> Iterator[list[Issue]]:
        """Whole issues, page by page."""

    @abstractmethod
    def keys(self, projects: tuple[str, ...]) -> Iterator[list[Issue]]:
        """Id and key of every issue of some projects, in large pages."""

    @abstractmethod
    def histories(self, issues: Sequence[Issue]) -> Iterator[list[tuple[str, str, Any]]]:
        """The whole changelogs of issues, in parts: issue id, issue key, history."""

    @abstractmethod
    def whereabouts(self, ids: Sequence[str]) -> dict[str, str]:
        """The project keys of those of the issues that the site has and shows, by id."""

    def knows(self, project: str) -> bool:
        """Whether the account can see a project."""
        return self.find(f"{self.root}/project/{project}", what="a project") is not None

    def find(self, path: str, params: Mapping[str, Any] | None = None, *, what: str) -> Any:
        """What is at a path, None when the site has or shows nothing there."""
        try:
            return self.api.get(path, params, what=what)
        except LoadError as error:
            if error.reason in ("NotFound", "Forbidden"):
                return None
            raise

    def complete(self, issue: Issue) -> Issue:
        """The issue with all its comments: a search gives some of them only (Cloud: 20)."""
        fields = issue.get("fields") if isinstance(issue, dict) else None
        given = fields.get("comment") if isinstance(fields, dict) else None
        if not isinstance(fields, dict) or not isinstance(given, dict) or not isinstance(given.get("comments"), list):
            return issue
        here, total = len(given["comments"]), given.get("total")
        if here >= int(total) if isinstance(total, int) else here < 20:
            return issue
        path = f"{self.root}/issue/{issue.get('id')}/comment"
        comments = self.listed(path, "comments", {"orderBy": "created"}, what="the comments of an issue")
        if comments is None:  # deleted meanwhile: the sweep finds it
            return issue
        return issue | {"fields": fields | {"comment": {"comments": comments, "total": len(comments)}}}

    def changelog(self, id_: str) -> list[Any] | None:
        """The histories of one issue, page by page; None when the site has no such issue or no such resource."""
        return self.listed(f"{self.root}/issue/{id_}/changelog", "values", {}, what="the changelog of an issue")

    def listed(self, path: str, name: str, params: Mapping[str, Any], *, what: str) -> list[Any] | None:
        """All of a list that is paged by offset, each element once; None when it is not there.

        Elements that vanish while it is read shift the others, so a page must overlap what is there already; when it
        does not, the list is read from its start. The order within a page does not matter.
        """
        for _ in range(5):
            found: dict[Any, Any] = {}
            while True:
                start = max(len(found) - 1, 0)
                answer = self.find(path, {**params, "startAt": start, "maxResults": PAGE}, what=what)
                if answer is None:
                    return None
                values = part(answer, name)
                page = {identity(value): value for value in values}
                if found and not page.keys() & found.keys():
                    break
                new = len(page.keys() - found.keys())
                found |= page
                total, size = answer.get("total"), answer.get("maxResults") or PAGE
                more = start + len(values) < total if isinstance(total, int) else len(values) >= size
                if not new or not more or answer.get("isLast") is True:
                    return list(found.values())
        raise LoadError(
            "BadResponse", f"{what} at {path} changes faster than it can be read; the next load tries again"
        )


def identity(value: Any) -> Any:
    """What tells an element of a list from others."""
    return value["id"] if isinstance(value, dict) and "id" in value else json_text(value)


def part(answer: Any, name: str) -> list[Any]:
    """A list of an answer. Raises LoadError (BadResponse) when the answer has none."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, list):
        raise LoadError(
            "BadResponse", f"the site's answer has no {name!r}; check that jira.url is the site's base address"
        )
    return value


def millis(at: datetime) -> int:
    """Epoch milliseconds, floored."""
    return int(at.timestamp() * 1000)


def times(issues: Sequence[Any], by: str = "updated") -> list[datetime]:
    """The times of those of the issues that have one."""
    found = []
    for issue in issues:
        try:
            at = moment(issue["fields"].get(by))
        except (LoadError, LookupError, TypeError, AttributeError):
            continue
        if at is not None:
            found.append(at)
    return found


def reached(issues: Sequence[Any], by: str = "updated") -> datetime | None:
    """How far into the order a page certainly reaches: not its latest time, a quarter of its issues (or ten) are later.

    A search index may order an issue by an older time than the one that its fields show already; the place that such
    a time tells of was not reached.
    """
    known = sorted(times(issues, by))
    return known[-max(len(known) // 4, min(len(known), AT_LEAST_LATER))] if known else None


def floored(at: datetime, seconds: int) -> datetime:
    """The whole second or minute: some sites compare no finer."""
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)
