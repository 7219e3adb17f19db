"""Langfuse: traces, observations, scores and sessions of a project.

The API filters by an observation's start (a trace's and a score's timestamp) only, never by its last update, so each
load reads closed windows, from an overlap before what is loaded up to a lag before now; once a day from a week before,
and once in `spec.sweep` all roots of traces are compared with bronze (langfuse_sweep). The newest update of a row wins.
What cannot be seen: an update, older than that week, of an observation that is not its trace's root; the deletion of a
single observation or score.

Servers of v4 have cursors over observations and scores, and no list of traces and sessions: these are then what the
observations say of them (langfuse_traces). Others have the older pages of all four (langfuse_api).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from forge_stack.model import LangfuseSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.sources.langfuse_api import Reader, Server, probe, project_id, readers
from forge_pipelines.sources.langfuse_rows import Answers, Rows
from forge_pipelines.sources.langfuse_sweep import Sweep, pairs, stored_among
from forge_pipelines.sources.langfuse_tables import OBSERVATIONS, SCORES, SESSIONS, TABLES, TRACES
from forge_pipelines.sources.langfuse_traces import Groups, Sessions, micros, session_rows
from forge_pipelines.sources.langfuse_windows import Mark, begun, bounds, nothing_until
from forge_pipelines.tables import Table, iso, json_text, moment

__all__ = ["TABLES", "connect", "pages"]

ASK_AGAIN_AFTER = timedelta(days=1)
"""How often a server that lacks the newest endpoints is asked whether it has them now."""
ORPHANS_FETCHED = 100
"""Traces that a load fetches whole, because their root began before what it reads."""
ROWS_A_PAGE = 5_000
"""Pages of the API are joined to about this size before they are stored."""
TIMES: Mapping[str, str] = {
    "observations": "start_time",
    "traces": "timestamp",
    "scores": "timestamp",
    "sessions": "created_at",
}
ENTITIES: Mapping[str, Table] = {table.name: table for table in (OBSERVATIONS, TRACES, SCORES, SESSIONS)}


def connect(spec: LangfuseSource, credentials: Credentials) -> Api:
    """Basic authentication by the project's key pair."""
    return Api(spec.url, {}, basic=(credentials.require("publicKey"), credentials.require("secretKey")))


def pages(spec: LangfuseSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Window by window; the end of a window is a clean cursor. What the server has is asked once and remembered."""
    project = project_id(api)
    if (server := remembered(scope)) is not None:
        try:
            yield from Load(spec, api, scope, project, server, asked=scope.state["asked"]).pages()
            return
        except LoadError as error:
            if error.reason != "NotFound":
                raise
    yield from Load(spec, api, scope, project, probe(api), asked=iso(scope.now)).pages()


def remembered(scope: Scope) -> Server | None:
    """What the server had; None when it is to be asked (again)."""
    kept, asked = scope.state.get("server"), moment(scope.state.get("asked"))
    if not kept or asked is None:
        return None
    server = Server(**kept)
    return server if server.newest or scope.now < asked + ASK_AGAIN_AFTER else None


def selection(spec: LangfuseSource, project: str) -> str:
    """What the cursors belong to: another project, beginning or choice of environments is loaded from the start."""
    return json_text([project, iso(spec.since) if spec.since else None, sorted(spec.environments)])


@dataclass
class Load:
    """One load: its entities one after the other, then the sweep when it is due."""

    spec: LangfuseSource
    api: Api
    scope: Scope
    project: str
    server: Server
    asked: str
    marks: dict[str, Mark] = field(default_factory=dict)
    swept: dict[str, Any] = field(default_factory=dict)
    read_from: dict[str, datetime] = field(default_factory=dict)
    orphans_fetched: int = 0

    def __post_init__(self) -> None:
        """Go on from the state, if it is of the same selection."""
        self.rows = Rows(self.project, self.spec.metadata_keys, self.scope)
        self.readers = readers(self.api, self.spec, self.server)
        state = self.scope.state
        if not self.scope.window and state.get("selection") == selection(self.spec, self.project):
            self.marks = {name: Mark.read_from(kept) for name, kept in state.get("marks", {}).items()}
            self.swept = dict(state.get("swept") or {})

    def pages(self) -> Iterator[Page]:
        """All of it."""
        for entity, reader in self.readers.items():
            yield from self.entity(entity, reader)
        if self.scope.window:
            return
        sweep = Sweep(
            self.spec,
            self.scope,
            self.project,
            self.server,
            self.readers,
            self.swept,
            self.trace_pages,
            read_from=self.read_from.get("observations" if self.server.cursor else "traces", self.scope.now),
        )
        for page in sweep.pages():
            self.swept = sweep.state
            yield replace(page, state=self.state(), covered=self.covered())
        self.swept = sweep.state
        yield Page(state=self.state(), covered=self.covered())

    def state(self) -> dict[str, Any]:
        """What the next load is to know."""
        return {
            "selection": selection(self.spec, self.project),
            "server": asdict(self.server),
            "asked": self.asked,
            "marks": {entity: mark.write() for entity, mark in self.marks.items()},
            "swept": self.swept,
        }

    def covered(self) -> datetime | None:
        """How far all entities are loaded."""
        furthest = [self.marks[entity].furthest if entity in self.marks else None for entity in self.readers]
        return None if None in furthest else min(moment for moment in furthest if moment is not None)

    def entity(self, entity: str, reader: Reader) -> Iterator[Page]:
        """The windows of one entity, oldest first."""
        mark = begun(self.marks.get(entity, Mark()), self.scope.now)
        start, end = self.scope.window or bounds(self.spec, self.scope.now, mark, reader.anything_before)
        self.read_from[entity] = start
        limit = start if self.scope.window or mark.read is None else None
        made = Made() if entity == OBSERVATIONS.name and self.server.cursor else None
        if start >= end:
            self.marks[entity] = nothing_until(mark, end)
        while start < end:
            stop = min(start + mark.width, end)
            seen, rows = None, 0
            for page in self.window(entity, reader, made, start, stop):
                seen = max(filter(None, (seen, page.newest)), default=None)
                rows += page.rows[entity].num_rows if entity in page.rows else 0
                yield page
            if made is not None:
                yield from self.made_rest(made, stop, first=start == limit)
            start, mark = stop, mark.after(stop, rows, seen, last=stop == end)
            self.marks[entity] = mark
            yield Page(state=self.state(), covered=self.covered())

    def window(self, entity: str, reader: Reader, made: Made | None, start: datetime, end: datetime) -> Iterator[Page]:
        """The pages of a window; none is a clean cursor, the window's end is."""
        waiting: list[pa.Table] = []
        for answers in uncollected(reader.window(start, end)):
            rows, fitting = self.rows.page(ENTITIES[entity], answers)
            if not rows.num_rows:
                continue
            waiting.append(rows)
            if made is not None:
                made.add(rows, fitting)
            if sum(page.num_rows for page in waiting) >= ROWS_A_PAGE:
                yield self.joined(entity, waiting, made)
                waiting = []
        if waiting:
            yield self.joined(entity, waiting, made)

    def joined(self, entity: str, waiting: Sequence[pa.Table], made: Made | None) -> Page:
        """Pages of the API as one, with the traces that are whole by now."""
        rows = pa.concat_tables(waiting)
        newest = pc.max(rows.column(TIMES[entity])).as_py()
        tables = {entity: rows}
        if made is not None:
            tables["traces"] = TRACES.page(made.traces.take(pc.min(waiting[-1].column("start_time")).as_py()))
        return Page(tables, newest=newest)

    def made_rest(self, made: Made, end: datetime, *, first: bool) -> Iterator[Page]:
        """What is made of a window's observations at its end: the other traces, and the sessions.

        `first`: what began before the window does not belong to what is loaded.
        """
        rows, orphans = made.traces.rest(end)
        yield Page({"traces": TRACES.page(rows)})
        if orphans and not first:
            yield from self.adopted(orphans)
        found = made.sessions.take()
        if found:
            before = stored_among(self.scope, SESSIONS, ["id", "created_at", "environment"], "id", list(found))
            for id_, created, environment in zip(*(column.to_pylist() for column in before.columns), strict=True):
                if micros(created) < found[id_][0]:
                    found[id_] = micros(created), environment
            yield Page({"sessions": SESSIONS.page(session_rows(self.project, self.scope.now, found))})

    def adopted(self, orphans: Mapping[str, Mapping[str, int]]) -> Iterator[Page]:
        """Traces whose root began before what is read: fetched whole, if bronze lacks what is new of them."""
        updates = pairs(stored_among(self.scope, OBSERVATIONS, ["id", "updated_at"], "trace_id", list(orphans)))
        for id_, pieces in orphans.items():
            if all(updates.get(piece, -1) >= updated for piece, updated in pieces.items()):
                continue
            if self.orphans_fetched >= ORPHANS_FETCHED:
                self.scope.warn(
                    f"more than {ORPHANS_FETCHED} traces show no root in what this load read: the rows of some in "
                    "traces lack what came late, their observations are all there"
                )
                return
            self.orphans_fetched += 1
            yield from self.trace_pages([id_])

    def trace_pages(self, ids: Sequence[str]) -> Iterator[Page]:
        """Traces by id, with their observations; of those that began before `spec.since` only what began after."""
        reader = self.readers[OBSERVATIONS.name]
        for id_ in ids:
            made = Made()
            for answers in reader.walk({**reader.params, "traceId": id_}):
                rows, fitting = self.rows.page(OBSERVATIONS, answers)
                if self.spec.since:
                    late = pc.greater_equal(rows.column("start_time"), self.spec.since)
                    rows = rows.filter(late)
                    fitting = [a for a, is_late in zip(fitting, late.to_pylist(), strict=True) if is_late]
                if rows.num_rows:
                    made.add(rows, fitting)
                    yield Page({"observations": rows})
            if self.server.cursor:
                yield Page({"traces": TRACES.page(made.traces.rest(self.scope.now)[0])})
            else:
                trace = self.api.get(f"/api/public/traces/{quote(id_, safe='')}", what="a trace")
                yield Page({"traces": self.rows.page(TRACES, [trace])[0]})


def uncollected(pages: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Pages, read without the collector of cycles: answers have none, and the search for them takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield from pages
    finally:
        if was_on:
            gc.enable()


class Made:
    """What is made of observations where the server has no list of it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.traces, self.sessions = Groups(), Sessions()

    def add(self, rows: pa.Table, answers: Answers) -> None:
        """Take a page of observations, as rows and as the server gave them."""
        self.traces.add(rows, answers)
        self.sessions.add(rows, answers)
