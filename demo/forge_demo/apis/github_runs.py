"""GitHub's GraphQL objects of branches, checks, workflow runs and deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo import state as st
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_objects import Account, Connection, number_of, paging
from forge_demo.state import node_id

if TYPE_CHECKING:
    from forge_demo.apis.github_graph import Commit, Repository


class Ref:
    """A branch."""

    typename, prefix = "Ref", "refs/heads/"

    def __init__(self, name: str, oid: str, repository: Repository) -> None:
        self.name, self.id = name, node_id("REF", f"{repository.name}/{name}")
        self._oid, self._repository = oid, repository

    @property
    def target(self) -> Commit:
        """Its head."""
        return self._repository.graph.commit(self._oid, self._repository)


# Checks


class StatusCheckRollup:
    """All checks of a commit in one word."""

    typename = "StatusCheckRollup"

    def __init__(self, commit: Commit) -> None:
        self._commit, self.id = commit, node_id("SCR", commit.oid)
        ends = {run.conclusion for run in commit.runs}
        self.state = "FAILURE" if "failure" in ends else "PENDING" if None in ends else "SUCCESS"

    def contexts(self, info: Any, **given: Any) -> Connection:
        """The check runs."""
        return Connection(self._commit.runs, lambda run: CheckRun(run, self._commit), **paging(given))


class _App:
    typename, database_id, id, name, slug = "App", 15_368, node_id("A", 15_368), "GitHub Actions", "github-actions"


class CheckSuite:
    """One workflow run's checks."""

    typename, app = "CheckSuite", _App()

    def __init__(self, run: st.WorkflowRun, commit: Commit) -> None:
        self._run, self._commit = run, commit
        self.database_id = run.id + 1_000_000_000
        self.id, self.url = node_id("CS", self.database_id), f"{commit.url}/checks?check_suite_id={self.database_id}"
        self.status = "IN_PROGRESS" if run.conclusion is None else "COMPLETED"
        self.conclusion = run.conclusion and run.conclusion.upper()
        self.created_at, self.updated_at = iso_seconds(run.created_at), iso_seconds(run.updated_at)
        self.branch = Ref(run.started.branch, run.started.sha, commit.repository)
        self.workflow_run = _WorkflowRun(run, commit.repository)

    def check_runs(self, info: Any, **given: Any) -> Connection:
        """One check a workflow."""
        return Connection([self._run], lambda run: CheckRun(run, self._commit), **paging(given))


class CheckRun:
    """One check."""

    typename = "CheckRun"

    def __init__(self, run: st.WorkflowRun, commit: Commit) -> None:
        self._run, self._commit = run, commit
        self.database_id = run.id * 3 + run.started.attempt
        self.id, self.name = node_id("CR", self.database_id), run.started.name
        self.status = "IN_PROGRESS" if run.conclusion is None else "COMPLETED"
        self.conclusion = run.conclusion and run.conclusion.upper()
        self.started_at = iso_seconds(run.started.at)
        self.completed_at = iso_seconds(run.updated_at) if run.conclusion else None
        self.url = self.details_url = f"{commit.repository.url}/actions/runs/{run.id}/job/{self.database_id}"

    @property
    def check_suite(self) -> CheckSuite:
        """Its suite."""
        return CheckSuite(self._run, self._commit)


class _WorkflowRun:
    typename = "WorkflowRun"

    def __init__(self, run: st.WorkflowRun, repository: Repository) -> None:
        self.database_id, self.id, self.run_number = run.id, node_id("WFR", run.id), run.number
        self.created_at, self.updated_at = iso_seconds(run.created_at), iso_seconds(run.updated_at)
        self.event, self.url = "pull_request" if run.started.ref else "push", f"{repository.url}/actions/runs/{run.id}"
        number = number_of(run.started.name)
        self.workflow = {"database_id": number, "id": node_id("W", number), "name": run.started.name}


# Deployments


class Deployment:
    """A deployment."""

    typename, description, task, ref = "Deployment", None, "deploy", None

    def __init__(self, deployment: st.Deployment, repository: Repository) -> None:
        self._deployment, self.repository = deployment, repository
        it = deployment.created
        self.database_id, self.id, self.commit_oid = deployment.id, node_id("DE", deployment.id), it.sha
        self.environment = self.latest_environment = self.original_environment = it.environment
        self.created_at, self.updated_at = iso_seconds(it.at), iso_seconds(deployment.updated_at)
        self.creator = Account(org.BY_LOGIN[it.actor])
        last = deployment.statuses[-1][1].state if deployment.statuses else "pending"
        self.state = {"success": "ACTIVE"}.get(last, last.upper())

    @property
    def commit(self) -> Commit:
        """What was deployed."""
        return self.repository.graph.commit(self.commit_oid, self.repository)

    @property
    def latest_status(self) -> DeploymentStatus | None:
        """The newest."""
        statuses = self._deployment.statuses
        return DeploymentStatus(statuses[-1][0], statuses[-1][1], self) if statuses else None

    def statuses(self, info: Any, **given: Any) -> Connection:
        """Newest first."""
        rows = list(reversed(self._deployment.statuses))
        return Connection(rows, lambda row: DeploymentStatus(row[0], row[1], self), **paging(given))


class DeploymentStatus:
    """A state of a deployment."""

    typename, description, environment_url, log_url = "DeploymentStatus", None, None, None

    def __init__(self, number: int, event: ev.DeploymentStatusCreated, deployment: Deployment) -> None:
        self.id, self.state, self.deployment = node_id("DES", number), event.state.upper(), deployment
        self.created_at = self.updated_at = iso_seconds(event.at)
        self.creator, self.environment = Account(org.BY_LOGIN[event.actor]), deployment.environment
