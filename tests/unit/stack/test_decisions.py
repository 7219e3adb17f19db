"""The promise of the transform trigger, as properties over random histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from forge_stack.decisions import (
    FinishedLoad,
    RunTransform,
    Wait,
    commit_transform,
    decide_load,
    decide_transform,
    retry_delay,
)
from forge_stack.model import Source, Transform, TransformStatus
from hypothesis import given, settings
from hypothesis import strategies as st

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Transform(settle_time="30s", longest_wait="5m")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def load(uid: str, source: str, ended: float) -> FinishedLoad:
    return FinishedLoad(uid, source, at(ended))


def decide(
    now: float, loads: list[FinishedLoad], status: TransformStatus | None = None, running: bool = False
) -> object:
    return decide_transform(
        now=at(now),
        finished=loads,
        expected=["a", "b"],
        status=status or TransformStatus(),
        running=running,
        settings=SETTINGS,
    )


def test_nothing_finished_nothing_to_do() -> None:
    assert decide(0, []) == Wait(None, "every finished load is covered")


def test_waits_for_the_settle_time_after_the_newest_load() -> None:
    decision = decide(20, [load("1", "a", 0), load("2", "a", 10)])
    assert isinstance(decision, Wait)
    assert decision.until == at(40)
    assert decide(40, [load("1", "a", 0), load("2", "a", 10)]) == RunTransform(1, ("1", "2"), ("a",))


def test_no_load_waits_longer_than_the_longest_wait() -> None:
    burst = [load(f"{i:03}", "a", i * 20) for i in range(15)] + [load("new", "a", 295)]
    assert isinstance(decide(299, burst), Wait)
    assert isinstance(decide(300, burst), RunTransform)


def test_does_not_settle_when_every_expected_source_is_in() -> None:
    assert decide(11, [load("1", "a", 0), load("2", "b", 11)]) == RunTransform(1, ("1", "2"), ("a", "b"))


def test_never_two_at_once() -> None:
    assert decide(1000, [load("1", "a", 0)], running=True) == Wait(None, "a transform is running")


def test_a_failed_transform_is_tried_again_later_with_what_came_meanwhile() -> None:
    failed = commit_transform(
        status=TransformStatus(),
        sequence=1,
        succeeded=False,
        covered=[load("1", "a", 0)],
        existing=["1"],
        started_at=at(30),
        ended_at=at(60),
    )
    assert (failed.sequence, failed.failures, failed.consumed) == (1, 1, [])
    loads = [load("1", "a", 0), load("2", "b", 50)]
    waiting = decide(61, loads, failed)
    assert isinstance(waiting, Wait)
    assert waiting.until == at(90)
    assert decide(90, loads, failed) == RunTransform(2, ("1", "2"), ("a", "b"))


def failed_with(generation: int, status: TransformStatus | None = None) -> TransformStatus:
    """The position after one more transform of that generation's spec failed."""
    before = status or TransformStatus()
    return commit_transform(
        status=before,
        sequence=before.sequence + 1,
        succeeded=False,
        covered=[load("1", "a", 0)],
        existing=["1"],
        started_at=at(30),
        ended_at=at(60),
        generation=generation,
    )


def test_another_spec_is_tried_at_once_and_counts_its_own_failures() -> None:
    """Whoever corrects the variables does not wait for the end of a pause of up to an hour."""
    status = TransformStatus()
    for _ in range(8):
        status = failed_with(3, status)
    decide_for = partial(
        decide_transform, finished=[load("1", "a", 0)], expected=["a"], running=False, settings=SETTINGS
    )
    assert decide_for(now=at(61), status=status, generation=3) == Wait(
        at(60 + 3600), "1 finished load(s) wait to be covered"
    )
    assert decide_for(now=at(61), status=status, generation=4) == RunTransform(9, ("1",), ("a",))
    again = failed_with(4, status)
    assert (status.failures, again.failures, again.failed_generation) == (8, 1, 4)
    decision = decide_for(now=at(61), status=again, generation=4)
    assert isinstance(decision, Wait)
    assert decision.until == at(90)


def test_a_transform_that_is_asked_for_waits_for_nothing_but_the_one_that_runs() -> None:
    ask = partial(decide_transform, expected=["a", "b"], settings=SETTINGS, requested=True)
    assert ask(now=at(0), finished=[], status=TransformStatus(), running=False) == RunTransform(1, (), ())
    unsettled = [load("1", "a", 0)]
    assert ask(now=at(1), finished=unsettled, status=failed_with(0), running=False) == RunTransform(2, ("1",), ("a",))
    assert ask(now=at(1), finished=[], status=TransformStatus(), running=True) == Wait(None, "a transform is running")


def test_a_load_is_consumed_although_what_was_read_does_not_hold_it_yet() -> None:
    """The view of the loads may be older than the transform; taken for gone, the load would be covered twice."""
    committed = commit_transform(
        status=TransformStatus(consumed=["gone", "kept"]),
        sequence=1,
        succeeded=True,
        covered=[load("1", "a", 0)],
        existing=["kept"],
        started_at=at(30),
        ended_at=at(60),
    )
    assert committed.consumed == ["1", "kept"]


def test_an_older_sequence_commits_nothing() -> None:
    status = TransformStatus(sequence=5, consumed=["x"])
    again = commit_transform(
        status=status, sequence=5, succeeded=True, covered=[], existing=[], started_at=at(0), ended_at=at(1)
    )
    assert again is status


def test_retry_delay_grows_and_is_bounded() -> None:
    delays = [retry_delay(n).total_seconds() for n in range(12)]
    assert delays[:4] == [0, 30, 60, 120]
    assert max(delays) == delays[-1] == 3600


@settings(deadline=None)  # a whole history a case; the machine may be busy
@given(
    ends=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2000)), min_size=1, max_size=25),
    lengths=st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=60, max_size=60),
)
def test_every_load_is_covered_by_a_successful_transform_that_began_after_it(
    ends: list[tuple[str, int]], lengths: list[tuple[int, bool]]
) -> None:
    """Play any history second by second: coverage, no overlap, no batch twice after success."""
    loads = [load(f"{i:03}", source, end) for i, (source, end) in enumerate(ends)]
    status = TransformStatus()
    running: tuple[RunTransform, float, float, bool] | None = None
    covered_at: dict[str, float] = {}
    outcomes = iter(lengths)
    for now in range(0, 40_000, 5):
        seen = [item for item in loads if item.ended_at <= at(now)]
        if running and now >= running[2]:
            run, started, ended, ok = running
            batch = [item for item in loads if item.uid in run.uids]
            status = commit_transform(
                status=status,
                sequence=run.sequence,
                succeeded=ok,
                covered=batch,
                existing=[item.uid for item in seen],
                started_at=at(started),
                ended_at=at(ended),
            )
            if ok:
                for item in batch:
                    assert item.uid not in covered_at, "a load was consumed twice"
                    assert item.ended_at <= at(started), "the transform began before the load ended"
                    covered_at[item.uid] = started
            running = None
        decision = decide_transform(
            now=at(now),
            finished=seen,
            expected=["a", "b", "c"],
            status=status,
            running=bool(running),
            settings=SETTINGS,
        )
        if isinstance(decision, RunTransform):
            assert running is None
            assert decision.sequence == status.sequence + 1
            length, ok = next(outcomes, (10, True))
            running = (decision, now, now + length, ok or status.failures >= 3)
    assert set(covered_at) == {item.uid for item in loads}


SOURCE = Source.model_validate(
    {"name": "p", "prometheus": {"url": "http://p"}, "schedule": "0 6 * * *", "timeZone": "Europe/Berlin"}
)


def next_load(now: datetime, last: datetime | None, failures: int = 0, **flags: bool) -> datetime | None:
    given_flags = {"running": False, "suspended": False} | flags
    return decide_load(now=now, source=SOURCE, last_started=last, failures=failures, **given_flags)


def test_the_first_load_does_not_wait_for_the_schedule() -> None:
    assert next_load(T0, None) == T0
    assert next_load(T0, None, suspended=True) is None
    assert next_load(T0, None, running=True) is None


def test_later_loads_follow_the_schedule_in_its_time_zone_across_summer_time() -> None:
    winter = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert next_load(winter, winter) == datetime(2026, 3, 29, 4, tzinfo=UTC)
    assert next_load(winter, datetime(2026, 1, 1, 5, 0, tzinfo=UTC)) == datetime(2026, 1, 2, 5, tzinfo=UTC)


def test_a_failed_load_does_not_wait_a_day() -> None:
    assert next_load(T0, T0, failures=2) == T0 + timedelta(seconds=60)


def test_a_schedule_that_never_fires_loads_once_and_waits_for_no_moment() -> None:
    """The API server takes it too: its CronJob just never fires."""
    source = Source.model_validate({"name": "a", "schedule": "0 0 30 2 *", "prometheus": {"url": "http://p"}})
    due = partial(decide_load, now=at(10), source=source, running=False, suspended=False)
    assert due(last_started=None, failures=0) == at(10)
    assert due(last_started=at(0), failures=0) is None
    assert due(last_started=at(0), failures=1) == at(30)
