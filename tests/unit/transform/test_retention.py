"""Which tables are altered so that each layer keeps its own time."""

from __future__ import annotations

from typing import Any

import pytest
from forge_stack.wire import TransformRequest
from forge_transform.retention import Table, statements, wanted

TIME = "DateTime64(6, 'UTC')"
PLAIN = "CREATE TABLE x (`at` DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY at SETTINGS index_granularity = 8192"


def altered(days: int | None, definition: str = PLAIN, type_: str = TIME) -> list[str]:
    return statements({("silver", "x"): ("at", days)}, {("silver", "x"): Table(definition, {"at": type_})})


def with_ttl(ttl: str) -> str:
    return PLAIN.replace(" SETTINGS", f" TTL {ttl} SETTINGS")


def test_a_table_is_altered_once() -> None:
    assert altered(None) == []
    assert altered(30) == ["alter table silver.`x` modify ttl toDate(at) + toIntervalDay(30)"]
    assert altered(30, with_ttl("toDate(at) + toIntervalDay(30)")) == []


@pytest.mark.parametrize(
    "ttl",
    [
        "toDate(at) + toIntervalDay(31)",
        "toDate(other) + toIntervalDay(30)",
        # As earlier releases wrote it: a DateTime ends in 2106.
        "toDateTime(at) + toIntervalDay(30)",
    ],
)
def test_another_ttl_is_replaced_or_taken_away(ttl: str) -> None:
    assert altered(30, with_ttl(ttl)) == ["alter table silver.`x` modify ttl toDate(at) + toIntervalDay(30)"]
    assert altered(None, with_ttl(ttl)) == ["alter table silver.`x` remove ttl"]


def test_rows_without_a_time_are_kept() -> None:
    ttl = "toDate(assumeNotNull(at)) + toIntervalDay(30)"
    nullable = f"Nullable({TIME})"
    assert altered(30, type_=nullable) == [f"alter table silver.`x` modify ttl {ttl} where at is not null"]
    assert altered(30, with_ttl(f"{ttl} WHERE at IS NOT NULL"), nullable) == []


def test_what_is_not_there_is_not_altered() -> None:
    assert (
        statements({("silver", "x"): ("at", 3), ("silver", "y"): ("at", 3)}, {("silver", "x"): Table(PLAIN, {})}) == []
    )


@pytest.mark.parametrize("days", [{"bronze": 1}, {"silver": 2}, {"gold": 3}, {}])
def test_each_layer_has_its_own_days(days: dict[str, int]) -> None:
    request: dict[str, Any] = {f"{layer}_retention_days": number for layer, number in days.items()}
    sources = [{"name": "my-jira", "type": "jira"}]
    kept = wanted(
        TransformRequest.model_validate({"sources": sources} | request),
        {("silver", "a"): "created_at", ("gold_next", "b"): "period_start"},
    )
    assert kept[("bronze", "my_jira_issues")] == ("updated_at", days.get("bronze"))
    assert kept[("silver", "a")] == ("created_at", days.get("silver"))
    assert kept[("gold_next", "b")] == ("period_start", days.get("gold"))
