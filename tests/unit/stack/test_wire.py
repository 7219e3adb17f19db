"""Summaries always fit, DSNs never leak."""

from __future__ import annotations

from pathlib import Path

import pytest
from forge_stack.wire import (
    TERMINATION_MESSAGE_BYTES,
    LoadSummary,
    NodeFailure,
    Problem,
    StoreDsn,
    TransformRequest,
    TransformSummary,
    bronze_prefix,
    decode_summary,
    encode_summary,
    write_summary,
)
from hypothesis import given
from hypothesis import strategies as st


@given(
    warnings=st.lists(st.text(max_size=3000), max_size=40),
    message=st.text(max_size=9000),
    rows=st.dictionaries(st.text(min_size=1, max_size=60), st.integers(0, 10**12), max_size=200),
)
def test_any_load_summary_fits_the_termination_message(warnings: list[str], message: str, rows: dict[str, int]) -> None:
    summary = LoadSummary(
        source="s", outcome="failed", rows=rows, warnings=warnings, error=Problem(reason="Internal", message=message)
    )
    encoded = encode_summary(summary)
    assert len(encoded.encode()) <= TERMINATION_MESSAGE_BYTES
    again = decode_summary(encoded)
    assert isinstance(again, LoadSummary)
    assert again.outcome == "failed"
    assert again.error is not None


def test_small_summaries_come_back_whole(tmp_path: Path) -> None:
    summary = TransformSummary(
        outcome="failed", failures=[NodeFailure(node="model.a", message="no")], rows={"gold.tickets": 3}
    )
    write_summary(summary, tmp_path / "log")
    assert decode_summary((tmp_path / "log").read_text()) == summary


def test_the_rows_of_all_gold_tables_come_through_a_failure() -> None:
    """Everything fails at once and at length: what is cut are the failures, not the rows of 30 tables."""
    summary = TransformSummary(
        outcome="failed",
        rows={f"gold.a_table_with_a_long_name_{n}": 10**9 for n in range(30)},
        failures=[NodeFailure(node=f"model_{n}", message="m" * 300) for n in range(90)],
        error=Problem(reason="TestsFailed", message="x" * 300),
    )
    encoded = encode_summary(summary)
    again = decode_summary(encoded)
    assert len(encoded.encode()) <= TERMINATION_MESSAGE_BYTES
    assert isinstance(again, TransformSummary)
    assert (again.rows, again.error) == (summary.rows, summary.error)
    assert again.failures


def test_a_request_of_an_older_release_is_read() -> None:
    """It knew variables of text only."""
    text = '{"sources": [], "variables": {"known_projects_only": "true"}, "bronzeRetentionDays": 3}'
    request = TransformRequest.model_validate_json(text)
    assert (request.variables, request.silver_retention_days) == ({"known_projects_only": "true"}, None)


def test_what_is_no_summary_is_none() -> None:
    assert decode_summary("Traceback ...") is None
    assert decode_summary("") is None


@pytest.mark.parametrize("scheme", ["http", "clickhouse", "clickhousedb", "clickhouse+http"])
def test_dsn_schemes(scheme: str) -> None:
    dsn = StoreDsn.parse(f"{scheme}://us%40er:p%2Fw@store:9123\n")
    assert (dsn.host, dsn.port, dsn.user, dsn.password, dsn.secure) == ("store", 9123, "us@er", "p/w", False)
    assert StoreDsn.parse(dsn.url) == dsn


@pytest.mark.parametrize(
    "bad",
    ["", "store:8123", "ftp://u:hunter2@h", "http://u:hunter2@h:port", "http://", "hunter2:x", "http://hunter2:1#2@h"],
)
def test_a_bad_dsn_is_told_without_repeating_it(bad: str) -> None:
    with pytest.raises(ValueError, match="store DSN") as caught:
        StoreDsn.parse(bad)
    assert "hunter2" not in str(caught.value)


def test_the_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(StoreDsn.parse("https://u:secret@h"))


def test_prefix() -> None:
    assert bronze_prefix("github-acme") == "github_acme"
