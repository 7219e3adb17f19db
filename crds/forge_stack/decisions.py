"""The pure decisions that the operator and the local run share: which load is due, must a transform run.

No clock, no API, no store: everything comes in as arguments, the same facts give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forge_stack.duration import duration
from forge_stack.model import Source, Transform, TransformStatus
from forge_stack.schedule import next_tick

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True)
class FinishedLoad:
    """A load that ended well, or stopped at a clean cursor. `uid` identifies it for ever: its Job's, its process's."""

    uid: str
    source: str
    ended_at: datetime


@dataclass(frozen=True)
class RunTransform:
    """Start transform number `sequence`, which covers the loads in `uids`, of the sources in `sources`."""

    sequence: int
    uids: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Nothing to do now; look again at `until` (None: when something changes)."""

    until: datetime | None
    why: str


def retry_delay(failures: int) -> timedelta:
    """How long to wait after that many failures in a row: 30 s, doubled each time, at most an hour."""
    return min(FIRST_RETRY * 2 ** min(failures - 1, 10), LONGEST_RETRY) if failures > 0 else timedelta(0)


def decide_transform(
    *,
    now: datetime,
    finished: Iterable[FinishedLoad],
    expected: Iterable[str],
    status: TransformStatus,
    running: bool,
    settings: Transform,
    generation: int = 0,
    requested: bool = False,
) -> RunTransform | Wait:
    """Whether a transform must run now.

    `finished` are the finished loads whose evidence still exists, `expected` the sources that take part (not
    suspended), `status` the committed position, `running` whether a transform has not ended yet, `generation` that of
    the spec, `requested` whether somebody asked for one: that waits for nothing but the one that runs.
    A load is covered only by a successful transform that began after it, so one that ends while a transform runs
    waits for the next. Bursts coalesce: the transform waits until no load ended for the settle time, but no load waits
    longer than the longest wait; when every expected source has a load waiting, nothing is left to wait for. A failed
    one is tried again later and later, but at once with another spec: that may be the cure.
    """
    if running:
        return Wait(None, "a transform is running")
    pending = sorted((load for load in finished if load.uid not in status.consumed), key=lambda load: load.uid)
    sources = tuple(sorted({load.source for load in pending}))
    run = RunTransform(status.sequence + 1, tuple(load.uid for load in pending), sources)
    if requested:
        return run
    if not pending:
        return Wait(None, "every finished load is covered")
    ended = [load.ended_at for load in pending]
    if set(expected) <= set(sources):
        due = max(ended)
    else:
        due = min(max(ended) + duration(settings.settle_time), min(ended) + duration(settings.longest_wait))
    if status.failures and status.last_end_time and status.failed_generation == generation:
        due = max(due, status.last_end_time + retry_delay(status.failures))
    if now < due:
        return Wait(due, f"{len(pending)} finished load(s) wait to be covered")
    return run


def commit_transform(
    *,
    status: TransformStatus,
    sequence: int,
    succeeded: bool,
    covered: Iterable[FinishedLoad],
    existing: Iterable[str],
    started_at: datetime,
    ended_at: datetime,
    generation: int = 0,
) -> TransformStatus:
    """The committed position after transform `sequence` ended; an older sequence changes nothing.

    `covered` are the loads it was started for, `generation` is that of the spec it was made from. `consumed` forgets
    earlier loads whose evidence (not in `existing`, uids) is gone: a load without evidence cannot be asked for again.
    Those just covered it keeps, seen or not: what was read may be older than the transform. Failures are counted
    since the last success or change of the spec.
    """
    if sequence <= status.sequence:
        return status
    change: dict[str, object] = {
        "sequence": sequence,
        "last_start_time": started_at,
        "last_end_time": ended_at,
        "failures": 0,
        "failed_generation": 0,
    }
    if not succeeded:
        before = status.failures if status.failed_generation == generation else 0
        change |= {"failures": before + 1, "failed_generation": generation}
    else:
        loads = list(covered)
        newest = dict(status.covered)
        for load in loads:
            newest[load.source] = max(newest.get(load.source, load.ended_at), load.ended_at)
        consumed = ({*status.consumed} & {*existing}) | {load.uid for load in loads}
        change |= {"consumed": sorted(consumed), "covered": newest, "last_success_time": ended_at}
    return status.model_copy(update=change)


def decide_load(
    *, now: datetime, source: Source, last_started: datetime | None, failures: int, running: bool, suspended: bool
) -> datetime | None:
    """When the next load of a source is due (a moment not after `now`: at once); None: not until something changes.

    The first load does not wait for a tick of the schedule, and a failed first load is tried again soon.
    """
    if running or suspended or source.suspend:
        return None
    if last_started is None:
        return now
    tick = next_tick(source.schedule, source.time_zone, last_started)
    if failures:
        retry = last_started + retry_delay(failures)
        return min(tick, retry) if tick else retry
    return tick
