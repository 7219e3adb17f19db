"""GitHub's GraphQL: the queries, and what goes wrong with them.

Errors come inside a 200, a query that takes too long is answered by 502, points are counted by the hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from forge_stack.model import GitHubSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Scope
from forge_pipelines.tables import moment

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
NOT_SEEN = frozenset({"FORBIDDEN", "INSUFFICIENT_SCOPES", "NOT_FOUND"})
"""Errors about what this token may not see, however it asks."""
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


def graphql_path(url: str) -> tuple[str, str]:
    """Base and path of GraphQL for a REST base: github.com has /graphql, Enterprise Server /api/graphql."""
    base = url.rstrip("/")
    return (base.removesuffix("/v3"), "/graphql") if base.endswith("/api/v3") else (base, "/graphql")


def updated(node: Mapping[str, Any]) -> datetime:
    """When a pull request was updated last."""
    found = moment(node["updatedAt"])
    assert found is not None, "updatedAt is not null in GitHub's schema"  # noqa: S101
    return found


class Graph:
    """Asks GitHub, page by page, with as many pull requests a page as it bears."""

    def __init__(self, api: Api, spec: GitHubSource, scope: Scope) -> None:
        """Find the endpoint; start with full pages."""
        api.base_url, self.path = graphql_path(spec.url)
        self.api, self.spec, self.scope, self.size = api, spec, scope, PAGE

    def repositories(self) -> list[str]:
        """The selected repositories, each once, in a fixed order."""
        names = {name.lower(): name for name in self.spec.repositories}
        for login in self.spec.organizations:
            try:
                names.update({name.lower(): name for name in self.of_organization(login)})
            except LoadError as error:
                if error.reason not in ("NotFound", "Forbidden") or len(self.spec.organizations) == 1:
                    raise
                self.scope.warn(error.message)
        return [names[key] for key in sorted(names)]

    def of_organization(self, login: str) -> Iterator[str]:
        """The repositories of an organisation. Raises LoadError (NotFound)."""
        after = None
        while True:
            data = self.ask(REPOSITORIES_QUERY, {"login": login, "after": after}, f"organization {login}")
            if data.get("organization") is None:
                raise LoadError(
                    "NotFound",
                    f"github.organizations: {self.api.host} knows no organisation {login!r} that this token may see; "
                    "correct the name, or give the token access",
                )
            found = data["organization"]["repositories"]
            yield from (node["nameWithOwner"] for node in found["nodes"] if node)
            after = found["pageInfo"]["endCursor"]
            if not found["pageInfo"]["hasNextPage"]:
                return

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
        """Raise what GraphQL errors mean; those about single fields of rows that came otherwise only warn.

        A field that is missing for another reason than the token's rights (time, limits of a query's resources) may
        come when less is asked for; a row without it would be stored as if it were whole.
        """
        kinds = {str(error.get("type") or "") for error in errors}
        message = "; ".join(str(error.get("message")) for error in errors)[:200]
        tops = {str((error.get("path") or [""])[0]) for error in errors}
        if any(data.get(top) is not None for top in tops) and (not heavy or kinds <= NOT_SEEN):
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
