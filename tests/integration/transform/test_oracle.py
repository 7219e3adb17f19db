"""Gold equals what the world's events say, for many worlds, whole and load by load."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_demo.oracle.stack import Stack, TeamOf
from forge_demo.world import World
from forge_stack.wire import StoreDsn, TransformRequest
from forge_transform import batch, main, store
from forge_transform.cluster import SINGLE
from forge_transform.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

from world import TYPES, Compiled, Loads, Mischief, differences, request

Build = Callable[[dict[str, Any]], Any]
ALL = ("bronze", "silver", "gold_next", "gold")
BY_PATTERN = (
    TeamOf("platform", (r"acme-robotics/fleet-(api|web)", r"acme-robotics/.*telemetry"), ("FLEET",)),
    TeamOf("payments", ("acme-robotics/pay-core",), ("PAY",)),
)
"""Among them a repository that gets its name, and so its team, on the way."""


def _world(seed: int) -> tuple[World, Stack]:
    """A world of its own size and end; some stacks load only what has a topic."""
    dice = random.Random(seed)
    end = datetime(2026, dice.randint(1, 12), dice.randint(1, 28), dice.randint(0, 23), dice.randint(0, 59), tzinfo=UTC)
    world = World.build(seed, end=end, days=dice.randint(12, 20), tickets_per_day=dice.uniform(2, 4))
    topics = ("forge",) if dice.random() < 0.3 else ()
    sampled = (end - timedelta(hours=dice.uniform(2, 6)), end)
    return world, Stack(topics=topics, teams=BY_PATTERN, sampled=sampled)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "missing"), [(101, 0.15), (102, 0.0)])
def test_gold_is_what_happened_load_by_load(
    seed: int, missing: float, client: Client, bronze: Any, build: Build
) -> None:
    """missing: the part of the rows that each load but the last leaves to the next one."""
    dice = random.Random(seed)
    whole, stack = _world(seed)
    stack = replace(stack, sampled=None)
    span = whole.now - whole.start
    parts = sorted(dice.uniform(0.2, 0.95) for _ in range(3))
    world = World.build(seed, end=whole.start, days=0, tickets_per_day=whole.tickets_per_day)
    loads = Loads(client, stack, dice)
    for part in (*parts, 1.0):
        world.advance((whole.start + span * part).replace(microsecond=0))
        Mischief(world, dice)
        missed = missing if part < 1 else 0.0
        loads.write(world.state, world.now + timedelta(seconds=1), missing=missed)
        assert build(request(stack, loaded=list(TYPES))).outcome == "succeeded"
        if not missed:
            assert not (wrong := differences(client, world.past, stack)), "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("absent", TYPES)
def test_gold_is_what_the_sources_that_there_are_tell(absent: str, client: Client, bronze: Any, build: Build) -> None:
    world, stack = _world(7)
    Mischief(world, random.Random(7))
    types = tuple(type_ for type_ in TYPES if type_ != absent)
    stack = replace(stack, types=types, sampled=None)
    Loads(client, stack, random.Random(7)).write(world.state, world.now, types=types)
    assert build(request(stack)).outcome == "succeeded"
    assert not (wrong := differences(client, world.past, stack)), "\n".join(wrong)


@dataclass
class Builds:
    """Everything built once by a transform, then again and again over other worlds."""

    client: Client
    dsn: StoreDsn
    compiled: Compiled | None = None

    def drop(self, *databases: str) -> None:
        for database in databases:
            self.client.command(f"drop database if exists {database} sync")

    def bring(self, seed: int) -> tuple[World, Stack]:
        """A world into bronze."""
        world, stack = _world(seed)
        if seed % 4 == 0:
            world.delete_traces(6)
        Mischief(world, random.Random(seed))
        self.drop("bronze")
        loads = Loads(self.client, stack, random.Random(seed))
        loads.write(world.state, world.now)
        loads.write_samples(world.past, world.now)
        return world, stack

    def again(self, stack: Stack) -> None:
        assert self.compiled is not None
        with store.connect(self.dsn, SINGLE) as open_store:
            batch.write(open_store, TransformRequest.model_validate(request(stack)).sources)
        self.compiled.run()


@pytest.fixture(scope="module")
def builds(client: Client, dsn: StoreDsn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    """A store where a transform built everything of the world of seed 0, which gold must show."""
    made, work = Builds(client, dsn), tmp_path_factory.mktemp("oracle")
    made.drop(*ALL)
    world, stack = made.bring(0)
    settings = Settings(TransformRequest.model_validate(request(stack)), dsn, work)
    assert main.transform(settings, time.monotonic()).outcome == "succeeded"
    assert not (wrong := differences(client, world.past, stack)), "\n".join(wrong)
    made.compiled = Compiled.read(client, work / "target")
    yield made
    made.drop(*ALL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_gold_is_what_happened(seed: int, client: Client, builds: Builds) -> None:
    world, stack = builds.bring(seed)
    builds.again(stack)
    wrong = differences(client, world.past, stack, database="gold_next")
    assert not wrong, "\n".join(wrong)
