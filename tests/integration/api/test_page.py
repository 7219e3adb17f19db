"""The page in a browser (Debian's chromium, where there is one), over the real API."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from forge_api.app import create_app
from forge_api.auth import Tokens
from forge_api.tables import metadata

from .conftest import BEGIN, MONDAY, Backend, Row, refill

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
            "--virtual-time-budget=25000",  # the page asks again after 10 s when a busy machine's store did not answer
        ]
        url = f"http://127.0.0.1:{port}/{fragment}"
        return subprocess.run(
            [*command, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=True
        ).stdout

    yield see
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


def the_board(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Two whole weeks of delivery, a month of agents and people, tickets on their way; newest event: 1 November."""

    def row_of(name: str, **said: Any) -> Row:
        blank = {
            c.name: None if c.nullable else BLANK[c.type.python_type] for c in metadata.tables[f"gold.{name}"].columns
        }
        return blank | said

    week = {"period": "week", "scope": "all", "deployments": 4, "deployment_days": 2, "changes": 3}
    month = {"period": "month", "period_start": date(2026, 10, 1), "scope": "all"}
    cost = {"day": date(2026, 10, 20), "cost_usd": Decimal("3"), "link_method": "metadata", "ticket_outcome": "done"}
    ticket = {"proposed_at": datetime(2026, 10, 20, tzinfo=UTC), "plan_approved_at": datetime(2026, 10, 21, tzinfo=UTC)}
    return {
        **rows,
        "dora_metrics": [
            row_of(
                "dora_metrics",
                period_start=date(2026, 10, 19),
                change_lead_time_seconds_p50=18000.0,
                change_fail_rate=0.25,
                failed_deployments=1,
                **week,
            ),
            row_of("dora_metrics", period_start=date(2026, 10, 12), change_lead_time_seconds_p50=7200.0, **week),
        ],
        "agent_metrics": [
            row_of(
                "agent_metrics",
                actor_kind="agent",
                merged=7,
                autonomy_rate=0.5,
                cost_per_merged_pull_request=1.25,
                **month,
            ),
            row_of("agent_metrics", actor_kind="human", merged=5, **month),
        ],
        "cost_attribution": [
            row_of("cost_attribution", stage="plan", model="opus", link_confidence=1.0, **cost),
            row_of(
                "cost_attribution",
                stage="plan",
                model="opus",
                **{**cost, "cost_usd": Decimal("1"), "link_method": "none", "ticket_outcome": "unattributed"},
            ),
        ],
        "approval_funnel": [
            row_of("approval_funnel", ticket_key="PAY-1", plan_wait_seconds=3600.0, **ticket),
            row_of(
                "approval_funnel",
                ticket_key="PAY-2",
                proposed_at=ticket["proposed_at"],
                plan_rejections=1,
                rejection_reasons=["Too <b>broad</b>"],
            ),
        ],
        "metrics": [
            row_of(
                "metrics",
                metric="change_lead_time",
                title="Change lead time",
                definition="How long a change takes.",
                model="dora_metrics",
                drill_down="change_lead_times",
                is_available=True,
            ),
        ],
    }


BLANK: dict[type, Any] = {
    str: "",
    int: 0,
    float: 0.0,
    bool: False,
    list: [],
    Decimal: Decimal(),
    date: MONDAY,
    datetime: BEGIN,
}


@pytest.fixture
def board(backend: Backend, rows: dict[str, list[Row]]) -> Iterator[Backend]:
    """A store with these rows."""
    refill(backend, the_board(rows))
    yield backend
    refill(backend, rows)


def test_the_first_screen_answers(look: Look, board: Backend, rows: dict[str, list[Row]]) -> None:
    page = look(board.dsn, fragment="#metric=change_lead_time")
    value = '<dd class="value">'
    assert "Week of 19 October" in page
    for shown, before in (("5.0 h", "2.0 h"), ("4", "4"), ("25%", "–")):
        assert f"{value}{shown}</dd>" in page and f"week before: {before}" in page
    assert "<b>$4.00</b>" in page and "<b>75%</b>" in page and "<b>$1.25</b>" in page
    assert "metadata $3.00, confidence 1" in page and "no ticket $1.00 unattributed" in page
    assert re.search(r"Plan approved</td>.*?>1</td><td class=\"number\">1.0 h</td>", page)
    assert "Too &lt;b&gt;broad&lt;/b&gt;" in page
    assert re.search(r">Pull requests merged</button></td><td class=\"number\">7</td><td class=\"number\">5</td>", page)
    assert '<h2 id="define-title">Change lead time</h2>' in page and "How long a change takes." in page
    done = sum(bool(row["is_done"]) for row in rows["tickets"])
    assert f"{done} of {len(rows['tickets'])} tickets done" in page
    assert "Not loaded yet" in page and "2 of 3 sources loaded" in page
    assert "1 to 25" in page
    assert "acme &lt;platform&gt;" in page


def test_it_shows_one_team(look: Look, board: Backend) -> None:
    page = look(board.dsn, fragment="#scope=team:core")
    assert '<option value="team:core">' in page
    assert '<dd class="value">0</dd>' in page, "that team deployed nothing"
    assert "<b>$4.00</b>" not in page


def test_what_its_sources_never_told_is_not_zero(look: Look, board: Backend, rows: dict[str, list[Row]]) -> None:
    lacking = [row | {"missing_sources": ["github", "langfuse"]} for row in rows["metrics"]]
    nothing: dict[str, list[Row]] = {"dora_metrics": [], "cost_attribution": [], "agent_metrics": []}
    refill(board, {**the_board(rows), **nothing, "metrics": lacking})
    page = look(board.dsn)
    assert page.count("no GitHub source loaded yet") == 5 and page.count('<dd class="value">–</dd>') == 5
    assert "No Langfuse source loaded yet." in page


def test_a_ticket_opens_from_the_address(look: Look, postgres: str, rows: dict[str, list[Row]]) -> None:
    key = rows["ticket_timeline"][0]["ticket_key"]
    page = look(postgres, fragment=f"#ticket={key}")
    assert f'<h2 id="detail-title">{key} ' in page
    events = [event for event in rows["ticket_timeline"] if event["ticket_key"] == key]
    assert page.count('<li class="event ') == len(events)
    assert page.count('<a href="https://github.example/acme/web/pull/1"') == sum("github" in e["ref"] for e in events)
    assert '<li class="gap">' in page and " later</li>" in page


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
