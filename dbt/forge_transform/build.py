"""One `dbt build` in this process: its arguments, its environment, its results as plain facts."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from dbt.adapters.clickhouse.__version__ import version as adapter_version
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt.version import __version__ as dbt_version
from dbt_common.dataclass_schema import dbtClassMixin
from forge_stack.wire import StoreDsn

from forge_transform.cluster import SINGLE, Cluster
from forge_transform.logs import log_dbt_event
from forge_transform.project import files_fingerprint
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
    kept = kept_manifest(project)
    manifest = kept or parse(project, work_dir)
    if not isinstance(manifest, Manifest):
        return BuildResult((), manifest)
    os.environ.update(profile_environment(dsn, cluster))
    with _known_to_be_valid() if kept else nullcontext():
        outcome = dbtRunner(manifest, callbacks=[log_dbt_event]).invoke(
            [
                *command("build", project, work_dir),
                *["--threads", str(THREADS), "--exclude-resource-type", "unit_test"],
                # What dbt would write of the run is kept in the store; its manifest alone takes a second to write.
                *["--no-write-json", "--vars", json.dumps(variables)],
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


def parse(project: Path, work_dir: Path) -> Manifest | BaseException | None:
    """The project as dbt's manifest, or why it cannot be read.

    No model looks at a variable or the store before it runs, so the manifest is the same for every stack. It is kept
    beside the project (an image is built with it), and dbt's own record of a parse too, for when some files changed.
    """
    for name in profile_environment(StoreDsn("", 0, "", "", False)):
        os.environ.pop(name, None)
    record = project / "target" / "partial_parse.msgpack"
    used = work_dir / "target" / record.name
    used.parent.mkdir(parents=True, exist_ok=True)
    if record.exists():
        shutil.copyfile(record, used)
    outcome = dbtRunner(callbacks=[log_dbt_event]).invoke([*command("parse", project, work_dir), "--no-write-json"])
    if not isinstance(outcome.result, Manifest):
        return outcome.exception
    if used.exists():
        _keep(record, used.read_bytes())
    # The parts, not the whole: a manifest's own way to be copied mixes up its tables of names.
    parts = {part.name: getattr(outcome.result, part.name) for part in fields(Manifest) if part.name[0] != "_"}
    _keep(_kept(project), pickle.dumps((_state(project), parts), protocol=5))
    return outcome.result


def kept_manifest(project: Path) -> Manifest | None:
    """The manifest that a parse kept of just these files; it lies with the project's code, and is as trusted.

    To read it takes a fiftieth of a second, and even a parse that finds nothing changed nearly a whole one.
    """
    try:
        found, parts = pickle.loads(_kept(project).read_bytes())  # noqa: S301
        return Manifest(**parts) if found == _state(project) else None
    except Exception:  # whatever is wrong with the file, it can be made anew
        return None


def _kept(project: Path) -> Path:
    return project / "target" / "manifest.pickle"


def _state(project: Path) -> str:
    """What a manifest depends on: the project's files and where they are, dbt and Python."""
    return "\n".join([files_fingerprint(project), str(project), dbt_version, adapter_version, sys.version])


@contextmanager
def _known_to_be_valid() -> Iterator[None]:
    """dbt does not compare the project's settings with their schemas: the parse of the same files has done so.

    Making those schemas takes dbt half a second of CPU in each process.
    """
    check = dbtClassMixin.__dict__["validate"]
    setattr(dbtClassMixin, "validate", classmethod(lambda _cls, _data: None))  # noqa: B010 - a method for mypy
    try:
        yield
    finally:
        setattr(dbtClassMixin, "validate", check)  # noqa: B010


def _keep(kept: Path, content: bytes) -> None:
    """Keep what a parse made, if it is new and the project's folder can be written."""
    try:
        if kept.exists() and kept.read_bytes() == content:
            return
        kept.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(content)
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
