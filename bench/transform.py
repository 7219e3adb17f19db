"""The transform over a large history: the whole build, increments at one and at ten times the history, dbt's start."""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import clickhouse_connect

from bench import history
from bench.programs import BIN, peak_memory_mb, store
from bench.result import Benchmark, Result

TICKETS = int(os.environ.get("FORGE_BENCH_TICKETS", "20000"))
"""The history of "one time"; ten times is ten times as long, at the same rate."""
REPEATS = 3
LIMIT_RATIO = 1.3


@dataclass(frozen=True)
class Measured:
    """One history: rows of bronze and seconds of the whole build, seconds of increments, peaks of memory in MB."""

    tickets: int
    rows: int
    full_seconds: float
    increments: tuple[float, ...]
    rows_of_an_increment: int
    start_seconds: float
    store_mb: float
    transform_mb: float

    @property
    def increment_seconds(self) -> float:
        """The middle one."""
        return statistics.median(self.increments)

    @property
    def note(self) -> str:
        """What it was measured on."""
        return f"{self.tickets:,} tickets, {self.rows:,} rows of bronze"


@functools.cache
def measure(tickets: int) -> Measured:
    """Write the history, build everything, then load and build a few hours one by one."""
    with tempfile.TemporaryDirectory() as text, store(folder := Path(text)) as port:
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=port, autogenerate_session_id=False, send_receive_timeout=1800
        )
        rows = history.write(client, tickets)
        full = _transform(folder, port)
        increments, changed = [], 0
        for load in range(2, 2 + REPEATS):
            changed = history.write_load(client, tickets, load)
            increments.append(_transform(folder, port))
        return Measured(
            tickets=tickets,
            rows=rows,
            full_seconds=full.seconds,
            increments=tuple(one.seconds for one in increments),
            rows_of_an_increment=changed,
            start_seconds=statistics.median(one.start_seconds for one in increments),
            store_mb=peak_memory_mb(folder),
            transform_mb=max(one.memory_mb for one in (full, *increments)),
        )


@dataclass(frozen=True)
class _Run:
    seconds: float
    start_seconds: float
    memory_mb: float


def _transform(folder: Path, port: int) -> _Run:
    """`forge-transform` as a Job runs it; the start ends when the first model has."""
    (folder / "dsn").write_text(f"http://default:@127.0.0.1:{port}")
    ended, work = folder / "transform.json", folder / "work"
    work.mkdir(exist_ok=True)
    names = [source["name"] for source in history.SOURCES]
    given = {
        "FORGE_TRANSFORM": json.dumps({"sources": history.SOURCES, "loaded": names}),
        "FORGE_STORE_DSN_FILE": str(folder / "dsn"),
        "FORGE_WORK_DIR": str(work),
        "FORGE_TERMINATION_LOG": str(ended),
    }
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | given
    begun, began_at = time.monotonic(), time.time()
    with (folder / "transform.log").open("wb") as out:
        child = subprocess.Popen([str(BIN / "forge-transform")], env=environment, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
    log = (folder / "transform.log").read_text()
    if child.returncode:
        raise RuntimeError(f"forge-transform: {ended.read_text() if ended.exists() else log[-2000:]}")
    return _Run(took, _first_model(log) - began_at, usage.ru_maxrss / 1024)


def _first_model(log: str) -> float:
    """When the first model began, in seconds of the epoch."""
    for line in log.splitlines():
        told: dict[str, Any] = json.loads(line)
        if told.get("event") == "LogModelResult":
            return datetime.fromisoformat(told["time"]).timestamp() - float(told.get("seconds") or 0)
    raise RuntimeError("the transform built no model")


def _full(name: str) -> Result:
    ten = measure(10 * TICKETS)
    one = measure(TICKETS)
    note = f"{ten.note} in {ten.full_seconds:.0f} s; {one.rows / one.full_seconds:,.0f} rows/s at {one.note}"
    return Result(name, "rows/s", ten.rows / ten.full_seconds, note=note)


def _incremental(name: str, times: int) -> Result:
    found = measure(times * TICKETS)
    told = ", ".join(f"{seconds:.1f}" for seconds in found.increments)
    note = f"{found.rows_of_an_increment:,} rows over {found.note}; runs: {told} s"
    if times > 1:
        ratio = found.increment_seconds / measure(TICKETS).increment_seconds
        note += f"; {ratio:.2f} times that of one tenth of the history (bar {LIMIT_RATIO})"
    return Result(name, "s", found.increment_seconds, note=note)


def _memory(name: str) -> Result:
    ten, one = measure(10 * TICKETS), measure(TICKETS)
    own = f"forge-transform itself {ten.transform_mb:.0f}"
    note = f"the store's process, {ten.note}; {one.store_mb:.0f} at {one.note}; {own}"
    return Result(name, "MB", ten.store_mb, note=note)


def _start(name: str) -> Result:
    found = measure(TICKETS)
    return Result(name, "s", found.start_seconds, note="process start to the first model, an increment, parse kept")


def _named(run: Callable[..., Result], *args: int) -> Benchmark:
    return lambda name: run(name, *args)


BENCHMARKS: dict[str, Benchmark] = {
    "transform.full_rows_per_second": _full,
    "transform.incremental_seconds_1x": _named(_incremental, 1),
    "transform.incremental_seconds_10x": _named(_incremental, 10),
    "transform.peak_memory_mb": _memory,
    "transform.start_seconds": _start,
}
