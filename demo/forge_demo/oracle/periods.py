"""Periods, scopes and statistics, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

Row = dict[str, Any]
Scopes = list[tuple[str, str]]


def seconds(begin: datetime | None, end: datetime | None) -> float | None:
    """From one moment to another; None when one is missing or they stand the wrong way round."""
    if begin is None or end is None or end < begin:
        return None
    return (end - begin).total_seconds()


def periods(at: datetime) -> list[tuple[str, date]]:
    """The day, the week and the month that a moment lies in, with their first days."""
    day = at.date()
    return [("day", day), ("week", day - timedelta(days=day.weekday())), ("month", day.replace(day=1))]


def scopes(team: str | None = None, project: str | None = None, repository: str | None = None) -> Scopes:
    """Where a fact counts: in the whole, and in what it belongs to."""
    named = (("team", team), ("project", project), ("repository", repository))
    return [("all", ""), *((scope, value) for scope, value in named if value)]


def quantile(values: Iterable[float], part: float) -> float | None:
    """By linear interpolation between the closest ranks."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = (len(ordered) - 1) * part
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def share(part: int, whole: int) -> float | None:
    """A ratio; None of nothing."""
    return part / whole if whole else None


def stats(name: str, values: Iterable[float | None]) -> Row:
    """The four statistics of what is known of these values."""
    known = [value for value in values if value is not None]
    found = {f"{name}_p{part}": quantile(known, part / 100) for part in (50, 75, 90)}
    return {**found, f"{name}_mean": mean(known)}


class Cells:
    """Facts by period, scope and whatever else a table is cut by."""

    def __init__(self, *further: str) -> None:
        self.further = further
        self._cells: dict[tuple[Any, ...], dict[str, list[Any]]] = {}

    def add(
        self, name: str, at: datetime | None, where: Scopes, fact: Any, further: Iterable[tuple[Any, ...]] = ((),)
    ) -> None:
        """A fact of a kind at a moment; nothing without one."""
        if at is None:
            return
        for period in periods(at):
            for scope in where:
                for more in further:
                    self._cells.setdefault((*period, *scope, *more), {}).setdefault(name, []).append(fact)

    def rows(self, numbers: Callable[[Mapping[str, list[Any]]], Row]) -> list[Row]:
        """A row a cell; `numbers` counts the facts of one by their kind (none: an empty list)."""
        names = ("period", "period_start", "scope", "scope_value", *self.further)
        return [dict(zip(names, key, strict=True)) | numbers(_Facts(facts)) for key, facts in self._cells.items()]


class _Facts(dict[str, list[Any]]):
    def __missing__(self, name: str) -> list[Any]:
        return []
