"""Prometheus: aligned windows within the server's limit, and rows from a matrix."""

from datetime import UTC, datetime, timedelta

import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.prometheus import (
    POINTS,
    SAMPLES_A_CALL,
    bounds,
    connect,
    fingerprint,
    identity,
    matrix,
    next_steps,
    to_rows,
)
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
