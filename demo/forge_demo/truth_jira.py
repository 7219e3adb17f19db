"""What bronze must hold of the Jira projects that a stack loads; of a Cloud site. `loaded_at` is not truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from forge_demo import organisation as org
from forge_demo.jira_places import ENVIRONMENTS, PROJECTS
from forge_demo.jira_state import Comment, Issue
from forge_demo.organisation import Person
from forge_demo.state import State

Row = dict[str, Any]
LOADED = tuple(team.project for team in org.TEAMS)
"""The projects that the demo's stack selects."""
CUSTOM_FIELDS = (org.STORY_POINTS, org.SEVERITY)


def _issues(state: State) -> list[Issue]:
    return [issue for issue in state.issues.values() if issue.project in LOADED]


def issues(state: State) -> list[Row]:
    """bronze jira_issues; custom_fields holds those of CUSTOM_FIELDS."""
    rows = []
    for issue in _issues(state):
        it, reporter = issue.created, org.BY_LOGIN[issue.created.reporter]
        severity = {"id": "10200", "value": "Sev 2"} if it.issue_type == "Incident" else None
        parent = state.site.find(it.parent) if it.parent else None
        components = dict(PROJECTS[issue.project].components)
        rows.append(
            {
                "id": it.id,
                "updated_at": issue.updated_at,
                "key": issue.key,
                "project_key": issue.project,
                "summary": it.summary,
                "issue_type": it.issue_type,
                "status": issue.status.name,
                "status_category": issue.status.category,
                "priority": issue.priority,
                "resolution": issue.resolution,
                "assignee_id": issue.assignee.account_id if issue.assignee else None,
                "assignee_name": issue.assignee.name if issue.assignee else None,
                "reporter_id": reporter.account_id,
                "reporter_name": reporter.name,
                "parent_key": parent.key if parent else None,
                "labels": list(it.labels),
                "created_at": it.at,
                "resolved_at": issue.resolved_at,
                "due_date": it.due,
                "custom_fields": {org.STORY_POINTS: it.story_points, org.SEVERITY: severity},
                "issue_type_id": org.ISSUE_TYPES[it.issue_type],
                "status_id": issue.status.id,
                "is_subtask": False,
                "assignee_type": _kind(issue.assignee) if issue.assignee else None,
                "reporter_type": _kind(reporter),
                "creator_id": reporter.account_id,
                "creator_name": reporter.name,
                "components": [{"id": id_, "name": components[id_]} for id_ in issue.components],
                "fix_versions": [{"id": id_, "name": state.site.versions[id_].name} for id_ in issue.versions],
                "affects_versions": [{"id": id_, "name": state.site.versions[id_].name} for id_ in issue.affected],
                "links": [
                    {"type": link.type, "direction": link.direction, "id": other.created.id, "key": other.key}
                    for link in issue.links
                    if (other := state.site.find(link.other)) is not None
                ],
                "sprints": [
                    {"id": id_, "name": state.site.sprints[id_].name, "state": state.site.sprints[id_].state}
                    for id_ in issue.sprints
                ],
                "story_points": it.story_points,
                "description": said(it.description),
                "environment": ENVIRONMENTS.get(it.issue_type),
                "original_estimate_seconds": issue.estimate,
                "time_spent_seconds": issue.spent,
                "comments": [_comment(comment) for comment in issue.comments],
            }
        )
    return rows


def said(text: str) -> str:
    """A text as a Cloud document can hold it: paragraphs are no empty lines."""
    return "\n".join(line for line in text.split("\n") if line)


def _kind(person: Person) -> str:
    return "app" if person.is_agent else "atlassian"


def _comment(comment: Comment) -> Row:
    body = said(comment.body)
    event = None
    if re.match(r"(approved|lgtm|/approve)\b", body, re.IGNORECASE):
        event = "approval"
    elif re.match(r"(rejected|changes requested|/reject)\b", body, re.IGNORECASE):
        event = "rejection"
    elif body.rstrip().endswith("?"):
        event = "question"
    return {
        "id": comment.id,
        "authorId": comment.author.account_id,
        "author": comment.author.name,
        "authorType": _kind(comment.author),
        "createdAt": comment.at,
        "updatedAt": comment.edited_at,
        "body": body,
        "event": event,
    }


def issue_changelogs(state: State) -> list[Row]:
    """bronze jira_issue_changelogs."""
    return [
        {
            "issue_id": issue.created.id,
            "history_id": history.id,
            "item_index": index,
            "created_at": history.at,
            "issue_key": issue.key,
            "author_id": history.author.account_id,
            "author_name": history.author.name,
            "author_type": _kind(history.author),
            **asdict(change),
        }
        for issue in _issues(state)
        for history in issue.histories
        for index, change in enumerate(history.changes)
    ]


def sprints(state: State) -> list[Row]:
    """bronze jira_sprints."""
    return [
        {
            "sprint_id": sprint.id,
            "name": sprint.name,
            "state": sprint.state,
            "board_id": sprint.board,
            "goal": sprint.goal,
            "start_at": sprint.start,
            "end_at": sprint.end,
            "completed_at": sprint.completed,
        }
        for sprint in state.site.sprints.values()
    ]


def versions(state: State) -> list[Row]:
    """bronze jira_versions, without those that are gone."""
    return [
        {
            "version_id": version.id,
            "project_key": version.project,
            "name": version.name,
            "description": version.description,
            "is_released": version.released,
            "is_archived": version.archived,
            "start_date": version.start,
            "release_date": version.release,
        }
        for version in state.site.versions.values()
        if version.project in LOADED
    ]


def projects(state: State) -> list[Row]:
    """bronze jira_projects."""
    return [
        {
            "project_id": project.id,
            "key": project.key,
            "name": project.name,
            "project_type": project.type,
            "lead_id": project.lead.account_id,
            "lead_name": project.lead.name,
            "is_archived": project.archived,
        }
        for project in PROJECTS.values()
        if project.key in LOADED
    ]


TABLES: dict[str, Callable[[State], list[Row]]] = {
    "jira_issues": issues,
    "jira_issue_changelogs": issue_changelogs,
    "jira_sprints": sprints,
    "jira_versions": versions,
    "jira_projects": projects,
}
