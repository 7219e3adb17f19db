"""The sweep: once in `spec.sweep` the traces that the server has are compared with those of bronze.

What bronze holds says where to look: windows of about WINDOW_TRACES traces each, in which the server is asked for roots
alone (their ids and times). A trace that two walks of its window do not show is gone, with its observations and scores;
one that was noted as gone and shows again has returned; one that bronze lacks, or whose root was updated later than
bronze knows, is fetched. Of the last week each load does so, where that is one request.

What is older than everything that the server shows was taken by its retention (or the plan's): it has expired, which is
no deletion, and silver keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import duration
from forge_stack.model import LangfuseSource

from forge_pipelines.conditions import texts_in
from forge_pipelines.sources import Page, Scope
from forge_pipelines.sources.langfuse_api import LISTED_A_PAGE, OBSERVATIONS_A_PAGE, SWEPT_GROUPS, Reader, Server
from forge_pipelines.sources.langfuse_tables import OBSERVATIONS, SCORES, TRACES
from forge_pipelines.sources.langfuse_traces import EPOCH, micros
from forge_pipelines.tables import DELETIONS, INTEGER, Table, deletion, iso, moment

WINDOW_TRACES = 5_000
REFETCHED = 500
"""Traces that one sweep fetches at most, because bronze lacks them or what is new of them."""
WEEK = timedelta(days=7)
IDS_A_QUERY = 2_000

Key = tuple[str, str]


@dataclass
class Sweep:
    """One sweep. `state` holds when the last one ended (`done`); while it goes on, how far it has come (`next`)
    and the oldest trace that the server has shown (`first`)."""

    spec: LangfuseSource
    scope: Scope
    project: str
    server: Server
    readers: Mapping[str, Reader]
    state: dict[str, Any]
    fetch: Callable[[Sequence[str]], Iterator[Page]]
    read_from: datetime
    refetched: int = 0
    gone_before: dict[str, set[Key]] = field(default_factory=dict)
    first: datetime | None = None

    def pages(self) -> Iterator[Page]:
        """A page a window, after which `state` is moved on; nothing when no sweep is due."""
        now, every = self.scope.now, duration(self.spec.sweep)
        if not every or "done" not in self.state:
            # A first load has nothing to compare: it counts as a sweep.
            self.state = self.state or {"done": iso(now)}
            return
        if now < (moment(self.state["done"]) or now) + every:
            yield from self._last_week()
            return
        self.gone_before, self.first = self._noted(), moment(self.state.get("first"))
        for start, end in self._windows():
            yield from self._window(start, end, self._held(start, end))
            first = {"first": iso(self.first)} if self.first else {}
            self.state = {**self.state, "next": iso(end), **first}
            yield Page()
        self.state = {"done": iso(now)}

    def _last_week(self) -> Iterator[Page]:
        """The week before what this load read again, if a page of the API holds it."""
        start, end = self.scope.now - WEEK, self.read_from
        if start >= end:
            return
        held = self._held(start, end)
        if 0 < len(held) <= (OBSERVATIONS_A_PAGE if self.server.cursor else LISTED_A_PAGE):
            self.gone_before = self._noted()
            # What is older than all that shows here may have expired: the sweep knows better.
            yield from self._window(start, end, held, older=None)

    def _windows(self) -> list[tuple[datetime, datetime]]:
        """What bronze holds, cut so that each part has about WINDOW_TRACES traces."""
        times = sorted(self.scope.stored(TRACES, ["timestamp"], self._ours()).column(0).cast(INTEGER).to_pylist())
        begin = moment(self.state.get("next"))
        if begin is not None:
            times = [time for time in times if time >= micros(begin)]
        if not times:
            return []
        cuts = [*dict.fromkeys(times[::WINDOW_TRACES]), times[-1] + 1]
        return [(at(low), at(high)) for low, high in pairwise(cuts)]

    def _held(self, start: datetime, end: datetime) -> dict[str, int]:
        """The traces that bronze has in a window, and when they were updated, microseconds."""
        low, high = (f"fromUnixTimestamp64Micro({micros(moment)}, 'UTC')" for moment in (start, end))
        where = f"{self._ours()} and timestamp >= {low} and timestamp < {high}"
        return pairs(self.scope.stored(TRACES, ["id", "updated_at"], where))

    def _window(
        self, start: datetime, end: datetime, held: Mapping[str, int], older: str | None = "expired"
    ) -> Iterator[Page]:
        """Compare a window. `older`: why that is gone which is older than the oldest trace shown (None: not told)."""
        shown = self._shown(start, end)
        noted = {id_ for _, id_ in self.gone_before.get(TRACES.name, ())}
        missing = held.keys() - shown.keys() - noted
        if missing:
            # Numbered pages move up when something is deleted meanwhile, and then skip what is there.
            missing -= self._shown(start, end).keys()
            times = pairs(stored_among(self.scope, TRACES, ["id", "timestamp"], "id", sorted(missing)))
            first = micros(self.first) if self.first else None
            late = {id_ for id_ in missing if first is not None and times[id_] > first}
            yield from self._deletions(sorted(late), "deleted")
            if older:
                yield from self._deletions(sorted(missing - late), older)
        if returned := sorted(noted & shown.keys()):
            yield from self._deletions(returned, "returned")
        new = [id_ for id_, updated in shown.items() if updated > held.get(id_, 0) or id_ in noted]
        yield from self.fetch(new[: REFETCHED - self.refetched])
        self.refetched = min(REFETCHED, self.refetched + len(new))

    def _shown(self, start: datetime, end: datetime) -> dict[str, int]:
        """The traces that the server has in a window, and when their roots were updated, microseconds."""
        if self.server.cursor:
            answers = self.readers["observations"].window(
                start, end, fields=SWEPT_GROUPS, expandMetadata="", isRootObservation="true"
            )
            names = ("traceId", "startTime")
        else:
            answers = self.readers["traces"].window(start, end, fields="core")
            names = ("id", "timestamp")
        shown: dict[str, int] = {}
        for page in answers:
            for answer in page:
                id_, begun = answer.get(names[0]), moment(answer.get(names[1]))
                updated = moment(answer.get("updatedAt")) or begun
                if id_ and updated:
                    shown[id_] = max(shown.get(id_, 0), micros(updated))
                    self.first = min(filter(None, (self.first, begun)), default=None)
        return shown

    def _deletions(self, ids: Sequence[str], reason: str) -> Iterator[Page]:
        """Notes on traces and on what belongs to them; none on none."""
        if not ids:
            return
        rows = [deletion(TRACES, (self.project, id_), self.scope.now, reason) for id_ in ids]
        for table in (OBSERVATIONS, SCORES):
            parts = stored_among(self.scope, table, ["project_id", "id"], "trace_id", ids)
            keys = set(zip(*(column.to_pylist() for column in parts.columns), strict=True))
            keys = keys & self.gone_before.get(table.name, set()) if reason == "returned" else keys
            rows += [deletion(table, key, self.scope.now, reason) for key in sorted(keys)]
        yield Page({"deletions": DELETIONS.page(rows)})

    def _noted(self) -> dict[str, set[Key]]:
        """The keys that were found gone before, by table."""
        noted: dict[str, set[Key]] = {}
        found = self.scope.stored(DELETIONS, ["entity", "entity_key"], "reason in ('deleted', 'expired')")
        for entity, key in zip(*(column.to_pylist() for column in found.columns), strict=True):
            project, id_ = orjson.loads(key)
            noted.setdefault(entity, set()).add((project, id_))
        return noted

    def _ours(self) -> str:
        """A condition of SQL: the traces that the server shows to this selection."""
        wanted = texts_in("project_id", [self.project])
        environments = self.spec.environments
        return f"{wanted} and {texts_in('environment', environments)}" if environments else wanted


def at(moment_: int) -> datetime:
    """The moment of microseconds since 1970."""
    return (EPOCH + timedelta(microseconds=moment_)).astimezone(UTC)


def pairs(found: pa.Table) -> dict[str, int]:
    """Ids and times of update, microseconds."""
    return dict(zip(found.column(0).to_pylist(), found.column(1).cast(INTEGER).to_pylist(), strict=True))


def stored_among(scope: Scope, table: Table, columns: Sequence[str], column: str, values: Sequence[str]) -> pa.Table:
    """Columns of the stored rows whose column has one of the values, asked for in parts: queries may not be endless."""
    parts = [values[n : n + IDS_A_QUERY] for n in range(0, len(values), IDS_A_QUERY)]
    return pa.concat_tables(
        [scope.stored(table, columns, texts_in(column, part)) for part in parts]
        or [pa.schema([table.schema.field(name) for name in columns]).empty_table()]
    )
