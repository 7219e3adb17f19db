"""Langfuse: traces and observations of a project.

The API filters by an observation's start (a trace's timestamp) only, never by its last update, so each load reads
closed windows, from an overlap before what is loaded up to a lag before now, and the newest update of a row wins.
Servers in v4 write mode have the observations cursor (v2) and no list of traces: a trace is then what its observations
say of it. Others have the older pages of both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


def pages(spec: LangfuseSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Window by window; the end of a window is a clean cursor."""
    project = project_id(api)
    has_cursor = probe(api, "/api/public/v2/observations", {"fields": "core"})
    has_traces = probe(api, "/api/public/traces", {"fields": "core"})
    observations = by_cursor(api, spec) if has_cursor else by_page(api, spec, "observations")
    walks = [Walk("observations", observations, trace_groups=None if has_traces else Groups(project))]
    if has_traces:
        walks.append(Walk("traces", by_page(api, spec, "traces")))
    state = {"selection": selection(spec)} | {
        walk.entity: scope.state[walk.entity]
        for walk in walks
        if scope.state.get("selection") == selection(spec) and walk.entity in scope.state
    }
    for walk in walks:
        for start, end in windows(spec, scope, moment(state.get(walk.entity)), walk.read):
            yield from walk.window(project, start, end)
            state[walk.entity] = iso(end)
            upto = [moment(state.get(w.entity)) for w in walks]
            yield Page(state=dict(state), covered=min((u for u in upto if u), default=None) if all(upto) else None)


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


def probe(api: Api, path: str, params: Mapping[str, Any]) -> bool:
    """Whether the server has an endpoint: it says 404 (or 410, or 501) where it has not."""
    try:
        api.get(path, {**params, "limit": 1}, what=f"whether it has {path}")
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


def windows(
    spec: LangfuseSource, scope: Scope, known: datetime | None, read: Read
) -> Iterator[tuple[datetime, datetime]]:
    """The windows of a load, oldest first."""
    if scope.window:
        start, end = scope.window
    else:
        end = scope.now - duration(spec.lag)
        if known:
            start = known - duration(spec.overlap)
            start = max(start, spec.since) if spec.since else start
        elif spec.since:
            start = spec.since
        else:
            first = oldest(lambda t: any(read(None, t, 1)), FOUNDED, end, WINDOW)
            start = end - timedelta(microseconds=1) if first is None else first
    return spans(start, end, WINDOW)


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
    trace_groups: Groups | None = None

    def window(self, project: str, start: datetime, end: datetime) -> Iterator[Page]:
        """The pages of a window; none is a clean cursor, the window's end is."""
        for rows in self.read(start, end, CURSOR_PAGE):
            if self.entity == "traces":
                page = TRACES.page(trace_row(project, row) for row in rows)
                newest = max(moment(row["timestamp"]) or FOUNDED for row in rows)
            else:
                made = [observation_row(project, row) for row in rows]
                page = OBSERVATIONS.page(made)
                newest = max(row["start_time"] for row in made)
                if self.trace_groups is not None:
                    self.trace_groups.add(rows, made)
            yield Page({self.entity: page}, newest=newest)
        if self.trace_groups is not None:
            yield Page({"traces": TRACES.page(self.trace_groups.take())})


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
    """What the observations of a trace say of it."""

    root: tuple[dict[str, Any], dict[str, Any]] | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)


class Groups:
    """Traces made of their observations.

    A trace is given once its root was seen: all else of it starts later, hence is in the same windows. It is given
    again when a later window brings more of it.
    """

    def __init__(self, project: str) -> None:
        """Begin without traces."""
        self.project = project
        self.groups: dict[str, Group] = defaultdict(Group)
        self.touched: set[str] = set()

    def add(self, answers: Sequence[Mapping[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
        """Take observations, as the server gave them and as rows."""
        for answer, row in zip(answers, rows, strict=True):
            if row["trace_id"] is None:
                continue
            group = self.groups[row["trace_id"]]
            group.rows[row["id"]] = row
            self.touched.add(row["trace_id"])
            if answer.get("isRootObservation", row["parent_observation_id"] is None) and (
                group.root is None or row["start_time"] <= group.root[1]["start_time"]
            ):
                group.root = (dict(answer), row)

    def take(self) -> list[dict[str, Any]]:
        """The traces that changed since the last call and have a root."""
        rows = [self._row(id_, self.groups[id_]) for id_ in sorted(self.touched) if self.groups[id_].root]
        self.touched.clear()
        return rows

    def _row(self, id_: str, group: Group) -> dict[str, Any]:
        assert group.root is not None  # noqa: S101 - take gives only those
        answer, root = group.root
        rows = list(group.rows.values())
        ends = [row["end_time"] or row["start_time"] for row in rows]
        return {
            "project_id": root["project_id"],
            "id": id_,
            "updated_at": max(row["updated_at"] for row in rows),
            "created_at": min(row["created_at"] for row in rows),
            "timestamp": root["start_time"],
            "name": answer.get("traceName") or root["name"],
            "session_id": answer.get("sessionId"),
            "user_id": answer.get("userId"),
            "environment": root["environment"],
            "release": answer.get("release"),
            "version": answer.get("version"),
            "tags": json_text(answer.get("tags") or []),
            "metadata": root["metadata"],
            "total_cost": leaf_cost(rows),
            "latency_seconds": (max(ends) - root["start_time"]).total_seconds(),
        }


def leaf_cost(rows: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """The cost of a trace: that of its observations, less what a parent repeats of its children."""
    with_cost = [row for row in rows if row["total_cost"] is not None]
    parents = {row["parent_observation_id"] for row in with_cost if row["total_cost"]}
    leaves = [row["total_cost"] for row in with_cost if row["id"] not in parents]
    return sum(leaves, Decimal(0)) if with_cost else None
