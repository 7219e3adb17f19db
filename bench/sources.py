"""The four sources: requests, seconds, rows a second and memory, beside dlt's stock way and the least program.

Requests and seconds are taken at 100 ms simulated latency, of the same world; the peers, whose requests grow with the
rows, read a part of it. Everything is said per 1,000 pull requests or issues.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import clickhouse_connect
import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import requests

from bench import static
from bench.programs import SECRETS, Load, World, load, store, world
from bench.result import Benchmark, Result

LATENCY = 0.1
END = "2026-06-01T00:00:00Z"
DAYS = 90
PEER_PULL_REQUESTS = 100
PULL_REQUEST_QUERIES = tuple(
    f"github {name}" for name in ("Organization", "Repositories", "Pulls", "Deployments", "Follow", "Nodes")
)
"""What is asked for pull requests with reviews, commits, checks and deployments, which is what the peer has too."""
PEER_ISSUES = 150
ROWS = 100_000


@contextmanager
def scratch() -> Iterator[tuple[Path, int]]:
    """A folder and the port of an empty store."""
    with tempfile.TemporaryDirectory() as folder, store(Path(folder)) as port:
        yield Path(folder), port


def apart(work: Callable[..., float], *given: Any) -> float:
    """Do it in a process of its own: a child's peak memory is never below that of the process that started it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def query(port: int, sql: str) -> Any:
    """The first value of a query."""
    return clickhouse_connect.get_client(host="127.0.0.1", port=port).query(sql).result_rows[0]


def peer(entity: str, port: int, given: dict[str, Any]) -> dict[str, Any]:
    """What the peer's process said: seconds (of the pipeline alone) and rows by table."""
    command = [sys.executable, "-m", "bench.peers", entity, str(port), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"peer {entity}: {done.stderr[-1500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# Requests and seconds, at latency


@dataclass(frozen=True)
class Cost:
    """What 1,000 things cost."""

    requests: float
    seconds: float
    note: str


Costs = tuple[Cost, Cost]
"""Ours and the peer's."""


@cache
def github_costs() -> Costs:
    """A full load of all repositories; the peer reads one of them."""
    with scratch() as (folder, port), world(folder, *_busy_world()) as served:
        url = served.urls["github"]
        source = {"name": "github", "github": {"url": url, "organizations": ["acme-robotics"], "jobs": False}}
        ours, asked = _load(folder, port, served, source)
        for_pulls = served.served(*PULL_REQUEST_QUERIES)
        again, asked_again = _load(folder, port, served, source)
        count = ours.rows["pull_requests"]
        counts = "select repository, count() as n from bronze.github_pull_requests final group by 1"
        repository, few = query(port, f"{counts} order by abs(toInt64(n) - {PEER_PULL_REQUESTS}) limit 1")
        given = {"url": url, "token": SECRETS["github"]["token"], "repository": repository}
        theirs, peer_asked = _peer(port, served, "github", given)
        # Jobs are a request a run, by GitHub's own rule: counted apart, of the repository that the peer reads.
        one = {"url": url, "repositories": [repository]}
        bare, bare_asked = _load(folder, port, served, {"name": "one", "github": {**one, "jobs": False}})
        _, jobs_asked = _load(folder, port, served, {"name": "jobs", "github": {**one, "jobs": True}})
    note = (
        f"{count} pull requests with reviews, commits, checks and {ours.rows['deployments']} deployments: {for_pulls} "
        f"requests; with {ours.rows['workflow_runs']} runs, issues, releases, tags {asked}, {ours.seconds:.1f} s, of "
        f"which the seconds are; nothing new: {asked_again} requests, {again.seconds:.1f} s; "
        f"jobs of {bare.rows.get('workflow_runs', 0)} runs: {jobs_asked - bare_asked} more; peer: {few} pull requests"
    )
    return _cost(for_pulls, ours.seconds, count, note), _cost(peer_asked, theirs, few, "")


@cache
def jira_costs() -> Costs:
    """A full load of all projects; the peer reads the newest issues."""
    with scratch() as (folder, port), world(folder, *_busy_world()) as served:
        url, projects = served.urls["jira"], ["FLEET", "PAY"]
        source = {"name": "jira", "jira": {"url": url, "projects": projects}}
        ours, asked = _load(folder, port, served, source)
        again, asked_again = _load(folder, port, served, source)
        count = ours.rows["issues"]
        newest = f"select created_at from bronze.jira_issues final order by 1 desc limit 1 offset {PEER_ISSUES - 1}"
        since = int(query(port, newest)[0].timestamp() * 1000)
        jql = f"project in ({', '.join(projects)}) AND created >= {since} ORDER BY created ASC"
        given = {"url": url, "user": SECRETS["jira"]["email"], "token": SECRETS["jira"]["token"], "jql": jql}
        theirs, peer_asked = _peer(port, served, "jira", given)
    note = (
        f"{count} issues with changelog and comments: {asked} requests, {ours.seconds:.1f} s; again with nothing new: "
        f"{asked_again} requests, {again.seconds:.1f} s; peer: {PEER_ISSUES} issues"
    )
    return _cost(asked, ours.seconds, count, note), _cost(peer_asked, theirs, PEER_ISSUES, "")


def _busy_world() -> tuple[str, ...]:
    return ("--end", END, "--days", str(DAYS), "--tickets-per-day", "14", "--latency", str(LATENCY), "--no-prometheus")


def _load(folder: Path, port: int, served: World, source: dict[str, Any]) -> tuple[Load, int]:
    kind = next(key for key in SECRETS if key in source)
    source = {**source, kind: {**source[kind], "credentialsSecretRef": {"name": "s"}}}
    before = served.served(kind)
    done = load(folder, port, source)
    return done, served.served(kind) - before


def _peer(port: int, served: World, kind: str, given: dict[str, Any]) -> tuple[float, int]:
    before = served.served(kind)
    said = peer(kind, port, given)
    return float(said["seconds"]), served.served(kind) - before


def _cost(asked: int, seconds: float, count: int, note: str) -> Cost:
    return Cost(1000 * asked / count, 1000 * seconds / count, note)


def requests_of(costs: Callable[[], Costs], name: str) -> Result:
    """Requests per 1,000."""
    ours, theirs = costs()
    return Result(name, "requests", ours.requests, peer=theirs.requests, note=ours.note)


def seconds_of(costs: Callable[[], Costs], name: str) -> Result:
    """Seconds per 1,000, start of the process included; the peer's without."""
    ours, theirs = costs()
    return Result(name, "s", ours.seconds, peer=theirs.seconds, note=f"at {LATENCY * 1000:.0f} ms latency")


# Rows a second


@contextmanager
def ready_bytes(folder: Path, *, samples: int = 0, observations: int = 0) -> Iterator[str]:
    """The URL of a server whose answers cost next to nothing."""
    port = folder / "static-port"
    port.unlink(missing_ok=True)
    child = subprocess.Popen([sys.executable, "-m", "bench.static", str(port), str(samples), str(observations)])
    try:
        while not (port.exists() and port.read_text()):
            if child.poll() is not None:
                raise RuntimeError("the server of ready bytes ended")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        child.terminate()
        child.wait(10)


def langfuse_rows(name: str) -> Result:
    """Observations a second; floor: fetch, parse, one Arrow insert of the same columns; peer: dlt's dictionaries."""
    with scratch() as (folder, port), ready_bytes(folder, observations=ROWS) as url:
        done = load(folder, port, langfuse_source(url))
        rows = done.rows["observations"]
        floor = apart(_langfuse_floor, port, url)
        given = {
            "url": url, "user": "a", "token": "b", "fields": "core,basic,time,metadata,model,usage,prompt,metrics",
            "from": static.BEGIN.isoformat(), "to": (static.BEGIN + static.SPAN).isoformat(),
        }  # fmt: skip
        said = peer("langfuse", port, given)
    return _rate(name, rows, done.seconds, floor, said["rows"]["observations"] / said["seconds"])


def langfuse_source(url: str) -> dict[str, Any]:
    """The stack's element."""
    since = static.BEGIN.isoformat()
    return {
        "name": "langfuse",
        "langfuse": {"url": url, "credentialsSecretRef": {"name": "s"}, "since": since, "sweep": "0s"},
    }


def _langfuse_floor(port: int, url: str) -> float:
    """Rows a second of the least program: pages, orjson, the columns of bronze by name, one insert."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    begun = time.monotonic()
    session, rows, cursor = requests.Session(), [], None
    while True:
        params = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
        answer = orjson.loads(session.get(f"{url}/api/public/v2/observations", params=params).content)
        rows += [
            {
                "id": row["id"], "trace_id": row["traceId"], "parent_observation_id": row["parentObservationId"],
                "type": row["type"], "name": row["name"], "level": row["level"], "start_time": row["startTime"],
                "end_time": row["endTime"], "updated_at": row["updatedAt"], "created_at": row["createdAt"],
                "model": row["providedModelName"], "usage_details": orjson.dumps(row["usageDetails"]).decode(),
                "cost_details": orjson.dumps(row["costDetails"]).decode(), "total_cost": row["totalCost"],
                "input_tokens": row["inputUsage"], "output_tokens": row["outputUsage"],
                "total_tokens": row["totalUsage"], "metadata": orjson.dumps(row["metadata"]).decode(),
            }
            for row in answer["data"]
        ]  # fmt: skip
        cursor = answer["meta"].get("cursor")
        if not cursor:
            break
    table = pa.Table.from_pylist(rows)
    kinds = {"string": "String", "int64": "Int64", "double": "Float64"}
    columns = ", ".join(f"`{f.name}` Nullable({kinds.get(str(f.type), 'String')})" for f in table.schema)
    client.command(f"create table bronze.floor ({columns}) engine = MergeTree order by tuple()")
    client.insert_arrow("bronze.floor", table)
    return len(rows) / (time.monotonic() - begun)


def prometheus_rows(name: str) -> Result:
    """Samples a second; floor and peer as for observations."""
    rows = 10 * ROWS
    with scratch() as (folder, port), ready_bytes(folder, samples=rows) as url:
        done = load(folder, port, prometheus_source(url), **_window(rows))
        floor = apart(_prometheus_floor, port, url, rows)
        begin = int(static.BEGIN.timestamp())
        some = rows // 5
        given = {
            "url": url, "query": "forge_bench", "step": static.STEP, "start": begin,
            "end": begin + (some // static.SERIES - 1) * static.STEP,
        }  # fmt: skip
        said = peer("prometheus", port, given)
    return _rate(name, done.rows["samples"], done.seconds, floor, said["rows"]["samples"] / said["seconds"])


def prometheus_source(url: str) -> dict[str, Any]:
    """The stack's element."""
    return {"name": "metrics", "prometheus": {"url": url, "queries": [{"name": "bench", "expr": "forge_bench"}]}}


def _window(rows: int) -> dict[str, str]:
    end = static.BEGIN + timedelta(seconds=rows // static.SERIES * static.STEP)
    return {"DLT_INTERVAL_START": static.BEGIN.isoformat(), "DLT_INTERVAL_END": end.isoformat()}


def _prometheus_floor(port: int, url: str, rows: int) -> float:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    begun = time.monotonic()
    session, start = requests.Session(), int(static.BEGIN.timestamp())
    end = start + (rows // static.SERIES - 1) * static.STEP
    labels: list[str] = []
    times: list[float] = []
    values: list[float] = []
    while start <= end:
        stop = min(start + 2499 * static.STEP, end)
        params = {"query": "forge_bench", "start": str(start), "end": str(stop), "step": str(static.STEP)}
        answer = orjson.loads(session.get(f"{url}/api/v1/query_range", params=params).content)
        for series in answer["data"]["result"]:
            name = orjson.dumps(series["metric"]).decode()
            points = series["values"]
            labels += [name] * len(points)
            times += [point[0] for point in points]
            values += [float(point[1]) for point in points]
        start = stop + static.STEP
    table = pa.table({"labels": labels, "at": pa.array(times, pa.float64()), "value": values})
    client.command(
        "create table bronze.floor (labels String, at Float64, value Float64) engine = MergeTree order by at"
    )
    client.insert_arrow("bronze.floor", table)
    return len(values) / (time.monotonic() - begun)


def _rate(name: str, rows: int, seconds: float, floor: float, theirs: float) -> Result:
    note = f"{rows:,} rows in {seconds:.1f} s, start of the process included; floor and peer without"
    return Result(name, "rows/s", rows / seconds, floor=floor, peer=theirs, note=note)


# Memory, and a load with nothing to do


def peak_memory(rows: int, name: str) -> Result:
    """Peak resident memory of a load of so many samples, MB."""
    with scratch() as (folder, port), ready_bytes(folder, samples=rows) as url:
        done = load(folder, port, prometheus_source(url), **_window(rows))
    note = f"{done.rows['samples']:,} samples in {done.seconds:.1f} s"
    return Result(name, "MB", done.memory_mb, note=note)


def nothing_new(name: str) -> Result:
    """The slowest of the four sources in a run that finds nothing new; peak memory in the note."""
    found: dict[str, Load] = {}
    with scratch() as (folder, port), world(folder, "--end", END, "--days", "7", "--metrics-days", "1") as served:
        urls = served.urls
        for source in (
            {"name": "langfuse", "langfuse": {"url": urls["langfuse"]}},
            {"name": "github", "github": {"url": urls["github"], "organizations": ["acme-robotics"]}},
            {"name": "jira", "jira": {"url": urls["jira"], "projects": ["FLEET", "PAY"]}},
        ):
            _load(folder, port, served, source)
            found[str(source["name"])], _ = _load(folder, port, served, source)
        metrics = {"name": "prometheus", "prometheus": {"url": urls["prometheus"], "since": _before(END)}}
        load(folder, port, metrics)
        found["prometheus"] = load(folder, port, metrics)
    note = ", ".join(f"{kind} {done.seconds:.1f} s {done.memory_mb:.0f} MB" for kind, done in found.items())
    return Result(name, "s", max(done.seconds for done in found.values()), note=note)


def _before(moment: str) -> str:
    return (datetime.fromisoformat(moment) - timedelta(days=1)).isoformat()


BENCHMARKS: dict[str, Benchmark] = {
    "sources.github_requests_per_1000_prs": partial(requests_of, github_costs),
    "sources.github_seconds_per_1000_prs": partial(seconds_of, github_costs),
    "sources.jira_requests_per_1000_issues": partial(requests_of, jira_costs),
    "sources.jira_seconds_per_1000_issues": partial(seconds_of, jira_costs),
    "sources.langfuse_rows_per_second": langfuse_rows,
    "sources.prometheus_rows_per_second": prometheus_rows,
    "sources.peak_memory_mb_10k": partial(peak_memory, 10_000),
    "sources.peak_memory_mb_5m": partial(peak_memory, 5_000_000),
    "sources.nothing_new_seconds": nothing_new,
}
