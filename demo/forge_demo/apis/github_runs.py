"""GitHub's GraphQL objects of checks, workflow runs and deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import github_things as st
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_objects import WEB, Account, Connection, account, number_of, paging
from forge_demo.github_places import ACCOUNTS, node_id

if TYPE_CHECKING:
    from forge_demo.apis.github_commits import Commit, Ref
    from forge_demo.apis.github_graph import Graph, Repository

_FAILED = {"failure", "error", "cancelled", "timed_out", "startup_failure", "action_required"}


def rollup_state(contexts: Sequence[st.Check | st.CommitStatus]) -> str:
    """All checks of a commit in one word: ERROR, FAILURE, PENDING or SUCCESS, the worst first."""
    ends = {c.set.state if isinstance(c, st.CommitStatus) else c.conclusion for c in contexts}
    if "error" in ends:
        return "ERROR"
    if ends & _FAILED:
        return "FAILURE"
    return "PENDING" if ends & {None, "pending"} else "SUCCESS"


def contexts_of(repo: st.Repo, sha: str) -> list[st.Check | st.CommitStatus]:
    """What the rollup of a commit holds: the last run of each check, and the statuses."""
    found: list[st.Check | st.CommitStatus] = []
    for suite in repo.suites.get(sha, ()):
        found += suite.latest()
    return [*found, *repo.statuses.get(sha, {}).values()]


class StatusCheckRollup:
    """All checks of a commit."""

    typename = "StatusCheckRollup"

    def __init__(self, commit: Commit, contexts: list[st.Check | st.CommitStatus]) -> None:
        self.commit, self._contexts = commit, contexts

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("SCR", self.commit.oid)

    @property
    def state(self) -> str:
        """In one word."""
        return rollup_state(self._contexts)

    def contexts(self, info: Any, **given: Any) -> Connection:
        """Check runs, then statuses."""
        return Connection(self._contexts, self._shape, **paging(given))

    def _shape(self, it: st.Check | st.CommitStatus) -> CheckRun | StatusContext:
        graph = self.commit.repository.graph
        return CheckRun(it, graph) if isinstance(it, st.Check) else StatusContext(it, self.commit)


class StatusContext:
    """A legacy status."""

    typename, description = "StatusContext", "by Jenkins"

    def __init__(self, status: st.CommitStatus, commit: Commit) -> None:
        it = status.set
        self.id, self.commit, self.context, self.state = node_id("SC", status.id), commit, it.context, it.state.upper()
        self.created_at, self.creator = iso_seconds(it.at), account(ACCOUNTS[it.actor])
        self.target_url = f"https://ci.acme-robotics.example/{status.id}"

    def avatar_url(self, info: Any, **_: Any) -> str | None:
        """A picture that is not there."""
        return f"{WEB}/avatars/jenkins"


class App:
    """What reports checks."""

    typename = "App"

    def __init__(self, app: Any) -> None:
        self.database_id, self.id, self.name, self.slug = app.id, node_id("A", app.id), app.name, app.slug


class CheckSuite:
    """The checks of one app, or of one workflow run, on a commit."""

    typename = "CheckSuite"

    def __init__(self, suite: st.Suite, graph: Graph) -> None:
        self.suite, self._graph = suite, graph
        self.database_id, self.id, self.app = suite.id, node_id("CS", suite.id), App(suite.app)
        self.status = "IN_PROGRESS" if suite.conclusion is None else "COMPLETED"
        self.conclusion = suite.conclusion and suite.conclusion.upper()
        self.created_at, self.updated_at = iso_seconds(suite.created_at), iso_seconds(suite.updated_at)
        self.resource_path = f"/{suite.repo.full_name}/commit/{suite.sha}/checks?check_suite_id={suite.id}"
        self.url = WEB + self.resource_path

    @property
    def repository(self) -> Repository:
        """Where."""
        return self._graph.repository(self.suite.repo)

    @property
    def commit(self) -> Commit:
        """Of what."""
        return self.repository.commit(self.suite.sha)

    @property
    def branch(self) -> Ref:
        """Where it was pushed to."""
        from forge_demo.apis.github_commits import Ref

        return Ref(self.suite.branch, self.suite.sha, self.repository)

    @property
    def workflow_run(self) -> WorkflowRun | None:
        """None of other apps."""
        return WorkflowRun(self.suite.run, self._graph) if self.suite.run else None

    def check_runs(self, info: Any, **given: Any) -> Connection:
        """The last of each name, or all of them; by name, app, status, conclusion."""
        wanted = given.get("filter_by") or {}
        rows = self.suite.checks if wanted.get("checkType") == "ALL" else self.suite.latest()
        name, ends = wanted.get("checkName"), wanted.get("conclusions")
        states = wanted.get("statuses") or ([wanted["status"]] if wanted.get("status") else None)
        rows = [
            c
            for c in rows
            if name in (None, c.name)
            and wanted.get("appId") in (None, self.suite.app.id)
            and (not ends or (c.conclusion or "").upper() in ends)
            and (not states or ("COMPLETED" if c.conclusion else "IN_PROGRESS") in states)
        ]
        return Connection(rows, lambda check: CheckRun(check, self._graph), **paging(given))


class CheckRun:
    """One check."""

    typename, external_id, summary, text, title = "CheckRun", None, None, None, None

    def __init__(self, check: st.Check, graph: Graph) -> None:
        self._check, self._graph = check, graph
        self.database_id, self.name = check.id, check.name

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("CR", self._check.id)

    @property
    def status(self) -> str:
        """IN_PROGRESS or COMPLETED."""
        return "COMPLETED" if self._check.conclusion else "IN_PROGRESS"

    @property
    def conclusion(self) -> str | None:
        """None while it runs."""
        return self._check.conclusion.upper() if self._check.conclusion else None

    @property
    def started_at(self) -> str | None:
        """When it began."""
        return iso_seconds(self._check.started_at)

    @property
    def completed_at(self) -> str | None:
        """When it ended."""
        return iso_seconds(self._check.completed_at)

    @property
    def resource_path(self) -> str:
        """Its page without the host."""
        return check_path(self._check)

    @property
    def url(self) -> str:
        """Its page."""
        return WEB + check_path(self._check)

    @property
    def permalink(self) -> str:
        """Its page."""
        return self.url

    @property
    def details_url(self) -> str:
        """Where the app shows it."""
        app = self._check.suite.app.slug
        return self.url if app == "github-actions" else f"https://{app}.example/{self._check.id}"

    @property
    def check_suite(self) -> CheckSuite:
        """Its suite."""
        return self._graph.suite(self._check.suite)

    @property
    def repository(self) -> Repository:
        """Where."""
        return self._graph.repository(self._check.suite.repo)

    def steps(self, info: Any, **given: Any) -> Connection:
        """Of a job."""
        return Connection(list(enumerate(self._check.steps, 1)), lambda row: CheckStep(*row), **paging(given))


def check_path(check: st.Check) -> str:
    """The page of a check, without the host."""
    run, full = check.suite.run, check.suite.repo.full_name
    return f"/{full}/actions/runs/{run.id}/job/{check.id}" if run else f"/{full}/runs/{check.id}"


class CheckStep:
    """A step of a job."""

    typename, status = "CheckStep", "COMPLETED"

    def __init__(self, number: int, step: gh.Step) -> None:
        self.number, self.name, self.conclusion = number, step.name, step.conclusion.upper()
        self.started_at, self.completed_at = iso_seconds(step.started_at), iso_seconds(step.completed_at)


class WorkflowRun:
    """A workflow run."""

    typename = "WorkflowRun"

    def __init__(self, run: st.WorkflowRun, graph: Graph) -> None:
        self._run, self._graph = run, graph
        self.database_id, self.id, self.run_number = run.id, node_id("WFR", run.id), run.number
        self.created_at, self.updated_at, self.event = (
            iso_seconds(run.created_at),
            iso_seconds(run.updated_at),
            run.event,
        )
        self.resource_path = f"/{run.repo.full_name}/actions/runs/{run.id}"
        self.url = WEB + self.resource_path

    @property
    def check_suite(self) -> CheckSuite:
        """Its checks."""
        assert self._run.suite is not None  # noqa: S101 (every run has one)
        return self._graph.suite(self._run.suite)

    @property
    def workflow(self) -> dict[str, Any]:
        """What was run."""
        name = self._run.started.name
        number, path = number_of(name), f"/{self._run.repo.full_name}/actions/workflows/{name}.yml"
        shape = {"database_id": number, "id": node_id("W", number), "name": name}
        return shape | {"resource_path": path, "url": WEB + path}


# Deployments


class Deployment:
    """A deployment."""

    typename, description, task, ref = "Deployment", None, "deploy", None

    def __init__(self, deployment: st.Deployment, repository: Repository) -> None:
        self.deployment, self.repository = deployment, repository
        it = deployment.created
        self.database_id, self.id, self.commit_oid = deployment.id, node_id("DE", deployment.id), it.sha
        self.environment = self.latest_environment = self.original_environment = it.environment
        self.created_at, self.updated_at = iso_seconds(it.at), iso_seconds(deployment.updated_at)
        self.creator = account(ACCOUNTS[it.actor])
        self.state = {"success": "ACTIVE"}.get(deployment.state, deployment.state.upper())
        self.payload = PAYLOAD

    @property
    def commit(self) -> Commit:
        """What was deployed."""
        return self.repository.commit(self.commit_oid)

    @property
    def latest_status(self) -> DeploymentStatus | None:
        """The newest."""
        statuses = self.deployment.statuses
        return DeploymentStatus(statuses[-1][0], statuses[-1][1], self) if statuses else None

    def statuses(self, info: Any, **given: Any) -> Connection:
        """Newest first."""
        rows = self.deployment.statuses[::-1]
        return Connection(rows, lambda row: DeploymentStatus(row[0], row[1], self), lambda r: (-r[0],), **paging(given))


PAYLOAD = "{}"
"""What every deployment carries: GraphQL gives it as text."""


class DeploymentStatus:
    """A state of a deployment."""

    typename, description = "DeploymentStatus", None

    def __init__(self, number: int, event: ev.DeploymentStatusCreated, deployment: Deployment) -> None:
        self.id, self.state, self.deployment = node_id("DES", number), event.state.upper(), deployment
        self.created_at = self.updated_at = iso_seconds(event.at)
        self.creator: Account | None = account(ACCOUNTS[event.actor])
        self.environment = deployment.environment
        self.environment_url = f"https://{deployment.environment}.acme-robotics.example"
        self.log_url = f"https://logs.acme-robotics.example/{number}"
