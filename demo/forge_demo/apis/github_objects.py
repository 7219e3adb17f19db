"""What GitHub's GraphQL objects share: connections with cursors, accounts, errors.

An object is a class a type; a field is an attribute, a property, or a method (info, **arguments), in snake_case.
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any
from zlib import crc32

from forge_demo.github_places import GHOST, STRANGER, TEAM_REVIEWERS, node_id
from forge_demo.github_things import Repo
from forge_demo.organisation import Person

WEB = "https://github.example"


class NotFoundError(Exception):
    """A name that resolves to nothing; `type` goes beside the message."""

    type = "NOT_FOUND"


class ForbiddenError(Exception):
    """What the token may not see."""

    type = "FORBIDDEN"

    def __init__(self) -> None:
        super().__init__("Resource not accessible by personal access token")


class PaginationError(Exception):
    """Bad first, last, after or before."""

    type = "INVALID_CURSOR_ARGUMENTS"


def number_of(text: str) -> int:
    """A stable database id for what the world gives none."""
    return 1_000_000_000 + crc32(text.encode())


# Connections


@dataclass(frozen=True)
class Edge:
    """One node and where it stands."""

    cursor: str | None
    node: Any


Key = Callable[[Any], tuple[Any, ...]]


class Connection:
    """A page of `items`. With `key`, by which they are sorted, a cursor is an item's key and holds while items move."""

    def __init__(
        self,
        items: Sequence[Any],
        shape: Callable[[Any], Any],
        key: Key | None = None,
        *,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        start, stop = 0, len(items)
        if after:
            start = _place(items, key, _read_cursor(after), bisect_right)
        if before:
            stop = _place(items, key, _read_cursor(before), bisect_left)
        if first is not None:
            stop = min(stop, start + first)
        elif last is not None:
            start = max(start, stop - last)
        self._items, self._shape, self._key = items, shape, key
        self._start, self._stop = start, max(start, stop)
        self.total_count = len(items)

    @cached_property
    def nodes(self) -> list[Any]:
        """The items."""
        return [self._shape(item) for item in self._items[self._start : self._stop]]

    @property
    def edges(self) -> list[Edge]:
        """The items with their cursors."""
        return [Edge(self._cursor(self._start + n), node) for n, node in enumerate(self.nodes)]

    def _cursor(self, index: int) -> str:
        key = self._key(self._items[index]) if self._key else (index,)
        return base64.b64encode(b"cursor:" + json.dumps(key).encode()).decode()

    @property
    def page_info(self) -> dict[str, Any]:
        """Where the page stands."""
        empty = self._start >= self._stop
        return {
            "start_cursor": None if empty else self._cursor(self._start),
            "end_cursor": None if empty else self._cursor(self._stop - 1),
            "has_next_page": not empty and self._stop < len(self._items),
            "has_previous_page": not empty and self._start > 0,
        }

    # Connections of timeline items say a little more
    @property
    def filtered_count(self) -> int:
        """Items after the filter."""
        return self.total_count

    @property
    def page_count(self) -> int:
        """Items in the page."""
        return self._stop - self._start

    @property
    def updated_at(self) -> str:
        """When the newest of them happened."""
        return max((getattr(node, "created_at", "") for node in self.nodes), default="") or "2008-01-01T00:00:00Z"


def _place(items: Sequence[Any], key: Key | None, mark: tuple[Any, ...], bisect: Any) -> int:
    if key is not None:
        return int(bisect(items, mark, key=key))
    index = int(mark[0])
    return index + 1 if bisect is bisect_right else index


def _read_cursor(text: str) -> tuple[Any, ...]:
    try:
        return tuple(json.loads(base64.b64decode(text, validate=True).removeprefix(b"cursor:")))
    except (ValueError, TypeError) as error:
        raise PaginationError(f"`{text}` does not appear to be a valid cursor.") from error


def paging(arguments: dict[str, Any]) -> dict[str, Any]:
    """The paging of a field's arguments."""
    return {k: arguments.get(k) for k in ("first", "last", "after", "before")}


# Accounts


class Account:
    """A User, a Bot or an Organization."""

    def __init__(self, login: str, name: str, email: str, number: int, kind: str) -> None:
        self.typename, self.login, self.name, self.email, self.database_id = kind, login, name, email, number
        self.id = node_id({"Bot": "BOT", "Organization": "O"}.get(kind, "U"), number)
        self.resource_path = f"/apps/{login}" if kind == "Bot" else f"/{login}"
        self.url = WEB + self.resource_path

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.login}"


@cache
def _account(person: Person) -> Account:
    email = "" if person.is_agent else person.email
    return Account(person.login, person.name, email, person.database_id, "Bot" if person.is_agent else "User")


def account(person: Person) -> Account | None:
    """The account of a person; None when it is gone, or there never was one."""
    return None if person in (GHOST, STRANGER) else _account(person)


class Team:
    """A team that is asked for a review."""

    typename = "Team"

    def __init__(self, name: str) -> None:
        team = TEAM_REVIEWERS[name]
        self.slug, self.name, self.database_id = team.name, team.name.capitalize(), number_of(name) % 9_000_000
        self.id = node_id("T", self.database_id)


class Label:
    """A label of a repository."""

    typename, color, description = "Label", "0e8a16", None

    def __init__(self, name: str, repo: Repo) -> None:
        self.name, self._repo = name, repo

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("LA", f"{self._repo.place.id}/{self.name}")

    @property
    def url(self) -> str:
        """Its page."""
        return f"{WEB}/{self._repo.full_name}/labels/{self.name}"
