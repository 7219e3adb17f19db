"""GitHub: repositories with their pull requests, checks, issues, deployments, releases, tags, workflow runs and jobs.

In the order of a load: which repositories there are and what is newest in each (`github_repositories`), by one query
for fifty; the listings that have something new, newest first (`github_walk`, by GraphQL, whole objects a page,
`github_queries`, `github_graph`); workflow runs by REST (`github_actions`); what changed without telling
(`github_again`); the jobs of runs; and, once a week, what is gone (`github_sweep`). Rows are made in `github_rows`, for
the tables of `github_tables`. `github_auth` is who the load is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from forge_stack.duration import duration
from forge_stack.model import GitHubSource

from forge_pipelines.conditions import quoted
from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.sources import github_queries as queries
from forge_pipelines.sources.github_actions import Actions, RunsMark, Seen, job_page, jobs_of, new_runs, run_page
from forge_pipelines.sources.github_again import Again
from forge_pipelines.sources.github_auth import connect as authenticated
from forge_pipelines.sources.github_graph import Graph
from forge_pipelines.sources.github_ledger import Ledger
from forge_pipelines.sources.github_pages import LISTED, created, listing_rows, updated
from forge_pipelines.sources.github_repositories import Found, Repository, find
from forge_pipelines.sources.github_rows import repository_row
from forge_pipelines.sources.github_sweep import Sweep
from forge_pipelines.sources.github_tables import REPOSITORIES, TABLES, WORKFLOW_JOBS, WORKFLOW_RUNS
from forge_pipelines.sources.github_walk import Bounds, Mark, between, walk
from forge_pipelines.tables import json_text, moment

__all__ = ["TABLES", "connect", "graphql_url", "pages"]

log = logging.getLogger("forge_pipelines")

Rows = dict[str, Any]
WALKED = (queries.PULLS, queries.ISSUES, queries.DEPLOYMENTS)
"""Listings that are read on from where the last load was; the others are read whole when they changed."""
READ_WHOLE = (queries.RELEASES, queries.TAGS)
DAILY = timedelta(days=1)


def connect(spec: GitHubSource, credentials: Credentials) -> Api:
    """A token or a GitHub App, by the keys that the Secret has. Raises LoadError (InvalidConfiguration)."""
    return authenticated(spec.url, credentials)


def pages(spec: GitHubSource, api: Api, scope: Scope) -> Iterator[Page]:
    """All there is to load, listing by listing. What may not be read costs a warning, the rest goes on."""
    load = Load(spec, api, scope)
    try:
        if scope.window:
            yield from load.window(*scope.window)
            return
        yield from load.repositories()
        yield from load.listings()
        yield from load.runs()
        yield from load.again()
        yield from load.jobs()
        yield from load.sweep()
        yield load.page({})
    finally:
        load.tell_costs()


def graphql_url(url: str) -> str:
    """Where GraphQL is for a REST base: github.com has /graphql, Enterprise Server /api/graphql beside /api/v3."""
    return f"{url.rstrip('/').removesuffix('/v3')}/graphql"


class Load:
    """One load: what it has found, how far it is."""

    def __init__(self, spec: GitHubSource, api: Api, scope: Scope) -> None:
        """Ask for the selected repositories and what is newest in each."""
        self.spec, self.scope = spec, scope
        self.graph = Graph(api, graphql_url(spec.url), scope)
        self.actions = Actions(api, scope)
        self.ledger = Ledger(scope.state, spec.since)
        self.bounds = Bounds(spec.since, duration(spec.overlap), scope.now)
        self.found: Found = find(self.graph, spec)
        self.seen: dict[int, Seen] = {}
        self.refetched: set[tuple[int, int]] = set()
        self.unread: dict[int, LoadError] = {}

    @property
    def all(self) -> list[Repository]:
        """The selected repositories."""
        return list(self.found.repositories.values())

    def page(self, rows: Rows) -> Page:
        """Rows, and the state that holds once they are stored."""
        state = None if self.scope.window else self.ledger.state()
        covered = None if self.scope.window else self.ledger.covered([r.place.id for r in self.all])
        return Page(rows, state, covered, newest_event(rows))

    def tell_costs(self) -> None:
        """Say what was asked how often. Jobs are a request a run, by GitHub's own rule, so they are counted apart."""
        graph, jobs = dict(self.graph.spent), self.actions.job_requests
        runs = self.graph.api.requests - sum(graph.values()) - jobs
        log.info("requests to GitHub", extra={"requests": {**graph, "runs": runs, "jobs": jobs}})

    # The parts of a load

    def repositories(self) -> Iterator[Page]:
        """The repositories that changed since they were stored."""
        rows = self.scope.page(
            REPOSITORIES, [r.node for r in self.all], lambda node: repository_row(node, self.scope.now)
        ).to_pylist()
        changed = []
        for row in rows:
            number, name = row["repository_id"], row["repository"]
            shown = json_text({column: value for column, value in row.items() if column != "loaded_at"})
            if self.ledger.of(number, "row") == shown:
                continue
            if self.ledger.of(number, "name") not in (None, name):
                yield from self.renamed(number, name)
            changed.append(row)
            self.ledger.put(number, "name", name)
            self.ledger.put(number, "row", shown)
        if changed:
            yield self.page({REPOSITORIES.name: REPOSITORIES.page(changed)})

    def renamed(self, number: int, name: str) -> Iterator[Page]:
        """A new name changes all addresses: all is read once more. What is not (jobs, old checks) is renamed here."""
        runs = RunsMark.read(self.ledger.of(number, "runs") or {}).anew()
        self.ledger.renew(number, {"runs": runs.write()})
        for table in TABLES[1:]:
            where = f"repository_id = {number} and repository != {quoted(name)}"
            stored = self.scope.stored(table, table.schema.names, where)
            if stored.num_rows:
                index = table.schema.get_field_index("repository")
                names = pa.array([name] * stored.num_rows, pa.string())
                yield Page({table.name: stored.set_column(index, table.schema.field(index), names)})

    def listings(self) -> Iterator[Page]:
        """What is new in pull requests, issues, deployments, releases and tags."""
        for repository in self.all:
            for listing in WALKED:
                yield from self.unless_refused(repository, self.walked(repository, listing))
            for listing in READ_WHOLE:
                yield from self.unless_refused(repository, self.read_whole(repository, listing))
        if self.unread and len(self.unread) == len(self.all):
            raise next(iter(self.unread.values()))

    def walked(self, repository: Repository, listing: queries.Listing) -> Iterator[Page]:
        """A listing from its newest element down to what is loaded."""
        if repository.probe(listing.name) is None:
            return
        place, stamp = repository.place, LISTED[listing.name].stamp
        mark = Mark.read(self.ledger.of(place.id, listing.name) or {})
        newest = repository.newest(listing.name)
        if newest is None and mark == Mark():
            # An empty listing is read by its probe.
            self.ledger.put(place.id, listing.name, Mark(settled=True).write())
            return
        if mark != Mark() and mark.covers(stamp(dict(newest)) if newest else None):
            return

        def read(after: str | None) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
            return self.graph.listed(listing, repository.node_id, place.name, after)

        for nodes, mark in walk(read, stamp, mark, self.bounds):  # noqa: B020 - the mark moves on
            if listing is queries.PULLS:
                self.refetched.update((place.id, node["number"]) for node in nodes)
            self.ledger.put(place.id, listing.name, mark.write())
            yield self.page(listing_rows(self.scope, listing, place, nodes))

    def read_whole(self, repository: Repository, listing: queries.Listing) -> Iterator[Page]:
        """A short listing, as a whole, when its newest element or its length changed."""
        probe, place = repository.probe(listing.name), repository.place
        if probe is None:
            return
        shown = json_text(probe)
        if self.ledger.of(place.id, listing.name) == shown:
            return
        if not probe.get("totalCount"):
            self.ledger.put(place.id, listing.name, shown)
            return
        for nodes, after in self.graph.listed(listing, repository.node_id, place.name):
            if after is None:
                self.ledger.put(place.id, listing.name, shown)
            kept = [node for node in nodes if not LISTED[listing.name].is_before(node, self.spec.since)]
            yield self.page(listing_rows(self.scope, listing, place, kept))

    def runs(self) -> Iterator[Page]:
        """New workflow runs, and those that went on."""
        every = min(DAILY, duration(self.spec.sweep) or DAILY)
        for repository in self.all:
            place = repository.place
            mark = RunsMark.read(self.ledger.of(place.id, "runs") or {})
            first = max(filter(None, (moment(repository.node["createdAt"]), self.spec.since)))
            yield from self.unless_refused(repository, self.runs_of(repository, mark, first, every))

    def runs_of(self, repository: Repository, mark: RunsMark, first: datetime, every: timedelta) -> Iterator[Page]:
        """The runs of a repository."""
        place = repository.place
        for rows, mark, seen in new_runs(self.actions, place, mark, first, self.bounds.overlap, every):  # noqa: B020
            self.seen[place.id] = seen
            self.ledger.put(place.id, "runs", mark.write())
            yield self.page(rows)

    def again(self) -> Iterator[Page]:
        """What moves without showing in a listing: checks and comments of open pull requests, deployments' statuses."""
        again = Again(self.graph, self.scope, {r.place.id: r.place for r in self.all}, self.refetched)
        moved = {number: seen.moved for number, seen in self.seen.items() if seen.moved}
        for rows in chain(again.pull_requests(moved), again.checks(), again.deployments()):
            yield self.page(rows)

    def jobs(self) -> Iterator[Page]:
        """The jobs of runs, a request a run."""
        if not self.spec.jobs:
            return
        for repository in self.all:
            place = repository.place
            mark = RunsMark.read(self.ledger.of(place.id, "runs") or {})
            fresh = self.seen[place.id].fresh if place.id in self.seen else {}
            yield from self.unless_refused(repository, self.jobs_of(repository, mark, fresh))

    def jobs_of(self, repository: Repository, mark: RunsMark, fresh: Mapping[int, datetime]) -> Iterator[Page]:
        """The jobs of a repository's runs."""
        place = repository.place
        for rows, mark in jobs_of(self.actions, place, mark, fresh):  # noqa: B020 - the mark moves on
            self.ledger.put(place.id, "runs", mark.write())
            yield self.page(rows)

    def sweep(self) -> Iterator[Page]:
        """What GitHub has no more: runs of the last month as soon as it is seen, the rest once in a while."""
        sweep = Sweep(self.graph, self.scope, self.spec.since)
        for number, seen in self.seen.items():
            place = self.found.repositories[number].place
            if seen.gone:
                yield self.page(sweep.deletions(WORKFLOW_RUNS, place, dict.fromkeys(seen.gone, "deleted"), seen.met))
        if not self.ledger.sweep_is_due(duration(self.spec.sweep), self.scope.now):
            return
        for repository in self.all:
            if self.ledger.is_swept(repository.place.id):
                continue
            for rows in sweep.repository(repository):
                yield Page(rows, None, None, None)
            self.ledger.swept(repository.place.id)
            yield self.page({})
        if not self.found.failures:
            for rows in sweep.repositories(set(self.found.repositories)):
                yield Page(rows)
        self.ledger.sweep_ends(self.scope.now)

    # A backfill

    def window(self, start: datetime, end: datetime) -> Iterator[Page]:
        """What was updated (pull requests, issues, deployments, releases) or created (runs) in [start, end)."""
        for repository in self.all:
            for part in (self.window_of_listings, self.window_of_runs):
                yield from self.unless_refused(repository, part(repository, start, end))

    def window_of_listings(self, repository: Repository, start: datetime, end: datetime) -> Iterator[Page]:
        """The listings of a repository. Those by creation end only with the listing: late statuses move old ones."""
        place = repository.place
        for listing in (*WALKED, queries.RELEASES):
            if repository.probe(listing.name) is None:
                continue
            begin = self.graph.jump(listing, repository.node_id, place.name, end) if listing in WALKED[:2] else None

            def read(after: str | None, listing: queries.Listing = listing, begin: str | None = begin) -> Any:
                return self.graph.listed(listing, repository.node_id, place.name, after or begin)

            if listing in WALKED[:2]:
                parts = between(read, updated, (start, end))
            else:
                parts = ([n for n in nodes if start <= updated(n) < end] for nodes, _ in read(None))
            for nodes in parts:
                yield self.page(listing_rows(self.scope, listing, place, nodes))

    def window_of_runs(self, repository: Repository, start: datetime, end: datetime) -> Iterator[Page]:
        """The runs of a repository that were created in the window, with their jobs."""
        place = repository.place
        for page in self.actions.listing(place, start, end):
            runs = [run for run in page.runs if start <= created(run) < end]
            yield self.page({WORKFLOW_RUNS.name: run_page(self.scope, place, runs)})
            if self.spec.jobs:
                jobs = [job for run in runs for job in self.actions.jobs(place, run["id"])]
                yield self.page({WORKFLOW_JOBS.name: job_page(self.scope, place, jobs)})

    def unless_refused(self, repository: Repository, parts: Iterator[Page]) -> Iterator[Page]:
        """Pages until GitHub says that this is gone or may not be read: that costs a warning."""
        try:
            yield from parts
        except LoadError as error:
            if error.reason not in ("NotFound", "Forbidden"):
                raise
            self.unread.setdefault(repository.place.id, error)
            self.scope.warn(error.message)


def newest_event(rows: Rows) -> datetime | None:
    """The newest update among the rows of a page."""
    newest: Callable[[Any], Any] = pc.max
    found = [
        newest(table.column("updated_at")).as_py()
        for table in rows.values()
        if table.num_rows and "updated_at" in table.column_names
    ]
    return max(found, default=None)
