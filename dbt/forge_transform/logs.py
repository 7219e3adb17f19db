"""One JSON object a line on standard output, from the program and from dbt alike."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # dbt takes long to import, and a transform with nothing to do needs none of it.
    from dbt_common.events.base_types import EventMsg

_LEVELS = {"debug": "debug", "test": "debug", "info": "info", "warn": "warning", "error": "error"}
_TOLD = {"LogModelResult", "SkippingDetails", "UnableToPartialParse"}
"""dbt's informative events worth a line: how a model ended. Passed tests are counted in the summary, not told."""


def log(level: str, message: str, **fields: Any) -> None:
    """Write one line; fields that are None are left out."""
    line = {"time": datetime.now(UTC).isoformat(), "level": level, "message": message}
    line |= {key: value for key, value in fields.items() if value is not None}
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


def log_dbt_event(event: EventMsg) -> None:
    """Write dbt's event when it tells how a node ended, or is a warning or an error."""
    level = _LEVELS.get(str(event.info.level), "info")
    if event.info.name not in _TOLD and level not in ("warning", "error"):
        return
    node = getattr(event.data, "node_info", None)
    log(
        level,
        re.sub(r"\s*\.{3,}\s*", " ", str(getattr(event.info, "msg", ""))).strip(),
        event=event.info.name,
        node=getattr(node, "unique_id", None) or None,
        seconds=round(seconds, 3) if (seconds := getattr(event.data, "execution_time", None)) else None,
    )
