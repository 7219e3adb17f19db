"""How far each listing of each repository is loaded, and how a listing is walked. Pure but for the pages it asks for.

A walk goes down from the newest element until what is loaded already. What changes during a walk moves to the top,
above the walk's beginning, and the next walk meets it. An unfinished walk is kept in the state and goes on from its
page, so that a long first load may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from forge_pipelines.tables import iso, moment

Node = dict[str, Any]
Pages = Callable[[str | None], Iterator[tuple[list[Node], str | None]]]
"""Pages after a cursor, newest element first, and the cursor of the next page."""


@dataclass(frozen=True)
class Mark:
    """How far a listing is loaded: all up to `upto`. `settled`: its overlap was read again after it had passed.

    An unfinished walk has the `newest` moment of its beginning, the page it goes on `after`, and its `floor`.
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

    def lowest(self, since: datetime | None, overlap: timedelta) -> datetime | None:
        """Where a new walk ends: an overlap below what is loaded, never below `since`."""
        if self.upto is None:
            return since
        return max(self.upto - overlap, since) if since else self.upto - overlap

    def covers(self, newest: datetime | None) -> bool:
        """Whether a listing whose newest element is of that moment has nothing new."""
        return self.settled and self.after is None and newest == self.upto


def is_past(when: datetime | None, overlap: timedelta, now: datetime) -> bool:
    """Whether nothing late can come beside a moment any more."""
    return when is None or now - when > overlap


@dataclass(frozen=True)
class Bounds:
    """What a walk of new elements keeps to."""

    since: datetime | None
    overlap: timedelta
    now: datetime


def walk(
    pages: Pages, stamp: Callable[[Node], datetime], mark: Mark, bounds: Bounds
) -> Iterator[tuple[list[Node], Mark]]:
    """Elements page by page, with the mark that holds once they are stored: first what an earlier load left undone."""
    while True:
        resumed = mark.after is not None
        bottom = mark.floor if resumed else mark.lowest(bounds.since, bounds.overlap)
        first = mark.newest if resumed else None
        kept: Sequence[Node] = []
        for nodes, after in pages(mark.after):
            first = first or max((stamp(node) for node in nodes), default=None)
            kept = [node for node in nodes if bottom is None or stamp(node) >= bottom]
            if after is None or len(kept) < len(nodes):
                break
            mark = replace(mark, settled=False, newest=first, after=after, floor=bottom)
            yield list(kept), mark
        mark = Mark(first or mark.upto, is_past(first or mark.upto, bounds.overlap, bounds.now))
        yield list(kept), mark
        if not resumed:
            return


def between(pages: Pages, stamp: Callable[[Node], datetime], window: tuple[datetime, datetime]) -> Iterator[list[Node]]:
    """The elements of a window [start, end)."""
    start, end = window
    for nodes, _ in pages(None):
        yield [node for node in nodes if start <= stamp(node) < end]
        if any(stamp(node) < start for node in nodes):
            return
