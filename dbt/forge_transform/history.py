"""What is kept of each transform, in the store, for ninety days: silver.transform_runs, _nodes and _manifests.

docs: dbt/README.md, "What is kept of a run".
"""

from __future__ import annotations

import resource
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from forge_stack.wire import TransformSummary

from forge_transform.result import BuildResult, Node
from forge_transform.selection import Selection
from forge_transform.store import Store


@dataclass
class Run:
    """One transform, as it goes into the history."""

    fingerprint: str
    selection: Selection
    new_loads: Sequence[tuple[str, str]]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = ""
    published: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.id = self.id or f"{self.started_at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def unsettled(store: Store) -> tuple[str, ...]:
    """The selectors of all transforms since the last that succeeded: what they left may not have passed its tests."""
    found = store.rows(
        "select arraySort(groupUniqArrayArray(selectors)) from silver.transform_runs final where started_at > "
        "(select max(started_at) from silver.transform_runs final where outcome = 'succeeded')"
    )
    return tuple(str(selector) for selector in found[0][0])


def begin(store: Store, run: Run) -> None:
    """Write down that a transform runs; one that still says so of itself was killed, as there are never two."""
    # The condition stands in a query of its own: beside the alias it would mean the alias.
    store.run(
        "insert into silver.transform_runs select * replace ('killed' as outcome, now64(6, 'UTC') as finished_at, "
        "now64(6, 'UTC') as recorded_at) from (select * from silver.transform_runs final where outcome = 'running')"
    )
    _write_run(store, run, {"outcome": "running"})


def finish(store: Store, run: Run, summary: TransformSummary, result: BuildResult | None) -> None:
    """Write down how it ended, and how each of its nodes did."""
    counts = {
        f"{kind}_{how}": getattr(getattr(summary, kind), how)
        for kind in ("models", "tests")
        for how in ("ok", "failed", "skipped")
    }
    if result is not None:
        _write_nodes(store, run, result.nodes)
        _write_manifest(store, run, result)
    _write_run(
        store,
        run,
        counts
        | {
            "outcome": summary.outcome,
            "finished_at": datetime.now(UTC),
            "rows": summary.rows,
            "published": list(run.published),
            "seconds": summary.duration_seconds,
            "peak_memory_bytes": peak_memory(),
            "error_reason": summary.error.reason if summary.error else None,
            "error_message": summary.error.message if summary.error else None,
        },
    )


def peak_memory() -> int:
    """The most memory that this process had, in bytes; getrusage(2) counts kilobytes, on macOS bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _write_run(store: Store, run: Run, told: dict[str, Any]) -> None:
    row = {
        "run_id": run.id,
        "started_at": run.started_at,
        "reason": run.selection.reason,
        "selectors": list(run.selection.selectors),
        "full_refresh": run.selection.scope == "everything",
        "loads": [{"source_name": source, "load_id": load} for source, load in run.new_loads],
        "settings_fingerprint": run.fingerprint,
        "recorded_at": datetime.now(UTC),
    } | told
    store.insert("silver.transform_runs", [row])


def _write_nodes(store: Store, run: Run, nodes: Sequence[Node]) -> None:
    found = store.rows(
        "select database, name, total_rows, total_bytes from system.tables where database in ('silver', 'gold_next')"
    )
    sizes = {(database, name): (rows, size) for database, name, rows, size in found}
    now = datetime.now(UTC)
    table = []
    for node in nodes:
        rows, size = sizes.get(node.relation, (None, None)) if node.relation else (None, None)
        row = {
            "run_id": run.id,
            "recorded_at": now,
            "unique_id": node.unique_id,
            "node": node.name,
            "kind": node.kind,
            "status": node.status,
            "seconds": node.seconds,
            "rows": rows,
            "bytes": size,
            "message": node.message[:4000],
            "query_id": node.query_id,
        }
        table.append(row)
    store.insert("silver.transform_nodes", table)


def _write_manifest(store: Store, run: Run, result: BuildResult) -> None:
    """Once for each state of settings and project."""
    if result.manifest is None:
        return
    known = store.rows(
        "select count() from silver.transform_manifests where settings_fingerprint = {fingerprint:String}",
        {"fingerprint": run.fingerprint},
    )
    if not known[0][0]:
        row = {"settings_fingerprint": run.fingerprint, "made_at": datetime.now(UTC), "manifest": result.manifest()}
        store.insert("silver.transform_manifests", [row])
