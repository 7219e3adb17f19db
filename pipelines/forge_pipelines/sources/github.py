"""GitHub: pull requests with their reviews, commits and labels, by GraphQL, newest update first.

A walk goes down the updates of a repository until what is loaded already. What is updated during a walk moves to the
top, above the walk's beginning, and the next walk meets it. An unfinished walk is kept in the state and goes on from
its page, so that a long first load may be cut anywhere. One cheap query for many repositories tells those with nothing
new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import duration
from forge_stack.model import GitHubSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.sources.github_graph import Graph, updated
from forge_pipelines.tables import FLAG, INTEGER, JSON, MOMENT, TEXT, Table, iso, json_text, moment, optional, required

PULL_REQUESTS = Table(
    name="pull_requests",
    schema=pa.schema(
        [
            required("repository", TEXT),
            required("number", INTEGER),
            required("updated_at", MOMENT),
            required("node_id", TEXT),
            optional("database_id", INTEGER),
            required("created_at", MOMENT),
            optional("closed_at", MOMENT),
            optional("merged_at", MOMENT),
            required("title", TEXT),
            optional("body", TEXT),
            required("state", TEXT),
            required("is_draft", FLAG),
            required("url", TEXT),
            optional("author_login", TEXT),
            optional("author_type", TEXT),
            optional("merged_by_login", TEXT),
            required("head_ref", TEXT),
            required("base_ref", TEXT),
            required("head_sha", TEXT),
            optional("merge_commit_sha", TEXT),
            required("additions", INTEGER),
            required("deletions", INTEGER),
            required("changed_files", INTEGER),
            required("commits_count", INTEGER),
            optional("first_commit_at", MOMENT),
            optional("ready_for_review_at", MOMENT),
            optional("review_decision", TEXT),
            required("labels", JSON),
            required("reviews", JSON),
            required("commits", JSON),
        ]
    ),
    key=("repository", "number"),
    version="updated_at",
)
TABLES = (PULL_REQUESTS,)


@dataclass(frozen=True)
class Mark:
    """How far a repository is loaded: all updates up to `upto`. `checked` is the newest update its last walk knew of.

    An unfinished walk has the `newest` update of its beginning, the page it goes on `after`, and its `floor`.
    """

    upto: datetime | None = None
    settled: bool = False
    newest: datetime | None = None
    after: str | None = None
    floor: datetime | None = None

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Mark:
        """From the state."""
        return cls(
            moment(kept.get("upto")),
            bool(kept.get("settled")),
            moment(kept.get("newest")),
            kept.get("after"),
            moment(kept.get("floor")),
        )

    def write(self) -> dict[str, Any]:
        """For the state, without what is absent."""
        times = {"upto": self.upto, "newest": self.newest, "floor": self.floor}
        kept: dict[str, Any] = {key: iso(value) for key, value in times.items() if value}
        return kept | ({"after": self.after} if self.after else {}) | ({"settled": True} if self.settled else {})


def connect(spec: GitHubSource, credentials: Credentials) -> Api:
    """A personal or installation token, as bearer."""
    return Api(
        spec.url,
        {"Authorization": f"Bearer {credentials.require('token')}", "X-GitHub-Api-Version": "2022-11-28"},
    )


def pages(spec: GitHubSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Repository by repository. A repository that cannot be read costs a warning, the others go on."""
    graph = Graph(api, spec, scope)
    repositories = graph.repositories()
    marks = {name: Mark.read(kept) for name, kept in scope.state.get("repositories", {}).items()}
    if scope.state.get("since") != since_text(spec):
        marks = {}
    # A repository that is no longer selected keeps its mark: chosen again, it goes on where it was.
    newest = graph.newest([r for r in repositories if is_settled(marks.get(r), scope)])
    failures: list[LoadError] = []
    for repository in repositories:
        mark = marks.get(repository, Mark())
        if repository in newest and newest[repository] == mark.upto:
            continue
        try:
            for rows, mark in walk(graph, repository, mark, scope, spec):  # noqa: B020 - the mark moves on
                marks[repository] = mark
                yield Page(rows, state_of(marks, spec), covered(marks, repositories), newest_of(rows))
        except LoadError as error:
            if error.reason not in ("NotFound", "Forbidden"):
                raise
            failures.append(error)
            scope.warn(error.message)
    if failures and len(failures) == len(repositories):
        raise failures[0]
    yield Page(state=state_of(marks, spec), covered=covered(marks, repositories))


def walk(
    graph: Graph, repository: str, mark: Mark, scope: Scope, spec: GitHubSource
) -> Iterator[tuple[dict[str, pa.Table], Mark]]:
    """Pages of pull requests and the mark after each: first what an earlier load left undone, then what is new."""
    if scope.window:
        start, end = scope.window
        for nodes, _ in graph.pull_requests(repository, None):
            yield rows_of(repository, [n for n in nodes if start <= updated(n) < end]), mark
            if nodes and updated(nodes[-1]) < start:
                return
        return
    while True:
        resumed = mark.after is not None
        bottom = mark.floor if resumed else lowest(mark, spec)
        first = mark.newest if resumed else None
        for nodes, after in graph.pull_requests(repository, mark.after):
            first = first or (updated(nodes[0]) if nodes else None)
            kept = [n for n in nodes if bottom is None or updated(n) >= bottom]
            done = after is None or len(kept) < len(nodes)
            if done:
                break
            mark = Mark(mark.upto, False, first, after, bottom)
            yield rows_of(repository, kept), mark
        overlap = duration(spec.overlap)
        mark = Mark(first or mark.upto, is_past(first or mark.upto, overlap, scope.now))
        yield rows_of(repository, kept), mark
        if not resumed:
            return


def lowest(mark: Mark, spec: GitHubSource) -> datetime | None:
    """Where a new walk ends: an overlap below what is loaded, never below `since`."""
    if mark.upto is None:
        return spec.since
    bottom = mark.upto - duration(spec.overlap)
    return max(bottom, spec.since) if spec.since else bottom


def is_past(moment_: datetime | None, overlap: timedelta, now: datetime) -> bool:
    """Whether nothing late can come beside an update any more."""
    return moment_ is None or now - moment_ > overlap


def is_settled(mark: Mark | None, scope: Scope) -> bool:
    """Whether a repository's newest update tells all: its overlap was read again after it had passed."""
    return mark is not None and mark.settled and mark.after is None and scope.window is None


def since_text(spec: GitHubSource) -> str | None:
    """What the marks belong to: another beginning is loaded anew."""
    return iso(spec.since) if spec.since else None


def state_of(marks: Mapping[str, Mark], spec: GitHubSource) -> dict[str, Any]:
    """The marks as state."""
    return {"since": since_text(spec), "repositories": {name: mark.write() for name, mark in marks.items()}}


def covered(marks: Mapping[str, Mark], repositories: Sequence[str]) -> datetime | None:
    """The newest update that is loaded, once every repository was walked to its end."""
    known = [marks[r].upto for r in repositories if r in marks]
    return max((k for k in known if k), default=None) if len(known) == len(repositories) else None


def newest_of(rows: Mapping[str, pa.Table]) -> datetime | None:
    """The newest update on a page: its first row, as pages go down."""
    table = rows["pull_requests"]
    return table.column("updated_at")[0].as_py() if table.num_rows else None


def rows_of(repository: str, nodes: Sequence[Mapping[str, Any]]) -> dict[str, pa.Table]:
    """Pull requests as an Arrow page."""
    return {"pull_requests": PULL_REQUESTS.page(pull_request_row(repository, node) for node in nodes)}


def pull_request_row(repository: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a pull request. Deleted users (null) and unknown merge commits stay null."""
    author = node.get("author") or {}
    commits = [c["commit"] for c in listed(node, "commits")]
    authored = [t for t in (moment(c.get("authoredDate")) for c in commits) if t]
    ready = [t for t in (moment(e.get("createdAt")) for e in listed(node, "timelineItems")) if t]
    return {
        "repository": repository,
        "number": node["number"],
        "updated_at": updated(node),
        "node_id": node["id"],
        "database_id": node.get("databaseId"),
        "created_at": moment(node["createdAt"]),
        "closed_at": moment(node.get("closedAt")),
        "merged_at": moment(node.get("mergedAt")),
        "title": node["title"],
        "body": node.get("body"),
        "state": node["state"],
        "is_draft": node["isDraft"],
        "url": node["url"],
        "author_login": author.get("login"),
        "author_type": author.get("__typename"),
        "merged_by_login": (node.get("mergedBy") or {}).get("login"),
        "head_ref": node["headRefName"],
        "base_ref": node["baseRefName"],
        "head_sha": node["headRefOid"],
        "merge_commit_sha": (node.get("mergeCommit") or {}).get("oid"),
        "additions": node["additions"],
        "deletions": node["deletions"],
        "changed_files": node["changedFiles"],
        "commits_count": (node.get("commits") or {}).get("totalCount", len(commits)),
        "first_commit_at": min(authored, default=None),
        "ready_for_review_at": max(ready, default=None),
        "review_decision": node.get("reviewDecision"),
        "labels": json_text([label["name"] for label in listed(node, "labels")]),
        "reviews": json_text([review_of(review) for review in listed(node, "reviews")]),
        "commits": json_text([commit_of(commit) for commit in commits]),
    }


def listed(node: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The elements of a connection, without the nulls that stand for what the token may not see."""
    return [element for element in ((node.get(name) or {}).get("nodes") or []) if element]


def review_of(review: Mapping[str, Any]) -> dict[str, Any]:
    """A review as bronze keeps it."""
    author = review.get("author") or {}
    return {
        "author": author.get("login"),
        "authorType": author.get("__typename"),
        "state": review["state"],
        "submittedAt": review.get("submittedAt"),
    }


def commit_of(commit: Mapping[str, Any]) -> dict[str, Any]:
    """A commit as bronze keeps it: its author is the account, else the name in the commit."""
    author = commit.get("author") or {}
    return {
        "oid": commit["oid"],
        "authoredAt": commit.get("authoredDate"),
        "committedAt": commit.get("committedDate"),
        "author": (author.get("user") or {}).get("login") or author.get("name"),
        "authorEmail": author.get("email"),
        "message": commit.get("message"),
    }
