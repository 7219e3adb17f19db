"""Page tokens: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from forge_api.keyset import InvalidTokenError, SortKey, after, decode, encode, fingerprint
from forge_api.queries import TICKET_SORTS, ticket_order
from forge_api.tables import cost_attribution, tickets
from hypothesis import given
from hypothesis import strategies as st

QUESTION = {"list": "tickets"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ticket_key": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    "lead_time_seconds": st.floats(allow_nan=False, allow_infinity=False),
    "cycle_time_seconds": st.floats(allow_nan=False, allow_infinity=False),
    "cost_usd": st.decimals(min_value=0, max_value=10**20, places=12),
    "pull_requests": st.integers(0, 2**62),
    "llm_calls": st.integers(0, 2**62),
    "created_at": st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    "resolved_at": st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
}


@given(st.data(), st.sampled_from(TICKET_SORTS))
def test_a_token_gives_back_the_values_exactly(data: st.DataObject, sort: str) -> None:
    keys = ticket_order(sort)
    row = {
        key.column.name: data.draw(
            st.none() | VALUES[key.column.name] if key.column.nullable else VALUES[key.column.name]
        )
        for key in keys
    }
    token = encode(keys, row, QUESTION)
    assert decode(keys, token, QUESTION) == list(row.values())
    with pytest.raises(InvalidTokenError, match="other filters"):
        decode(keys, token, {"list": "platform"})


@given(st.text(max_size=80))
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        decode(ticket_order("-cost_usd"), token, QUESTION)


FORGED: list[Any] = [
    ["NaN", "k"], ["Infinity", "k"], ["1e30", "k"], ["x", "k"], [[], "k"], [{}, "k"], ["1", None], ["1", 5],
    ["1", "a\x00"], ["1"], ["1", "k", "k"],
    ["1e-999999", "k"], ["0e-999999", "k"], ["0e999999", "k"], "ab", None, 5, {"a": 1, "b": 2},
]  # fmt: skip


@pytest.mark.parametrize("values", FORGED, ids=str)
def test_forged_values_are_refused(values: Any) -> None:
    content = json.dumps([fingerprint(QUESTION), values])
    token = base64.urlsafe_b64encode(content.encode()).decode()
    with pytest.raises(InvalidTokenError):
        decode(ticket_order("cost_usd"), token, QUESTION)


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("created_at", "2026-01-01T00:00:00"),
        ("created_at", "0001-01-01T00:00:00+00:00"),
        ("created_at", 5),
        ("llm_calls", 2**63),
        ("llm_calls", True),
        ("llm_calls", 1.5),
        ("lead_time_seconds", True),
        ("lead_time_seconds", "1"),
        ("lead_time_seconds", 10**400),
    ],
)
def test_forged_values_of_the_wrong_type_are_refused(sort: str, value: Any) -> None:
    content = json.dumps([fingerprint(QUESTION), [value, "k"]])
    token = base64.urlsafe_b64encode(content.encode()).decode()
    with pytest.raises(InvalidTokenError):
        decode(ticket_order(sort), token, QUESTION)


def test_the_page_size_is_no_part_of_the_question_but_the_order_is() -> None:
    assert fingerprint({"sort": "a"}) != fingerprint({"sort": "-a"})
    assert fingerprint({"a": 1, "b": Decimal(1)}) == fingerprint({"b": Decimal(1), "a": 1})


def test_nothing_but_nulls_comes_after_the_last_value() -> None:
    keys = [SortKey(tickets.c.cost_usd, descending=True), SortKey(tickets.c.ticket_key)]
    after_value = str(after(keys, [Decimal(1), "k"]))
    assert "cost_usd < " in after_value and "cost_usd IS NULL" in after_value and "ticket_key > " in after_value
    after_null = str(after(keys, [None, "k"]))
    assert "cost_usd IS NULL AND" in after_null and "<" not in after_null


@pytest.mark.parametrize(
    ("column", "value"),
    [("day", "2026-13-01"), ("day", "0001-01-01"), ("day", "9999-01-01"), ("day", 5), ("is_failed_run", 1)],
)
def test_forged_days_and_flags_are_refused(column: str, value: Any) -> None:
    keys = [SortKey(cost_attribution.c[column])]
    content = json.dumps([fingerprint(QUESTION), [value]])
    with pytest.raises(InvalidTokenError):
        decode(keys, base64.urlsafe_b64encode(content.encode()).decode(), QUESTION)
