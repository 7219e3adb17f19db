"""How far a load is, told by log lines, on a terminal, and in the summary's warnings."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge_pipelines import progress as module
from forge_pipelines.http import Api
from forge_pipelines.progress import Progress, facts_of, in_words, told_while
from forge_pipelines.tables import Misfit

START = datetime(2026, 1, 1, tzinfo=UTC)


def half_way() -> Progress:
    progress = Progress(rows={"a": 1000, "b": 500}, covered=START + timedelta(days=5))
    progress.start, progress.end_at = START, START + timedelta(days=10)
    return progress


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_share_of_a_span() -> None:
    progress = half_way()
    assert progress.share == 0.5
    progress.covered = START + timedelta(days=11)
    assert progress.share == 1.0
    progress.start = None
    assert progress.share is None
    progress.start = progress.end_at
    assert progress.share is None


def test_what_a_line_says() -> None:
    api = Api("http://x", {}, requests=7, waited=1.25)
    facts = facts_of(half_way(), api, 10.0)
    assert facts == {
        "rows": 1500, "rows_per_second": 150, "requests": 7, "waited_seconds": 1.2, "cursor": "2026-01-06T00:00:00Z",
        "percent": 50.0,
    }  # fmt: skip
    assert in_words(facts) == "1,500 rows, 150 rows/s, 7 requests, at 2026-01-06T00:00:00Z, 50.0%"
    assert in_words(facts_of(Progress(), api, 10.0)) == "0 rows, 0 rows/s, 7 requests"


def test_a_terminal_has_one_line_that_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.02)
    screen = io.StringIO()
    with told_while(half_way(), Api("http://x", {}), screen):
        until(lambda: screen.getvalue().count("50.0%") >= 2)
    text = screen.getvalue()
    assert text.count("50.0%") >= 2 and "\n" not in text and text.endswith("\r\x1b[2K"), "the line is gone in the end"


def test_elsewhere_there_are_log_lines(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.02)
    with caplog.at_level(logging.INFO, "forge_pipelines"), told_while(half_way(), Api("http://x", {})):
        until(lambda: sum(record.message == "load goes on" for record in caplog.records) >= 2)
    lines = [record for record in caplog.records if record.message == "load goes on"]
    assert lines[0].percent == 50.0 and lines[0].rows == 1500


def test_what_was_not_stored_is_not_told() -> None:
    progress, misfit = Progress(), Misfit("things", "size", "must be int64, but is 'big'", "{}")
    progress.rows["things"] = 5
    progress.reject([misfit, misfit])
    progress.keep()
    progress.rows["things"] = 9
    progress.reject([misfit, Misfit("things", "", "KeyError: 'id'", "[]")])
    progress.forget()
    progress.warn_of_rejected("bronze.x_rejected_rows")
    assert progress.rows == {"things": 5}
    assert progress.warnings == [
        "2 rows of things were set aside in bronze.x_rejected_rows: column size must be int64, but is 'big'; correct "
        "it in the source, or the source's selection, then load again"
    ]
