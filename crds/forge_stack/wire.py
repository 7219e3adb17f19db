"""What passes between a runtime (operator, local run) and the programs it starts: environment, requests, summaries.

docs/architecture.md is the prose of this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.alias_generators import to_camel

ENV_SOURCE = "FORGE_SOURCE"
ENV_TRANSFORM = "FORGE_TRANSFORM"
ENV_STORE_DSN_FILE = "FORGE_STORE_DSN_FILE"
ENV_CREDENTIALS_DIR = "FORGE_CREDENTIALS_DIR"
ENV_WORK_DIR = "FORGE_WORK_DIR"
ENV_TERMINATION_LOG = "FORGE_TERMINATION_LOG"
ENV_INTERVAL_START = "DLT_INTERVAL_START"
ENV_INTERVAL_END = "DLT_INTERVAL_END"
ENV_API_HOST = "FORGE_API_HOST"
ENV_API_PORT = "FORGE_API_PORT"
ENV_API_TOKEN_FILE = "FORGE_API_TOKEN_FILE"  # noqa: S105 - the name of a variable, no secret
ENV_STACK_NAME = "FORGE_STACK_NAME"

TERMINATION_MESSAGE_BYTES = 4096
"""What kubelet keeps of /dev/termination-log (Kubernetes documentation, "Determine the Reason for Pod Failure")."""

Outcome = Literal["succeeded", "stopped", "failed"]

Reason = Literal[
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "Unreachable",
    "RateLimited",
    "BadResponse",
    "InvalidConfiguration",
    "StoreUnavailable",
    "SchemaViolation",
    "TestsFailed",
    "Internal",
]


class Wire(BaseModel):
    """Camel case outside, snake case inside; fields of a newer writer are ignored, so that versions may differ."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Problem(Wire):
    """Why a program failed: a reason for machines, a message for people (which field or source, what to do)."""

    reason: Reason
    message: str


class LoadSummary(Wire):
    """What one load did. `rows` counts rows written a table, `cursor` is how far the source is covered (UTC).

    `requests` counts all that were sent, `retries` those that repeat one; `waited_seconds` is what limits and repeats
    cost, `bytes_read` the bodies of the answers, `rejected_rows` the answers that made no row and were set aside.
    """

    kind: Literal["load"] = "load"
    source: str
    outcome: Outcome
    rows: dict[str, int] = Field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    bytes_read: int = 0
    rejected_rows: int = 0
    cursor: str | None = None
    newest_event_at: datetime | None = None
    duration_seconds: float = 0.0
    warnings: list[str] = Field(default_factory=list)
    error: Problem | None = None


class NodeCounts(Wire):
    """How many dbt nodes of a kind ended how."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0


class NodeFailure(Wire):
    """A dbt node that failed, and the first line of why."""

    node: str
    message: str


class TransformSummary(Wire):
    """What one transform did. `rows` counts rows of the gold tables."""

    kind: Literal["transform"] = "transform"
    outcome: Outcome
    models: NodeCounts = NodeCounts()
    tests: NodeCounts = NodeCounts()
    rows: dict[str, int] = Field(default_factory=dict)
    duration_seconds: float = 0.0
    failures: list[NodeFailure] = Field(default_factory=list)
    error: Problem | None = None


class TransformSource(Wire):
    """A source as dbt needs to know it: the name gives the bronze prefix, the type the staging model."""

    name: str
    type: Literal["langfuse", "github", "jira", "prometheus"]

    @property
    def prefix(self) -> str:
        """The prefix of its bronze tables."""
        return bronze_prefix(self.name)


class TransformRequest(Wire):
    """What a transform is asked to do: `loaded` names the sources whose loads it must cover.

    `variables` are those of the dbt project; a writer of an older release gives texts for all of them. After the
    transform succeeded, rows of events older than a layer's `..._retention_days` go.
    """

    sources: list[TransformSource]
    loaded: list[str] = Field(default_factory=list)
    full_refresh: bool = False
    variables: dict[str, JsonValue] = Field(default_factory=dict)
    bronze_retention_days: int | None = None
    silver_retention_days: int | None = None
    gold_retention_days: int | None = None


Summary = LoadSummary | TransformSummary
_summary: TypeAdapter[Summary] = TypeAdapter(Summary)


def bronze_prefix(source_name: str) -> str:
    """The prefix of a source's bronze tables and of dlt's own tables: its name, as an identifier."""
    return source_name.replace("-", "_")


def encode_summary(summary: Summary) -> str:
    """The summary as one JSON object that fits a termination message; lists and texts are cut, never the outcome."""
    lists = {"load": "warnings", "transform": "failures"}[summary.kind]
    text = 400
    data = summary.model_dump(mode="json", by_alias=True)
    while (
        len(encoded := json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode()) > TERMINATION_MESSAGE_BYTES
    ):
        if len(data[lists]) > 1:
            data[lists] = data[lists][:-1]
        elif text >= 50:
            data = _cut(data, text)
            text //= 2
        else:
            data["rows"] = {}
            data[lists] = []
            data = _cut(data, text)
            break
    return encoded.decode() if len(encoded) <= TERMINATION_MESSAGE_BYTES else json.dumps(data, separators=(",", ":"))


def _cut(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {key: _cut(item, length) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, length) for item in value]
    return value


def decode_summary(message: str) -> Summary | None:
    """The summary in a termination message; None when the program died before it could write one."""
    try:
        return _summary.validate_json(message)
    except ValueError:
        return None


def write_summary(summary: Summary, path: Path) -> None:
    """Write the summary where the runtime looks for it."""
    path.write_text(encode_summary(summary), encoding="utf-8")


@dataclass(frozen=True)
class StoreDsn:
    """Where the store is and as whom: `http://user:password@host:8123`."""

    host: str
    port: int
    user: str
    password: str
    secure: bool

    @classmethod
    def parse(cls, text: str) -> StoreDsn:
        """Read a DSN.

        Raises ValueError with a message that never repeats the DSN, because it holds a password.
        """
        try:
            url = urlsplit(text.strip())
            port = url.port
        except ValueError as error:
            raise ValueError("the store DSN is no URL; expected http://user:password@host:8123") from error
        schemes = {
            "http": False,
            "https": True,
            "clickhouse": False,
            "clickhousedb": False,
            "clickhouse+http": False,
            "clickhouse+https": True,
        }
        if "://" not in text or url.scheme not in schemes or not url.hostname:
            raise ValueError(
                "the store DSN starts with another scheme than http or https, or names no host; "
                "expected http://user:password@host:8123"
            )
        if "@" in url.path + url.query + url.fragment:
            # The password holds a /, ? or # as it is, so that what was taken for the host is a part of it.
            raise ValueError("the store DSN has an @ after its host; percent-encode /, ?, # and @ in its password")
        secure = schemes[url.scheme]
        return cls(
            host=url.hostname,
            port=port or (8443 if secure else 8123),
            user=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            secure=secure,
        )

    @classmethod
    def read(cls, path: Path) -> StoreDsn:
        """Read a DSN from a file. Raises ValueError when the file is missing or holds none."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"the store DSN file {path} cannot be read: {error.strerror}") from error

    @property
    def url(self) -> str:
        """The DSN as text. It holds the password: for a file, never for a log."""
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{host}:{self.port}"

    def __repr__(self) -> str:
        return f"StoreDsn({self.user}@{self.host}:{self.port})"
