"""One `dbt build` in this process: its arguments, its environment, its results as plain facts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner
from forge_stack.wire import StoreDsn

from forge_transform.logs import log_dbt_event
from forge_transform.result import BuildResult, Node
from forge_transform.selection import Selection

THREADS = 2


def run_build(
    project: Path, work_dir: Path, dsn: StoreDsn, variables: Mapping[str, Any], selection: Selection
) -> BuildResult:
    """Run models, contracts and data tests, each test before what depends on it.

    dbt's unit tests stay out: they test the code, not the data, and run where the code is tested.
    """
    os.environ.update(profile_environment(dsn))
    outcome = dbtRunner(callbacks=[log_dbt_event]).invoke(arguments(project, work_dir, variables, selection))
    nodes = outcome.result.results if isinstance(outcome.result, RunExecutionResult) else []
    return BuildResult(tuple(_node(result) for result in nodes), outcome.exception)


def arguments(project: Path, work_dir: Path, variables: Mapping[str, Any], selection: Selection) -> list[str]:
    """The command line of dbt. It holds no secret."""
    return [
        "--quiet",
        "--log-level",
        "none",
        "--log-level-file",
        "none",
        "--no-use-colors",
        "--no-version-check",
        "--no-send-anonymous-usage-stats",
        "--no-fail-fast",
        "build",
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
        "--target-path",
        str(work_dir / "target"),
        "--log-path",
        str(work_dir / "logs"),
        "--threads",
        str(THREADS),
        "--exclude-resource-type",
        "unit_test",
        "--vars",
        json.dumps(variables),
        *selection.arguments,
    ]


def profile_environment(dsn: StoreDsn) -> dict[str, str]:
    """What profiles.yml reads. dbt masks the values of variables that start with DBT_ENV_SECRET."""
    return {
        "FORGE_DBT_HOST": dsn.host,
        "FORGE_DBT_PORT": str(dsn.port),
        "FORGE_DBT_USER": dsn.user,
        "FORGE_DBT_SECURE": str(dsn.secure),
        "DBT_ENV_SECRET_FORGE_DBT_PASSWORD": dsn.password,
    }


def _node(result: Any) -> Node:
    kinds: dict[str, Literal["model", "test"]] = {"model": "model", "test": "test"}
    statuses: dict[str, Literal["ok", "warned", "failed", "skipped"]] = {
        "success": "ok",
        "pass": "ok",
        "warn": "warned",
        "skipped": "skipped",
        "no-op": "skipped",
    }
    return Node(
        name=result.node.name,
        kind=kinds.get(str(result.node.resource_type), "other"),
        status=statuses.get(str(result.status), "failed"),
        message=str(result.message or ""),
    )
