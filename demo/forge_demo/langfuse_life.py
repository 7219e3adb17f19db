"""What Langfuse sees of a story beside what the story itself tells: more verdicts, second thoughts, late news.

The story's events stay as they are. Everything here is thrown with dice of its own, seeded by the trace, so that a new
chance here changes no story. Late news of an observation, and verdicts that say an earlier time than they arrive, come
within LATEST_HOURS of it; people's verdicts come days after, with the time at which they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo.pen import Pen

LATEST_HOURS = 18
CATEGORIES = {"outcome": ("complete", "partial", "off topic"), "satisfaction": ("happy", "neutral", "unhappy 😕")}
_REMARKS = ("Good catch.", "Zu lang — bitte kürzen", "正确，但太慢", "It read the wrong file first;\nthen recovered.")


def judged(told: Sequence[ev.Event], seed: str) -> list[ev.Event]:
    """The events of a story with what Langfuse adds, in order of time."""
    added: list[ev.Event] = []
    for event in told:
        if isinstance(event, ev.TraceIngested):
            added += _Judges(Pen(f"{seed}/langfuse/{event.id}", event.at), event).events
    return sorted((*told, *added), key=attrgetter("at"))


class _Judges:
    """What is thought of one trace. Every time is at or after its arrival."""

    def __init__(self, pen: Pen, trace: ev.TraceIngested) -> None:
        self.pen, self.trace, self.events = pen, trace, list[ev.Event]()
        generations = [o for o in trace.observations if o.type == "GENERATION"]
        if pen.chance(0.5):
            self._category("outcome", "API", self._later(1, 60))
        if pen.chance(0.3):
            self._add("tests_passed", int(pen.chance(0.7)), "EVAL", self._later(1, 30), kind="BOOLEAN")
        if generations and pen.chance(0.25):
            value = Decimal(pen.number(0, 1000)) / 1000
            self._add("hallucination", value, "EVAL", self._later(1, 90), observation=pen.one_of(generations).id)
        if pen.chance(0.12):
            at = self._later(24 * 60, 6 * 24 * 60)
            self._person("usefulness", pen.number(1, 5), at)
        if pen.chance(0.08):
            at = self._later(60, LATEST_HOURS * 60)
            self._add("merged_clean", int(pen.chance(0.8)), "API", at, kind="BOOLEAN", given_at=trace.timestamp)
        if trace.session is not None and pen.chance(0.06):
            self._category("satisfaction", "ANNOTATION", self._later(5, 600), session=trace.session)
        if pen.chance(0.07):
            self._late_news()
        for score in [e for e in self.events if isinstance(e, ev.ScoreAdded)]:
            if score.kind == "NUMERIC" and pen.chance(0.15):
                at = self._after(score.at, pen.number(1, LATEST_HOURS * 60))
                self.events.append(ev.ScoreChanged(at, trace.ticket, score.id, score.value / 2, "Second look: 再考"))

    def _later(self, least_minutes: int, most_minutes: int) -> datetime:
        return self._after(self.trace.at, self.pen.number(least_minutes, most_minutes))

    def _after(self, at: datetime, minutes: int) -> datetime:
        later = at + timedelta(minutes=minutes, milliseconds=self.pen.number(0, 999))
        return later.replace(microsecond=later.microsecond // 1000 * 1000)

    def _add(self, name: str, value: Decimal | int, source: str, at: datetime, **more: object) -> None:
        score = ev.ScoreAdded(at, self.trace.ticket, self.pen.uuid(), self.trace.id, name, Decimal(value), source, None)
        self.events.append(replace(score, **more))  # type: ignore[arg-type]

    def _category(self, name: str, source: str, at: datetime, session: str | None = None) -> None:
        number = self.pen.number(0, len(CATEGORIES[name]) - 1)
        how = {"kind": "CATEGORICAL", "text": CATEGORIES[name][number], "config": f"config-{name}", "session": session}
        self._add(name, number, source, at, metadata=(("rubric", "v2"), ("lang", "日本語")), **how)

    def _person(self, name: str, value: int, at: datetime) -> None:
        who = self.pen.one_of(org.PEOPLE)
        self._add(name, value, "ANNOTATION", at, author=f"user-{who.login}", config="config-usefulness")
        added = self.events.pop()
        assert isinstance(added, ev.ScoreAdded)  # noqa: S101 (it was just added)
        self.events.append(replace(added, comment=self.pen.one_of(_REMARKS)))

    def _late_news(self) -> None:
        """A step turns out to have been wrong, hours later."""
        steps = [o for o in self.trace.observations[1:] if o.type != "GENERATION"]
        if steps:
            step = self.pen.one_of(steps)
            latest = step.started_at + timedelta(hours=LATEST_HOURS)
            minutes = max(int((latest - self.trace.at).total_seconds() // 60), 2)
            at = self._later(1, minutes)
            self.events.append(
                ev.ObservationChanged(at, self.trace.ticket, self.trace.id, step.id, "WARNING", "flaky tool: retried ↻")
            )
