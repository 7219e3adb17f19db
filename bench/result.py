"""What a benchmark gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One figure. `floor` and `peer` are the same work, measured in the same run, by the least program that could do it
    and by another product; None where there is none."""

    name: str
    unit: str
    value: float
    floor: float | None = None
    peer: float | None = None
    note: str = ""

    def as_entry(self) -> dict[str, Any]:
        """As an entry of latest.json."""
        return asdict(self)


Benchmark = Callable[[str], Result]
