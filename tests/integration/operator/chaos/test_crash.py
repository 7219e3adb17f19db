"""The operator is killed at every line at which it writes, in every step of a stack's life, and started again.

Whatever it had not done, done in part or done without noting it, the life goes on as if nothing had been, and the
history of the objects shows no promise broken. The points are not written down here: a life of each kind is led once
undisturbed, and each write that was seen in it is a place to die, before it is sent and when its answer is there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from checker import Manifest
from faults import Faults, Proxy
from life import STEPS, Life

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

AT_ONCE = 12
"""Lives led beside one another."""
LIVES: dict[str, tuple[str, ...]] = {
    "birth": (),
    "edit": ("change", "drift"),
    "loads": ("load_again",),
    "failure": ("fail_a_transform",),
    "sources": ("add_a_source", "remove_a_source"),
    "pause": ("suspend_and_resume",),
    "request": ("run_now",),
}


@dataclass(frozen=True)
class Point:
    """The n-th write of a label in a kind of life; `when` is before or after."""

    life: str
    label: str
    number: int
    when: str

    def __str__(self) -> str:
        return f"[{self.life}] {self.when} {self.label} ({self.number})"


def points(kind: str, labels: list[str], known: set[str]) -> list[Point]:
    """Before and after the first write of each label that shorter lives did not have, and after the last."""
    found = []
    for label, count in Counter(labels).items():
        if label not in known:
            found += [Point(kind, label, 1, "before"), Point(kind, label, 1, "after")]
            found += [Point(kind, label, count, "after")] if count > 1 else []
    return found


def test_points_are_the_first_and_last_of_each_new_label() -> None:
    assert [str(p) for p in points("x", ["a", "b", "a", "a", "c"], {"c"})] == [
        "[x] before a (1)",
        "[x] after a (1)",
        "[x] after a (3)",
        "[x] before b (1)",
        "[x] after b (1)",
    ]


@pytest.mark.timeout(3000)
def test_every_crash_point(new_life: Callable[..., Life], together: Callable[..., list[str]], tmp_path: Path) -> None:
    shapes: dict[str, dict[str, Manifest]] = {}

    def undisturbed(kind: str) -> None:
        life = new_life(f"calm-{kind}")
        life.operate(labels=str(tmp_path / kind))
        life.begin()
        for step in LIVES[kind]:
            getattr(life, step)()
        life.check()
        shapes[kind] = life.shape()
        life.delete()
        life.end()

    told = together({kind: lambda kind=kind: undisturbed(kind) for kind in LIVES}, AT_ONCE)
    assert not told, "\n".join(told)
    known: set[str] = set()
    found: list[Point] = []
    for kind in LIVES:
        labels = (tmp_path / kind).read_text().splitlines()
        found += points(kind, labels, known)
        known |= set(labels)

    missed: list[Point] = []

    def crash(point: Point) -> None:
        life = new_life(f"crash-{point.life}")
        life.operate(crash=[point.label, point.when, point.number])
        first = life.running[0]
        try:
            with life.revived():
                life.live(*LIVES[point.life], like=shapes[point.life])
            if first.alive():
                missed.append(point)
            assert life.starts <= 2, f"{life.starts} starts: it ended by itself"
        finally:
            life.end()

    told = together({str(point): lambda point=point: crash(point) for point in found}, AT_ONCE)
    print(f"{len(found)} crash points, {len(missed)} not met again: {', '.join(map(str, missed))}")
    assert not told, "\n".join(told)
    assert len(found) - len(missed) >= 30


def test_killed_at_any_moment(new_life: Callable[..., Life], proxy: Proxy, together: Callable[..., list[str]]) -> None:
    """Deaths at random times, between writes too, in long lives; half of them with two leaders and a bad network."""

    def hunted(number: int) -> None:
        life = new_life("hunted")
        bad = number % 2 == 1
        faults = Faults(seed=number, refuse={409: 0.02, 500: 0.02}, lose=0.02, cut=5, delay=0.5) if bad else Faults()
        kubeconfig = proxy.open(faults)
        for _ in range(1 + bad):
            life.operate(kubeconfig=kubeconfig)
        done = threading.Event()

        def hunt() -> None:
            while not done.wait(life.chance.uniform(0.3, 4)):
                life.running.pop(0).kill()
                life.operate(kubeconfig=kubeconfig)

        hunter = threading.Thread(target=hunt)
        hunter.start()
        try:
            life.live(*STEPS)
        finally:
            done.set()
            hunter.join()
            life.end()

    told = together({f"life {number}": lambda number=number: hunted(number) for number in range(4)}, 4)
    assert not told, "\n".join(told)
