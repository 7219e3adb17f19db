"""Simulated worlds as bronze, load by load, and gold compared with what the world's events say."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from graphlib import TopologicalSorter
from math import isclose
from pathlib import Path
from typing import Any

import orjson
import yaml
from clickhouse_connect.driver.client import Client
from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import jira_events as jira
from forge_demo import metrics, oracle, truth
from forge_demo import organisation as org
from forge_demo.events import Event
from forge_demo.github_places import PLACES
from forge_demo.github_things import PullRequest
from forge_demo.oracle.stack import Stack
from forge_demo.state import State
from forge_demo.world import World
from forge_transform import project_dir
from forge_transform.project import DATABASES

Row = dict[str, Any]
TYPES = ("langfuse", "github", "jira")
"""Those whose rows the truth has; Prometheus is written by itself."""
LEFT_OUT = {"ticket_bucket"}
"""Columns that say where a row lies, not what is true."""
SETTINGS = yaml.safe_load((project_dir() / "profiles.yml").read_text())["forge_observability"]["outputs"]["store"][
    "custom_settings"
]
"""With which dbt builds."""
NOT_TRUTH = {"coverage", "data_quality", "metrics"}
"""Tables that tell of loads, of bad rows, of the tables themselves: they have tests of their own."""


class Mischief:
    """Lets happen what no story of the world tells, in the minutes after its now: people are less orderly than that."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice, self.events = world, dice, list[Event]()
        self.at = world.now.replace(microsecond=0) + timedelta(seconds=1)
        self.pulls = [p for p in world.state.pull_requests.values() if p.opened.ticket in world.state.site.keys_ever]
        self.tickets = sorted({p.opened.ticket for p in self.pulls if p.opened.ticket in world.state.issues})
        if self.pulls:
            for happen in (
                self.taken_back, self.named_elsewhere, self.deployed_by_hand, self.broken_without_a_cause,
                self.helped_and_hindered, self.approved_too_early, self.judged_late, self.moved_and_deleted,
                self.traced_oddly,
            ):  # fmt: skip
                happen()
        world.log += self.events
        world.log.sort(key=lambda event: event.at)
        world.advance(self.at)

    def then(self) -> datetime:
        """A little later."""
        self.at += timedelta(seconds=self.dice.randint(1, 40))
        return self.at

    def commit(self, author: str, message: str) -> ev.Commit:
        """A commit of its own."""
        at = self.then() - timedelta(hours=self.dice.uniform(0, 9))
        at = at.replace(microsecond=0)
        return ev.Commit(f"{self.dice.getrandbits(160):040x}", author, at, at, message, 7, 3)

    def taken_back(self) -> None:
        """Fixes of incidents say what they take back, in the text or in the title; one has no ticket."""
        pulls = list(self.world.state.pull_requests.values())
        for pull in (p for p in pulls if 'Revert "' in p.title):
            what = pull.title.partition('Revert "')[2].rstrip('"')
            of = [p for p in pulls if p.repo is pull.repo and p.merged and p.title.partition(": ")[2] == what]
            if of and self.dice.random() < 0.4:
                title = f'{f"{pull.opened.ticket}: " if pull.opened.ticket else ""}Revert "{of[-1].title}"'
                self.events.append(
                    gh.Retitled(self.then(), pull.opened.ticket, pull.opened.ref, pull.author.login, title)
                )
            elif of:
                body = f"{pull.body}\n\nReverts {pull.repo.full_name}#{of[-1].number}"
                self.events.append(
                    gh.BodyEdited(self.then(), pull.opened.ticket, pull.opened.ref, pull.author.login, body)
                )
        merged = [p for p in self.pulls if p.merged]
        if merged:
            of_one = self.dice.choice(merged)
            ref, sha = f"mischief/revert/{self.at}", f"{self.dice.getrandbits(160):040x}"
            ticket = of_one.opened.ticket if (of_one.opened.ticket or "-") in of_one.title else None
            self.opened(ref, of_one, ticket, "revert-it", f'Revert "{of_one.title}"', "", "")
            self.events.append(ev.PullRequestMerged(self.then(), None, ref, "sam-lee", sha))
            self.deployed(of_one.repository, sha)
        if loose := [p for p in pulls if p.merged and p.repository == "telemetry"]:
            # What is taken back before it was ever deployed broke nothing.
            ref, sha = f"mischief/early/{self.at}", f"{self.dice.getrandbits(160):040x}"
            self.opened(ref, loose[-1], None, "revert-it", f'Revert "{loose[-1].title}"', "", "")
            self.events.append(ev.PullRequestMerged(self.then(), None, ref, "sam-lee", sha))
            self.deployed("telemetry", sha)

    def opened(
        self, ref: str, like: PullRequest, ticket: str | None, branch: str, title: str, body: str, message: str
    ) -> None:
        """A pull request in the repository of another; somebody else may have helped with a commit."""
        author = self.dice.choice(("jonas-b", "forge-coder", "forge-coder", "dependabot"))
        commits = (self.commit(author, f"Something\n\n{message}"),)
        if self.dice.random() < 0.4:
            commits += (self.commit(self.dice.choice(("priya-n", "forge-fixer")), "A hand"),)
        self.events.append(
            ev.PullRequestOpened(
                self.then(), ticket, ref, like.repository, author, title, body, branch, self.dice.random() < 0.3, (), 1,
                commits,
            )
        )  # fmt: skip

    def named_elsewhere(self) -> None:
        """Pull requests that name their ticket in the title, the text or a commit alone."""
        for number, place in enumerate(("title", "body", "commit")):
            like = self.dice.choice(self.pulls)
            said = {
                where: f"See {like.opened.ticket}." if where == place else "" for where in ("title", "body", "commit")
            }
            ref = f"mischief/{place}/{self.at}"
            ticket, branch = like.opened.ticket, f"fix/{number}"
            self.opened(ref, like, ticket, branch, said["title"] or "Mend it", said["body"], said["commit"])
            who = self.dice.choice(("codecov", "priya-n", "wei-zhang"))
            state = self.dice.choice(("APPROVED", "CHANGES_REQUESTED", "COMMENTED"))
            self.events.append(ev.ReviewSubmitted(self.then(), ticket, ref, who, state, "  "))
            if self.dice.random() < 0.5:
                sha = f"{self.dice.getrandbits(160):040x}"
                self.events.append(ev.PullRequestMerged(self.then(), ticket, ref, "priya-n", sha))

    def deployed(self, repository: str, sha: str, ends: str = "success") -> None:
        """Straight to production."""
        id_ = f"mischief/{self.at}"
        self.events.append(ev.DeploymentCreated(self.then(), None, id_, repository, sha, "Production-EU", "sam-lee"))
        self.events.append(ev.DeploymentStatusCreated(self.then(), None, id_, ends, "sam-lee"))

    def deployed_by_hand(self) -> None:
        """Something that is no merge, one that fails, and where nothing ever was deployed."""
        for repository in ("fleet-api", "pay-core", "atlas", "telemetry"):
            head = self.world.state.hub.repos[repository].head
            sha = self.dice.choice((head, f"{self.dice.getrandbits(160):040x}"))
            self.deployed(repository, sha, self.dice.choice(("success", "success", "error", "in_progress")))

    def incident(self, project: str, cause: str | None) -> str:
        """A ticket of an incident."""
        number = 70_000 + self.dice.randrange(9_000)
        key, at = f"{project}-{number}", self.then()
        self.events.append(
            ev.IssueCreated(
                at, key, str(700_000 + number), project, "It is down", "", "Incident", "Highest", "sam-lee", (), None,
                None, None,
            )
        )  # fmt: skip
        if cause:
            link = ev.Change("Link", None, None, None, cause, f"This issue is caused by {cause}")
            self.events.append(ev.IssueChanged(self.then(), key, "sam-lee", (link,)))
        return key

    def broken_without_a_cause(self) -> None:
        """Incidents that nobody links, or to a ticket that never was deployed, or two to one; some are over."""
        shipped = [p.opened.ticket for p in self.pulls if p.merged]
        twice = self.dice.choice(shipped) if shipped else None
        causes = (twice, twice, self.dice.choice((None, None, *self.tickets[:3])), None)
        for number, cause in enumerate(causes):
            key = self.incident(("FLEET", "PAY")[number % 2], cause)
            if number > 1 and self.dice.random() < 0.5:
                like = self.dice.choice(self.pulls)
                self.opened(f"mischief/{key}", like, key, f"hotfix/{key}", f"{key}: Mend", "", "")
            if self.dice.random() < 0.7:
                done = (
                    ev.Change("status", "status", org.TODO.id, org.TODO.name, org.DONE.id, org.DONE.name),
                    ev.Change("resolution", "resolution", None, None, "10000", "Done"),
                )
                self.events.append(ev.IssueChanged(self.then(), key, "sam-lee", done))

    def helped_and_hindered(self) -> None:
        """People push to what agents opened, and put tickets back."""
        for pull in self.pulls:
            ticket = self.world.state.site.keys_ever[pull.opened.ticket or ""]
            if pull.state != "OPEN" or pull.author not in org.AGENTS:
                continue
            if self.dice.random() < 0.4:
                commit = self.commit(self.dice.choice(("priya-n", "forge-fixer")), "One more thing")
                self.events.append(ev.CommitsPushed(self.then(), pull.opened.ticket, pull.opened.ref, (commit,), 1))
            if self.dice.random() < 0.4:
                self.put(ticket.created.ticket, ticket.status, self.dice.choice((org.TODO, org.IN_PROGRESS)))
        for key in self.dice.sample(self.tickets, min(3, len(self.tickets))):
            ticket = self.world.state.issues[key]
            self.put(ticket.created.ticket, ticket.status, self.dice.choice(list(org.STATUSES.values())))

    def approved_too_early(self) -> None:
        """Something is pushed after the approval, and not merged yet."""
        for pull in [p for p in self.pulls if p.state == "OPEN"][:3]:
            it = pull.opened
            self.events.append(ev.ReviewSubmitted(self.then(), it.ticket, it.ref, "marta-silva", "APPROVED", "Fine"))
            at = self.then() + timedelta(seconds=50)
            commit = ev.Commit(f"{self.dice.getrandbits(160):040x}", it.author, at, at, "And this", 1, 1)
            self.at = at
            self.events.append(ev.CommitsPushed(self.then(), it.ticket, it.ref, (commit,), 1))

    def judged_late(self) -> None:
        """Verdicts at the edges, and others on plans, with the time at which they were given."""
        plans = [
            t for t in self.world.state.traces.values() if t.ingested.user == "forge-planner" and t.ingested.ticket
        ]
        for trace in self.dice.sample(plans, min(4, len(plans))):
            it = trace.ingested
            issue = self.world.state.site.keys_ever[it.ticket or ""]
            ends = [h.at for h in issue.histories for c in h.changes if c.from_string == org.PLAN_REVIEW.name]
            late = ev.ScoreAdded(
                self.then(), it.ticket, f"late-{self.dice.getrandbits(64):x}", it.id, "plan_approval",
                Decimal(self.dice.randint(0, 1)), "ANNOTATION", self.dice.choice((None, "  ", " On second thought ")),
                author=self.dice.choice((None, "marta-silva")),
                given_at=self.dice.choice(ends) if ends else None,
            )  # fmt: skip
            self.events.append(late)
        for value in ("-0.5", "0", "0.25", "0.5", "0.75", "1", "1.5"):
            for trace in self.dice.sample(plans, min(2, len(plans))):
                id_ = f"edge-{self.dice.getrandbits(64):x}"
                self.events.append(
                    ev.ScoreAdded(
                        self.then(), trace.ingested.ticket, id_, trace.ingested.id, "edge", Decimal(value), "EVAL", None
                    )
                )

    def put(self, key: str | None, before: org.Status, after: org.Status) -> None:
        """Somebody puts a ticket elsewhere."""
        if before != after:
            change = ev.Change("status", "status", before.id, before.name, after.id, after.name)
            who = self.dice.choice(("priya-n", "jonas-b", "forge-coder"))
            self.events.append(ev.IssueChanged(self.then(), key, who, (change,)))

    def moved_and_deleted(self) -> None:
        """Tickets that agents and people worked on get another key, or go."""
        chosen = self.dice.sample(self.tickets, min(4, len(self.tickets)))
        for key, project in zip(chosen, ("PAY", "FLEET", "OPS"), strict=False):
            name = f"{project}-{80_000 + self.dice.randrange(9_000)}"
            first = self.world.state.issues[key].created.ticket
            self.events.append(jira.IssueMoved(self.then(), first, "marta-silva", project, name))
        for key in chosen[3:]:
            self.events.append(jira.IssueDeleted(self.then(), self.world.state.issues[key].created.ticket))

    def traced_oddly(self) -> None:
        """Calls within calls that tell of the same tokens, and a chat that turns out to be of a ticket."""
        chats = [t for t in self.world.state.traces.values() if t.ingested.ticket is None]
        if chats and self.tickets:
            key = self.world.state.issues[self.dice.choice(self.tickets)].created.ticket or ""
            chat = self.dice.choice(chats)
            self.events.append(ev.TraceUpdated(self.then(), None, chat.ingested.id, (("ticket", key),)))
        began, id_ = self.then() - timedelta(hours=2), f"{self.dice.getrandbits(128):032x}"
        steps = []
        for number, parent in enumerate((None, 0, 1, 1, 0)):
            has = number != 4
            steps.append(
                ev.Observation(
                    f"{id_[:12]}{number:04x}", None if parent is None else f"{id_[:12]}{parent:04x}",
                    "SPAN" if number == 0 else "GENERATION", "call", began, began + timedelta(seconds=number + 1),
                    model="gpt-5-mini", input_tokens=100 * number if has else None,
                    output_tokens=10 if has else None, level="ERROR" if number == 3 else "DEFAULT",
                    status_message="too long" if number == 3 else None,
                )
            )  # fmt: skip
        key = self.dice.choice(self.tickets) if self.tickets else None
        first = self.world.state.issues[key].created.ticket if key else None
        tags = (f"ticket:{first}", "stage:plan") if first else ()
        self.events.append(
            ev.TraceIngested(
                self.then(), first, id_, "forge.plan", began, None, "forge-planner" if first else None, "production",
                None, None, tags, (), tuple(steps),
            )
        )  # fmt: skip


def request(stack: Stack, types: Iterable[str] = (*TYPES, "prometheus"), **more: Any) -> Row:
    """What a transform of the stack is asked to do."""
    teams = [
        {"name": team.name, "repositories": list(team.repositories), "jira_projects": list(team.projects)}
        for team in stack.teams
    ]
    return {"sources": [{"name": name, "type": name} for name in types], "variables": {"teams": teams}, **more}


@functools.cache
def _declared() -> dict[str, dict[str, Any]]:
    """What bronze is declared to hold, by the names of the tables."""
    text = (project_dir() / "models/staging/__sources.yml").read_text()
    return {
        table["identifier"]: table
        for source in yaml.load(text, yaml.CSafeLoader)["sources"]
        for table in source["tables"]
        if "meta" in table.get("config", {})
    }


@dataclass
class Loads:
    """Writes what a world holds at moments into bronze, as loads do: what changed since, and what is gone.

    A load may miss rows, which the next one brings; rows that come later are of the world as it is then.
    """

    client: Client
    stack: Stack
    dice: random.Random
    written: dict[str, dict[bytes, Row]] = field(default_factory=dict)
    gone: set[tuple[str, bytes]] = field(default_factory=set)

    def write(self, state: State, at: datetime, *, missing: float = 0.0, types: Sequence[str] = TYPES) -> None:
        """A load of each source."""
        self.client.command("create database if not exists bronze")
        for type_ in types:
            load = f"{at.timestamp():.6f}"
            deletions: list[Row] = []
            for name, table in _declared().items():
                if name.startswith(f"{type_}_") and name in truth.TABLES:
                    self._table(name, table, truth.TABLES[name](state), at, load, missing, deletions)
            self._insert(f"{type_}_deletions", deletions)
            self._complete(type_, at)

    def write_samples(self, past: Sequence[Event], at: datetime) -> None:
        """A load of Prometheus: the platform's metrics, a sample a minute of the time that the stack says."""
        assert self.stack.sampled is not None
        begin, end = (moment.timestamp() for moment in self.stack.sampled)
        load = {"_dlt_load_id": f"{at.timestamp():.6f}"}
        series, samples = [], []
        for number, one in enumerate(metrics.series(past)):
            known = {"fingerprint": f"{number:032x}", "last_seen_at": at, "query": "forge", "metric": one.name}
            series.append(known | {"labels": one.labels} | load)
            for when, value in one.samples(begin, end):
                moment = datetime.fromtimestamp(when, UTC)
                row = {"fingerprint": known["fingerprint"], "sampled_at": moment, "loaded_at": at, "value": value}
                samples.append(row | load)
        for name, rows in (("prometheus_series", series), ("prometheus_samples", samples)):
            self._create(name)
            self._insert(name, rows)
        self._complete("prometheus", at)

    def _table(
        self, name: str, table: Row, rows: list[Row], at: datetime, load: str, missing: float, deletions: list[Row]
    ) -> None:
        columns, key = self._create(name), table["config"]["meta"]["key"]
        before = self.written.setdefault(name, {})
        now = {orjson.dumps([row[k] for k in key]): row for row in rows if self._is_loaded(name, row)}
        changed = []
        for id_, row in now.items():
            if before.get(id_) != row and self.dice.random() >= missing:
                before[id_] = row
                changed.append({k: row.get(k) for k in columns if k in row} | {"_dlt_load_id": load})
                if "loaded_at" in columns:
                    changed[-1]["loaded_at"] = at
                if (name, id_) in self.gone:
                    self.gone.discard((name, id_))
                    deletions.append(_deletion(name, id_, at, "returned", load))
        for id_ in before.keys() - now.keys():
            del before[id_]
            self.gone.add((name, id_))
            deletions.append(_deletion(name, id_, at, "deleted", load))
        self.dice.shuffle(changed)
        self._insert(name, changed)

    def _create(self, name: str) -> dict[str, str]:
        """The table as a load makes it; its columns."""
        table, type_ = _declared()[name], name.partition("_")[0]
        columns = {column["name"]: column["data_type"] for column in table["columns"]}
        meta = table["config"]["meta"]
        declared = ", ".join(f"{column} {data_type}" for column, data_type in columns.items())
        self.client.command(
            f"create table if not exists bronze.{name} ({declared}) "
            f"engine = ReplacingMergeTree({meta['version']}) order by ({', '.join(meta['key'])})"
        )
        self.client.command(
            f"create table if not exists bronze.{type_}_deletions (entity String, entity_key String, "
            "deleted_at DateTime64(6, 'UTC'), reason String, _dlt_load_id String) "
            "engine = ReplacingMergeTree(deleted_at) order by (entity, entity_key)"
        )
        return columns

    def _complete(self, type_: str, at: datetime) -> None:
        self.client.command(
            f"create table if not exists bronze.{type_}__dlt_loads (load_id String, schema_name Nullable(String), "
            "status Int64, inserted_at DateTime64(6, 'UTC'), schema_version_hash Nullable(String)) order by load_id"
        )
        self._insert(f"{type_}__dlt_loads", [{"load_id": f"{at.timestamp():.6f}", "status": 0, "inserted_at": at}])

    def _is_loaded(self, name: str, row: Row) -> bool:
        wanted = set(self.stack.topics)
        if not wanted or not name.startswith("github_"):
            return True
        return any(wanted & set(p.topics) for p in PLACES.values() if p.id == row["repository_id"])

    def _insert(self, table: str, rows: list[Row]) -> None:
        if rows:
            body = b"\n".join(orjson.dumps({k: _cell(v) for k, v in row.items()}) for row in rows)
            self.client.raw_insert(
                f"bronze.{table}",
                list(rows[0]),
                body,
                {"date_time_input_format": "best_effort"},
                fmt="JSONEachRow",
            )


def _deletion(name: str, id_: bytes, at: datetime, reason: str, load: str) -> Row:
    entity = name.partition("_")[2]
    return {"entity": entity, "entity_key": id_.decode(), "deleted_at": at, "reason": reason, "_dlt_load_id": load}


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return f"{value:f}" if isinstance(value, Decimal) else value


# Gold


@dataclass
class Compiled:
    """The models' SQL as dbt compiled it to build everything, run again over other bronze, into the tables it made.

    A transform takes its time for what has nothing to do with the numbers; the queries alone are done in seconds.
    """

    client: Client
    statements: list[tuple[str, str]]

    @classmethod
    def read(cls, client: Client, target: Path) -> Compiled:
        """What a build of everything left in its folder, what is built on another after it."""
        views = client.query("select name from system.tables where database = 'silver' and engine = 'View'")
        left_out = {str(name) for (name,) in views.result_rows} | NOT_TRUTH
        texts = {
            f"{DATABASES[folder]}.{file.stem}": file.read_text()
            for folder in DATABASES
            for file in (target / "compiled/forge_observability/models" / folder).rglob("*.sql")
            if file.stem not in left_out and file.parent.suffix != ".yml"  # not a test
        }
        assert len(texts) > 40, f"dbt left no compiled models in {target}"
        names = {table: re.compile(rf"`?{table.replace('.', '`?[.]`?')}`?(?!\\w)") for table in texts}
        upstream = {t: {n for n, name in names.items() if n != t and name.search(text)} for t, text in texts.items()}
        return cls(client, [(table, texts[table]) for table in TopologicalSorter(upstream).static_order()])

    def run(self) -> None:
        """Build all of it anew."""
        found = self.client.query("select concat(database, '.', table), name from system.columns order by position")
        columns: dict[str, list[str]] = {}
        for table, column in found.result_rows:
            columns.setdefault(table, []).append(f"`{column}`")
        for table, text in self.statements:
            names = ", ".join(columns[table])
            self.client.command(f"truncate table {table}")
            self.client.command(f"insert into {table} ({names}) select {names} from (\n{text}\n)", settings=SETTINGS)


def differences(
    client: Client, past: Sequence[Any], stack: Stack, only: Iterable[str] | None = None, database: str = "gold"
) -> list[str]:
    """Where gold and the events disagree, table by table, readably; empty where they do not."""
    known = oracle.Known(past, stack)
    there = _tables(client, database)
    found = [f"gold.{name}: not there" for name in sorted(oracle.TABLES.keys() - there)]
    for name in only or sorted(there):
        if name in oracle.TABLES:
            found += _compare(name, oracle.TABLES[name](known), _rows(client, f"{database}.{name}"))
        elif name not in NOT_TRUTH:
            found.append(f"gold.{name}: the oracle knows no such table")
    return found


def _tables(client: Client, database: str) -> set[str]:
    rows = client.query(f"select name from system.tables where database = '{database}'").result_rows
    return {str(name) for (name,) in rows if "__" not in name}


def _rows(client: Client, table: str) -> list[Row]:
    result = client.query(f"select * from {table}")
    return [
        {k: _plain(v) for k, v in zip(result.column_names, values, strict=True) if k not in LEFT_OUT}
        for values in result.result_rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def _compare(name: str, must: list[Row], is_: list[Row]) -> list[str]:
    key = oracle.KEYS[name]
    ours = {tuple(row[k] for k in key): row for row in must}
    assert len(ours) == len(must), f"the oracle has a row of {name} twice"
    theirs: dict[tuple[Any, ...], Row] = {}
    found = []
    for row in is_:
        id_ = tuple(row[k] for k in key)
        if id_ in theirs:
            found.append(f"gold.{name} {_said(id_)}: there twice")
        theirs[id_] = row
    lost, more = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    for word, ids in (("not in gold", lost), ("only in gold", more)):
        if ids:
            some = "; ".join(sorted(_said(id_) for id_ in ids)[:4])
            found.append(f"gold.{name}: {len(ids)} of {len(ours)} rows {word}: {some}")
    wrong: dict[str, list[str]] = {}
    for id_ in sorted(ours.keys() & theirs.keys(), key=str):
        columns = ours[id_].keys() | theirs[id_].keys()
        for column in columns:
            we, they = ours[id_].get(column, "absent"), theirs[id_].get(column, "absent")
            if not _same(we, they):
                wrong.setdefault(column, []).append(f"{_said(id_)}: oracle {_said(we)}, gold {_said(they)}")
    for column, cases in sorted(wrong.items()):
        found.append(f"gold.{name}.{column}: {len(cases)} of {len(ours)} rows differ\n    " + "\n    ".join(cases[:3]))
    return found


def _same(we: Any, they: Any) -> bool:
    if we is ...:
        return True
    if isinstance(we, float) and isinstance(they, (int, float)) and not isinstance(they, bool):
        return isclose(we, float(they), rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(we, Decimal) and isinstance(they, float):
        return isclose(float(we), they, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(we, (list, tuple)) and isinstance(they, (list, tuple)):
        return list(we) == list(they)
    return type(we) is type(they) and bool(we == they)


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(_said(part) for part in value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"
    return str(value) if isinstance(value, (date, timedelta, Decimal, str)) else repr(value)
