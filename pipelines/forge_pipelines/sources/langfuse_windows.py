"""Which window of time a load reads next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from forge_stack.duration import duration
from forge_stack.model import LangfuseSource

from forge_pipelines.tables import iso, moment
from forge_pipelines.windows import oldest

FOUNDED = datetime(2023, 1, 1, tzinfo=UTC)
"""Nothing in Langfuse is older than Langfuse."""
GRAIN = timedelta(days=7)
"""How exactly the oldest row is looked for."""
FIRST_WIDTH = timedelta(hours=1)
LEAST_WIDTH, MOST_WIDTH = timedelta(minutes=1), timedelta(days=90)
ROWS_A_WINDOW = 20_000
"""A window is a clean cursor: this much is read again at most after a crash. Less would cost requests."""
MOST_GROWTH = 4.0
REREAD_EVERY, REREAD_BACK = timedelta(days=1), timedelta(days=7)
"""What cannot be asked for by its last update is read again: a week, once a day."""


@dataclass(frozen=True)
class Mark:
    """How far an entity is loaded: up to the moment `read`; `whole` once a load came to its end.

    `seen` is the newest row's time. The next load goes on from there and not from `read`, so that a server whose clock
    is behind loses nothing. `width` is the window that brings about ROWS_A_WINDOW, `furthest` the newest moment that
    was ever read, `deep` when the last load began that reached back a week.
    """

    seen: datetime | None = None
    read: datetime | None = None
    whole: bool = False
    width: timedelta = FIRST_WIDTH
    furthest: datetime | None = None
    deep: datetime | None = None

    @classmethod
    def read_from(cls, kept: Mapping[str, Any]) -> Mark:
        """From the state."""
        width = timedelta(seconds=float(kept.get("width") or FIRST_WIDTH.total_seconds()))
        seen, read, furthest, deep = (moment(kept.get(name)) for name in ("seen", "read", "furthest", "deep"))
        return cls(seen, read, bool(kept.get("whole")), width, furthest, deep)

    def write(self) -> dict[str, Any]:
        """For the state."""
        times = {"seen": self.seen, "read": self.read, "furthest": self.furthest, "deep": self.deep}
        told = {key: iso(value) for key, value in times.items() if value}
        return {"whole": self.whole, "width": self.width.total_seconds()} | told

    def after(self, end: datetime, rows: int, seen: datetime | None, *, last: bool) -> Mark:
        """When a window up to `end` brought so many rows, the newest of `seen`.

        The last window of a load is seldom of full width: that it brought little says nothing.
        """
        return replace(
            self,
            seen=max(filter(None, (self.seen, seen)), default=None),
            read=end,
            whole=last,
            width=self.width if last and rows <= ROWS_A_WINDOW else fitted(self.width, rows),
            furthest=max(filter(None, (self.furthest, end))),
        )


def nothing_until(mark: Mark, end: datetime) -> Mark:
    """The mark of an entity that has nothing before `end`."""
    return replace(mark, read=end, whole=True, furthest=max(filter(None, (mark.furthest, end))))


def fitted(width: timedelta, rows: int) -> timedelta:
    """The width that would have brought ROWS_A_WINDOW, but no more than four times wider."""
    factor = min(ROWS_A_WINDOW / max(rows, 1), MOST_GROWTH)
    return min(max(width * factor, LEAST_WIDTH), MOST_WIDTH)


def begun(mark: Mark, now: datetime) -> Mark:
    """The mark of a load that begins now: one that goes on from a whole one reaches back a week when a day is over."""
    if mark.whole and mark.deep is not None and now < mark.deep + REREAD_EVERY:
        return mark
    return replace(mark, deep=now) if mark.whole or mark.read is None else mark


def bounds(
    spec: LangfuseSource, now: datetime, mark: Mark, anything_before: Callable[[datetime], bool]
) -> tuple[datetime, datetime]:
    """From where to where an entity is to be read: [start, end). Without mark and `since`, from its oldest row.

    Nothing, where there is nothing yet.
    """
    end = now - duration(spec.lag)
    known = mark.seen if mark.whole else mark.read
    if known:
        start = known - duration(spec.overlap)
        start = min(start, end - REREAD_BACK) if mark.whole and mark.deep == now else start
        return (max(start, spec.since) if spec.since else start), end
    if spec.since:
        return spec.since, end
    first = oldest(anything_before, FOUNDED, end, GRAIN)
    return end if first is None else first, end
