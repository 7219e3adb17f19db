"""Answers of Langfuse as rows: a page of answers becomes columns at once, without a dictionary a row.

Values are taken as they come: what is no text where text is due becomes its JSON, what is no time or number stays as it
is, so that the page does not fit and the one answer that is wrong is found and set aside. Pure but for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from forge_stack.model import MetadataKeys

from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Scope
from forge_pipelines.sources.langfuse_tables import OBSERVATIONS, SCORES, SESSIONS, TRACES
from forge_pipelines.tables import INTEGER, MOMENT, MONEY, NUMBER, TEXT, Table, json_text, moment, money, whole

Answers = Sequence[Mapping[str, Any]]
Columns = dict[str, Any]
"""By name: an Arrow array, or a list with a value an answer."""

UNFIT = (LoadError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, pa.ArrowException)
NOTHING: Mapping[str, Any] = {}
WRAPPERS = ("attributes", "metadata")
"""Where OpenTelemetry's exporters put a span's own attributes, and under which names those hold metadata."""
PREFIXES = ("", "langfuse.trace.metadata.", "langfuse.observation.metadata.", "metadata.")
DEL = "\x7f"
"""Texts between letters of ASCII need no look at quotes and spaces."""
EXACT_IN_DOUBLES = 1000.0
"""Below it a double tells amounts of 12 decimals apart with room to spare; above, the decimal text is read."""


class Rows:
    """Makes pages of one project's answers. What does not fit goes to the scope's misfits."""

    def __init__(self, project: str, keys: MetadataKeys, scope: Scope) -> None:
        """Which project the rows are of when they do not say so, and which metadata keys are lifted."""
        self.project, self.scope = project, scope
        self.keys: dict[str, tuple[Sequence[str], str]] = {
            "ticket": (keys.ticket, "ticket:"),
            "stage": (keys.stage, "stage:"),
            "repository": (keys.repository, "repo:"),
            "event": (keys.event, "event:"),
            "attempt": (["attempt"], "attempt:"),
        }

    def page(self, table: Table, answers: Answers) -> tuple[pa.Table, Answers]:
        """The rows of a page, and the answers that made them: a page that does not fit is halved until it does."""
        make = MAKERS[table.name]
        try:
            return built(table, make(self, answers)), answers
        except UNFIT:
            if len(answers) > 1:
                middle = len(answers) // 2
                (left, first), (right, second) = (self.page(table, a) for a in (answers[:middle], answers[middle:]))
                return pa.concat_tables([left, right]), [*first, *second]
            page = self.scope.page(table, answers, lambda answer: one_row(make(self, [answer])))
            return page, answers if page.num_rows else []

    def observations(self, answers: Answers) -> Columns:
        """Of either API."""
        usage, costs = [usage_of(a) for a in answers], [costs_of(a) for a in answers]
        tokens = [token_counts(details) for details in usage]
        start, end = moments(got(answers, "startTime")), moments(got(answers, "endTime"))
        first_token = moments(got(answers, "completionStartTime"))
        metadata, tags = got(answers, "metadata"), [tags_of(a) for a in answers]
        return {
            **self._stamps(answers, "startTime"),
            "trace_id": texts(got(answers, "traceId")),
            "parent_observation_id": texts([a.get("parentObservationId") or None for a in answers]),
            "type": texts(got(answers, "type")),
            "name": texts(got(answers, "name")),
            "level": texts(got(answers, "level")),
            "status_message": texts(got(answers, "statusMessage")),
            "environment": texts(got(answers, "environment")),
            "start_time": start,
            "end_time": end,
            "completion_start_time": first_token,
            "latency_seconds": seconds(start, end),
            "time_to_first_token_seconds": seconds(start, first_token),
            "model": texts([a.get("model") or a.get("providedModelName") for a in answers]),
            "usage_details": jsons(usage),
            "cost_details": jsons(costs),
            "input_tokens": [t[0] for t in tokens],
            "output_tokens": [t[1] for t in tokens],
            "total_tokens": [t[2] for t in tokens],
            "cached_input_tokens": [t[3] for t in tokens],
            "reasoning_tokens": [t[4] for t in tokens],
            "total_cost": amounts([cost_of(a, c) for a, c in zip(answers, costs, strict=True)]),
            "prompt_name": texts(got(answers, "promptName")),
            "prompt_version": counts(got(answers, "promptVersion")),
            "tags": jsons(tags),
            "metadata": jsons([m or NOTHING for m in metadata]),
            **self._lifted(metadata, tags),
        }

    def traces(self, answers: Answers) -> Columns:
        """Of the list of traces. Costs and latencies of -1 stand for «not computed»."""
        metadata, tags = got(answers, "metadata"), [tags_of(a) for a in answers]
        return {
            **self._stamps(answers, "timestamp"),
            "timestamp": moments(got(answers, "timestamp")),
            "name": texts(got(answers, "name")),
            "session_id": texts(got(answers, "sessionId")),
            "user_id": texts(got(answers, "userId")),
            "environment": texts(got(answers, "environment")),
            "release": texts(got(answers, "release")),
            "version": texts(got(answers, "version")),
            "tags": jsons(tags),
            "metadata": jsons([m or NOTHING for m in metadata]),
            "total_cost": amounts([computed(a.get("totalCost")) for a in answers]),
            "latency_seconds": numbers([computed(a.get("latency")) for a in answers]),
            **self._lifted(metadata, tags),
        }

    def scores(self, answers: Answers) -> Columns:
        """Of any of the three APIs: v3 puts groups and subjects beside the value, the others flat columns."""
        flat = [flat_score(a) for a in answers]
        values = [score_value(a) for a in flat]
        return {
            **self._stamps(flat, "timestamp"),
            "timestamp": moments(got(flat, "timestamp")),
            "name": texts(got(flat, "name")),
            "source": texts(got(flat, "source")),
            "data_type": texts(got(flat, "dataType")),
            "value": [v[0] for v in values],
            "string_value": texts([v[1] for v in values]),
            "trace_id": texts(got(flat, "traceId")),
            "observation_id": texts(got(flat, "observationId")),
            "session_id": texts(got(flat, "sessionId")),
            "comment": texts(got(flat, "comment")),
            "config_id": texts(got(flat, "configId")),
            "author_user_id": texts(got(flat, "authorUserId")),
            "metadata": jsons([m or NOTHING for m in got(flat, "metadata")]),
        }

    def sessions(self, answers: Answers) -> Columns:
        """Of the list of sessions."""
        return {
            "project_id": texts([a.get("projectId") or self.project for a in answers]),
            "id": texts(got(answers, "id")),
            "loaded_at": [self.scope.now] * len(answers),
            "created_at": moments(got(answers, "createdAt")),
            "environment": texts(got(answers, "environment")),
        }

    def _stamps(self, answers: Answers, time: str) -> Columns:
        """Key and times; a row that does not say when it was written was so when it began."""
        return {
            "project_id": texts([a.get("projectId") or self.project for a in answers]),
            "id": texts(got(answers, "id")),
            "updated_at": moments([a.get("updatedAt") or a.get(time) for a in answers]),
            "created_at": moments([a.get("createdAt") or a.get(time) for a in answers]),
        }

    def _lifted(self, metadata: Sequence[Any], tags: Sequence[Sequence[Any]]) -> Columns:
        given = [m if type(m) is dict else mapping(m) for m in metadata]
        found = {}
        for name, (keys, tag) in self.keys.items():
            first = [m.get(keys[0]) for m in given]
            found[name] = [
                v
                if type(v) is str and v and '"' < v[0] < DEL and " " < v[-1] < DEL and v != "null"
                else lifted(m, t, keys, tag)
                for v, m, t in zip(first, given, tags, strict=True)
            ]
        return {**found, "attempt": [number_in(text) for text in found["attempt"]]}


MAKERS: Mapping[str, Callable[[Rows, Answers], Columns]] = {
    OBSERVATIONS.name: Rows.observations,
    TRACES.name: Rows.traces,
    SCORES.name: Rows.scores,
    SESSIONS.name: Rows.sessions,
}


def built(table: Table, columns: Columns) -> pa.Table:
    """Columns as a page of a table. Raises one of UNFIT when they do not fit it."""
    arrays = []
    for field in table.schema:
        column = columns[field.name]
        array = column if isinstance(column, pa.Array) else pa.array(column, field.type)
        if array.null_count and not field.nullable:
            raise ValueError(f"{field.name} is null")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=table.schema)


def one_row(columns: Columns) -> dict[str, Any]:
    """Columns of one value each, as a row."""
    return {name: v[0].as_py() if isinstance(v, pa.Array) else v[0] for name, v in columns.items()}


# Values of a column


def got(answers: Answers, key: str) -> list[Any]:
    """A key of each answer."""
    return [answer.get(key) for answer in answers]


def texts(values: list[Any]) -> pa.Array:
    """Texts; anything else as its JSON."""
    try:
        return pa.array(values, TEXT)
    except pa.ArrowException:
        return pa.array([v if v is None or isinstance(v, str) else json_text(v) for v in values], TEXT)


def jsons(values: Iterable[Any]) -> pa.Array:
    """JSON texts."""
    return pa.array([orjson.dumps(value) for value in values], pa.binary()).cast(TEXT)


def moments(values: list[Any]) -> Any:
    """Times; what is none stays as it is."""
    try:
        return pa.array(values, TEXT).cast(MOMENT)
    except pa.ArrowException:
        return [moment_or_same(value) for value in values]


def moment_or_same(value: Any) -> Any:
    """A time where there is one."""
    try:
        return moment(value)
    except (LoadError, TypeError, ValueError):
        return value


def seconds(start: Any, end: Any) -> Any:
    """From one column of times to another."""
    if isinstance(start, pa.Array) and isinstance(end, pa.Array):
        return pc.divide(pc.cast(pc.cast(pc.subtract(end, start), INTEGER), NUMBER), 1e6)
    pairs = zip(*(a.to_pylist() if isinstance(a, pa.Array) else a for a in (start, end)), strict=True)
    return [(e - s).total_seconds() if isinstance(s, datetime) and isinstance(e, datetime) else None for s, e in pairs]


def numbers(values: list[Any]) -> Any:
    """Numbers, also those that come as text; what is none stays as it is."""
    try:
        return pa.array(values, NUMBER)
    except pa.ArrowException:
        return [same_if_unfit(float, value) for value in values]


def counts(values: list[Any]) -> Any:
    """Whole numbers, also those that come as text; what is none stays as it is."""
    try:
        return pa.array(values, INTEGER)
    except pa.ArrowException:
        return [same_if_unfit(whole, value) for value in values]


def amounts(values: list[Any]) -> Any:
    """Amounts of money; what is none stays as it is."""
    try:
        doubles = pa.array(values, NUMBER)
        bounds = pc.min_max(doubles).as_py()
        if (bounds["min"] or 0.0) > -EXACT_IN_DOUBLES and (bounds["max"] or 0.0) < EXACT_IN_DOUBLES:
            return doubles.cast(MONEY)
    except pa.ArrowException:
        pass
    return [same_if_unfit(money, value) for value in values]


def same_if_unfit(read: Callable[[Any], Any], value: Any) -> Any:
    """What `read` makes of a value, or the value."""
    try:
        return None if value is None else read(value)
    except (LoadError, TypeError, ValueError, ArithmeticError):
        return value


def computed(value: Any) -> Any:
    """A number, None where -1 says that it was not computed."""
    return None if isinstance(value, (int, float)) and value < 0 else value


# Parts of an answer


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, also one that comes as JSON text; anything else is empty."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return NOTHING
    return value if isinstance(value, dict) else NOTHING


def tags_of(answer: Mapping[str, Any]) -> list[Any]:
    """The tags of a trace; none where the API does not give them."""
    tags = answer.get("tags")
    return tags if isinstance(tags, list) else []


def usage_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Units by kind; older servers give three of them under another name."""
    details = answer.get("usageDetails")
    if details is None and (older := answer.get("usage")):
        details = {k: older[k] for k in ("input", "output", "total") if mapping(older).get(k)}
    return details if type(details) is dict else mapping(details)


def costs_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """US dollars by kind; older servers give three of them as columns."""
    details = answer.get("costDetails")
    if details is None:
        older = {kind: answer.get(f"calculated{kind.title()}Cost") for kind in ("input", "output", "total")}
        details = {kind: cost for kind, cost in older.items() if cost is not None}
    return details if type(details) is dict else mapping(details)


def cost_of(answer: Mapping[str, Any], costs: Mapping[str, Any]) -> Any:
    """The whole cost, US dollars."""
    cost = answer.get("totalCost")
    if cost is None:
        cost = answer.get("calculatedTotalCost")
    return costs.get("total") if cost is None else cost


Tokens = tuple[int | None, int | None, int | None, int | None, int | None]
NO_TOKENS: Tokens = (None, None, None, None, None)


def token_counts(usage: Mapping[str, Any]) -> Tokens:
    """Input, output, total, cached input and reasoning tokens of usage details; None where nothing is told.

    Kinds are told apart by their names (`input`, `input_cached_tokens`, `output_reasoning_tokens`), as in Langfuse:
    those that begin with a side are of it. What was read from a cache is cached, what was written to one is not.
    """
    if not usage:
        return NO_TOKENS
    input_ = output = cached = reasoning = None
    total, all_ = None, 0
    for kind, told in usage.items():
        count = told if type(told) is int else count_of(told)
        if count is None:
            continue
        if kind == "total":
            total = count
            continue
        all_ += count
        if kind.startswith("input"):
            input_ = count if input_ is None else input_ + count
        elif kind.startswith("output"):
            output = count if output is None else output + count
        if "cache" in kind and "creation" not in kind and "write" not in kind:
            cached = count if cached is None else cached + count
        if "reasoning" in kind or "thought" in kind:
            reasoning = count if reasoning is None else reasoning + count
    return input_, output, all_ if total is None else total, cached, reasoning


def count_of(value: Any) -> int | None:
    """A count, also one that comes as text; None of what is none."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


# What Forge says of its work


def lifted(metadata: Mapping[str, Any], tags: Sequence[Any], keys: Sequence[str], tag: str) -> str | None:
    """The text under the first of the keys that metadata has, else what follows the first such tag."""
    if metadata:
        for key in keys:
            value = metadata.get(key)
            if (text := plain_text(value if value is not None else deeper(metadata, key))) is not None:
                return text
    for given in tags:
        if isinstance(given, str) and given.startswith(tag) and (text := given[len(tag) :].strip()):
            return text
    return None


def deeper(metadata: Mapping[str, Any], key: str) -> Any:
    """A key that is a path (`forge.ticket`), or that a span's exporter wrapped."""
    head, dot, rest = key.partition(".")
    if dot and head in metadata:
        inner = mapping(metadata[head])
        return inner.get(rest) if rest in inner else deeper(inner, rest)
    for wrapper in WRAPPERS:
        if wrapper in metadata:
            inner = mapping(metadata[wrapper])
            for prefix in PREFIXES:
                if (value := inner.get(prefix + key)) is not None:
                    return value
    return None


def plain_text(value: Any) -> str | None:
    """A value as text, without the quotes of a JSON text; None when there is nothing in it."""
    if value is None:
        return None
    if not isinstance(value, str):
        return json_text(value) if value not in ({}, []) else None
    text = value.strip()
    if text[:1] == '"' == text[-1:] and len(text) > 1:
        with suppress(orjson.JSONDecodeError):
            text = str(orjson.loads(text)).strip()
    return None if text in ("", "null") else text


def number_in(text: str | None) -> int | None:
    """The whole number that a text is, if it is one that fits."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


# Scores


def flat_score(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A score with its groups and its subject as plain keys."""
    flat = dict(answer)
    for group in ("details", "annotation"):
        flat |= mapping(answer.get(group))
    subject = mapping(answer.get("subject"))
    kind = subject.get("kind")
    if kind in ("trace", "observation", "session"):
        flat[f"{kind}Id"] = subject.get("id")
    if subject.get("traceId"):
        flat["traceId"] = subject["traceId"]
    return flat


def score_value(score: Mapping[str, Any]) -> tuple[Any, Any]:
    """Number and text of a score. As Langfuse stores it, a boolean is 1 or 0 and True or False; a category is text."""
    value, text = score.get("value"), score.get("stringValue")
    kind = score.get("dataType")
    if kind == "BOOLEAN" or isinstance(value, bool):
        truth = str(value).lower() in ("true", "1", "1.0")
        return float(truth), str(truth)
    if kind == "NUMERIC" or (kind is None and not isinstance(value, str)):
        return same_if_unfit(float, value), text
    return None, text if text is not None else value


def decimal_of(units: int) -> Decimal:
    """An amount from its 10^-12 parts."""
    return Decimal(units).scaleb(-12)
