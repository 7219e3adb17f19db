"""Prometheus: aligned windows within the server's limit, and rows from a matrix."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.prometheus import POINTS, connect, fingerprint, identity, matrix, to_rows, windows
from forge_stack.model import PrometheusSource
from hypothesis import given
from hypothesis import strategies as st

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
def test_windows_tile_on_aligned_steps_within_the_limit(step: int, back: int, known: datetime | None) -> None:
    spec = source(step=f"{step}s", backfill=f"{back}h", overlap="15m", lag="1m")
    found = windows(spec, scope(), known)
    for start, end in found:
        assert int(start.timestamp()) % step == 0 == int(end.timestamp()) % step
        assert (end - start).total_seconds() / step < POINTS
    assert all(right[0] - left[1] == timedelta(seconds=step) for left, right in pairwise(found))
    if found:
        assert NOW - timedelta(minutes=1) - timedelta(seconds=step) < found[-1][1] <= NOW - timedelta(minutes=1)


def test_a_backfill_reads_exactly_its_window() -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    found = windows(source(step="60s"), scope(window=(day, day + timedelta(days=1))), None)
    assert found == [(day, day + timedelta(hours=23, minutes=59))]
    late = day + timedelta(seconds=30)
    assert windows(source(step="60s"), scope(window=(late, late + timedelta(minutes=1))), None) == [
        (day + timedelta(minutes=1), day + timedelta(minutes=1))
    ]


def test_the_overlap_never_crosses_since() -> None:
    since = NOW - timedelta(minutes=10)
    found = windows(source(since=since, overlap="1h"), scope(), NOW - timedelta(minutes=5))
    assert found[0][0] == datetime(2026, 3, 1, 11, 50, tzinfo=UTC)


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
