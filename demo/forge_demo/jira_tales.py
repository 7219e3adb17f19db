"""Issues that make a loader's life hard: moved between projects, moved away, deleted, brought back.

Told once, at the world's start, with dice of their own; their numbers are far above those of the stories.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from forge_demo import events as ev
from forge_demo import jira_events as jira
from forge_demo import organisation as org
from forge_demo.jira_places import PROJECTS
from forge_demo.jira_state import Site
from forge_demo.pen import Pen

FIRST_NUMBER, ID_BASE = 90_001, 900_000
MOVED_IN, MOVED_WITHIN, MOVED_OUT, DELETED, RETURNED = range(5)
_NAMES = ("came from elsewhere", "belongs to payments", "belongs to operations", "was a mistake", "was no mistake")


def tales(seed: str, start: datetime) -> list[ev.Event]:
    """Every event of these issues."""
    found: list[ev.Event] = []
    for number, name in enumerate(_NAMES):
        pen = Pen(f"{seed}/jira tale/{number}", start + timedelta(hours=9 + number, milliseconds=321))
        project = "OPS" if number == MOVED_IN else "FLEET"
        key = f"{project}-{FIRST_NUMBER + number}"
        author = org.PLATFORM.members[number].login
        found.append(
            ev.IssueCreated(
                pen.millis,
                key,
                str(ID_BASE + number),
                project,
                f"Issue that {name}",
                "See the title.",
                "Task",
                "Low",
                author,
                (),
                None,
                None,
                None,
            )
        )
        pen.wait_hours(1, 3)
        found.append(ev.CommentAdded(pen.millis, key, author, f"This one {name}, right?"))
        pen.wait_hours(1, 3)
        if number == MOVED_IN:
            found.append(jira.IssueMoved(pen.millis, key, author, "FLEET", f"FLEET-{FIRST_NUMBER + 100}"))
        elif number == MOVED_WITHIN:
            found.append(jira.IssueMoved(pen.millis, key, author, "PAY", f"PAY-{FIRST_NUMBER}"))
        elif number == MOVED_OUT:
            found.append(jira.IssueMoved(pen.millis, key, author, "OPS", f"OPS-{FIRST_NUMBER + 100}"))
        else:
            found.append(jira.IssueDeleted(pen.millis, key))
        if number == RETURNED:
            pen.wait_hours(1, 3)
            found.append(jira.IssueRestored(pen.millis, key))
    return found


def on_demand(site: Site, now: datetime, wanted: dict[str, Any]) -> ev.Event:
    """What is to happen now: {"do": "move", "issue": key, "to": project}, "delete", "restore". Raises ValueError."""
    issue = site.find(str(wanted.get("issue")), deleted=wanted.get("do") == "restore")
    if issue is None:
        raise ValueError(f"no issue {wanted.get('issue')!r}")
    key = issue.created.ticket
    match wanted.get("do"):
        case "move":
            project = str(wanted.get("to"))
            if project not in PROJECTS:
                raise ValueError(f"no project {project!r}; there are {', '.join(PROJECTS)}")
            taken = (int(other.rpartition("-")[2]) for other in site.keys_ever if other.startswith(f"{project}-"))
            free = max((FIRST_NUMBER + 999, *taken)) + 1
            return jira.IssueMoved(now, key, PROJECTS[issue.project].lead.login, project, f"{project}-{free}")
        case "delete":
            return jira.IssueDeleted(now, key)
        case "restore":
            return jira.IssueRestored(now, key)
    raise ValueError("do must be move, delete or restore")
