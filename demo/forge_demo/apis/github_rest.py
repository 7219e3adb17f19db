"""The bodies of GitHub's REST answers about repositories, pull requests and commits, by its OpenAPI description."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote

from forge_demo import events as ev
from forge_demo import github_things as st
from forge_demo.apis.common import Json, iso_seconds
from forge_demo.apis.github_commits import git_email
from forge_demo.apis.github_graph import OWNERS, Milestone
from forge_demo.apis.github_objects import WEB, Team, number_of
from forge_demo.github_places import ACCOUNTS, CREATED_AT, STRANGER, node_id
from forge_demo.organisation import Person

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


def owner(login: str, base: str) -> Json:
    """An organisation as a simple-user."""
    return _account(login, OWNERS.get(login, number_of(login)), "Organization", base)


def repository(repo: st.Repo, base: str) -> Json:
    """A minimal-repository, with what `repository` needs too. Made once, until something happens there."""
    return cast(Json, repo.kept(f"rest/{base}", lambda: _repository(repo, base)))


def _repository(repo: st.Repo, base: str) -> Json:
    full, place = repo.full_name, repo.place
    address = f"{base}/repos/{full}"
    waiting = sum(p.state == "OPEN" for p in repo.pulls.values()) + sum(i.state == "OPEN" for i in repo.issues.values())
    links = {
        f"{key}_url": f"{address}/{tail}"
        for key, _, tail in (link.partition(":") for link in _REPOSITORY_LINKS.split())
    }
    return {
        "id": place.id,
        "node_id": repo.node_id,
        "name": repo.name,
        "full_name": full,
        "private": place.private,
        "owner": owner(repo.owner, base),
        "html_url": f"{WEB}/{full}",
        "description": f"The {place.key} service",
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
        "size": 4096 if repo.landed else 0,
        "default_branch": "main",
        "open_issues_count": waiting,
        "open_issues": waiting,
        "is_template": False,
        "topics": list(place.topics),
        "has_issues": place.issues,
        "has_projects": False,
        "has_wiki": False,
        "has_pages": False,
        "has_downloads": True,
        "has_discussions": False,
        "archived": repo.archived,
        "disabled": False,
        "visibility": "private" if place.private else "public",
        "web_commit_signoff_required": False,
        "allow_forking": False,
        "permissions": {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True},
        "created_at": CREATED_AT,
        "pushed_at": iso_seconds(repo.pushed_at) or CREATED_AT,
        "updated_at": iso_seconds(repo.updated_at) or CREATED_AT,
    }


def full_repository(repo: st.Repo, base: str) -> Json:
    """A full-repository."""
    organization = owner(repo.owner, base)
    return {**repository(repo, base), "network_count": 0, "subscribers_count": 9, "organization": organization}


def pull_simple(pull: st.PullRequest, base: str) -> Json:
    """A pull-request-simple: no sizes, as in the real listing."""
    full = pull.repo.full_name
    address, web = f"{base}/repos/{full}/pulls/{pull.number}", f"{WEB}/{full}/pull/{pull.number}"
    issue = f"{base}/repos/{full}/issues/{pull.number}"
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
    assignees = [user(person, base) for person in pull.assignees]
    return {
        "url": address,
        "id": pull.id,
        "node_id": pull.node_id,
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
        "title": pull.title,
        "user": user(pull.author, base),
        "body": pull.body,
        "labels": [label(name, pull.repo, base) for name in pull.labels],
        "milestone": milestone(pull.milestone, pull.repo, base),
        "active_lock_reason": None,
        "created_at": iso_seconds(pull.created_at),
        "updated_at": iso_seconds(pull.updated_at),
        "closed_at": iso_seconds(pull.closed_at),
        "merged_at": iso_seconds(pull.merged.at) if pull.merged else None,
        "merge_commit_sha": pull.merged.sha if pull.merged else None,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "requested_reviewers": [user(person, base) for person in pull.requested_reviewers],
        "requested_teams": [_team(name, base) for name in pull.requested if name.startswith("@")],
        "head": _head(pull, base),
        "base": _branch("main", pull.repo.head, pull.repo, base),
        "_links": {name: {"href": href} for name, href in links.items()},
        "author_association": "MEMBER",
        "auto_merge": None,
        "draft": pull.draft,
    }


def pull_full(pull: st.PullRequest, base: str) -> Json:
    """A pull-request: with sizes and who merged."""
    return pull_simple(pull, base) | {
        "merged": pull.merged is not None,
        "mergeable": None if pull.closed_at else True,
        "rebaseable": None,
        "mergeable_state": "unknown" if pull.closed_at else "clean",
        "merged_by": user(ACCOUNTS[pull.merged.actor], base) if pull.merged else None,
        "comments": len(pull.comments),
        "review_comments": sum(len(t.comments) for t in pull.threads.values()),
        "maintainer_can_modify": False,
        "commits": len(pull.commits),
        "additions": sum(c.additions for c in pull.commits),
        "deletions": sum(c.deletions for c in pull.commits),
        "changed_files": pull.files,
    }


def label(name: str, repo: st.Repo, base: str) -> Json:
    """A label."""
    shape = {
        "id": number_of(f"{repo.place.id}/{name}"),
        "node_id": node_id("LA", f"{repo.place.id}/{name}"),
        "url": f"{base}/repos/{repo.full_name}/labels/{quote(name)}",
        "name": name,
    }
    return shape | {"description": "", "color": "0e8a16", "default": False}


def milestone(title: str | None, repo: st.Repo, base: str) -> Json | None:
    """A milestone."""
    if title is None:
        return None
    it = Milestone(title, repo)
    address = f"{base}/repos/{repo.full_name}/milestones/{it.number}"
    number = number_of(f"{repo.place.id}/{title}")
    return {
        "url": address,
        "html_url": it.url,
        "labels_url": f"{address}/labels",
        "id": number,
        "node_id": it.id,
        "number": it.number,
        "state": "open",
        "title": title,
        "description": None,
        "creator": None,
        "open_issues": 1,
        "closed_issues": 0,
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
        "closed_at": None,
        "due_on": None,
    }


def _team(name: str, base: str) -> Json:
    team = Team(name)
    address = f"{base}/organizations/7000001/team/{team.database_id}"
    return {
        "id": team.database_id,
        "node_id": team.id,
        "url": address,
        "html_url": f"{WEB}/orgs/acme-robotics/teams/{team.slug}",
        "members_url": f"{address}/members{{/member}}",
        "repositories_url": f"{address}/repos",
        "name": team.name,
        "slug": team.slug,
        "description": None,
        "permission": "push",
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "type": "organization",
        "parent": None,
    }


def _head(pull: st.PullRequest, base: str) -> Json:
    fork, branch = pull.opened.fork, pull.opened.branch
    if fork is None:
        return _branch(branch, pull.head, pull.repo, base)
    person = pull.author
    whose = fork.partition("/")[0] or rest_login(person)
    repo: Any = None
    if fork:
        full, of = fork, repository(pull.repo, base)
        text = {k: v.replace(pull.repo.full_name, full) for k, v in of.items() if isinstance(v, str)}
        number = number_of(fork) % 900_000_000
        repo = {**of, **text, "id": number, "node_id": node_id("R", number), "fork": True, "owner": user(person, base)}
        repo["name"] = full.partition("/")[2]
    return {"label": f"{whose}:{branch}", "ref": branch, "sha": pull.head, "user": user(person, base), "repo": repo}


def _branch(name: str, sha: str, repo: st.Repo, base: str) -> Json:
    shape = {"label": f"{repo.owner}:{name}", "ref": name, "sha": sha, "user": owner(repo.owner, base)}
    return shape | {"repo": repository(repo, base)}


def review(it: st.Review, pull: st.PullRequest, base: str) -> Json:
    """A pull-request-review."""
    full = pull.repo.full_name
    web = f"{WEB}/{full}/pull/{pull.number}#pullrequestreview-{it.id}"
    address = f"{base}/repos/{full}/pulls/{pull.number}"
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


def review_comment(it: st.ThreadRemark, thread: st.Thread, pull: st.PullRequest, base: str) -> Json:
    """A pull-request-review-comment."""
    full = pull.repo.full_name
    address = f"{base}/repos/{full}/pulls/comments/{it.id}"
    web, of = f"{WEB}/{full}/pull/{pull.number}#discussion_r{it.id}", f"{base}/repos/{full}/pulls/{pull.number}"
    shape: Json = {
        "url": address,
        "id": it.id,
        "node_id": node_id("PRRC", it.id),
        "pull_request_review_id": it.review.id,
        "diff_hunk": "@@ -1,3 +1,4 @@\n+new",
        "path": thread.path,
        "commit_id": thread.oid,
        "original_commit_id": thread.oid,
        "user": user(it.author, base),
        "body": it.body,
        "created_at": iso_seconds(it.at),
        "updated_at": iso_seconds(it.at),
        "html_url": web,
        "pull_request_url": of,
        "author_association": "MEMBER",
        "_links": {"self": {"href": address}, "html": {"href": web}, "pull_request": {"href": of}},
        "line": thread.line,
        "original_line": thread.line,
        "side": "RIGHT",
        "start_line": None,
        "original_start_line": None,
        "start_side": None,
        "subject_type": "line",
    }
    return shape | ({"in_reply_to_id": it.to.id} if it.to else {})


def file(number: int, pull: st.PullRequest, base: str) -> Json:
    """A diff-entry: what was changed is not told."""
    name, full = f"src/part_{number}.py", pull.repo.full_name
    return {
        "sha": pull.head,
        "filename": name,
        "status": "modified",
        "additions": 1,
        "deletions": 0,
        "changes": 1,
        "blob_url": f"{WEB}/{full}/blob/{pull.head}/{name}",
        "raw_url": f"{WEB}/{full}/raw/{pull.head}/{name}",
        "contents_url": f"{base}/repos/{full}/contents/{name}?ref={pull.head}",
    }


def commit(it: ev.Commit, repo: st.Repo, base: str) -> Json:
    """A commit; nobody's address has no account."""
    full, author = repo.full_name, ACCOUNTS[it.author]
    address, web = f"{base}/repos/{full}/commits/{it.oid}", f"{WEB}/{full}/commit/{it.oid}"
    signed = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    who = {"name": author.git_name, "email": git_email(author)}
    tree = {"sha": it.oid, "url": f"{base}/repos/{full}/git/trees/{it.oid}"}
    account = None if author == STRANGER else user(author, base)
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
        "author": account,
        "committer": account,
        "parents": [],
    }
