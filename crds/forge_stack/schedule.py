"""Cron schedules: the same five fields in the CRD's CEL rule, in the CronJob and in the local run."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import croniter


def _field(value: str) -> str:
    """One cron field: `*` or values and ranges, each with an optional step, in a list."""
    item = rf"([*]|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return rf"{item}(,{item})*"


_MONTHS = "[jJ][aA][nN]|[fF][eE][bB]|[mM][aA][rR]|[aA][pP][rR]|[mM][aA][yY]|[jJ][uU][nN]|[jJ][uU][lL]|[aA][uU][gG]|[sS][eE][pP]|[oO][cC][tT]|[nN][oO][vV]|[dD][eE][cC]"
_DAYS = "[sS][uU][nN]|[mM][oO][nN]|[tT][uU][eE]|[wW][eE][dD]|[tT][hH][uU]|[fF][rR][iI]|[sS][aA][tT]"

CRON_CEL_PATTERN = " +".join(
    [
        "^" + _field("[0-5]?[0-9]"),
        _field("[01]?[0-9]|2[0-3]"),
        _field("0?[1-9]|[12][0-9]|3[01]"),
        _field(f"0?[1-9]|1[0-2]|{_MONTHS}"),
        _field(f"[0-6]|{_DAYS}") + "$",
    ]
)
"""RE2 and Python alike; what the CronJob controller's parser (robfig/cron, standard fields) accepts, less its @-words."""


def is_cron(text: str) -> bool:
    """Whether the text is a five-field cron expression."""
    return re.match(CRON_CEL_PATTERN, text) is not None and bool(croniter.is_valid(text))


def next_tick(schedule: str, time_zone: str, after: datetime) -> datetime:
    """The first moment after `after` (aware) at which the schedule fires in its time zone."""
    zone = ZoneInfo(time_zone)
    tick: datetime = croniter(schedule, after.astimezone(zone)).get_next(datetime)
    return tick.astimezone(after.tzinfo)
