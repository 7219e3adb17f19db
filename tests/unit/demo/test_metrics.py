"""The metrics say what the events say."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest
from forge_demo import events as ev
from forge_demo import metrics, remote_write
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build(7, end=END)


def by_name(world: World, name: str) -> list[metrics.Series]:
    return [one for one in metrics.series(world.past) if one.name == name]


def test_gauges_are_what_is_open_at_the_moment(world: World) -> None:
    for at in (END, END - timedelta(days=3, minutes=7), END - timedelta(days=40)):
        happened = [e for e in world.past if e.at <= at]
        queued = sum(isinstance(e, ev.StageQueued) - isinstance(e, ev.StageStarted) for e in happened)
        busy = sum(isinstance(e, ev.StageStarted) - isinstance(e, ev.StageEnded) for e in happened)
        assert sum(s.value(at.timestamp()) for s in by_name(world, "forge_queue_depth")) == queued
        assert sum(s.value(at.timestamp()) for s in by_name(world, "forge_agents_busy")) == busy


def test_counters_count_from_the_last_restart(world: World) -> None:
    restart = metrics.restart_before(END.timestamp())
    monday = datetime.fromtimestamp(restart, UTC)
    assert (monday.weekday(), monday.hour) == (0, 3)
    assert timedelta(0) <= END - monday < timedelta(days=7)
    runs = sum(isinstance(e, ev.StageEnded) and e.at.timestamp() > restart for e in world.past)
    counted = sum(s.value(END.timestamp()) for s in by_name(world, "forge_stage_duration_seconds_count"))
    assert counted == runs > 0
    assert all(s.value(restart) == 0 for s in metrics.series(world.past) if s.counter)


def test_buckets_grow_to_the_count(world: World) -> None:
    at = END.timestamp()
    buckets = by_name(world, "forge_stage_duration_seconds_bucket")
    for count in by_name(world, "forge_stage_duration_seconds_count"):
        mine = [s.value(at) for s in buckets if {k: v for k, v in s.labels.items() if k != "le"} == count.labels]
        assert mine == sorted(mine)
        assert mine[-1] == count.value(at)


def test_samples_tile(world: World) -> None:
    one = metrics.series(world.past)[0]
    end = END.timestamp()
    halves = [*one.samples(end - 7200, end - 3333), *one.samples(end - 3333, end)]
    assert halves == list(one.samples(end - 7200, end))
    assert len(halves) == 120
    assert all(at % metrics.STEP == 0 for at, _ in halves)


def test_runs_say_what_each_moment_says(world: World) -> None:
    end = END.timestamp()
    for one in metrics.series(world.past):
        samples = list(one.samples(end - 9 * 86400, end))
        assert len(samples) == 9 * 1440
        assert all(value == one.value(at) for at, value in samples)


def test_remote_write_says_what_protobuf_and_snappy_say() -> None:
    body = remote_write.body([({"__name__": "up", "job": "x"}, [(1, 2.5)])])
    labels = b"\x0a\x0e\x0a\x08__name__\x12\x02up" + b"\x0a\x08\x0a\x03job\x12\x01x"
    sample = b"\x12\x0c\x09" + struct.pack("<d", 2.5) + b"\x10\xe8\x07"
    message = b"\x0a" + bytes([len(labels + sample)]) + labels + sample
    assert body == bytes([len(message)]) + b"\xf4" + struct.pack("<H", len(message) - 1) + message
