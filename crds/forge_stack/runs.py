"""Runs that are asked for: the grammar of the annotation `observability.forge.dev/run-now`, for operator and CLI."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from forge_stack.model import GROUP

RUN_NOW = f"{GROUP}/run-now"
ALL = "all"
TRANSFORM = "transform"
FULL_REFRESH = "full-refresh"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_IDENTIFIED = re.compile(r"(.*)#([0-9a-f]{16})", re.DOTALL)


@dataclass(frozen=True)
class Window:
    """What a backfill loads: from `start` to `end`, both aware."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"


@dataclass(frozen=True)
class Run:
    """One thing to run: a load of `source`, of a window or an ordinary one; or, without a source, a transform.

    `identity` (16 hexadecimal digits) tells it from others of the same words; empty when its writer gave it none.
    """

    source: str = ""
    window: Window | None = None
    full_refresh: bool = False
    identity: str = ""

    def __str__(self) -> str:
        """As it is written in the annotation."""
        if self.source:
            text = f"{self.source}:{self.window}" if self.window else self.source
        else:
            text = f"{TRANSFORM}:{FULL_REFRESH}" if self.full_refresh else TRANSFORM
        return f"{text}#{self.identity}" if self.identity else text


def parse_window(text: str) -> Window:
    """Read START/END: dates (midnight, UTC) or RFC 3339 times. Raises ValueError, its message for people."""
    start, slash, end = (part.strip() for part in text.partition("/"))
    if not slash:
        raise ValueError(f"{text!r} is no window; write START/END, e.g. 2026-01-01/2026-02-01")
    window = Window(_moment(start), _moment(end))
    if window.start >= window.end:
        raise ValueError(f"the window {text!r} ends before it starts; write START/END")
    return window


def _moment(text: str) -> datetime:
    told = f"{text!r} is no date or time; write 2026-01-01, or 2026-01-01T06:00:00Z"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(told) from error
    if _DATE.fullmatch(text):
        return found.replace(tzinfo=UTC)
    if found.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone; write 2026-01-01T06:00:00Z, or with +01:00 for Z")
    return found


def parse_run(text: str, sources: Collection[str]) -> Run:
    """Read one item that is not `all`. Raises ValueError, its message for people: it says what there is."""
    found = _IDENTIFIED.fullmatch(text)
    words, identity = (found[1], found[2]) if found else (text, "")
    name, colon, rest = (part.strip() for part in words.partition(":"))
    if name == TRANSFORM:
        if colon and rest != FULL_REFRESH:
            raise ValueError(f"{text!r} is not known; write {TRANSFORM} or {TRANSFORM}:{FULL_REFRESH}")
        return Run(full_refresh=bool(colon), identity=identity)
    if name not in sources:
        there = ", ".join([*sorted(sources), ALL, TRANSFORM, f"{TRANSFORM}:{FULL_REFRESH}"])
        raise ValueError(f"there is no source {name!r}; there is {there}")
    return Run(name, parse_window(rest) if colon else None, identity=identity)


def parse_runs(value: str, sources: Collection[str], of_all: Iterable[str]) -> tuple[list[Run], list[str]]:
    """Read the annotation: items between commas, each once. `of_all` are the sources that `all` stands for.

    Returns the runs, in order, and what is wrong with the other items.
    """
    runs: dict[Run, None] = {}
    problems = []
    for text in filter(None, (item.strip() for item in value.split(","))):
        try:
            found = [Run(name) for name in of_all] if text == ALL else [parse_run(text, sources)]
        except ValueError as error:
            problems.append(str(error))
        else:
            runs |= dict.fromkeys(found)
    if not runs and not problems:
        problems.append(f"it names nothing; write a source, {ALL} or {TRANSFORM}")
    return list(runs), problems
