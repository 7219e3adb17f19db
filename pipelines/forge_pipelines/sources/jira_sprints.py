"""Sprints: named by the issues that are in them, followed by the Agile API, since they start and close on their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Page, Scope
from forge_pipelines.sources.jira_rows import Sprint, sprint_row, sprint_told
from forge_pipelines.sources.jira_site import NOT_HERE, Site
from forge_pipelines.sources.jira_sweep import Gone
from forge_pipelines.sources.jira_tables import SPRINTS, contents, news

AGILE = "/rest/agile/1.0"
UNANSWERED = 3
"""So many sprints that cannot be read, and none that can: the site has no Agile API for this account."""


@dataclass
class Sprints:
    """What is known of a site's sprints. `boards`: ids of those that have sprints, None while nobody asked."""

    site: Site
    scope: Scope
    boards: list[int] | None
    confirmed: dict[int, Sprint] = field(default_factory=dict)
    known: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: dict[int, set[Sprint]] = field(default_factory=dict)
    last_told: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with what bronze holds."""
        self.gone = Gone(self.scope, SPRINTS)
        self.known = {row["sprint_id"]: row for row in self.scope.stored(SPRINTS, contents(SPRINTS)).to_pylist()}

    def met(self, sprints: Iterable[dict[str, Any]]) -> Page:
        """Sprints as issues name them: rows of those not known yet. The Agile API has the last word on the others."""
        new = {}
        for sprint in sprints:
            id_ = int(sprint["id"])
            self.told.setdefault(id_, set()).add(sprint_told(sprint))
            self.last_told[id_] = sprint
            if id_ not in self.known:
                new[id_] = sprint
        return self._page(new.values())

    def follow(self, projects: tuple[str, ...], *, anew: bool) -> Iterator[Page]:
        """Ask for the open sprints of each board, and one by one for those that were open and are not listed.

        Boards are looked up again when `anew`. A site without boards, or without the right to them, costs a warning;
        then the sprints are as their issues last said.
        """
        try:
            if anew or self.boards is None:
                self.boards = self._boards(projects)
                found = self._of_boards("")
            else:
                found = self._of_boards("future,active")
            yield self._page(found.values())
            yield self.gone.there(found)
            yield from self._singles(set(found))
        except LoadError as error:
            if error.reason not in NOT_HERE:
                raise
            self.scope.warn(
                f"sprints are as their issues say: the site's boards (Agile API) cannot be read ({error.reason}); "
                "give the account the right to browse them, if the site has any"
            )
            yield self._page(self.last_told.values())

    @property
    def misnamed(self) -> list[int]:
        """Sprints that changed without their issues: some issue (or bronze) calls them otherwise than they are."""
        return sorted(id_ for id_, is_ in self.confirmed.items() if self.told.get(id_, {is_}) != {is_})

    def _boards(self, projects: tuple[str, ...]) -> list[int]:
        ids = set()
        for key in projects:
            found = self.site.listed(
                f"{AGILE}/board", "values", {"projectKeyOrId": key}, what="the boards of a project"
            )
            ids |= {board["id"] for board in found or [] if board.get("type") != "kanban"}
        return sorted(ids)

    def _of_boards(self, states: str) -> dict[int, dict[str, Any]]:
        """The sprints of all boards. One that is gone, or has none, is left out until boards are looked up again."""
        found: dict[int, dict[str, Any]] = {}
        kept = []
        for board in self.boards or []:
            params = {"state": states} if states else {}
            try:
                sprints = self.site.listed(f"{AGILE}/board/{board}/sprint", "values", params, what="a board's sprints")
            except LoadError as error:
                if error.reason != "InvalidConfiguration":
                    raise
                sprints = None
            if sprints is not None:
                kept.append(board)
                found |= {int(sprint["id"]): sprint for sprint in sprints}
        self.boards = kept
        self._confirm(found)
        return found

    def _singles(self, listed: set[int]) -> Iterator[Page]:
        """Those that were open, or that an issue calls otherwise than bronze does, and that no board lists as open."""
        doubtful = [
            id_
            for id_, row in self.known.items()
            if id_ not in listed | self.gone.keys
            and (row["state"] != "closed" or self.told.get(id_, set()) - {(row["name"], row["state"])})
        ]
        answered = bool(self.boards)
        for tries, id_ in enumerate(doubtful, 1):
            sprint = self.site.find(f"{AGILE}/sprint/{id_}", what="a sprint")
            if sprint is not None:
                answered = True
                self._confirm({id_: sprint})
                yield self._page([sprint])
            elif answered:
                yield self.gone.missing({id_: "deleted"})
            elif tries == UNANSWERED or tries == len(doubtful):
                raise LoadError("NotFound", "no sprint can be read")

    def _confirm(self, found: dict[int, dict[str, Any]]) -> None:
        for id_, sprint in found.items():
            self.confirmed[id_] = sprint_told(sprint)
            if id_ in self.known:
                row = self.known[id_]
                self.told.setdefault(id_, set()).add((row["name"], row["state"]))

    def _page(self, sprints: Iterable[dict[str, Any]]) -> Page:
        """Rows of sprints that are new or not as known."""
        page = news(SPRINTS, self.scope.page(SPRINTS, sprints, sprint_row(self.scope.now)), self.known)
        for row in page.to_pylist():
            self.known[row["sprint_id"]] = {name: row[name] for name in contents(SPRINTS)}
        return Page({"sprints": page}) if page.num_rows else Page()
