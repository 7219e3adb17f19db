"""GitHub's answers as rows. Pure.

Made for answers as they are: users that are gone (null), bots without an account, repositories that were deleted,
commits without an author, runs without an actor.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from forge_pipelines.tables import json_text, moment

Node = Mapping[str, Any]
Row = dict[str, Any]

ISSUE_KEY = re.compile(r"(?<![A-Za-z0-9])[A-Z][A-Z0-9]+-[0-9]+(?![A-Za-z0-9])")
CO_AUTHOR = re.compile(
    r"^co-authored-by:\s*(?P<name>[^<\n]*?)\s*<(?P<email>[^>\n]*)>\s*$", re.IGNORECASE | re.MULTILINE
)
EVENT_TYPES = {
    "ReadyForReviewEvent": "ready_for_review",
    "ConvertToDraftEvent": "convert_to_draft",
    "ReviewRequestedEvent": "review_requested",
    "ReviewRequestRemovedEvent": "review_request_removed",
    "HeadRefForcePushedEvent": "head_ref_force_pushed",
    "ClosedEvent": "closed",
    "ReopenedEvent": "reopened",
    "MergedEvent": "merged",
}


@dataclass(frozen=True)
class Place:
    """The repository that rows belong to: GitHub's number of it, which stays, and its name of now."""

    id: int
    name: str

    def key(self) -> Row:
        """The columns that all rows of the repository begin with."""
        return {"repository_id": self.id, "repository": self.name}


def listed(node: Node | None, name: str) -> list[dict[str, Any]]:
    """The elements of a connection, without the nulls that stand for what the token may not see."""
    return [element for element in ((node or {}).get(name) or {}).get("nodes") or [] if element]


def login(actor: Node | None) -> str | None:
    """The login of an actor; None for an account that is gone."""
    return (actor or {}).get("login")


def kind(actor: Node | None) -> str | None:
    """User, Bot, Mannequin, Organization, ..."""
    return (actor or {}).get("__typename")


def number_of(node: Node) -> int:
    """GitHub's number of an object. Where it gives none, a negative one from the global id: it is as stable."""
    given = node.get("fullDatabaseId") or node.get("databaseId")
    return int(given) if given else number_from_id(str(node["id"]))


def number_from_id(node_id: str) -> int:
    """Minus the first 62 bits of the SHA-256 of a global id, or of what serves as one."""
    return -(int.from_bytes(hashlib.sha256(node_id.encode()).digest()[:8]) >> 2)


def issue_keys(places: Iterable[tuple[str, str | None]]) -> list[dict[str, str]]:
    """Every ticket key in every place, once a place, in the order they stand. A place is its name and its text."""
    found = {(key, place): None for place, text in places for key in ISSUE_KEY.findall(text or "")}
    return [{"key": key, "found_in": place} for key, place in found]


def repository_row(node: Node, loaded_at: datetime) -> Row:
    """The row of a repository."""
    return {
        "repository_id": number_of(node),
        "loaded_at": loaded_at,
        "repository": node["nameWithOwner"],
        "node_id": node["id"],
        "is_private": bool(node.get("isPrivate")),
        "is_archived": bool(node.get("isArchived")),
        "is_fork": bool(node.get("isFork")),
        "default_branch": (node.get("defaultBranchRef") or {}).get("name"),
        "topics": json_text(topics(node)),
        "created_at": moment(node["createdAt"]),
        "pushed_at": moment(node.get("pushedAt")),
    }


def topics(node: Node) -> list[str]:
    """The topics of a repository, sorted."""
    return sorted(topic["topic"]["name"] for topic in listed(node, "repositoryTopics") if topic.get("topic"))


# Pull requests


def pull_request_row(place: Place, node: Node) -> Row:
    """The row of a pull request, with all that is inside it."""
    commits = [c["commit"] for c in listed(node, "commits") if c.get("commit")]
    events = sorted(
        (event_of(event) for event in listed(node, "timelineItems") if event.get("__typename") in EVENT_TYPES),
        key=lambda event: str(event["at"]),
    )
    authored = [t for t in (moment(c.get("authoredDate")) for c in commits) if t]
    ready = [moment(e["at"]) for e in events if e["type"] == "ready_for_review"]
    return {
        **place.key(),
        "number": node["number"],
        "updated_at": moment(node["updatedAt"]),
        "node_id": node["id"],
        "database_id": whole(node.get("fullDatabaseId") or node.get("databaseId")),
        "created_at": moment(node["createdAt"]),
        "closed_at": moment(node.get("closedAt")),
        "merged_at": moment(node.get("mergedAt")),
        "title": node["title"],
        "body": node.get("body"),
        "state": node["state"],
        "is_draft": node["isDraft"],
        "url": node["url"],
        "author_login": login(node.get("author")),
        "author_type": kind(node.get("author")),
        "merged_by_login": login(node.get("mergedBy")),
        "merged_by_type": kind(node.get("mergedBy")),
        "head_ref": node["headRefName"],
        "base_ref": node["baseRefName"],
        "head_sha": node["headRefOid"],
        "head_repository": (node.get("headRepository") or {}).get("nameWithOwner"),
        "is_cross_repository": bool(node.get("isCrossRepository")),
        "merge_commit_sha": (node.get("mergeCommit") or {}).get("oid"),
        "additions": node["additions"],
        "deletions": node["deletions"],
        "changed_files": node["changedFiles"],
        "commits_count": (node.get("commits") or {}).get("totalCount", len(commits)),
        "comments_count": node.get("totalCommentsCount"),
        "first_commit_at": min(authored, default=None),
        "ready_for_review_at": max((t for t in ready if t), default=None),
        "review_decision": node.get("reviewDecision"),
        "checks_state": (node.get("statusCheckRollup") or {}).get("state"),
        "milestone": (node.get("milestone") or {}).get("title"),
        "labels": json_text([label["name"] for label in listed(node, "labels")]),
        "assignees": json_text([login(user) for user in listed(node, "assignees")]),
        "requested_reviewers": json_text([reviewer_of(r) for r in listed(node, "reviewRequests")]),
        "linked_issues": json_text([linked_of(issue) for issue in listed(node, "closingIssuesReferences")]),
        "reviews": json_text([review_of(review) for review in listed(node, "reviews")]),
        "comments": json_text(pull_request_comments(node)),
        "events": json_text(events),
        "commits": json_text([commit_of(commit) for commit in commits]),
        "issue_keys": json_text(
            issue_keys(
                [
                    ("title", node["title"]),
                    ("branch", node["headRefName"]),
                    ("body", node.get("body")),
                    *(("commit", commit.get("message")) for commit in commits),
                ]
            )
        ),
    }


def whole(value: Any) -> int | None:
    """A number that GitHub may give as text."""
    return None if value is None else int(value)


def review_of(review: Node) -> Row:
    """A review as bronze keeps it."""
    return {
        "id": number_of(review) if review.get("id") else None,
        "author": login(review.get("author")),
        "authorType": kind(review.get("author")),
        "state": review["state"],
        "submittedAt": review.get("submittedAt"),
        "body": review.get("body"),
        "commit": (review.get("commit") or {}).get("oid"),
        "comments": (review.get("comments") or {}).get("totalCount", 0),
    }


def pull_request_comments(node: Node) -> list[Row]:
    """The comments on a pull request and those on its lines, oldest first."""
    found = [comment_of(comment, "issue") for comment in listed(node, "comments")]
    for review in listed(node, "reviews"):
        found += [comment_of(comment, "review") for comment in listed(review, "comments")]
    return sorted(found, key=lambda comment: (str(comment["createdAt"]), comment["id"]))


def comment_of(comment: Node, of: str | None = None) -> Row:
    """A comment as bronze keeps it; `of`: issue or review, for a pull request's."""
    kept = {
        "id": number_of(comment),
        "author": login(comment.get("author")),
        "authorType": kind(comment.get("author")),
        "createdAt": comment.get("createdAt"),
        "updatedAt": comment.get("updatedAt"),
        "body": comment.get("body"),
    }
    return kept | ({"kind": of, "path": comment.get("path")} if of else {})


def reviewer_of(holder: Node) -> Row:
    """Who is asked for a review: a user by login, a team by slug; null when the token may not see it."""
    reviewer = holder.get("requestedReviewer") or {}
    return {"login": reviewer.get("login") or reviewer.get("slug"), "type": kind(reviewer)}


def linked_of(issue: Node) -> Row:
    """An issue that a pull request closes."""
    return {
        "repository": (issue.get("repository") or {}).get("nameWithOwner"),
        "number": issue.get("number"),
        "url": issue.get("url"),
    }


def event_of(event: Node) -> Row:
    """Something that happened to a pull request."""
    kept: Row = {
        "type": EVENT_TYPES[event["__typename"]],
        "at": event.get("createdAt"),
        "actor": login(event.get("actor")),
        "subject": reviewer_of(event)["login"] or (event.get("commit") or {}).get("oid"),
    }
    if kept["type"] == "head_ref_force_pushed":
        kept["before"] = (event.get("beforeCommit") or {}).get("oid")
        kept["after"] = (event.get("afterCommit") or {}).get("oid")
    return kept


def commit_of(commit: Node) -> Row:
    """A commit as bronze keeps it: its author is the account, else the name in the commit."""
    author = commit.get("author") or {}
    user, name = author.get("user") or {}, author.get("name")
    robot = "Bot" if str(name or "").endswith("[bot]") else None
    return {
        "oid": commit["oid"],
        "authoredAt": commit.get("authoredDate"),
        "committedAt": commit.get("committedDate"),
        "author": user.get("login") or name,
        "authorType": (user.get("__typename") or "User") if user.get("login") else robot,
        "authorEmail": author.get("email"),
        "message": commit.get("message"),
        "coAuthors": [m.groupdict() for m in CO_AUTHOR.finditer(commit.get("message") or "")],
    }


# Checks


def checks_of(node: Node) -> Iterator[dict[str, Any]]:
    """The checks of all commits of a pull request, each with the commit that it is about as `head_sha`."""
    for holder in listed(node, "commits"):
        commit = holder.get("commit") or {}
        for check in listed(commit.get("statusCheckRollup"), "contexts"):
            if check.get("id"):
                yield {**check, "head_sha": commit.get("oid")}


def check_row(place: Place, check: Node, loaded_at: datetime) -> Row:
    """The row of a check run, or of a commit status, which is the older kind of check."""
    row = {**place.key(), "loaded_at": loaded_at, "node_id": check["id"], "head_sha": check["head_sha"]}
    if check.get("__typename") == "StatusContext" or "context" in check:
        done = check["state"] not in ("PENDING", "EXPECTED")
        created = moment(check.get("createdAt"))
        return row | {
            # A later state of a context is another object in GitHub; here it is the same check, further on.
            "check_run_id": number_from_id(f"{check['head_sha']}/{check['context']}"),
            "name": check["context"],
            "status": "COMPLETED" if done else "PENDING",
            "conclusion": check["state"] if done else None,
            "started_at": created,
            "completed_at": created if done else None,
            "url": check.get("targetUrl"),
        }
    suite = check.get("checkSuite") or {}
    return row | {
        "check_run_id": number_of(check),
        "check_suite_id": suite.get("databaseId"),
        "name": check["name"],
        "status": check["status"],
        "conclusion": check.get("conclusion"),
        "started_at": moment(check.get("startedAt")),
        "completed_at": moment(check.get("completedAt")),
        "app_slug": (suite.get("app") or {}).get("slug"),
        "url": check.get("url") or check.get("detailsUrl"),
        "workflow_run_id": (suite.get("workflowRun") or {}).get("databaseId"),
    }


# Issues, deployments, releases, tags


def issue_row(place: Place, node: Node) -> Row:
    """The row of an issue, with its comments."""
    return {
        **place.key(),
        "number": node["number"],
        "updated_at": moment(node["updatedAt"]),
        "node_id": node["id"],
        "title": node["title"],
        "body": node.get("body"),
        "state": node["state"],
        "state_reason": node.get("stateReason"),
        "url": node["url"],
        "author_login": login(node.get("author")),
        "author_type": kind(node.get("author")),
        "created_at": moment(node["createdAt"]),
        "closed_at": moment(node.get("closedAt")),
        "labels": json_text([label["name"] for label in listed(node, "labels")]),
        "assignees": json_text([login(user) for user in listed(node, "assignees")]),
        "milestone": (node.get("milestone") or {}).get("title"),
        "comments": json_text([comment_of(comment) for comment in listed(node, "comments")]),
        "issue_keys": json_text(issue_keys([("title", node["title"]), ("body", node.get("body"))])),
    }


def deployment_row(place: Place, node: Node) -> Row:
    """The row of a deployment, with its statuses, oldest first."""
    return {
        **place.key(),
        "deployment_id": number_of(node),
        "updated_at": moment(node["updatedAt"]),
        "node_id": node["id"],
        "environment": node.get("environment")
        or node.get("latestEnvironment")
        or node.get("originalEnvironment")
        or "",
        "original_environment": node.get("originalEnvironment"),
        "ref": (node.get("ref") or {}).get("name"),
        "sha": node["commitOid"],
        "task": node.get("task"),
        "description": node.get("description"),
        "created_at": moment(node["createdAt"]),
        "creator_login": login(node.get("creator")),
        "creator_type": kind(node.get("creator")),
        "state": node.get("state"),
        "payload": json_text(payload_of(node.get("payload"))),
        "statuses": json_text(
            # They come newest first: turned, so that those of one second keep their order.
            sorted(
                (status_of(status) for status in reversed(list(listed(node, "statuses")))),
                key=lambda status: str(status["createdAt"]),
            )
        ),
    }


def payload_of(text: Any) -> Any:
    """A deployment's payload, which is JSON inside a string, at times twice; what is no JSON stays a string."""
    for _ in range(2):
        if not isinstance(text, str):
            break
        try:
            text = orjson.loads(text)
        except orjson.JSONDecodeError:
            break
    return {} if text is None or text == "" else text


def status_of(status: Node) -> Row:
    """A status of a deployment."""
    return {
        "state": status["state"],
        "createdAt": status.get("createdAt"),
        "creator": login(status.get("creator")),
        "environmentUrl": status.get("environmentUrl"),
        "logUrl": status.get("logUrl"),
        "description": status.get("description"),
    }


def release_row(place: Place, node: Node) -> Row:
    """The row of a release."""
    return {
        **place.key(),
        "release_id": number_of(node),
        "updated_at": moment(node.get("updatedAt") or node["createdAt"]),
        "tag_name": node["tagName"],
        "name": node.get("name"),
        "is_draft": node["isDraft"],
        "is_prerelease": node["isPrerelease"],
        "created_at": moment(node["createdAt"]),
        "published_at": moment(node.get("publishedAt")),
        "author_login": login(node.get("author")),
        "target_sha": (node.get("tagCommit") or {}).get("oid"),
        "url": node["url"],
    }


def tag_row(place: Place, node: Node, loaded_at: datetime) -> Row:
    """The row of a tag: its commit, behind the tag's own object when it is an annotated one."""
    target = node["target"]
    row: Row = {**place.key(), "name": node["name"], "loaded_at": loaded_at}
    if target.get("__typename") == "Tag":
        row |= {"tagged_at": moment((target.get("tagger") or {}).get("date")), "message": target.get("message")}
    while isinstance(target.get("target"), Mapping):
        target = target["target"]
    return row | {"sha": target["oid"]}


# Actions, by REST


def run_row(place: Place, run: Node) -> Row:
    """The row of a workflow run, as of its last attempt."""
    return {
        **place.key(),
        "run_id": run["id"],
        "updated_at": moment(run["updated_at"]),
        "workflow_id": run["workflow_id"],
        "name": run.get("name"),
        "path": run.get("path"),
        "event": run["event"],
        "status": run.get("status"),
        "conclusion": run.get("conclusion"),
        "run_number": run["run_number"],
        "run_attempt": run.get("run_attempt") or 1,
        "head_branch": run.get("head_branch"),
        "head_sha": run["head_sha"],
        "created_at": moment(run["created_at"]),
        "run_started_at": moment(run.get("run_started_at")),
        "actor_login": login(run.get("actor")),
        "actor_type": (run.get("actor") or {}).get("type"),
        "triggering_actor_login": login(run.get("triggering_actor")),
        "check_suite_id": run.get("check_suite_id"),
        "pull_requests": json_text([pull["number"] for pull in run.get("pull_requests") or []]),
        "url": run.get("html_url") or run["url"],
    }


def job_row(place: Place, job: Node, loaded_at: datetime) -> Row:
    """The row of a job of a workflow run."""
    return {
        **place.key(),
        "job_id": job["id"],
        "loaded_at": loaded_at,
        "run_id": job["run_id"],
        "run_attempt": job.get("run_attempt") or 1,
        "name": job["name"],
        "status": job["status"],
        "conclusion": job.get("conclusion"),
        "created_at": moment(job.get("created_at")),
        "started_at": moment(job.get("started_at")),
        "completed_at": moment(job.get("completed_at")),
        "head_sha": job.get("head_sha"),
        "runner_name": job.get("runner_name"),
        "labels": json_text(job.get("labels") or []),
        "steps": json_text([step_of(step) for step in job.get("steps") or []]),
    }


def step_of(step: Node) -> Row:
    """A step of a job."""
    return {
        "name": step.get("name"),
        "number": step.get("number"),
        "status": step.get("status"),
        "conclusion": step.get("conclusion"),
        "startedAt": step.get("started_at"),
        "completedAt": step.get("completed_at"),
    }
