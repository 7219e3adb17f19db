"""What Jira sees of a story beside what the story tells: sprints, versions, components, links, estimates, talk.

The story's events stay as they are; everything here is thrown with dice of its own, seeded by the ticket. Sprints and
versions have a calendar: they start, close, are renamed and released without touching an issue.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter

from forge_demo import events as ev
from forge_demo import jira_events as jira
from forge_demo import organisation as org
from forge_demo.jira_places import BOARDS, PROJECTS, RANK
from forge_demo.jira_state import SPRINT_CHANGE
from forge_demo.organisation import Team
from forge_demo.pen import Pen

SPRINT_DAYS, VERSION_DAYS = 14, 28
EMBEDDED_COMMENTS, EMBEDDED_HISTORIES = 20, 40
_TALK = (
    "Why not do it the way the old page does?",
    "Could this also fix the report of last week?",
    "Seen again today, see https://status.acme-robotics.example/incidents/17",
    "Merci ! Ça marche 👍",
    "Rejected: please keep the public API as it is.",
    "LGTM, go ahead",
    "Noted.\n\n1. one\n2. two\n\n- first\n- second",
    "@Marta Silva what do you think?",
)


def lived(told: list[ev.Event], seed: str, start: datetime) -> list[ev.Event]:
    """The events of a story (and of the incident that it may cause) with what Jira adds, in order of time."""
    added: list[ev.Event] = []
    by_ticket: dict[str, list[ev.Event]] = {}
    for event in sorted(told, key=attrgetter("at")):
        if isinstance(event, (ev.IssueCreated, ev.IssueChanged, ev.CommentAdded)) and event.ticket is not None:
            by_ticket.setdefault(event.ticket, []).append(event)
    for key, events in by_ticket.items():
        added += _Life(Pen(f"{seed}/jira/{key}", events[0].at), events, start).added
        added += _mirrored(events)
    return [*told, *added]


def _mirrored(events: list[ev.Event]) -> Iterator[ev.Event]:
    """A link is told by both of its issues."""
    for event in events:
        if not isinstance(event, ev.IssueChanged):
            continue
        for change in event.changes:
            if change.field == "Link" and change.to_value is not None and event.ticket is not None:
                back = ev.Change("Link", None, None, None, event.ticket, f"This issue causes {event.ticket}")
                yield ev.IssueChanged(event.at, change.to_value, event.author, (back,))


class _Life:
    """What else happens to one ticket."""

    def __init__(self, pen: Pen, events: list[ev.Event], start: datetime) -> None:
        self.pen, self.events = pen, events
        created = events[0]
        assert isinstance(created, ev.IssueCreated) and created.ticket is not None  # noqa: S101
        self.created, self.key = created, created.ticket
        self.last = events[-1].at
        self.team = next(team for team in org.TEAMS if team.project == created.project)
        self.added: list[ev.Event] = []
        self._planned((created.at - start).days)
        if created.issue_type != "Epic":
            self._talked()
            self._ranked()

    def _change(self, at: datetime, *changes: ev.Change) -> None:
        self.added.append(ev.IssueChanged(at, self.key, self.team.lead.login, changes))

    def _at(self, part: float) -> datetime:
        """A moment of its life, after that part of it (and a little later than what happens there)."""
        later = self.created.at + (self.last - self.created.at) * part + timedelta(milliseconds=self.pen.number(7, 900))
        return later.replace(microsecond=later.microsecond // 1000 * 1000)

    def _planned(self, day: int) -> None:
        pen, project = self.pen, PROJECTS[self.team.project]
        changes = []
        if pen.chance(0.5):
            id_, name = pen.one_of(project.components)
            changes.append(ev.Change("Component", "components", None, None, id_, name))
        if pen.chance(0.4):
            estimate = str(pen.number(1, 16) * 1800)
            changes.append(ev.Change("timeoriginalestimate", "timeoriginalestimate", None, None, estimate, estimate))
        if changes:
            self._change(self._at(0.0), *changes)
        if self.created.issue_type == "Epic":
            return
        if pen.chance(0.6):
            number = day // SPRINT_DAYS
            first = sprint_id(self.team, number)
            self._change(self._at(0.05), ev.Change(*SPRINT_CHANGE, "", "", str(first), sprint_name(self.team, number)))
            if self.last - self.created.at > timedelta(days=4) and pen.chance(0.5):
                ids = f"{first}, {sprint_id(self.team, number + 1)}"
                names = f"{sprint_name(self.team, number)}, {sprint_name(self.team, number + 1)}"
                before = str(first), sprint_name(self.team, number)
                self._change(self._at(0.7), ev.Change(*SPRINT_CHANGE, *before, ids, names))
        if pen.chance(0.3):
            id_, name = version_id(self.team, day // VERSION_DAYS), version_name(day // VERSION_DAYS)
            self._change(self._at(0.5), ev.Change("Fix Version", "fixVersions", None, None, id_, name))
        if self.created.issue_type == "Bug" and day >= VERSION_DAYS and pen.chance(0.5):
            id_, name = version_id(self.team, day // VERSION_DAYS - 1), version_name(day // VERSION_DAYS - 1)
            self._change(self._at(0.02), ev.Change("Version", "versions", None, None, id_, name))
        if pen.chance(0.3):
            spent = str(pen.number(1, 40) * 900)
            self._change(self._at(0.9), ev.Change("timespent", "timespent", None, None, spent, spent))

    def _talked(self) -> None:
        pen = self.pen
        count = (
            pen.number(EMBEDDED_COMMENTS, EMBEDDED_COMMENTS + 8)
            if pen.chance(0.02)
            else pen.weighted({0: 7, 1: 3, 2: 1})
        )
        for n in range(count):
            author = pen.one_of((*self.team.members, org.CODER)).login
            self.added.append(ev.CommentAdded(self._at((n + 1) / (count + 1)), self.key, author, pen.one_of(_TALK)))
        later = max((e.at for e in self.added if isinstance(e, ev.CommentAdded)), default=self.last)
        if count and pen.chance(0.3):
            later += timedelta(seconds=30)
            self.added.append(jira.CommentEdited(later, self.key, 0, "Edited: never mind, it works."))
        if count > 1 and pen.chance(0.2):
            self.added.append(jira.CommentDeleted(later + timedelta(seconds=2), self.key, 1))

    def _ranked(self) -> None:
        """Now and then somebody sorts the backlog all day: more histories than an answer embeds."""
        if self.pen.chance(0.02):
            for n in range(EMBEDDED_HISTORIES + 5):
                self._change(self._at(n / 50), ev.Change("Rank", RANK, "", "", "", "Ranked higher"))


# The calendar


def sprint_id(team: Team, number: int) -> int:
    """The id of a team's `number`th sprint."""
    return 100 + 2 * number + org.TEAMS.index(team)


def sprint_name(team: Team, number: int) -> str:
    """Its name when it is made."""
    return f"{team.project} Sprint {number + 1}"


def version_id(team: Team, number: int) -> str:
    """The id of a project's `number`th version."""
    return str(10_300 + 2 * number + org.TEAMS.index(team))


def version_name(number: int) -> str:
    """Its name when it is made."""
    return f"1.{number}"


def calendar(seed: str, day: datetime, number: int) -> list[ev.Event]:
    """Sprints and versions on the world's `number`th day (that begins at `day`)."""
    found: list[ev.Event] = []
    for team in org.TEAMS:
        found += _sprints(seed, team, day, number)
        found += _versions(seed, team, day, number)
    return found


def _sprints(seed: str, team: Team, day: datetime, number: int) -> Iterator[ev.Event]:
    """Made two weeks ahead; started and closed on time; in the middle a goal is written down, or a name changed."""
    sprint, part = divmod(number, SPRINT_DAYS)

    def at(of: int) -> dict[str, datetime]:
        first = day + timedelta(days=(of - sprint) * SPRINT_DAYS - part)
        return {"start": first, "end": first + timedelta(days=SPRINT_DAYS)}

    def set_(when: datetime, of: int, state: str, done: datetime | None = None) -> jira.SprintSet:
        dice = Pen(f"{seed}/sprint/{team.project}/{of}", when)
        renamed = dice.chance(0.3) and state != "future" and when >= at(of)["start"] + timedelta(days=5)
        name = (
            f"{sprint_name(team, of)}: {dice.one_of(('Hamster', 'Größe', '船'))}" if renamed else sprint_name(team, of)
        )
        goal = f"Ship {dice.title()[:60]}" if when >= at(of)["start"] + timedelta(days=5) else None
        times = at(of) if state != "future" else {}
        begin, end = times.get("start"), times.get("end")
        return jira.SprintSet(when, None, sprint_id(team, of), board_of(team), name, state, goal, begin, end, done)

    if number == 0:
        yield set_(day, 0, "active")
    if part == 0:
        if sprint:
            closed = day + timedelta(hours=7, milliseconds=250)
            yield set_(closed, sprint - 1, "closed", closed)
            yield set_(closed + timedelta(minutes=20), sprint, "active")
        yield set_(day + timedelta(seconds=1), sprint + 1, "future")
    if part == 6:
        yield set_(day + timedelta(hours=9), sprint, "active")


def board_of(team: Team) -> int:
    """The board that a team's sprints are made on."""
    return next(board for board, project in BOARDS.items() if project.key == team.project)


def _versions(seed: str, team: Team, day: datetime, number: int) -> Iterator[ev.Event]:
    """Made at the beginning of four weeks, at times renamed in the middle, released at their end; one is withdrawn."""
    version, part = divmod(number, VERSION_DAYS)
    dice = Pen(f"{seed}/version/{team.project}/{version}", day)
    renamed = dice.chance(0.4)

    def set_(when: datetime, of: int, *, released: bool, name: str) -> jira.VersionSet:
        first = (day - timedelta(days=number - of * VERSION_DAYS)).date()
        due = first + timedelta(days=VERSION_DAYS)
        text = "Quarterly «big» one" if of % 3 == 0 else None
        return jira.VersionSet(
            when, None, version_id(team, of), team.project, name, text, released, of < version - 2, first, due
        )

    def named(of: int) -> str:
        return (
            f"{version_name(of)} LTS"
            if Pen(f"{seed}/version/{team.project}/{of}", day).chance(0.4)
            else version_name(of)
        )

    if part == 0:
        yield set_(day, version, released=False, name=version_name(version))
        if version:
            yield set_(day + timedelta(hours=8), version - 1, released=True, name=named(version - 1))
    if part == 10 and renamed:
        yield set_(day + timedelta(hours=11), version, released=False, name=named(version))
    if number == 3:
        odd = jira.VersionSet(
            day, None, f"1039{org.TEAMS.index(team)}", team.project, "0.9-oops", None, False, False, None, None
        )
        yield odd
        yield jira.VersionDeleted(day + timedelta(hours=2), None, odd.id)
