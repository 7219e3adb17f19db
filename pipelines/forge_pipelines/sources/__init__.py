"""The four sources. Each module gives TABLES, `connect` (an Api from a Secret) and `pages` (what a load reads).

The load applies what any Secret may hold (`Api.use`: authority, client certificate, proxy) after `connect`. The client
offers conditional GETs (`etag=` and UNCHANGED), Link headers (`Api.next_page`) and renewed credentials
(`Api.authorise`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, cast

import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.model import SourceType

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.tables import Misfit, Table

State = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """A part of a load: rows a table and, at a clean cursor, the state that holds once they are stored.

    `covered` is how far the source is read then, `newest` the newest event among the rows.
    """

    rows: Mapping[str, pa.Table] = field(default_factory=dict)
    state: State | None = None
    covered: datetime | None = None
    newest: datetime | None = None


class Stored(Protocol):
    """What bronze holds of this source already."""

    def __call__(self, table: Table, columns: Sequence[str], where: str = "") -> pa.Table:
        """Columns of the rows (read with FINAL) that meet an SQL condition; empty when the table is not there yet."""


def nothing_stored(table: Table, columns: Sequence[str], where: str = "") -> pa.Table:
    """The bronze of a source that was never loaded."""
    return pa.table({name: pa.array([], table.schema.field(name).type) for name in columns})


@dataclass(frozen=True)
class Scope:
    """What a load is to read: on from `state`, or exactly the window (from, to) of a backfill.

    A backfill has a state of its own: empty at first, and what its last clean cursor left when the same window was cut
    off and is run again, so that a source may go on from there. It never touches that of the ordinary loads.
    `misfits` collects rows that do not fit their table: the load stores them beside it and goes on.
    """

    state: State
    now: datetime
    window: tuple[datetime, datetime] | None = None
    warn: Callable[[str], None] = lambda message: None
    stored: Stored = nothing_stored
    misfits: list[Misfit] = field(default_factory=list)

    def page(
        self,
        table: Table,
        answers: Iterable[Any],
        to_row: Callable[[Any], Mapping[str, Any]] = dict,
    ) -> pa.Table:
        """Answers as an Arrow page of a table. Those that make no fitting row are set aside in `misfits`."""
        page, misfits = table.sorted_out(answers, to_row)
        self.misfits.extend(misfits)
        return page


class Credentials:
    """The keys of a source's Secret. It never shows a value."""

    def __init__(self, source: str, values: Mapping[str, str]) -> None:
        """Take the files of FORGE_CREDENTIALS_DIR by name."""
        self._source = source
        self._values = dict(values)

    def get(self, key: str) -> str | None:
        """The value of a key, None when the Secret lacks it or holds an empty one."""
        return self._values.get(key) or None

    def require(self, key: str) -> str:
        """The value of a key. Raises LoadError (InvalidConfiguration) that names the key."""
        value = self.get(key)
        if value is None:
            there = ", ".join(sorted(k for k, v in self._values.items() if v)) or "none"
            raise LoadError(
                "InvalidConfiguration",
                f"source {self._source}: the Secret of credentialsSecretRef lacks the key {key!r} (keys found: "
                f"{there}); add it",
            )
        return value

    def __repr__(self) -> str:
        return f"Credentials({self._source}: {', '.join(sorted(self._values))})"


class SourceModule(Protocol):
    """What each of the four modules offers."""

    TABLES: tuple[Table, ...]

    def connect(self, spec: Any, credentials: Credentials) -> Api:
        """The API of the source, with its credentials."""

    def pages(self, spec: Any, api: Api, scope: Scope) -> Iterator[Page]:
        """What there is to load, in order. Raises LoadError and Stopped."""


def module(kind: SourceType) -> SourceModule:
    """The module of a source type; only the one that a load needs is imported."""
    return cast(SourceModule, importlib.import_module(f"forge_pipelines.sources.{kind}"))
