"""forge-api: settings from the environment, then serve until SIGTERM."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from forge_api.app import create_app
from forge_api.auth import Tokens, WatchedFile

SHUTDOWN_SECONDS = 20


@dataclass(frozen=True)
class Settings:
    """What the environment says; see docs/architecture.md, The API."""

    read_dsn: Callable[[], str]
    host: str
    port: int
    tokens: Tokens | None
    stack_name: str


def main() -> None:
    """Runs the API; exits 2 when the environment does not say how."""
    try:
        settings = settings_from(os.environ)
    except ValueError as error:
        sys.exit(_complain(str(error)))
    logging.captureWarnings(True)  # into the log, as JSON like all of it
    app = create_app(settings.read_dsn, settings.tokens, settings.stack_name)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=LOGGING,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Reads the variables; raises ValueError with the name of the one that is wrong."""
    dsn, dsn_file = environment.get("FORGE_API_DSN"), environment.get("FORGE_STORE_DSN_FILE")
    if not dsn and not dsn_file:
        raise ValueError("set FORGE_STORE_DSN_FILE (a file that holds the store's DSN) or FORGE_API_DSN")
    port = environment.get("FORGE_API_PORT") or "8080"
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"FORGE_API_PORT must be a port number, not {port!r}")
    token_file = environment.get("FORGE_API_TOKEN_FILE")
    if token_file and not Path(token_file).is_file():
        raise ValueError(f"FORGE_API_TOKEN_FILE: there is no file {token_file}")
    return Settings(
        read_dsn=(lambda: dsn) if dsn else WatchedFile(Path(dsn_file or "")).read,
        host=environment.get("FORGE_API_HOST") or "0.0.0.0",  # noqa: S104 - a container serves its network
        port=int(port),
        tokens=Tokens(Path(token_file)) if token_file else None,
        stack_name=environment.get("FORGE_STACK_NAME", ""),
    )


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, and `traceback` when there is one."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonFormatter}},
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
    "root": {"handlers": ["out"], "level": "WARNING"},
    "loggers": {"forge_api": {"level": "INFO"}, "uvicorn": {"level": "INFO"}},
}


def _complain(message: str) -> int:
    print(json.dumps({"level": "error", "logger": __name__, "message": message}), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
