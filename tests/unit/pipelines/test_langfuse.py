"""Langfuse: answers of all its APIs become rows; traces and sessions are made where the server has no list of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from forge_pipelines.sources import Scope
from forge_pipelines.sources.langfuse_api import expanded
from forge_pipelines.sources.langfuse_rows import Rows, amounts, lifted, moments, token_counts
from forge_pipelines.sources.langfuse_sweep import stored_among, texts_in
from forge_pipelines.sources.langfuse_tables import OBSERVATIONS, SCORES, SESSIONS, TRACES
from forge_pipelines.sources.langfuse_traces import Groups, Sessions, leaf_cost, micros
from forge_pipelines.sources.langfuse_windows import (
    FIRST_WIDTH,
    GRAIN,
    MOST_WIDTH,
    REREAD_BACK,
    ROWS_A_WINDOW,
    Mark,
    begun,
    bounds,
    fitted,
    nothing_until,
)
from forge_pipelines.tables import Table, money
from forge_stack.model import LangfuseSource, MetadataKeys

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0 = "2026-03-01T10:00:00.000Z"
START = datetime(2026, 3, 1, 10, tzinfo=UTC)


def source(**values: object) -> LangfuseSource:
    return LangfuseSource.model_validate({"credentialsSecretRef": {"name": "s"}, **values})


def observation(id_: str, **values: object) -> dict[str, Any]:
    return {"id": id_, "traceId": "t1", "startTime": T0, "type": "SPAN", "projectId": "p", **values}


def rows(
    table: Table, *answers: Any, keys: MetadataKeys | None = None, scope: Scope | None = None
) -> list[dict[str, Any]]:
    page, _ = Rows("p", keys or MetadataKeys(), scope or Scope({}, NOW)).page(table, answers)
    found: list[dict[str, Any]] = page.to_pylist()
    return found


def row(table: Table, answer: Any, keys: MetadataKeys | None = None) -> dict[str, Any]:
    (only,) = rows(table, answer, keys=keys)
    return only


# Rows


def test_an_observation_of_the_cursor_becomes_a_row() -> None:
    made = row(
        OBSERVATIONS,
        observation(
            "o1",
            type="GENERATION",
            model="claude",
            endTime="2026-03-01T10:00:05.5Z",
            completionStartTime="2026-03-01T10:00:00.25Z",
            updatedAt="2026-03-01T10:01:00Z",
            usageDetails={
                "input": 10,
                "input_cached_tokens": 5,
                "output": 3,
                "output_reasoning_tokens": 2,
                "total": 20,
            },
            costDetails={"input": 0.1, "total": 0.30000000000000004},
            totalCost=0.3,
            metadata={"ticket": "AB-1", "attempt": 2},
            tags=["stage:plan"],
            promptVersion=2,
        ),
    )
    assert (made["input_tokens"], made["output_tokens"], made["total_tokens"]) == (15, 5, 20)
    assert (made["cached_input_tokens"], made["reasoning_tokens"]) == (5, 2)
    assert made["total_cost"] == Decimal("0.3")
    assert made["created_at"] == made["start_time"] == START
    assert (made["latency_seconds"], made["time_to_first_token_seconds"]) == (5.5, 0.25)
    assert orjson.loads(made["metadata"]) == {"ticket": "AB-1", "attempt": 2}
    assert [made[n] for n in ("ticket", "stage", "repository", "event", "attempt")] == ["AB-1", "plan", None, None, 2]


def test_an_observation_of_the_pages_becomes_a_row() -> None:
    given = {**observation("o1"), "projectId": None, "calculatedTotalCost": 0.25, "metadata": None}
    made = row(OBSERVATIONS, given)
    assert (made["project_id"], made["total_cost"], made["metadata"]) == ("p", Decimal("0.25"), "{}")
    assert (made["input_tokens"], made["tags"], made["latency_seconds"]) == (None, "[]", None)
    assert orjson.loads(made["cost_details"]) == {"total": 0.25}
    older = row(OBSERVATIONS, observation("o2", usage={"input": 3, "output": 4, "total": 7, "unit": "TOKENS"}))
    assert (older["input_tokens"], older["total_tokens"]) == (3, 7)


def test_odd_values_lose_no_row() -> None:
    odd = observation(
        "o1", name=17, version=3, model={"a": 1}, promptVersion="4", totalCost="0.000000000001",
        endTime="2026-03-01T12:00:00",
        usageDetails={"input": "12", "output": None, "total": 12.0}, metadata='{"stage": "plan"}', tags=None,
    )  # fmt: skip
    made = row(OBSERVATIONS, odd)
    assert (made["name"], made["model"], made["prompt_version"]) == ("17", '{"a":1}', 4)
    assert (made["total_cost"], made["end_time"]) == (Decimal("1e-12"), NOW)
    assert (made["input_tokens"], made["output_tokens"], made["stage"]) == (12, None, "plan")


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ({"startTime": "soon"}, "updated_at"),
        ({"id": None}, "id"),
        ({"endTime": "never"}, "end_time"),
        ({"promptVersion": "new"}, "prompt_version"),
        ({"totalCost": "much"}, "total_cost"),
    ],
)
def test_what_does_not_fit_is_set_aside_and_the_rest_of_its_page_is_not(wrong: dict[str, Any], column: str) -> None:
    scope = Scope({}, NOW)
    answers: list[Any] = [observation(f"o{n}") for n in range(100)]
    answers[37] = {**answers[37], **wrong}
    page, fitting = Rows("p", MetadataKeys(), scope).page(OBSERVATIONS, answers)
    assert page.column("id").to_pylist() == [f"o{n}" for n in range(100) if n != 37] == [a["id"] for a in fitting]
    (misfit,) = scope.misfits
    assert (misfit.table, misfit.column, orjson.loads(misfit.payload)) == ("observations", column, answers[37])


def test_an_answer_that_is_no_object_is_set_aside() -> None:
    scope = Scope({}, NOW)
    assert len(rows(OBSERVATIONS, observation("a"), None, "x", observation("b"), scope=scope)) == 2
    assert [misfit.payload for misfit in scope.misfits] == ["null", '"x"']


def test_amounts_are_of_the_decimal_text_however_large() -> None:
    given = [0.1 + 0.2, 1e-12, 999.999999999999, 0, None, -3.5]
    made = amounts(given)
    assert isinstance(made, pa.Array)
    assert made.to_pylist() == [money(value) for value in given]
    assert amounts([12345.678, "1.5", "dear"]) == [Decimal("12345.678"), Decimal("1.5"), "dear"]


def test_times_of_any_precision_and_zone() -> None:
    assert moments([T0, "2026-03-01T12:00:00.000000+02:00", None]).to_pylist() == [START, START, None]
    assert moments([T0, "2026-03-01T10:00:00", "2026-03-01T10:00:00.123456789Z", "", "soon"]) == [
        START, START, START.replace(microsecond=123456), None, "soon",
    ]  # fmt: skip


def test_tokens_by_kind() -> None:
    assert token_counts({}) == (None,) * 5
    assert token_counts({"input": 1, "output": 2}) == (1, 2, 3, None, None)
    assert token_counts({"output_reasoning_tokens": 4, "output": 2, "total": 9}) == (None, 6, 9, None, 4)
    assert token_counts({"cache_read": 7, "cache_creation_input_tokens": 5}) == (None, None, 12, 7, None)


def test_a_listed_trace_becomes_a_row() -> None:
    trace = {"id": "t1", "timestamp": T0, "tags": ["stage:plan", "ticket: "], "metadata": {"ticket": "AB-1"},
             "totalCost": -1, "latency": -1, "sessionId": "AB-1", "updatedAt": "2026-03-02T00:00:00Z"}  # fmt: skip
    made = row(TRACES, trace)
    assert (made["total_cost"], made["latency_seconds"], made["session_id"]) == (None, None, "AB-1")
    assert (made["ticket"], made["stage"]) == ("AB-1", "plan")
    assert row(TRACES, {**trace, "totalCost": 0, "latency": 1.5})["total_cost"] == 0


@pytest.mark.parametrize(
    ("metadata", "tags", "found"),
    [
        ({"ticket": " AB-1 "}, [], "AB-1"),
        ({"ticket": '"AB-1"'}, [], "AB-1"),
        ({"ticket": 7}, [], "7"),
        ({"ticket": ["AB-1"]}, [], '["AB-1"]'),
        ({"ticket": "", "issue": "AB-2"}, [], "AB-2"),
        ({"issue": "AB-2", "ticket": "AB-1"}, ["ticket:AB-3"], "AB-1"),
        ({"forge": {"key": "AB-1"}}, [], "AB-1"),
        ({"forge": '{"key": "AB-1"}'}, [], "AB-1"),
        ({"attributes": {"langfuse.trace.metadata.ticket": "AB-1"}}, [], "AB-1"),
        ({"attributes": '{"ticket": "AB-1"}'}, [], "AB-1"),
        ({"other": 1}, ["x", "ticket:", "ticket:AB-3", "ticket:AB-4"], "AB-3"),
        ({"ticket": None}, [None, 5], None),
        ({"attributes": '{"ticket": "AB'}, [], None),
    ],
)
def test_what_forge_says_is_lifted_out_of_metadata_else_tags(metadata: Any, tags: Any, found: str | None) -> None:
    assert lifted(metadata, tags, ["ticket", "issue", "forge.key"], "ticket:") == found


def test_keys_are_the_specs_and_are_asked_for_in_full() -> None:
    spec = source(metadataKeys={"ticket": ["forge.ticket", "issue"]})
    assert expanded(spec) == ["forge.ticket", "forge", "issue", "stage", "repo", "event", "attempt"]
    made = row(TRACES, {"id": "t", "timestamp": T0, "metadata": {"issue": "AB-1"}}, spec.metadata_keys)
    assert made["ticket"] == "AB-1"


def score(**values: object) -> dict[str, Any]:
    return {"id": "s", "name": "n", "timestamp": T0, "updatedAt": T0, "createdAt": T0, "source": "API", **values}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dataType": "NUMERIC", "value": 0.5}, (0.5, None)),
        ({"dataType": "BOOLEAN", "value": True}, (1.0, "True")),
        ({"dataType": "BOOLEAN", "value": 0, "stringValue": "False"}, (0.0, "False")),
        ({"dataType": "CATEGORICAL", "value": "good"}, (None, "good")),
        ({"dataType": "CATEGORICAL", "value": 0, "stringValue": "good"}, (None, "good")),
        ({"dataType": "TEXT", "value": "because"}, (None, "because")),
        ({"value": 1}, (1.0, None)),
    ],
)
def test_scores_of_every_kind_and_api(given: dict[str, Any], expected: tuple[Any, Any]) -> None:
    made = row(SCORES, score(**given))
    assert (made["value"], made["string_value"]) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"kind": "trace", "id": "t"}, ("t", None, None)),
        ({"kind": "observation", "id": "o", "traceId": "t"}, ("t", "o", None)),
        ({"kind": "session", "id": "x"}, (None, None, "x")),
        ({"kind": "experiment", "id": "e"}, (None, None, None)),
    ],
)
def test_the_subject_of_a_score(subject: dict[str, Any], expected: tuple[Any, ...]) -> None:
    given = score(
        value=1, subject=subject, details={"comment": "c", "metadata": {"a": 1}}, annotation={"authorUserId": "u"}
    )
    made = row(SCORES, given)
    assert (made["trace_id"], made["observation_id"], made["session_id"]) == expected
    assert (made["comment"], made["metadata"], made["author_user_id"]) == ("c", '{"a":1}', "u")


def test_a_listed_session_becomes_a_row() -> None:
    made = row(SESSIONS, {"id": "AB-1", "createdAt": T0, "environment": "production"})
    assert made == {"project_id": "p", "id": "AB-1", "loaded_at": NOW, "created_at": START, "environment": "production"}


# Traces and sessions of observations


def add(groups: Groups, *answers: dict[str, Any]) -> None:
    page, fitting = Rows("p", MetadataKeys(), Scope({}, NOW)).page(OBSERVATIONS, answers)
    groups.add(page, fitting)


def given(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TRACES.page(made).to_pylist()
    return found


def test_a_trace_is_grouped_once_the_pages_are_past_its_root() -> None:
    groups = Groups()
    child = observation("c", parentObservationId="r", startTime="2026-03-01T10:00:01Z", totalCost=0.5, userId="u",
                        endTime="2026-03-01T10:00:09Z", updatedAt="2026-03-01T11:00:00Z")  # fmt: skip
    add(groups, child)
    root = observation("r", traceName="implement AB-1", sessionId="AB-1", tags=["x"], metadata={"ticket": "AB-1"},
                       totalCost=0.5, endTime="2026-03-01T10:00:08Z", version="2")  # fmt: skip
    add(groups, root)
    assert groups.take(START) == [], "another observation may have started with the root"
    (made,) = given(groups.take(START - timedelta(milliseconds=1)))
    assert (made["id"], made["name"], made["session_id"], made["user_id"]) == ("t1", "implement AB-1", "AB-1", "u")
    assert (made["ticket"], made["tags"], made["version"], made["timestamp"]) == ("AB-1", '["x"]', "2", START)
    assert made["total_cost"] == Decimal("0.5"), "the root repeats its child's cost"
    assert made["latency_seconds"] == 9.0
    assert made["updated_at"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert groups.rest(START) == ([], {})
    add(groups, observation("d", parentObservationId="r", totalCost=0.25))
    (again,) = given(groups.rest(START)[0])
    assert again["total_cost"] == Decimal("0.75"), "a later window brought more"


def test_groups_of_long_ago_are_forgotten_and_rootless_ones_are_told() -> None:
    groups = Groups()
    add(groups, observation("r"), observation("c", traceId="t2", parentObservationId="elsewhere"))
    made, orphans = groups.rest(NOW + timedelta(days=1))
    assert [row["id"] for row in made] == ["t1"]
    assert orphans == {"t2": {"c": micros(START)}}
    assert groups.groups == {}


def test_a_marked_root_may_have_a_parent() -> None:
    groups = Groups()
    add(groups, observation("r", parentObservationId="elsewhere", isRootObservation=True))
    assert len(groups.rest(NOW)[0]) == 1


def test_pages_out_of_order_make_the_same_trace() -> None:
    answers = [observation("r", totalCost=0)] + [
        observation(f"c{n}", parentObservationId="r", startTime=f"2026-03-01T10:00:0{n}Z", totalCost=0.1)
        for n in range(1, 9)
    ]
    made = []
    for order in (answers, answers[::-1], answers[4:] + answers[:4] + answers[:2]):
        groups = Groups()
        for answer in order:
            add(groups, answer)
        made.append(groups.rest(NOW)[0])
    assert made[0] == made[1] == made[2]


def test_costs_of_leaves() -> None:
    assert leaf_cost({"b": ("a", 10**12), "a": (None, 0)}) == 1
    assert leaf_cost({"b": ("a", 1), "c": ("a", 2), "a": (None, 3)}) == Decimal("3e-12")
    assert leaf_cost({}) == 0


def test_a_session_begins_with_the_first_that_names_it() -> None:
    sessions = Sessions()
    answers = [
        observation("b", sessionId="S", createdAt="2026-03-01T11:00:00Z"),
        observation("a", sessionId="S", environment="e"),
    ]
    page, fitting = Rows("p", MetadataKeys(), Scope({}, NOW)).page(OBSERVATIONS, [*answers, observation("c")])
    sessions.add(page, fitting)
    assert sessions.take() == {"S": (micros(START), "e")}
    assert sessions.take() == {}


# Windows


def never(before: datetime) -> bool:
    return False


def test_a_load_goes_on_from_an_overlap_before_what_is_loaded() -> None:
    known = NOW - timedelta(days=2)
    spec = source(overlap="24h", lag="15m")
    for mark in (Mark(seen=known, read=NOW, whole=True, deep=NOW - timedelta(hours=1)), Mark(seen=NOW, read=known)):
        mark = begun(mark, NOW)
        assert bounds(spec, NOW, mark, never) == (known - timedelta(days=1), NOW - timedelta(minutes=15))
    since = NOW - timedelta(hours=1)
    assert bounds(source(since=since), NOW, mark, never)[0] == since


def test_once_a_day_a_load_reaches_back_a_week_and_goes_on_after_a_crash() -> None:
    spec = source(lag="0s")
    old = Mark(seen=NOW, read=NOW, whole=True, deep=NOW - timedelta(days=1))
    deep = begun(old, NOW)
    assert bounds(spec, NOW, deep, never) == (NOW - REREAD_BACK, NOW)
    broken = deep.after(NOW - timedelta(days=4), 10, None, last=False)
    resumed = begun(broken, NOW + timedelta(minutes=5))
    assert bounds(spec, NOW, resumed, never)[0] == NOW - timedelta(days=5), "not from the beginning of the week again"
    assert broken.furthest == NOW - timedelta(days=4)
    whole = resumed.after(NOW, 10, None, last=True)
    assert begun(whole, NOW + timedelta(hours=20)) == whole
    assert begun(whole, NOW + timedelta(hours=24)).deep == NOW + timedelta(hours=24)


def test_what_is_covered_does_not_go_back() -> None:
    mark = Mark().after(NOW, 5, NOW, last=True).after(NOW - timedelta(days=3), 5, NOW - timedelta(days=4), last=False)
    assert (mark.furthest, mark.seen, mark.read) == (NOW, NOW, NOW - timedelta(days=3))


def test_a_mark_survives_the_state() -> None:
    for mark in (Mark(), Mark(NOW, NOW, True, timedelta(hours=3), NOW, NOW), Mark(None, NOW)):
        assert Mark.read_from(orjson.loads(orjson.dumps(mark.write()))) == mark


def test_a_first_load_finds_the_oldest_row_and_reads_from_there() -> None:
    first = NOW - timedelta(days=100)
    start, end = bounds(source(), NOW, Mark(), lambda before: first < before)
    assert first - GRAIN <= start <= first and end == NOW - timedelta(minutes=15)


def test_an_empty_project_is_not_read_but_looked_at_each_time() -> None:
    start, end = bounds(source(), NOW, Mark(), never)
    assert start == end
    mark = nothing_until(Mark(), end)
    assert mark.whole and mark.furthest == end
    assert bounds(source(), NOW, begun(mark, NOW), lambda before: before > START)[0] < START


def test_windows_fit_what_they_bring() -> None:
    assert fitted(FIRST_WIDTH, 0) == FIRST_WIDTH * 4
    assert fitted(FIRST_WIDTH, ROWS_A_WINDOW) == FIRST_WIDTH
    assert fitted(FIRST_WIDTH, ROWS_A_WINDOW * 10) == FIRST_WIDTH / 10
    assert fitted(MOST_WIDTH, 0) == MOST_WIDTH
    mark = Mark(width=timedelta(hours=6))
    assert mark.after(NOW, 1, None, last=True).width == mark.width, "the last window is not a full one"
    assert mark.after(NOW, ROWS_A_WINDOW * 2, None, last=True).width == timedelta(hours=3)


# Conditions


def test_ids_are_quoted_and_asked_for_in_parts() -> None:
    assert texts_in("id", ["a'b\\c", "d"]) == "id in ('a\\'b\\\\c', 'd')"
    asked: list[str] = []

    def stored(table: Table, columns: Any, where: str = "") -> pa.Table:
        asked.append(where)
        return pa.table({"id": [str(len(asked))]})

    found = stored_among(Scope({}, NOW, stored=stored), TRACES, ["id"], "id", [str(n) for n in range(4500)])
    assert found.column("id").to_pylist() == ["1", "2", "3"] and "'4499'" in asked[-1]
    assert stored_among(Scope({}, NOW), TRACES, ["id"], "id", []).num_rows == 0
