"""How far a load is: counted while it runs, told by log lines or on the terminal, summed up in the end."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TextIO

from forge_pipelines.http import Api
from forge_pipelines.problems import Stopped
from forge_pipelines.tables import Misfit, iso

log = logging.getLogger("forge_pipelines")

LINE_SECONDS = 10.0
"""Between two log lines that tell how far the load is."""
REDRAW_SECONDS = 0.5


@dataclass
class Rejected:
    """Answers that made no row for want of one column."""

    first: Misfit
    rows: int = 0
    stored: int = 0


def told(misfit: Misfit) -> str:
    """What is wrong with an answer, in words."""
    return (
        f"column {misfit.column} {misfit.problem}" if misfit.column else f"an answer is unreadable ({misfit.problem})"
    )


@dataclass
class Progress:
    """What the load has done so far, and how it is going to end."""

    rows: dict[str, int] = field(default_factory=dict)
    covered: datetime | None = None
    start: datetime | None = None
    """Where the load began to cover its source, if that is known."""
    end_at: datetime | None = None
    newest: datetime | None = None
    warnings: list[str] = field(default_factory=list)
    finished: bool = False
    stopped: Stopped | None = None
    failure: Exception | None = None
    pages: int = 0
    reached_store: bool = False
    rejected: dict[tuple[str, str], Rejected] = field(default_factory=dict)
    stored: tuple[dict[str, int], datetime | None, datetime | None] = field(default_factory=lambda: ({}, None, None))

    def keep(self) -> None:
        """Note that the store holds all that was read until now."""
        self.stored = dict(self.rows), self.covered, self.newest
        for rejected in self.rejected.values():
            rejected.stored = rejected.rows

    def forget(self) -> None:
        """Go back to what the store holds: the rest was not stored, so the summary must not say that it was."""
        rows, self.covered, self.newest = self.stored
        self.rows = dict(rows)
        for rejected in self.rejected.values():
            rejected.rows = rejected.stored

    def reject(self, misfits: Iterable[Misfit]) -> None:
        """Count answers that were set aside: the first of a column is told at once, the number in the end."""
        for misfit in misfits:
            where = misfit.table, misfit.column
            if where not in self.rejected:
                self.rejected[where] = Rejected(misfit)
                log.warning("an answer is set aside", extra={"entity": misfit.table, "problem": told(misfit)})
            self.rejected[where].rows += 1

    def warn_of_rejected(self, table: str) -> None:
        """Say how many answers are in the table of rejected rows, and why: one warning a column."""
        for (entity, _), found in self.rejected.items():
            if found.rows:
                rows = "1 row" if found.rows == 1 else f"{found.rows} rows"
                verb = "was" if found.rows == 1 else "were"
                self.warn(
                    f"{rows} of {entity} {verb} set aside in {table}: {told(found.first)}; correct it in the source, "
                    "or the source's selection, then load again"
                )

    def warn(self, message: str) -> None:
        """Say something once: in the log now, in the summary at the end."""
        if message not in self.warnings:
            self.warnings.append(message)
            log.warning(message)

    def end(self, problem: Exception) -> None:
        """Remember why no further page comes."""
        self.finished = True
        if isinstance(problem, Stopped):
            self.stopped = problem
        else:
            self.failure = problem

    @property
    def share(self) -> float | None:
        """How much of the span of time is covered, 0 to 1; None when it has no known beginning."""
        if not (self.start and self.end_at and self.covered and self.start < self.end_at):
            return None
        return min(max((self.covered - self.start) / (self.end_at - self.start), 0.0), 1.0)


@contextmanager
def told_while(progress: Progress, api: Api, terminal: TextIO | None = None) -> Iterator[None]:
    """Tell how far the load is, while it runs: on a terminal one line that is drawn anew, else by log lines."""
    done, started = threading.Event(), time.monotonic()
    screen = terminal if terminal is not None else sys.stderr if sys.stderr.isatty() else None

    def tell() -> None:
        while not done.wait(REDRAW_SECONDS if screen else LINE_SECONDS):
            facts = facts_of(progress, api, time.monotonic() - started)
            if screen:
                # The cursor is left at the beginning, so that a log line writes over it.
                screen.write(f"\r\x1b[2K{in_words(facts)}\r")
                screen.flush()
            else:
                log.info("load goes on", extra=facts)
        if screen:
            screen.write("\r\x1b[2K")
            screen.flush()

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def facts_of(progress: Progress, api: Api, seconds: float) -> dict[str, object]:
    """What a line says: rows, rows a second, requests, waits, the cursor, the share of the span."""
    rows = sum(progress.rows.copy().values())
    return {
        "rows": rows,
        "rows_per_second": round(rows / seconds) if seconds else 0,
        "requests": api.requests,
        "waited_seconds": round(api.waited, 1),
        "cursor": iso(progress.covered) if progress.covered else None,
        "percent": None if progress.share is None else round(100 * progress.share, 1),
    }


def in_words(facts: dict[str, object]) -> str:
    """The facts as one line for people."""
    line = f"{facts['rows']:,} rows, {facts['rows_per_second']:,} rows/s, {facts['requests']} requests"
    line += f", at {facts['cursor']}" if facts["cursor"] else ""
    return line + (f", {facts['percent']}%" if facts["percent"] is not None else "")
