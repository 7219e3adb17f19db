"""What GitHub has no more, and what moved unseen: all ids of a repository beside those in bronze, once in a while.

Ids cost a point a hundred. What bronze has and a listing does not show is asked for by id before it is called gone: it
may have moved to the top of the listing while that was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from forge_pipelines.sources import Scope
from forge_pipelines.sources import github_queries as queries
from forge_pipelines.sources.github_again import Again
from forge_pipelines.sources.github_graph import Graph
from forge_pipelines.sources.github_pages import LISTED, listing_rows, updated
from forge_pipelines.sources.github_repositories import Repository
from forge_pipelines.sources.github_rows import Place
from forge_pipelines.sources.github_tables import REPOSITORIES, TABLES
from forge_pipelines.tables import DELETIONS, Table, deletion

Rows = dict[str, Any]
Reasons = Mapping[Any, str]
"""Keys that are gone, each with why: deleted or moved."""
BY_ID = (queries.PULLS, queries.ISSUES, queries.DEPLOYMENTS)
WHOLE = (queries.RELEASES, queries.TAGS)


class Sweep:
    """Compares ids, repository by repository."""

    def __init__(self, graph: Graph, scope: Scope, since: datetime | None) -> None:
        """`since`: what was changed last before it was never loaded."""
        self.graph, self.scope, self.since = graph, scope, since

    def repository(self, repository: Repository) -> Iterator[Rows]:
        """What is gone from a repository, and what is there but not in bronze, or not as it is there."""
        for listing in BY_ID:
            if repository.probe(listing.name) is not None:
                yield from self.by_id(repository, listing)
        for listing in WHOLE:
            if repository.probe(listing.name) is not None:
                yield from self.whole(repository, listing)

    def by_id(self, repository: Repository, listing: queries.Listing) -> Iterator[Rows]:
        """Compare the ids of a listing; read whole what differs."""
        how, place = LISTED[listing.name], repository.place
        key_column = how.table.key[1]
        stored = self.scope.stored(
            how.table, [key_column, "node_id", "updated_at"], f"repository_id = {place.id}"
        ).to_pylist()
        known = {row[key_column]: row for row in stored}
        differs: dict[str, int] = {}
        present: set[Any] = set()
        for nodes, _ in self.graph.listed(listing, repository.node_id, place.name, fields=listing.ids):
            for node in nodes:
                key = how.key(node)
                present.add(key)
                row = known.get(key)
                if not how.is_before(node, self.since) and (row is None or row["updated_at"] != updated(node)):
                    differs[node["id"]] = place.id
        missing = {known[key]["node_id"]: key for key in known.keys() - present}
        reasons = self.reasons(listing, place, missing)
        yield from Again(self.graph, self.scope, {place.id: place}, ()).refetched(listing, differs)
        yield self.deletions(how.table, place, reasons, present)

    def reasons(self, listing: queries.Listing, place: Place, missing: Mapping[str, Any]) -> dict[Any, str]:
        """Which of those that a listing does not show are gone, and why."""
        where = queries.WHERE_NOW if listing is not queries.DEPLOYMENTS else queries.LATEST_STATUS
        reasons = dict.fromkeys(missing.values(), "deleted")
        for nodes in self.graph.nodes(listing.type, list(missing), where, f"{listing.name} of {place.name}"):
            for node in nodes:
                home = (node.get("repository") or {}).get("databaseId", place.id)
                if home == place.id:
                    del reasons[missing[node["id"]]]
                else:
                    reasons[missing[node["id"]]] = "moved"
        return reasons

    def whole(self, repository: Repository, listing: queries.Listing) -> Iterator[Rows]:
        """Read a short listing once more."""
        how, place = LISTED[listing.name], repository.place
        key_column = how.table.key[1]
        stored = self.scope.stored(how.table, [key_column], f"repository_id = {place.id}")
        known = set(stored.column(key_column).to_pylist())
        present: set[Any] = set()
        for nodes, _ in self.graph.listed(listing, repository.node_id, place.name):
            present |= {how.key(node) for node in nodes}
            kept = [node for node in nodes if not how.is_before(node, self.since)]
            yield listing_rows(self.scope, listing, place, kept)
        yield self.deletions(how.table, place, dict.fromkeys(known - present, "deleted"), present)

    def repositories(self, selected: Collection[int]) -> Iterator[Rows]:
        """Repositories that the source does not select any more; with those that are gone or went away, all they had.

        One that is where it was, but is not selected, keeps its rows: `moved` stands for the repository alone.
        """
        stored = self.scope.stored(REPOSITORIES, ["repository_id", "node_id", "repository"]).to_pylist()
        left = {row["node_id"]: row for row in stored if row["repository_id"] not in selected}
        reasons = {row["repository_id"]: "deleted" for row in left.values()}
        emptied = set(reasons)
        for nodes in self.graph.nodes("Repository", list(left), queries.NAME_NOW, "repositories that left"):
            for node in nodes:
                row = left[node["id"]]
                reasons[row["repository_id"]] = "moved"
                if node.get("nameWithOwner") == row["repository"]:
                    emptied.discard(row["repository_id"])
        yield self.rows(REPOSITORIES, {(key,): reason for key, reason in reasons.items()}, {(k,) for k in selected})
        for number in sorted(emptied):
            place = Place(number, "")
            for table in TABLES[1:]:
                keys = self.scope.stored(table, [table.key[1]], f"repository_id = {number}")
                gone = dict.fromkeys(keys.column(table.key[1]).to_pylist(), reasons[number])
                yield self.deletions(table, place, gone, ())

    def deletions(self, table: Table, place: Place, gone: Reasons, present: Collection[Any]) -> Rows:
        """Rows of deletions for the keys of a repository's elements."""
        return self.rows(
            table,
            {(place.id, key): reason for key, reason in gone.items()},
            {(place.id, key) for key in present},
            f" and startsWith(entity_key, '[{place.id},')",
        )

    def rows(
        self, table: Table, gone: Mapping[tuple[Any, ...], str], present: Collection[tuple[Any, ...]], where: str = ""
    ) -> Rows:
        """What is newly gone, and what was gone and is there again."""
        stored = self.scope.stored(
            DELETIONS, ["entity_key"], f"entity = '{table.name}' and reason != 'returned'{where}"
        ).to_pylist()
        before = {tuple(orjson.loads(row["entity_key"])) for row in stored}
        made = [deletion(table, key, self.scope.now, reason) for key, reason in gone.items() if key not in before]
        made += [deletion(table, key, self.scope.now, "returned") for key in before if key in present]
        return {DELETIONS.name: DELETIONS.page(made)} if made else {}
