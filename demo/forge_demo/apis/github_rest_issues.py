"""The bodies of GitHub's REST answers about issues: themselves, comments, timelines. A pull request is an issue too."""

from __future__ import annotations

from collections.abc import Iterator

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import github_things as st
from forge_demo.apis.common import Json, iso_seconds
from forge_demo.apis.github_commits import git_email
from forge_demo.apis.github_objects import WEB
from forge_demo.apis.github_rest import label, milestone, user
from forge_demo.github_places import ACCOUNTS, node_id


def issue(it: st.Issue | st.PullRequest, base: str) -> Json:
    """An issue; that of a pull request says where the pull request is."""
    full = it.repo.full_name
    pull = it if isinstance(it, st.PullRequest) else None
    address = f"{base}/repos/{full}/issues/{it.number}"
    web = f"{WEB}/{full}/{'pull' if pull else 'issues'}/{it.number}"
    assignees = [user(person, base) for person in it.assignees]
    reason = it.state_reason if isinstance(it, st.Issue) else None
    shape: Json = {
        "id": it.id,
        "node_id": it.node_id,
        "url": address,
        "repository_url": f"{base}/repos/{full}",
        "labels_url": f"{address}/labels{{/name}}",
        "comments_url": f"{address}/comments",
        "events_url": f"{address}/events",
        "timeline_url": f"{address}/timeline",
        "html_url": web,
        "number": it.number,
        "state": "closed" if it.closed_at else "open",
        "state_reason": reason.lower() if reason else None,
        "title": it.title,
        "body": it.body,
        "user": user(it.author, base),
        "labels": [label(name, it.repo, base) for name in it.labels],
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": milestone(it.milestone, it.repo, base),
        "locked": False,
        "active_lock_reason": None,
        "comments": len(it.comments),
        "closed_at": iso_seconds(it.closed_at),
        "created_at": iso_seconds(it.created_at),
        "updated_at": iso_seconds(it.updated_at),
        "author_association": "MEMBER",
    }
    if pull:
        merged = iso_seconds(pull.merged.at) if pull.merged else None
        links = {"url": f"{base}/repos/{full}/pulls/{it.number}", "html_url": web}
        links |= {"diff_url": f"{web}.diff", "patch_url": f"{web}.patch"}
        shape |= {"draft": pull.draft, "pull_request": {**links, "merged_at": merged}}
    return shape


def comment(it: st.Remark, of: st.Issue | st.PullRequest, base: str) -> Json:
    """An issue-comment."""
    full = of.repo.full_name
    kind = "pull" if isinstance(of, st.PullRequest) else "issues"
    return {
        "url": f"{base}/repos/{full}/issues/comments/{it.id}",
        "html_url": f"{WEB}/{full}/{kind}/{of.number}#issuecomment-{it.id}",
        "issue_url": f"{base}/repos/{full}/issues/{of.number}",
        "id": it.id,
        "node_id": node_id("IC", it.id),
        "user": user(it.author, base),
        "body": it.body,
        "created_at": iso_seconds(it.at),
        "updated_at": iso_seconds(it.at),
        "author_association": "MEMBER",
    }


_NAMES: dict[type[ev.Event], str] = {
    ev.ReadyForReview: "ready_for_review",
    gh.ConvertedToDraft: "convert_to_draft",
    gh.HeadForcePushed: "head_ref_force_pushed",
    ev.PullRequestMerged: "merged",
    ev.PullRequestClosed: "closed",
    gh.IssueClosed: "closed",
    gh.Reopened: "reopened",
    ev.Labeled: "labeled",
    gh.Unlabeled: "unlabeled",
    gh.Assigned: "assigned",
    gh.Milestoned: "milestoned",
    gh.Retitled: "renamed",
    gh.IssueLinked: "connected",
    ev.ReviewRequested: "review_requested",
    gh.ReviewRequestRemoved: "review_request_removed",
}


def timeline(of: st.Issue | st.PullRequest, base: str) -> list[Json]:
    """Everything that happened, oldest first."""
    rows = list(_timeline(of, base))
    rows.sort(key=lambda row: str(row.get("created_at") or row.get("submitted_at") or row["author"]["date"]))
    return rows


def _timeline(of: st.Issue | st.PullRequest, base: str) -> Iterator[Json]:
    api = f"{base}/repos/{of.repo.full_name}"
    for remark in of.comments:
        yield {"event": "commented", "actor": user(remark.author, base), **comment(remark, of, base)}
    if isinstance(of, st.PullRequest):
        for commit in of.commits:
            yield _committed(commit, of.repo, base)
        for it in of.reviews:
            web = f"{WEB}/{of.repo.full_name}/pull/{of.number}#pullrequestreview-{it.id}"
            pull = f"{api}/pulls/{of.number}"
            yield {
                "event": "reviewed",
                "id": it.id,
                "node_id": node_id("PRR", it.id),
                "user": user(it.author, base),
                "body": it.body,
                "state": it.state.lower(),
                "commit_id": it.oid,
                "html_url": web,
                "pull_request_url": pull,
                "_links": {"html": {"href": web}, "pull_request": {"href": pull}},
                "author_association": "MEMBER",
                "submitted_at": iso_seconds(it.at),
            }
    for number, event in of.timeline:
        name = _NAMES.get(type(event))
        if name is not None:
            yield _event(number, event, name, of, base)


def _event(number: int, event: ev.Event, name: str, of: st.Issue | st.PullRequest, base: str) -> Json:
    sha = event.sha if isinstance(event, ev.PullRequestMerged) else None
    if isinstance(event, gh.Assigned) and not event.assigned:
        name = "unassigned"
    shape: Json = {
        "id": number,
        "node_id": node_id("EV", number),
        "url": f"{base}/repos/{of.repo.full_name}/issues/events/{number}",
        "actor": user(ACCOUNTS[event.actor], base),  # type: ignore[attr-defined]
        "event": name,
        "commit_id": sha,
        "commit_url": f"{base}/repos/{of.repo.full_name}/commits/{sha}" if sha else None,
        "created_at": iso_seconds(event.at),
        "performed_via_github_app": None,
    }
    match event:
        case ev.Labeled() | gh.Unlabeled():
            shape["label"] = {"name": event.label, "color": "0e8a16"}
        case gh.Assigned():
            shape["assignee"] = user(ACCOUNTS[event.assignee], base)
        case gh.Milestoned():
            shape["milestone"] = {"title": event.milestone}
        case gh.Retitled():
            shape["rename"] = {"from": of.title, "to": event.title}
        case gh.IssueClosed():
            shape["state_reason"] = event.reason.lower()
        case ev.ReviewRequested() | gh.ReviewRequestRemoved():
            shape["review_requester"] = shape["actor"]
            if not event.reviewer.startswith("@"):
                shape["requested_reviewer"] = user(ACCOUNTS[event.reviewer], base)
    return shape


def _committed(it: ev.Commit, repo: st.Repo, base: str) -> Json:
    author, api = ACCOUNTS[it.author], f"{base}/repos/{repo.full_name}"
    who = {"name": author.git_name, "email": git_email(author)}
    return {
        "event": "committed",
        "sha": it.oid,
        "node_id": node_id("C", it.oid),
        "url": f"{api}/git/commits/{it.oid}",
        "html_url": f"{WEB}/{repo.full_name}/commit/{it.oid}",
        "author": {**who, "date": iso_seconds(it.authored_at)},
        "committer": {**who, "date": iso_seconds(it.committed_at)},
        "message": it.message,
        "tree": {"sha": it.oid, "url": f"{api}/git/trees/{it.oid}"},
        "parents": [],
        "verification": {
            "verified": False,
            "reason": "unsigned",
            "signature": None,
            "payload": None,
            "verified_at": None,
        },
    }
