"""Bronze of a GitHub source: columns, keys, versions. Words (states, conclusions) are those of the API they come from.

GraphQL writes them in capitals (COMPLETED), REST, which workflow runs and jobs come from, in small letters (completed).
"""

from __future__ import annotations

import pyarrow as pa  # type: ignore[import-untyped]

from forge_pipelines.tables import FLAG, INTEGER, JSON, MOMENT, TEXT, Table, optional, required

REPOSITORIES = Table(
    name="repositories",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("loaded_at", MOMENT),
            required("repository", TEXT),
            required("node_id", TEXT),
            required("is_private", FLAG),
            required("is_archived", FLAG),
            required("is_fork", FLAG),
            optional("default_branch", TEXT),
            required("topics", JSON),
            required("created_at", MOMENT),
            optional("pushed_at", MOMENT),
        ]
    ),
    key=("repository_id",),
    version="loaded_at",
)
PULL_REQUESTS = Table(
    name="pull_requests",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("number", INTEGER),
            required("updated_at", MOMENT),
            required("repository", TEXT),
            required("node_id", TEXT),
            optional("database_id", INTEGER),
            required("created_at", MOMENT),
            optional("closed_at", MOMENT),
            optional("merged_at", MOMENT),
            required("title", TEXT),
            optional("body", TEXT),
            required("state", TEXT),
            required("is_draft", FLAG),
            required("url", TEXT),
            optional("author_login", TEXT),
            optional("author_type", TEXT),
            optional("merged_by_login", TEXT),
            optional("merged_by_type", TEXT),
            required("head_ref", TEXT),
            required("base_ref", TEXT),
            required("head_sha", TEXT),
            optional("head_repository", TEXT),
            required("is_cross_repository", FLAG),
            optional("merge_commit_sha", TEXT),
            required("additions", INTEGER),
            required("deletions", INTEGER),
            required("changed_files", INTEGER),
            required("commits_count", INTEGER),
            optional("comments_count", INTEGER),
            optional("first_commit_at", MOMENT),
            optional("ready_for_review_at", MOMENT),
            optional("review_decision", TEXT),
            optional("checks_state", TEXT),
            optional("milestone", TEXT),
            required("labels", JSON),
            required("assignees", JSON),
            required("requested_reviewers", JSON),
            required("linked_issues", JSON),
            required("reviews", JSON),
            required("comments", JSON),
            required("events", JSON),
            required("commits", JSON),
            required("issue_keys", JSON),
        ]
    ),
    key=("repository_id", "number"),
    version="updated_at",
)
CHECK_RUNS = Table(
    name="check_runs",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("check_run_id", INTEGER),
            required("loaded_at", MOMENT),
            required("repository", TEXT),
            required("node_id", TEXT),
            required("head_sha", TEXT),
            optional("check_suite_id", INTEGER),
            required("name", TEXT),
            required("status", TEXT),
            optional("conclusion", TEXT),
            optional("started_at", MOMENT),
            optional("completed_at", MOMENT),
            optional("app_slug", TEXT),
            optional("url", TEXT),
            optional("workflow_run_id", INTEGER),
        ]
    ),
    key=("repository_id", "check_run_id"),
    version="loaded_at",
)
WORKFLOW_RUNS = Table(
    name="workflow_runs",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("run_id", INTEGER),
            required("updated_at", MOMENT),
            required("repository", TEXT),
            required("workflow_id", INTEGER),
            optional("name", TEXT),
            optional("path", TEXT),
            required("event", TEXT),
            optional("status", TEXT),
            optional("conclusion", TEXT),
            required("run_number", INTEGER),
            required("run_attempt", INTEGER),
            optional("head_branch", TEXT),
            required("head_sha", TEXT),
            required("created_at", MOMENT),
            optional("run_started_at", MOMENT),
            optional("actor_login", TEXT),
            optional("actor_type", TEXT),
            optional("triggering_actor_login", TEXT),
            optional("check_suite_id", INTEGER),
            required("pull_requests", JSON),
            required("url", TEXT),
        ]
    ),
    key=("repository_id", "run_id"),
    version="updated_at",
)
WORKFLOW_JOBS = Table(
    name="workflow_jobs",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("job_id", INTEGER),
            required("loaded_at", MOMENT),
            required("repository", TEXT),
            required("run_id", INTEGER),
            required("run_attempt", INTEGER),
            required("name", TEXT),
            required("status", TEXT),
            optional("conclusion", TEXT),
            optional("created_at", MOMENT),
            optional("started_at", MOMENT),
            optional("completed_at", MOMENT),
            optional("head_sha", TEXT),
            optional("runner_name", TEXT),
            required("labels", JSON),
            required("steps", JSON),
        ]
    ),
    key=("repository_id", "job_id"),
    version="loaded_at",
)
DEPLOYMENTS = Table(
    name="deployments",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("deployment_id", INTEGER),
            required("updated_at", MOMENT),
            required("repository", TEXT),
            required("node_id", TEXT),
            required("environment", TEXT),
            optional("original_environment", TEXT),
            optional("ref", TEXT),
            required("sha", TEXT),
            optional("task", TEXT),
            optional("description", TEXT),
            required("created_at", MOMENT),
            optional("creator_login", TEXT),
            optional("creator_type", TEXT),
            optional("state", TEXT),
            required("payload", JSON),
            required("statuses", JSON),
        ]
    ),
    key=("repository_id", "deployment_id"),
    version="updated_at",
)
RELEASES = Table(
    name="releases",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("release_id", INTEGER),
            required("updated_at", MOMENT),
            required("repository", TEXT),
            required("tag_name", TEXT),
            optional("name", TEXT),
            required("is_draft", FLAG),
            required("is_prerelease", FLAG),
            required("created_at", MOMENT),
            optional("published_at", MOMENT),
            optional("author_login", TEXT),
            optional("target_sha", TEXT),
            required("url", TEXT),
        ]
    ),
    key=("repository_id", "release_id"),
    version="updated_at",
)
TAGS = Table(
    name="tags",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("name", TEXT),
            required("loaded_at", MOMENT),
            required("repository", TEXT),
            required("sha", TEXT),
            optional("tagged_at", MOMENT),
            optional("message", TEXT),
        ]
    ),
    key=("repository_id", "name"),
    version="loaded_at",
)
ISSUES = Table(
    name="issues",
    schema=pa.schema(
        [
            required("repository_id", INTEGER),
            required("number", INTEGER),
            required("updated_at", MOMENT),
            required("repository", TEXT),
            required("node_id", TEXT),
            required("title", TEXT),
            optional("body", TEXT),
            required("state", TEXT),
            optional("state_reason", TEXT),
            required("url", TEXT),
            optional("author_login", TEXT),
            optional("author_type", TEXT),
            required("created_at", MOMENT),
            optional("closed_at", MOMENT),
            required("labels", JSON),
            required("assignees", JSON),
            optional("milestone", TEXT),
            required("comments", JSON),
            required("issue_keys", JSON),
        ]
    ),
    key=("repository_id", "number"),
    version="updated_at",
)
TABLES = (
    REPOSITORIES,
    PULL_REQUESTS,
    CHECK_RUNS,
    WORKFLOW_RUNS,
    WORKFLOW_JOBS,
    DEPLOYMENTS,
    RELEASES,
    TAGS,
    ISSUES,
)
