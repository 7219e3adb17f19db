"""Logs: one JSON object a line on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

_FIELDS = ("stack", "seconds", "next")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, and the stack it speaks of."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging() -> None:
    """Log at FORGE_LOG_LEVEL (info); what kopf says of its own work only from warnings on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=os.environ.get("FORGE_LOG_LEVEL", "info").upper(), handlers=[handler], force=True)
    for name in ("kopf", "kopf.objects", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
