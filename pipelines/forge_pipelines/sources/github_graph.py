"""Asking GitHub's GraphQL: pages of what it bears, nested connections to their ends, and what goes wrong.

Errors come inside a 200, a query that takes too long is answered by 502, points are counted by the hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError, NotTheApiError
from forge_pipelines.sources import Scope
from forge_pipelines.sources.github_queries import NESTED, Listing, follow_query, nodes_query
from forge_pipelines.tables import json_text, moment

RESERVE = 50
"""Points of the hourly budget that a load leaves to others."""
FOLLOWED_AT_ONCE = 20
"""Nested connections that one query follows: commits with their checks are 101 connections each, 20 points at most."""
IDS = 100
"""The most ids that `nodes` takes."""
NOT_SEEN = frozenset({"FORBIDDEN", "INSUFFICIENT_SCOPES", "NOT_FOUND"})
"""Errors about what this token may not see, however it asks."""

Node = dict[str, Any]
Errors = Sequence[Mapping[str, Any]]


class TooHeavy(Exception):  # noqa: N818 - a sign to ask for less
    """A page that fewer rows may cure."""


@dataclass
class Pace:
    """How many elements a page has: half as many each time GitHub finds a query too heavy, then slowly more again."""

    most: int
    size: int = 0

    def __post_init__(self) -> None:
        """Begin with full pages."""
        self.size = self.size or self.most

    def slower(self) -> None:
        """Ask for half."""
        self.size = max(self.size // 2, 1)

    def faster(self) -> None:
        """Ask for a little more."""
        self.size = min(self.size + max(self.size // 8, 1), self.most)


@dataclass
class Gap:
    """A nested connection that goes on: whose it is, and the list that takes the rest."""

    owner: str
    id: str
    name: str
    after: str
    nodes: list[Any]


@dataclass
class Graph:
    """Asks GitHub's GraphQL, at as many elements a page as it bears."""

    api: Api
    path: str
    scope: Scope
    paces: dict[str, Pace] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    """Requests by the name of the query."""

    def pace(self, name: str, most: int) -> Pace:
        """The pace of one kind of query."""
        return self.paces.setdefault(name, Pace(most))

    def listed(
        self, listing: Listing, repository: str, what: str, after: str | None = None, fields: str | None = None
    ) -> Iterator[tuple[list[Node], str | None]]:
        """Pages of a repository's listing, newest first, whole, and the cursor of the next one (None: there is none).

        `repository` is the global id; `fields` are read in place of the whole element, 100 a page.
        """
        pace = self.pace(fields or listing.name, 100 if fields else listing.first)
        while True:
            data = self.paced(
                listing.query(fields), {"id": repository, "after": after}, f"{listing.name} of {what}", pace
            )
            if data.get("node") is None:
                raise LoadError("NotFound", f"{what}: {self.api.host} does not know this repository any more")
            found = data["node"].get(listing.field) or {}
            nodes = [node for node in found.get("nodes") or [] if node]
            if not fields:
                self.complete(listing.type, nodes, what)
            info = found.get("pageInfo") or {}
            after = info.get("endCursor") if info.get("hasNextPage") else None
            yield nodes, after
            if after is None:
                return

    def nodes(self, owner: str, ids: Sequence[str], fields: str, what: str, most: int = IDS) -> Iterator[list[Node]]:
        """Objects of a type by their global ids; what is gone is left out."""
        pace, query = self.pace(f"{owner} {fields}", most), nodes_query(owner, fields)
        start = 0
        while start < len(ids):
            part = ids[start : start + pace.size]
            try:
                data = self.ask(query, {"ids": part}, what, heavy=len(part) > 1, partly=True)
            except TooHeavy:
                pace.slower()
                continue
            start += len(part)
            pace.faster()
            found = [node for node in data.get("nodes") or [] if node and node.get("id")]
            self.complete(owner, found, what)
            yield found

    def jump(self, listing: Listing, repository: str, what: str, end: datetime) -> str | None:
        """The cursor of a page of light elements that all were updated at `end` or later; None when none is so new."""
        cursor = None
        for nodes, after in self.listed(listing, repository, what, fields=listing.ids):
            if after is None or any((moment(node["updatedAt"]) or end) < end for node in nodes):
                break
            cursor = after
        return cursor

    def paced(self, query: str, variables: Mapping[str, Any], what: str, pace: Pace) -> Node:
        """The data of a query with a `first`, as many as GitHub bears."""
        while True:
            try:
                data = self.ask(query, {**variables, "first": pace.size}, what, heavy=pace.size > 1)
            except TooHeavy:
                pace.slower()
                continue
            pace.faster()
            return data

    # Nested connections

    def complete(self, owner: str, nodes: Sequence[Node], what: str) -> None:
        """Follow all connections inside these objects to their ends, many by one query."""
        gaps = [gap for node in nodes for gap in gaps_of(owner, node)]
        pace = self.pace("follow", FOLLOWED_AT_ONCE)
        while gaps:
            part, rest = gaps[: pace.size], gaps[pace.size :]
            variables = {f"i{n}": gap.id for n, gap in enumerate(part)}
            variables |= {f"c{n}": gap.after for n, gap in enumerate(part)}
            try:
                data = self.ask(
                    follow_query((gap.owner, gap.name) for gap in part),
                    variables,
                    f"the rest of {what}",
                    heavy=len(part) > 1,
                    partly=True,
                )
            except TooHeavy:
                pace.slower()
                continue
            pace.faster()
            if lost := sum(data.get(f"m{n}") is None for n in range(len(part))):
                self.scope.warn(f"{what}: {self.api.host} gives no more of {lost} connections that it said go on")
            gaps = [more for n, gap in enumerate(part) for more in filled(gap, data.get(f"m{n}"))] + rest

    # One query

    def ask(
        self, query: str, variables: Mapping[str, Any], what: str, *, heavy: bool = False, partly: bool = False
    ) -> Node:
        """The data of a query.

        Raises TooHeavy (when `heavy`) for what fewer rows may cure, RateLimited near the end of the budget, LoadError
        else. With `partly`, data beside errors about what is not seen is good enough.
        """
        data, errors = self.answer(query, variables, what, heavy=heavy)
        if errors and not (partly and data and kinds(errors) <= NOT_SEEN):
            self.refuse(errors, data, what, heavy)
        return data

    def answer(
        self, query: str, variables: Mapping[str, Any], what: str, *, heavy: bool = False
    ) -> tuple[Node, list[dict[str, Any]]]:
        """The data and the errors of a query; limits are waited for. Raises as `ask` does."""
        attempt = 0
        while True:
            attempt += 1
            before = self.api.requests
            try:
                answer = self.api.send(
                    "POST",
                    self.path,
                    body={"query": query, "variables": dict(variables)},
                    what=what,
                    passing_attempts=2 if heavy else None,
                )
            except LoadError as error:
                if heavy and error.reason in ("BadResponse", "Unreachable") and not isinstance(error, NotTheApiError):
                    raise TooHeavy from error
                raise
            finally:
                self.spent[query.partition("(")[0].removeprefix("query ").lower()] += self.api.requests - before
            if not isinstance(answer, dict) or ("data" not in answer and "errors" not in answer):
                raise LoadError(
                    "BadResponse",
                    f"{self.api.host} answers {what} with no GraphQL; check that github.url is the API's base",
                )
            errors = answer.get("errors") or []
            data: Node = answer.get("data") or {}
            if is_limit(errors):
                self.api.rest_until(rate_reset(answer), attempt, what)
                continue
            self.mind_budget(data)
            return data, errors

    def refuse(self, errors: Errors, data: Mapping[str, Any], what: str, heavy: bool) -> None:
        """Raise what GraphQL errors mean; those about single fields of rows that came otherwise only warn.

        A field that is missing for another reason than the token's rights (time, limits of a query's resources) may
        come when less is asked for; a row without it would be stored as if it were whole.
        """
        message = "; ".join(dict.fromkeys(str(error.get("message")) for error in errors))[:300]
        tops = {str((error.get("path") or [""])[0]) for error in errors}
        seen = any(data.get(top) is not None for top in tops)
        if seen and (not heavy or kinds(errors) <= NOT_SEEN):
            self.scope.warn(f"{what}: {self.api.host} left parts out ({message})")
            return
        if heavy and not kinds(errors) & NOT_SEEN:
            raise TooHeavy(message)
        raise problem(errors, message, what, self.api.host)

    def mind_budget(self, data: Mapping[str, Any]) -> None:
        """Leave the last points to others: the next request waits for the new hour, or the load stops."""
        rate = data.get("rateLimit")
        if rate and rate["remaining"] < RESERVE and (reset := moment(rate["resetAt"])):
            self.api.hold_until(reset)


def kinds(errors: Errors) -> set[str]:
    """The types of errors."""
    return {str(error.get("type") or "") for error in errors}


def problem(errors: Errors, message: str, what: str, host: str) -> LoadError:
    """What errors mean to people, with a remedy."""
    if any((error.get("extensions") or {}).get("saml_failure") for error in errors) or "SAML" in message:
        return LoadError(
            "Forbidden",
            f"{what}: {host} enforces SAML single sign-on there ({message}); authorise the token for that organisation "
            "(its settings on GitHub, Configure SSO), or use a GitHub App",
        )
    if "INSUFFICIENT_SCOPES" in kinds(errors):
        return LoadError(
            "Forbidden", f"{what}: the token lacks a scope ({message}); give it the scope that the message names"
        )
    if "FORBIDDEN" in kinds(errors):
        return LoadError("Forbidden", f"{what}: {host} forbids it ({message}); give the token the right to read")
    if "NOT_FOUND" in kinds(errors):
        return LoadError(
            "NotFound",
            f"{what}: {host} does not know it ({message}); correct the name in the source, or give the token access",
        )
    return LoadError("BadResponse", f"{what}: {host} answers an error ({message})")


def gaps_of(owner: str, node: Node) -> Iterator[Gap]:
    """The connections inside an object that go on past what came with it, those of objects inside it too."""
    for name, nested in NESTED[owner].items() if owner in NESTED else ():
        holder = node.get(nested.inside) if nested.inside else node
        connection = (holder or {}).get(name)
        if connection is None:
            continue
        connection["nodes"] = list(connection.get("nodes") or [])
        yield from gaps_within(name, connection["nodes"])
        info = connection.get("pageInfo") or {}
        if info.get("hasNextPage"):
            yield Gap(owner, str(node["id"]), name, str(info["endCursor"]), connection["nodes"])


def gaps_within(name: str, nodes: Sequence[Node | None]) -> Iterator[Gap]:
    """Those of the elements of a connection that have connections of their own."""
    for node in nodes:
        if node and name == "reviews":
            yield from gaps_of("PullRequestReview", node)
        if node and name == "commits":
            yield from gaps_of("Commit", node.get("commit") or {})


def filled(gap: Gap, answer: Node | None) -> Iterator[Gap]:
    """Put more elements where they belong; gives what still goes on. Nothing more comes of an owner that is gone."""
    inside = NESTED[gap.owner][gap.name].inside
    holder = (answer or {}).get(inside) if inside else answer
    connection = (holder or {}).get(gap.name) or {}
    # An element that came already (a page that was given twice, or that moved) is not there twice.
    known = {json_text(node) for node in gap.nodes}
    new = [node for node in connection.get("nodes") or [] if node and json_text(node) not in known]
    gap.nodes += new
    yield from gaps_within(gap.name, new)
    info = connection.get("pageInfo") or {}
    if info.get("hasNextPage"):
        yield Gap(gap.owner, gap.id, gap.name, str(info["endCursor"]), gap.nodes)


def is_limit(errors: Errors) -> bool:
    """Whether the errors say that a rate limit is used up."""
    return any(
        error.get("type") == "RATE_LIMITED" or "rate limit" in str(error.get("message", "")).lower() for error in errors
    )


def rate_reset(answer: Mapping[str, Any]) -> datetime | None:
    """When the budget is full again, if the answer says so."""
    rate = (answer.get("data") or {}).get("rateLimit") or {}
    return moment(rate.get("resetAt"))
