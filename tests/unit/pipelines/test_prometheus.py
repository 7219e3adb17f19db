"""Prometheus: aligned windows within the server's limit, and rows from a matrix."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.prometheus import (
    PARTIAL,
    POINTS,
    SAMPLES_A_CALL,
    Metadata,
    bounds,
    connect,
    described,
    fingerprint,
    identity,
    is_too_heavy,
    matrix,
    next_steps,
    note,
    pages,
    to_rows,
)
from forge_pipelines.tables import Misfit
from forge_stack.model import PrometheusSource
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def source(**values: object) -> PrometheusSource:
    return PrometheusSource.model_validate({"url": "http://prometheus:9090", **values})


def scope(**values: object) -> Scope:
    return Scope(**{"state": {}, "now": NOW, **values})  # type: ignore[arg-type]


@given(
    step=st.integers(1, 600),
    back=st.integers(0, 90 * 24),
    known=st.none() | st.integers(0, 60 * 24).map(lambda m: NOW - timedelta(minutes=m)),
)
def test_both_ends_are_steps_and_the_last_is_a_lag_before_now(step: int, back: int, known: datetime | None) -> None:
    spec = source(step=f"{step}s", backfill=f"{back}h", overlap="15m", lag="1m")
    start, end = bounds(spec, scope(), known)
    assert int(start.timestamp()) % step == 0 == int(end.timestamp()) % step
    assert start <= end
    assert NOW - timedelta(minutes=1) - timedelta(seconds=step) < end <= NOW - timedelta(minutes=1)


def test_a_backfill_reads_exactly_its_window() -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    found = bounds(source(step="60s"), scope(window=(day, day + timedelta(days=1))), None)
    assert found == (day, day + timedelta(hours=23, minutes=59))
    late = day + timedelta(seconds=30)
    minute = day + timedelta(minutes=1)
    assert bounds(source(step="60s"), scope(window=(late, late + timedelta(minutes=1))), None) == (minute, minute)


def test_the_overlap_never_crosses_since() -> None:
    since = NOW - timedelta(minutes=10)
    start, _ = bounds(source(since=since, overlap="1h"), scope(), NOW - timedelta(minutes=5))
    assert start == datetime(2026, 3, 1, 11, 50, tzinfo=UTC)


@given(st.integers(0, 10**7))
def test_a_call_brings_as_many_samples_as_memory_bears(series: int) -> None:
    steps = next_steps(series)
    assert 1 <= steps <= POINTS
    assert steps == 1 or steps * series <= SAMPLES_A_CALL


def test_a_step_of_nothing_is_refused_by_the_resource() -> None:
    with pytest.raises(ValidationError, match="step is zero"):
        source(step="0s")


def test_another_expression_is_another_cursor() -> None:
    one, two = (source(queries=[{"name": "q", "expr": expr}]) for expr in ("up", "down"))
    assert identity(one.queries[0], one) != identity(two.queries[0], two)


MATRIX = [
    {"metric": {"__name__": "up", "job": "b", "a": "ü"}, "values": [[1767225600, "1"], [1767225660.5, "0.5"]]},
    {"metric": {"__name__": "up", "job": "gone"}, "values": [[1767225600, "NaN"], [1767225660, "+Inf"]]},
    {"metric": {}, "values": [[1767225600, "-1e3"], [1767225660, "NaN"]]},
]


def test_rows_of_a_matrix() -> None:
    page = to_rows("q", MATRIX, NOW)
    series, samples = (page.rows[name].to_pylist() for name in ("series", "samples"))
    assert [(s["metric"], s["labels"], s["last_seen_at"]) for s in series] == [
        ("up", '{"a":"ü","job":"b"}', datetime(2026, 1, 1, 0, 1, 0, 500000, tzinfo=UTC)),
        ("", "{}", datetime(2026, 1, 1, tzinfo=UTC)),
    ]
    first, last = (s["fingerprint"] for s in series)
    assert [(s["fingerprint"], s["sampled_at"].isoformat(), s["value"]) for s in samples] == [
        (first, "2026-01-01T00:00:00+00:00", 1.0),
        (first, "2026-01-01T00:01:00.500000+00:00", 0.5),
        (last, "2026-01-01T00:00:00+00:00", -1000.0),
    ]
    assert {s["loaded_at"] for s in samples} == {NOW}
    assert page.newest == datetime(2026, 1, 1, 0, 1, 0, 500000, tzinfo=UTC)


def test_nothing_finite_is_no_page() -> None:
    assert to_rows("q", MATRIX[1:2], NOW).rows == {}


def test_native_histograms_are_left_out() -> None:
    mixed = [{"metric": {"__name__": "h"}, "histograms": [[1767225600, {"count": "1", "sum": "2"}]]}, *MATRIX]
    assert to_rows("q", mixed, NOW).rows["samples"].equals(to_rows("q", MATRIX, NOW).rows["samples"])


def test_a_fingerprint_is_of_query_and_sorted_labels() -> None:
    one = fingerprint("q", {"a": "1", "b": "2"})
    assert one == fingerprint("q", {"b": "2", "a": "1"}) and len(one) == 32
    assert len({one, fingerprint("p", {"a": "1", "b": "2"}), fingerprint("q", {"a": "1", "b": "3"})}) == 3


def test_what_is_no_matrix_is_refused() -> None:
    for answer in ({}, [], {"status": "success", "data": {"resultType": "scalar", "result": []}}):
        with pytest.raises(LoadError, match="no matrix"):
            matrix(answer, "query 'q'")


def test_credentials() -> None:
    secret = source(credentialsSecretRef={"name": "s"})
    assert connect(source(), Credentials("p", {})).headers == {}
    assert connect(secret, Credentials("p", {"token": "t"})).headers == {"Authorization": "Bearer t"}
    assert connect(secret, Credentials("p", {"username": "u", "password": "p"})).basic == ("u", "p")
    with pytest.raises(LoadError, match="'username'"):
        connect(secret, Credentials("p", {}))


def test_a_tenant_is_named_in_every_request_beside_any_credentials() -> None:
    shared = {"tenant": "team a|team b", "credentialsSecretRef": {"name": "s"}}
    assert connect(source(tenant="one"), Credentials("p", {})).headers == {"X-Scope-OrgID": "one"}
    assert connect(source(**shared), Credentials("p", {"token": "t"})).headers == {
        "X-Scope-OrgID": "team a|team b",
        "Authorization": "Bearer t",
    }
    assert connect(source(**shared), Credentials("p", {"username": "u", "password": "p"})).headers == {
        "X-Scope-OrgID": "team a|team b"
    }


def test_unreadable_series_are_set_aside_and_the_others_kept() -> None:
    misfits: list[Misfit] = []
    broken: list[Any] = [
        None,
        {"metric": None},
        {"metric": {"a": "b"}, "values": [[1767225600, "one"]]},
        {"values": []},
    ]
    found = to_rows("q", [*broken, *MATRIX], NOW, misfits=misfits)
    assert found.rows["samples"].equals(to_rows("q", MATRIX, NOW).rows["samples"])
    assert [m.table for m in misfits] == ["series"] * 4 and '"one"' in misfits[2].payload


class Told:
    """A server of scripted answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), 0

    def _next(self) -> Any:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    def get(self, path: str, *, what: str) -> Any:
        assert path == "/api/v1/metadata"
        return self._next()

    def send(self, method: str, path: str, *, form: Any, what: str) -> Any:
        assert (method, path) == ("POST", "/api/v1/query_range")
        return self._next()


FAMILIES = {
    "forge_runs": [{"type": "counter", "help": "Runs.", "unit": ""}],
    "forge_wait_seconds": [
        {"type": "histogram", "help": "", "unit": "seconds"},
        {"type": "histogram", "help": "Wait."},
    ],
    "up": [{"type": "gauge", "help": "a"}, {"type": "counter", "help": "b"}],
    "odd": "text",
}
NOTHING = {"metric_type": None, "unit": None, "help": None}


def test_metadata_is_found_by_the_family_of_a_series_and_asked_for_once() -> None:
    server: Any = Told({"status": "success", "data": FAMILIES})
    metadata = Metadata(server)
    assert metadata.of("forge_runs_total") == {"metric_type": "counter", "unit": None, "help": "Runs."}
    for part in ("", "_bucket", "_sum", "_count"):
        found = metadata.of(f"forge_wait_seconds{part}")
        assert found == {"metric_type": "histogram", "unit": "seconds", "help": "Wait."}
    assert metadata.of("up") == {"metric_type": None, "unit": None, "help": "a"}, "targets differ"
    assert metadata.of("unheard_of") == NOTHING == metadata.of("odd") == described([{"type": "unknown"}])
    assert server.asked == 1


@pytest.mark.parametrize(
    "answer",
    [
        LoadError("NotFound", "404"),
        LoadError("Forbidden", "403"),
        {"status": "success", "data": {}},
        {"status": "success", "data": None},
        {"status": "success"},
        [],
        None,
    ],
)
def test_a_server_without_metadata_costs_these_columns_alone(answer: Any) -> None:
    server: Any = Told(answer)
    metadata = Metadata(server)
    page = to_rows("q", MATRIX, NOW, metadata.of)
    assert page.rows["samples"].num_rows == 3 and server.asked == 1
    assert page.rows["series"].column("metric_type").null_count == 2


def test_a_server_that_went_away_before_the_metadata_fails_the_load() -> None:
    server: Any = Told(LoadError("Unreachable", "gone"))
    with pytest.raises(LoadError, match="gone"):
        Metadata(server).of("up")


@pytest.mark.parametrize(
    ("beside", "whole", "told"),
    [
        ({}, True, []),
        ({"isPartial": False}, True, []),
        ({"isPartial": True}, False, ["calls its answer partial"]),
        ({"warnings": ["No StoreAPIs matched for this query"]}, False, ["No StoreAPIs", "asks for it again"]),
        ({"warnings": ["PromQL warning: bucket label 'le' is missing"]}, True, ["bucket label"]),
        ({"warnings": ["results truncated due to limit"]}, True, ["truncated"]),
        ({"infos": ["PromQL info: metric might not be a counter"]}, True, ["might not be a counter"]),
    ],
)
def test_what_the_server_says_beside_the_result_is_passed_on(beside: Any, whole: bool, told: list[str]) -> None:
    heard: list[str] = []
    answer = {"status": "success", "data": {"resultType": "matrix", "result": []}, **beside}
    query = source(queries=[{"name": "q", "expr": "up"}]).queries[0]
    assert note(scope(warn=heard.append), query, answer) is whole
    assert len(heard) == bool(told) and all(text in heard[0] for text in told)


def test_a_partial_answer_is_kept_and_asked_for_again_for_a_day() -> None:
    since, minutes = NOW - timedelta(minutes=30), [NOW.timestamp() // 60 * 60 - 60 * n for n in range(20, 1, -1)]
    spec = source(since=since, overlap="0s", queries=[{"name": "q", "expr": "up"}])
    result = [{"metric": {"a": "b"}, "values": [[at, "1"] for at in minutes]}]
    whole = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    first = list(pages(spec, Told({**whole, "isPartial": True}), scope()))  # type: ignore[arg-type]
    assert first[0].rows["samples"].num_rows == len(minutes)
    state = first[-1].state or {}
    assert bounds(spec, scope(), datetime.fromisoformat(*state["queries"].values()))[0] == since.replace(second=0)
    again = list(pages(spec, Told(whole), scope(state=state)))  # type: ignore[arg-type]
    known = datetime.fromisoformat(*(again[-1].state or {})["queries"].values())
    assert known.timestamp() == minutes[-1]
    later = scope(state=again[-1].state, now=NOW + 3 * PARTIAL)
    lost = list(pages(spec, Told({**whole, "isPartial": True}), later))  # type: ignore[arg-type]
    known = datetime.fromisoformat(*(lost[-1].state or {})["queries"].values())
    assert known == (NOW + 2 * PARTIAL).replace(second=0) - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("reason", "text", "heavy"),
    [
        ("Unreachable", "did not answer", True),
        ("InvalidConfiguration", "query processing would load too many samples into memory in query execution", True),
        (
            "InvalidConfiguration",
            "the query exceeded the maximum number of chunks (err-mimir-max-chunks-per-query)",
            True,
        ),
        ("InvalidConfiguration", "the query time range exceeds the limit (err-mimir-max-total-query-length)", True),
        ("BadResponse", "answers 503 to query 'limit' (it said \"query timed out in expression evaluation\")", True),
        ("BadResponse", "answers 504 to query 'limit' (it said \"an HTML page\")", True),
        ("InvalidConfiguration", "query 'limit': 1:4: parse error: unclosed left parenthesis", False),
        ("Unauthorized", "refuses the credentials (401) for query 'limit'", False),
    ],
)
def test_what_a_shorter_span_may_cure(reason: Any, text: str, heavy: bool) -> None:
    assert is_too_heavy(LoadError(reason, text), "limit") is heavy
