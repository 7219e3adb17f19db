"""The bodies of Langfuse's answers, by the models of its SDKs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from forge_demo import organisation as org
from forge_demo.apis.common import Json, iso_millis
from forge_demo.events import TraceIngested
from forge_demo.state import ObservationState, Score, State, Trace
from forge_demo.traces import cost_parts

METADATA_CUT = 200
GROUPS = ("core", "basic", "time", "io", "metadata", "model", "usage", "prompt", "metrics", "trace_context")


def _usage(row: ObservationState) -> dict[str, int]:
    it = row.observation
    if it.input_tokens is None or it.output_tokens is None:
        return {}
    usage = {"input": it.input_tokens, "output": it.output_tokens}
    if it.cached_tokens:
        usage["cache_read_input_tokens"] = it.cached_tokens
    return {**usage, "total": sum(usage.values())}


def _costs(row: ObservationState) -> dict[str, float]:
    parts = cost_parts(row.observation)
    if not parts:
        return {}
    return {**{k: float(v) for k, v in parts.items()}, "total": float(sum(parts.values(), Decimal(0)))}


def _seconds(begin: datetime, end: datetime | None) -> float | None:
    return None if end is None else round((end - begin).total_seconds(), 3)


def observation_v2(row: ObservationState, groups: set[str], expanded: set[str]) -> Json:
    """An observation of the v2 API: the groups asked for, metadata values cut but for the keys in `expanded`."""
    it, trace = row.observation, row.trace.ingested
    costs = _costs(row)
    model = org.MODELS_BY_NAME.get(it.model or "")
    parts: dict[str, Json] = {
        "core": {
            "id": it.id,
            "traceId": trace.id,
            "startTime": iso_millis(it.started_at),
            "endTime": iso_millis(it.ended_at),
            "projectId": org.LANGFUSE_PROJECT_ID,
            "parentObservationId": it.parent,
            "type": it.type,
        },
        "basic": {
            "name": it.name,
            "level": it.level,
            "statusMessage": it.status_message,
            "version": trace.version,
            "environment": trace.environment,
            "bookmarked": False,
            "public": False,
            "userId": trace.user,
            "sessionId": trace.session,
            "isRootObservation": it.parent is None,
        },
        "time": {
            "completionStartTime": iso_millis(it.completion_started_at),
            "createdAt": iso_millis(row.created_at),
            "updatedAt": iso_millis(row.updated_at),
        },
        "io": {"input": it.input, "output": it.output},
        "metadata": {"metadata": {k: v if k in expanded else v[:METADATA_CUT] for k, v in row.metadata.items()}},
        "model": {
            "model": it.model,
            "internalModelId": model.id if model else None,
            "modelParameters": {"max_tokens": 8192} if model else {},
        },
        "usage": {
            "usageDetails": _usage(row),
            "costDetails": costs,
            "totalCost": costs.get("total"),
            "usagePricingTierName": "Standard" if costs else None,
        },
        "prompt": {"promptId": _prompt_id(row), "promptName": it.prompt_name, "promptVersion": it.prompt_version},
        "metrics": {
            "latency": _seconds(it.started_at, it.ended_at),
            "timeToFirstToken": _seconds(it.started_at, it.completion_started_at),
        },
        "trace_context": {"tags": list(trace.tags), "release": trace.release, "traceName": trace.name},
    }
    return {name: value for group in GROUPS if group in groups for name, value in parts[group].items()}


def _prompt_id(row: ObservationState) -> str | None:
    it = row.observation
    return f"prompt-{it.prompt_name}-{it.prompt_version}" if it.prompt_name else None


def observation(row: ObservationState) -> Json:
    """An observation of the legacy pages."""
    it, trace = row.observation, row.trace.ingested
    usage, costs = _usage(row), _costs(row)
    model = org.MODELS_BY_NAME.get(it.model or "")
    counted = {"input": usage.get("input", 0), "output": usage.get("output", 0), "total": usage.get("total", 0)}
    return {
        "id": it.id,
        "projectId": org.LANGFUSE_PROJECT_ID,
        "traceId": trace.id,
        "type": it.type,
        "environment": trace.environment,
        "parentObservationId": it.parent,
        "startTime": iso_millis(it.started_at),
        "endTime": iso_millis(it.ended_at),
        "name": it.name,
        "metadata": row.metadata,
        "level": it.level,
        "statusMessage": it.status_message,
        "version": trace.version,
        "createdAt": iso_millis(row.created_at),
        "updatedAt": iso_millis(row.updated_at),
        "completionStartTime": iso_millis(it.completion_started_at),
        "input": it.input,
        "output": it.output,
        "model": it.model,
        "modelId": model.id if model else None,
        "modelParameters": {"max_tokens": 8192} if model else {},
        "promptId": _prompt_id(row),
        "promptName": it.prompt_name,
        "promptVersion": it.prompt_version,
        "usageDetails": usage,
        "costDetails": costs,
        "usage": {**counted, "unit": "TOKENS"},
        "unit": "TOKENS",
        "promptTokens": counted["input"],
        "completionTokens": counted["output"],
        "totalTokens": counted["total"],
        "inputPrice": float(model.input_price) if model else None,
        "outputPrice": float(model.output_price) if model else None,
        "totalPrice": None,
        "calculatedInputCost": costs.get("input"),
        "calculatedOutputCost": costs.get("output"),
        "calculatedTotalCost": costs.get("total"),
        "latency": _seconds(it.started_at, it.ended_at),
        "timeToFirstToken": _seconds(it.started_at, it.completion_started_at),
    }


def trace(trace: Trace, fields: set[str], scores: dict[str, list[str]]) -> Json:
    """A trace of the legacy pages, by groups of fields."""
    it = trace.ingested
    ends = [o.observation.ended_at for o in trace.observations if o.observation.ended_at is not None]
    cost = sum((sum(cost_parts(o.observation).values(), Decimal(0)) for o in trace.observations), Decimal(0))
    metrics = "metrics" in fields
    return {
        "id": it.id,
        "projectId": org.LANGFUSE_PROJECT_ID,
        "timestamp": iso_millis(it.timestamp),
        "name": it.name,
        "input": None,
        "output": None,
        "sessionId": it.session,
        "release": it.release,
        "version": it.version,
        "userId": it.user,
        "metadata": trace.metadata if "io" in fields else None,
        "tags": list(it.tags),
        "public": False,
        "bookmarked": False,
        "environment": it.environment,
        "externalId": None,
        "createdAt": iso_millis(it.at),
        "updatedAt": iso_millis(trace.updated_at),
        "htmlPath": f"/project/{org.LANGFUSE_PROJECT_ID}/traces/{it.id}",
        "latency": (_seconds(it.timestamp, max(ends)) if ends else 0) if metrics else -1,
        "totalCost": float(cost) if metrics else -1,
        "observations": [o.observation.id for o in trace.observations] if "observations" in fields else [],
        "scores": scores.get(it.id, []),
    }


def session(item: tuple[str, TraceIngested]) -> Json:
    """A session."""
    name, first = item
    return {
        "id": name,
        "createdAt": iso_millis(first.at),
        "projectId": org.LANGFUSE_PROJECT_ID,
        "environment": first.environment,
    }


def score_v2(score: Score, state: State) -> Json:
    """A score of the v2 pages."""
    it = score.added
    trace = state.traces[it.trace].ingested
    of_session = it.session is not None
    return {
        "id": it.id,
        "projectId": org.LANGFUSE_PROJECT_ID,
        "traceId": None if of_session else it.trace,
        "observationId": it.observation,
        "sessionId": it.session,
        "datasetRunId": None,
        "name": it.name,
        "value": float(score.value),
        **({} if (text := _score_text(score)) is None else {"stringValue": text}),
        "dataType": it.kind,
        "source": it.source,
        "timestamp": iso_millis(score.timestamp),
        "createdAt": iso_millis(it.at),
        "updatedAt": iso_millis(score.updated_at),
        "environment": trace.environment,
        "authorUserId": it.author,
        "comment": score.comment,
        "metadata": dict(it.metadata),
        "configId": it.config,
        "queueId": None,
        "trace": None
        if of_session
        else {"userId": trace.user, "tags": list(trace.tags), "environment": trace.environment},
    }


def score_v3(score: Score, groups: set[str], state: State) -> Json:
    """A score of the v3 API: the groups asked for; the value is a number, a boolean or a text."""
    it = score.added
    values = {"NUMERIC": float(score.value), "BOOLEAN": score.value == 1, "CATEGORICAL": it.text}
    shape: Json = {
        "id": it.id,
        "projectId": org.LANGFUSE_PROJECT_ID,
        "name": it.name,
        "value": values[it.kind],
        "dataType": it.kind,
        "source": it.source,
        "timestamp": iso_millis(score.timestamp),
        "environment": state.traces[it.trace].ingested.environment,
        "createdAt": iso_millis(it.at),
        "updatedAt": iso_millis(score.updated_at),
    }
    if "details" in groups:
        shape |= {"comment": score.comment, "configId": it.config, "metadata": dict(it.metadata)}
    if "annotation" in groups:
        shape |= {"authorUserId": it.author, "queueId": None}
    if "subject" in groups:
        if it.session is not None:
            shape["subject"] = {"kind": "session", "id": it.session}
        elif it.observation is not None:
            shape["subject"] = {"kind": "observation", "id": it.observation, "traceId": it.trace}
        else:
            shape["subject"] = {"kind": "trace", "id": it.trace}
    return shape


def _score_text(score: Score) -> str | None:
    return str(score.value == 1) if score.added.kind == "BOOLEAN" else score.added.text
