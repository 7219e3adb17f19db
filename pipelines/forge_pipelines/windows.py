"""Arithmetic of windows and steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta


def spans(start: datetime, end: datetime, width: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) cut into consecutive spans of at most `width`, oldest first; none when there is nothing between."""
    while start < end:
        stop = min(start + width, end)
        yield start, stop
        start = stop


def floor(moment: datetime, step: timedelta) -> datetime:
    """The last multiple of `step` since the Unix epoch that is not after `moment`: aligned windows tile and repeat."""
    width = int(step.total_seconds())
    return datetime.fromtimestamp(int(moment.timestamp()) // width * width, UTC)


def oldest(
    exists_before: Callable[[datetime], bool], low: datetime, high: datetime, grain: timedelta
) -> datetime | None:
    """The earliest moment that has something, at most `grain` too early; None when nothing is before `high`.

    `exists_before(t)` says whether there is anything before t, so it turns from False to True once; asked about
    log2((high - low) / grain) times.
    """
    if not exists_before(high):
        return None
    while high - low > grain:
        middle = low + (high - low) / 2
        if exists_before(middle):
            high = middle
        else:
            low = middle
    return low
