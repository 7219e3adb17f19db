"""Loads killed at random moments and run again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

KINDS = ("langfuse", "github", "jira", "prometheus")
KILLS = 50
IN_A_ROW = 3
"""How often a load is killed before it may end."""


def test_killed_at_fifty_random_moments(exact: Any) -> None:
    dice = random.Random(50)
    names = {kind: f"first-{kind}" for kind in KINDS}
    began = time.monotonic()
    exact.load_all(names)
    longest = time.monotonic() - began
    killed = remains = campaign = 0
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
            remains += sum(exact.uncommitted(name) for name in names.values())
        exact.load_all(names)
        exact.assert_all(names)
        campaign += 1
    assert remains, "no kill came between the first row and the end of its load: the moments are badly chosen"
