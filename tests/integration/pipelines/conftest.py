"""A server that answers by a script, for what a well-behaved API seldom does; and `forge-load` as a process."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver import Client


@dataclass(frozen=True)
class Call:
    """A request as the script sees it."""

    method: str
    path: str
    params: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` closes the connection half way through the body, `drop` before any byte.

    With `drip` there are that many seconds between the bytes of the body.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    drop: bool = False
    drip: float = 0.0


Script = Callable[[Call], Reply]


class Scripted:
    """The running server. Tests set `script`; `calls` is what came. With a context it speaks TLS as `localhost`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.script: Script = lambda call: Reply({"error": "no script"}, 500)
        self.calls: list[Call] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                url = urlsplit(self.path)
                form = "urlencoded" in (self.headers.get("content-type") or "")
                body = (
                    {k: v[-1] for k, v in parse_qs(raw.decode()).items()} if form else json.loads(raw) if raw else None
                )
                call = Call(
                    self.command,
                    url.path,
                    {k: v[-1] for k, v in parse_qs(url.query).items()},
                    body,
                    {k.lower(): v for k, v in self.headers.items()},
                )
                outer.calls.append(call)
                reply = outer.script(call)
                if reply.drop:
                    self.close_connection = True
                    self.connection.close()
                    return
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                begin = self.send_response_only if "Date" in reply.headers else self.send_response
                begin(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if pause := getattr(reply, "drip", 0.0):
                    for byte in data:
                        self.wfile.write(bytes([byte]))
                        time.sleep(pause)
                    return
                self.wfile.write(data[: len(data) // 2] if reply.cut else data)
                if reply.cut:
                    self.close_connection = True

            do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        port = self._server.server_port
        return f"https://localhost:{port}" if self.context else f"http://127.0.0.1:{port}"

    def replies(self, *replies: Reply) -> None:
        """Give these answers in order, the last one for ever."""
        queue = list(replies)
        self.script = lambda call: queue.pop(0) if len(queue) > 1 else queue[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def scripted_with() -> Iterator[Callable[[ssl.SSLContext | None], Scripted]]:
    """Makes further servers, with TLS when a context is given."""
    servers: list[Scripted] = []

    def make(context: ssl.SSLContext | None = None) -> Scripted:
        servers.append(Scripted(context))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@dataclass
class Loaded:
    """What a finished `forge-load` left."""

    code: int
    stdout: str
    stderr: str
    summary: dict[str, Any]

    @property
    def reason(self) -> str | None:
        error = self.summary.get("error")
        return error["reason"] if error else None


@dataclass
class Forge:
    """Runs loads as a runtime does: environment, mounted files, an empty work folder, the summary in a file."""

    folder: Path
    dsn: str
    store: Client

    @property
    def env(self) -> dict[str, str]:
        """As in the image: compiled once. Elsewhere each process may compile dlt again, for seconds."""
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.folder / "pycache")}

    def start(
        self, source: dict[str, Any], credentials: dict[str, str], *, program: Path | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start a load, by `forge-load` or another program; its files are in a folder of its own."""
        here = self.folder / source["name"]
        shutil.rmtree(here, ignore_errors=True)
        (here / "credentials").mkdir(parents=True)
        (here / "work").mkdir()
        for key, value in credentials.items():
            (here / "credentials" / key).write_text(value)
        (here / "dsn").write_text(self.dsn)
        settings = {
            "FORGE_SOURCE": json.dumps(source),
            "FORGE_STORE_DSN_FILE": str(here / "dsn"),
            "FORGE_CREDENTIALS_DIR": str(here / "credentials"),
            "FORGE_WORK_DIR": str(here / "work"),
            "FORGE_TERMINATION_LOG": str(here / "summary"),
        }
        command = [sys.executable, str(program)] if program else [str(Path(sys.executable).parent / "forge-load")]
        command.append(source["name"])
        return subprocess.Popen(
            command, env={**self.env, **settings, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self, source: dict[str, Any], process: subprocess.Popen[str]) -> Loaded:
        """Wait for a load's end."""
        stdout, stderr = process.communicate(timeout=900)
        summary = self.folder / source["name"] / "summary"
        return Loaded(process.returncode, stdout, stderr, json.loads(summary.read_text()) if summary.exists() else {})

    def load(
        self, source: dict[str, Any], credentials: dict[str, str], *, program: Path | None = None, **env: str
    ) -> Loaded:
        """Run a load to its end."""
        return self.finish(source, self.start(source, credentials, program=program, **env))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the store says."""
        return [tuple(row) for row in self.store.query(sql).result_rows]


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory, store_dsn: str) -> Iterator[Forge]:
    """Loads into the store of this test run."""
    client = clickhouse_connect.get_client(dsn=store_dsn, autogenerate_session_id=False)
    yield Forge(tmp_path_factory.mktemp("loads"), store_dsn, client)
    client.close()


@pytest.fixture
def fresh_forge(request: pytest.FixtureRequest, forge: Forge, tmp_path: Path) -> Iterator[tuple[Forge, Any]]:
    """Loads into a store of the test's own, which knows no bronze yet; and that store."""
    shared: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).parents[2] / "conftest.py"))
    store = shared.start_store(tmp_path)
    client = clickhouse_connect.get_client(dsn=store.dsn, autogenerate_session_id=False)
    yield Forge(forge.folder, store.dsn, client), store
    client.close()
    shared.stop_store(store)
