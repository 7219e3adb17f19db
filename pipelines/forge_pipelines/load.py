"""One load of one source, from the store's first answer to the summary.

The source gives pages; dlt makes load packages of them and stores them with the cursor that they cover. A long load is
cut into slices, each a package of its own, so that a crash costs at most one slice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
from clickhouse_connect.driver import exceptions as driver
from dlt.common.schema.exceptions import DataValidationError
from dlt.common.schema.typing import TSchemaContractDict
from dlt.extract.resource import DltResource
from dlt.pipeline.exceptions import PipelineStepFailed
from forge_stack.model import Source
from forge_stack.wire import LoadSummary, Outcome, Problem, StoreDsn, bronze_prefix

from forge_pipelines import sources
from forge_pipelines.bronze import Bronze
from forge_pipelines.destination import COMPUTED_HINT, forge_clickhouse
from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError, Stopped, causes
from forge_pipelines.progress import Progress, told_while
from forge_pipelines.sources import Credentials, Page, Scope, SourceModule
from forge_pipelines.tables import COMMON, LOAD_RUNS, REJECTED_ROWS, WITH_ROWS, Table, iso, json_text, moment, rejection

log = logging.getLogger("forge_pipelines")

SLICE_ROWS = 500_000
SLICE_SECONDS = 120.0

CONTRACT: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}


@dataclass(frozen=True)
class LoadRequest:
    """What main read from the environment."""

    source: Source
    store: StoreDsn
    credentials: Credentials
    work_dir: Path
    window: tuple[datetime, datetime] | None = None
    blot: Callable[[str], str] = str
    """Takes secrets out of texts."""

    @property
    def bronze(self) -> Bronze:
        """The source's tables."""
        return Bronze(self.store, self.source.name)


def run(request: LoadRequest, stop: threading.Event) -> LoadSummary:
    """Carry out a load. It never raises: what goes wrong is in the summary."""
    began, started = datetime.now(UTC), time.monotonic()
    progress = Progress()
    api: Api | None = None
    try:
        source = sources.module(request.source.type)
        api = source.connect(request.source.connection, request.credentials)
        api.use(request.credentials.get)
        api.stop = stop
        reach_store(request, source, progress)
        with told_while(progress, api):
            load_slices(request, source, PageStream(request, source, api, progress), progress)
    except Exception as error:
        progress.end(error)
    told = summary(request, progress, api, time.monotonic() - started)
    if progress.reached_store:
        record(request, told, began)
    return told


def record(request: LoadRequest, done: LoadSummary, began: datetime) -> None:
    """Keep what the load did beside its rows. That it fails is no failure of the load."""
    start, end = request.window or (None, None)
    row = {
        **done.model_dump(include={field.name for field in LOAD_RUNS.schema}),
        "started_at": began,
        "finished_at": datetime.now(UTC),
        "window_start": start,
        "window_end": end,
        "rows": json_text(done.rows),
        "warnings": request.blot(json_text(done.warnings)),
        "error_reason": done.error.reason if done.error else None,
        "error_message": request.blot(done.error.message) if done.error else None,
    }
    try:
        request.bronze.record(row)
        if done.outcome == "succeeded":
            request.bronze.forget_states(pipeline_name(bronze_prefix(request.source.name), request.window))
    except driver.Error as error:
        log.warning(f"the load is not recorded in load_runs: {store_problem(request.store, error).message}")


def reach_store(request: LoadRequest, source: SourceModule, progress: Progress) -> None:
    """Ask the store before the source. Raises LoadError (StoreUnavailable, SchemaViolation)."""
    bronze, tables = request.bronze, (*source.TABLES, *COMMON)
    try:
        stored = bronze.columns(tables)
    except driver.Error as error:
        raise store_problem(request.store, error) from error
    progress.reached_store = True
    bronze.refuse_others(tables, stored)


def load_slices(request: LoadRequest, source: SourceModule, stream: PageStream, progress: Progress) -> None:
    """Load slice after slice until the source has no more. A failure in the source still keeps what it gave before."""
    prefix = bronze_prefix(request.source.name)
    pipeline = dlt.pipeline(
        pipeline_name=pipeline_name(prefix, request.window),
        destination=forge_clickhouse(request.store),
        dataset_name=prefix,
        pipelines_dir=str(request.work_dir / "dlt"),
    )
    join_logs()
    while not progress.finished:
        before = dict(progress.rows)
        try:
            info = pipeline.run(
                [slice_of(prefix, (*source.TABLES, *WITH_ROWS), stream)()],
                loader_file_format="parquet",
                schema_contract=CONTRACT,
            )
        except PipelineStepFailed as error:
            progress.forget()
            if any(isinstance(cause, NothingReadError) for cause in causes(error)):
                return
            raise load_problem(request, error) from error
        progress.keep()
        log.info(
            "slice stored",
            extra={
                "load_ids": list(info.loads_ids),
                "rows": {k: v - before.get(k, 0) for k, v in progress.rows.items()},
            },
        )


def pipeline_name(prefix: str, window: tuple[datetime, datetime] | None) -> str:
    """To what dlt ties the state of a load: a backfill has its own, so that it goes on where it was cut off.

    It may also run beside the ordinary loads, whose cursor it cannot set back.
    """
    if window is None:
        return prefix
    start, end = (moment.astimezone(UTC).strftime("%Y%m%dt%H%M%S%f") for moment in window)
    return f"{prefix}__{start}_{end}"


class NothingReadError(Exception):
    """The source gave no page before it failed: no package is made, for it would say that the source was read."""


@dataclass
class PageStream:
    """The pages of one load, over all its slices."""

    request: LoadRequest
    source: SourceModule
    api: Api
    progress: Progress
    _scope: Scope | None = None
    _pages: Iterator[Page] = field(default_factory=lambda: iter(()))

    def take(self, state: dict[str, Any]) -> Iterator[Page]:
        """The pages of a slice; `state` is dlt's, restored from the store, and is moved on at clean cursors only."""
        progress, window = self.progress, self.request.window
        progress.covered = progress.covered or moment(state.get("covered"))
        progress.newest = progress.newest or moment(state.get("newest"))
        progress.keep()
        if self._scope is None:
            spec, now = self.request.source.connection, datetime.now(UTC)
            self._scope = Scope(
                state=dict(state.get("source") or {}),
                now=now,
                window=window,
                warn=progress.warn,
                stored=self.request.bronze.stored,
            )
            progress.start, progress.end_at = window or (progress.covered or spec.since, now)
            self._pages = self.source.pages(spec, self.api, self._scope)
        scope = self._scope
        started, pages, taken = time.monotonic(), 0, 0
        while True:
            try:
                page = next(self._pages, None)
            except (LoadError, Stopped, driver.Error) as problem:
                progress.end(
                    store_problem(self.request.store, problem) if isinstance(problem, driver.Error) else problem
                )
                break
            except (LookupError, TypeError, ValueError, AttributeError) as problem:
                log.exception("an answer could not be read")
                progress.end(unreadable(self.request, problem))
                break
            if page is None:
                progress.finished = True
                yield from self.set_aside(scope)
                break
            yield page
            yield from self.set_aside(scope)
            pages += 1
            progress.pages += 1
            progress.newest = max(filter(None, (progress.newest, page.newest)), default=None)
            for name, rows in page.rows.items():
                progress.rows[name] = progress.rows.get(name, 0) + rows.num_rows
                taken += rows.num_rows
            if page.state is not None:
                progress.covered = page.covered or progress.covered
                state["source"] = page.state
                state["covered"] = iso(progress.covered) if progress.covered else None
                state["newest"] = iso(progress.newest) if progress.newest else None
                if taken >= SLICE_ROWS or time.monotonic() - started >= SLICE_SECONDS:
                    break
        if not pages and (progress.failure or progress.stopped):
            raise NothingReadError
        if window and progress.finished and not (progress.failure or progress.stopped):
            # The window is complete: whoever asks for it again wants it read again.
            state.clear()
        state["loaded"] = iso(datetime.now(UTC))

    def set_aside(self, scope: Scope) -> Iterator[Page]:
        """Answers that made no row, as rows of their own table: in the slice of the page that lacks them."""
        if scope.misfits:
            yield Page({REJECTED_ROWS.name: REJECTED_ROWS.page(rejection(m, scope.now) for m in scope.misfits)})
            self.progress.reject(scope.misfits)
            scope.misfits.clear()


def slice_of(prefix: str, tables: tuple[Table, ...], stream: PageStream) -> Any:
    """A dlt source that yields one slice: Arrow pages, each for its table."""

    @dlt.source(name=prefix, max_table_nesting=0)
    def forge_source() -> DltResource:
        @dlt.resource(name="pages", write_disposition="append", standalone=False)
        def pages() -> Iterator[Any]:
            declared: set[str] = set()
            existing = dlt.current.source_schema().tables

            def marked(table: Table, rows: Any) -> Any:
                if table.name in declared:
                    return dlt.mark.with_table_name(rows, table.name)
                declared.add(table.name)
                return dlt.mark.with_hints(rows, table_hints(table), create_table_variant=True)

            for table in tables:
                if table.name not in existing:
                    yield marked(table, table.empty())
            for page in stream.take(dlt.current.source_state()):
                for table in tables:
                    rows = page.rows.get(table.name)
                    if rows is not None and rows.num_rows:
                        yield marked(table, rows)

        return pages

    return forge_source


def table_hints(table: Table) -> Any:
    """Key, version and engine of a table, as dlt wants them."""
    return dlt.mark.make_hints(
        table_name=table.name,
        write_disposition="append",
        primary_key=list(table.key),
        columns={table.version: {"name": table.version, "dedup_sort": "desc"}},
        additional_table_hints={
            "x-table-engine-type": "replacing_merge_tree",
            **({COMPUTED_HINT: dict(table.computed)} if table.computed else {}),
        },
    )


def join_logs() -> None:
    """Let dlt's log lines go where all others go: it gives its logger a handler of its own."""
    logger = logging.getLogger("dlt")
    logger.handlers.clear()
    logger.propagate = True


def unreadable(request: LoadRequest, problem: Exception) -> LoadError:
    """An answer that is JSON but not of the shape that the API documents."""
    return LoadError(
        "BadResponse",
        f"{request.source.type}: an answer has an unexpected shape ({type(problem).__name__}: {str(problem)[:100]}); "
        "check that url is that API's base address and its version a supported one; the log has the place",
    )


def load_problem(request: LoadRequest, failed: PipelineStepFailed) -> Exception:
    """What a failed dlt step means to people."""
    for cause in causes(failed):
        if isinstance(cause, (LoadError, Stopped)):
            return cause
        if isinstance(cause, DataValidationError):
            return LoadError(
                "SchemaViolation",
                f"table {cause.table_name}, column {cause.column_name}: the type differs from the stored one; bronze "
                "types never change in place: drop or rename that table, then load again",
            )
        if isinstance(cause, driver.Error):
            return store_problem(request.store, cause)
    return failed


def store_problem(dsn: StoreDsn, error: driver.Error) -> LoadError:
    """A store's error with its remedy."""
    where = f"the store at {dsn.host}:{dsn.port}"
    text = " ".join(str(error).split())[:200]
    if error.code in (192, 193, 194, 516):
        return LoadError("StoreUnavailable", f"{where} refuses user {dsn.user!r}; correct user and password in the DSN")
    if error.code == 497:
        return LoadError("StoreUnavailable", f"{where} denies user {dsn.user!r} what a load needs ({text}); grant it")
    if error.code in (6, 27, 41, 53, 70, 72, 131, 349):
        return LoadError(
            "SchemaViolation", f"{where} refuses rows ({text}); the bronze table differs from what is loaded"
        )
    if error.code is None:
        return LoadError("StoreUnavailable", f"{where} does not answer ({text}); check the DSN and that the store runs")
    return LoadError("StoreUnavailable", f"{where} answers an error ({text})")


def summary(request: LoadRequest, progress: Progress, api: Api | None, seconds: float) -> LoadSummary:
    """What the load did, for the runtime."""
    outcome: Outcome = "succeeded"
    error: Problem | None = None
    failure, stopped = progress.failure, progress.stopped
    if stopped is not None and progress.pages == 0 and not is_signal(stopped):
        failure = LoadError("RateLimited", stopped.message)
    if failure is not None:
        outcome = "failed"
        if isinstance(failure, LoadError):
            error = Problem(reason=failure.reason, message=failure.message)
        else:
            log.error("the load failed in an unforeseen way", exc_info=failure)
            error = Problem(
                reason="Internal",
                message=f"{type(failure).__name__}: {' '.join(str(failure).split())[:300]}; the log has the whole",
            )
    elif stopped is not None:
        outcome = "stopped"
        progress.warn(stopped.message)
    progress.warn_of_rejected(request.bronze.name(REJECTED_ROWS))
    return LoadSummary(
        source=request.source.name,
        outcome=outcome,
        rows=progress.rows,
        requests=api.requests if api else 0,
        retries=api.retries if api else 0,
        waited_seconds=round(api.waited, 3) if api else 0.0,
        bytes_read=api.bytes_read if api else 0,
        rejected_rows=sum(found.rows for found in progress.rejected.values()),
        cursor=iso(progress.covered) if progress.covered else None,
        newest_event_at=progress.newest,
        duration_seconds=round(seconds, 3),
        warnings=progress.warnings,
        error=error,
    )


def is_signal(stopped: Stopped) -> bool:
    """Whether somebody asked the load to end (and not the source)."""
    return type(stopped) is Stopped


def configure_dlt(work_dir: Path, environ: Mapping[str, str] | None = None) -> None:
    """Settings of dlt that a load relies on; they must be in the environment before dlt reads them."""
    settings = {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
        "NORMALIZE__WORKERS": "1",
        "LOAD__WORKERS": "2",
        "LOAD__RAISE_ON_MAX_RETRIES": "1",
        "LOAD__DELETE_COMPLETED_JOBS": "true",
        "DLT_DATA_DIR": str(work_dir / "dlt"),
        "DLT_PROJECT_DIR": str(work_dir),
        "DLT_CONFIG_FOLDER": str(work_dir / ".dlt"),
    }
    os.environ.update({**settings, **(environ or {})})
