"""Durations as users write them: 90s, 10m, 1h30m, 7d."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """The duration in seconds. Raises ValueError when the text is none."""
    if not re.fullmatch(r"([0-9]+[smhd])+", text):
        raise ValueError(f"{text!r} is no duration; write e.g. 90s, 10m, 1h30m or 7d")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text))


def duration(text: str) -> timedelta:
    """The duration as a timedelta. Raises ValueError when the text is none."""
    return timedelta(seconds=seconds(text))
