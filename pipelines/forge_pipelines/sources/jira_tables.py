"""Jira's bronze tables (docs/architecture.md, "A load")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from forge_pipelines.tables import (
    DAY,
    FLAG,
    INTEGER,
    JSON,
    MOMENT,
    NUMBER,
    SMALL_INTEGER,
    TEXT,
    Table,
    optional,
    required,
)

ISSUES = Table(
    name="issues",
    schema=pa.schema(
        [
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("key", TEXT),
            required("project_key", TEXT),
            required("summary", TEXT),
            required("issue_type", TEXT),
            required("status", TEXT),
            required("status_category", TEXT),
            optional("priority", TEXT),
            optional("resolution", TEXT),
            optional("assignee_id", TEXT),
            optional("assignee_name", TEXT),
            optional("reporter_id", TEXT),
            optional("reporter_name", TEXT),
            optional("parent_key", TEXT),
            required("labels", JSON),
            required("created_at", MOMENT),
            optional("resolved_at", MOMENT),
            optional("due_date", DAY),
            required("custom_fields", JSON),
            optional("issue_type_id", TEXT),
            optional("status_id", TEXT),
            required("is_subtask", FLAG),
            optional("assignee_type", TEXT),
            optional("reporter_type", TEXT),
            optional("creator_id", TEXT),
            optional("creator_name", TEXT),
            required("components", JSON),
            required("fix_versions", JSON),
            required("affects_versions", JSON),
            required("links", JSON),
            required("sprints", JSON),
            optional("story_points", NUMBER),
            optional("description", TEXT),
            optional("environment", TEXT),
            optional("original_estimate_seconds", INTEGER),
            optional("time_spent_seconds", INTEGER),
            required("comments", JSON),
        ]
    ),
    key=("id",),
    version="updated_at",
)
CHANGELOGS = Table(
    name="issue_changelogs",
    schema=pa.schema(
        [
            required("issue_id", TEXT),
            required("history_id", TEXT),
            required("item_index", SMALL_INTEGER),
            required("created_at", MOMENT),
            required("issue_key", TEXT),
            optional("author_id", TEXT),
            optional("author_name", TEXT),
            required("field", TEXT),
            optional("field_id", TEXT),
            optional("from_value", TEXT),
            optional("from_string", TEXT),
            optional("to_value", TEXT),
            optional("to_string", TEXT),
            optional("author_type", TEXT),
        ]
    ),
    key=("issue_id", "history_id", "item_index"),
    version="created_at",
)
SPRINTS = Table(
    name="sprints",
    schema=pa.schema(
        [
            required("sprint_id", INTEGER),
            required("loaded_at", MOMENT),
            required("name", TEXT),
            required("state", TEXT),
            optional("board_id", INTEGER),
            optional("goal", TEXT),
            optional("start_at", MOMENT),
            optional("end_at", MOMENT),
            optional("completed_at", MOMENT),
        ]
    ),
    key=("sprint_id",),
    version="loaded_at",
)
VERSIONS = Table(
    name="versions",
    schema=pa.schema(
        [
            required("version_id", TEXT),
            required("loaded_at", MOMENT),
            required("project_key", TEXT),
            required("name", TEXT),
            optional("description", TEXT),
            required("is_released", FLAG),
            required("is_archived", FLAG),
            optional("start_date", DAY),
            optional("release_date", DAY),
        ]
    ),
    key=("version_id",),
    version="loaded_at",
)
PROJECTS = Table(
    name="projects",
    schema=pa.schema(
        [
            required("project_id", TEXT),
            required("loaded_at", MOMENT),
            required("key", TEXT),
            required("name", TEXT),
            optional("project_type", TEXT),
            optional("lead_id", TEXT),
            optional("lead_name", TEXT),
            optional("is_archived", FLAG),
        ]
    ),
    key=("project_id",),
    version="loaded_at",
)
TABLES = (ISSUES, CHANGELOGS, SPRINTS, VERSIONS, PROJECTS)


def contents(table: Table) -> list[str]:
    """The columns that say something of a thing: all but when it was read."""
    return [name for name in table.schema.names if name != table.version]


def news(table: Table, page: pa.Table, known: Mapping[Any, Mapping[str, Any]]) -> pa.Table:
    """The rows of a page that are not `known` just so (contents by key)."""
    columns = contents(table)
    rows = page.to_pylist()
    differs = [known.get(row[table.key[0]]) != {name: row[name] for name in columns} for row in rows]
    return page.filter(pa.array(differs, pa.bool_()))
