"""Langfuse: traces and observations of a project.

The API filters by an observation's start (a trace's timestamp) only, never by its last update, so each load reads
closed windows, from an overlap before what is loaded up to a lag before now, and the newest update of a row wins.
Servers in v4 write mode have the observations cursor (v2) and no list of traces: a trace is then what its observations
say of it. Others have the older pages of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import duration
from forge_stack.model import LangfuseSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.tables import (
    INTEGER,
    JSON,
    MOMENT,
    MONEY,
    NUMBER,
    TEXT,
    Table,
    iso,
    json_text,
    moment,
    money,
    optional,
    required,
    whole,
)
from forge_pipelines.windows import oldest, spans

TRACES = Table(
    name="traces",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("created_at", MOMENT),
            required("timestamp", MOMENT),
            optional("name", TEXT),
            optional("session_id", TEXT),
            optional("user_id", TEXT),
            optional("environment", TEXT),
            optional("release", TEXT),
            optional("version", TEXT),
            required("tags", JSON),
            required("metadata", JSON),
            optional("total_cost", MONEY),
            optional("latency_seconds", NUMBER),
        ]
    ),
    key=("project_id", "id"),
    version="updated_at",
)
OBSERVATIONS = Table(
    name="observations",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("created_at", MOMENT),
            optional("trace_id", TEXT),
            optional("parent_observation_id", TEXT),
            required("type", TEXT),
            optional("name", TEXT),
            optional("level", TEXT),
            optional("status_message", TEXT),
            optional("environment", TEXT),
            required("start_time", MOMENT),
            optional("end_time", MOMENT),
            optional("completion_start_time", MOMENT),
            optional("model", TEXT),
            required("usage_details", JSON),
            required("cost_details", JSON),
            optional("input_tokens", INTEGER),
            optional("output_tokens", INTEGER),
            optional("total_tokens", INTEGER),
            optional("total_cost", MONEY),
            optional("prompt_name", TEXT),
            optional("prompt_version", INTEGER),
            required("metadata", JSON),
        ]
    ),
    key=("project_id", "id"),
    version="updated_at",
)
TABLES = (TRACES, OBSERVATIONS)

CURSOR_PAGE = 1000
LIST_PAGE = 100
GROUPS = "core,basic,time,metadata,model,usage,prompt,trace_context"
WHOLE_METADATA = "ticket,stage,repo,event,attempt"
"""The metadata of the trace contract, which the server would cut at 200 letters."""
WINDOW = timedelta(days=7)
"""The span after which a first load may be cut."""
FOUNDED = datetime(2023, 1, 1, tzinfo=UTC)
"""Nothing in Langfuse is older than Langfuse."""

Rows = list[dict[str, Any]]


def connect(spec: LangfuseSource, credentials: Credentials) -> Api:
    """Basic authentication by the project's key pair."""
    return Api(spec.url, {}, basic=(credentials.require("publicKey"), credentials.require("secretKey")))


@dataclass(frozen=True)
class Endpoints:
    """What the server has: the cursor over observations (v2), the list of traces (older)."""

    cursor: bool
    traces: bool


def pages(spec: LangfuseSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Window by window; the end of a window is a clean cursor. What the server has is asked once and remembered."""
    project = project_id(api)
    if known := scope.state.get("endpoints"):
        try:
            yield from read_all(spec, api, scope, project, Endpoints(**known))
            return
        except LoadError as error:
            if error.reason != "NotFound":
                raise
    yield from read_all(spec, api, scope, project, probe(api))


def read_all(spec: LangfuseSource, api: Api, scope: Scope, project: str, endpoints: Endpoints) -> Iterator[Page]:
    """The windows of both entities, by what the server has."""
    observations = by_cursor(api, spec) if endpoints.cursor else by_page(api, spec, "observations")
    walks = [Walk("observations", observations, None if endpoints.traces else Groups(), duration(spec.overlap))]
    if endpoints.traces:
        walks.append(Walk("traces", by_page(api, spec, "traces")))
    marks = {
        walk.entity: Mark.read_from(scope.state[walk.entity])
        for walk in walks
        if scope.state.get("selection") == selection(spec) and walk.entity in scope.state
    }
    kept = {"selection": selection(spec), "endpoints": asdict(endpoints)}
    for walk in walks:
        mark = marks.get(walk.entity, Mark())
        spans_ = list(windows(spec, scope, mark, walk.read))
        for start, end in spans_:
            seen = mark.seen
            for page in walk.window(project, start, end):
                seen = max(filter(None, (seen, page.newest)), default=None)
                yield page
            mark = marks[walk.entity] = Mark(seen, end, whole=end == spans_[-1][1])
            yield Page(
                state=kept | {entity: mark.write() for entity, mark in marks.items()}, covered=covered(walks, marks)
            )


@dataclass(frozen=True)
class Mark:
    """How far an entity is loaded: up to the moment `read`; `whole` once a load came to its end.

    `seen` is the newest row's time. The next load goes on from there and not from `read`, so that a server whose clock
    is behind loses nothing.
    """

    seen: datetime | None = None
    read: datetime | None = None
    whole: bool = False

    @classmethod
    def read_from(cls, kept: Mapping[str, Any]) -> Mark:
        """From the state."""
        return cls(moment(kept.get("seen")), moment(kept.get("read")), bool(kept.get("whole")))

    def write(self) -> dict[str, Any]:
        """For the state."""
        times = {"seen": self.seen, "read": self.read}
        return {"whole": self.whole} | {key: iso(value) for key, value in times.items() if value}


def covered(walks: Sequence[Walk], marks: Mapping[str, Mark]) -> datetime | None:
    """How far all entities are loaded."""
    read = [marks[walk.entity].read for walk in walks if walk.entity in marks]
    return min((r for r in read if r), default=None) if len(read) == len(walks) else None


def project_id(api: Api) -> str:
    """The project that the keys belong to."""
    answer = api.get("/api/public/projects", what="the project of the keys")
    try:
        return str(answer["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise LoadError(
            "BadResponse",
            f"{api.host} names no project for these keys; use the keys of a project, not of an organisation",
        ) from error


def probe(api: Api) -> Endpoints:
    """Ask the server what it has: it says 404 (or 410) to the rest."""
    return Endpoints(answers(api, "/api/public/v2/observations"), answers(api, "/api/public/traces"))


def answers(api: Api, path: str) -> bool:
    """Whether the server has an endpoint."""
    try:
        api.get(path, {"fields": "core", "limit": 1}, what=f"whether it has {path}")
    except LoadError as error:
        if error.reason == "NotFound":
            return False
        raise
    return True


def selection(spec: LangfuseSource) -> str:
    """What the cursors belong to: another beginning or choice of environments is loaded from the start again."""
    return json_text([iso(spec.since) if spec.since else None, sorted(spec.environments)])


Read = Callable[[datetime | None, datetime, int], Iterator[Rows]]
"""Pages of rows in [from, to), of a size; short and even empty pages are no end."""


def windows(spec: LangfuseSource, scope: Scope, mark: Mark, read: Read) -> Iterator[tuple[datetime, datetime]]:
    """The windows of a load, oldest first: one, unless it is a first load, which may be cut between them."""
    if scope.window:
        return spans(*scope.window, WINDOW)
    end = scope.now - duration(spec.lag)
    known = mark.seen if mark.whole else mark.read
    if known:
        start = known - duration(spec.overlap)
        start = max(start, spec.since) if spec.since else start
    elif spec.since:
        start = spec.since
    else:
        first = oldest(lambda t: any(read(None, t, 1)), FOUNDED, end, WINDOW)
        start = end - timedelta(microseconds=1) if first is None else first
    return spans(start, end, max(end - start, WINDOW) if mark.whole else WINDOW)


def by_cursor(api: Api, spec: LangfuseSource) -> Read:
    """Observations by the v2 cursor. Where a page is too heavy for the server, it is asked for less."""

    def read(start: datetime | None, end: datetime, size: int) -> Iterator[Rows]:
        params: dict[str, Any] = {"fields": GROUPS, "expandMetadata": WHOLE_METADATA, "toStartTime": iso(end)}
        params |= {"fromStartTime": iso(start)} if start else {}
        params |= {"environment": spec.environments} if spec.environments else {}
        while True:
            try:
                answer = api.send(
                    "GET", "/api/public/v2/observations", params={**params, "limit": size}, what="observations"
                )
            except LoadError as error:
                if error.reason != "BadResponse" or size <= 50:
                    raise
                size //= 2
                continue
            data, cursor = listed(api, answer), (answer.get("meta") or {}).get("cursor")
            if data:
                yield data
            if not cursor:
                return
            params["cursor"] = cursor

    return read


def by_page(api: Api, spec: LangfuseSource, entity: str) -> Read:
    """Observations or traces by page number. In a closed window a late row moves others down: read twice, no loss."""
    suffix = "Timestamp" if entity == "traces" else "StartTime"

    def read(start: datetime | None, end: datetime, size: int) -> Iterator[Rows]:
        params: dict[str, Any] = {f"to{suffix}": iso(end), "limit": min(size, LIST_PAGE)}
        params |= {f"from{suffix}": iso(start)} if start else {}
        params |= {"environment": spec.environments} if spec.environments else {}
        params |= {"fields": "core,io,metrics"} if entity == "traces" else {}
        page = 1
        while True:
            answer = api.get(f"/api/public/{entity}", {**params, "page": page}, what=entity)
            data = listed(api, answer)
            if data:
                yield data
            if page >= int((answer.get("meta") or {}).get("totalPages") or 0):
                return
            page += 1

    return read


def listed(api: Api, answer: Any) -> Rows:
    """The rows of an answer. Raises LoadError (BadResponse) when it has none."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise LoadError(
            "BadResponse", f"{api.host} answers without a list of data; check that langfuse.url is the server's"
        )
    return data


@dataclass
class Walk:
    """One entity's reader, and the traces grouped from its rows where the server has no list of them."""

    entity: str
    read: Read
    groups: Groups | None = None
    keep: timedelta = timedelta(0)

    def window(self, project: str, start: datetime, end: datetime) -> Iterator[Page]:
        """The pages of a window; none is a clean cursor, the window's end is."""
        for rows in self.read(start, end, CURSOR_PAGE):
            if self.entity == "traces":
                made = [trace_row(project, row) for row in rows]
                yield Page({"traces": TRACES.page(made)}, newest=max(row["timestamp"] for row in made))
                continue
            made = [observation_row(project, row) for row in rows]
            pages = {"observations": OBSERVATIONS.page(made)}
            if self.groups is not None:
                self.groups.add(rows, made)
                pages["traces"] = TRACES.page(self.groups.take(made[-1]["start_time"], end - self.keep))
            yield Page(pages, newest=max(row["start_time"] for row in made))
        if self.groups is not None:
            yield Page({"traces": TRACES.page(self.groups.take(None, end - self.keep))})


def trace_row(project: str, trace: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a listed trace. Costs and latencies of -1 stand for «not computed»."""
    timestamp = moment(trace["timestamp"])
    cost, latency = trace.get("totalCost"), trace.get("latency")
    return {
        "project_id": trace.get("projectId") or project,
        "id": trace["id"],
        "updated_at": moment(trace.get("updatedAt")) or timestamp,
        "created_at": moment(trace.get("createdAt")) or timestamp,
        "timestamp": timestamp,
        "name": trace.get("name"),
        "session_id": trace.get("sessionId"),
        "user_id": trace.get("userId"),
        "environment": trace.get("environment"),
        "release": trace.get("release"),
        "version": trace.get("version"),
        "tags": json_text(trace.get("tags") or []),
        "metadata": json_text(trace.get("metadata") or {}),
        "total_cost": None if cost is None or cost < 0 else money(cost),
        "latency_seconds": None if latency is None or latency < 0 else float(latency),
    }


def observation_row(project: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an observation, of either API."""
    usage, costs = row.get("usageDetails") or {}, row.get("costDetails") or {}
    start = moment(row["startTime"])
    tokens = token_counts(usage)
    cost = next(
        (c for c in (row.get("totalCost"), row.get("calculatedTotalCost"), costs.get("total")) if c is not None), None
    )
    return {
        "project_id": row.get("projectId") or project,
        "id": row["id"],
        "updated_at": moment(row.get("updatedAt")) or start,
        "created_at": moment(row.get("createdAt")) or start,
        "trace_id": row.get("traceId"),
        "parent_observation_id": row.get("parentObservationId") or None,
        "type": row["type"],
        "name": row.get("name"),
        "level": row.get("level"),
        "status_message": row.get("statusMessage"),
        "environment": row.get("environment"),
        "start_time": start,
        "end_time": moment(row.get("endTime")),
        "completion_start_time": moment(row.get("completionStartTime")),
        "model": row.get("model") or row.get("providedModelName"),
        "usage_details": json_text(usage),
        "cost_details": json_text(costs),
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "total_tokens": tokens[2],
        "total_cost": money(cost),
        "prompt_name": row.get("promptName"),
        "prompt_version": whole(row.get("promptVersion")),
        "metadata": json_text(row.get("metadata") or {}),
    }


def token_counts(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Input, output and total tokens of usage details; None where nothing is told.

    Kinds are told apart by their beginning (`input`, `input_cached_tokens`, `output_reasoning_tokens`), as in Langfuse.
    """
    if not usage:
        return None, None, None
    sums: dict[str, int | None] = {"input": None, "output": None}
    for kind, count in usage.items():
        for side in sums:
            if kind.startswith(side) and count is not None:
                sums[side] = (sums[side] or 0) + int(count)
    total = usage.get("total")
    if total is None:
        total = sum(int(count) for count in usage.values() if count is not None)
    return sums["input"], sums["output"], int(total)


@dataclass
class Group:
    """What the observations of a trace say of it: bounds, costs and the root. It holds no observation but the root."""

    updated_at: datetime
    created_at: datetime
    ended_at: datetime
    costs: dict[str, tuple[str | None, Decimal]] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    root: dict[str, Any] | None = None

    def add(self, answer: Mapping[str, Any], row: dict[str, Any]) -> None:
        """Take an observation, as the server gave it and as row."""
        self.updated_at = max(self.updated_at, row["updated_at"])
        self.created_at = min(self.created_at, row["created_at"])
        self.ended_at = max(self.ended_at, row["end_time"] or row["start_time"])
        if row["total_cost"] is not None:
            self.costs[row["id"]] = (row["parent_observation_id"], row["total_cost"])
        is_root = answer.get("isRootObservation", row["parent_observation_id"] is None)
        if is_root and (self.root is None or row["start_time"] <= self.root["start_time"]):
            self.answer, self.root = answer, row

    def row(self, id_: str) -> dict[str, Any]:
        """The trace."""
        assert self.root is not None, "only groups with a root are taken"  # noqa: S101
        return {
            "project_id": self.root["project_id"],
            "id": id_,
            "updated_at": self.updated_at,
            "created_at": self.created_at,
            "timestamp": self.root["start_time"],
            "name": self.answer.get("traceName") or self.root["name"],
            "session_id": self.answer.get("sessionId"),
            "user_id": self.answer.get("userId"),
            "environment": self.root["environment"],
            "release": self.answer.get("release"),
            "version": self.answer.get("version"),
            "tags": json_text(self.answer.get("tags") or []),
            "metadata": self.root["metadata"],
            "total_cost": leaf_cost(self.costs),
            "latency_seconds": (self.ended_at - self.root["start_time"]).total_seconds(),
        }


class Groups:
    """Traces made of their observations, which come newest start first.

    A trace is whole once the pages are past its root: all else of it started later. It is given again when a later
    window brings more of it; so those that began near a window's end are kept.
    """

    def __init__(self) -> None:
        """Begin without traces."""
        self.groups: dict[str, Group] = {}
        self.touched: set[str] = set()

    def add(self, answers: Sequence[Mapping[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
        """Take a page of observations, as the server gave them and as rows."""
        for answer, row in zip(answers, rows, strict=True):
            id_ = row["trace_id"]
            if id_ is None:
                continue
            if id_ not in self.groups:
                self.groups[id_] = Group(row["updated_at"], row["created_at"], row["start_time"])
            self.groups[id_].add(answer, row)
            self.touched.add(id_)

    def take(self, past: datetime | None, keep: datetime) -> list[dict[str, Any]]:
        """The traces that are whole, now that the pages are past a start time (None: past all).

        Forgets those that ended before `keep`.
        """
        rows = []
        for id_ in sorted(self.touched):
            root = self.groups[id_].root
            if root is not None and (past is None or root["start_time"] > past):
                rows.append(self.groups[id_].row(id_))
                self.touched.discard(id_)
        if past is None:
            self.touched.clear()
        for id_ in [i for i, g in self.groups.items() if i not in self.touched and g.ended_at < keep]:
            del self.groups[id_]
        return rows


def leaf_cost(costs: Mapping[str, tuple[str | None, Decimal]]) -> Decimal | None:
    """The cost of a trace from its observations' parents and costs: the sum, less what a parent repeats."""
    parents = {parent for parent, cost in costs.values() if cost}
    leaves = [cost for id_, (_, cost) in costs.items() if id_ not in parents]
    return sum(leaves, Decimal(0)) if costs else None
