"""A large project for benchmarks: each observation of the world many times, made only when it is asked for.

Copy 0 is the world's own; the others have ids of their own, in traces of their own, at the same times. All copies of
one observation come after one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forge_demo.state import ObservationState, Trace


class Copies:
    """`rows`, each `count` times; of one trace (an id of a copy) its own alone."""

    def __init__(self, rows: Sequence[ObservationState], count: int, trace: str | None = None) -> None:
        """Nothing is copied yet."""
        self.rows = rows
        self.numbers = range(count) if trace is None else range(n := number_of(trace), n + 1)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.rows) * len(self.numbers)

    def between(self, begin: int, end: int) -> list[ObservationState]:
        """Those of these numbers, [begin, end)."""
        places = (divmod(n, len(self.numbers)) for n in range(begin, end))
        return [copied(self.rows[row], self.numbers[copy]) for row, copy in places]


def copied(row: ObservationState, number: int) -> ObservationState:
    """A copy of an observation, with a trace of its own that holds no others."""
    if number == 0:
        return row
    it, trace = row.observation, row.trace
    named = replace(it, id=f"{it.id}-{number}", parent=it.parent and f"{it.parent}-{number}")
    ingested = replace(trace.ingested, id=f"{trace.ingested.id}-{number}")
    return replace(row, observation=named, trace=Trace(ingested, trace.updated_at, trace.metadata))


def number_of(id_: str) -> int:
    """Which copy an id is of."""
    return int(id_.partition("-")[2] or 0)
