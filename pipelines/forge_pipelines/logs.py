"""Log lines for machines: one JSON object a line on standard output, secrets blotted out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
MASK = "***"


class JsonLines(logging.Formatter):
    """`time`, `level`, `source`, `message`, then what the caller gave by `extra`."""

    def __init__(self, source: str, secrets: Iterable[str] = ()) -> None:
        """Remember what to blot out; texts shorter than four letters would blot out too much."""
        super().__init__()
        self.source = source
        spoken = {form for s in secrets if len(s) >= 4 for form in (s, repr(s)[1:-1], quote(s, safe=""))}
        written = {json.dumps(form, ensure_ascii=ascii_)[1:-1] for form in spoken for ascii_ in (True, False)}
        self.secrets = sorted(spoken | written, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "source": self.source,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self.blot(json.dumps(line, default=str, ensure_ascii=False))

    def blot(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


def log_to_stdout(source: str, secrets: Iterable[str] = ()) -> JsonLines:
    """Send all logging to standard output as JSON lines."""
    formatter = JsonLines(source, secrets)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("forge_pipelines").setLevel(logging.INFO)
    return formatter
