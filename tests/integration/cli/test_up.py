"""A stack on one machine, whole: the four real loads, dbt, the API; gold is held against the world's ground truth."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
EXACT = [
    *("project_key", "summary", "issue_type", "status", "status_category", "assignee_name", "pull_requests"),
    *("merged_pull_requests", "reviews", "changes_requested", "traces", "llm_calls", "input_tokens", "output_tokens"),
]
MOMENTS = ("created_at", "started_at", "resolved_at", "first_commit_at", "first_merged_at")
SECONDS = ("lead_time_seconds", "cycle_time_seconds")


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=60
    ) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running world that stands still, four days ago; gives its URLs."""
    ready = tmp_path_factory.mktemp("world") / "ready.json"
    with ready.open("wb") as out:
        child = subprocess.Popen([str(BIN / "forge-demo"), "serve", "--end", "now-4d", "--days", "30"], stdout=out)
    try:
        for _ in range(3000):
            if ready.read_text().endswith("\n"):
                break
            assert child.poll() is None
            time.sleep(0.1)
        yield json.loads(ready.read_text())["urls"]
    finally:
        child.terminate()
        child.wait(30)


@pytest.fixture(scope="module")
def stack_file(world: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.yaml"
    urls = ("--url", world["world"].removesuffix("/_world"), "--prometheus-url", world["prometheus"])
    stack = subprocess.run([str(BIN / "forge-demo"), "stack", "--auth", "None", *urls], check=True, capture_output=True)
    path.write_bytes(stack.stdout)
    return path


@contextmanager
def running(stack_file: Path, *options: str) -> Iterator[tuple[str, str]]:
    """`up --once --keep-serving`: the API's address and what was told; then a clean end."""
    log = stack_file.parent / "up.log"
    command = [str(BIN / "forge-observability"), "up", "-f", str(stack_file), "--once", "--keep-serving", "--port", "0"]
    with log.open("wb") as out:
        child = subprocess.Popen([*command, *options], cwd=stack_file.parent, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 900
        while not (found := re.search(r"the page: (\S+)/", log.read_text())):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield found[1], log.read_text()
    finally:
        child.send_signal(signal.SIGINT)
        code = child.wait(120)
    assert code == 0, log.read_text()


def tickets(url: str) -> dict[str, dict[str, Any]]:
    """Every ticket of the API, over its pages."""
    found: dict[str, dict[str, Any]] = {}
    after = ""
    while True:
        page = ask(f"{url}/api/v1/tickets?limit=100{after}")
        found |= {ticket["ticket_key"]: ticket for ticket in page["items"]}
        if page["next"] is None:
            return found
        after = f"&next={page['next']}"


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def differences(gold: dict[str, dict[str, Any]], truth: list[dict[str, Any]]) -> list[str]:
    """Every value of gold that is not what is true."""
    wrong = []
    for true in truth:
        key = true["ticket_key"]
        got = gold.get(key)
        if got is None:
            wrong.append(f"{key} is missing")
            continue
        wrong += [f"{key}.{n}: {got[n]!r}, true is {true[n]!r}" for n in EXACT if got[n] != true[n]]
        wrong += [f"{key}.{n}: {got[n]}, true is {true[n]}" for n in MOMENTS if moment(got[n]) != moment(true[n])]
        if Decimal(got["cost_usd"]) != Decimal(true["cost_usd"]):
            wrong.append(f"{key}.cost_usd: {got['cost_usd']}, true is {true['cost_usd']}")
        for name in SECONDS:
            if (got[name] is None) != (true[name] is None) or (got[name] or 0) != pytest.approx(
                true[name] or 0, abs=1e-6
            ):
                wrong.append(f"{key}.{name}: {got[name]}, true is {true[name]}")
    return wrong


def check(url: str, world: dict[str, str]) -> int:
    """Hold gold against the truth; gives the number of tickets."""
    truth = ask(f"{world['world']}/truth")
    gold = tickets(url)
    assert {key for key, ticket in gold.items() if ticket["in_jira"]} == {t["ticket_key"] for t in truth["tickets"]}
    assert differences(gold, truth["tickets"]) == []
    cost = ask(f"{url}/api/v1/summary")["cost"]
    attributed = sum(Decimal(t["cost_usd"]) for t in truth["tickets"])
    assert Decimal(cost["unattributed_usd"]) == Decimal(truth["unattributed_cost_usd"])
    assert Decimal(cost["attributed_usd"]) == attributed
    assert Decimal(cost["total_usd"]) == attributed + Decimal(truth["unattributed_cost_usd"])
    check_the_rest(url, gold, attributed + Decimal(truth["unattributed_cost_usd"]))
    return len(gold)


def check_the_rest(url: str, gold: dict[str, dict[str, Any]], total: Decimal) -> None:
    """The marts of the API agree with the truth that `check` holds the tickets against, however one asks."""
    costs = ask(f"{url}/api/v1/costs?by=ticket_outcome&by=link_method&by=is_failed_run&limit=1000")
    assert Decimal(costs["attributed_usd"]) + Decimal(costs["unattributed_usd"]) == Decimal(costs["total_usd"]) == total
    assert sum(Decimal(part["cost_usd"]) for part in costs["items"]) == total
    months = ask(f"{url}/api/v1/metrics/tickets?period=month")["items"]
    assert sum(month["created"] for month in months) == sum(ticket["in_jira"] for ticket in gold.values())
    dearest = sorted(gold.values(), key=lambda ticket: Decimal(ticket["cost_usd"]))[-5:]
    for ticket in dearest:
        events = ask(f"{url}/api/v1/tickets/{ticket['ticket_key']}/timeline?limit=1000")["items"]
        assert sum(Decimal(event["cost_usd"] or 0) for event in events) == Decimal(ticket["cost_usd"])
        assert {"created", "status_changed", "agent_run"} <= {event["kind"] for event in events}
    catalogue = ask(f"{url}/api/v1/metrics")["items"]
    assert all(number["is_available"] for number in catalogue)
    other = {"/api/v1/tickets/{key}", "/api/v1/costs", "/api/v1/coverage", "/api/v1/data_quality"}
    for path in {number["values_at"] for number in catalogue} - other:
        assert ask(f"{url}{path}?limit=1")["items"], f"{path} has nothing to tell of a world where all of it happens"


@pytest.mark.timeout(2400)
def test_gold_is_true_and_stays_true_when_the_world_goes_on(stack_file: Path, world: dict[str, str]) -> None:
    """A first run, then the world goes on for some days, then a second run over the data of the first."""
    with running(stack_file) as (url, told):
        assert told.count("✓ load") == 4, told
        first = check(url, world)
        assert ask(f"{url}/api/v1/platform?limit=1")["items"]
    ask(f"{world['world']}/advance", {"days": 3})  # one of them is a working day
    with running(stack_file) as (url, told):
        assert "transform 2" in told, told
        assert check(url, world) > first
    assert subprocess.run(["pgrep", "-f", str(stack_file.parent)], capture_output=True, check=False).stdout == b""
    secrets = stack_file.parent / ".forge" / "demo" / "secrets"
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets.rglob("*") if path.is_file())


def test_a_failing_source_is_told_and_the_rest_goes_on(stack_file: Path, tmp_path: Path) -> None:
    """A wrong token: exit code 1, the source named with what to do, gold from the others."""
    path = tmp_path / "stack.yaml"
    path.write_text(re.sub(r'token: "ghp_demo"', 'token: "wrong"', stack_file.read_text()))
    command = [str(BIN / "forge-observability"), "up", "-f", str(path), "--once", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 1
    assert "✗ load github" in done.stdout
    assert "Unauthorized" in done.stdout
    assert "✓ transform 1" in done.stdout
    assert "gold " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
