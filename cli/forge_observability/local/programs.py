"""The programs of a stack as child processes: which command, which environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from forge_stack import wire
from forge_stack.model import Source
from forge_stack.wire import StoreDsn, TransformRequest

WRITER = "forge"
READER = "reader"


@dataclass(frozen=True)
class Command:
    """A child process: its arguments and what it gets beside the common environment."""

    args: list[str]
    env: dict[str, str]


def find(program: str) -> str | None:
    """Where a program of this project is: beside this Python first."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.exists() else shutil.which(program)


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a child: ours without other FORGE_ settings, telemetry off, output unbuffered."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("FORGE_")}
    return own | {"PYTHONUNBUFFERED": "1"} | extra


def load(source: Source, *, dsn: Path, credentials: Path, work: Path, summary: Path) -> Command:
    """One load of one source."""
    return Command(
        ["forge-load", source.name],
        {
            wire.ENV_SOURCE: source.model_dump_json(by_alias=True, exclude_none=True),
            wire.ENV_STORE_DSN_FILE: str(dsn),
            wire.ENV_CREDENTIALS_DIR: str(credentials),
            wire.ENV_WORK_DIR: str(work),
            wire.ENV_TERMINATION_LOG: str(summary),
        },
    )


def transform(request: TransformRequest, *, dsn: Path, work: Path, summary: Path) -> Command:
    """One transform."""
    return Command(
        ["forge-transform"],
        {
            wire.ENV_TRANSFORM: request.model_dump_json(by_alias=True),
            wire.ENV_STORE_DSN_FILE: str(dsn),
            wire.ENV_WORK_DIR: str(work),
            wire.ENV_TERMINATION_LOG: str(summary),
        },
    )


def store(*, data: Path, config: Path, port: int) -> Command:
    """The embedded store."""
    return Command(
        [
            "forge-store",
            "serve",
            "--data",
            str(data),
            "--config-dir",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        {},
    )


def api(*, name: str, dsn: Path, host: str, port: int, tokens: Path | None) -> Command:
    """The API and its page."""
    env = {
        wire.ENV_STORE_DSN_FILE: str(dsn),
        wire.ENV_API_HOST: host,
        wire.ENV_API_PORT: str(port),
        wire.ENV_STACK_NAME: name,
    }
    return Command(["forge-api"], env | ({wire.ENV_API_TOKEN_FILE: str(tokens)} if tokens else {}))


def store_users(writer_password: str, reader_password: str) -> str:
    """ClickHouse's configuration of the two users, as a users.d file."""

    def user(password: str, profile: str) -> dict[str, object]:
        digest = hashlib.sha256(password.encode()).hexdigest()
        return {
            "password_sha256_hex": digest,
            "profile": profile,
            "quota": "default",
            "networks": {"ip": ["127.0.0.1", "::1"]},
        }

    return yaml.safe_dump(
        {
            "profiles": {"readonly": {"readonly": 2}},
            "users": {WRITER: user(writer_password, "default"), READER: user(reader_password, "readonly")},
        }
    )


def store_dsn(user: str, password: str, port: int) -> StoreDsn:
    """The store of this machine."""
    return StoreDsn(host="127.0.0.1", port=port, user=user, password=password, secure=False)
