"""Langfuse's part of the organisation: traces that are deleted, a large project, and the limits of a plan."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("api", ["cursor", "pages"])
def test_deleted_traces_are_found(exact: Any, api: str) -> None:
    name, leave = f"gone-{api}", ("tags", "ticket", "stage") if api == "pages" else ()
    exact.organisation.ask("/settings", {"langfuse_v2": api == "cursor"})
    try:
        exact.load("langfuse", name)
        exact.organisation.ask("/langfuse/traces?count=5", method="DELETE")
        swept = exact.load("langfuse", name, sweep="1s")
        exact.assert_equal("langfuse", name, leave)
        assert swept.summary["rows"]["deletions"] > 5, "with their observations and scores"
    finally:
        exact.organisation.ask("/settings", {"langfuse_v2": True})


@pytest.mark.slow
def test_a_large_project_in_many_windows(exact: Any) -> None:
    exact.organisation.ask("/settings", {"langfuse_copies": 30})
    try:
        loaded = exact.load("langfuse", "large")
        (own,) = exact.forge.rows("select count() from bronze.large_observations final where position(id, '-') = 0")
        (all_,) = exact.forge.rows("select count(), uniqExact(id) from bronze.large_observations final")
        assert all_ == (30 * own[0], 30 * own[0])
        traces = "select count(), uniqExact(id), countIf(latency_seconds is null) from bronze.large_traces final"
        ((count, unique, without),) = exact.forge.rows(traces)
        assert count == unique and count % 30 == 0 and not without
        # Each copy of a trace is as long, and cost as much, as the trace, whatever windows cut it.
        different = (
            "select count() from (select uniqExact(latency_seconds, total_cost, updated_at) as kinds from "
            "bronze.large_traces final group by substringIndex(id, '-', 1) having kinds > 1)"
        )
        assert exact.forge.rows(different) == [(0,)]
        assert loaded.summary["requests"] < 1.5 * 30 * own[0] / 1000 + 60
    finally:
        exact.organisation.ask("/settings", {"langfuse_copies": 1})
