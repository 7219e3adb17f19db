"""`forge-transform`: read the request, choose what to build, let dbt build and test it, publish it, say how it went."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from forge_stack.wire import Problem, TransformSummary, write_summary

from forge_transform import batch, history, project, publish, retention, store
from forge_transform.logs import log
from forge_transform.result import BuildResult
from forge_transform.selection import select, settings_fingerprint
from forge_transform.settings import Settings, read_settings, termination_log
from forge_transform.store import Store, StoreError
from forge_transform.summary import failure, idle, stopped, summarise


def main() -> NoReturn:
    """Run one transform. Exits 0 when all that was selected was built and passed, else 1."""
    signal.signal(signal.SIGTERM, _stop)
    began = time.monotonic()
    try:
        settings = read_settings(os.environ)
        summary = transform(settings, began)
    except ValueError as error:
        summary = failure(Problem(reason="InvalidConfiguration", message=str(error)), time.monotonic() - began)
    except KeyboardInterrupt:
        summary = stopped({}, time.monotonic() - began)
    _finish(summary, termination_log(os.environ))


def transform(settings: Settings, began: float) -> TransformSummary:
    """The transform itself, and its record in the store, however it ended."""
    try:
        with store.connect(settings.dsn, settings.cluster) as open_store:
            run = start(open_store, settings)
        log("info", str(run.selection))
        if run.selection.scope == "nothing":
            return _rest(settings, run, began)
        return _work(settings, run, began)
    except StoreError as error:
        return failure(error.problem, time.monotonic() - began)


def start(open_store: Store, settings: Settings) -> history.Run:
    """Freeze the batch, and choose what to build of it."""
    folder = project.project_dir()
    cluster = settings.cluster.profile if settings.cluster.is_replicated else {}
    fingerprint = settings_fingerprint(settings.variables | cluster, project.files_fingerprint(folder))
    store.prepare(open_store)
    new_loads = batch.write(open_store, settings.request.sources)
    selection = select(
        settings.request,
        store.read_built(open_store),
        new_loads,
        expected=project.relations(folder),
        fingerprint=fingerprint,
        unsettled=history.unsettled(open_store),
    )
    run = history.Run(fingerprint, selection, new_loads)
    if selection.scope != "nothing":
        history.begin(open_store, run)
    if selection.scope == "everything":
        batch.forget_settings(open_store)
    return run


def _rest(settings: Settings, run: history.Run, began: float) -> TransformSummary:
    with store.connect(settings.dsn, settings.cluster) as open_store:
        summary = idle(store.gold_rows(open_store), time.monotonic() - began)
        history.finish(open_store, run, summary, None)
        return summary


def _work(settings: Settings, run: history.Run, began: float) -> TransformSummary:
    """Build, publish and commit what was selected; whatever happens is written down."""
    result: BuildResult | None = None
    try:
        result = build(settings, run)
        if isinstance(result.error, KeyboardInterrupt):
            raise result.error
        with store.connect(settings.dsn, settings.cluster) as open_store:
            summary = summarise(result, {}, 0)
            if summary.outcome == "succeeded":
                finish(open_store, settings, run, result)
            summary = summarise(result, store.gold_rows(open_store), time.monotonic() - began)
    except KeyboardInterrupt:
        summary = stopped({}, time.monotonic() - began)
    except StoreError as error:
        summary = failure(error.problem, time.monotonic() - began)
    _record(settings, run, summary, result)
    return summary


def build(settings: Settings, run: history.Run) -> BuildResult:
    """Let dbt build and test it in silver and gold_next."""
    # dbt takes seconds to import: not before it is known that there is something to do. What it leaves stays until the
    # end, so that the collector need not look at it again and again.
    gc.disable()
    from forge_transform.build import run_build

    gc.freeze()
    gc.enable()
    variables = settings.variables | {"run_id": run.id}
    return run_build(project.project_dir(), settings.work_dir, settings.dsn, settings.cluster, variables, run.selection)


def finish(open_store: Store, settings: Settings, run: history.Run, result: BuildResult) -> None:
    """After a build whose every test passed: show it, then say that its loads are consumed.

    Cut off anywhere, the next transform takes the same loads again and does the rest. So the commit comes last.
    """
    if changed := retention.apply(open_store, settings.request, result.event_times):
        log("info", f"the retention of {changed} table(s) changed")
    run.published = publish.publish(open_store, project.gold_tables(project.project_dir()))
    everything = run.selection.scope == "everything"
    batch.commit(open_store, run.id, run.fingerprint if everything else None)


def _record(settings: Settings, run: history.Run, summary: TransformSummary, result: BuildResult | None) -> None:
    """Write the run down. That it cannot be is no failure of what it did."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with store.connect(settings.dsn, settings.cluster) as open_store:
            history.finish(open_store, run, summary, result)
    except StoreError as error:
        log("warning", f"the run could not be recorded: {error.problem.message}")
    finally:
        signal.signal(signal.SIGTERM, before)


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
