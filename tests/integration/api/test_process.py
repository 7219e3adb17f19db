"""The program as a process: settings, log, outage, rotation, shutdown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from own import free_port

from .conftest import Backend

Start = Callable[..., tuple[httpx.Client, subprocess.Popen[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts forge-api with these variables; its output goes to `tmp_path / "log"`."""
    running: list[subprocess.Popen[str]] = []

    def run(**variables: str) -> tuple[httpx.Client, subprocess.Popen[str]]:
        port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FORGE_")} | variables
        environment |= {"FORGE_API_HOST": "127.0.0.1", "FORGE_API_PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "forge_api.main"],
            env=environment, stdout=(tmp_path / "log").open("w"), stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running.append(process)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 30
        while True:
            try:
                client.get("/healthz").raise_for_status()
                return client, process
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)

    yield run
    for process in running:
        process.kill()
        process.wait()


def test_an_outage_is_503_and_a_new_dsn_needs_no_restart(start: Start, backend: Backend, tmp_path: Path) -> None:
    dsn = tmp_path / "dsn"
    dsn.write_text(f"http://reader:hunter2@127.0.0.1:{free_port()}\n")
    client, _ = start(FORGE_STORE_DSN_FILE=str(dsn))
    for path in ("/readyz", "/api/v1/tickets"):
        response = client.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "10")
    dsn.write_text(backend.dsn + "\n")
    assert client.get("/readyz").status_code == 200
    assert len(client.get("/api/v1/tickets?limit=7").json()["items"]) == 7
    dsn.unlink()
    assert "DSN cannot be read" in client.get("/readyz").json()["detail"]
    assert "hunter2" not in (tmp_path / "log").read_text()


def test_a_token_rotates_without_restart(start: Start, postgres: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("one\n")
    client, _ = start(FORGE_API_DSN=postgres, FORGE_API_TOKEN_FILE=str(tokens))
    assert client.get("/readyz").status_code == client.get("/").status_code == 200

    def status(token: str) -> int:
        return client.get("/api/v1/coverage", headers={"Authorization": f"Bearer {token}"}).status_code

    assert (status("one"), status("two"), client.get("/api/v1/coverage").status_code) == (200, 401, 401)
    tokens.write_text("two\none-more\n")
    assert (status("one"), status("two")) == (401, 200)


def test_it_logs_json_and_ends_when_told(start: Start, postgres: str, tmp_path: Path) -> None:
    client, process = start(FORGE_API_DSN=postgres)
    assert client.get("/api/v1/tickets?limit=1").status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has shut down
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert any("/api/v1/tickets?limit=1" in line["message"] for line in lines)


def test_it_says_what_is_missing_in_its_environment() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FORGE_")}
    command = [sys.executable, "-m", "forge_api.main"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "FORGE_STORE_DSN_FILE" in json.loads(result.stderr)["message"]
