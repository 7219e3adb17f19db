"""Simulated worlds as bronze, load by load, and gold compared with what the world's events say."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isclose
from typing import Any

import orjson
import yaml
from clickhouse_connect.driver.client import Client
from forge_demo import metrics, oracle, truth
from forge_demo.events import Event
from forge_demo.github_events import BodyEdited, Retitled
from forge_demo.github_places import PLACES
from forge_demo.github_things import PullRequest
from forge_demo.oracle.stack import Stack
from forge_demo.state import State
from forge_demo.world import World
from forge_transform import project_dir

Row = dict[str, Any]
TYPES = ("langfuse", "github", "jira")
"""Those whose rows the truth has; Prometheus is written by itself."""
LEFT_OUT = {"ticket_bucket"}
"""Columns that say where a row lies, not what is true."""
NOT_TRUTH = {"coverage", "data_quality", "metrics"}
"""Tables that tell of loads, of bad rows, of the tables themselves: they have tests of their own."""


def take_back(world: World) -> None:
    """People write down in some fixes of incidents what they take back: in the text by number, in the title by name."""
    pulls = list(world.state.pull_requests.values())
    for number, pull in enumerate(p for p in pulls if 'Revert "' in p.title):
        what = pull.title.partition('Revert "')[2].rstrip('"')
        of = [p for p in pulls if p.repo is pull.repo and p.merged and p.title.partition(": ")[2] == what]
        if of and number % 3 < 2:
            event: Event
            if number % 3:
                event = Retitled(
                    world.now, pull.opened.ticket, pull.opened.ref, pull.author.login, _named(of[-1], pull)
                )
            else:
                body = f"{pull.body}\n\nReverts {pull.repo.full_name}#{of[-1].number}"
                event = BodyEdited(world.now, pull.opened.ticket, pull.opened.ref, pull.author.login, body)
            world.happen(event)


def _named(of: PullRequest, by: PullRequest) -> str:
    return f'{by.opened.ticket}: Revert "{of.title}"'


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
