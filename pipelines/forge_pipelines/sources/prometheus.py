"""Prometheus: the chosen expressions, evaluated at aligned steps, into series and samples.

One query_range per expression and span of at most 11,000 steps ("HTTP API", Prometheus documentation). Steps are
aligned to the epoch, so that windows tile and a repeated window gives the same keys. Samples that are not finite (NaN,
Inf) are left out: a gap says the same and can be averaged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import seconds
from forge_stack.model import PrometheusQuery, PrometheusSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.tables import JSON, MOMENT, NUMBER, TEXT, Table, iso, json_text, moment, required
from forge_pipelines.windows import floor

POINTS = 11_000
"""Steps a call at most: the server refuses (end - start) / step beyond it."""
FIRST_STEPS = 1_000
"""Steps of a load's first call, which tells how many series there are."""
SAMPLES_A_CALL = 250_000
"""What a call may bring: parsed, that is some 50 MB."""
LATE = timedelta(days=31)
"""How far back a load looks for samples that came late."""

SERIES = Table(
    name="series",
    schema=pa.schema(
        [
            required("fingerprint", TEXT),
            required("last_seen_at", MOMENT),
            required("query", TEXT),
            required("metric", TEXT),
            required("labels", JSON),
        ]
    ),
    key=("fingerprint",),
    version="last_seen_at",
)
SAMPLES = Table(
    name="samples",
    schema=pa.schema(
        [
            required("fingerprint", TEXT),
            required("sampled_at", MOMENT),
            required("loaded_at", MOMENT),
            required("value", NUMBER),
        ]
    ),
    key=("fingerprint", "sampled_at"),
    version="loaded_at",
)
TABLES = (SERIES, SAMPLES)


def connect(spec: PrometheusSource, credentials: Credentials) -> Api:
    """Bearer by `token`, basic by `username` and `password`, open without either."""
    if spec.credentials_secret_ref is None:
        return Api(spec.url, {})
    if token := credentials.get("token"):
        return Api(spec.url, {"Authorization": f"Bearer {token}"})
    return Api(spec.url, {}, basic=(credentials.require("username"), credentials.require("password")))


def pages(spec: PrometheusSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Query by query, span by span.

    The state holds, a query, the newest sample: the next load goes on from there, so that samples which a server gets
    late are met, be it by days; a query that gives nothing is asked about the last LATE again.
    """
    step = timedelta(seconds=seconds(spec.step))
    kept: Mapping[str, str] = scope.state.get("queries", {})
    state = {key: kept[key] for key in (identity(query, spec) for query in spec.queries) if key in kept}
    read: dict[str, datetime] = {}
    for query in spec.queries:
        key = identity(query, spec)
        start, end = bounds(spec, scope, moment(state.get(key)))
        steps = FIRST_STEPS
        while start <= end:
            stop = min(start + (steps - 1) * step, end)
            try:
                page = read_span(api, scope, query, start, stop, step)
            except LoadError as error:
                if steps == 1 or not is_too_heavy(error):
                    raise
                steps = max(steps // 4, 1)
                continue
            seen = max(filter(None, (moment(state.get(key)), page.newest, stop - LATE)))
            state[key], read[key] = iso(seen), stop
            covered = min(read.values()) if len(read) == len(spec.queries) else None
            yield Page(page.rows, {"queries": dict(state)}, covered, page.newest)
            # An empty span tells nothing of the next one, which may have every series there is.
            steps = next_steps(page.rows["series"].num_rows) if page.rows else FIRST_STEPS
            start = stop + step


def next_steps(series: int) -> int:
    """How many steps to ask for next, after so many series: as many samples a call as memory bears."""
    return min(max(SAMPLES_A_CALL // max(series, 1), 1), POINTS)


def is_too_heavy(error: LoadError) -> bool:
    """Whether the server could bear a shorter span: it ran out of time or refuses to hold so many samples."""
    return error.reason == "Unreachable" or any(
        word in error.message for word in ("too many samples", "timed out", "timeout", "exceeded maximum resolution")
    )


def identity(query: PrometheusQuery, spec: PrometheusSource) -> str:
    """What a cursor belongs to: another expression, step or beginning is loaded from its start again."""
    text = json_text([query.expr, spec.step, iso(spec.since) if spec.since else spec.backfill])
    return f"{query.name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def bounds(spec: PrometheusSource, scope: Scope, known: datetime | None) -> tuple[datetime, datetime]:
    """The first and the last step to read for a query; nothing when the first is after the last."""
    step = timedelta(seconds=seconds(spec.step))
    if scope.window:
        start, end = floor(scope.window[0], step), floor(scope.window[1], step)
        return (start if start == scope.window[0] else start + step, end - step if end == scope.window[1] else end)
    end = floor(scope.now - timedelta(seconds=seconds(spec.lag)), step)
    if known is None:
        return floor(spec.since or end - timedelta(seconds=seconds(spec.backfill)), step), end
    start = floor(known - timedelta(seconds=seconds(spec.overlap)), step)
    return max(start, floor(spec.since, step)) if spec.since else start, end


def read_span(api: Api, scope: Scope, query: PrometheusQuery, start: datetime, end: datetime, step: timedelta) -> Page:
    """One query_range. POST, so that the expression may be long."""
    what = f"query {query.name!r}"
    form = {
        "query": query.expr,
        "start": f"{start.timestamp():.0f}",
        "end": f"{end.timestamp():.0f}",
        "step": f"{step.total_seconds():.0f}",
    }
    try:
        answer = api.send("POST", "/api/v1/query_range", form=form, what=what)
    except LoadError as error:
        if error.reason == "InvalidConfiguration":
            raise LoadError("InvalidConfiguration", f"prometheus.queries {query.name!r}: {error.message}") from error
        raise
    result = matrix(answer, what)
    if any("histograms" in entry for entry in result):
        scope.warn(
            f"{what}: it gives native histograms, which are left out; select numbers, e.g. by histogram_quantile"
        )
    for warning in answer.get("warnings") or []:
        scope.warn(f"{what}: Prometheus warns: {warning}")
    return to_rows(query.name, result, loaded_at=scope.now)


def matrix(answer: Any, what: str) -> list[dict[str, Any]]:
    """The series of an answer. Raises LoadError (BadResponse) when it is none."""
    try:
        if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
            raise KeyError
        result: list[dict[str, Any]] = answer["data"]["result"]
    except (KeyError, TypeError) as error:
        raise LoadError(
            "BadResponse",
            f"the answer to {what} is no matrix of Prometheus; check that url is the server's base address",
        ) from error
    return result


def to_rows(query: str, result: Sequence[Mapping[str, Any]], loaded_at: datetime) -> Page:
    """Series and samples of a matrix, column by column: no dictionary a sample."""
    series: list[dict[str, Any]] = []
    columns: list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
    newest = 0.0
    for entry in result:
        labels = dict(entry["metric"])
        points = entry["values"] if "values" in entry or "histograms" not in entry else []
        times = np.array([point[0] for point in points], dtype=np.float64)
        values = np.array([float(point[1]) for point in points], dtype=np.float64)
        finite = np.isfinite(values)
        if not finite.any():
            continue
        times, values = times[finite], values[finite]
        newest = max(newest, float(times[-1]))
        print_ = fingerprint(query, labels)
        series.append(
            {
                "fingerprint": print_,
                "last_seen_at": datetime.fromtimestamp(float(times[-1]), UTC),
                "query": query,
                "metric": labels.get("__name__", ""),
                "labels": json_text({k: v for k, v in sorted(labels.items()) if k != "__name__"}),
            }
        )
        columns.append((print_, times, values))
    if not columns:
        return Page()
    lengths = [len(times) for _, times, _ in columns]
    micros = np.rint(np.concatenate([times for _, times, _ in columns]) * 1_000_000).astype(np.int64)
    prints = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(len(columns), dtype=np.int32), lengths)), pa.array([p for p, _, _ in columns])
    ).cast(TEXT)
    loaded = math.floor(loaded_at.timestamp() * 1_000_000)
    samples = pa.table(
        [
            prints,
            pa.array(micros, type=pa.int64()).cast(MOMENT),
            pa.array(np.full(len(micros), loaded), type=pa.int64()).cast(MOMENT),
            pa.array(np.concatenate([values for _, _, values in columns])),
        ],
        schema=SAMPLES.schema,
    )
    return Page({"series": SERIES.page(series), "samples": samples}, newest=datetime.fromtimestamp(newest, UTC))


def fingerprint(query: str, labels: Mapping[str, str]) -> str:
    """The identity of a series: hex of a 128-bit hash (BLAKE2b) of the query's name and the sorted labels as JSON."""
    text = json_text([query, sorted(labels.items())])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
