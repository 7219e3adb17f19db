"""Loads killed at random moments and run again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

KINDS = ("langfuse", "github", "jira", "prometheus")
KILLS = 50
IN_A_ROW = 4
"""How often a load is killed before it may end."""
LONGEST_LIFE_SECONDS = 8.0


@pytest.mark.timeout(3000)
def test_killed_at_fifty_random_moments(exact: Any) -> None:
    dice = random.Random(50)
    names = {kind: f"first-{kind}" for kind in KINDS}
    began = time.monotonic()
    exact.load_all(names)
    # Each life begins where the one before was cut off, so that short ones reach every part of a load.
    longest = min(time.monotonic() - began, LONGEST_LIFE_SECONDS)
    killed = campaign = 0
    while killed < KILLS:
        # By turns a first load, and one that goes on from an earlier one.
        if campaign % 2 == 0:
            names = {kind: f"kill-{campaign}-{kind}" for kind in KINDS}
        else:
            exact.organisation.ask("/tickets", {"count": 2, "minutes": 20})
            exact.organisation.ask("/advance", {"hours": 1})
        for _ in range(IN_A_ROW):
            moments = sorted((time.monotonic() + dice.uniform(0.1, longest), kind) for kind in KINDS)
            running = {kind: exact.start(kind, name) for kind, name in names.items()}
            for moment, kind in moments:
                time.sleep(max(0.0, moment - time.monotonic()))
                killed += running[kind].poll() is None
                running[kind].kill()
                running[kind].communicate()
        exact.load_all(names)
        exact.assert_all(names)
        campaign += 1


@pytest.mark.parametrize("kind", KINDS)
def test_killed_while_its_rows_are_stored(exact: Any, kind: str) -> None:
    """The worst moment: some rows are there, and the load that they belong to will never be complete."""
    caught = 0
    for attempt in range(20):
        name = f"worst-{attempt}-{kind}"
        process = exact.start(kind, name)
        while process.poll() is None and not (caught := exact.uncommitted(name)):
            time.sleep(0.002)
        process.kill()
        process.communicate()
        if caught and exact.uncommitted(name):
            break
    else:
        pytest.fail("no load was caught while it stored its rows")
    exact.load(kind, name)
    exact.assert_all({kind: name})
