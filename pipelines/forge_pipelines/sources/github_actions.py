"""Workflow runs and their jobs, by REST: GraphQL has neither attempts nor jobs.

A listing with a filter ends after 1,000 runs, so a window with as many is cut into shorter ones. A run changes after it
was created: unfinished ones are asked for again, and once a day all of the last 31 days, in which GitHub allows a run
to be run again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from forge_pipelines.conditions import sql_second
from forge_pipelines.http import UNCHANGED, Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Scope
from forge_pipelines.sources.github_rows import Place, job_row, run_row
from forge_pipelines.sources.github_tables import WORKFLOW_JOBS, WORKFLOW_RUNS
from forge_pipelines.tables import iso, moment

PAGE = 100
CAP = 1000
"""Results of a filtered listing, at most."""
FILLED = 800
"""Runs that a window shall have when a fuller one is cut."""
SECOND = timedelta(seconds=1)
RERUN = timedelta(days=31)
"""How long after its first attempt a run may run again (30 days), and a day for the way of looking."""
DAILY = timedelta(days=1)
NEAR = timedelta(hours=6)
"""An unfinished run this little below the mark is met by a listing that begins with it; an older one is asked for."""
JOBS_AT_ONCE = 50
"""Runs whose jobs are read before the mark moves."""


@dataclass(frozen=True)
class RunsMark:
    """How far the runs of a repository are loaded.

    `upto`: the newest creation seen; `deep`: when the last 31 days were read again; `url` and `etag`: of the last
    listing of what is new; `jobs_upto`: creation up to which runs have their jobs; `again`: runs whose jobs are due
    once more.
    """

    upto: datetime | None = None
    deep: datetime | None = None
    url: str | None = None
    etag: str | None = None
    jobs_upto: datetime | None = None
    again: tuple[int, ...] = ()

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> RunsMark:
        """From the state."""
        return cls(
            moment(kept.get("upto")),
            moment(kept.get("deep")),
            kept.get("url"),
            kept.get("etag"),
            moment(kept.get("jobs_upto")),
            tuple(kept.get("again") or ()),
        )

    def anew(self) -> RunsMark:
        """The mark that has all runs read once more, but not their jobs."""
        return RunsMark(jobs_upto=self.jobs_upto, again=self.again)

    def write(self) -> dict[str, Any]:
        """For the state, without what is absent."""
        times = {"upto": self.upto, "deep": self.deep, "jobs_upto": self.jobs_upto}
        kept: dict[str, Any] = {name: iso(value) for name, value in times.items() if value}
        kept |= {"url": self.url, "etag": self.etag, "again": list(self.again)}
        return {name: value for name, value in kept.items() if value}


@dataclass
class Actions:
    """Asks for runs and jobs; counts the requests for jobs."""

    api: Api
    scope: Scope
    job_requests: int = 0

    def listing(
        self, place: Place, start: datetime, end: datetime | None, url: str | None = None, etag: str | None = None
    ) -> Iterator[Listed]:
        """The runs created in [start, end], oldest windows first; up to now without an end.

        Nothing comes when `url` and `etag` are of the same listing as it was, and it is unchanged.
        """
        path, what = f"/repos/{place.name}/actions/runs", f"workflow runs of {place.name}"
        windows: list[tuple[datetime, datetime | None]] = [(start, end)]
        while windows:
            low, high = windows.pop(0)
            created = f"{second(low)}..{second(high)}" if high else f">={second(low)}"
            name = f"{path} {created}"
            page = self.api.get(
                path, {"created": created, "per_page": PAGE}, what=what, etag=etag if url == name else None
            )
            if page is UNCHANGED:
                return
            total = int(page.get("total_count") or 0)
            if total >= CAP and (cut := narrower(low, high, page.get("workflow_runs") or [])):
                windows = [(low, cut), (cut, high), *windows]
                continue
            # The ETag of a first page says nothing of the pages behind it.
            seen = None if self.api.next_page else self.api.last_headers.get("etag")
            while following := self.api.next_page:
                yield Listed(page.get("workflow_runs") or [])
                page = self.api.get(following, what=what)
            yield Listed(page.get("workflow_runs") or [], True, high is None, name, seen)

    def run(self, place: Place, number: int) -> dict[str, Any] | None:
        """One run; None when it is gone."""
        try:
            found = self.api.get(f"/repos/{place.name}/actions/runs/{number}", what=f"workflow run {number}")
        except LoadError as error:
            if error.reason != "NotFound":
                raise
            return None
        return found if isinstance(found, dict) else None

    def jobs(self, place: Place, run: int) -> list[dict[str, Any]]:
        """The jobs of all attempts of a run; none when the run is gone."""
        address: str | None = f"/repos/{place.name}/actions/runs/{run}/jobs"
        params: dict[str, Any] | None = {"filter": "all", "per_page": PAGE}
        found: list[dict[str, Any]] = []
        while address:
            before = self.api.requests
            try:
                page = self.api.get(address, params, what=f"jobs of workflow run {run} of {place.name}")
            except LoadError as error:
                if error.reason != "NotFound":
                    raise
                return found
            finally:
                self.job_requests += self.api.requests - before
            found += page.get("jobs") or []
            address, params = self.api.next_page, None
        return found


@dataclass(frozen=True)
class Listed:
    """A page of runs. The `last` one of a window tells whether that is `open` (up to now), its name, and its ETag."""

    runs: list[dict[str, Any]]
    last: bool = False
    open: bool = False
    url: str | None = None
    etag: str | None = None


def second(moment_: datetime) -> str:
    """A moment as GitHub's search writes it, to the second."""
    return iso(moment_.replace(microsecond=0))


def narrower(low: datetime, high: datetime | None, newest: Sequence[Mapping[str, Any]]) -> datetime | None:
    """Where a window with too many runs is cut; None when it is too short to cut.

    Its first page has the newest runs: as close as those are, the part above the cut has about FILLED.
    """
    created = [at for at in (moment(run.get("created_at")) for run in newest) if at]
    top = high or max(created, default=low)
    if top - low <= SECOND:
        return None
    reach = (max(created) - min(created)) * FILLED / len(created) if created else (top - low) / 2
    cut = max(created, default=top) - max(reach, SECOND)
    # Runs that are bunched at the top, or beyond the end, say nothing of the rest: then it is cut in the middle.
    cut = cut if low < cut < top else low + (top - low) / 2
    return cut.replace(microsecond=0)


@dataclass
class Seen:
    """What a load met of a repository's runs."""

    fresh: dict[int, datetime] = field(default_factory=dict)
    """Runs that bronze did not have, and when they were created."""
    again: set[int] = field(default_factory=set)
    """Runs whose jobs are to be read once more."""
    moved: set[str] = field(default_factory=set)
    """Commits whose checks moved."""
    met: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Known:
    """A run as bronze has it."""

    updated_at: datetime
    status: str | None
    created_at: datetime


def known_runs(scope: Scope, place: Place, since: datetime) -> dict[int, Known]:
    """The runs in bronze that were created lately."""
    table = scope.stored(
        WORKFLOW_RUNS,
        ["run_id", "updated_at", "status", "created_at"],
        f"repository_id = {place.id} and created_at >= {sql_second(since)}",
    )
    return {row["run_id"]: Known(row["updated_at"], row["status"], row["created_at"]) for row in table.to_pylist()}


def new_runs(
    actions: Actions, place: Place, mark: RunsMark, first: datetime, overlap: timedelta, deep_every: timedelta
) -> Iterator[tuple[dict[str, Any], RunsMark, Seen]]:
    """The runs that are new or may have changed: rows, the mark after them, and what the load is to do about them.

    `first`: where a first load begins.
    """
    scope, known = actions.scope, {}
    start, is_deep, before = first, False, mark.upto
    if before:
        known = known_runs(scope, place, scope.now - RERUN)
        is_deep = is_due(mark.deep, deep_every, scope.now)
        start = first_to_read(before - overlap, scope.now - RERUN if is_deep else None, known)
        start = max(start, first)
    seen = Seen()
    for page in actions.listing(place, start, None, mark.url, None if is_deep else mark.etag):
        note(seen, page.runs, known, is_first=before is None)
        created = [at for at in (moment(run.get("created_at")) for run in page.runs) if at]
        mark = replace(mark, again=due(scope, place, mark, seen))
        # Within a window the newest come first: only its end is a clean place.
        if page.last:
            newest = max(
                [*created, *(at for at in seen.fresh.values()), *([mark.upto] if mark.upto else [])], default=None
            )
            mark = replace(mark, upto=newest)
        if page.open:
            deep = scope.now if is_deep or not mark.deep else mark.deep
            mark = replace(mark, url=page.url, etag=page.etag, deep=deep)
            if is_deep:
                seen.gone = {number for number, run in known.items() if run.created_at > start} - seen.met
        yield {WORKFLOW_RUNS.name: run_page(scope, place, page.runs)}, mark, seen
    unfinished = {number: run for number, run in known.items() if run.status != "completed"}
    late = sorted(number for number in unfinished if number not in seen.met and number not in seen.gone)
    if late:
        # An unchanged listing says nothing of jobs; older runs are asked for one by one.
        found = [run for number in late if (run := actions.run(place, number))]
        note(seen, found, known, is_first=False)
        mark = replace(mark, again=due(scope, place, mark, seen))
        yield {WORKFLOW_RUNS.name: run_page(scope, place, found)}, mark, seen


def first_to_read(usual: datetime, deep: datetime | None, known: Mapping[int, Known]) -> datetime:
    """Where a listing begins: at the usual place, or deep, or a little lower where that meets unfinished runs too."""
    start = min(usual, deep) if deep else usual
    near = [run.created_at for run in known.values() if run.status != "completed" and start - NEAR <= run.created_at]
    return min([start, *near])


def is_due(last: datetime | None, every: timedelta, now: datetime) -> bool:
    """Whether something that happens every so often is to happen again."""
    return last is None or now - last >= every


def note(seen: Seen, runs: Sequence[Mapping[str, Any]], known: Mapping[int, Known], *, is_first: bool) -> None:
    """Note which runs are new, and which are known but moved on or still go on: their jobs are to be read again."""
    for run in runs:
        before, created = known.get(run["id"]), moment(run.get("created_at"))
        seen.met.add(run["id"])
        moved = (
            before is None or before.updated_at != moment(run.get("updated_at")) or before.status != run.get("status")
        )
        if before is None and created:
            seen.fresh[run["id"]] = created
        elif moved or run.get("status") != "completed":
            seen.again.add(run["id"])
        if moved and not is_first and run.get("head_sha"):
            seen.moved.add(run["head_sha"])


def due(scope: Scope, place: Place, mark: RunsMark, seen: Seen) -> tuple[int, ...]:
    """Runs whose jobs are read again, and new ones below those whose jobs are read: kept until it is done."""
    below = {number for number, at in seen.fresh.items() if mark.jobs_upto and at <= mark.jobs_upto}
    return tuple(sorted({*mark.again, *seen.again, *(below - covered_runs(scope, place, below))}))


def run_page(scope: Scope, place: Place, runs: Sequence[Mapping[str, Any]]) -> Any:
    """Runs as a page."""
    return scope.page(WORKFLOW_RUNS, runs, lambda run: run_row(place, run))


def job_page(scope: Scope, place: Place, jobs: Sequence[Mapping[str, Any]]) -> Any:
    """Jobs as a page."""
    return scope.page(WORKFLOW_JOBS, jobs, lambda job: job_row(place, job, scope.now))


def jobs_of(
    actions: Actions, place: Place, mark: RunsMark, fresh: Mapping[int, datetime]
) -> Iterator[tuple[dict[str, Any], RunsMark]]:
    """The jobs of runs that have none yet, or whose jobs moved on, and the mark after each few runs.

    Runs of this load are `fresh`; those that an earlier load stored without jobs are in bronze.
    """
    waiting = dict(fresh)
    if mark.upto and (mark.jobs_upto is None or mark.jobs_upto < mark.upto):
        low = f" and created_at >= {sql_second(mark.jobs_upto)}" if mark.jobs_upto else ""
        stored = actions.scope.stored(WORKFLOW_RUNS, ["run_id", "created_at"], f"repository_id = {place.id}{low}")
        waiting |= {row["run_id"]: row["created_at"] for row in stored.to_pylist()}
    for part in chunks(mark.again, JOBS_AT_ONCE):
        found = [job for number in part for job in actions.jobs(place, number)]
        mark = replace(mark, again=tuple(number for number in mark.again if number not in part))
        yield {WORKFLOW_JOBS.name: job_page(actions.scope, place, found)}, mark
        waiting = {number: at for number, at in waiting.items() if number not in part}
    order = sorted(waiting, key=lambda number: (waiting[number], number))
    covered = covered_runs(actions.scope, place, order)
    for part in chunks(order, JOBS_AT_ONCE):
        found = [job for number in part if number not in covered for job in actions.jobs(place, number)]
        upto = waiting[part[-1]]
        mark = replace(mark, jobs_upto=max(upto, mark.jobs_upto) if mark.jobs_upto else upto)
        yield {WORKFLOW_JOBS.name: job_page(actions.scope, place, found)}, mark


def chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Numbers, a few at a time."""
    for begin in range(0, len(numbers), size):
        yield numbers[begin : begin + size]


def covered_runs(scope: Scope, place: Place, numbers: Collection[int]) -> set[int]:
    """Those of the runs that bronze has all jobs of: at their end, of as many attempts as the run has."""
    if not numbers:
        return set()
    where = f"repository_id = {place.id} and run_id between {min(numbers)} and {max(numbers)}"
    runs = scope.stored(WORKFLOW_RUNS, ["run_id", "run_attempt"], f"{where} and status = 'completed'").to_pylist()
    attempts: dict[int, int] = {}
    for job in scope.stored(WORKFLOW_JOBS, ["run_id", "run_attempt", "status"], where).to_pylist():
        goes_on = job["status"] != "completed"
        number = job["run_id"]
        attempts[number] = (
            -1 if goes_on or attempts.get(number) == -1 else max(attempts.get(number, 0), job["run_attempt"])
        )
    return {run["run_id"] for run in runs if attempts.get(run["run_id"], 0) >= run["run_attempt"]}
