"""Cron schedules: the same five fields in the CRD's CEL rule, in the CronJob and in the local run."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]


def _field(value: str) -> str:
    """One cron field: `*` or values and ranges, each with an optional step, in a list."""
    item = rf"([*]|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return rf"{item}(,{item})*"


def _names(names: str) -> str:
    """Names in any case, without the inline flags that CEL patterns built from parts cannot carry."""
    return "|".join("".join(f"[{c}{c.upper()}]" for c in name) for name in names.split())


_MONTHS = _names("jan feb mar apr may jun jul aug sep oct nov dec")
_DAYS = _names("sun mon tue wed thu fri sat")

CRON_CEL_PATTERN = " +".join(
    [
        "^" + _field("[0-5]?[0-9]"),
        _field("[01]?[0-9]|2[0-3]"),
        _field("0?[1-9]|[12][0-9]|3[01]"),
        _field(f"0?[1-9]|1[0-2]|{_MONTHS}"),
        _field(f"[0-6]|{_DAYS}") + "$",
    ]
)
"""RE2 and Python alike: what the CronJob controller's parser (robfig/cron, standard fields) accepts, less @-words."""


def is_cron(text: str) -> bool:
    """Whether the text is a five-field cron expression."""
    return re.fullmatch(CRON_CEL_PATTERN, text) is not None and bool(croniter.is_valid(text))


def next_tick(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """The first moment after `after` (aware) at which the schedule fires in its zone; None: never (30 February)."""
    zone = ZoneInfo(time_zone)
    try:
        tick: datetime = croniter(schedule, after.astimezone(zone)).get_next(datetime)
    except CroniterBadDateError:
        return None
    return tick.astimezone(after.tzinfo)
