"""The tables of a Langfuse source (docs/architecture.md, "A load")."""

from __future__ import annotations

import pyarrow as pa  # type: ignore[import-untyped]

from forge_pipelines.tables import INTEGER, JSON, MOMENT, MONEY, NUMBER, TEXT, Table, optional, required

LIFTED = [
    optional("ticket", TEXT),
    optional("stage", TEXT),
    optional("repository", TEXT),
    optional("event", TEXT),
    optional("attempt", INTEGER),
]
"""What Forge says of its work, lifted out of metadata or tags."""

TRACES = Table(
    name="traces",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("created_at", MOMENT),
            required("timestamp", MOMENT),
            optional("name", TEXT),
            optional("session_id", TEXT),
            optional("user_id", TEXT),
            optional("environment", TEXT),
            optional("release", TEXT),
            optional("version", TEXT),
            required("tags", JSON),
            required("metadata", JSON),
            optional("total_cost", MONEY),
            optional("latency_seconds", NUMBER),
            *LIFTED,
        ]
    ),
    key=("project_id", "id"),
    version="updated_at",
)
OBSERVATIONS = Table(
    name="observations",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("created_at", MOMENT),
            optional("trace_id", TEXT),
            optional("parent_observation_id", TEXT),
            required("type", TEXT),
            optional("name", TEXT),
            optional("level", TEXT),
            optional("status_message", TEXT),
            optional("environment", TEXT),
            required("start_time", MOMENT),
            optional("end_time", MOMENT),
            optional("completion_start_time", MOMENT),
            optional("latency_seconds", NUMBER),
            optional("time_to_first_token_seconds", NUMBER),
            optional("model", TEXT),
            required("usage_details", JSON),
            required("cost_details", JSON),
            optional("input_tokens", INTEGER),
            optional("output_tokens", INTEGER),
            optional("total_tokens", INTEGER),
            optional("cached_input_tokens", INTEGER),
            optional("reasoning_tokens", INTEGER),
            optional("total_cost", MONEY),
            optional("prompt_name", TEXT),
            optional("prompt_version", INTEGER),
            required("tags", JSON),
            required("metadata", JSON),
            *LIFTED,
        ]
    ),
    key=("project_id", "id"),
    version="updated_at",
)
SCORES = Table(
    name="scores",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("created_at", MOMENT),
            required("timestamp", MOMENT),
            required("name", TEXT),
            optional("source", TEXT),
            optional("data_type", TEXT),
            optional("value", NUMBER),
            optional("string_value", TEXT),
            optional("trace_id", TEXT),
            optional("observation_id", TEXT),
            optional("session_id", TEXT),
            optional("comment", TEXT),
            optional("config_id", TEXT),
            optional("author_user_id", TEXT),
            required("metadata", JSON),
        ]
    ),
    key=("project_id", "id"),
    version="updated_at",
)
SESSIONS = Table(
    name="sessions",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("id", TEXT),
            required("loaded_at", MOMENT),
            required("created_at", MOMENT),
            optional("environment", TEXT),
        ]
    ),
    key=("project_id", "id"),
    version="loaded_at",
)
TABLES = (TRACES, OBSERVATIONS, SCORES, SESSIONS)
