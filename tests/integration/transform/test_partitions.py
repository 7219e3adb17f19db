"""Building only what changed: any sequence of loads gives what a full refresh gives, and writes its changes down."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from dbt.adapters.clickhouse.connections import ClickHouseConnectionManager
from dbt.artifacts.schemas.results import FreshnessStatus, RunStatus, TestStatus
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
            [
                "--quiet",
                "--log-level-file",
                "none",
                *command.split(),
                "--threads",
                "1",
                *arguments,
                *variables,
                *self._folders(),
            ]
        )
        if outcome.exception and "cut off" not in str(outcome.exception):
            raise outcome.exception
        if outcome.exception:
            return {}
        results: Any = outcome.result.results  # type: ignore[union-attr]
        self.messages = {result.node.name: str(result.message) for result in results}
        return {result.node.name: str(result.status) for result in results}

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
        return {tuple(row) for row in found.result_rows}

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


@example(
    steps=loads((BORN, OTHER), (replace(BORN, version=2, month=2, text="b"),), (replace(OTHER, version=2, month=3),))
)
@example(
    steps=loads(
        (BORN, OTHER), (Deletion("pull_requests", 1, 1, "deleted"),), (Deletion("pull_requests", 1, 2, "returned"),)
    )
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


def pull_request(number: int, at: str = "2026-01-01", **more: Any) -> dict[str, Any]:
    return {"repository_id": 1, "number": number, "created_at": at, "updated_at": "2026-01-01"} | more


def test_a_run_with_nothing_new_writes_nothing(staging: Staging) -> None:
    staging.project.sources = GITHUB
    rows = [pull_request(1), pull_request(2, "2026-02-01")]
    staging.bronze.write("gh", "github", "1", pull_requests=rows, repositories=[{"repository_id": 1}])
    staging.transform()
    parts = staging.project.parts()
    staging.transform()
    assert staging.project.parts() == parts
    # The same row once more: it is looked at, and nothing comes of it.
    staging.bronze.write("gh", "github", "2", pull_requests=rows[:1], repositories=[{"repository_id": 1}])
    staging.transform()
    assert staging.project.parts() == parts
    assert staging.project.messages["stg_github__check_runs"] == "nothing to build again"
    staging.bronze.write("gh", "github", "3", pull_requests=[rows[0] | {"title": "x"}])
    staging.transform()
    changed = {table for table, _ in staging.project.parts() ^ parts}
    assert changed == {"stg_github__pull_requests"}
    assert len(staging.project.parts() - parts) == 1, "the other month stays as it is"


def test_what_appears_later_is_read_then(staging: Staging) -> None:
    """A source without a table, then with it; a table of an older release that lacks columns, then has them."""
    staging.project.sources = GITHUB
    staging.transform()
    model = "stg_github__pull_requests"
    assert staging.project.rows(model) == Counter()
    staging.bronze.write("gh", "github", "1", pull_requests=[pull_request(1, title="a", milestone="m", labels='["l"]')])
    client = staging.project.client
    for column in ("milestone", "labels", "additions"):
        client.command(f"alter table bronze.gh_pull_requests drop column {column}")
    staging.transform()
    columns = "source_name, pull_request_number, title, milestone, labels, additions"
    old = ("gh", 1, "a", None, "[]", 0)
    assert staging.project.rows(model, columns) == Counter([old])
    client.command(
        "alter table bronze.gh_pull_requests add column milestone Nullable(String), add column labels String, "
        "add column additions Int64"
    )
    more = pull_request(2, milestone="m", labels='["l"]', additions=3)
    staging.bronze.write("gh", "github", "2", pull_requests=[more])
    staging.bronze.write("gh-two", "github", "3", pull_requests=[more])
    staging.transform()
    new = [(source, 2, "", "m", "['l']", 3) for source in ("gh", "gh-two")]
    assert staging.project.rows(model, columns) == Counter([old, *new])


def test_tables_take_the_place_of_the_views_of_an_older_release(staging: Staging) -> None:
    staging.project.sources = GITHUB
    staging.bronze.write("gh", "github", "1", pull_requests=[pull_request(1)])
    staging.freeze()
    staging.project.client.command("create view silver.stg_github__pull_requests as select 1 as number")
    staging.project.built()
    assert staging.project.rows("stg_github__pull_requests", "pull_request_number") == Counter([(1,)])
    left = staging.project.client.query("select name from system.tables where match(name, '__(new|diff)$')")
    assert left.result_rows == []


def test_what_only_retention_took_stays(staging: Staging) -> None:
    """The source's retention took a row, and bronze's own took it too: staging keeps it. What is deleted goes."""
    staging.project.sources = GITHUB
    rows = [pull_request(number) for number in (1, 2, 3)]
    staging.bronze.write("gh", "github", "1", pull_requests=rows)
    staging.transform()
    client = staging.project.client
    client.command("alter table bronze.gh_pull_requests delete where true settings mutations_sync = 2")
    notes = [
        {"entity": "pull_requests", "entity_key": f"[1,{number}]", "deleted_at": "2026-02-01", "reason": reason}
        for number, reason in ((1, "expired"), (2, "deleted"), (3, "returned"))
    ]
    staging.bronze.write("gh", "github", "2", deletions=notes)
    staging.transform()
    assert staging.project.rows("stg_github__pull_requests", "pull_request_number") == Counter([(1,), (3,)])


@pytest.mark.parametrize("types", [(), ("jira",), ("langfuse", "prometheus"), ("github", "jira", "langfuse")])
def test_any_subset_of_the_sources_builds(types: tuple[str, ...], staging: Staging) -> None:
    """Sources that never loaded too, with their tests; once more in part."""
    staging.project.sources = [{"name": type_, "type": type_} for type_ in types]
    staging.freeze()
    for _ in range(2):
        statuses = staging.project.invoke("build")
        assert set(statuses.values()) == {RunStatus.Success, TestStatus.Pass}, staging.project.messages
    tables = {model for model in statuses if model.startswith("stg_")}
    assert len(tables) == 24
    assert all(staging.project.rows(table) == Counter() for table in tables)


def test_sources_have_a_freshness(staging: Staging) -> None:
    """That of their last complete load."""
    staging.freeze()
    staging.bronze.write("github", "github", "1", repositories=[{"repository_id": 1}])
    client = staging.project.client
    freshness = ("source freshness", "--select", "source:github")
    load = "insert into bronze.github__dlt_loads (load_id, status, inserted_at) select '{}', {}, now64(6, 'UTC')"
    client.command(load.format("2", 1))
    assert staging.project.invoke(*freshness) == {"_dlt_loads": FreshnessStatus.Error}
    client.command(load.format("3", 0))
    assert staging.project.invoke(*freshness) == {"_dlt_loads": FreshnessStatus.Pass}


# The materialization alone, over a table of the test.

TINY = {
    "counted.sql": """{{ config(order_by='month') }}
        select month, count() as items from {{ ref('items') }} group by month""",
    "items.sql": """{{ config(partition_by='month', order_by='id', dirty=["select month from tiny.to_build",
        "select month from {{ this }} where id in (select id from tiny.to_build)"]) }}
        select id, month, name from tiny.items where {{ in_dirty('month') }}""",
    "later.sql": """{{ config(partition_by='month', order_by='month',
        dirty=["select month from " ~ changes('counted')]) }}
        select month, items * 2 as twice from {{ ref('counted') }}""",
}
TINY_SCHEMA = {
    "version": 2,
    "models": [
        {
            "name": "items",
            "columns": [
                {"name": "id", "data_type": "UInt64", "data_tests": ["unique"]},
                {"name": "month", "data_type": "UInt32"},
                {"name": "name", "data_type": "Nullable(String)"},
            ],
        },
        {
            "name": "counted",
            "columns": [{"name": "month", "data_type": "UInt32"}, {"name": "items", "data_type": "UInt64"}],
        },
        {
            "name": "later",
            "columns": [{"name": "month", "data_type": "UInt32"}, {"name": "twice", "data_type": "UInt64"}],
        },
    ],
    "unit_tests": [
        {
            "name": "doubled",
            "model": "later",
            "given": [{"input": "ref('counted')", "rows": [{"month": 1, "items": 2}]}],
            "expect": {"rows": [{"month": 1, "twice": 4}]},
        }
    ],
}


@pytest.fixture
def tiny(tmp_path: Path, client: Client, bronze: Any, in_store: None) -> Iterator[Project]:
    (tmp_path / "models").mkdir()
    for name, text in TINY.items():
        (tmp_path / "models" / name).write_text(text)
    (tmp_path / "models" / "schema.yml").write_text(yaml.safe_dump(TINY_SCHEMA))
    content = {
        "name": "tiny",
        "profile": "forge_observability",
        "macro-paths": [str(project_dir() / "macros")],
        "vars": {"sources": []},
        "models": {"+materialized": "partitioned", "+contract": {"enforced": True}},
    }
    (tmp_path / "dbt_project.yml").write_text(yaml.safe_dump(content))
    shutil.copy(project_dir() / "profiles.yml", tmp_path)
    client.command("create database silver")
    client.command("create database tiny")
    client.command("create table tiny.items (id UInt64, month UInt32, name Nullable(String)) order by id")
    client.command("create table tiny.to_build (id UInt64, month UInt32) order by id")
    yield Project(tmp_path, client)
    client.command("drop database tiny sync")


def now(project: Project, items: str, to_build: str) -> None:
    for table, values in (("items", items), ("to_build", to_build)):
        project.client.command(f"truncate table tiny.{table}")
        project.client.command(f"insert into tiny.{table} values {values}")


def test_only_what_differs_is_replaced(tiny: Project) -> None:
    now(tiny, "(1, 1, 'a'), (2, 1, null), (3, 2, ''), (4, 3, 'x'), (5, 3, 'y')", "(0, 0)")
    assert set(tiny.invoke("build").values()) == {RunStatus.Success, TestStatus.Pass}
    whole = tiny.parts()
    # Item 2 goes to month 3, month 2 is left empty, '' and null are not the same, month 1 is built and comes out alike.
    now(tiny, "(1, 1, 'a'), (2, 3, null), (4, 3, null), (5, 3, 'y'), (6, 1, '')", "(2, 3), (3, 3), (4, 3)")
    tiny.built("--select", "items")
    assert tiny.rows("items") == Counter([(1, 1, "a"), (6, 1, ""), (2, 3, None), (4, 3, None), (5, 3, "y")])
    assert tiny.rows("items__dirty") == Counter([(1,), (2,), (3,)])
    changed = [(2, 1, None), (2, 3, None), (3, 2, ""), (4, 3, "x"), (4, 3, None), (6, 1, "")]
    assert tiny.rows("items__changes", "id, month, name") == Counter(changed)
    tiny.built("--select", "counted", "later")
    assert tiny.rows("later") == Counter([(1, 4), (3, 6)])
    assert tiny.rows("later__dirty") == Counter([(2,), (3,)]), "month 1 counts as many as before"
    kept = {(table, part) for table, part in whole if table == "later" and part.startswith("1_")}
    assert kept
    assert kept < tiny.parts()
    parts = tiny.parts()
    tiny.built()
    assert tiny.parts() == parts


def test_a_row_that_is_there_twice_is_not_one(tiny: Project) -> None:
    now(tiny, "(1, 1, 'a'), (1, 1, 'a'), (2, 2, 'b')", "(1, 1)")
    tiny.built()
    now(tiny, "(1, 1, 'a'), (2, 2, 'b')", "(1, 1)")
    tiny.built()
    assert tiny.rows("items") == Counter([(1, 1, "a"), (2, 2, "b")])
    assert tiny.rows("items__changes", "id") == Counter({(1,): 3})


def test_tests_read_what_was_built_again(tiny: Project) -> None:
    now(tiny, "(1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')", "(1, 1)")
    tiny.built()
    # A fault in a partition that nobody builds again, then one in a partition that is.
    tiny.client.command("insert into silver.items values (2, 2, 'not seen')")
    assert tiny.invoke("build", "--select", "items")["unique_items_id"] == TestStatus.Pass
    assert tiny.invoke("test", "--select", "items")["unique_items_id"] == TestStatus.Fail
    now(tiny, "(1, 1, 'a'), (3, 3, 'c'), (3, 3, 'd')", "(3, 3)")
    assert tiny.invoke("build", "--select", "items")["unique_items_id"] == TestStatus.Fail
    assert tiny.invoke("build", "--select", "items", "--full-refresh")["unique_items_id"] == TestStatus.Fail
    now(tiny, "(1, 1, 'a'), (3, 3, 'c')", "(3, 3)")
    assert tiny.invoke("build", "--select", "items")["unique_items_id"] == TestStatus.Pass


def test_a_broken_contract_is_refused_in_part_too(tiny: Project) -> None:
    now(tiny, "(1, 1, 'a')", "(1, 1)")
    tiny.built()
    model = tiny.folder / "models" / "items.sql"
    model.write_text(model.read_text().replace("id, month, name", "toInt64(id) as id, month, name"))
    tiny.manifest = None
    assert tiny.invoke("run", "--select", "items") == {"items": RunStatus.Error}
    assert "contract" in tiny.messages["items"]
