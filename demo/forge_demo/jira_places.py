"""The Jira site: its projects, boards and fields."""

from __future__ import annotations

from dataclasses import dataclass

from forge_demo import organisation as org
from forge_demo.organisation import Person

SPRINT, SEVERITY, STORY_POINTS, RANK = "customfield_10020", org.SEVERITY, org.STORY_POINTS, "customfield_10019"
STORY_POINT_ESTIMATE = "customfield_10026"
SCHEMAS = {
    SPRINT: "com.pyxis.greenhopper.jira:gh-sprint",
    RANK: "com.pyxis.greenhopper.jira:gh-lexo-rank",
    STORY_POINTS: "com.pyxis.greenhopper.jira:jsw-story-points",
    STORY_POINT_ESTIMATE: "com.atlassian.jira.plugin.system.customfieldtypes:float",
    SEVERITY: "com.atlassian.jira.plugin.system.customfieldtypes:select",
}
LINK_TYPES = {"Problem/Incident": ("10003", "is caused by", "causes"), "Blocks": ("10000", "is blocked by", "blocks")}
ENVIRONMENTS = {"Incident": "production, region eu-1"}
"""By issue type."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project of the site, with the board that its sprints are made on (None: none)."""

    id: str
    key: str
    name: str
    lead: Person
    type: str = "software"
    board: int | None = None
    archived: bool = False
    components: tuple[tuple[str, str], ...] = ()


def _of_team(number: int) -> Project:
    team = org.TEAMS[number]
    parts = tuple((str(10_100 + number * 10 + n), name) for n, name in enumerate(team.repositories))
    return Project(str(10_000 + number), team.project, team.project_name, team.lead, board=number + 1, components=parts)


OPERATIONS = Project("10009", "OPS", "Operations", org.PLATFORM.lead, type="service_desk")
"""A project that no team's stack loads."""
PROJECTS = {project.key: project for project in (*map(_of_team, range(len(org.TEAMS))), OPERATIONS)}
BOARDS = {project.board: project for project in PROJECTS.values() if project.board is not None}
