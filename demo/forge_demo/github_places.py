"""Where GitHub's part of the world happens: its repositories, some with a fate of their own, and its accounts."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from forge_demo import organisation as org
from forge_demo.organisation import Person

CREATED_AT = "2022-03-01T09:00:00Z"
NEW_OWNER = "acme-spinoff"
"""The organisation that repositories are transferred to."""


def node_id(prefix: str, of: str | int) -> str:
    """A global id as GitHub gives one: opaque."""
    return f"{prefix}_{base64.urlsafe_b64encode(str(of).encode()).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class Place:
    """A repository as it was created; `key` is how events name it, whatever it is called later."""

    key: str
    id: int
    archived: bool = False
    issues: bool = True
    forbidden: bool = False
    private: bool = True
    empty: bool = False
    topics: tuple[str, ...] = ()


_TOPICS = {"fleet-api": ("forge", "python"), "fleet-web": ("forge", "typescript"), "pay-core": ("forge", "payments")}
ATLAS, HANDBOOK, LEGACY, SANDBOX = "atlas", "handbook", "fleet-legacy", "sandbox"
TELEMETRY, TELEMETRY_RENAMED, VAULT, SPIKE = "telemetry", "fleet-telemetry", "vault", "spike-2022"
PLACES = {
    place.key: place
    for place in (
        *(Place(key, 500_000 + n, topics=_TOPICS[key]) for n, key in enumerate(org.REPOSITORIES)),
        Place(LEGACY, 500_003, archived=True, topics=("archive",)),
        Place(SANDBOX, 500_004, empty=True),
        Place(HANDBOOK, 500_005, issues=False, private=False, topics=("docs",)),
        Place(TELEMETRY, 500_006, topics=("forge",)),
        Place(VAULT, 500_007, forbidden=True),
        Place(SPIKE, 500_008),
        Place(ATLAS, 500_009, topics=("forge", "maps")),
    )
}
RENAMED_ON, DELETED_ON = 6, 9
"""Days after the world's start: telemetry becomes fleet-telemetry, spike-2022 is deleted."""

GHOST = Person("ghost", "Deleted user", "", 10_137)
"""Whose account is gone: GraphQL says null, REST this account."""
STRANGER = Person("", "Ghost Writer 👻", "", 0)
"""Commits under an address that belongs to no account."""
CONTRIBUTOR = Person("nkechi-dev", "Nkechi Ọ̀rọ̀", "", 88_123_457)
"""A contributor from outside, who works in a fork."""
ACTIONS_BOT = Person("github-actions", "GitHub Actions", "", 41_898_282, is_agent=True)
COVERAGE_BOT = Person("codecov", "Codecov", "", 22_429_695, is_agent=True)
ACCOUNTS = {
    **org.BY_LOGIN,
    **{p.login: p for p in (GHOST, STRANGER, CONTRIBUTOR, ACTIONS_BOT, COVERAGE_BOT)},
}
TEAM_REVIEWERS = {f"@{team.name}": team for team in org.TEAMS}
"""A team that is asked for a review is written with an @."""

MILESTONES = ("2026.1", "2026.2 🚀")


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App that reports checks."""

    id: int
    slug: str
    name: str


ACTIONS = App(15_368, "github-actions", "GitHub Actions")
CODECOV = App(254, "codecov", "Codecov")
APPS = {app.slug: app for app in (ACTIONS, CODECOV)}
