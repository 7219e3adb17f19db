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

PAGE = 25
"""Pull requests a page: about one point of the hourly budget, and far from GitHub's ten seconds a query."""
NESTED = 100
PROBED = 50
"""Repositories asked at once whether they have anything new."""
RESERVE = 50
"""Points of the hourly budget that a load leaves to others."""

RATE = "rateLimit { cost remaining resetAt }"
CONNECTIONS = {
    "labels": "nodes { name }",
    "reviews": "nodes { author { __typename login } state submittedAt }",
    "commits": ("nodes { commit { oid authoredDate committedDate message author { name email user { login } } } }"),
    "timelineItems": "nodes { ... on ReadyForReviewEvent { createdAt } }",
}
ARGUMENTS = {"timelineItems": "itemTypes: [READY_FOR_REVIEW_EVENT], "}


def connection(name: str, after: str = "") -> str:
    """A nested connection of a pull request, with what is needed to follow it."""
    total = "totalCount " if name == "commits" else ""
    return (
        f"{name}({ARGUMENTS.get(name, '')}first: {NESTED}{after}) "
        f"{{ {total}{CONNECTIONS[name]} pageInfo {{ hasNextPage endCursor }} }}"
    )


PULL_REQUEST = f"""
  id databaseId number createdAt updatedAt closedAt mergedAt title body state isDraft url
  author {{ __typename login }} mergedBy {{ login }} headRefName baseRefName headRefOid mergeCommit {{ oid }}
  additions deletions changedFiles reviewDecision {" ".join(connection(name) for name in CONNECTIONS)}
"""
PAGE_QUERY = f"""
query PullRequests($owner: String!, $name: String!, $first: Int!, $after: String) {{
  {RATE}
  repository(owner: $owner, name: $name) {{
    nameWithOwner
    pullRequests(first: $first, after: $after, orderBy: {{field: UPDATED_AT, direction: DESC}}) {{
      nodes {{ {PULL_REQUEST} }} pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}"""
REPOSITORIES_QUERY = f"""
query Repositories($login: String!, $after: String) {{
  {RATE}
  organization(login: $login) {{
    repositories(first: 100, after: $after) {{ nodes {{ nameWithOwner }} pageInfo {{ hasNextPage endCursor }} }}
  }}
}}"""


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


def graphql_path(url: str) -> tuple[str, str]:
    """Base and path of GraphQL for a REST base: github.com has /graphql, Enterprise Server /api/graphql."""
    base = url.rstrip("/")
    return (base.removesuffix("/v3"), "/graphql") if base.endswith("/api/v3") else (base, "/graphql")


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


def updated(node: Mapping[str, Any]) -> datetime:
    """When a pull request was updated last."""
    found = moment(node["updatedAt"])
    assert found is not None, "updatedAt is not null in GitHub's schema"  # noqa: S101
    return found


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


class Graph:
    """GitHub's GraphQL: errors come inside a 200, a query that takes too long is a 502, points are counted."""

    def __init__(self, api: Api, spec: GitHubSource, scope: Scope) -> None:
        """Find the endpoint; start with full pages."""
        api.base_url, self.path = graphql_path(spec.url)
        self.api, self.spec, self.scope, self.size = api, spec, scope, PAGE

    def repositories(self) -> list[str]:
        """The selected repositories, each once, in a fixed order."""
        names = {name.lower(): name for name in self.spec.repositories}
        for login in self.spec.organizations:
            after = None
            while True:
                data = self.ask(REPOSITORIES_QUERY, {"login": login, "after": after}, f"organization {login}")
                if data.get("organization") is None:
                    raise LoadError(
                        "NotFound",
                        f"github.organizations: {self.api.host} knows no organisation {login!r} that this token may "
                        "see; correct the name, or give the token access",
                    )
                found = data["organization"]["repositories"]
                names.update({n["nameWithOwner"].lower(): n["nameWithOwner"] for n in found["nodes"] if n})
                after = found["pageInfo"]["endCursor"]
                if not found["pageInfo"]["hasNextPage"]:
                    break
        return [names[key] for key in sorted(names)]

    def newest(self, repositories: Sequence[str]) -> dict[str, datetime | None]:
        """The newest update of each repository, many by one query; those that do not answer are left out."""
        found: dict[str, datetime | None] = {}
        for start in range(0, len(repositories), PROBED):
            part = repositories[start : start + PROBED]
            parameters, fields, variables = [], [], {}
            for index, repository in enumerate(part):
                variables[f"o{index}"], variables[f"n{index}"] = repository.split("/", 1)
                parameters.append(f"$o{index}: String!, $n{index}: String!")
                fields.append(
                    f"r{index}: repository(owner: $o{index}, name: $n{index}) {{ pullRequests(first: 1, "
                    "orderBy: {field: UPDATED_AT, direction: DESC}) { nodes { updatedAt } } }"
                )
            query = f"query Newest({', '.join(parameters)}) {{ {RATE} {' '.join(fields)} }}"
            data = self.ask(query, variables, "what is new in the repositories", partly=True)
            for index, repository in enumerate(part):
                if (answer := data.get(f"r{index}")) is not None:
                    nodes = answer["pullRequests"]["nodes"]
                    found[repository] = updated(nodes[0]) if nodes else None
        return found

    def pull_requests(self, repository: str, after: str | None) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """Pages of whole pull requests, newest update first, and the cursor of the next page (None: there is none)."""
        owner, name = repository.split("/", 1)
        while True:
            data = self.page({"owner": owner, "name": name, "after": after}, f"pull requests of {repository}")
            if data.get("repository") is None:
                raise LoadError(
                    "NotFound",
                    f"github.repositories: {self.api.host} knows no repository {repository!r} that this token may see; "
                    "correct the name, or give the token access",
                )
            found = data["repository"]["pullRequests"]
            nodes = [node for node in found["nodes"] if node]
            for node in nodes:
                self.complete(node)
            after = found["pageInfo"]["endCursor"] if found["pageInfo"]["hasNextPage"] else None
            yield nodes, after
            if after is None:
                return

    def page(self, variables: dict[str, Any], what: str) -> dict[str, Any]:
        """A page, with fewer pull requests each time GitHub finds the query too heavy, and slowly more again."""
        while True:
            try:
                data = self.ask(PAGE_QUERY, variables | {"first": self.size}, what, heavy=self.size > 1)
            except TooHeavy:
                self.size = max(self.size // 2, 1)
                continue
            self.size = min(self.size + 1 if self.size < PAGE else PAGE, PAGE)
            return data

    def complete(self, node: dict[str, Any]) -> None:
        """Follow the nested connections of a pull request to their ends."""
        for name in CONNECTIONS:
            info = (node.get(name) or {}).get("pageInfo") or {}
            while info.get("hasNextPage"):
                query = (
                    f"query More($id: ID!, $after: String) {{ {RATE} node(id: $id) {{ ... on PullRequest {{ "
                    f"{connection(name, ', after: $after')} }} }} }}"
                )
                what = f"{name} of pull request {node['number']}"
                more = self.ask(query, {"id": node["id"], "after": info["endCursor"]}, what)["node"][name]
                node[name]["nodes"] += more["nodes"]
                info = more["pageInfo"]

    def ask(
        self, query: str, variables: Mapping[str, Any], what: str, *, heavy: bool = False, partly: bool = False
    ) -> dict[str, Any]:
        """The data of a query.

        Raises TooHeavy (when `heavy`) for what fewer rows may cure, RateLimited near the end of the budget, LoadError
        else. With `partly`, data that came beside errors is good enough.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self.api.send(
                    "POST",
                    self.path,
                    body={"query": query, "variables": dict(variables)},
                    what=what,
                    passing_attempts=2 if heavy else None,
                )
            except LoadError as error:
                if heavy and error.reason in ("BadResponse", "Unreachable"):
                    raise TooHeavy from error
                raise
            if not isinstance(answer, dict) or ("data" not in answer and "errors" not in answer):
                raise LoadError(
                    "BadResponse",
                    f"{self.api.host} answers {what} with no GraphQL; check that github.url is the API's base",
                )
            errors = answer.get("errors") or []
            data: dict[str, Any] = answer.get("data") or {}
            if errors and not (partly and data):
                if is_limit(errors):
                    self.api.rest_until(rate_reset(answer), attempt, what)
                    continue
                self.refuse(errors, data, what, heavy)
            self.mind_budget(data)
            return data

    def refuse(self, errors: Sequence[Mapping[str, Any]], data: Mapping[str, Any], what: str, heavy: bool) -> None:
        """Raise what GraphQL errors mean; those about single fields of rows that came otherwise only warn."""
        kinds = {str(error.get("type") or "") for error in errors}
        message = "; ".join(str(error.get("message")) for error in errors)[:200]
        tops = {str((error.get("path") or [""])[0]) for error in errors}
        if any(data.get(top) is not None for top in tops):
            self.scope.warn(f"{what}: {self.api.host} left parts out ({message})")
            return
        if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES"}:
            raise LoadError(
                "Forbidden", f"{what}: {self.api.host} forbids it ({message}); give the token the right to read"
            )
        if "NOT_FOUND" in kinds:
            raise LoadError(
                "NotFound",
                f"{what}: {self.api.host} does not know it ({message}); correct the name in the source, or give the "
                "token access",
            )
        if heavy:
            raise TooHeavy(message)
        raise LoadError("BadResponse", f"{what}: {self.api.host} answers an error ({message})")

    def mind_budget(self, data: Mapping[str, Any]) -> None:
        """Leave the last points to others: the next request waits for the new hour, or the load stops."""
        rate = data.get("rateLimit")
        if rate and rate["remaining"] < RESERVE and (reset := moment(rate["resetAt"])):
            self.api.hold_until(reset)


def is_limit(errors: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the errors say that a rate limit is used up."""
    return any(
        error.get("type") == "RATE_LIMITED" or "rate limit" in str(error.get("message", "")).lower() for error in errors
    )


def rate_reset(answer: Mapping[str, Any]) -> datetime | None:
    """When the budget is full again, if the answer says so."""
    rate = (answer.get("data") or {}).get("rateLimit") or {}
    return moment(rate.get("resetAt"))


class TooHeavy(Exception):  # noqa: N818 - a sign to ask for less
    """A page that fewer rows may cure."""
