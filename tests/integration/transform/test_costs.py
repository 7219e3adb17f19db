"""Cost, load by load: what late observations, second thoughts, moves and deletions do to what agents cost.

Random histories come in loads. After every transform the tables say what plain Python says of the same things, and
at the end a full refresh makes the same rows of them. One history by hand goes through the whole project.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import StoreDsn, TransformSummary
from forge_transform import project_dir
from forge_transform.build import profile_environment

sys.path.insert(0, str(Path(__file__).parent))

from test_partitions import Project, Rows, Staging

pytestmark = pytest.mark.slow

MODELS = {
    "silver": ("moved_tickets", "jira_projects", "jira_issues", "traces", "llm_calls", "scores"),
    "gold": ("agent_runs", "ticket_costs"),
}
STAGED = (
    *(f"langfuse__{entity}" for entity in ("traces", "observations", "scores")),
    *(f"jira__{entity}" for entity in ("issues", "issue_changelogs", "projects")),
)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PLACES = ("langfuse", "other")


# What Langfuse and Jira hold, and what it costs: told without any SQL


@dataclass(frozen=True)
class Trace:
    id: str
    version: int
    day: int
    session: str | None = None
    name: str | None = None
    user: str | None = "forge-coder"

    def row(self) -> dict[str, Any]:
        return {
            "project_id": "p",
            "id": self.id,
            "updated_at": moment(0, self.version),
            "timestamp": moment(self.day),
            "session_id": self.session,
            "name": self.name,
            "user_id": self.user,
        }


@dataclass(frozen=True)
class Observation:
    id: str
    version: int
    day: int
    trace: str | None
    parent: str | None = None
    kind: str = "GENERATION"
    cost: str = "0"
    tokens: int = 0
    level: str = "DEFAULT"

    def row(self) -> dict[str, Any]:
        return {
            "project_id": "p",
            "id": self.id,
            "updated_at": moment(0, self.version),
            "start_time": moment(self.day),
            "trace_id": self.trace,
            "parent_observation_id": self.parent,
            "type": self.kind,
            "level": self.level,
            "model": "m",
            "total_tokens": self.tokens,
            "total_cost": self.cost,
        }


@dataclass(frozen=True)
class Score:
    id: str
    version: int
    day: int
    trace: str | None
    session: str | None
    value: float

    def row(self) -> dict[str, Any]:
        return {
            "project_id": "p",
            "id": self.id,
            "updated_at": moment(0, self.version),
            "timestamp": moment(self.day),
            "name": "judge",
            "source": "EVAL",
            "data_type": "NUMERIC",
            "trace_id": self.trace,
            "session_id": self.session,
            "value": self.value,
        }


Thing = Trace | Observation | Score
ENTITIES: dict[type, str] = {Trace: "traces", Observation: "observations", Score: "scores"}


def moment(day: int, seconds: int = 0) -> str:
    return (BEGAN + timedelta(days=day, seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


@dataclass
class Told:
    """What the sources say now, by source; the newest word on a thing counts, whichever source has it."""

    things: dict[str, dict[tuple[str, str], Thing]] = field(default_factory=lambda: defaultdict(dict))
    projects: set[str] = field(default_factory=set)
    moves: dict[str, str] = field(default_factory=dict)

    def all(self, kind: type) -> list[Any]:
        newest: dict[str, tuple[int, Thing]] = {}
        for source in sorted(self.things):
            for (entity, id_), thing in self.things[source].items():
                if entity == ENTITIES[kind] and (id_ not in newest or thing.version > newest[id_][0]):
                    newest[id_] = (thing.version, thing)
        return [thing for _, thing in newest.values()]

    def ticket(self, trace: str | None) -> str:
        """The ticket of a trace: its session, else a key in its name when Jira knows the project."""
        for one in self.all(Trace):
            if one.id == trace:
                return self.now(one.session) or self.named(one.name or "")
        return ""

    def named(self, name: str) -> str:
        keys = [word for word in name.split() if is_key(word)]
        known = self.projects | {key.split("-")[0] for key in self.moves}
        keys = [key for key in keys if not known or key.split("-")[0] in known]
        return self.now(keys[0]) if keys else ""

    def now(self, key: str | None) -> str:
        return self.moves.get(key, key) if key is not None and is_key(key) else ""

    def counted(self, what: Callable[[Observation], Any]) -> dict[str, Any]:
        """Observations whose cost (or tokens) counts, by id: those with some, and none below them with any."""
        trees: dict[tuple[str, str], dict[str, Observation]] = defaultdict(dict)
        for one in self.all(Observation):
            month = moment(one.day)[:7] if one.trace is None else ""
            trees[one.trace or "", month][one.id] = one
        counted = {}
        for tree in trees.values():
            above: set[str] = set()
            for one in tree.values():
                at = one
                for _ in tree if what(one) else ():
                    if at.parent not in tree:
                        break
                    at = tree[at.parent]
                    above.add(at.id)
            counted.update({one.id: what(one) for one in tree.values() if what(one) and one.id not in above})
        return counted

    def by_ticket(self) -> dict[str, tuple[Decimal, int]]:
        """Cost and tokens of every ticket, '' for what belongs to none."""
        observations = {one.id: one for one in self.all(Observation)}
        cost: dict[str, Decimal] = defaultdict(Decimal)
        tokens: dict[str, int] = defaultdict(int)
        for id_, value in self.counted(lambda one: Decimal(one.cost)).items():
            cost[self.ticket(observations[id_].trace)] += value
        for id_, number in self.counted(lambda one: one.tokens).items():
            tokens[self.ticket(observations[id_].trace)] += number
        return {key: (cost[key], tokens[key]) for key in cost.keys() | tokens.keys()}

    def runs(self) -> dict[str, tuple[Decimal, bool, float | None]]:
        """Cost of every trace, whether it failed, and what the judge said."""
        observations = {one.id: one for one in self.all(Observation)}
        cost: dict[str | None, Decimal] = defaultdict(Decimal)
        for id_, value in self.counted(lambda one: Decimal(one.cost)).items():
            cost[observations[id_].trace] += value
        failed = {one.trace for one in observations.values() if one.level == "ERROR"}
        verdicts = defaultdict(list)
        for score in self.all(Score):
            verdicts[score.trace].append(score.value)
        means = {trace: sum(values) / len(values) for trace, values in verdicts.items()}
        return {one.id: (cost[one.id], one.id in failed, means.get(one.id)) for one in self.all(Trace)}


def is_key(word: str) -> bool:
    project, dash, number = word.partition("-")
    return bool(dash) and project.isalpha() and project.isupper() and number.isdigit()


# Tables that grow


class Both(Project):
    """A project whose tables are in silver and gold_next."""

    def rows(self, table: str, columns: str = "*", where: str = "true") -> Rows:
        if table not in MODELS["gold"]:
            return super().rows(table, columns, where)
        found = self.client.query(f"select {columns} from gold_next.{table} where {where}").result_rows
        return Rows(tuple(row) for row in found)


@dataclass
class Growing(Staging):
    """Bronze and what is made of it, load by load; a commit forgets the changes of gold too."""

    loads: int = 0

    def commit(self) -> None:
        super().commit()
        for (table,) in self.project.client.query(
            "select name from system.tables where database = 'gold_next' and endsWith(name, '__changes')"
        ).result_rows:
            self.project.client.command(f"truncate table gold_next.{table}")

    def load(self, source: str, type_: str, **entities: list[dict[str, Any]]) -> None:
        """A load that is not transformed yet."""
        self.loads += 1
        self.bronze.write(source, type_, str(self.loads), **entities)

    def check(self, told: Told) -> None:
        """The tables say what Python says."""
        query = self.project.client.query
        found = query("select ticket_key, sum(cost_usd), sum(total_tokens) from gold_next.ticket_costs group by 1")
        expected = told.by_ticket()
        by_ticket = {key: (cost, tokens) for key, cost, tokens in found.result_rows}
        assert {key: value for key, value in by_ticket.items() if any(value)} == expected
        (total,) = query("select sum(cost_usd) from silver.llm_calls").result_rows[0]
        assert total == sum((cost for cost, _ in expected.values()), Decimal(0))
        runs = query("select trace_id, cost_usd, is_failed, judge_score from gold_next.agent_runs").result_rows
        judged = {id_: (cost, failed, mean and pytest.approx(mean)) for id_, cost, failed, mean in runs}
        assert judged == told.runs()

    def grown(self) -> None:
        """What has grown is what a full refresh makes of the same bronze."""
        models = [*MODELS["silver"], *MODELS["gold"]]
        before = {model: self.project.rows(model) for model in models}
        self.transform("--full-refresh")
        for model in models:
            whole = self.project.rows(model)
            assert (before[model] - whole, whole - before[model]) == (Rows(), Rows()), model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with these models and what they are made of."""
    folder = tmp_path_factory.mktemp("costs")
    staged = [f"models/staging/stg_{name}.sql" for name in STAGED]
    described = [f"models/staging/{path.name}" for path in (project_dir() / "models/staging").glob("_*.yml")]
    models = [f"models/{layer}/{name}.{end}" for layer in MODELS for name in MODELS[layer] for end in ("sql", "yml")]
    for part in ("dbt_project.yml", "profiles.yml", "macros", "tests/generic", *staged, *described, *models):
        origin = project_dir() / part
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(origin, folder / part) if origin.is_dir() else shutil.copy(origin, folder / part)
    return folder


@pytest.fixture
def growing(
    folder: Path, client: Client, bronze: Any, dsn: StoreDsn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Growing]:
    for name, value in profile_environment(dsn).items():
        monkeypatch.setenv(name, value)
    yield Growing(
        Both(folder, client, [{"name": "langfuse", "type": "langfuse"}, {"name": "jira", "type": "jira"}]), bronze
    )


# Histories by chance


class History:
    """A random history: the things, what changes of them, and in which loads it comes."""

    def __init__(self, seed: int, growing: Growing, places: tuple[str, ...]) -> None:
        self.dice, self.growing, self.places = random.Random(seed), growing, places
        self.told, self.clock, self.issues = Told(), 0, 0

    def step(self) -> None:
        """One to three loads, and a transform."""
        for _ in range(self.dice.choice((1, 1, 2, 3))):
            self.jira() if self.dice.random() < 0.25 else self.langfuse(self.dice.choice(self.places))
        self.growing.transform()
        self.growing.check(self.told)

    def langfuse(self, source: str) -> None:
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ENTITIES.values()}
        deletions = []
        for _ in range(self.dice.randint(1, 9)):
            self.clock += 1
            thing = self.thing()
            held, key = self.told.things[source], (ENTITIES[type(thing)], thing.id)
            fate = self.dice.random()
            if key in held and fate < 0.12:
                deletions.append(
                    {
                        "entity": key[0],
                        "entity_key": json.dumps(["p", thing.id], separators=(",", ":")),
                        "deleted_at": moment(0, self.clock),
                        "reason": "deleted",
                    }
                )
                del held[key]
                continue
            if key in held and fate < 0.2:
                # An older version arrives late.
                rows[key[0]].append(replace(held[key], version=0, day=3).row())
                continue
            rows[key[0]].append(thing.row())
            held[key] = thing
        self.growing.load(source, "langfuse", **rows, deletions=deletions)

    def thing(self) -> Thing:
        """A new trace, observation or score, or another version of one."""
        one_of, day = self.dice.choice, self.dice.choice((3, 20, 30, 31, 40, 59, 70))
        trace = one_of(("t1", "t2", "t3", "t4", None))
        chance = self.dice.random()
        if chance < 0.25:
            session, name = one_of(
                (("FORGE-1", None), ("OPS-3", None), (None, "plan NEW-1"), (None, "chat"), (None, None))
            )
            return Trace(f"t{self.dice.randint(1, 4)}", self.clock, day, session, name)
        if chance < 0.35:
            value = one_of((0.25, 0.5, 1.0))
            return Score(
                f"s{self.dice.randint(1, 4)}", self.clock, day, one_of(("t1", "t2")), one_of(("OPS-3", None)), value
            )
        number = self.dice.randint(1, 14)
        return Observation(
            f"o{number}",
            self.clock,
            day,
            # Mostly each stays in its trace.
            trace if self.dice.random() < 0.2 else (f"t{number % 4 + 1}" if number < 13 else None),
            # Those below have a greater number, but for a few that form circles of nothing.
            one_of((None, *(f"o{n}" for n in range(number - 8, number, 4) if n > 0))),
            one_of(("GENERATION", "SPAN", "TOOL")),
            one_of(("0", "0", "1", "0.000000000001", "0.1", "1000")),
            one_of((0, 0, 5, 7)),
            one_of(("DEFAULT", "DEFAULT", "ERROR")),
        )

    def jira(self) -> None:
        """An issue of a project, new or not; one of them has moved from another project."""
        project = self.dice.choice(("FORGE", "NEW"))
        self.clock += 1
        self.issues += 1
        is_moved = self.dice.random() < 0.5 and not self.told.moves
        number = 9 if is_moved else self.issues + 20
        issue = {
            "id": str(self.issues),
            "key": f"{project}-{number}",
            "project_key": project,
            "created_at": moment(0),
            "updated_at": moment(0, self.clock),
        }
        move = {
            "issue_id": str(self.issues),
            "history_id": "1",
            "item_index": 0,
            "created_at": moment(1),
            "field": "Key",
            "from_string": "OPS-3",
            "to_string": issue["key"],
        }
        self.told.projects.add(project)
        if is_moved:
            self.told.moves["OPS-3"] = f"{project}-{number}"
        self.growing.load("jira", "jira", issues=[issue], issue_changelogs=[move] if is_moved else [])


@pytest.mark.parametrize("seed", range(4))
def test_random_loads_cost_what_python_says_and_what_a_full_refresh_says(growing: Growing, seed: int) -> None:
    history = History(seed, growing, PLACES[:1])
    for _ in range(7):
        history.step()
    growing.grown()


@pytest.mark.parametrize("seed", range(10, 13))
def test_the_newest_word_counts_whichever_source_has_it(growing: Growing, seed: int) -> None:
    growing.project.sources.append({"name": "other", "type": "langfuse"})
    history = History(seed, growing, PLACES)
    for _ in range(7):
        history.step()
    growing.grown()


# By hand, through the whole project

REQUEST = {
    "sources": [{"name": name, "type": name} for name in ("langfuse", "github", "jira")],
    "variables": {"teams": [{"name": "Shop", "jira_projects": ["FORGE"]}]},
}
COST_TABLES = ("ticket_costs", "cost_attribution", "agent_runs", "quality_outcomes", "quality_metrics", "tickets")


def run(id_: str, at: datetime, updated: datetime | None = None, **more: Any) -> dict[str, Any]:
    said = {key: more[key] for key in ("ticket", "stage") if key in more}
    return {
        "project_id": "p",
        "id": id_,
        "updated_at": str(updated or at),
        "timestamp": str(at),
        "user_id": "forge-coder",
        "metadata": json.dumps(said),
    } | more


def spent(id_: str, trace: str, at: datetime, cost: str, tokens: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "project_id": "p",
        "id": id_,
        "trace_id": trace,
        "type": "GENERATION",
        "model": "m",
        "updated_at": str(at),
        "start_time": str(at),
        "total_tokens": tokens,
        "total_cost": cost,
    } | more


def verdict(id_: str, trace: str, at: datetime, value: float) -> dict[str, Any]:
    of = {"project_id": "p", "id": id_, "trace_id": trace, "name": "judge", "source": "EVAL", "data_type": "NUMERIC"}
    return of | {"updated_at": str(at), "timestamp": str(at), "value": value}


def ticket(id_: str, key: str, category: str, at: datetime, resolution: str | None = None) -> dict[str, Any]:
    return {
        "id": id_,
        "key": key,
        "project_key": "FORGE",
        "issue_type": "Task",
        "status": category,
        "status_category": category,
        "created_at": str(BEGAN),
        "updated_at": str(at),
        "resolution": resolution,
        "resolved_at": str(at) if resolution else None,
    }


def pull(number: int, key: str, at: datetime, *, is_merged: bool) -> dict[str, Any]:
    return {
        "repository_id": 1,
        "repository": "acme/shop",
        "number": number,
        "url": f"https://github.com/acme/shop/pull/{number}",
        "title": key,
        "head_ref": key,
        "base_ref": "main",
        "author_login": "forge-coder",
        "author_type": "User",
        "state": "MERGED" if is_merged else "OPEN",
        "created_at": str(at),
        "updated_at": str(at + timedelta(days=is_merged)),
        "merged_at": str(at + timedelta(days=1)) if is_merged else None,
        "closed_at": str(at + timedelta(days=1)) if is_merged else None,
        "commits": json.dumps([]),
    }


JAN, FEB = datetime(2026, 1, 31, 23, tzinfo=UTC), datetime(2026, 2, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 3, 1, tzinfo=UTC)


def test_costs_by_hand(client: Client, bronze: Any, build: Callable[[dict[str, Any]], TransformSummary]) -> None:
    """A trace over the turn of a month, an outlier, a link that comes late, a run that fails, one that is deleted."""
    bronze.write(
        "langfuse",
        "langfuse",
        "1",
        traces=[
            run("t1", JAN, ticket="FORGE-1", stage="plan"),
            run("t2", FEB, name="chat"),
            run("t3", FEB, session_id="FORGE-2", latency_seconds=9),
            run("t4", FEB, ticket="FORGE-3"),
        ],
        observations=[
            spent("root", "t1", JAN, "3", 30, type="SPAN"),
            spent("a", "t1", JAN, "1", 10, parent_observation_id="root"),
            spent("b", "t1", FEB, "2.000000000001", 20, parent_observation_id="root"),
            spent("c", "t2", FEB, "0.7"),
            spent("d", "t3", FEB, "5", level="ERROR", status_message="gave up"),
            spent("e", "t4", FEB, "0.1"),
            spent("f", "of no trace", FEB, "0.01"),
        ],
        scores=[verdict("s1", "t1", FEB, 0.5), verdict("s2", "t2", FEB, 0.1)],
    )
    bronze.write(
        "jira",
        "jira",
        "2",
        issues=[
            ticket("1", "FORGE-1", "indeterminate", JAN),
            ticket("2", "FORGE-2", "done", JAN, "Won't Do"),
            ticket("3", "FORGE-3", "done", JAN, "Done"),
        ],
        issue_changelogs=[],
    )
    bronze.write("github", "github", "3", pull_requests=[pull(1, "FORGE-1", FEB, is_merged=False)])
    assert build(REQUEST).error is None

    assert by_outcome(client) == {
        ("2026-01-31", "Shop", "FORGE", "open", "plan", "metadata", False): ("1", 10),
        ("2026-02-01", "Shop", "FORGE", "open", "plan", "metadata", False): ("2.000000000001", 20),
        ("2026-02-01", None, None, "unattributed", "", "none", False): ("0.71", 0),
        ("2026-02-01", "Shop", "FORGE", "abandoned", "", "session", True): ("5", 0),
        # done, but nothing was merged for it
        ("2026-02-01", "Shop", "FORGE", "abandoned", "", "metadata", False): ("0.1", 0),
    }
    assert verdicts(client) == {"s1": ("FORGE-1", False, "open"), "s2": ("", None, None)}

    bronze.write(
        "langfuse",
        "langfuse",
        "4",
        traces=[
            # Only now it is known for what it was.
            run("t2", FEB, LATER, name="chat", ticket="FORGE-1", stage="implement"),
        ],
        observations=[
            # Late: below a call that had no child until now, and a thousand times what others cost.
            spent("below a", "t1", JAN, "1000", 5, parent_observation_id="a"),
            spent("g", "t4", LATER, "0.2", level="ERROR", status_message="late"),
        ],
        deletions=[
            {"entity": "traces", "entity_key": '["p","t3"]', "deleted_at": str(LATER), "reason": "deleted"},
        ],
    )
    bronze.write("jira", "jira", "5", issues=[ticket("1", "FORGE-1", "done", LATER, "Done")])
    bronze.write("github", "github", "6", pull_requests=[pull(1, "FORGE-1", FEB, is_merged=True)])
    assert build(REQUEST).error is None

    second = {
        ("2026-01-31", "Shop", "FORGE", "done", "plan", "metadata", False): ("1000", 5),
        ("2026-02-01", "Shop", "FORGE", "done", "plan", "metadata", False): ("2.000000000001", 20),
        ("2026-02-01", "Shop", "FORGE", "done", "implement", "metadata", False): ("0.7", 0),
        ("2026-02-01", "Shop", "FORGE", "abandoned", "", "metadata", True): ("0.1", 0),
        ("2026-03-01", "Shop", "FORGE", "abandoned", "", "metadata", True): ("0.2", 0),
        # What is left of the trace that is gone.
        ("2026-02-01", None, None, "unattributed", "", "none", False): ("5.01", 0),
    }
    assert by_outcome(client) == second
    assert verdicts(client) == {"s1": ("FORGE-1", True, "done"), "s2": ("FORGE-1", True, "done")}
    (totals,) = client.query(
        "select (select sum(cost_usd) from silver.llm_calls), (select sum(cost_usd) from gold.ticket_costs), "
        "(select sumIf(cost_usd, ticket_key = '') from gold.ticket_costs), (select sum(cost_usd) from gold.tickets)"
    ).result_rows
    assert totals == tuple(
        Decimal(one) for one in ("1008.010000000001", "1008.010000000001", "5.01", "1003.000000000001")
    )
    runs = client.query("select trace_id, is_failed, error, cost_usd from gold.agent_runs order by 1").result_rows
    assert runs == [
        ("t1", False, None, Decimal("1002.000000000001")),
        ("t2", False, None, Decimal("0.7")),
        ("t4", True, "late", Decimal("0.3")),
    ]

    grown = {table: whole(client, table) for table in COST_TABLES}
    assert build(REQUEST | {"full_refresh": True}).error is None
    assert {table: whole(client, table) for table in COST_TABLES} == grown


def by_outcome(client: Client) -> dict[tuple[Any, ...], tuple[str, int]]:
    found = client.query(
        "select toString(day), team, project_key, ticket_outcome, stage, link_method, is_failed_run, "
        "toString(sum(cost_usd)), sum(total_tokens) from gold.cost_attribution group by 1, 2, 3, 4, 5, 6, 7"
    ).result_rows
    return {tuple(row[:7]): (row[7], row[8]) for row in found}


def verdicts(client: Client) -> dict[str, tuple[Any, ...]]:
    found = client.query(
        "select score_id, ticket_key, is_merged, ticket_outcome from gold.quality_outcomes"
    ).result_rows
    return {row[0]: tuple(row[1:]) for row in found}


def whole(client: Client, table: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in client.query(f"select * from gold.{table}").result_rows), key=repr)
