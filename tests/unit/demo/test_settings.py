"""Moments, clocks and credentials."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from forge_demo.main import main
from forge_demo.settings import Clock, Credentials, read_moment


def test_moments() -> None:
    assert read_moment("2026-11-01T12:30:00+02:00", floor_hour=True) == datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
    floored = read_moment("now-2d", floor_hour=True)
    assert (floored.minute, floored.second) == (0, 0)
    assert timedelta(days=2) <= datetime.now(UTC) - floored < timedelta(days=2, hours=1, seconds=5)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-01T10:00:00", "now-3x", "now+1d", "now-d"])
def test_what_is_no_moment_is_refused_with_what_is_expected(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="write RFC 3339"):
        read_moment(text, floor_hour=True)
    assert main(["truth", "--end", text]) == 2
    assert "write RFC 3339" in capsys.readouterr().err


def test_a_clock_stands_runs_and_jumps() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    standing, running = Clock(begin), Clock(begin, speed=1e6)
    standing.advance(timedelta(days=1))
    assert standing.now() == begin + timedelta(days=1)
    assert running.now() > begin


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DEMO_GITHUB_TOKEN", "other")
    found = Credentials.from_environment()
    assert (found.github_token, found.jira_token) == ("other", "jira-demo")


def test_a_wrong_rate_limit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--rate-limit", "gitlab=3"]) == 2
    assert "write API=N" in capsys.readouterr().err
