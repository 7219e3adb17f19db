"""Elements of a listing as pages of bronze: which rows they make, and by which moment they are ordered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Scope
from forge_pipelines.sources import github_queries as queries
from forge_pipelines.sources import github_rows as rows
from forge_pipelines.sources.github_rows import Place
from forge_pipelines.sources.github_tables import CHECK_RUNS, DEPLOYMENTS, ISSUES, PULL_REQUESTS, RELEASES, TAGS
from forge_pipelines.tables import Table, moment

Node = Mapping[str, Any]


def at(node: Node, *names: str) -> datetime:
    """The moment under the first name that is there. Raises LoadError (BadResponse) when there is none."""
    found = moment(next((node[name] for name in names if node.get(name)), None))
    if found is None:
        raise LoadError("BadResponse", f"GitHub gave an element without {names[0]}; check that url is GitHub's API")
    return found


def updated(node: Node) -> datetime:
    """When something was updated last."""
    return at(node, "updatedAt", "createdAt")


def created(node: Node) -> datetime:
    """When something was created."""
    return at(node, "createdAt", "created_at")


@dataclass(frozen=True)
class Listed:
    """How the elements of a listing become rows. `stamp` is the moment that the listing goes down by."""

    table: Table
    row: Callable[[Place, Node, datetime], dict[str, Any]]
    stamp: Callable[[Node], datetime] = updated
    key: Callable[[Node], Any] = rows.number_of

    def is_before(self, node: Node, since: datetime | None) -> bool:
        """Whether an element was changed last before a source's beginning. Tags have no time of their own."""
        return since is not None and "createdAt" in node and updated(node) < since


LISTED = {
    "pulls": Listed(
        PULL_REQUESTS, lambda place, node, _: rows.pull_request_row(place, node), key=lambda n: n["number"]
    ),
    "issues": Listed(ISSUES, lambda place, node, _: rows.issue_row(place, node), key=lambda n: n["number"]),
    "deployments": Listed(DEPLOYMENTS, lambda place, node, _: rows.deployment_row(place, node), created),
    "releases": Listed(RELEASES, lambda place, node, _: rows.release_row(place, node), created),
    "tags": Listed(TAGS, rows.tag_row, created, key=lambda node: node["name"]),
}


def listing_rows(scope: Scope, listing: queries.Listing, place: Place, nodes: Sequence[Node]) -> dict[str, Any]:
    """The rows that elements of a listing make; the checks of pull requests too."""
    how = LISTED[listing.name]
    made = {how.table.name: scope.page(how.table, nodes, lambda node: how.row(place, node, scope.now))}
    if listing is queries.PULLS:
        made |= check_rows(scope, place, nodes)
    return made


def check_rows(scope: Scope, place: Place, pulls: Sequence[Node]) -> dict[str, Any]:
    """The checks of the commits of pull requests, each once."""
    checks = {check["id"]: check for pull in pulls for check in rows.checks_of(pull)}
    made = scope.page(CHECK_RUNS, checks.values(), lambda check: rows.check_row(place, check, scope.now))
    return {CHECK_RUNS.name: made}
