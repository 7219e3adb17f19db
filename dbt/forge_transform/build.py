"""One `dbt build` in this process: its arguments, its environment, its results as plain facts."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from forge_stack.wire import StoreDsn

from forge_transform.cluster import SINGLE, Cluster
from forge_transform.logs import log_dbt_event
from forge_transform.result import BuildResult, Node
from forge_transform.selection import Selection

THREADS = 2


def run_build(
    project: Path,
    work_dir: Path,
    dsn: StoreDsn,
    cluster: Cluster,
    variables: Mapping[str, Any],
    selection: Selection,
) -> BuildResult:
    """Run models, contracts and data tests, each test before what depends on it.

    dbt's unit tests stay out: they test the code, not the data, and run where the code is tested.
    """
    parsed = parse(project, work_dir)
    manifest = parsed.result
    if not isinstance(manifest, Manifest):
        return BuildResult((), parsed.exception)
    os.environ.update(profile_environment(dsn, cluster))
    outcome = dbtRunner(manifest, callbacks=[log_dbt_event]).invoke(
        [
            *command("build", project, work_dir),
            *["--threads", str(THREADS), "--exclude-resource-type", "unit_test"],
            *["--vars", json.dumps(variables)],
            *selection.arguments,
        ]
    )
    results = outcome.result.results if isinstance(outcome.result, RunExecutionResult) else []
    return BuildResult(
        nodes=tuple(_node(result) for result in results),
        error=outcome.exception,
        event_times=event_times(manifest),
        manifest=lambda: json.dumps(manifest.writable_manifest().to_dict(omit_none=True), default=str),
    )


def event_times(manifest: Manifest) -> dict[tuple[str, str], str]:
    """The column with the time of the event, of each table whose model names one (`config.meta.event_time`)."""
    return {
        (node.schema, node.alias): str(node.config.meta["event_time"])
        for node in manifest.nodes.values()
        if node.unique_id.startswith("model.") and "event_time" in node.config.meta
    }


def parse(project: Path, work_dir: Path) -> dbtRunnerResult:
    """The project as dbt's manifest.

    No model looks at a variable or the store before it runs, so the manifest is the same for every stack. dbt's own
    record of a parse is kept beside the project (an image is built with it), which saves three seconds of CPU.
    """
    for name in profile_environment(StoreDsn("", 0, "", "", False)):
        os.environ.pop(name, None)
    kept = project / "target" / "partial_parse.msgpack"
    used = work_dir / "target" / kept.name
    used.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        shutil.copyfile(kept, used)
    outcome = dbtRunner(callbacks=[log_dbt_event]).invoke([*command("parse", project, work_dir), "--no-write-json"])
    _keep(used, kept)
    return outcome


def _keep(made: Path, kept: Path) -> None:
    """Keep the record of a parse, if there is a new one and the project's folder can be written."""
    if not made.exists() or (kept.exists() and filecmp.cmp(made, kept, shallow=False)):
        return
    try:
        kept.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(made.read_bytes())
        Path(file.name).chmod(0o644)
        Path(file.name).replace(kept)
    except OSError:
        return


def command(name: str, project: Path, work_dir: Path) -> list[str]:
    """A call of dbt: where to read and write, and to be silent, since log_dbt_event speaks."""
    quiet = ["--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"]
    alone = ["--no-version-check", "--no-send-anonymous-usage-stats", "--no-fail-fast"]
    folders = ["--project-dir", str(project), "--profiles-dir", str(project)]
    folders += ["--target-path", str(work_dir / "target"), "--log-path", str(work_dir / "logs")]
    return [*quiet, *alone, name, *folders]


def profile_environment(dsn: StoreDsn, cluster: Cluster = SINGLE) -> dict[str, str]:
    """What profiles.yml reads. dbt masks the values of variables that start with DBT_ENV_SECRET."""
    return {
        "FORGE_DBT_HOST": dsn.host,
        "FORGE_DBT_PORT": str(dsn.port),
        "FORGE_DBT_USER": dsn.user,
        "FORGE_DBT_SECURE": str(dsn.secure),
        "DBT_ENV_SECRET_FORGE_DBT_PASSWORD": dsn.password,
    } | cluster.profile


def _node(result: Any) -> Node:
    kinds: dict[str, Literal["model", "test"]] = {"model": "model", "test": "test"}
    statuses: dict[str, Literal["ok", "warned", "failed", "skipped"]] = {
        "success": "ok",
        "pass": "ok",
        "warn": "warned",
        "skipped": "skipped",
        "no-op": "skipped",
    }
    kind: Literal["model", "test", "other"] = kinds.get(str(result.node.resource_type), "other")
    return Node(
        name=result.node.name,
        kind=kind,
        status=statuses.get(str(result.status), "failed"),
        message=str(result.message or ""),
        unique_id=result.node.unique_id,
        seconds=round(float(result.execution_time or 0), 3),
        query_id=str((result.adapter_response or {}).get("query_id") or ""),
        relation=(result.node.schema, result.node.alias) if kind == "model" else None,
    )
