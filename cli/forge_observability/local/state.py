"""What a local run remembers between two starts: the status, the finished loads, when each source last started."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from forge_stack.decisions import FinishedLoad
from forge_stack.model import StackStatus
from pydantic import BaseModel, ConfigDict, Field

KEPT_LOADS = 50
"""Evidence of finished loads that is kept; covered ones beyond it are forgotten, oldest first."""


class LoadRecord(BaseModel):
    """A load that ended well."""

    model_config = ConfigDict(frozen=True)

    uid: str
    source: str
    ended_at: datetime

    def finished(self) -> FinishedLoad:
        """As the shared decisions take it."""
        return FinishedLoad(self.uid, self.source, self.ended_at)


class State(BaseModel):
    """The state file."""

    status: StackStatus = StackStatus()
    loads: list[LoadRecord] = Field(default_factory=list)
    last_started: dict[str, datetime] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> State:
        """The state, empty when there is none or when an older version wrote it: then everything is loaded again."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return cls()

    def resume(self, sources: Iterable[str]) -> None:
        """Forget what a new start does not wait for: what failed is tried again at once, for somebody mended it; so is
        a load that was cut off. Loads of sources that the stack no longer has can be covered by no transform."""
        names = set(sources)
        ended = {s.name: s.last_load_time for s in self.status.sources if s.last_load_time is not None}
        self.last_started = {
            name: at
            for name, at in self.last_started.items()
            if name in names and name not in self.failures and name in ended and ended[name] >= at
        }
        self.loads = [load for load in self.loads if load.source in names]
        self.failures = {}
        transform = self.status.transform.model_copy(update={"failures": 0})
        self.status = self.status.model_copy(update={"transform": transform})

    def write(self, path: Path) -> None:
        """Write atomically: a crash leaves the old state or the new one."""
        consumed = set(self.status.transform.consumed)
        covered = [load for load in self.loads if load.uid in consumed]
        forgotten = {load.uid for load in covered[: max(0, len(self.loads) - KEPT_LOADS)]}
        self.loads = [load for load in self.loads if load.uid not in forgotten]
        new = path.with_suffix(".new")
        new.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        new.replace(path)


def private_file(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def password(path: Path) -> str:
    """A password that is made once and kept."""
    if not path.exists():
        private_file(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")
