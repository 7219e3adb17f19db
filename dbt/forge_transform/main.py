"""`forge-transform`: read the request, choose what to build, let dbt build and test it, say how it went."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from forge_stack.wire import Problem, TransformSummary, write_summary

from forge_transform import project, retention, store
from forge_transform.logs import log
from forge_transform.selection import select, settings_fingerprint
from forge_transform.settings import Settings, read_settings, termination_log
from forge_transform.summary import failure, stopped, summarise


def main() -> NoReturn:
    """Run one transform. Exits 0 when all that was selected was built and passed, else 1."""
    signal.signal(signal.SIGTERM, _stop)
    began = time.monotonic()
    try:
        settings = read_settings(os.environ)
        summary = transform(settings, began)
    except ValueError as error:
        summary = failure(Problem(reason="InvalidConfiguration", message=str(error)), time.monotonic() - began)
    except store.StoreError as error:
        summary = failure(error.problem, time.monotonic() - began)
    except KeyboardInterrupt:
        summary = stopped({}, time.monotonic() - began)
    _finish(summary, termination_log(os.environ))


def transform(settings: Settings, began: float) -> TransformSummary:
    """The transform itself. Raises StoreError when the store cannot be used, KeyboardInterrupt when told to stop."""
    folder = project.project_dir()
    fingerprint = settings_fingerprint(settings.variables, project.files_fingerprint(folder))
    with store.connect(settings.dsn) as client:
        store.create_databases(client)
        selection = select(
            settings.request,
            store.read_built(client),
            expected=project.relations(folder),
            fingerprint=fingerprint,
        )
        if not selection.selectors:
            store.forget_settings(client)
    log(
        "info",
        f"building {'everything' if not selection.selectors else ' '.join(selection.selectors)}: {selection.reason}",
    )

    # dbt takes two seconds to import: not before it is known that there is a store to work on.
    from forge_transform.build import run_build

    variables = settings.variables | {"settings_fingerprint": fingerprint}
    result = run_build(folder, settings.work_dir, settings.dsn, variables, selection)
    if isinstance(result.error, KeyboardInterrupt):
        raise result.error
    with store.connect(settings.dsn) as client:
        summary = summarise(result, store.gold_rows(client), time.monotonic() - began)
        if summary.outcome == "succeeded":
            days = settings.request.bronze_retention_days
            if changed := retention.apply(client, settings.request.sources, days):
                log("info", f"the retention of {changed} bronze table(s) changed", days=days)
        return summary


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM is to dbt what Ctrl-C is: it cancels its queries and starts no more."""
    raise KeyboardInterrupt


def _finish(summary: TransformSummary, path: Path) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if summary.error:
        log("error", summary.error.message, reason=summary.error.reason)
    for lost in summary.failures:
        log("error", lost.message, node=lost.node)
    log("info", f"transform {summary.outcome}", seconds=summary.duration_seconds, rows=summary.rows)
    try:
        write_summary(summary, path)
    except OSError as error:
        log("warning", f"the summary could not be written to {path}: {error.strerror}")
    if summary.outcome == "stopped":
        # A worker of dbt may still wait for its cancelled query; nothing is left to wait for.
        os._exit(1)
    sys.exit(0 if summary.outcome == "succeeded" else 1)
