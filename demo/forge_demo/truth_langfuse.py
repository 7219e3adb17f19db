"""The ground truth of bronze's Langfuse tables: what must be there at a moment. `loaded_at` is no truth.

A trace's last update is the newest of it and of its observations. Ticket, stage, repository, event and attempt are what
metadata says under Forge's own keys, else what the trace's tags say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from forge_demo import organisation as org
from forge_demo.events import Observation
from forge_demo.state import ObservationState, State
from forge_demo.traces import cost_parts, trace_cost

Row = dict[str, Any]


def traces(state: State) -> list[Row]:
    """bronze langfuse_traces."""
    rows = []
    for trace in state.traces.values():
        it = trace.ingested
        ends = [o.ended_at for o in it.observations if o.ended_at is not None]
        rows.append(
            {
                "project_id": org.LANGFUSE_PROJECT_ID,
                "id": it.id,
                "updated_at": trace.updated_at,
                "created_at": it.at,
                "timestamp": it.timestamp,
                "name": it.name,
                "session_id": it.session,
                "user_id": it.user,
                "environment": it.environment,
                "release": it.release,
                "version": it.version,
                "tags": list(it.tags),
                "metadata": dict(trace.metadata),
                "total_cost": trace_cost(it),
                "latency_seconds": (max(ends) - it.timestamp).total_seconds(),
                **_said(trace.metadata, it.tags),
            }
        )
    return rows


def observations(state: State) -> list[Row]:
    """bronze langfuse_observations, as the v2 API has them: the older pages know no tags."""
    return [_observation(row) for trace in state.traces.values() for row in trace.observations]


def _observation(row: ObservationState) -> Row:
    it, trace = row.observation, row.trace.ingested
    parts = cost_parts(it)
    costs = {**parts, "total": sum(parts.values(), Decimal(0))} if parts else {}
    usage = _usage(it)
    first_token = it.completion_started_at
    return {
        "project_id": org.LANGFUSE_PROJECT_ID,
        "id": it.id,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
        "trace_id": trace.id,
        "parent_observation_id": it.parent,
        "type": it.type,
        "name": it.name,
        "level": it.level,
        "status_message": it.status_message,
        "environment": trace.environment,
        "start_time": it.started_at,
        "end_time": it.ended_at,
        "completion_start_time": first_token,
        "latency_seconds": (it.ended_at - it.started_at).total_seconds() if it.ended_at else None,
        "time_to_first_token_seconds": (first_token - it.started_at).total_seconds() if first_token else None,
        "model": it.model,
        "usage_details": usage,
        "cost_details": costs,
        "input_tokens": usage.get("input"),
        "output_tokens": usage.get("output"),
        "total_tokens": usage.get("total"),
        "cached_input_tokens": it.cached_tokens or None,
        "reasoning_tokens": None,
        "total_cost": costs.get("total"),
        "prompt_name": it.prompt_name,
        "prompt_version": it.prompt_version,
        "tags": list(trace.tags),
        "metadata": dict(row.metadata),
        **_said(row.metadata, trace.tags),
    }


def _usage(it: Observation) -> dict[str, int]:
    if it.input_tokens is None or it.output_tokens is None:
        return {}
    usage = {"input": it.input_tokens, "output": it.output_tokens}
    usage |= {"cache_read_input_tokens": it.cached_tokens} if it.cached_tokens else {}
    return usage | {"total": it.input_tokens + it.output_tokens + it.cached_tokens}


def _said(metadata: Mapping[str, str], tags: Sequence[str]) -> Row:
    """What Forge says of its work; its tags hold ticket and stage alone."""
    tagged = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    attempt = metadata.get("attempt")
    return {
        "ticket": metadata.get("ticket", tagged.get("ticket")),
        "stage": metadata.get("stage", tagged.get("stage")),
        "repository": metadata.get("repo"),
        "event": metadata.get("event"),
        "attempt": None if attempt is None else int(attempt),
    }


def scores(state: State) -> list[Row]:
    """bronze langfuse_scores. A boolean is a number and a text, a category a text alone."""
    rows = []
    for score in state.scores.values():
        it = score.added
        of_trace = it.session is None
        rows.append(
            {
                "project_id": org.LANGFUSE_PROJECT_ID,
                "id": it.id,
                "updated_at": score.updated_at,
                "created_at": it.at,
                "timestamp": score.timestamp,
                "name": it.name,
                "source": it.source,
                "data_type": it.kind,
                "value": None if it.kind == "CATEGORICAL" else float(score.value),
                "string_value": {"BOOLEAN": str(score.value == 1), "CATEGORICAL": it.text}.get(it.kind),
                "trace_id": it.trace if of_trace else None,
                "observation_id": it.observation,
                "session_id": it.session,
                "comment": score.comment,
                "config_id": it.config,
                "author_user_id": it.author,
                "metadata": dict(it.metadata),
            }
        )
    return rows


def sessions(state: State) -> list[Row]:
    """bronze langfuse_sessions: a session begins when the first of its traces arrives, and outlives it."""
    return [
        {
            "project_id": org.LANGFUSE_PROJECT_ID,
            "id": session,
            "created_at": first.at,
            "environment": first.environment,
        }
        for session, first in state.sessions.items()
    ]


TABLES: dict[str, Callable[[State], list[Row]]] = {
    "langfuse_traces": traces,
    "langfuse_observations": observations,
    "langfuse_scores": scores,
    "langfuse_sessions": sessions,
}
