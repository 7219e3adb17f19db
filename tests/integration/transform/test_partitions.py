"""Building only what changed: any sequence of loads gives what a full refresh gives, and writes its changes down."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from dbt.adapters.clickhouse.connections import ClickHouseConnectionManager
from dbt.artifacts.schemas.results import RunStatus
from dbt.cli.main import dbtRunner
from dbt_common.exceptions import DbtRuntimeError
from forge_stack.wire import StoreDsn
from forge_transform import project_dir
from forge_transform.build import profile_environment
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

Rows = Counter[tuple[Any, ...]]


@dataclass
class Project:
    """A dbt project over the store of the test, parsed once."""

    folder: Path
    client: Client
    sources: list[dict[str, str]] = field(default_factory=list)
    manifest: Any = field(default=None, repr=False)
    run_id: str = ""
    messages: dict[str, str] = field(default_factory=dict)

    def invoke(self, command: str, *arguments: str) -> dict[str, str]:
        """Run a command of dbt; the status of each node."""
        if self.manifest is None:
            self.manifest = dbtRunner().invoke(["--quiet", "parse", *self._folders()]).result
        self.run_id = uuid.uuid4().hex
        variables = ["--vars", json.dumps({"sources": self.sources, "run_id": self.run_id})]
        outcome = dbtRunner(self.manifest).invoke(
            ["--quiet", "--log-level-file", "none", command, "--threads", "1", *arguments, *variables, *self._folders()]
        )
        if outcome.exception and "cut off" not in str(outcome.exception):
            raise outcome.exception
        if outcome.exception:
            return {}
        self.messages = {result.node.name: str(result.message) for result in outcome.result.results}
        return {result.node.name: str(result.status) for result in outcome.result.results}

    def built(self, *arguments: str) -> dict[str, str]:
        """Build models and let none fail."""
        statuses = self.invoke("run", *arguments)
        assert set(statuses.values()) == {RunStatus.Success}, self.messages
        return statuses

    def rows(self, table: str, columns: str = "*", where: str = "true") -> Rows:
        """The rows of a table in silver."""
        found = self.client.query(f"select {columns} from silver.{table} where {where}").result_rows
        return Counter(
            tuple(repr(value) if isinstance(value, (list, dict)) else value for value in row) for row in found
        )

    def parts(self) -> set[tuple[Any, ...]]:
        """The parts of all models: they have new names when something was written."""
        found = self.client.query(
            "select table, name from system.parts where database = 'silver' and active "
            "and not match(table, '__(dirty|affected)$') and table != 'transform_batch'"
        )
        return set(found.result_rows)

    def _folders(self) -> list[str]:
        folders = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        return [*folders, "--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs")]


@pytest.fixture(scope="session")
def staging_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with nothing but staging in it."""
    folder = tmp_path_factory.mktemp("staging")
    for part in ("dbt_project.yml", "profiles.yml", "macros", "models/staging", "tests/generic"):
        origin = project_dir() / part
        shutil.copytree(origin, folder / part) if origin.is_dir() else shutil.copy(origin, folder / part)
    return folder


@pytest.fixture
def in_store(dsn: StoreDsn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in profile_environment(dsn).items():
        monkeypatch.setenv(name, value)


@dataclass
class Staging:
    """Staging over bronze, with the batch and the commit that forge-transform makes around dbt."""

    project: Project
    bronze: Any
    consumed: set[tuple[str, str]] = field(default_factory=set)

    def freeze(self) -> None:
        """Write the batch: every complete load, and whether it is new."""
        client = self.project.client
        client.command("create database if not exists silver")
        client.command(
            "create or replace table silver.transform_batch (source_name String, load_id String, "
            "loaded_at DateTime64(6, 'UTC'), is_new Bool) engine = MergeTree order by (source_name, load_id)"
        )
        rows = []
        for source in self.project.sources:
            table = f"bronze.{source['name'].replace('-', '_')}__dlt_loads"
            if client.query(f"exists table {table}").result_rows[0][0]:
                found = client.query(f"select load_id, inserted_at from {table} where status = 0").result_rows
                new = {load: (source["name"], load) not in self.consumed for load, _ in found}
                rows += [(source["name"], load, at, new[load]) for load, at in found]
        if rows:
            client.insert("transform_batch", rows, database="silver")

    def commit(self) -> None:
        """Nothing of the batch is new any more, and everyone has seen what changed."""
        client = self.project.client
        batch = client.query("select source_name, load_id from silver.transform_batch").result_rows
        self.consumed |= {(source, load) for source, load in batch}
        for (table,) in client.query(
            "select name from system.tables where database = 'silver' and endsWith(name, '__changes')"
        ).result_rows:
            client.command(f"truncate table silver.{table}")

    def transform(self, *arguments: str) -> None:
        """Load by load: one transform that succeeds."""
        self.freeze()
        self.project.built(*arguments)
        self.commit()


@pytest.fixture
def staging(staging_folder: Path, client: Client, bronze: Any, in_store: None) -> Staging:
    return Staging(Project(staging_folder, client), bronze)


# What happens in bronze, by chance.

GITHUB = [{"name": "gh", "type": "github"}, {"name": "gh-two", "type": "github"}]
ENTITIES = {"pull_requests": "updated_at", "check_runs": "loaded_at", "repositories": "loaded_at"}
MODELS = {entity: f"stg_github__{entity}" for entity in ENTITIES}
SHOWN = {
    "pull_requests": "source_name, pull_request_number, title, toMonth(created_at), toSecond(updated_at)",
    "check_runs": "source_name, check_run_id, conclusion, toMonth(started_at), toSecond(loaded_at)",
    "repositories": "source_name, repository_id, default_branch, toMonth(created_at), toSecond(loaded_at)",
}


@dataclass(frozen=True)
class Row:
    entity: str
    key: int
    version: int
    month: int
    text: str

    def as_bronze(self) -> dict[str, Any]:
        moment = f"2026-01-01 00:00:{self.version:02}"
        month = f"2026-{self.month:02}-15 00:00:00"
        if self.entity == "pull_requests":
            own = {"repository_id": 1, "number": self.key, "created_at": month, "title": self.text}
        elif self.entity == "check_runs":
            # A check that waits has no start yet.
            started = None if self.month == 1 else month
            own = {"repository_id": 1, "check_run_id": self.key, "started_at": started, "conclusion": self.text or None}
        else:
            own = {"repository_id": self.key, "created_at": month, "default_branch": self.text or None}
        return own | {ENTITIES[self.entity]: moment}

    def shown(self, source: str) -> tuple[Any, ...]:
        text: str | None = self.text if self.entity == "pull_requests" else self.text or None
        month = None if self.entity == "check_runs" and self.month == 1 else self.month
        return (source, self.key, text, month, self.version)


@dataclass(frozen=True)
class Deletion:
    entity: str
    key: int
    at: int
    reason: str

    def as_bronze(self) -> dict[str, Any]:
        key = [self.key] if self.entity == "repositories" else [1, self.key]
        moment = f"2026-01-01 00:00:{self.at:02}"
        entity_key = json.dumps(key, separators=(",", ":"))
        return {"entity": self.entity, "entity_key": entity_key, "deleted_at": moment, "reason": self.reason}


@dataclass(frozen=True)
class Load:
    source: str
    things: tuple[Row | Deletion, ...]
    is_complete: bool


@dataclass(frozen=True)
class Step:
    """Loads, then a transform: it succeeds, fails at the end, or is cut off after so many statements."""

    loads: tuple[Load, ...]
    completes_open_loads: bool
    cut_off_after: int | None
    is_committed: bool


KEYS, VERSIONS = st.integers(1, 2), st.integers(0, 3)
ROWS = st.builds(
    Row, st.sampled_from(list(ENTITIES)), KEYS, VERSIONS, st.integers(1, 3), st.sampled_from(["", "a", "b"])
)
REASONS = st.sampled_from(["deleted", "moved", "expired", "returned"])
DELETIONS = st.builds(Deletion, st.sampled_from(list(ENTITIES)), KEYS, VERSIONS, REASONS)
THINGS = st.lists(st.one_of(ROWS, ROWS, ROWS, DELETIONS), min_size=1, max_size=8).map(tuple)
LOADS = st.builds(Load, st.sampled_from([one["name"] for one in GITHUB]), THINGS, st.sampled_from([True, True, False]))
CUTS = st.one_of(st.none(), st.integers(3, 45))
STEPS = st.builds(
    Step,
    st.lists(LOADS, max_size=2).map(tuple),
    st.booleans(),
    CUTS,
    st.sampled_from([True, True, True, False]),
)


@dataclass
class World:
    """What was written to bronze, in its order, and what staging must make of it."""

    written: list[tuple[str, str, Row | Deletion]] = field(default_factory=list)
    complete: set[str] = field(default_factory=set)

    def expected(self, entity: str) -> Rows:
        """The newest version of each key that complete loads wrote, without those that were deleted since."""
        rows: dict[tuple[str, int], Row] = {}
        gone: dict[tuple[str, int], Deletion] = {}
        for source, load, thing in self.written:
            if load not in self.complete or thing.entity != entity:
                continue
            key = (source, thing.key)
            if isinstance(thing, Row):
                if key not in rows or rows[key].version <= thing.version:
                    rows[key] = thing
            elif key not in gone or gone[key].at <= thing.at:
                gone[key] = thing
        return Counter(
            row.shown(source)
            for (source, key), row in rows.items()
            if (note := gone.get((source, key))) is None
            or note.reason not in ("deleted", "moved")
            or note.at < row.version
        )


class CutOffError(DbtRuntimeError):
    """The process is gone: no statement is run any more."""


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Let dbt run so many statements more, then none."""
    left: list[int | None] = [None]
    execute = ClickHouseConnectionManager.execute

    def counted(self: Any, sql: str, *args: Any, **kwargs: Any) -> Any:
        if left[0] is not None:
            if left[0] == 0 and (
                first := re.match(r"\s*alter table \S+\s+replace partition id '\w+' from [^\s,]+", sql)
            ):
                # The store replaces one partition after the other: it may have come to the first.
                execute(self, first[0] + " settings allow_replace_partition_from_empty_source = 1")
            if left[0] <= 0:
                left[0] = -1
                raise CutOffError("cut off")
            left[0] -= 1
        return execute(self, sql, *args, **kwargs)

    monkeypatch.setattr(ClickHouseConnectionManager, "execute", counted)

    def after(statements: int | None) -> None:
        left[0] = statements

    return after


def loads(*steps: tuple[Row | Deletion, ...]) -> list[Step]:
    """Steps of one complete load each, of the first source."""
    return [Step((Load("gh", things, True),), False, None, True) for things in steps]


BORN = Row("pull_requests", 1, version=1, month=1, text="a")
OTHER = replace(BORN, key=2, month=2)


@example(steps=loads((BORN, OTHER), (replace(BORN, version=2, month=2, text="b"),), (replace(OTHER, version=2, month=3),)))
@example(
    steps=loads((BORN, OTHER), (Deletion("pull_requests", 1, 1, "deleted"),), (Deletion("pull_requests", 1, 2, "returned"),))
)
@example(steps=loads((BORN, OTHER), (Deletion("pull_requests", 1, 2, "moved"),), (replace(BORN, version=3, month=3),)))
@example(
    steps=loads(
        (replace(BORN, version=2),), (replace(BORN, month=3, text="late"),), (replace(BORN, version=2, text="again"),)
    )
)
@example(
    steps=[
        *loads((BORN, OTHER)),
        Step((Load("gh", (replace(BORN, version=3, month=3),), False),), False, None, True),
        Step((Load("gh-two", (replace(BORN, version=2, text="b"),), True),), False, None, False),
        Step((), True, 30, True),
    ]
)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=st.lists(STEPS, min_size=2, max_size=6))
def test_any_sequence_of_loads_gives_what_a_full_refresh_gives(
    steps: list[Step], staging: Staging, cut_off: Callable[[int | None], None]
) -> None:
    for database in ("bronze", "silver"):
        staging.project.client.command(f"drop database if exists {database} sync")
    staging.consumed.clear()
    staging.project.sources = GITHUB
    world = World()
    select = ["--select", *MODELS.values()]
    staging.freeze()
    staging.project.built(*select)
    committed = snapshot(staging.project)
    last = Step((), completes_open_loads=True, cut_off_after=None, is_committed=True)
    for step in [*steps, last]:
        write(staging, world, step)
        staging.freeze()
        before = snapshot(staging.project)
        cut_off(step.cut_off_after)
        statuses = staging.project.invoke("run", *select)
        cut_off(None)
        after = snapshot(staging.project)
        is_whole = set(statuses.values()) == {RunStatus.Success}
        event(f"a run that {'ends' if is_whole else 'is cut off'}")
        for entity, model in MODELS.items():
            recorded = staging.project.rows(f"{model}__changes")
            differs = difference(committed[model], after[model])
            assert {row[:-1] for row in recorded} >= set(differs), model
            if is_whole:
                of_this_run = Counter(
                    {row[:-1]: times for row, times in recorded.items() if row[-1] == staging.project.run_id}
                )
                assert of_this_run == difference(before[model], after[model]), model
                assert staging.project.rows(model, SHOWN[entity]) == world.expected(entity), model
        if is_whole and step.is_committed:
            staging.commit()
            committed = after
    for table in bronze_tables(staging.project.client):
        staging.project.client.command(f"system start merges bronze.{table}")
        staging.project.client.command(f"optimize table bronze.{table} final")
    increments = snapshot(staging.project)
    staging.project.built("--full-refresh", *select)
    assert snapshot(staging.project) == increments


def write(staging: Staging, world: World, step: Step) -> None:
    """Write what the loads of a step do to bronze."""
    for load in step.loads:
        number = str(len({load for _, load, _ in world.written}) + 1)
        entities: dict[str, list[dict[str, Any]]] = {}
        for thing in load.things:
            table = thing.entity if isinstance(thing, Row) else "deletions"
            entities.setdefault(table, []).append(thing.as_bronze())
            world.written.append((load.source, number, thing))
        staging.bronze.write(load.source, "github", number, complete=load.is_complete, **entities)
        if load.is_complete:
            world.complete.add(number)
    # A merge would let the rows of an unfinished load take the place of older ones: the next load makes that good.
    for table in bronze_tables(staging.project.client):
        staging.project.client.command(f"system stop merges bronze.{table}")
    if step.completes_open_loads:
        for source, number in {(source, load) for source, load, _ in world.written if load not in world.complete}:
            staging.bronze.complete(source, number)
            world.complete.add(number)


def bronze_tables(client: Client) -> list[str]:
    found = client.query("select name from system.tables where database = 'bronze' and name not like '%\\_dlt\\_%'")
    return [name for (name,) in found.result_rows]


def snapshot(project: Project) -> dict[str, Rows]:
    return {model: project.rows(model) for model in MODELS.values()}


def difference(before: Rows, after: Rows) -> Rows:
    """The rows that are there more often before or after, each as often as it is there on both sides."""
    return Counter({row: before[row] + after[row] for row in before | after if before[row] != after[row]})
