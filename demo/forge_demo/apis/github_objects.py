"""What GitHub's GraphQL objects share: connections with cursors, accounts, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

from forge_demo.organisation import Person
from forge_demo.state import node_id

WEB = "https://github.example"


class NotFoundError(Exception):
    """A name that resolves to nothing; `type` goes beside the message."""

    type = "NOT_FOUND"


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


class Connection:
    """A page of `items`; a cursor is the sort key of its item, so that it holds while items move."""

    def __init__(
        self,
        items: Sequence[Any],
        shape: Callable[[Any], Any],
        key: Callable[[Any], tuple[Any, ...]] | None = None,
        *,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        keyed = [(list(key(item)) if key else [index], item) for index, item in enumerate(items)]
        self.total_count = len(keyed)
        self._all, self._shape = keyed, shape
        if after:
            mark = _read_cursor(after)
            keyed = [row for row in keyed if row[0] > mark]
        if before:
            mark = _read_cursor(before)
            keyed = [row for row in keyed if row[0] < mark]
        if first is not None:
            keyed = keyed[:first]
        elif last is not None:
            keyed = keyed[len(keyed) - min(last, len(keyed)) :]
        self._page = keyed

    @cached_property
    def nodes(self) -> list[Any]:
        """The items."""
        return [self._shape(item) for _, item in self._page]

    @property
    def edges(self) -> list[Edge]:
        """The items with their cursors."""
        return [Edge(_cursor(key), node) for (key, _), node in zip(self._page, self.nodes, strict=True)]

    @property
    def page_info(self) -> dict[str, Any]:
        """Where the page stands."""
        begin, end = (self._page[0][0], self._page[-1][0]) if self._page else (None, None)
        return {
            "start_cursor": _cursor(begin),
            "end_cursor": _cursor(end),
            "has_next_page": end is not None and self._all[-1][0] > end,
            "has_previous_page": begin is not None and self._all[0][0] < begin,
        }

    # PullRequestTimelineItemsConnection says a little more
    @property
    def filtered_count(self) -> int:
        """Items after the filter."""
        return self.total_count

    @property
    def page_count(self) -> int:
        """Items in the page."""
        return len(self._page)

    @property
    def updated_at(self) -> str:
        """When the newest of them happened."""
        return max((getattr(node, "created_at", "") for node in self.nodes), default="") or "2008-01-01T00:00:00Z"


def _cursor(key: list[Any] | None) -> str | None:
    return None if key is None else base64.b64encode(b"cursor:" + json.dumps(key).encode()).decode()


def _read_cursor(text: str) -> list[Any]:
    try:
        return list(json.loads(base64.b64decode(text, validate=True).removeprefix(b"cursor:")))
    except (ValueError, TypeError) as error:
        raise PaginationError(f"`{text}` does not appear to be a valid cursor.") from error


def empty(**given: Any) -> Connection:
    """Of what this world has none."""
    return Connection((), lambda item: item, **paging(given))


def paging(arguments: dict[str, Any]) -> dict[str, Any]:
    """The paging of a field's arguments."""
    return {k: arguments.get(k) for k in ("first", "last", "after", "before")}


# Accounts


class Account:
    """A User or a Bot."""

    def __init__(self, person: Person) -> None:
        self.typename = "Bot" if person.is_agent else "User"
        self.login, self.name, self.email = person.login, person.name, "" if person.is_agent else person.email
        self.database_id = person.database_id
        self.id = node_id("BOT" if person.is_agent else "U", person.database_id)
        self.resource_path = f"/apps/{person.login}" if person.is_agent else f"/{person.login}"
        self.url = WEB + self.resource_path

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.login}"
