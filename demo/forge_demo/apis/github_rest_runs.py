"""The bodies of GitHub's REST answers about runs, jobs, checks, deployments, releases and tags."""

from __future__ import annotations

from forge_demo import events as ev
from forge_demo import github_things as st
from forge_demo.apis.common import Json, iso_seconds
from forge_demo.apis.github_commits import git_email
from forge_demo.apis.github_objects import WEB, number_of
from forge_demo.apis.github_rest import owner, repository, user
from forge_demo.apis.github_runs import check_path
from forge_demo.github_places import ACCOUNTS, CREATED_AT, App, node_id


def run_status(it: st.WorkflowRun) -> str:
    """completed or in_progress."""
    return "in_progress" if it.conclusion is None else "completed"


def run(it: st.WorkflowRun, base: str) -> Json:
    """A workflow-run."""
    started, full, pull = it.started, it.repo.full_name, it.pull
    address, web = f"{base}/repos/{full}/actions/runs/{it.id}", f"{WEB}/{full}/actions/runs/{it.id}"
    workflow, suite = number_of(started.name), it.id + 1_000_000_000
    repo, actor = repository(it.repo, base), ACCOUNTS[started.actor]
    title = pull.title if pull else started.name.capitalize()
    return {
        "id": it.id,
        "name": started.name,
        "node_id": node_id("WFR", it.id),
        "check_suite_id": suite,
        "check_suite_node_id": node_id("CS", suite),
        "head_branch": started.branch,
        "head_sha": started.sha,
        "path": f".github/workflows/{started.name}.yml",
        "display_title": title,
        "run_number": it.number,
        "run_attempt": started.attempt,
        "event": it.event,
        "status": run_status(it),
        "conclusion": it.conclusion,
        "workflow_id": workflow,
        "url": address,
        "html_url": web,
        # GitHub names pull requests of the same repository only, not those of forks.
        "pull_requests": [_short_pull(pull, base)] if pull and pull.opened.fork is None else [],
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
        "head_commit": _simple_commit(it.repo, started.sha),
        "repository": repo,
        "head_repository": repo,
    }


def _simple_commit(repo: st.Repo, sha: str) -> Json:
    commit = repo.commits.get(sha) or repo.commits[repo.landed[0]]
    author = ACCOUNTS[commit.author]
    who = {"name": author.git_name, "email": git_email(author)}
    return {
        "id": sha,
        "tree_id": sha,
        "message": commit.message,
        "timestamp": iso_seconds(commit.committed_at),
        "author": who,
        "committer": who,
    }


def _short_pull(pull: st.PullRequest, base: str) -> Json:
    repo = pull.repo
    short = {"id": repo.place.id, "url": f"{base}/repos/{repo.full_name}", "name": repo.name}
    return {
        "id": pull.id,
        "number": pull.number,
        "url": f"{base}/repos/{repo.full_name}/pulls/{pull.number}",
        "head": {"ref": pull.opened.branch, "sha": pull.head, "repo": short},
        "base": {"ref": "main", "sha": repo.head, "repo": short},
    }


def job(it: st.Check, base: str) -> Json:
    """A job of a workflow run."""
    suite = it.suite
    assert suite.run is not None  # noqa: S101 (jobs are checks of runs)
    api, run_ = f"{base}/repos/{suite.repo.full_name}", suite.run
    return {
        "id": it.id,
        "run_id": run_.id,
        "workflow_name": run_.started.name,
        "head_branch": suite.branch,
        "run_url": f"{api}/actions/runs/{run_.id}",
        "run_attempt": it.attempt,
        "node_id": node_id("CR", it.id),
        "head_sha": suite.sha,
        "url": f"{api}/actions/jobs/{it.id}",
        "html_url": WEB + check_path(it),
        "status": "completed" if it.conclusion else "in_progress",
        "conclusion": it.conclusion,
        "created_at": iso_seconds(it.started_at),
        "started_at": iso_seconds(it.started_at),
        "completed_at": iso_seconds(it.completed_at),
        "name": it.name,
        "steps": [
            {
                "name": step.name,
                "status": "completed",
                "conclusion": step.conclusion,
                "number": number,
                "started_at": iso_seconds(step.started_at),
                "completed_at": iso_seconds(step.completed_at),
            }
            for number, step in enumerate(it.steps, 1)
        ],
        "check_run_url": f"{api}/check-runs/{it.id}",
        "labels": ["ubuntu-24.04"] if it.runner else [],
        "runner_id": number_of(it.runner) if it.runner else None,
        "runner_name": it.runner,
        "runner_group_id": 2 if it.runner else None,
        "runner_group_name": "GitHub Actions" if it.runner else None,
    }


def check_run(it: st.Check, base: str) -> Json:
    """A check-run."""
    suite = it.suite
    api = f"{base}/repos/{suite.repo.full_name}"
    address, web = f"{api}/check-runs/{it.id}", WEB + check_path(it)
    pull = suite.run.pull if suite.run else None
    return {
        "id": it.id,
        "name": it.name,
        "node_id": node_id("CR", it.id),
        "head_sha": suite.sha,
        "external_id": "",
        "url": address,
        "html_url": web,
        "details_url": web,
        "status": "completed" if it.conclusion else "in_progress",
        "conclusion": it.conclusion,
        "started_at": iso_seconds(it.started_at),
        "completed_at": iso_seconds(it.completed_at),
        "output": {
            "title": None,
            "summary": None,
            "text": None,
            "annotations_count": 0,
            "annotations_url": f"{address}/annotations",
        },
        "check_suite": {"id": suite.id},
        "app": app(suite.app, base),
        "pull_requests": [_short_pull(pull, base)] if pull and pull.opened.fork is None else [],
    }


def check_suite(it: st.Suite, base: str) -> Json:
    """A check-suite."""
    api, pull = f"{base}/repos/{it.repo.full_name}", it.run.pull if it.run else None
    return {
        "id": it.id,
        "node_id": node_id("CS", it.id),
        "head_branch": it.branch,
        "head_sha": it.sha,
        "status": "completed" if it.conclusion else "in_progress",
        "conclusion": it.conclusion,
        "url": f"{api}/check-suites/{it.id}",
        "before": None,
        "after": it.sha,
        "pull_requests": [_short_pull(pull, base)] if pull and pull.opened.fork is None else [],
        "app": app(it.app, base),
        "repository": repository(it.repo, base),
        "created_at": iso_seconds(it.created_at),
        "updated_at": iso_seconds(it.updated_at),
        "head_commit": _simple_commit(it.repo, it.sha),
        "latest_check_runs_count": len(it.latest()),
        "check_runs_url": f"{api}/check-suites/{it.id}/check-runs",
    }


def app(it: App, base: str) -> Json:
    """An integration."""
    return {
        "id": it.id,
        "slug": it.slug,
        "node_id": node_id("A", it.id),
        "owner": owner("acme-robotics", base),
        "name": it.name,
        "description": None,
        "external_url": f"https://{it.slug}.example",
        "html_url": f"{WEB}/apps/{it.slug}",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
        "permissions": {"checks": "write", "metadata": "read"},
        "events": ["push"],
    }


def deployment(it: st.Deployment, base: str) -> Json:
    """A deployment."""
    full = it.repo.full_name
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
        "creator": user(ACCOUNTS[it.created.actor], base),
        "created_at": iso_seconds(it.created.at),
        "updated_at": iso_seconds(it.updated_at),
        "statuses_url": f"{address}/statuses",
        "repository_url": f"{base}/repos/{full}",
        "transient_environment": False,
        "production_environment": it.created.environment == "production",
    }


def deployment_status(number: int, event: ev.DeploymentStatusCreated, of: st.Deployment, base: str) -> Json:
    """A deployment-status."""
    api = f"{base}/repos/{of.repo.full_name}"
    address = f"{api}/deployments/{of.id}"
    return {
        "url": f"{address}/statuses/{number}",
        "id": number,
        "node_id": node_id("DES", number),
        "state": event.state,
        "creator": user(ACCOUNTS[event.actor], base),
        "description": "",
        "environment": of.created.environment,
        "target_url": f"https://logs.acme-robotics.example/{number}",
        "created_at": iso_seconds(event.at),
        "updated_at": iso_seconds(event.at),
        "deployment_url": address,
        "repository_url": api,
        "environment_url": f"https://{of.created.environment}.acme-robotics.example",
        "log_url": f"https://logs.acme-robotics.example/{number}",
    }


def release(it: st.Release, base: str) -> Json:
    """A release."""
    full, tag = it.repo.full_name, it.created.tag
    address = f"{base}/repos/{full}/releases/{it.id}"
    return {
        "url": address,
        "html_url": f"{WEB}/{full}/releases/tag/{tag}",
        "assets_url": f"{address}/assets",
        "upload_url": f"{address}/assets{{?name,label}}",
        "tarball_url": f"{base}/repos/{full}/tarball/{tag}",
        "zipball_url": f"{base}/repos/{full}/zipball/{tag}",
        "id": it.id,
        "node_id": node_id("RE", it.id),
        "tag_name": tag,
        "target_commitish": "main",
        "name": it.created.name,
        "body": it.body,
        "draft": it.draft,
        "prerelease": it.created.prerelease,
        "immutable": False,
        "created_at": iso_seconds(it.created.at),
        "published_at": iso_seconds(it.published_at),
        "updated_at": iso_seconds(it.updated_at),
        "author": user(ACCOUNTS[it.created.author], base),
        "assets": [],
    }


def tag(it: st.Tag, base: str) -> Json:
    """A tag."""
    api, name = f"{base}/repos/{it.repo.full_name}", it.created.name
    return {
        "name": name,
        "commit": {"sha": it.created.sha, "url": f"{api}/commits/{it.created.sha}"},
        "zipball_url": f"{api}/zipball/refs/tags/{name}",
        "tarball_url": f"{api}/tarball/refs/tags/{name}",
        "node_id": node_id("REF", f"{it.repo.place.id}/refs/tags/{name}"),
    }
