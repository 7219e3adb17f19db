"""Silver of GitHub and Jira, load by load: what one load changes in partitions that it brings no row of.

Each step says what must be seen; now and then everything is built anew, and must come out as it had grown.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import StoreDsn
from forge_transform import project_dir
from forge_transform.build import profile_environment

sys.path.insert(0, str(Path(__file__).parent))

from test_partitions import Project, Staging

pytestmark = pytest.mark.slow

MODELS = (
    "moved_tickets",
    "repositories",
    "jira_projects",
    "statuses",
    "account_sightings",
    "actors",
    "jira_issues",
    "ticket_stages",
    "pull_requests",
    "pull_request_reviews",
    "pull_request_commits",
    "pull_request_events",
    "ci_runs",
    "deployments",
)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with staging and these models; workflows named Deploy deploy."""
    folder = tmp_path_factory.mktemp("silver")
    shared = ("profiles.yml", "macros", "models/staging", "tests/generic")
    for part in (*shared, *(f"models/silver/{model}.{kind}" for model in MODELS for kind in ("sql", "yml"))):
        origin = project_dir() / part
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(origin, folder / part) if origin.is_dir() else shutil.copy(origin, folder / part)
    project = (project_dir() / "dbt_project.yml").read_text()
    pattern = 'deployment_workflow_pattern: ""'
    assert pattern in project
    (folder / "dbt_project.yml").write_text(project.replace(pattern, 'deployment_workflow_pattern: "^Deploy"'))
    return folder


@dataclass
class Silver:
    """Bronze of one GitHub and one Jira, and silver over it."""

    staging: Staging
    loads: int = 0

    def load(self, type_: str, **entities: list[Row]) -> None:
        """A load, and a transform of it alone; the first one builds everything."""
        self.loads += 1
        self.staging.bronze.write(type_, type_, str(self.loads), **entities)
        self.staging.transform(*(["--full-refresh"] if self.loads == 1 else ["--select", f"source:{type_}+"]))

    def grown(self) -> None:
        """What has grown is what a full refresh makes of the same bronze."""
        before = {model: self.staging.project.rows(model) for model in MODELS}
        self.staging.transform("--full-refresh")
        for model in MODELS:
            whole = self.staging.project.rows(model)
            assert (before[model] - whole, whole - before[model]) == ({}, {}), model

    def rows(self, table: str, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Some columns of a table, sorted."""
        return sorted(self.staging.project.rows(table, columns, where).elements(), key=repr)

    def parts(self, table: str) -> set[tuple[str, str]]:
        """Partitions and parts of a table."""
        found = self.staging.project.client.query(
            f"select partition, name from system.parts where database = 'silver' and table = '{table}' and active"
        )
        return {(partition, name) for partition, name in found.result_rows}


@pytest.fixture
def silver(
    folder: Path, client: Client, bronze: Any, dsn: StoreDsn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Silver]:
    for name, value in profile_environment(dsn).items():
        monkeypatch.setenv(name, value)
    project = Project(folder, client, [{"name": "github", "type": "github"}, {"name": "jira", "type": "jira"}])
    yield Silver(Staging(project, bronze))


def pull(number: int, at: str, title: str, updated: str, **more: Any) -> Row:
    """A pull request, created at a day; it has one commit, `c<number>`, whose message names no ticket."""
    commits = more.pop("commits", [{"oid": f"c{number}", "author": "ann", "authorType": "User", "message": "Work"}])
    return {
        "repository_id": 1,
        "repository": "o/r",
        "number": number,
        "created_at": f"{at} 00:00:00",
        "updated_at": f"{updated} 00:00:00",
        "title": title,
        "state": "OPEN",
        "head_ref": "work",
        "base_ref": "main",
        "head_sha": f"c{number}",
        "author_login": "ann",
        "author_type": "User",
        "url": f"https://github/o/r/pull/{number}",
        "reviews": json.dumps([{"id": number, "author": "bea", "authorType": "User", "state": "APPROVED"}]),
        "events": json.dumps([{"type": "ready_for_review", "at": f"{at}T10:00:00Z", "actor": "ann"}]),
        "commits": json.dumps(commits),
        **more,
    }


def run(id_: int, at: str, sha: str, name: str = "CI", **more: Any) -> Row:
    """A workflow run that succeeded at once."""
    return {
        "repository_id": 1,
        "repository": "o/r",
        "run_id": id_,
        "updated_at": f"{at} 01:00:00",
        "name": name,
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "run_attempt": 1,
        "head_branch": "main",
        "head_sha": sha,
        "created_at": f"{at} 00:00:00",
        "run_started_at": f"{at} 00:00:00",
        "pull_requests": "[]",
        **more,
    }


def issue(id_: str, key: str, at: str, updated: str, status: str, category: str, **more: Any) -> Row:
    """An issue, created at a day."""
    return {
        "id": id_,
        "key": key,
        "project_key": key.split("-")[0],
        "issue_type": "Story",
        "status": status,
        "status_category": category,
        "created_at": f"{at} 00:00:00",
        "updated_at": f"{updated} 00:00:00",
        "reporter_id": "j-1",
        "reporter_name": "Ann",
        "creator_id": "j-1",
        "creator_name": "Ann",
        **more,
    }


def change(issue_id: str, history: str, at: str, name: str, before: str, after: str) -> Row:
    """A change of a field of an issue."""
    return {
        "issue_id": issue_id,
        "history_id": history,
        "item_index": 0,
        "created_at": f"{at} 00:00:00",
        "field": name,
        "from_string": before,
        "to_string": after,
        "author_id": "j-2",
        "author_name": "Forge Coder",
    }


def test_what_a_load_changes_elsewhere(silver: Silver) -> None:
    # Nothing is known of Jira: every key counts, a run of an unknown commit belongs to nothing.
    silver.load(
        "github",
        pull_requests=[
            pull(1, "2026-01-10", 'Add "x"', "2026-01-20", head_ref="OPS-3-x", merged_at="2026-01-20 00:00:00"),
            pull(2, "2026-02-10", 'Revert "Add "x""', "2026-02-10"),
            pull(3, "2026-02-11", "PAY-1, UTF-8", "2026-02-11"),
        ],
        workflow_runs=[
            run(10, "2026-03-01", "c9"),
            run(11, "2026-01-11", "c1", pull_requests="[1]"),
            run(12, "2026-01-21", "m1", "Deploy"),
        ],
    )
    tickets = "pull_request_number, ticket_key, ticket_keys, reverts_number"
    assert silver.rows("pull_requests", tickets) == [
        (1, "OPS-3", "['OPS-3']", None),
        (2, "", "[]", 1),
        (3, "PAY-1", "['PAY-1', 'UTF-8']", None),
    ]
    runs = "run_id, run_attempt, pull_request_number, ticket_key"
    assert silver.rows("ci_runs", runs) == [(10, 1, None, ""), (11, 1, 1, "OPS-3"), (12, 1, None, "")]
    assert silver.rows("deployments", "deployment_key") == []  # the default branch is not known

    # Jira's first load makes keys of unknown projects words like others.
    silver.load("jira", issues=[issue("1", "PAY-1", "2026-01-05", "2026-01-06", "Ready", "new")])
    assert silver.rows("pull_requests", tickets) == [
        (1, "", "[]", None),
        (2, "", "[]", 1),
        (3, "PAY-1", "['PAY-1']", None),
    ]
    assert silver.rows("ci_runs", runs)[1] == (11, 1, 1, "")

    # A ticket that moved makes its former project known, and its former key its own.
    silver.load(
        "jira",
        issues=[issue("2", "PAY-7", "2026-02-05", "2026-02-09", "Ready", "new")],
        issue_changelogs=[change("2", "20", "2026-02-08", "Key", "OPS-3", "PAY-7")],
    )
    assert silver.rows("jira_projects", "project_key") == [("OPS",), ("PAY",)]
    assert silver.rows("pull_requests", "ticket_key, key_found", "pull_request_number = 1") == [("PAY-7", "OPS-3")]
    for table in ("pull_request_reviews", "pull_request_commits", "pull_request_events"):
        assert silver.rows(table, "ticket_key", "pull_request_number = 1") == [("PAY-7",)], table
    assert silver.rows("ci_runs", runs)[1] == (11, 1, 1, "PAY-7")
    silver.grown()

    # The repository's default branch makes a deployment of what ran on it.
    place = {"repository_id": 1, "repository": "o/r", "default_branch": "main", "topics": "[]"}
    silver.load("github", repositories=[place | {"loaded_at": "2026-03-02 00:00:00"}])
    assert silver.rows("deployments", "deployment_key, outcome") == [("workflow:1/12", "succeeded")]

    # A new name is the name of everything that there is of the repository.
    silver.load("github", repositories=[place | {"repository": "o/new", "loaded_at": "2026-03-03 00:00:00"}])
    for table in (
        "pull_requests",
        "pull_request_reviews",
        "pull_request_commits",
        "pull_request_events",
        "ci_runs",
        "deployments",
    ):
        assert silver.rows(table, "distinct repository") == [("o/new",)], table

    # A pull request has the commit of an old run; another one lost the title that a revert quotes.
    before = silver.parts("pull_requests")
    silver.load(
        "github",
        pull_requests=[
            pull(4, "2026-04-01", "PAY-7: more", "2026-04-01", head_sha="c9"),
            pull(1, "2026-01-10", "Add y", "2026-04-01", head_ref="OPS-3-x", merged_at="2026-01-20 00:00:00"),
        ],
    )
    assert silver.rows("ci_runs", runs)[0] == (10, 1, 4, "PAY-7")
    assert silver.rows("pull_requests", "reverts_number", "pull_request_number = 2") == [(None,)]
    assert {partition for partition, _ in silver.parts("pull_requests") - before} == {"202601", "202602", "202604"}

    # Where there are deployments, workflows are none. Jobs tell of earlier attempts of an old run.
    place = {"repository_id": 1, "repository": "o/new"}
    times = {"created_at": "2026-04-02 00:00:00", "updated_at": "2026-04-02 00:00:00"}
    job = place | {"run_id": 11, "loaded_at": "2026-04-03 00:00:00"}
    silver.load(
        "github",
        deployments=[place | times | {"deployment_id": 5, "environment": "staging", "sha": "c4", "statuses": "[]"}],
        workflow_runs=[run(11, "2026-01-11", "c1", run_attempt=2, pull_requests="[1]", updated_at=times["updated_at"])],
    )
    assert silver.rows("deployments", "deployment_key, outcome") == [("github:1/5", "pending")]
    silver.load(
        "github",
        workflow_jobs=[
            job | {"job_id": 1, "run_attempt": 1, "conclusion": "timed_out", "created_at": "2026-01-11 00:00:00"},
            job | {"job_id": 2, "run_attempt": 2, "conclusion": "success", "created_at": "2026-01-30 00:00:00"},
        ],
    )
    attempts = "run_attempt, conclusion, is_last_attempt"
    assert silver.rows("ci_runs", attempts, "run_id = 11") == [(1, "failure", False), (2, "success", True)]
    silver.grown()

    # The category of a status changed: an issue of another month tells so. Changes come without their issue.
    kinds = "ticket_key, stage_index, status, status_kind, is_reentry"
    assert silver.rows("ticket_stages", kinds) == [
        ("PAY-1", 1, "Ready", "queue", False),
        ("PAY-7", 1, "Ready", "queue", False),
    ]
    silver.load(
        "jira",
        issues=[issue("3", "PAY-8", "2026-03-01", "2026-03-02", "Ready", "indeterminate")],
        issue_changelogs=[
            change("1", "30", "2026-01-07", "status", "Ready", "In Review"),
            change("1", "31", "2026-03-07", "status", "In Review", "Ready"),
        ],
    )
    assert silver.rows("ticket_stages", kinds) == [
        ("PAY-1", 1, "Ready", "active", False),
        ("PAY-1", 2, "In Review", "waiting", False),
        ("PAY-1", 3, "Ready", "active", True),
        ("PAY-7", 1, "Ready", "active", False),
        ("PAY-8", 1, "Ready", "active", False),
    ]

    # A project made anew: its ticket takes the key, and gives it back when it is gone. A key in use is no former one.
    tickets = "ticket_key, issue_id, former_keys"
    silver.load(
        "jira",
        issues=[
            issue("9", "PAY-1", "2026-05-01", "2026-05-02", "Ready", "indeterminate"),
            issue("8", "OPS-3", "2026-05-01", "2026-05-02", "Done", "done"),
        ],
    )
    assert silver.rows("jira_issues", tickets) == [
        ("OPS-3", "8", "[]"),
        ("PAY-1", "9", "[]"),
        ("PAY-7", "2", "[]"),
        ("PAY-8", "3", "[]"),
    ]
    assert silver.rows("pull_requests", "ticket_key", "pull_request_number = 1") == [("OPS-3",)]
    gone = {"entity": "issues", "deleted_at": "2026-05-03 00:00:00", "reason": "deleted"}
    silver.load("jira", deletions=[gone | {"entity_key": '["9"]'}, gone | {"entity_key": '["8"]'}])
    assert silver.rows("jira_issues", tickets) == [
        ("PAY-1", "1", "[]"),
        ("PAY-7", "2", "['OPS-3']"),
        ("PAY-8", "3", "[]"),
    ]
    assert silver.rows("pull_requests", "ticket_key", "pull_request_number = 1") == [("PAY-7",)]
    assert silver.rows("actors", "account, identity, actor_kind", "system = 'jira'") == [
        ("j-1", "ann", "human"),
        ("j-2", "jira:j-2", "agent"),
    ]
    silver.grown()


def test_a_load_without_news_writes_nothing(silver: Silver) -> None:
    rows = {
        "pull_requests": [pull(1, "2026-01-10", "PAY-1", "2026-01-20")],
        "workflow_runs": [run(11, "2026-01-11", "c1")],
    }
    silver.load("github", **rows)
    silver.load("jira", issues=[issue("1", "PAY-1", "2026-01-05", "2026-01-06", "Ready", "new")])
    before = {model: silver.parts(model) for model in MODELS}
    silver.load("github", **rows)
    assert {model: silver.parts(model) for model in MODELS} == before
