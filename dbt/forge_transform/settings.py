"""What the environment asks for. docs/architecture.md, "A transform", defines the variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_stack import wire
from forge_stack.wire import StoreDsn, TransformRequest
from pydantic import ValidationError

from forge_transform.cluster import SINGLE, Cluster


@dataclass(frozen=True)
class Settings:
    """One transform: what is asked for, the store, and a folder to write in."""

    request: TransformRequest
    dsn: StoreDsn
    work_dir: Path
    cluster: Cluster = SINGLE

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the dbt project. Names of the resource (camelCase) become dbt's (snake_case)."""
        given: dict[str, Any] = _snake(self.request.variables)
        return given | {"sources": [{"name": s.name, "type": s.type} for s in self.request.sources]}


def _snake(value: Any) -> Any:
    """The same with every key in snake case."""
    if isinstance(value, dict):
        return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower(): _snake(item) for key, item in value.items()}
    return [_snake(item) for item in value] if isinstance(value, list) else value


def termination_log(environment: Mapping[str, str]) -> Path:
    """Where the summary goes."""
    return Path(environment.get(wire.ENV_TERMINATION_LOG) or "/dev/termination-log")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the environment. Raises ValueError with a message that names the variable, and never holds a secret."""
    return Settings(
        request=_request(_required(environment, wire.ENV_TRANSFORM)),
        dsn=StoreDsn.read(Path(_required(environment, wire.ENV_STORE_DSN_FILE))),
        work_dir=Path(environment.get(wire.ENV_WORK_DIR) or "/work"),
        cluster=Cluster.read(environment),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise ValueError(f"{name} is not set; docs/architecture.md says what it holds")
    return environment[name]


def _request(text: str) -> TransformRequest:
    try:
        request = TransformRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{wire.ENV_TRANSFORM}: {field or 'value'}: {first['msg']}") from error
    names = [source.name for source in request.sources]
    if unknown := sorted(set(request.loaded) - set(names)):
        raise ValueError(f"{wire.ENV_TRANSFORM}: loaded names {', '.join(unknown)}, but the sources are {names}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{wire.ENV_TRANSFORM}: two sources are named {', '.join(twice)}; give each its own name")
    for source in request.sources:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", source.name):
            raise ValueError(
                f"{wire.ENV_TRANSFORM}: the source name {source.name!r} is not lower-case letters, digits and -"
            )
    return request
