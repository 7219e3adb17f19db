"""Jira Cloud, REST API 3: the search pages by token, changelogs and lost issues are asked for in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from forge_pipelines.problems import LoadError
from forge_pipelines.sources.jira_site import PAGE, Issue, Search, Site, part

KEYS_PAGE = 5000
BULK_ISSUES = 1000
BULK_HISTORIES = 5000
BULK_WHEREABOUTS = 100


@dataclass
class Cloud(Site):
    """A Cloud site. `bulk`: it has shown no want of the bulk endpoint of changelogs yet."""

    bulk: bool = True

    def __post_init__(self) -> None:
        """Where its API is; changelogs of up to 1,000 issues come by one call and its continuations."""
        self.root, self.batch = "/rest/api/3", BULK_ISSUES

    def search(self, search: Search) -> Iterator[list[Issue]]:
        """Issues with their fields."""
        yield from self._paged(search, self.fields, PAGE)

    def keys(self, projects: tuple[str, ...]) -> Iterator[list[Issue]]:
        """Pages of 5,000: that many come when only the key is asked for."""
        yield from self._paged(Search(projects, by="created"), ("key",), KEYS_PAGE)

    def _paged(self, search: Search, fields: tuple[str, ...], size: int) -> Iterator[list[Issue]]:
        """The last page has no token; an empty page that has one is no end."""
        token: str | None = None
        while True:
            body = {"jql": search.jql, "maxResults": size, "fields": list(fields)}
            answer = self.api.post(
                f"{self.root}/search/jql",
                body | ({"nextPageToken": token} if token else {}),
                what="the search for issues",
            )
            issues, before = part(answer, "issues"), token
            token = answer.get("nextPageToken")
            if issues:
                yield issues
            if not token or answer.get("isLast") is True:
                return
            if token == before:
                raise LoadError(
                    "BadResponse", "the search for issues gives the same page for ever; the next load tries again"
                )

    def histories(self, issues: Sequence[Issue]) -> Iterator[list[tuple[str, str, Any]]]:
        """By the bulk endpoint, issue by issue where the site has none (or refuses this lot of issues)."""
        keys = {str(issue["id"]): str(issue["key"]) for issue in issues}
        if self.bulk:
            try:
                yield from self._bulk(keys)
                return
            except LoadError as error:
                if error.reason not in ("NotFound", "BadResponse", "InvalidConfiguration"):
                    raise
                self.bulk = error.reason == "InvalidConfiguration"
        for id_, key in keys.items():
            yield [(id_, key, history) for history in self.changelog(id_) or []]

    def _bulk(self, keys: dict[str, str]) -> Iterator[list[tuple[str, str, Any]]]:
        token: str | None = None
        while True:
            body: dict[str, Any] = {"issueIdsOrKeys": list(keys), "maxResults": BULK_HISTORIES}
            answer = self.api.post(
                f"{self.root}/changelog/bulkfetch",
                body | ({"nextPageToken": token} if token else {}),
                what="the changelogs of a page of issues",
            )
            yield [
                (id_, keys.get(id_, id_), history)
                for log in part(answer, "issueChangeLogs")
                for id_ in (str(log["issueId"]),)
                for history in log.get("changeHistories") or []
            ]
            before, token = token, answer.get("nextPageToken")
            if not token:
                return
            if token == before:
                raise LoadError("BadResponse", "the changelogs give the same page for ever; the next load tries again")

    def whereabouts(self, ids: Sequence[str]) -> dict[str, str]:
        """By the bulk endpoint; issues that it could not answer for now count as where they were."""
        found: dict[str, str] = {}
        for at in range(0, len(ids), BULK_WHEREABOUTS):
            body = {"issueIdsOrKeys": list(ids[at : at + BULK_WHEREABOUTS]), "fields": ["project"]}
            answer = self.api.post(f"{self.root}/issue/bulkfetch", body, what="issues that are missing")
            for issue in part(answer, "issues"):
                found[str(issue["id"])] = project_of(issue)
            for error in answer.get("issueErrors") or []:
                found.setdefault(str(error.get("id")), "")
        return found


def project_of(issue: Issue) -> str:
    """The key of an issue's project."""
    project = (issue.get("fields") or {}).get("project") or {}
    return str(project.get("key") or str(issue.get("key") or "").rpartition("-")[0])
