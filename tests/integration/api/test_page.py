"""The page in a browser (Debian's chromium, where there is one), over the real API."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from forge_api.app import create_app
from forge_api.auth import Tokens

from .conftest import Backend, Row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to look at the page with")
Look = Callable[..., str]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Serves the API over a DSN and gives the page's elements as they are once it has settled."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def see(dsn: str, tokens: Tokens | None = None, fragment: str = "") -> str:
        app = create_app(lambda: dsn, tokens, "acme <platform>")
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        options = (
            "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-sync --no-first-run"
        )
        command = [
            str(CHROMIUM),
            *options.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=8000",
        ]
        url = f"http://127.0.0.1:{port}/{fragment}"
        return subprocess.run(
            [*command, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=True
        ).stdout

    yield see
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


def test_the_first_screen_answers(look: Look, backend: Backend, rows: dict[str, list[Row]]) -> None:
    page = look(backend.dsn)
    done = sum(bool(row["is_done"]) for row in rows["tickets"])
    total = sum(row["cost_usd"] for row in rows["ticket_costs"])
    assert f'<dd class="value">{done}</dd>' in page
    assert f'<dd class="value">${total:,.2f}</dd>' in page
    assert page.count("<rect") >= 6, "bars by stage and model"
    assert "Not loaded yet" in page and "langfuse" in page
    assert "1 to 25" in page
    assert "acme &lt;platform&gt;" in page


def test_a_ticket_opens_from_the_address(look: Look, postgres: str, rows: dict[str, list[Row]]) -> None:
    row = next(row for row in rows["tickets"] if row["traces"] and row["in_jira"])
    page = look(postgres, fragment=f"#ticket={row['ticket_key']}")
    assert f'<h2 id="detail-title">{row["ticket_key"]} ' in page
    assert "Linked by" in page


def test_it_says_when_the_store_is_away(look: Look) -> None:
    page = look("http://reader:hunter2@127.0.0.1:9")
    assert "The store is not available" in page and "check that it runs" in page
    assert '<div id="board" hidden="">' in page


def test_it_says_when_there_is_no_data_yet(look: Look, postgres_url: str) -> None:
    page = look(postgres_url.replace("@/postgres?", "@/template1?"))
    assert "No data yet" in page and "first transform" in page


def test_it_asks_for_a_token(look: Look, postgres: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sesame")
    page = look(postgres, Tokens(tokens))
    assert '<form id="login">' in page
    assert '<div id="board" hidden="">' in page
