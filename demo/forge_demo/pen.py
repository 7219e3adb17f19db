"""The clock and the dice of a story: a moment that only moves forward, chances by seed, identifiers."""

from __future__ import annotations

import hashlib
import random
import re
import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TypeVar

from forge_demo import organisation as org
from forge_demo.organisation import Person

T = TypeVar("T")
WORK_BEGINS, WORK_ENDS = 9, 18


class Pen:
    """One story's moment `now` and random numbers; same seed, same story."""

    def __init__(self, seed: str, now: datetime) -> None:
        self._seed, self._ids = seed, 0
        self._dice = random.Random(seed)  # noqa: S311 (a simulation)
        self.now = now

    # Time

    @property
    def millis(self) -> datetime:
        """Now, as Jira and Langfuse write it."""
        return self.now.replace(microsecond=self.now.microsecond // 1000 * 1000)

    @property
    def seconds(self) -> datetime:
        """Now, as GitHub writes it."""
        return self.now.replace(microsecond=0)

    def millis_after(self, seconds: float) -> datetime:
        """`seconds` later, without waiting."""
        later = self.now + timedelta(seconds=seconds)
        return later.replace(microsecond=later.microsecond // 1000 * 1000)

    def seconds_before(self, seconds: float) -> datetime:
        """`seconds` earlier."""
        return (self.now - timedelta(seconds=seconds)).replace(microsecond=0)

    def day_after(self, days: int) -> date:
        """A date in the next `days` days."""
        return (self.now + timedelta(days=self.number(2, days))).date()

    def wait_seconds(self, low: float, high: float) -> Pen:
        """Time passes."""
        self.now += timedelta(microseconds=int(self._dice.uniform(low, high) * 1_000_000))
        return self

    def wait_minutes(self, low: float, high: float) -> Pen:
        """Time passes, more often little than much."""
        return self.wait_seconds(low * 60, 60 * (low + (high - low) * self._dice.random() ** 2 + 0.01))

    def wait_hours(self, low: float, high: float) -> Pen:
        """Time passes."""
        return self.wait_minutes(low * 60, high * 60)

    def wait_days(self, low: float, high: float) -> Pen:
        """Time passes."""
        return self.wait_hours(low * 24, high * 24)

    def working(self, person: Person) -> Pen:
        """Until the person is at work: on a weekday, in the daytime of their zone."""
        local = self.now.astimezone(person.tz)
        if local.hour >= WORK_ENDS:
            local = (local + timedelta(days=1)).replace(hour=0)
        while local.weekday() >= 5:
            local = (local + timedelta(days=1)).replace(hour=0)
        if local.hour < WORK_BEGINS:
            minutes = self.number(0, 100)
            local = local.replace(hour=WORK_BEGINS + minutes // 60, minute=minutes % 60)
        self.now = max(self.now, local.astimezone(self.now.tzinfo))
        return self

    # Chance

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._dice.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._dice.randint(low, high)

    def spread(self, median: float, sigma: float) -> float:
        """A log-normal number: positive, with a long tail."""
        return self._dice.lognormvariate(0.0, sigma) * median

    def one_of(self, items: Sequence[T]) -> T:
        """Any of them."""
        return self._dice.choice(items)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Some of them, none twice."""
        return self._dice.sample(items, count)

    def weighted(self, weights: dict[T, int]) -> T:
        """One of the keys, by weight."""
        return self._dice.choices(list(weights), list(weights.values()))[0]

    def title(self) -> str:
        """What a ticket asks for."""
        return f"{self.one_of(org.VERBS)} {self.one_of(org.OBJECTS)} {self.one_of(org.QUALIFIERS)}"

    # Identifiers: not from the dice, so that a new one shifts no chance

    def sha(self) -> str:
        """40 hex digits, as git's."""
        self._ids += 1
        return hashlib.sha256(f"{self._seed}/{self._ids}".encode()).hexdigest()[:40]

    def hex(self, length: int) -> str:
        """`length` hex digits, as OpenTelemetry's ids."""
        return self.sha()[:length]

    def uuid(self) -> str:
        """A UUID."""
        return str(uuid.UUID(self.sha()[:32]))


def slug(text: str) -> str:
    """The ASCII words of a title, for a branch name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-")
