"""What a load makes of an HTTP answer: take it, wait, try again, or give up with a reason and a remedy."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from forge_pipelines.answers import Answer, Patience, judge, parse, pause, problem, said
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
PATIENCE = Patience()


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200, {}), "good"),
        (Answer(429, {}), "limited"),
        (Answer(403, {"retry-after": "30"}), "limited"),
        (Answer(403, {"x-ratelimit-remaining": "0"}), "limited"),
        (Answer(403, {}, "You have exceeded a secondary rate limit"), "limited"),
        (Answer(403, {}, "You have triggered an abuse detection mechanism"), "limited"),
        (Answer(403, {"x-ratelimit-remaining": "17"}, "Resource not accessible by personal access token"), "final"),
        (Answer(503, {"retry-after": "3"}), "limited"),
        (Answer(503, {}), "passing"),
        (Answer(502, {}), "passing"),
        (Answer(408, {}), "passing"),
        (Answer(401, {}), "final"),
        (Answer(404, {}), "final"),
        (Answer(501, {}), "final"),
    ],
)
def test_a_status_is_judged(answer: Answer, verdict: str) -> None:
    assert judge(answer) == verdict


def test_the_wait_is_what_the_server_asks() -> None:
    assert pause(Answer(429, {"retry-after": "7"}), 1, PATIENCE, NOW) == 7
    date = format_datetime(datetime.fromtimestamp(NOW + 42, UTC), usegmt=True)
    assert pause(Answer(503, {"retry-after": date}), 1, PATIENCE, NOW) == 42
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW + 90))}
    assert pause(Answer(403, reset), 1, PATIENCE, NOW) == 91
    assert pause(Answer(429, {"x-ratelimit-reset": "2027-01-15T08:00:30Z"}), 1, PATIENCE, NOW) == 31
    assert pause(Answer(429, {"x-ratelimit-reset": "30"}), 1, PATIENCE, NOW) == 31


def test_a_server_that_asks_for_no_wait_is_not_asked_for_ever() -> None:
    waits = [
        pause(Answer(429, {"retry-after": asked}), n, PATIENCE, NOW) for asked in ("0", "nan") for n in range(1, 30)
    ]
    assert min(waits) == PATIENCE.first_wait and sum(waits) > PATIENCE.total_wait


def test_a_secondary_limit_without_header_waits_a_minute_then_longer() -> None:
    secondary = Answer(403, {"x-ratelimit-remaining": "4000"}, "secondary rate limit")
    assert [pause(secondary, n, PATIENCE, NOW) for n in (1, 2, 3)] == [60, 120, 240]


@given(
    status=st.sampled_from([429, 403, 500, 502, 503]),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-reset", "x-ratelimit-remaining"]), st.text(max_size=30)
    ),
    attempt=st.integers(1, 12),
)
def test_no_header_breaks_the_wait(status: int, headers: dict[str, str], attempt: int) -> None:
    assert pause(Answer(status, headers), attempt, PATIENCE, NOW) >= 0


@given(st.integers(1, 40))
def test_backoff_is_bounded(attempt: int) -> None:
    assert PATIENCE.first_wait <= pause(Answer(502, {}), attempt, PATIENCE, NOW) <= PATIENCE.longest_backoff


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (404, "NotFound"), (410, "NotFound"), (400, "InvalidConfiguration"),
     (418, "BadResponse"), (502, "BadResponse")],
)  # fmt: skip
def test_a_final_status_has_a_reason_and_a_remedy(status: int, reason: str) -> None:
    error = problem(Answer(status, {}), "jira.example", "the search for issues", "no")
    assert error.reason == reason
    assert "jira.example" in error.message and "the search for issues" in error.message and ";" in error.message


def test_what_a_server_says_fits_one_line() -> None:
    json = "application/json"
    assert said(b'{"errorMessages": ["The value \'X\' does not exist"]}', json) == "The value 'X' does not exist"
    assert said(b'{"message": "Bad credentials", "documentation_url": "u"}', json) == "Bad credentials"
    assert said(b'{"status": "error", "error": "parse error"}', json) == "parse error"
    assert said(b"<html><body>Sign in</body></html>", "text/html") == "an HTML page"
    assert len(said(b"x" * 5000, "text/plain")) == 200
    assert "\n" not in said(b"a\nb", "text/plain")


def test_half_a_surrogate_pair_costs_a_letter_and_not_the_load() -> None:
    assert parse(b'{"a": "\\ud83d\\ude00 \\ud83d!"}') == {"a": "😀 ?!"}
    for broken in (b'{"a": ', b"", b"<html>", b"\xff"):
        with pytest.raises(ValueError):
            parse(broken)
