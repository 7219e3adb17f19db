"""Langfuse: answers of both APIs become rows; traces are grouped where the server has no list of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import orjson
from forge_pipelines.sources import Scope
from forge_pipelines.sources.langfuse import (
    OBSERVATIONS,
    TRACES,
    WINDOW,
    Groups,
    Mark,
    Rows,
    leaf_cost,
    observation_row,
    token_counts,
    trace_row,
    windows,
)
from forge_stack.model import LangfuseSource

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0 = "2026-03-01T10:00:00.000Z"


def source(**values: object) -> LangfuseSource:
    return LangfuseSource.model_validate({"credentialsSecretRef": {"name": "s"}, **values})


def observation(id_: str, **values: object) -> dict[str, object]:
    return {"id": id_, "traceId": "t1", "startTime": T0, "type": "SPAN", "projectId": "p", **values}


def test_an_observation_of_the_cursor_becomes_a_row() -> None:
    row = observation_row(
        "p",
        observation(
            "o1",
            type="GENERATION",
            model="claude",
            endTime="2026-03-01T10:00:05.5Z",
            updatedAt="2026-03-01T10:01:00Z",
            usageDetails={"input": 10, "input_cached_tokens": 5, "output": 3, "total": 18},
            costDetails={"input": 0.1, "total": 0.30000000000000004},
            totalCost=0.3,
            metadata={"ticket": "AB-1"},
            promptVersion=2,
        ),
    )
    assert OBSERVATIONS.page([row]).num_rows == 1
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (15, 3, 18)
    assert row["total_cost"] == Decimal("0.3")
    assert row["created_at"] == row["start_time"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert orjson.loads(row["metadata"]) == {"ticket": "AB-1"}


def test_an_observation_of_the_pages_becomes_a_row() -> None:
    row = observation_row("p", {**observation("o1"), "projectId": None, "calculatedTotalCost": 0.25, "metadata": None})
    assert OBSERVATIONS.page([row]).num_rows == 1
    assert (row["project_id"], row["total_cost"], row["metadata"]) == ("p", Decimal("0.25"), "{}")
    assert row["input_tokens"] is None


def test_tokens_by_kind() -> None:
    assert token_counts({}) == (None, None, None)
    assert token_counts({"input": 1, "output": 2}) == (1, 2, 3)
    assert token_counts({"output_reasoning_tokens": 4, "output": 2, "total": 9}) == (None, 6, 9)
    assert token_counts({"cache_read": 7}) == (None, None, 7)


def test_a_listed_trace_becomes_a_row() -> None:
    trace = {"id": "t1", "timestamp": T0, "tags": ["stage:plan"], "metadata": {"ticket": "AB-1"}, "totalCost": -1,
             "latency": -1, "sessionId": "AB-1", "updatedAt": "2026-03-02T00:00:00Z"}  # fmt: skip
    row = trace_row("p", trace)
    assert TRACES.page([row]).num_rows == 1
    assert (row["total_cost"], row["latency_seconds"], row["session_id"]) == (None, None, "AB-1")
    assert trace_row("p", {**trace, "totalCost": 0, "latency": 1.5})["total_cost"] == 0


def add(groups: Groups, *answers: dict[str, object]) -> None:
    groups.add(answers, [observation_row("p", a) for a in answers])


EVER = datetime(2020, 1, 1, tzinfo=UTC)


def test_a_trace_is_grouped_once_the_pages_are_past_its_root() -> None:
    groups = Groups()
    child = observation("c", parentObservationId="r", startTime="2026-03-01T10:00:01Z", totalCost=0.5,
                        endTime="2026-03-01T10:00:09Z", updatedAt="2026-03-01T11:00:00Z")  # fmt: skip
    add(groups, child)
    root = observation("r", traceName="implement AB-1", sessionId="AB-1", tags=["x"], metadata={"ticket": "AB-1"},
                       totalCost=0.5, endTime="2026-03-01T10:00:08Z")  # fmt: skip
    add(groups, root)
    start = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert groups.take(start, EVER) == [], "another observation may have started with the root"
    (row,) = groups.take(start - timedelta(milliseconds=1), EVER)
    assert TRACES.page([row]).num_rows == 1
    assert (row["id"], row["name"], row["session_id"]) == ("t1", "implement AB-1", "AB-1")
    assert row["total_cost"] == Decimal("0.5"), "the root repeats its child's cost"
    assert row["latency_seconds"] == 9.0
    assert row["updated_at"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert groups.take(None, EVER) == []
    add(groups, observation("d", parentObservationId="r", totalCost=0.25))
    assert groups.take(None, EVER)[0]["total_cost"] == Decimal("0.75"), "a later window brought more"


def test_groups_of_long_ago_are_forgotten_and_rootless_ones_never_given() -> None:
    groups = Groups()
    add(groups, observation("r"), observation("c", traceId="t2", parentObservationId="elsewhere"))
    assert len(groups.take(None, NOW)) == 1
    assert groups.groups == {}


def test_a_marked_root_may_have_a_parent() -> None:
    groups = Groups()
    add(groups, observation("r", parentObservationId="elsewhere", isRootObservation=True))
    assert len(groups.take(None, EVER)) == 1


def test_costs_of_leaves() -> None:
    assert leaf_cost({"b": ("a", Decimal(1)), "a": (None, Decimal(0))}) == 1
    assert leaf_cost({"b": ("a", Decimal(1)), "c": ("a", Decimal(2)), "a": (None, Decimal(3))}) == 3
    assert leaf_cost({}) is None


def no_read(start: datetime | None, end: datetime, size: int) -> list[Rows]:
    return []


def test_windows_are_closed_overlap_and_tile() -> None:
    known = NOW - timedelta(days=10)
    spec = source(overlap="24h", lag="15m")
    for mark, count in ((Mark(seen=known, read=NOW, whole=True), 1), (Mark(seen=NOW, read=known), 2)):
        found = list(windows(spec, Scope({}, NOW), mark, no_read))  # type: ignore[arg-type]
        assert found[0][0] == known - timedelta(days=1) and found[-1][1] == NOW - timedelta(minutes=15)
        assert len(found) == count and all(left[1] == right[0] for left, right in pairwise(found))
    since = NOW - timedelta(days=1)
    (first, *_) = windows(source(since=since), Scope({}, NOW), Mark(known, known, True), no_read)  # type: ignore[arg-type]
    assert first[0] == since


def test_a_mark_survives_the_state() -> None:
    for mark in (Mark(), Mark(NOW, NOW, True), Mark(None, NOW)):
        assert Mark.read_from(orjson.loads(orjson.dumps(mark.write()))) == mark


def test_a_first_load_finds_the_oldest_row_and_reads_from_there() -> None:
    first = NOW - timedelta(days=100)

    def read(start: datetime | None, end: datetime, size: int) -> list[Rows]:
        return [[{"id": "x"}]] if first < end else []

    found = list(windows(source(), Scope({}, NOW), Mark(), read))  # type: ignore[arg-type]
    assert first - WINDOW <= found[0][0] <= first


def test_an_empty_project_costs_one_tiny_window() -> None:
    (only,) = windows(source(), Scope({}, NOW), Mark(), no_read)  # type: ignore[arg-type]
    assert only[1] - only[0] < timedelta(seconds=1)
