"""A store of several replicas: what its statements need beside those of a single server.

`FORGE_DBT_CLUSTER` names the cluster, `FORGE_DBT_DATABASE_ENGINE` the engine of the databases. Where that is
Replicated, statements travel by themselves; else each names the cluster. Tables are replicated either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENV_CLUSTER = "FORGE_DBT_CLUSTER"
ENV_DATABASE_ENGINE = "FORGE_DBT_DATABASE_ENGINE"


@dataclass(frozen=True)
class Cluster:
    """The cluster of a store; no name means a single server."""

    name: str = ""
    database_engine: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Cluster:
        """From the environment. Raises ValueError for a name that cannot stand in a statement."""
        cluster = cls(environment.get(ENV_CLUSTER, ""), environment.get(ENV_DATABASE_ENGINE, ""))
        if '"' in cluster.name or "\\" in cluster.name:
            raise ValueError(f"{ENV_CLUSTER}: {cluster.name!r} holds a quote or a backslash; write the cluster's name")
        return cluster

    @property
    def is_replicated(self) -> bool:
        """Whether tables have replicas."""
        return bool(self.name) or "replicated" in self.database_engine.lower()

    @property
    def on(self) -> str:
        """What stands after the name in a statement that changes a table or a database."""
        alone = not self.name or "replicated" in self.database_engine.lower()
        return "" if alone else f' on cluster "{self.name}"'

    @property
    def database(self) -> str:
        """The engine clause of a new database."""
        return f" engine = {self.database_engine}" if self.database_engine else ""

    def engine(self, name: str = "MergeTree", arguments: str = "") -> str:
        """The engine of a table, without a path: the server's default keeps each table's own."""
        return f"{'Replicated' if self.is_replicated else ''}{name}({arguments})"

    @property
    def settings(self) -> dict[str, str | int]:
        """Settings by which a client reads what it wrote, whichever replica answers, and waits for what it alters."""
        here: dict[str, str | int] = {"mutations_sync": 1}
        return here | ({"insert_quorum": "auto", "select_sequential_consistency": 1} if self.is_replicated else {})

    @property
    def profile(self) -> dict[str, str]:
        """What profiles.yml reads."""
        return {ENV_CLUSTER: self.name, ENV_DATABASE_ENGINE: self.database_engine}


SINGLE = Cluster()
