"""How a build ended, without dbt's own classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Node:
    """How one node of dbt ended. `kind` is dbt's resource type; `message` is dbt's."""

    name: str
    kind: Literal["model", "test", "other"]
    status: Literal["ok", "warned", "failed", "skipped"]
    message: str = ""


@dataclass(frozen=True)
class BuildResult:
    """How a build ended: its nodes, and the error that kept it from running any, if so."""

    nodes: tuple[Node, ...]
    error: BaseException | None = None
