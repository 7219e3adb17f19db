"""What moves without moving to the top of its listing: asked for by id, a hundred at a time, read whole if it moved.

Checks and comments of open pull requests, checks that were going on, deployments that are not at their end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from forge_pipelines.conditions import sql_second, texts_in
from forge_pipelines.sources import Scope
from forge_pipelines.sources import github_queries as queries
from forge_pipelines.sources.github_graph import Graph
from forge_pipelines.sources.github_pages import listing_rows
from forge_pipelines.sources.github_rows import Place, check_row
from forge_pipelines.sources.github_tables import CHECK_RUNS, DEPLOYMENTS, PULL_REQUESTS
from forge_pipelines.tables import moment

Rows = dict[str, Any]
MOVES_FOR = timedelta(days=30)
"""How long checks that never end, and deployments that are simply live, are asked about."""
GOING_ON = "('PENDING', 'IN_PROGRESS', 'QUEUED', 'WAITING')"
LIVE = "('ACTIVE', 'SUCCESS')"


class Again:
    """Asks again, for the selected repositories. `walked`: pull requests (repository, number) that are fresh anyway."""

    def __init__(
        self, graph: Graph, scope: Scope, places: Mapping[int, Place], walked: Collection[tuple[int, int]]
    ) -> None:
        """Take what a load has found so far."""
        self.graph, self.scope, self.places, self.walked = graph, scope, places, walked

    def stored(self, table: Any, columns: Sequence[str], where: str) -> list[dict[str, Any]]:
        """Rows of bronze of the selected repositories."""
        numbers = ", ".join(map(str, self.places))
        found: list[dict[str, Any]] = self.scope.stored(
            table, ["repository_id", *columns], f"repository_id in ({numbers}) and {where}"
        ).to_pylist()
        return found

    def pull_requests(self, moved: Mapping[int, Collection[str]]) -> Iterator[Rows]:
        """Open pull requests, and those with checks under way; those whose head is a commit whose runs `moved`."""
        commits = [sha for shas in moved.values() for sha in shas]
        heads = f" or {texts_in('head_sha', commits)}" if commits else ""
        columns = ["number", "node_id", "updated_at", "head_sha", "checks_state", "comments_count"]
        where = f"(state = 'OPEN' or (checks_state in ('PENDING', 'EXPECTED') and updated_at >= {self.since()}){heads})"
        rows = {
            row["node_id"]: row
            for row in self.stored(PULL_REQUESTS, columns, where)
            if (row["repository_id"], row["number"]) not in self.walked
        }
        sure = {id_ for id_, row in rows.items() if row["head_sha"] in moved.get(row["repository_id"], ())}
        unsure = [id_ for id_ in rows if id_ not in sure]
        for nodes in self.graph.nodes("PullRequest", unsure, queries.OPEN_PULL_REQUEST, "open pull requests"):
            sure |= {node["id"] for node in nodes if pull_request_moved(node, rows[node["id"]])}
        yield from self.refetched(queries.PULLS, {id_: rows[id_]["repository_id"] for id_ in sorted(sure)})

    def checks(self) -> Iterator[Rows]:
        """Check runs that were going on when they were read: what became of them."""
        columns = [*CHECK_RUNS.schema.names[1:]]
        where = f"status != 'COMPLETED' and check_run_id > 0 and coalesce(started_at, loaded_at) >= {self.since()}"
        rows = {row["node_id"]: row for row in self.stored(CHECK_RUNS, columns, where)}
        for nodes in self.graph.nodes("CheckRun", list(rows), queries.CHECK_RUN, "checks under way"):
            for number, place in self.places.items():
                mine = [
                    {**node, "head_sha": rows[node["id"]]["head_sha"]}
                    for node in nodes
                    if rows[node["id"]]["repository_id"] == number and node.get("status") != rows[node["id"]]["status"]
                ]
                if mine:
                    to_row = row_in(place, self.scope.now)
                    yield {CHECK_RUNS.name: self.scope.page(CHECK_RUNS, mine, to_row)}

    def deployments(self) -> Iterator[Rows]:
        """Deployments that may still get a status."""
        columns = ["deployment_id", "node_id", "updated_at", "state", "statuses"]
        where = f"(state in {GOING_ON} or state in {LIVE} and created_at >= {self.since()})"
        rows = {row["node_id"]: row for row in self.stored(DEPLOYMENTS, columns, where)}
        moved: set[str] = set()
        for nodes in self.graph.nodes("Deployment", list(rows), queries.LATEST_STATUS, "deployments under way"):
            moved |= {node["id"] for node in nodes if deployment_moved(node, rows[node["id"]])}
        yield from self.refetched(queries.DEPLOYMENTS, {id_: rows[id_]["repository_id"] for id_ in sorted(moved)})

    def refetched(self, listing: queries.Listing, ids: Mapping[str, int]) -> Iterator[Rows]:
        """Whole objects by their ids; each id with its repository."""
        what = f"{listing.name} that moved"
        for nodes in self.graph.nodes(listing.type, list(ids), listing.fields, what, listing.first):
            for number in dict.fromkeys(ids[node["id"]] for node in nodes):
                mine = [node for node in nodes if ids[node["id"]] == number]
                yield listing_rows(self.scope, listing, self.places[number], mine)

    def since(self) -> str:
        """From when on things are asked about that may never end."""
        return sql_second(self.scope.now - MOVES_FOR)


def row_in(place: Place, now: datetime) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """How a check becomes a row of a repository."""
    return lambda check: check_row(place, check, now)


def pull_request_moved(node: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a pull request is not as bronze has it."""
    state = (node.get("statusCheckRollup") or {}).get("state")
    shown = (moment(node.get("updatedAt")), node.get("headRefOid"), state, node.get("totalCommentsCount"))
    return shown != (row["updated_at"], row["head_sha"], row["checks_state"], row["comments_count"])


def deployment_moved(node: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a deployment has another state, or a status that bronze does not have."""
    if (moment(node.get("updatedAt")), node.get("state")) != (row["updated_at"], row["state"]):
        return True
    statuses = orjson.loads(row["statuses"])
    last = moment(statuses[-1]["createdAt"]) if statuses else None
    return moment((node.get("latestStatus") or {}).get("createdAt")) != last
