"""A load over HTTP into bronze, beside a bare insert of the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect

from bench.result import Result

BIN = Path(sys.executable).parent
COLUMNS = "fingerprint, sampled_at, loaded_at, value, _dlt_load_id"


@contextmanager
def _process(*args: str, ready: Path, env: dict[str, str] | None = None, stdout: Path | None = None) -> Iterator[None]:
    """A program of ours, up once its file is written; ended afterwards."""
    with (stdout or Path(os.devnull)).open("wb") as out:
        child = subprocess.Popen([str(BIN / args[0]), *args[1:]], env=os.environ | (env or {}), stdout=out)
        try:
            end = time.monotonic() + 120
            while not (ready.exists() and ready.read_text().strip()):
                if child.poll() is not None:
                    raise RuntimeError(f"{args[0]} ended with {child.returncode}")
                if time.monotonic() > end:
                    raise RuntimeError(f"{args[0]} was not ready within 120 s")
                time.sleep(0.1)
            yield
        finally:
            child.terminate()
            child.wait(30)


def http_to_bronze(name: str) -> Result:
    """Samples a second from a real Prometheus to committed rows, whole process; floor: `insert_arrow` of them."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        world, port = folder / "world.json", folder / "port"
        (folder / "config").mkdir()
        serve = ("forge-demo", "serve", "--end", "2026-06-01T00:00:00Z")
        store = (
            "forge-store",
            "serve",
            "--data",
            f"{folder}/data",
            "--config-dir",
            f"{folder}/config",
            "--port",
            "0",
            "--port-file",
            str(port),
        )
        with _process(*serve, ready=world, stdout=world), _process(*store, ready=port):
            url = json.loads(world.read_text())["urls"]["prometheus"]
            rows, took = _load(folder, url, int(port.read_text()))
            floor = _bare_insert(int(port.read_text()), rows)
    return Result(
        name,
        "rows/s",
        rows / took,
        floor=floor,
        note=f"{rows:,} samples in {took:.1f} s, start of the process included",
    )


def _load(folder: Path, url: str, port: int) -> tuple[int, float]:
    source: dict[str, Any] = {"name": "bench", "prometheus": {"url": url, "since": "2026-05-18T00:00:00Z"}}
    (folder / "dsn").write_text(f"http://default:@127.0.0.1:{port}")
    (folder / "work").mkdir()
    env = {
        "FORGE_SOURCE": json.dumps(source),
        "FORGE_STORE_DSN_FILE": str(folder / "dsn"),
        "FORGE_WORK_DIR": str(folder / "work"),
        "FORGE_TERMINATION_LOG": str(folder / "summary"),
        "DLT_INTERVAL_START": "2026-05-18T00:00:00Z",
        "DLT_INTERVAL_END": "2026-06-01T00:00:00Z",
    }
    begun = time.monotonic()
    done = subprocess.run(
        [str(BIN / "forge-load"), "bench"], env=os.environ | env, capture_output=True, text=True, check=False
    )
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"forge-load: {(folder / 'summary').read_text()}")
    return int(json.loads((folder / "summary").read_text())["rows"]["samples"]), took


def _bare_insert(port: int, rows: int) -> float:
    """Rows a second of one Arrow insert of the rows that the load wrote, into a table like theirs."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    table = client.query_arrow(f"select {COLUMNS} from bronze.bench_samples limit {rows}")
    client.command("create table bronze.bare as bronze.bench_samples")
    begun = time.monotonic()
    client.insert_arrow("bronze.bare", table.select(COLUMNS.split(", ")))
    return float(table.num_rows / (time.monotonic() - begun))
