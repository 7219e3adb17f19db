"""A store process with bronze written by SQL, and ways to run the transform over it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import yaml
from clickhouse_connect.driver.client import Client
from dbt.cli.main import dbtRunner, dbtRunnerResult
from forge_stack.wire import StoreDsn, TransformRequest, TransformSummary, decode_summary
from forge_transform import main, project, project_dir
from forge_transform.build import profile_environment
from forge_transform.cluster import SINGLE, Cluster
from forge_transform.settings import Settings

DELETIONS = {
    "entity": "String",
    "entity_key": "String",
    "deleted_at": "DateTime64(6, 'UTC')",
    "reason": "String",
    "_dlt_load_id": "String",
}
"""What forge_pipelines.tables.DELETIONS becomes in the store."""

FILLED = {"tags": "[]", "metadata": "{}", "labels": "[]", "reviews": "[]", "commits": "[]", "custom_fields": "{}"}


@dataclass
class Bronze:
    """Writes bronze as forge-load does: rows of a load, and the load's own row when it is complete."""

    client: Client

    def write(
        self, source: str, type_: str, load: str, *, complete: bool = True, **entities: list[dict[str, Any]]
    ) -> None:
        """Write a load of a source. An unfinished load leaves its rows, but no row in `_dlt_loads`."""
        prefix = source.replace("-", "_")
        self.client.command("create database if not exists bronze")
        self.client.command(
            f"create table if not exists bronze.{prefix}__dlt_loads (load_id String, schema_name Nullable(String), "
            "status Int64, inserted_at DateTime64(6, 'UTC'), schema_version_hash Nullable(String)) order by load_id"
        )
        for entity, rows in entities.items():
            self._insert(prefix, type_, entity, [row | {"_dlt_load_id": load} for row in rows])
        if complete:
            self.complete(source, load)

    def complete(self, source: str, load: str) -> None:
        """Write the row that says that a load is complete."""
        self.client.command(
            f"insert into bronze.{source.replace('-', '_')}__dlt_loads (load_id, status, inserted_at) "
            f"values ('{load}', 0, fromUnixTimestamp64Micro(toInt64({load} * 1000000), 'UTC'))"
        )

    def _insert(self, prefix: str, type_: str, entity: str, rows: list[dict[str, Any]]) -> None:
        columns, key, version = _declared(type_, entity)
        declared = ", ".join(f"{name} {data_type}" for name, data_type in columns.items())
        self.client.command(
            f"create table if not exists bronze.{prefix}_{entity} ({declared}) "
            f"engine = ReplacingMergeTree({version}) order by ({key})"
        )
        filled = [{name: FILLED[name] for name in FILLED if name in columns} | row for row in rows]
        self.client.command(
            f"insert into bronze.{prefix}_{entity} settings date_time_input_format = 'best_effort' format JSONEachRow\n"
            + "\n".join(json.dumps(row) for row in filled)
        )


def _declared(type_: str, entity: str) -> tuple[dict[str, str], str, str]:
    """Columns, key and version of an entity."""
    if entity == "deletions":
        return DELETIONS, "entity, entity_key", "deleted_at"
    declared = yaml.safe_load((project_dir() / "models/staging/__sources.yml").read_text())
    (source,) = [s for s in declared["sources"] if s["name"] == type_]
    (table,) = [t for t in source["tables"] if t["name"] == entity]
    columns = {column["name"]: column["data_type"] for column in table["columns"]}
    meta = table["config"]["meta"]
    return columns, ", ".join(meta["key"]), meta["version"]


@dataclass
class Run:
    """What one process of forge-transform left."""

    code: int
    summary: TransformSummary
    output: str


@dataclass
class Transform:
    """Runs forge-transform as a process against the store."""

    dsn: StoreDsn
    folder: Path

    def start(self, request: dict[str, Any], *, dsn: str | None = None) -> subprocess.Popen[str]:
        """Start the process; its work folder and summary are in `folder`."""
        (self.folder / "dsn").write_text(dsn or self.dsn.url)
        (self.folder / "summary").unlink(missing_ok=True)
        own = {key: value for key, value in os.environ.items() if not key.startswith(("FORGE_", "DBT_"))}
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "forge-transform")],
            env=own
            | {
                "FORGE_TRANSFORM": json.dumps(request),
                "FORGE_STORE_DSN_FILE": str(self.folder / "dsn"),
                "FORGE_WORK_DIR": str(self.folder / "work"),
                "FORGE_TERMINATION_LOG": str(self.folder / "summary"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, request: dict[str, Any], *, dsn: str | None = None) -> Run:
        """Run it to its end."""
        process = self.start(request, dsn=dsn)
        output, _ = process.communicate(timeout=500)
        return self.result(process.returncode, output)

    def result(self, code: int, output: str) -> Run:
        """What a process left."""
        summary = decode_summary((self.folder / "summary").read_text())
        assert isinstance(summary, TransformSummary), output
        return Run(code, summary, output)


@pytest.fixture(scope="session")
def dsn(store_dsn: str) -> StoreDsn:
    return StoreDsn.parse(store_dsn)


@pytest.fixture(scope="session")
def client(dsn: StoreDsn) -> Iterator[Client]:
    with clickhouse_connect.get_client(
        host=dsn.host, port=dsn.port, username=dsn.user, password=dsn.password, autogenerate_session_id=False
    ) as client:
        yield client


@pytest.fixture
def bronze(client: Client) -> Iterator[Bronze]:
    """An empty store, and none of it left behind: other rooms' tests use the same store."""
    _drop(client)
    yield Bronze(client)
    _drop(client)


def _drop(client: Client) -> None:
    for database in ("bronze", "silver", "gold_next", "gold"):
        client.command(f"drop database if exists {database} sync")


@pytest.fixture
def dbt(dsn: StoreDsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dbtRunnerResult]:
    """dbt itself, in this process, with the profile of the store."""
    for name, value in profile_environment(dsn).items():
        monkeypatch.setenv(name, value)
    folders = ["--project-dir", str(project_dir()), "--profiles-dir", str(project_dir())]
    folders += ["--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")]
    return lambda *args: dbtRunner().invoke(["--quiet", "--log-level-file", "none", *args, *folders])


@pytest.fixture
def build(dsn: StoreDsn, tmp_path: Path) -> Callable[[dict[str, Any]], TransformSummary]:
    """A transform in this process: what the program does between reading its settings and writing its summary."""
    return lambda request: main.transform(
        Settings(TransformRequest.model_validate(request), dsn, tmp_path / "work"), time.monotonic()
    )


@pytest.fixture
def transform(dsn: StoreDsn, tmp_path: Path) -> Transform:
    return Transform(dsn, tmp_path)


# The program over the real staging and a small silver and gold

SMALL = Path(__file__).parent / "small"
SMALL_SOURCES = [{"name": "jira", "type": "jira"}, {"name": "prometheus", "type": "prometheus"}]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project with a silver and a gold of a few models, in the place of the real one."""
    folder = tmp_path_factory.mktemp("project")
    origin = project_dir()
    for part in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(origin / part, folder / part)
    shutil.copytree(origin / "macros", folder / "macros")
    shutil.copytree(origin / "models/staging", folder / "models/staging")
    shutil.copytree(origin / "tests/generic", folder / "tests/generic")
    for layer in ("silver", "gold"):
        shutil.copytree(SMALL / layer, folder / "models" / layer)
    shutil.copy(SMALL / "at_most.sql", folder / "tests/generic/at_most.sql")
    patch = pytest.MonkeyPatch()
    patch.setattr(project, "project_dir", lambda: folder)
    yield folder
    patch.undo()


@pytest.fixture
def settings(small: Path, dsn: StoreDsn, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a transform of the small project: the sources that loaded, and more of the request."""

    def make(*loaded: str, cluster: Cluster = SINGLE, **more: Any) -> Settings:
        asked = {"sources": SMALL_SOURCES, "loaded": list(loaded)} | more
        return Settings(TransformRequest.model_validate(asked), dsn, tmp_path / "work", cluster)

    return make


@pytest.fixture
def run(settings: Callable[..., Settings]) -> Callable[..., TransformSummary]:
    """A transform of the small project, in this process."""
    return lambda *loaded, **more: main.transform(settings(*loaded, **more), time.monotonic())
