"""A load over HTTP into bronze, beside a bare insert of the same rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import clickhouse_connect

from bench.programs import load, store, world
from bench.result import Result

COLUMNS = "fingerprint, sampled_at, loaded_at, value, _dlt_load_id"
SINCE, UNTIL = "2026-05-18T00:00:00Z", "2026-06-01T00:00:00Z"


def http_to_bronze(name: str) -> Result:
    """Samples a second from a real Prometheus to committed rows, whole process; floor: `insert_arrow` of them."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with world(folder, "--end", UNTIL) as served, store(folder) as port:
            source = {"name": "bench", "prometheus": {"url": served.urls["prometheus"], "since": SINCE}}
            done = load(folder, port, source, DLT_INTERVAL_START=SINCE, DLT_INTERVAL_END=UNTIL)
            floor = _bare_insert(port)
    rows = done.rows["samples"]
    note = f"{rows:,} samples in {done.seconds:.1f} s, start of the process included"
    return Result(name, "rows/s", rows / done.seconds, floor=floor, note=note)


def _bare_insert(port: int) -> float:
    """Rows a second of one Arrow insert of the rows that the load wrote, into a table like theirs."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    table = client.query_arrow(f"select {COLUMNS} from bronze.bench_samples")
    client.command("create table bronze.bare as bronze.bench_samples")
    begun = time.monotonic()
    client.insert_arrow("bronze.bare", table.select(COLUMNS.split(", ")))
    return float(table.num_rows / (time.monotonic() - begun))
