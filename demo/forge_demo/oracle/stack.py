"""What the stack says: which parts of the organisation are loaded, and what the organisation calls things."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from forge_demo import organisation as org
from forge_demo.github_places import ACTIONS_BOT, COVERAGE_BOT
from forge_demo.organisation import Person

BOTS = (org.DEPENDABOT, ACTIONS_BOT, COVERAGE_BOT)


@dataclass(frozen=True, slots=True)
class TeamOf:
    """A team of the stack: repositories as patterns of their whole names, and projects."""

    name: str
    repositories: tuple[str, ...]
    projects: tuple[str, ...]


def teams_of_the_organisation() -> tuple[TeamOf, ...]:
    """The organisation's own teams."""
    return tuple(
        TeamOf(team.name, tuple(f"{org.ORGANISATION}/{name}" for name in team.repositories), (team.project,))
        for team in org.TEAMS
    )


@dataclass(frozen=True, slots=True)
class Stack:
    """The sources' filters and the transform's variables.

    types: of which there are loads. topics: repositories without any of them are not loaded. sampled: from when to when
    Prometheus was read, if it was.
    """

    types: tuple[str, ...] = ("langfuse", "github", "jira")
    projects: tuple[str, ...] = tuple(team.project for team in org.TEAMS)
    topics: tuple[str, ...] = ()
    sampled: tuple[datetime, datetime] | None = None
    teams: tuple[TeamOf, ...] = field(default_factory=teams_of_the_organisation)
    production: str = "(?i)^prod"
    incident: str = "(?i)incident|outage"
    waiting: str = "(?i)review|approval|blocked|waiting|on hold"
    plan_approval: str = "(?i)plan.*(review|approval)|awaiting plan"
    plan_score: str = "plan_approval"
    revert: str = r"(?i)^revert\b"

    def team_of_repository(self, name: str) -> str | None:
        """The first team that has a repository (owner/name)."""
        return next((t.name for t in self.teams if any(re.fullmatch(p, name) for p in t.repositories)), None)

    def team_of_project(self, key: str | None) -> str | None:
        """The first team that has a project."""
        return next((t.name for t in self.teams if key in t.projects), None)


def kind_of(person: Person | None) -> str:
    """human, agent or bot; unknown where nobody is named. Who is an agent is known here, not matched."""
    if person is None:
        return "unknown"
    if person in org.AGENTS:
        return "agent"
    return "bot" if person in BOTS else "human"
