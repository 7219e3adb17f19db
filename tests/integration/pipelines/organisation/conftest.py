"""The simulated organisation as the source of loads, and what bronze must hold of it: its ground truth."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from forge_demo import truth

KINDS = ("langfuse", "github", "jira")
SECRETS: dict[str, dict[str, str]] = {
    "langfuse": {"publicKey": "pk-lf-demo", "secretKey": "sk-lf-demo"},
    "github": {"token": "ghp_demo"},
    "jira": {"email": "observer@acme-robotics.example", "token": "jira-demo"},
    "jiraDataCenter": {"token": "jira-demo"},
    "prometheus": {},
}
SPECS: dict[str, dict[str, Any]] = {
    "langfuse": {"lag": "0s"},
    "github": {"organizations": ["acme-robotics"]},
    "jira": {"projects": ["FLEET", "PAY"], "customFields": ["customfield_10016", "customfield_10042"]},
    "jiraDataCenter": {"projects": ["FLEET", "PAY"], "customFields": ["customfield_10016"]},
    "prometheus": {"backfill": "3d"},
}
TABLES = {
    f"{kind}_{table.name}": table
    for kind in KINDS
    for table in importlib.import_module(f"forge_pipelines.sources.{kind}").TABLES
}
"""What the sources write, by the names that the ground truth has for it."""
BY_US = {"loaded_at"}
"""Columns that say when a row was read: no truth of the world's."""

Rows = dict[tuple[Any, ...], dict[str, Any]]


class Organisation:
    """The running demo: its addresses, its truth, and what a test makes happen in it."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.urls["world"] + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or b"null")

    def fault(self, kind: str, **values: Any) -> None:
        """Turn a fault on."""
        self.ask("/faults", {"kind": kind, **values})

    def calm(self) -> None:
        """Turn all faults off."""
        self.ask("/faults", method="DELETE")

    def source(self, kind: str, name: str, **values: Any) -> dict[str, Any]:
        """An element of spec.sources."""
        spec: dict[str, Any] = {"url": self.urls[kind]}
        if kind != "prometheus":
            spec["credentialsSecretRef"] = {"name": "s"}
        return {"name": name, "jira" if kind == "jiraDataCenter" else kind: {**spec, **SPECS[kind], **values}}

    @property
    def through_faults(self) -> dict[str, Any]:
        """What a Prometheus source needs to meet the faults."""
        return {"url": self.urls["world"].removesuffix("/_world") + "/prometheus"}


class Exact:
    """Loads of the organisation into bronze, and the comparison of both."""

    def __init__(self, forge: Any, organisation: Organisation) -> None:
        self.forge, self.organisation = forge, organisation
        self.tables = tuple(TABLES)
        self.begin = int(time.time()) // 60 * 60 - 3 * 86_400

    def start(self, kind: str, name: str, **values: Any) -> Any:
        """Start a load as a process."""
        return self.forge.start(self.organisation.source(kind, name, **self.values(kind, values)), SECRETS[kind])

    def run(self, kind: str, name: str, **values: Any) -> Any:
        """A load, however it ends."""
        source = self.organisation.source(kind, name, **self.values(kind, values))
        return self.forge.load(source, SECRETS[kind])

    def load(self, kind: str, name: str, **values: Any) -> Any:
        """A load that must succeed."""
        loaded = self.run(kind, name, **values)
        assert (loaded.code, loaded.summary["outcome"]) == (0, "succeeded"), loaded.stdout + loaded.stderr
        return loaded

    def values(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """Prometheus is read from one moment on, so that what must be there can be asked for."""
        if kind != "prometheus":
            return values
        return {"since": datetime.fromtimestamp(self.begin, UTC).isoformat(), **values}

    def load_all(self, names: dict[str, str], **values: dict[str, Any]) -> dict[str, Any]:
        """Load of each kind the source of that name, all at the same time."""
        with ThreadPoolExecutor(len(names)) as pool:
            jobs = {kind: pool.submit(self.load, kind, name, **values.get(kind, {})) for kind, name in names.items()}
            return {kind: job.result() for kind, job in jobs.items()}

    def assert_all(self, names: dict[str, str]) -> None:
        """Each source's bronze equals the truth."""
        for kind, name in names.items():
            if kind == "prometheus":
                self.assert_samples(name)
            else:
                self.assert_equal(kind, name)

    def drop(self, names: dict[str, str]) -> None:
        """Forget what was loaded."""
        for name in names.values():
            prefix = name.replace("-", "_")
            tables = self.forge.rows(
                f"select name from system.tables where database = 'bronze' and startsWith(name, '{prefix}_')"
            )
            for (table,) in tables:
                self.forge.store.command(f"drop table if exists bronze.{table} sync")

    def uncommitted(self, name: str) -> int:
        """How many rows a source has of loads that did not end."""
        prefix = name.replace("-", "_")
        tables = {
            table
            for (table,) in self.forge.rows(
                f"select name from system.tables where database = 'bronze' and startsWith(name, '{prefix}_')"
            )
        }
        loads = f"{prefix}__dlt_loads"
        ended = f"(select load_id from bronze.{loads} where status = 0)" if loads in tables else "('')"
        entities = {table.name for table in TABLES.values()} | {"series", "samples"}
        ours = [table for table in tables if table.removeprefix(f"{prefix}_") in entities]
        counts = [f"select count() as n from bronze.{table} where _dlt_load_id not in {ended}" for table in ours]
        return int(self.forge.rows(f"select sum(n) from ({' union all '.join(counts)})")[0][0]) if counts else 0

    def committed(self, prefix: str, entity: str) -> list[dict[str, Any]]:
        """A table as silver reads it: FINAL, of committed loads."""
        result = self.forge.store.query(
            f"select * from bronze.{prefix}_{entity} final "
            f"prewhere _dlt_load_id in (select load_id from bronze.{prefix}__dlt_loads where status = 0)"
        )
        return [dict(zip(result.column_names, values, strict=True)) for values in result.result_rows]

    def bronze(self, prefix: str, name: str, json_columns: set[str]) -> Rows:
        """The rows that the source still has, by key, as plain values."""
        table = TABLES[name]
        gone = {
            tuple(orjson.loads(row["entity_key"])): row["deleted_at"]
            for row in self.committed(prefix, "deletions")
            if row["entity"] == table.name and row["reason"] != "returned"
        }
        found: Rows = {}
        for row in self.committed(prefix, table.name):
            key = tuple(row[k] for k in table.key)
            if key in gone and gone[key] >= row[table.version]:
                continue
            del row["_dlt_load_id"]
            assert key not in found, f"{name}: {key} is there twice"
            found[key] = {
                k: plain(k, orjson.loads(v) if k in json_columns and isinstance(v, str) else v) for k, v in row.items()
            }
        return found

    def truth(self, name: str) -> tuple[Rows, set[str]]:
        """The rows that must be there by key, and the columns that hold JSON."""
        rows = self.organisation.ask(f"/truth?table={name}")
        json_columns = {k for row in rows for k, v in row.items() if isinstance(v, (list, dict))}
        key = TABLES[name].key
        return {tuple(row[k] for k in key): {k: plain(k, v) for k, v in row.items()} for row in rows}, json_columns

    def assert_equal(
        self,
        kind: str,
        name: str,
        leave: tuple[str, ...] = (),
        only: Any = lambda row: True,
    ) -> None:
        """All tables of a source equal the truth, row by row and field by field, but for the columns in `leave`."""
        prefix = name.replace("-", "_")
        for table in (t for t in TABLES if t.partition("_")[0] == kind and t in truth.TABLES):
            must, json_columns = self.truth(table)
            must = {key: row for key, row in must.items() if only(row)}
            is_ = self.bronze(prefix, table, json_columns)
            lost, more = must.keys() - is_.keys(), is_.keys() - must.keys()
            assert not lost and not more, (
                f"{table} of {name}: {len(is_)} rows, {len(must)} expected; "
                f"lost: {sorted(map(str, lost))[:5]}; too many: {sorted(map(str, more))[:5]}"
            )
            for key, row in must.items():
                wrong = {
                    k: (is_[key].get(k, "absent"), v) for k, v in row.items() if k not in leave and is_[key].get(k) != v
                }
                assert not wrong, f"{table} of {name} {key}: (found, expected) {wrong}"[:2000]

    def without_truth(self) -> dict[str, list[str]]:
        """The columns that loads write and the truth does not tell, by table; of a table without truth, all."""
        found = {}
        for name, table in TABLES.items():
            rows = self.truth(name)[0].values() if name in truth.TABLES else ()
            told = set(next(iter(rows), {}))
            if missing := [column for column in table.schema.names if column not in told | BY_US]:
                found[name] = missing
        return found

    def assert_samples(self, name: str) -> None:
        """Series and samples are what Prometheus says now, from the beginning until then."""
        prefix = name.replace("-", "_")
        end = int(time.time()) // 60 * 60
        form = {"query": '{__name__=~"forge_.+"}', "start": self.begin, "end": end, "step": 60}
        url = f"{self.organisation.urls['prometheus']}/api/v1/query_range?{urllib.parse.urlencode(form)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            result = json.loads(answer.read())["data"]["result"]
        expected = {
            (json.dumps(series["metric"], sort_keys=True), int(at)): float(value)
            for series in result
            for at, value in series["values"]
        }
        series = {
            row["fingerprint"]: json.dumps({"__name__": row["metric"], **json.loads(row["labels"])}, sort_keys=True)
            for row in self.committed(prefix, "series")
        }
        rows = self.committed(prefix, "samples")
        found = {(series[row["fingerprint"]], int(row["sampled_at"].timestamp())): row["value"] for row in rows}
        assert len(found) == len(rows), "a sample is there twice"
        assert len(expected) > 10_000 and found == expected, f"{len(found)} samples, {len(expected)} expected"


def plain(column: str, value: Any) -> Any:
    """A value as both sides can say it: moments as datetimes, amounts as floats, JSON as values."""
    if isinstance(value, dict):
        return {key: plain(key, item) for key, item in value.items() if not (column == "metadata" and key == "summary")}
    if isinstance(value, list):
        return [plain(column, item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str) and (column.endswith(("_at", "_time", "At")) or column in ("timestamp", "at")):
        return datetime.fromisoformat(value)
    if column in ("total_cost", "input", "output", "total", "cache_read_input_tokens") and value is not None:
        return float(value)
    return value


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organisation]:
    """A world of 12 days that stands still two days ago, so that it may be moved on without reaching the future."""
    log = (tmp_path_factory.mktemp("demo") / "log").open("wb")
    command = [str(Path(sys.executable).parent / "forge-demo"), "serve", "--end", "now-2d", "--days", "12"]
    process = subprocess.Popen([*command, "--metrics-days", "1"], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, Path(log.name).read_text()
    yield Organisation(json.loads(line)["urls"])
    died = process.poll()
    process.terminate()
    process.wait(30)
    said = Path(log.name).read_text()
    assert died is None and "Traceback" not in said, f"the demo ended with {died} and said: {said[-3000:]}"


@pytest.fixture(scope="module")
def exact(forge: Any, organisation: Organisation) -> Exact:
    """Loads of that world, compared with its truth."""
    return Exact(forge, organisation)
