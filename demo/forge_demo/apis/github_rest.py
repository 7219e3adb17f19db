"""The bodies of GitHub's REST answers, by its OpenAPI description."""

from __future__ import annotations

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo.apis.common import Json, iso_seconds
from forge_demo.apis.github_objects import WEB, number_of
from forge_demo.organisation import Person
from forge_demo.state import Deployment, PullRequest, Review, State, WorkflowRun, node_id

CREATED_AT = "2022-03-01T09:00:00Z"
_USER_LINKS = {
    "followers_url": "followers",
    "following_url": "following{/other_user}",
    "gists_url": "gists{/gist_id}",
    "starred_url": "starred{/owner}{/repo}",
    "subscriptions_url": "subscriptions",
    "organizations_url": "orgs",
    "repos_url": "repos",
    "events_url": "events{/privacy}",
    "received_events_url": "received_events",
}
_REPOSITORY_LINKS = """
    archive:{archive_format}{/ref} assignees:assignees{/user} blobs:git/blobs{/sha} branches:branches{/branch}
    collaborators:collaborators{/collaborator} comments:comments{/number} commits:commits{/sha}
    compare:compare/{base}...{head} contents:contents/{+path} contributors:contributors deployments:deployments
    downloads:downloads events:events forks:forks git_commits:git/commits{/sha} git_refs:git/refs{/sha}
    git_tags:git/tags{/sha} hooks:hooks issue_comment:issues/comments{/number} issue_events:issues/events{/number}
    issues:issues{/number} keys:keys{/key_id} labels:labels{/name} languages:languages merges:merges
    milestones:milestones{/number} notifications:notifications{?since,all,participating} pulls:pulls{/number}
    releases:releases{/id} stargazers:stargazers statuses:statuses/{sha} subscribers:subscribers
    subscription:subscription tags:tags teams:teams trees:git/trees{/sha}
"""


def rest_login(person: Person) -> str:
    """REST adds [bot] to a bot's login."""
    return f"{person.login}[bot]" if person.is_agent else person.login


def user(person: Person, base: str = WEB) -> Json:
    """A simple-user."""
    login = rest_login(person)
    return _account(login, person.database_id, "Bot" if person.is_agent else "User", base)


def _account(login: str, number: int, kind: str, base: str) -> Json:
    address = f"{base}/users/{login}"
    prefix = {"Bot": "BOT", "Organization": "O"}.get(kind, "U")
    return {
        "login": login,
        "id": number,
        "node_id": node_id(prefix, number),
        "avatar_url": f"{WEB}/avatars/{login}",
        "gravatar_id": "",
        "url": address,
        "html_url": f"{WEB}/{login}",
        **{name: f"{address}/{tail}" for name, tail in _USER_LINKS.items()},
        "type": kind,
        "user_view_type": "public",
        "site_admin": False,
    }


def _owner(base: str) -> Json:
    return _account(org.ORGANISATION, 7_000_001, "Organization", base)


def repository(name: str, state: State, base: str) -> Json:
    """A minimal-repository, with what `repository` needs too."""
    full, number = f"{org.ORGANISATION}/{name}", 500_000 + org.REPOSITORIES.index(name)
    address = f"{base}/repos/{full}"
    pulls = state.pulls_of(name)
    pushed = iso_seconds(max((c.committed_at for pull in pulls for c in pull.commits), default=None)) or CREATED_AT
    open_pulls = sum(pull.state == "OPEN" for pull in pulls)
    links = {
        f"{key}_url": f"{address}/{tail}"
        for key, _, tail in (link.partition(":") for link in _REPOSITORY_LINKS.split())
    }
    return {
        "id": number,
        "node_id": node_id("R", number),
        "name": name,
        "full_name": full,
        "private": True,
        "owner": _owner(base),
        "html_url": f"{WEB}/{full}",
        "description": f"The {name} service",
        "fork": False,
        "url": address,
        **links,
        "git_url": f"git://github.example/{full}.git",
        "ssh_url": f"git@github.example:{full}.git",
        "clone_url": f"{WEB}/{full}.git",
        "svn_url": f"{WEB}/{full}",
        "mirror_url": None,
        "homepage": None,
        "language": "Python",
        "license": None,
        "forks_count": 0,
        "forks": 0,
        "stargazers_count": 3,
        "watchers_count": 3,
        "watchers": 3,
        "size": 4096,
        "default_branch": "main",
        "open_issues_count": open_pulls,
        "open_issues": open_pulls,
        "is_template": False,
        "topics": [],
        "has_issues": True,
        "has_projects": False,
        "has_wiki": False,
        "has_pages": False,
        "has_downloads": True,
        "has_discussions": False,
        "archived": False,
        "disabled": False,
        "visibility": "private",
        "web_commit_signoff_required": False,
        "allow_forking": False,
        "permissions": {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True},
        "created_at": CREATED_AT,
        "pushed_at": pushed,
        "updated_at": pushed,
    }


def full_repository(name: str, state: State, base: str) -> Json:
    """A full-repository."""
    return {**repository(name, state, base), "network_count": 0, "subscribers_count": 9, "organization": _owner(base)}


def pull_simple(pull: PullRequest, state: State, base: str) -> Json:
    """A pull-request-simple: no sizes, as in the real listing."""
    full = f"{org.ORGANISATION}/{pull.repository}"
    address, web = f"{base}/repos/{full}/pulls/{pull.number}", f"{WEB}/{full}/pull/{pull.number}"
    issue = f"{base}/repos/{full}/issues/{pull.number}"
    repo = repository(pull.repository, state, base)
    statuses = f"{base}/repos/{full}/statuses/{pull.head}"
    links = {
        "self": address,
        "html": web,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{address}/comments",
        "review_comment": f"{base}/repos/{full}/pulls/comments{{/number}}",
        "commits": f"{address}/commits",
        "statuses": statuses,
    }
    return {
        "url": address,
        "id": pull.id,
        "node_id": node_id("PR", pull.id),
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": issue,
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": statuses,
        "number": pull.number,
        "state": "open" if pull.state == "OPEN" else "closed",
        "locked": False,
        "title": pull.opened.title,
        "user": user(pull.author, base),
        "body": pull.opened.body,
        "labels": [_label(name, full, base) for name in pull.labels],
        "milestone": None,
        "active_lock_reason": None,
        "created_at": iso_seconds(pull.opened.at),
        "updated_at": iso_seconds(pull.updated_at),
        "closed_at": iso_seconds(pull.closed_at),
        "merged_at": iso_seconds(pull.merged.at) if pull.merged else None,
        "merge_commit_sha": pull.merged.sha if pull.merged else None,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [user(person, base) for person in pull.requested_reviewers],
        "requested_teams": [],
        "head": _branch(pull.opened.branch, pull.head, repo, base),
        "base": _branch("main", "0" * 40, repo, base),
        "_links": {name: {"href": href} for name, href in links.items()},
        "author_association": "MEMBER",
        "auto_merge": None,
        "draft": pull.draft,
    }


def pull_full(pull: PullRequest, state: State, base: str) -> Json:
    """A pull-request: with sizes and who merged."""
    return pull_simple(pull, state, base) | {
        "merged": pull.merged is not None,
        "mergeable": None if pull.closed_at else True,
        "rebaseable": None,
        "mergeable_state": "unknown" if pull.closed_at else "clean",
        "merged_by": user(org.BY_LOGIN[pull.merged.actor], base) if pull.merged else None,
        "comments": 0,
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(pull.commits),
        "additions": sum(c.additions for c in pull.commits),
        "deletions": sum(c.deletions for c in pull.commits),
        "changed_files": pull.files,
    }


def _label(name: str, full: str, base: str) -> Json:
    address = f"{base}/repos/{full}/labels/{name}"
    shape = {
        "id": number_of(f"{full}/{name}"),
        "node_id": node_id("LA", f"{full}/{name}"),
        "url": address,
        "name": name,
    }
    return shape | {"description": "", "color": "0e8a16", "default": False}


def _branch(name: str, sha: str, repo: Json, base: str) -> Json:
    return {"label": f"{org.ORGANISATION}:{name}", "ref": name, "sha": sha, "user": _owner(base), "repo": repo}


def review(it: Review, pull: PullRequest, base: str) -> Json:
    """A pull-request-review."""
    full = f"{org.ORGANISATION}/{pull.repository}"
    web, address = (
        f"{WEB}/{full}/pull/{pull.number}#pullrequestreview-{it.id}",
        f"{base}/repos/{full}/pulls/{pull.number}",
    )
    return {
        "id": it.id,
        "node_id": node_id("PRR", it.id),
        "user": user(it.author, base),
        "body": it.body,
        "state": it.state,
        "html_url": web,
        "pull_request_url": address,
        "author_association": "MEMBER",
        "_links": {"html": {"href": web}, "pull_request": {"href": address}},
        "submitted_at": iso_seconds(it.at),
        "commit_id": it.oid,
    }


def commit(it: ev.Commit, repository_name: str, base: str) -> Json:
    """A commit."""
    full, author = f"{org.ORGANISATION}/{repository_name}", org.BY_LOGIN[it.author]
    address, web = f"{base}/repos/{full}/commits/{it.oid}", f"{WEB}/{full}/commit/{it.oid}"
    signed = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    who = {"name": author.git_name, "email": author.email}
    tree = {"sha": it.oid, "url": f"{base}/repos/{full}/git/trees/{it.oid}"}
    return {
        "sha": it.oid,
        "node_id": node_id("C", it.oid),
        "commit": {
            "author": {**who, "date": iso_seconds(it.authored_at)},
            "committer": {**who, "date": iso_seconds(it.committed_at)},
            "message": it.message,
            "tree": tree,
            "url": f"{base}/repos/{full}/git/commits/{it.oid}",
            "comment_count": 0,
            "verification": signed,
        },
        "url": address,
        "html_url": web,
        "comments_url": f"{address}/comments",
        "author": user(author, base),
        "committer": user(author, base),
        "parents": [],
    }


def run_status(it: WorkflowRun) -> str:
    """completed or in_progress."""
    return "in_progress" if it.conclusion is None else "completed"


def run(it: WorkflowRun, state: State, base: str) -> Json:
    """A workflow-run."""
    name, started = it.started.repository, it.started
    full = f"{org.ORGANISATION}/{name}"
    address, web = f"{base}/repos/{full}/actions/runs/{it.id}", f"{WEB}/{full}/actions/runs/{it.id}"
    pull = state.pull_requests.get(started.ref or "")
    workflow, suite = number_of(started.name), it.id + 1_000_000_000
    repo, actor = repository(name, state, base), org.BY_LOGIN[started.actor]
    return {
        "id": it.id,
        "name": started.name,
        "node_id": node_id("WFR", it.id),
        "check_suite_id": suite,
        "check_suite_node_id": node_id("CS", suite),
        "head_branch": started.branch,
        "head_sha": started.sha,
        "path": f".github/workflows/{started.name}.yml",
        "display_title": pull.opened.title if pull else "Deploy",
        "run_number": it.number,
        "run_attempt": started.attempt,
        "event": "pull_request" if started.ref else "push",
        "status": run_status(it),
        "conclusion": it.conclusion,
        "workflow_id": workflow,
        "url": address,
        "html_url": web,
        "pull_requests": [_short_pull(pull, repo, base)] if pull else [],
        "created_at": iso_seconds(it.created_at),
        "updated_at": iso_seconds(it.updated_at),
        "run_started_at": iso_seconds(started.at),
        "actor": user(actor, base),
        "triggering_actor": user(actor, base),
        "referenced_workflows": [],
        "jobs_url": f"{address}/jobs",
        "logs_url": f"{address}/logs",
        "check_suite_url": f"{base}/repos/{full}/check-suites/{suite}",
        "artifacts_url": f"{address}/artifacts",
        "cancel_url": f"{address}/cancel",
        "rerun_url": f"{address}/rerun",
        "previous_attempt_url": f"{address}/attempts/{started.attempt - 1}" if started.attempt > 1 else None,
        "workflow_url": f"{base}/repos/{full}/actions/workflows/{workflow}",
        "head_commit": {
            "id": started.sha,
            "tree_id": started.sha,
            "message": pull.commits[-1].message if pull else "Deploy",
            "timestamp": iso_seconds(it.created_at),
            "author": {"name": actor.git_name, "email": actor.email},
            "committer": {"name": actor.git_name, "email": actor.email},
        },
        "repository": repo,
        "head_repository": repo,
    }


def _short_pull(pull: PullRequest, repo: Json, base: str) -> Json:
    short = {"id": repo["id"], "url": repo["url"], "name": repo["name"]}
    address = f"{base}/repos/{repo['full_name']}/pulls/{pull.number}"
    head = {"ref": pull.opened.branch, "sha": pull.head, "repo": short}
    return {
        "id": pull.id,
        "number": pull.number,
        "url": address,
        "head": head,
        "base": {"ref": "main", "sha": "0" * 40, "repo": short},
    }


def deployment(it: Deployment, base: str) -> Json:
    """A deployment."""
    full = f"{org.ORGANISATION}/{it.created.repository}"
    address = f"{base}/repos/{full}/deployments/{it.id}"
    return {
        "url": address,
        "id": it.id,
        "node_id": node_id("DE", it.id),
        "sha": it.created.sha,
        "ref": "main",
        "task": "deploy",
        "payload": {},
        "original_environment": it.created.environment,
        "environment": it.created.environment,
        "description": None,
        "creator": user(org.BY_LOGIN[it.created.actor], base),
        "created_at": iso_seconds(it.created.at),
        "updated_at": iso_seconds(it.updated_at),
        "statuses_url": f"{address}/statuses",
        "repository_url": f"{base}/repos/{full}",
        "transient_environment": False,
        "production_environment": it.created.environment == "production",
    }


def deployment_status(number: int, event: ev.DeploymentStatusCreated, of: Deployment, base: str) -> Json:
    """A deployment-status."""
    shape = deployment(of, base)
    return {
        "url": f"{shape['url']}/statuses/{number}",
        "id": number,
        "node_id": node_id("DES", number),
        "state": event.state,
        "creator": user(org.BY_LOGIN[event.actor], base),
        "description": "",
        "environment": of.created.environment,
        "target_url": "",
        "created_at": iso_seconds(event.at),
        "updated_at": iso_seconds(event.at),
        "deployment_url": shape["url"],
        "repository_url": shape["repository_url"],
        "environment_url": "",
        "log_url": "",
    }
