"""Prometheus against a server that refuses what is too much, warns, and has series of any age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from forge_pipelines.answers import Patience
from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Page, Scope, prometheus
from forge_stack.model import PrometheusSource

FAST = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def api(url: str, **values: Any) -> Api:
    return Api(url, {"Authorization": "Bearer t0p-s3cret"}, patience=FAST, **values)


def rows(pages: list[Page], table: str) -> list[dict[str, Any]]:
    return [row for page in pages if table in page.rows for row in page.rows[table].to_pylist()]


def reply(**values: Any) -> Any:
    """An answer of the script; the fields are those of conftest's Reply."""
    return SimpleNamespace(**{"body": None, "status": 200, "headers": {}, "cut": False, "drop": False, **values})


# Prometheus


def test_prometheus_reads_long_spans_in_parts_and_a_bad_query_is_named(scripted: Any) -> None:
    heavy = [1]

    def script(call: Any) -> Any:
        if call.path == "/api/v1/metadata":
            return reply(body={"status": "success", "data": {"up": [{"type": "gauge", "help": "Up.", "unit": ""}]}})
        start, end, step = (int(call.body[name]) for name in ("start", "end", "step"))
        assert (end - start) / step < 11_000
        if (end - start) / step > 5_000 and heavy:
            heavy.pop()
            return reply(status=422, body={"status": "error", "error": "query would load too many samples into memory"})
        values = [[t, "1"] for t in range(start, end + 1, step)]
        result = [{"metric": {"__name__": "up"}, "values": values}]
        return reply(body={"status": "success", "data": {"resultType": "matrix", "result": result}, "warnings": ["w"]})

    scripted.script = script
    spec = PrometheusSource.model_validate({"url": scripted.url, "step": "60s", "backfill": "20d"})
    warnings: list[str] = []
    found = list(prometheus.pages(spec, api(spec.url), Scope({}, NOW, warn=warnings.append)))
    times = [r["sampled_at"] for r in rows(found, "samples")]
    assert len(times) == len(set(times)) == 20 * 1440 + 1 and len(scripted.calls) == 7
    assert {(r["metric_type"], r["unit"], r["help"]) for r in rows(found, "series")} == {("gauge", None, "Up.")}
    assert "w" in warnings[0]
    scripted.replies(reply(status=400, body={"status": "error", "errorType": "bad_data", "error": "parse error"}))
    with pytest.raises(LoadError, match=r"prometheus.queries 'forge'.*parse error") as error:
        list(prometheus.pages(spec, api(spec.url), Scope({}, NOW)))
    assert error.value.reason == "InvalidConfiguration"


def test_prometheus_asks_for_little_until_it_knows_how_many_series_there_are(scripted: Any) -> None:
    born = NOW - timedelta(days=3)
    counts: list[int] = []

    def script(call: Any) -> Any:
        times = range(int(call.body["start"]), int(call.body["end"]) + 1, int(call.body["step"]))
        values = [[t, "1"] for t in times if t >= born.timestamp()]
        series = [{"metric": {"n": str(n)}, "values": values} for n in range(100)] if values else []
        counts.append(len(times) * 100)
        return reply(body={"status": "success", "data": {"resultType": "matrix", "result": series}})

    scripted.script = script
    spec = PrometheusSource.model_validate({"url": scripted.url, "step": "60s", "backfill": "30d"})
    found = list(prometheus.pages(spec, api(spec.url), Scope({}, NOW)))
    assert sum(page.rows["samples"].num_rows for page in found if page.rows) == 100 * 3 * 1440
    assert max(counts) <= prometheus.SAMPLES_A_CALL
