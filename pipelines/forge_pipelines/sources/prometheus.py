"""Prometheus: the chosen expressions, evaluated at aligned steps, into series and samples.

One query_range per expression and span of at most 11,000 steps ("HTTP API", Prometheus documentation). Steps are
aligned to the epoch, so that windows tile and a repeated window gives the same keys. Samples that are not finite (NaN,
Inf) are left out: a gap says the same and can be averaged.

What a sample says is what the server says at that step: the newest raw value of the look-back before it (5 minutes
unless the server is told otherwise). A series that ends with a stale marker (its target went, its rule gave nothing)
ends at once; one that just stops repeats its last value for that long. A step shorter than the scrape interval repeats
values too. Where there is nothing, there is no row.

Counters are stored raw, never as rates: a value below the one before it is a reset, and an increase is the sum of the
rises plus the value after each fall. `metric_type` tells which series are counters. What changes and comes back within
one step is not seen; where that matters, select rate(...) or increase(...).

There is no sweep of ids here: a sample that was true stays true when the server forgets it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import seconds
from forge_stack.model import PrometheusQuery, PrometheusSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.tables import (
    JSON,
    MOMENT,
    NUMBER,
    TEXT,
    Misfit,
    Table,
    iso,
    json_text,
    moment,
    optional,
    required,
)
from forge_pipelines.windows import floor

POINTS = 11_000
"""Steps a call at most: the server refuses (end - start) / step beyond it."""
FIRST_STEPS = 1_000
"""Steps of a load's first call, which tells how many series there are."""
SAMPLES_A_CALL = 250_000
"""What a call may bring: parsed, that is some 50 MB."""
LATE = timedelta(days=31)
"""How far back a load looks for samples that came late."""
PARTIAL = timedelta(days=1)
"""How far back a load looks for what a partial answer lacked, until it holds that to be lost."""
PARTS = ("_total", "_bucket", "_sum", "_count", "_created", "_info")
"""What a series' name has more than that of its metric family, which the metadata is of (OpenMetrics)."""
TOO_HEAVY = ("too many", "timed out", "timeout", "exceed", "maximum", "limit", "memory", "answers 504")
"""Words of Prometheus, Mimir, Thanos and VictoriaMetrics for a query that is too much, whatever the status."""

SERIES = Table(
    name="series",
    schema=pa.schema(
        [
            required("fingerprint", TEXT),
            required("last_seen_at", MOMENT),
            required("query", TEXT),
            required("metric", TEXT),
            required("labels", JSON),
            optional("metric_type", TEXT),
            optional("unit", TEXT),
            optional("help", TEXT),
        ]
    ),
    key=("fingerprint",),
    version="last_seen_at",
    computed=(("labels_map", "Map(String, String) ALIAS JSONExtract(labels, 'Map(String, String)')"),),
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
    """Bearer by `token`, basic by `username` and `password`, open without either; and the tenant of a shared server."""
    headers = {"X-Scope-OrgID": spec.tenant} if spec.tenant else {}
    if spec.credentials_secret_ref is None:
        return Api(spec.url, headers)
    if token := credentials.get("token"):
        return Api(spec.url, {**headers, "Authorization": f"Bearer {token}"})
    return Api(spec.url, headers, basic=(credentials.require("username"), credentials.require("password")))


def pages(spec: PrometheusSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Query by query, span by span.

    The state holds, a query, the newest sample: the next load goes on from there, so that samples which a server gets
    late are met, be it by days; a query that gives nothing is asked about the last LATE again. An answer that the
    server calls partial is stored, but does not move that on: the next load asks again, for as long as PARTIAL.
    """
    step = timedelta(seconds=seconds(spec.step))
    kept: Mapping[str, str] = scope.state.get("queries", {})
    state = {key: kept[key] for key in (identity(query, spec) for query in spec.queries) if key in kept}
    read: dict[str, datetime] = {}
    metadata = Metadata(api)
    for query in spec.queries:
        key = identity(query, spec)
        start, end = bounds(spec, scope, moment(state.get(key)))
        steps, whole = FIRST_STEPS, True
        while start <= end:
            stop = min(start + (steps - 1) * step, end)
            try:
                answer = read_span(api, query, start, stop, step)
            except LoadError as error:
                if steps == 1 or not is_too_heavy(error, query.name):
                    raise
                steps = max(steps // 4, 1)
                continue
            whole = note(scope, query, answer) and whole
            page = to_rows(query.name, matrix(answer, told(query)), scope.now, metadata.of, scope.misfits)
            seen = max(filter(None, (page.newest, stop - LATE))) if whole else stop - PARTIAL
            state[key], read[key] = iso(max(filter(None, (moment(state.get(key)), seen)))), stop
            covered = min(read.values()) if len(read) == len(spec.queries) else None
            yield Page(page.rows, {"queries": dict(state)}, covered, page.newest)
            # An empty span tells nothing of the next one, which may have every series there is.
            steps = next_steps(page.rows["series"].num_rows) if page.rows else FIRST_STEPS
            start = stop + step


def next_steps(series: int) -> int:
    """How many steps to ask for next, after so many series: as many samples a call as memory bears."""
    return min(max(SAMPLES_A_CALL // max(series, 1), 1), POINTS)


def is_too_heavy(error: LoadError, name: str) -> bool:
    """Whether the server could bear a shorter span of the query: it ran out of time or refuses so many samples."""
    said = error.message.replace(repr(name), "").lower()
    return error.reason == "Unreachable" or (
        error.reason in ("InvalidConfiguration", "BadResponse") and any(word in said for word in TOO_HEAVY)
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


def read_span(api: Api, query: PrometheusQuery, start: datetime, end: datetime, step: timedelta) -> Any:
    """One query_range. POST, so that the expression may be long."""
    form = {
        "query": query.expr,
        "start": f"{start.timestamp():.0f}",
        "end": f"{end.timestamp():.0f}",
        "step": f"{step.total_seconds():.0f}",
    }
    try:
        return api.send("POST", "/api/v1/query_range", form=form, what=told(query))
    except LoadError as error:
        if error.reason == "InvalidConfiguration":
            raise LoadError("InvalidConfiguration", f"prometheus.queries {query.name!r}: {error.message}") from error
        raise


def told(query: PrometheusQuery) -> str:
    """A query in messages."""
    return f"query {query.name!r}"


def note(scope: Scope, query: PrometheusQuery, answer: Any) -> bool:
    """Pass on what the server says beside its result. False when a later answer may hold more.

    Prometheus and Thanos tell of parts that did not answer by warnings, VictoriaMetrics by isPartial; warnings about
    the expression itself begin with PromQL, and a limit stays what it is, so that asking again is in vain.
    """
    if not isinstance(answer, dict):
        return True
    whole = not answer.get("isPartial")
    if not whole:
        scope.warn(f"{told(query)}: the server calls its answer partial; the next load asks for it again")
    for text in map(str, answer.get("warnings") or []):
        lasting = text.startswith("PromQL") or "truncated" in text
        whole = whole and lasting
        scope.warn(f"{told(query)}: Prometheus warns: {text}{'' if lasting else '; the next load asks for it again'}")
    for text in answer.get("infos") or []:
        scope.warn(f"{told(query)}: Prometheus notes: {text}")
    if any("histograms" in entry for entry in matrix(answer, told(query)) if isinstance(entry, dict)):
        scope.warn(
            f"{told(query)}: it gives native histograms, which are left out; select numbers, e.g. by histogram_quantile"
        )
    return whole


@dataclass
class Metadata:
    """What the server knows of metrics: type, unit and help, asked for once a load, when the first series comes.

    A server that has no such endpoint (404), or nothing in it, costs nothing but these columns.
    """

    api: Api
    _known: Mapping[str, Any] | None = None

    def of(self, metric: str) -> dict[str, str | None]:
        """The columns of a series; nulls when nothing is known. Raises LoadError when the server cannot be reached."""
        if self._known is None:
            self._known = self._asked()
        families = (metric, *(metric.removesuffix(part) for part in PARTS if metric.endswith(part)))
        entries: Any = next((found for family in families if (found := self._known.get(family))), [])
        return described([entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else [])

    def _asked(self) -> Mapping[str, Any]:
        try:
            answer = self.api.get("/api/v1/metadata", what="the metadata of metrics")
        except LoadError as error:
            if error.reason == "Unreachable":
                raise
            return {}
        data = answer.get("data") if isinstance(answer, dict) else None
        return data if isinstance(data, dict) else {}


def described(entries: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Type, unit and help out of what the targets say of a metric. A type on which they differ is none."""
    types = {entry.get("type") for entry in entries} - {None, "", "unknown", "untyped"}
    first = {name: next((str(e[name]) for e in entries if e.get(name)), None) for name in ("unit", "help")}
    return {"metric_type": str(types.pop()) if len(types) == 1 else None, **first}


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


def to_rows(
    query: str,
    result: Iterable[Any],
    loaded_at: datetime,
    metadata: Callable[[str], Mapping[str, str | None]] = lambda metric: {},
    misfits: list[Misfit] | None = None,
) -> Page:
    """Series and samples of a matrix, column by column: no dictionary a sample. Unreadable series go to `misfits`."""
    series: list[dict[str, Any]] = []
    columns: list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
    newest = 0.0
    for entry in result:
        try:
            labels = {str(name): str(value) for name, value in entry["metric"].items()}
            points = entry["values"] if "values" in entry or "histograms" not in entry else []
            times = np.array([point[0] for point in points], dtype=np.float64)
            values = np.array([float(point[1]) for point in points], dtype=np.float64)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if misfits is None:
                raise
            misfits.append(Misfit(SERIES.name, "", f"{type(error).__name__}: {error}"[:300], json_text(entry)))
            continue
        finite = np.isfinite(values)
        if not finite.any():
            continue
        times, values = times[finite], values[finite]
        newest = max(newest, float(times[-1]))
        print_, metric = fingerprint(query, labels), labels.get("__name__", "")
        series.append(
            {
                "fingerprint": print_,
                "last_seen_at": datetime.fromtimestamp(float(times[-1]), UTC),
                "query": query,
                "metric": metric,
                "labels": json_text({k: v for k, v in sorted(labels.items()) if k != "__name__"}),
                **(metadata(metric) if metric else {}),
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
