"""Jira Server and Data Center, REST API 2: the search carries the changelog, and is read by keys of time.

An offset into a living order skips issues: when one before it is updated it moves to the end, and the rest move up. So
the next page begins at the time that this one reaches. Where one moment fills a page it is asked for again, longer;
beyond the server's longest page by offset, each page overlapping the last, from the start again if that shows a shift;
beyond the server's result window in the order of creation, in which nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from forge_pipelines.problems import LoadError
from forge_pipelines.sources.jira_cloud import project_of
from forge_pipelines.sources.jira_site import PAGE, Issue, Search, Site, floored, millis, part, reached, times

LONGEST_PAGE = 1000
WINDOW = 10_000
OVERLAPPING = 50
MINUTE = timedelta(minutes=1)


@dataclass
class DataCenter(Site):
    """A site on its owner's machines. Each page is a clean cut, because it has its changelogs with it."""

    def __post_init__(self) -> None:
        """Where its API is."""
        self.root, self.batch = "/rest/api/2", 1

    def search(self, search: Search) -> Iterator[list[Issue]]:
        """Issues with their fields and changelogs."""
        yield from self._walk(search, {"fields": list(self.fields), "expand": ["changelog"]}, PAGE)

    def keys(self, projects: tuple[str, ...]) -> Iterator[list[Issue]]:
        """Pages as long as the server gives."""
        yield from self._walk(Search(projects, by="created"), {"fields": ["created"]}, LONGEST_PAGE)

    def _walk(self, search: Search, given: dict[str, Any], shortest: int) -> Iterator[list[Issue]]:
        start, offset, size = search.start, 0, shortest
        before: set[Any] = set()
        while True:
            if offset + size > WINDOW:
                yield from self._moment(replace(search, start=start), given)
                start = floored(start, 60) + MINUTE if start else start
                offset, size, before = 0, shortest, set()
                continue
            here = replace(search, start=start)
            body = {"jql": here.jql, "startAt": offset, "maxResults": size, **given}
            answer = self.api.post(f"{self.root}/search", body, what="the search for issues")
            issues, total = part(answer, "issues"), int(answer.get("total") or 0)
            places = {(issue.get("id"), *times([issue], search.by)) for issue in issues}
            if before and not places & before:
                offset, before = 0, set()
                continue
            if issues:
                yield issues
            if not issues or offset + len(issues) >= total:
                return
            end = reached(issues, search.by)
            end = floored(end, 1) if end else None
            if end is not None and (start is None or end > start):
                start, offset, size, before = end, 0, shortest, set()
            elif len(issues) >= size and size < LONGEST_PAGE:
                size = min(size * 2, LONGEST_PAGE)
            else:
                before = places
                offset += max(len(issues) - OVERLAPPING, 1)

    def _moment(self, search: Search, given: dict[str, Any]) -> Iterator[list[Issue]]:
        """A minute that holds more issues than the server's window, in the order of their creation."""
        if search.by == "created" or search.start is None:
            raise LoadError(
                "BadResponse",
                f"more than {WINDOW} issues were created in one minute ({search.start}), more than a search of this "
                "site shows; select fewer projects in this source and the others in further ones",
            )
        begin = floored(search.start, 60)
        within = f"updated >= {millis(begin)} AND updated < {millis(begin + MINUTE)}"
        also = f"{search.also} AND {within}" if search.also else within
        fields = sorted({*given["fields"], "created"})
        yield from self._walk(Search(search.projects, None, "created", also), {**given, "fields": fields}, PAGE)

    def histories(self, issues: Sequence[Issue]) -> Iterator[list[tuple[str, str, Any]]]:
        """Those embedded, or all of them where the embedded ones are not the whole."""
        for issue in issues:
            log = issue.get("changelog") or {}
            histories = log.get("histories") or []
            if int(log.get("total") or 0) > len(histories):
                id_ = str(issue["id"])
                histories = max(histories, self.changelog(id_) or self._embedded(id_), key=len)
            yield [(str(issue["id"]), str(issue["key"]), history) for history in histories]

    def _embedded(self, id_: str) -> list[Any]:
        """The histories that one issue carries, for releases that have no changelog resource."""
        issue = self.find(f"{self.root}/issue/{id_}", {"fields": "updated", "expand": "changelog"}, what="an issue")
        return ((issue or {}).get("changelog") or {}).get("histories") or []

    def whereabouts(self, ids: Sequence[str]) -> dict[str, str]:
        """One by one: this API has no bulk endpoint, and its JQL refuses ids that are gone."""
        found = {}
        for id_ in ids:
            issue = self.find(f"{self.root}/issue/{id_}", {"fields": "project"}, what="an issue that is missing")
            if issue is not None:
                found[id_] = project_of(issue)
        return found
