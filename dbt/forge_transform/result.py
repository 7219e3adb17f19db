"""How a build ended, without dbt's own classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Node:
    """How one node of dbt ended. `kind` is dbt's resource type; `message` is dbt's, and so is all that follows."""

    name: str
    kind: Literal["model", "test", "other"]
    status: Literal["ok", "warned", "failed", "skipped"]
    message: str = ""
    unique_id: str = ""
    seconds: float = 0.0
    query_id: str = ""
    relation: tuple[str, str] | None = None
    """Database and name of what a model makes."""


@dataclass(frozen=True)
class BuildResult:
    """How a build ended: its nodes, and the error that kept it from running any, if so."""

    nodes: tuple[Node, ...]
    error: BaseException | None = None
    event_times: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Of each table that tells one: the column with the time of the event, by database and name."""
    manifest: Callable[[], str] | None = None
    """Makes the text of dbt's manifest, which costs time."""
