"""What bronze must hold of GitHub, from the world's state; columns as in docs/architecture.md, without loaded_at.

Rows are of the repositories that the organisation has now and the token may read. Logins as the API of the table writes
them: GraphQL without [bot], REST (workflow runs) with it; None where the account is gone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any
from zlib import crc32

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo.github_places import ACCOUNTS, CREATED_AT, GHOST, STRANGER, TEAM_REVIEWERS, node_id
from forge_demo.github_things import Check, CommitStatus, Issue, PullRequest, Repo, Subject, WorkflowRun
from forge_demo.organisation import BY_LOGIN, Person
from forge_demo.state import State

Row = dict[str, Any]
WEB = "https://github.example"
_CREATED = datetime.fromisoformat(CREATED_AT)
_WORD = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_EVENTS: dict[type[ev.Event], str] = {
    ev.ReadyForReview: "ready_for_review",
    gh.ConvertedToDraft: "convert_to_draft",
    ev.ReviewRequested: "review_requested",
    gh.ReviewRequestRemoved: "review_request_removed",
    gh.HeadForcePushed: "head_ref_force_pushed",
    ev.PullRequestClosed: "closed",
    gh.Reopened: "reopened",
    ev.PullRequestMerged: "merged",
}
_BAD_ENDS = {"failure", "cancelled", "timed_out"}


def _mine(state: State, *, closed_ones: bool = False) -> Iterator[Repo]:
    """The repositories, `closed_ones` to the token included."""
    for repo in state.hub.repos.values():
        if repo.owner == org.ORGANISATION and (closed_ones or not repo.place.forbidden):
            yield repo


def _key(repo: Repo) -> Row:
    return {"repository_id": repo.place.id, "repository": repo.full_name}


def _login(person: Person) -> str | None:
    return None if person in (GHOST, STRANGER) else person.login


def _type(person: Person) -> str | None:
    return None if person in (GHOST, STRANGER) else "Bot" if person.is_agent else "User"


def repositories(state: State) -> list[Row]:
    """bronze github_repositories."""
    return [
        {
            **_key(repo),
            "node_id": repo.node_id,
            "is_private": repo.place.private,
            "is_archived": repo.archived,
            "is_fork": False,
            "default_branch": None if repo.place.empty else "main",
            "topics": sorted(repo.place.topics),
            "created_at": _CREATED,
            "pushed_at": repo.pushed_at or (None if repo.place.empty else _CREATED),
        }
        for repo in _mine(state, closed_ones=True)
    ]


# Pull requests


def pull_requests(state: State) -> list[Row]:
    """bronze github_pull_requests. first_commit_at: the earliest author date; ready_for_review_at: the newest."""
    return [_pull(pull) for repo in _mine(state) for pull in repo.pulls.values()]


def _pull(pull: PullRequest) -> Row:
    it, merged = pull.opened, pull.merged
    merger = BY_LOGIN[merged.actor] if merged else None
    fork = it.fork
    return {
        **_key(pull.repo),
        "number": pull.number,
        "updated_at": pull.updated_at,
        "node_id": pull.node_id,
        "database_id": pull.id,
        "created_at": it.at,
        "closed_at": pull.closed_at,
        "merged_at": merged.at if merged else None,
        "title": pull.title,
        "body": pull.body,
        "state": pull.state,
        "is_draft": pull.draft,
        "url": f"{WEB}/{pull.repo.full_name}/pull/{pull.number}",
        "author_login": _login(pull.author),
        "author_type": _type(pull.author),
        "merged_by_login": merger.login if merger else None,
        "merged_by_type": _type(merger) if merger else None,
        "head_ref": it.branch,
        "base_ref": "main",
        "head_sha": pull.commits[-1].oid,
        "head_repository": pull.repo.full_name if fork is None else fork or None,
        "is_cross_repository": fork is not None,
        "merge_commit_sha": merged.sha if merged else None,
        "additions": sum(c.additions for c in pull.commits),
        "deletions": sum(c.deletions for c in pull.commits),
        "changed_files": pull.files,
        "commits_count": len(pull.commits),
        "comments_count": len(pull.comments) + sum(len(t.comments) for t in pull.threads.values()),
        "first_commit_at": min(c.authored_at for c in pull.commits),
        "ready_for_review_at": max((e.at for e in pull.ready), default=None),
        "review_decision": pull.review_decision,
        "checks_state": _rollup(_contexts(pull.repo, pull.commits[-1].oid)),
        "milestone": pull.milestone,
        "labels": list(pull.labels),
        "assignees": [_login(person) for person in pull.assignees],
        "requested_reviewers": [_reviewer(login) for login in pull.requested],
        "linked_issues": [
            {
                "repository": issue.repo.full_name,
                "number": issue.number,
                "url": f"{WEB}/{issue.repo.full_name}/issues/{issue.number}",
            }
            for issue in pull.issues
        ],
        "reviews": _reviews(pull),
        "comments": _comments(pull),
        "events": list(_events(pull)),
        "commits": [_commit(c) for c in pull.commits],
        "issue_keys": _keys(
            ("title", pull.title),
            ("branch", it.branch),
            ("body", pull.body),
            *(("commit", c.message) for c in pull.commits),
        ),
    }


def _reviewer(login: str) -> Row:
    if login in TEAM_REVIEWERS:
        return {"login": login.removeprefix("@"), "type": "Team"}
    return {"login": login, "type": _type(BY_LOGIN[login])}


def _reviews(pull: PullRequest) -> list[Row]:
    remarks = [remark for thread in pull.threads.values() for remark in thread.comments]
    return [
        {
            "id": r.id,
            "author": _login(r.author),
            "authorType": _type(r.author),
            "state": r.state,
            "submittedAt": r.at,
            "body": r.body,
            "commit": r.oid if r.oid in pull.repo.commits else None,
            "comments": sum(remark.review is r for remark in remarks),
        }
        for r in pull.reviews
    ]


def _written(it: Any) -> Row:
    return {
        "id": it.id,
        "author": _login(it.author),
        "authorType": _type(it.author),
        "createdAt": it.at,
        "updatedAt": it.at,
        "body": it.body,
    }


def _comments(pull: PullRequest) -> list[Row]:
    found = [{**_written(c), "kind": "issue", "path": None} for c in pull.comments]
    for thread in pull.threads.values():
        found += [{**_written(c), "kind": "review", "path": thread.path} for c in thread.comments]
    return sorted(found, key=lambda row: (row["createdAt"], row["id"]))


def _events(pull: PullRequest) -> Iterator[Row]:
    for _, event in pull.timeline:
        name = _EVENTS.get(type(event))
        if name is None:
            continue
        actor = getattr(event, "actor", "")
        row: Row = {"type": name, "at": event.at, "actor": actor, "subject": None}
        if isinstance(event, (ev.ReviewRequested, gh.ReviewRequestRemoved)):
            row["subject"] = _reviewer(event.reviewer)["login"]
        elif isinstance(event, gh.HeadForcePushed):
            row |= {"before": event.before, "after": event.commits[-1].oid}
        elif isinstance(event, ev.PullRequestMerged):
            row["subject"] = event.sha
        yield row
        if isinstance(event, ev.PullRequestMerged):
            yield {"type": "closed", "at": event.at, "actor": actor, "subject": None}


def _commit(commit: ev.Commit) -> Row:
    author = ACCOUNTS[commit.author]
    named = author.is_agent or author == STRANGER
    email = "ghost-writer@nowhere.example" if author == STRANGER else author.email
    shown = author.git_name if named or author == GHOST else author.login
    trailers = (
        line.partition(":")[2].strip() for line in commit.message.split("\n") if line.startswith("Co-authored-by:")
    )
    return {
        "oid": commit.oid,
        "authoredAt": commit.authored_at,
        "committedAt": commit.committed_at,
        "author": shown,
        "authorType": "Bot" if author.is_agent else None if author in (STRANGER, GHOST) else "User",
        "authorEmail": email,
        "message": commit.message,
        "coAuthors": [
            {"name": t.partition(" <")[0], "email": t.partition(" <")[2].removesuffix(">")} for t in trailers
        ],
    }


def _keys(*places: tuple[str, str]) -> list[Row]:
    """Ticket keys, each once a place, as they stand: two words joined by one hyphen, capitals and then digits."""
    found: dict[tuple[str, str], None] = {}
    for place, text in places:
        for chain in _WORD.finditer(text):
            words = chain.group().split("-")
            for left, right in pairwise(words):
                is_key = len(left) > 1 and left[0].isalpha() and left.isupper() and right.isdigit()
                if is_key and left.isascii() and right.isascii():
                    found[f"{left}-{right}", place] = None
    return [{"key": key, "found_in": place} for key, place in found]


# Checks


def _contexts(repo: Repo, sha: str) -> list[Check | CommitStatus]:
    """The last run of each check of each suite, and the last status of each context."""
    found: list[Check | CommitStatus] = []
    for suite in repo.suites.get(sha, []):
        last: dict[str, Check] = {}
        for check in suite.checks:
            last[check.name] = check
        found += last.values()
    return [*found, *repo.statuses.get(sha, {}).values()]


def _rollup(contexts: list[Check | CommitStatus]) -> str | None:
    ends = [c.set.state if isinstance(c, CommitStatus) else c.conclusion for c in contexts]
    if not ends:
        return None
    if "error" in ends:
        return "ERROR"
    if any(end in _BAD_ENDS for end in ends):
        return "FAILURE"
    return "PENDING" if None in ends or "pending" in ends else "SUCCESS"


def check_runs(state: State) -> list[Row]:
    """bronze github_check_runs: of every commit that a pull request has now."""
    found: dict[tuple[int, int], Row] = {}
    for repo in _mine(state):
        for sha in dict.fromkeys(c.oid for pull in repo.pulls.values() for c in pull.commits):
            for context in _contexts(repo, sha):
                row = _status(repo, sha, context) if isinstance(context, CommitStatus) else _check(repo, context)
                found[repo.place.id, row["check_run_id"]] = row
    return list(found.values())


def _check(repo: Repo, check: Check) -> Row:
    run = check.suite.run
    path = f"actions/runs/{run.id}/job/{check.id}" if run else f"runs/{check.id}"
    return {
        **_key(repo),
        "check_run_id": check.id,
        "node_id": node_id("CR", check.id),
        "head_sha": check.suite.sha,
        "check_suite_id": check.suite.id,
        "name": check.name,
        "status": "COMPLETED" if check.conclusion else "IN_PROGRESS",
        "conclusion": check.conclusion.upper() if check.conclusion else None,
        "started_at": check.started_at,
        "completed_at": check.completed_at,
        "app_slug": check.suite.app.slug,
        "url": f"{WEB}/{repo.full_name}/{path}",
        "workflow_run_id": run.id if run else None,
    }


def _status(repo: Repo, sha: str, status: CommitStatus) -> Row:
    id_, it = node_id("SC", status.id), status.set
    done = it.state != "pending"
    return {
        **_key(repo),
        "check_run_id": -(int.from_bytes(hashlib.sha256(f"{sha}/{it.context}".encode()).digest()[:8]) >> 2),
        "node_id": id_,
        "head_sha": sha,
        "check_suite_id": None,
        "name": it.context,
        "status": "COMPLETED" if done else "PENDING",
        "conclusion": it.state.upper() if done else None,
        "started_at": it.at,
        "completed_at": it.at if done else None,
        "app_slug": None,
        "url": f"https://ci.acme-robotics.example/{status.id}",
        "workflow_run_id": None,
    }


def workflow_runs(state: State) -> list[Row]:
    """bronze github_workflow_runs, as of the last attempt."""
    return [_run(run) for repo in _mine(state) for run in repo.runs.values()]


def _run(run: WorkflowRun) -> Row:
    started, actor = run.started, ACCOUNTS[run.started.actor]
    login = f"{actor.login}[bot]" if actor.is_agent else actor.login
    return {
        **_key(run.repo),
        "run_id": run.id,
        "updated_at": run.updated_at,
        "workflow_id": _crc(started.name),
        "name": started.name,
        "path": f".github/workflows/{started.name}.yml",
        "event": started.event or ("pull_request" if started.ref else "push"),
        "status": "completed" if run.conclusion else "in_progress",
        "conclusion": run.conclusion,
        "run_number": run.number,
        "run_attempt": started.attempt,
        "head_branch": started.branch,
        "head_sha": started.sha,
        "created_at": run.created_at,
        "run_started_at": started.at,
        "actor_login": login,
        "actor_type": "Bot" if actor.is_agent else "User",
        "triggering_actor_login": login,
        "check_suite_id": run.suite.id if run.suite else None,
        "pull_requests": [run.pull.number] if run.pull and run.pull.opened.fork is None else [],
        "url": f"{WEB}/{run.repo.full_name}/actions/runs/{run.id}",
    }


def _crc(text: str) -> int:
    return 1_000_000_000 + crc32(text.encode())


def workflow_jobs(state: State) -> list[Row]:
    """bronze github_workflow_jobs, of all attempts."""
    return [_job(run, job) for repo in _mine(state) for run in repo.runs.values() for job in run.jobs]


def _job(run: WorkflowRun, job: Check) -> Row:
    return {
        **_key(run.repo),
        "job_id": job.id,
        "run_id": run.id,
        "run_attempt": job.attempt,
        "name": job.name,
        "status": "completed" if job.conclusion else "in_progress",
        "conclusion": job.conclusion,
        "created_at": job.started_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "head_sha": job.suite.sha,
        "runner_name": job.runner,
        "labels": ["ubuntu-24.04"] if job.runner else [],
        "steps": [
            {
                "name": step.name,
                "number": number,
                "status": "completed",
                "conclusion": step.conclusion,
                "startedAt": step.started_at,
                "completedAt": step.completed_at,
            }
            for number, step in enumerate(job.steps, 1)
        ],
    }


# Deployments, releases, tags, issues


def deployments(state: State) -> list[Row]:
    """bronze github_deployments, with all their statuses, oldest first."""
    rows = []
    for repo in _mine(state):
        for deployment in repo.deployments.values():
            it = deployment.created
            creator, states = BY_LOGIN[it.actor], [event.state for _, event in deployment.statuses]
            last = states[-1].upper() if states else "PENDING"
            rows.append(
                {
                    **_key(repo),
                    "deployment_id": deployment.id,
                    "updated_at": deployment.updated_at,
                    "node_id": node_id("DE", deployment.id),
                    "environment": it.environment,
                    "original_environment": it.environment,
                    "ref": None,
                    "sha": it.sha,
                    "task": "deploy",
                    "description": None,
                    "created_at": it.at,
                    "creator_login": creator.login,
                    "creator_type": _type(creator),
                    "state": "ACTIVE" if last == "SUCCESS" else last,
                    "payload": {},
                    "statuses": [
                        {
                            "state": event.state.upper(),
                            "createdAt": event.at,
                            "creator": event.actor,
                            "environmentUrl": f"https://{it.environment}.acme-robotics.example",
                            "logUrl": f"https://logs.acme-robotics.example/{number}",
                            "description": None,
                        }
                        for number, event in deployment.statuses
                    ],
                }
            )
    return rows


def releases(state: State) -> list[Row]:
    """bronze github_releases; target_sha: the tag's commit, None of a draft whose tag is not made yet."""
    return [
        {
            **_key(repo),
            "release_id": release.id,
            "updated_at": release.updated_at,
            "tag_name": release.created.tag,
            "name": release.created.name,
            "is_draft": release.draft,
            "is_prerelease": release.created.prerelease,
            "created_at": release.created.at,
            "published_at": release.published_at,
            "author_login": release.created.author,
            "target_sha": repo.tags[release.created.tag].created.sha if release.created.tag in repo.tags else None,
            "url": f"{WEB}/{repo.full_name}/releases/tag/{release.created.tag}",
        }
        for repo in _mine(state)
        for release in repo.releases.values()
    ]


def tags(state: State) -> list[Row]:
    """bronze github_tags; tagged_at and message of annotated ones only."""
    return [
        {
            **_key(repo),
            "name": name,
            "sha": tag.created.sha,
            "tagged_at": None if tag.created.message is None else tag.created.at,
            "message": tag.created.message,
        }
        for repo in _mine(state)
        for name, tag in repo.tags.items()
    ]


def issues(state: State) -> list[Row]:
    """bronze github_issues."""
    return [_issue(issue) for repo in _mine(state) for issue in repo.issues.values()]


def _issue(issue: Issue) -> Row:
    it: Subject = issue
    return {
        **_key(it.repo),
        "number": it.number,
        "updated_at": it.updated_at,
        "node_id": issue.node_id,
        "title": it.title,
        "body": it.body,
        "state": issue.state,
        "state_reason": issue.state_reason,
        "url": f"{WEB}/{it.repo.full_name}/issues/{it.number}",
        "author_login": _login(it.author),
        "author_type": _type(it.author),
        "created_at": it.created_at,
        "closed_at": issue.closed_at,
        "labels": list(it.labels),
        "assignees": [_login(person) for person in it.assignees],
        "milestone": it.milestone,
        "comments": [_written(comment) for comment in it.comments],
        "issue_keys": _keys(("title", it.title), ("body", it.body)),
    }


TABLES: dict[str, Callable[[State], list[Row]]] = {
    "github_repositories": repositories,
    "github_pull_requests": pull_requests,
    "github_check_runs": check_runs,
    "github_workflow_runs": workflow_runs,
    "github_workflow_jobs": workflow_jobs,
    "github_deployments": deployments,
    "github_releases": releases,
    "github_tags": tags,
    "github_issues": issues,
}
