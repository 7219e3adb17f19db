"""Traces and sessions made of observations, for servers that have no list of them (v4). Pure.

There, whatever belongs to a trace is said by its observations: times and costs by all of them, the rest by the root.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from forge_pipelines.sources.langfuse_rows import Answers, decimal_of, tags_of
from forge_pipelines.sources.langfuse_tables import LIFTED
from forge_pipelines.tables import INTEGER, MONEY, json_text

KEPT_AFTER = timedelta(hours=2)
"""A trace that ended longer before the end of what is read is not waited for in memory."""
KEPT_TRACES = 20_000
KEPT_SESSIONS = 200_000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROOT_COLUMNS = ("project_id", "name", "environment", "metadata", *(field.name for field in LIFTED))


class Group:
    """What the observations of a trace say of it. Times are microseconds since 1970, costs 10^-12 US dollars."""

    __slots__ = (
        "costs",
        "created",
        "ended",
        "pieces",
        "release",
        "root",
        "session",
        "start",
        "tags",
        "updated",
        "user",
    )

    def __init__(self) -> None:
        """Of no observation yet."""
        self.updated, self.ended, self.created, self.start = 0, 0, 1 << 62, 1 << 62
        self.costs: dict[str, tuple[str | None, int]] = {}
        self.pieces: dict[str, int] = {}
        """Observations and when they were updated, while the root is not among them."""
        self.root: dict[str, Any] | None = None
        self.session: str | None = None
        self.user: str | None = None
        self.release: str | None = None
        self.tags: list[Any] = []

    def row(self, id_: str) -> dict[str, Any]:
        """The trace; only of a group with a root."""
        assert self.root is not None, "only groups with a root are taken"  # noqa: S101
        return self.root | {
            "id": id_,
            "updated_at": self.updated,
            "created_at": self.created,
            "timestamp": self.start,
            "session_id": self.session,
            "user_id": self.user,
            "release": self.release,
            "tags": json_text(self.tags),
            "total_cost": leaf_cost(self.costs),
            "latency_seconds": (self.ended - self.start) / 1e6,
        }


class Groups:
    """Traces by the observations read so far, which come newest start first.

    A trace is whole once the pages are past its root: all else of it started later. It is given again when a later
    window brings more of it; so those that ended near a window's end are kept.
    """

    def __init__(self) -> None:
        """Begin without traces."""
        self.groups: dict[str, Group] = {}
        self.touched: set[str] = set()

    def add(self, rows: pa.Table, answers: Answers) -> None:
        """Take a page of observations, as rows and as the server gave them."""
        trace_ids, ids, parents = (rows.column(n).to_pylist() for n in ("trace_id", "id", "parent_observation_id"))
        starts, ends, updates, creations = (
            rows.column(n).cast(INTEGER).to_pylist() for n in ("start_time", "end_time", "updated_at", "created_at")
        )
        costs = cost_units(rows.column("total_cost"))
        root_values: dict[str, list[Any]] | None = None
        groups, touched = self.groups, self.touched
        for n, trace_id in enumerate(trace_ids):
            if trace_id is None:
                continue
            group = groups.get(trace_id)
            if group is None:
                group = groups[trace_id] = Group()
            touched.add(trace_id)
            answer, start, updated, ended = answers[n], starts[n], updates[n], ends[n]
            if updated > group.updated:
                group.updated = updated
            if creations[n] < group.created:
                group.created = creations[n]
            if ended is None:
                ended = start
            if ended > group.ended:
                group.ended = ended
            if (cost := costs[n]) is not None:
                group.costs[ids[n]] = parents[n], cost
            is_root = answer.get("isRootObservation")
            if is_root is None:
                is_root = parents[n] is None
            if is_root and (group.root is None or start <= group.start):
                if root_values is None:
                    root_values = {name: rows.column(name).to_pylist() for name in ROOT_COLUMNS}
                group.start = start
                group.root = {name: values[n] for name, values in root_values.items()}
                group.root["version"] = answer.get("version")
                group.root["name"] = answer.get("traceName") or group.root["name"]
                group.session = answer.get("sessionId") or group.session
                group.user = answer.get("userId") or group.user
                group.release = answer.get("release") or group.release
                group.tags = tags_of(answer) or group.tags
                group.pieces.clear()
                continue
            if group.root is None:
                group.pieces[ids[n]] = updated
            if group.session is None:
                group.session = answer.get("sessionId") or None
            if group.user is None:
                group.user = answer.get("userId") or None
            if group.release is None:
                group.release = answer.get("release") or None
            if not group.tags:
                group.tags = tags_of(answer)

    def take(self, past: datetime) -> list[dict[str, Any]]:
        """The traces that are whole, now that the pages are past a start time."""
        limit = micros(past)
        whole = sorted(
            id_ for id_ in self.touched if (group := self.groups[id_]).root is not None and group.start > limit
        )
        self.touched.difference_update(whole)
        return [self.groups[id_].row(id_) for id_ in whole]

    def rest(self, end: datetime) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
        """At the end of a window: its other traces, and those whose root is not among what was read.

        Of the latter their observations with the times of update, microseconds. Forgets what is not waited for.
        """
        rows, orphans = [], {}
        for id_ in sorted(self.touched):
            group = self.groups[id_]
            if group.root is not None:
                rows.append(group.row(id_))
            else:
                orphans[id_] = dict(group.pieces)
        self.touched.clear()
        limit = micros(end - KEPT_AFTER)
        self.groups = {id_: group for id_, group in self.groups.items() if group.ended >= limit}
        if len(self.groups) > KEPT_TRACES:
            newest = sorted(self.groups, key=lambda id_: self.groups[id_].ended)[-KEPT_TRACES:]
            self.groups = {id_: self.groups[id_] for id_ in newest}
        return rows, orphans


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def cost_units(column: pa.ChunkedArray) -> list[int | None]:
    """Amounts as 10^-12 parts."""
    if column.null_count == len(column):
        return [None] * len(column)
    return [None if cost is None else int(cost.scaleb(12)) for cost in column.cast(MONEY).to_pylist()]


def leaf_cost(costs: Mapping[str, tuple[str | None, int]]) -> Decimal:
    """The cost of a trace from its observations' parents and costs: the sum, less what a parent repeats.

    Nothing that costs makes 0, as in Langfuse's own list of traces.
    """
    parents = {parent for parent, cost in costs.values() if cost}
    leaves = [cost for id_, (_, cost) in costs.items() if id_ not in parents]
    return decimal_of(sum(leaves))


class Sessions:
    """Sessions by the observations that name them: a session begins with the first of them to be written."""

    def __init__(self) -> None:
        """Begin without sessions."""
        self.known: OrderedDict[str, tuple[int, str | None]] = OrderedDict()
        self.touched: set[str] = set()

    def add(self, rows: pa.Table, answers: Answers) -> None:
        """Take a page of observations, as rows and as the server gave them."""
        creations = rows.column("created_at").cast(INTEGER).to_pylist()
        for answer, created in zip(answers, creations, strict=True):
            session = answer.get("sessionId")
            if session:
                self.note(session, created, answer.get("environment"))

    def note(self, session: str, created: int, environment: str | None) -> None:
        """A session was there at a time."""
        known = self.known.get(session)
        if known is None or created < known[0]:
            self.known[session] = created, environment
        self.touched.add(session)

    def take(self) -> dict[str, tuple[int, str | None]]:
        """Those that were seen since the last time, with when they began and where. Forgets the oldest if many."""
        found = {session: self.known[session] for session in sorted(self.touched)}
        self.touched.clear()
        while len(self.known) > KEPT_SESSIONS:
            self.known.popitem(last=False)
        return found


def session_rows(project: str, now: datetime, found: Mapping[str, tuple[int, str | None]]) -> Sequence[dict[str, Any]]:
    """Rows of sessions."""
    return [
        {"project_id": project, "id": id_, "loaded_at": now, "created_at": created, "environment": environment}
        for id_, (created, environment) in found.items()
    ]
