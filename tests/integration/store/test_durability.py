"""One process owns the data; what was acknowledged is there after any death."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

WRITER = ("forge", "wr:ite/r@1")


@pytest.fixture(scope="module")
def stores() -> ModuleType:
    """The functions that start and stop a store."""
    path = Path(__file__).parents[2] / "conftest.py"
    spec = importlib.util.spec_from_file_location("store_processes", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def wait_running(store: Any, statements: int) -> None:
    """Until so many statements run."""
    deadline = time.monotonic() + 60
    while f"forge_store_queries_running {statements}\n" not in httpx.get(f"{store.url}/metrics", timeout=60).text:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(store: Any, sql: str, data: bytes | None = None) -> str:
    params = {"query": sql} if data is not None else {}
    content = data if data is not None else sql.encode()
    answer = httpx.post(store.url, params=params, content=content, auth=WRITER, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.slow
def test_acknowledged_rows_survive_sigkill(stores: ModuleType, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for turn in range(10):
        store = stores.start_store(tmp_path)
        if turn == 0:
            ask(store, "create database bronze")
            ask(store, "create table bronze.t (n UInt64) engine = MergeTree order by n")
            ask(store, "create table kept_in_default (n UInt64) engine = MergeTree order by n")
        found = [int(line) for line in ask(store, "select n from bronze.t order by n").split()]
        assert set(acknowledged) <= set(found), f"turn {turn}"
        assert len(found) == len(set(found))

        def write(store: Any = store, turn: int = turn) -> None:
            for step in range(10_000):
                number = turn * 10_000 + step
                try:
                    ask(store, "insert into bronze.t format TSV", b"%d\n" % number)
                except httpx.HTTPError:
                    return
                acknowledged.append(number)

        ask(store, f"insert into kept_in_default values ({turn})")
        writer = threading.Thread(target=write)
        writer.start()
        before = len(acknowledged)
        time.sleep(0.5 + turn / 10)
        while writer.is_alive() and len(acknowledged) < before + 3:
            time.sleep(0.01)
        store.process.kill()
        store.process.wait()
        writer.join()
    store = stores.start_store(tmp_path)
    found = [int(line) for line in ask(store, "select n from bronze.t").split()]
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(found)
    assert ask(store, "select count() from kept_in_default") == "10\n"
    assert stores.stop_store(store) == 0


def test_a_second_process_is_refused_with_the_pid_of_the_first(stores: ModuleType, tmp_path: Path) -> None:
    store = stores.start_store(tmp_path)
    command = [
        str(Path(sys.executable).parent / "forge-store"),
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--port",
        "0",
    ]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    message = json.loads(second.stdout.splitlines()[-1])["message"]
    assert f"in use by process {store.process.pid}" in message
    assert ask(store, "select 1") == "1\n"
    assert stores.stop_store(store) == 0


def test_sigterm_lets_running_statements_finish(stores: ModuleType, tmp_path: Path) -> None:
    store = stores.start_store(tmp_path)
    ask(store, "create table t (n UInt64) engine = MergeTree order by n")
    answers: list[str] = []
    sql = "insert into t select number + sleepEachRow(0.3) from numbers(10) settings max_block_size = 1"
    slow = threading.Thread(target=lambda: answers.append(ask(store, sql)))
    slow.start()
    wait_running(store, 1)
    store.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(httpx.HTTPError):
        while slow.is_alive() and httpx.get(store.url + "/ping", timeout=60).status_code == 200:
            time.sleep(0.02)
    assert slow.is_alive(), "it takes nothing new while the statement runs"
    slow.join()
    assert answers == [""]
    assert store.process.wait(60) == 0
    again = stores.start_store(tmp_path)
    assert ask(again, "select count() from t") == "10\n"
    assert stores.stop_store(again) == 0


@pytest.mark.slow
def test_a_query_that_never_ends_does_not_keep_the_process(stores: ModuleType, tmp_path: Path) -> None:
    store = stores.start_store(tmp_path)
    url = store.url + "/?query=select+sum(cityHash64(number))+from+numbers(1e13)"
    endless = threading.Thread(target=_get, args=(url,))
    endless.start()
    wait_running(store, 1)
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(29) == 0, "Kubernetes kills after 30 seconds"
    endless.join()


def _get(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(url, auth=WRITER, timeout=60)


def test_users_change_without_a_restart(stores: ModuleType, tmp_path: Path) -> None:
    store = stores.start_store(tmp_path)
    file = tmp_path / "config" / "users.d" / "users.yaml"
    good = file.read_text()
    file.write_text(good.replace(WRITER[1], "a new password"))
    assert httpx.post(store.url, content="select 1", auth=WRITER, timeout=60).status_code == 403
    assert httpx.post(store.url, content="select 1", auth=("forge", "a new password"), timeout=60).text == "1\n"
    file.write_text("users: [")
    os.kill(store.process.pid, signal.SIGHUP)
    assert httpx.post(store.url, content="select 1", auth=("forge", "a new password"), timeout=60).text == "1\n"
    assert "the users stay as they were" in (tmp_path / "store.log").read_text()
    assert stores.stop_store(store) == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [("users: {a: {}}", "users.a: password_sha256_hex"), ("users: [", "users.yaml: "), ("- x", "a mapping is wanted")],
)
def test_a_wrong_configuration_ends_the_start(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "users.d").mkdir()
    (tmp_path / "users.d" / "users.yaml").write_text(content)
    command = [str(Path(sys.executable).parent / "forge-store"), "serve", "--data", str(tmp_path / "data")]
    ended = subprocess.run([*command, "--config-dir", str(tmp_path), "--port", "0"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert says in json.loads(ended.stdout.splitlines()[-1])["message"]


def test_too_many_statements_are_refused_at_once(stores: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "config.d"
    folder.mkdir(parents=True)
    (folder / "limits.yaml").write_text("max_concurrent_queries: 2\nmax_server_memory_usage: 1500000000\n")
    store = stores.start_store(tmp_path)
    sql = "select value from system.server_settings where name = 'max_server_memory_usage'"
    assert ask(store, sql) == "1500000000\n"
    threads = [threading.Thread(target=ask, args=(store, "select sleep(3)")) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_running(store, 2)
    answer = httpx.post(store.url, content="select 1", auth=WRITER, timeout=60)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (503, "202")
    assert answer.headers["Retry-After"] == "1"
    for thread in threads:
        thread.join()
    assert ask(store, "select 1") == "1\n"
    assert stores.stop_store(store) == 0
