"""The grammar of the annotation that asks for runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from forge_stack.runs import Run, Window, parse_run, parse_runs, parse_window
from hypothesis import given
from hypothesis import strategies as st

SOURCES = ["github", "jira", "metrics"]
JANUARY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("value", "runs"),
    [
        ("github", [Run("github")]),
        (" github , jira,", [Run("github"), Run("jira")]),
        ("all", [Run("github"), Run("jira")]),
        ("metrics,all,github", [Run("metrics"), Run("github"), Run("jira")]),
        ("transform", [Run()]),
        ("transform:full-refresh,github", [Run(full_refresh=True), Run("github")]),
        ("github:2026-01-01/2026-02-01", [Run("github", JANUARY)]),
        ("github:2026-01-01T01:00:00+01:00/2026-02-01T00:00:00Z", [Run("github", JANUARY)]),
        ("github,github:2026-01-01/2026-02-01", [Run("github"), Run("github", JANUARY)]),
        ("github#0123456789abcdef,github", [Run("github", identity="0123456789abcdef"), Run("github")]),
    ],
)
def test_what_can_be_asked_for(value: str, runs: list[Run]) -> None:
    """`all` leaves out what is suspended (metrics here), which its own name runs."""
    assert parse_runs(value, SOURCES, ["github", "jira"]) == (runs, [])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("gitlab", "there is no source 'gitlab'; there is github, jira, metrics, all, transform"),
        ("GitHub", "there is no source 'GitHub'"),
        ("transform:all", "'transform:all' is not known; write transform or transform:full-refresh"),
        ("transform:", "write transform or transform:full-refresh"),
        ("all:2026-01-01/2026-02-01", "there is no source 'all'"),
        ("github:2026-01-01", "'2026-01-01' is no window; write START/END"),
        ("github:2026-02-01/2026-01-01", "ends before it starts"),
        ("github:2026-01-01/2026-01-01", "ends before it starts"),
        ("github:2026-01-01/yesterday", "'yesterday' is no date or time"),
        ("github:2026-02-30/2026-03-01", "'2026-02-30' is no date or time"),
        ("github:2026-01-01T00:00:00/2026-02-01", "has no zone"),
        ("github:", "is no window"),
        (",", "it names nothing"),
        ("github#1", "there is no source 'github#1'"),
        ("all#0123456789abcdef", "there is no source 'all'"),
    ],
)
def test_what_is_wrong_is_told_in_words(value: str, told: str) -> None:
    runs, problems = parse_runs(value, SOURCES, SOURCES)
    assert runs == []
    assert len(problems) == 1
    assert told in problems[0]


def test_a_wrong_item_does_not_keep_the_others_from_running() -> None:
    runs, problems = parse_runs("github,gitlab,transform", SOURCES, SOURCES)
    assert runs == [Run("github"), Run()]
    assert len(problems) == 1


moments = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
windows = st.lists(moments, min_size=2, max_size=2, unique=True).map(lambda pair: Window(*sorted(pair)))
identities = st.sampled_from(["", "0123456789abcdef", "fedcba9876543210"])
requested = st.one_of(
    st.builds(Run, source=st.sampled_from(SOURCES), window=st.none() | windows, identity=identities),
    st.builds(Run, full_refresh=st.booleans(), identity=identities),
)


@given(st.lists(requested, min_size=1, unique=True))
def test_what_is_written_reads_back(runs: list[Run]) -> None:
    assert parse_runs(",".join(map(str, runs)), SOURCES, SOURCES) == (runs, [])


@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    runs, problems = parse_runs(text, SOURCES, SOURCES)
    assert runs or problems
    for each in (parse_window, lambda t: parse_run(t, SOURCES)):
        try:
            each(text)
        except ValueError as error:
            assert str(error)
