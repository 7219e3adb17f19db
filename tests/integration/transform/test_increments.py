"""Any sequence of loads gives what a full refresh of the same bronze gives, in every table of silver and gold."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_demo.oracle.stack import Stack
from forge_demo.world import World

sys.path.insert(0, str(Path(__file__).parent))

from world import TYPES, Loads, Mischief, request

pytestmark = pytest.mark.slow

Build = Callable[[dict[str, Any]], Any]
LOADS = 5


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_increments_give_what_a_full_refresh_gives(seed: int, client: Client, bronze: Any, build: Build) -> None:
    dice, stack = random.Random(seed), Stack(sampled=None)
    start = datetime(2026, 3, 20, tzinfo=UTC)  # months and quarters end on the way
    world = World.build(seed, end=start, days=0, tickets_per_day=2.5)
    loads = Loads(client, stack, dice)
    for number in range(LOADS):
        world.advance(world.now + timedelta(hours=dice.uniform(10, 100)))
        Mischief(world, dice)
        if number == LOADS - 2:
            world.delete_traces(4)
        # Some sources do not load this time, and some rows come late.
        types = [one for one in TYPES if dice.random() < 0.7] or [dice.choice(TYPES)]
        loads.write(world.state, world.now + timedelta(seconds=1), missing=dice.choice((0.0, 0.3)), types=types)
        assert build(request(stack, loaded=types)).outcome == "succeeded"
    grown = tables(client)
    assert build(request(stack, fullRefresh=True)).outcome == "succeeded"
    assert different(grown, tables(client)) == []


def tables(client: Client) -> dict[str, Counter[str]]:
    """Every table of the models, as rows in no order."""
    names = client.query(
        "select database, name from system.tables where database in ('silver', 'gold') "
        "and engine like '%MergeTree' and name not like '%\\_\\_changes' and name not like '%\\_\\_dirty' "
        "and name not like '%\\_\\_affected' and name not like 'transform\\_%' order by database, name"
    ).result_rows
    found = {}
    for database, name in names:
        result = client.query(f"select * from {database}.{name}")
        columns = result.column_names
        rows = (dict(zip(columns, row, strict=True)) for row in result.result_rows)
        found[f"{database}.{name}"] = Counter(str(sorted(row.items())) for row in rows)
    return found


def different(grown: dict[str, Counter[str]], whole: dict[str, Counter[str]]) -> list[str]:
    """What one has and the other lacks, readably."""
    assert set(grown) == set(whole)
    return [
        f"{table}: {word} {count} x {row}"
        for table in grown
        for word, rows in (("only grown", grown[table] - whole[table]), ("only whole", whole[table] - grown[table]))
        for row, count in list(rows.items())[:2]
    ]
