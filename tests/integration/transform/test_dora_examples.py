"""The examples of docs/dora.md: its tables become bronze, and gold must say what the page computes by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import TransformSummary

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "dora.md"
SOURCES = {"sources": [{"name": "github", "type": "github"}, {"name": "jira", "type": "jira"}]}
END = datetime(2026, 3, 1, tzinfo=UTC)

Row = dict[str, Any]
Table = list[dict[str, str]]


def tables(example: int) -> list[Table]:
    """The tables of an example, in the page's order: rows by the names in their head."""
    text = PAGE.read_text().split(f"\n## Example {example}:")[1].split("\n## ")[0]
    found: list[list[list[str]]] = []
    last = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not last.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        last = line
    return [[dict(zip(head, cells, strict=True)) for cells in rows] for head, _, *rows in found]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


class Events:
    """What happened, as the sources would tell of it at any time."""

    def __init__(self) -> None:
        self.repositories: dict[str, int] = {}
        self.pull_requests: list[tuple[datetime, datetime, Row]] = []
        self.deployments: list[tuple[datetime, datetime, str, Row]] = []
        self.issues: list[tuple[datetime, datetime | None, Row]] = []
        self._ids = count(1)

    def repository(self, name: str) -> Row:
        return {"repository_id": self.repositories.setdefault(name, len(self.repositories) + 1), "repository": name}

    def change(
        self, repository: str, number: int, ticket: str, times: tuple[datetime, datetime, datetime], **more: Any
    ) -> None:
        """A pull request: its first commit, when it was opened, when it was merged."""
        first_commit, opened, merged = times
        row = self.repository(repository) | {
            "number": number,
            "node_id": f"{repository}#{number}",
            "url": f"https://github.com/{repository}/pull/{number}",
            "title": f"Change {number}",
            "head_ref": f"{ticket}-change" if ticket else "change",
            "head_sha": f"{repository}-head-{number}",
            "merge_commit_sha": f"{repository}-{number}",
            "first_commit_at": first_commit.isoformat(),
            "base_ref": "main",
        }
        self.pull_requests.append((opened, merged, row | more))
        if ticket and not any(issue["key"] == ticket for _, _, issue in self.issues):
            self.ticket(ticket, "Task", first_commit, None)

    def deployment(
        self, repository: str, of: str, created: datetime, ended: datetime, state: str, environment: str = "production"
    ) -> None:
        """A deployment of the commit that merged a pull request; of a commit that none merged when `of` is empty."""
        row = self.repository(repository) | {
            "deployment_id": next(self._ids),
            "environment": environment,
            "sha": f"{repository}-{of}" if of else "made by hand",
        }
        self.deployments.append((created, ended, state, row))

    def ticket(self, key: str, type_: str, created: datetime, resolved: datetime | None, cause: str = "") -> None:
        links = [{"type": "Problem/Incident", "direction": "inward", "id": "1", "key": cause}] if cause else []
        row = {
            "id": str(next(self._ids)),
            "key": key,
            "project_key": key.split("-")[0],
            "summary": key,
            "issue_type": type_,
            "status": "Open",
            "status_category": "new",
            "links": json.dumps(links),
        }
        self.issues.append((created, resolved, row))

    def told_at(self, now: datetime) -> dict[str, dict[str, list[Row]]]:
        """The rows of each source as they stand at a time."""
        github: dict[str, list[Row]] = {"repositories": [], "pull_requests": [], "deployments": []}
        for name in self.repositories:
            row = self.repository(name) | {"default_branch": "main", "topics": "[]"}
            github["repositories"].append(row | {"loaded_at": now.isoformat(), "created_at": "2025-01-01T00:00:00Z"})
        for opened, merged, row in self.pull_requests:
            if opened <= now:
                done = merged.isoformat() if merged <= now else None
                state = {"state": "MERGED" if done else "OPEN", "merged_at": done, "closed_at": done}
                if not done:
                    state["merge_commit_sha"] = None
                times = {"created_at": opened.isoformat(), "updated_at": done or opened.isoformat()}
                github["pull_requests"].append(row | times | state)
        for created, ended, outcome, row in self.deployments:
            if created <= now:
                statuses = [{"state": outcome, "createdAt": ended.isoformat()}] if ended <= now else []
                times = {"created_at": created.isoformat(), "updated_at": max(created, min(ended, now)).isoformat()}
                github["deployments"].append(row | times | {"statuses": json.dumps(statuses)})
        issues = []
        for created, resolved, row in self.issues:
            if created <= now:
                done = resolved.isoformat() if resolved and resolved <= now else None
                times = {"created_at": created.isoformat(), "updated_at": done or created.isoformat()}
                issues.append(row | times | {"resolved_at": done})
        return {"github": github, "jira": {"issues": issues}}


def add_changes(events: Events, repository: str, changes: Table, deployments: Table) -> None:
    for row in changes:
        first_commit, merged = moment(row["first commit"]), moment(row["merged"])
        opened = moment(row["opened"]) if "opened" in row else first_commit
        more: Row = {"base_ref": row.get("branch", "main")}
        if reverted := row.get("reverts"):
            more |= {"title": f'Revert "Change {reverted}"', "body": f"Reverts {repository}#{reverted}"}
        number = int(row["pull request"])
        events.change(repository, number, row["ticket"], (first_commit, opened, merged), **more)
    for row in deployments:
        times = moment(row["created"]), moment(row["ended"])
        events.deployment(repository, row["commit of"], *times, row["outcome"], row["environment"])


@pytest.fixture(scope="module")
def events() -> Events:
    """All examples, each in repositories of its own."""
    all_ = Events()
    changes, deployments, incidents, _ = tables(1)
    for row in incidents:
        all_.ticket(row["incident"], "Incident", moment(row["opened"]), moment(row["resolved"]), row["caused by"])
    add_changes(all_, "acme/shop", changes, deployments)

    (published,) = tables(2)
    for row in published:
        repository, hours = row["repository"], int(row["hours apart"])
        project = repository.split("/")[1].upper()
        named = row["incidents of deployment"].split(", ")
        for n in range(int(row["deployments"])):
            start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours * n)
            merged, ended = start + timedelta(hours=1), start + timedelta(hours=2)
            all_.change(repository, n + 1, f"{project}-{n + 1}", (start, start, merged))
            all_.deployment(repository, str(n + 1), merged, ended, "success")
        for k, failed in enumerate(named, 1):
            opened = datetime(2026, 1, 1, 3, tzinfo=UTC) + timedelta(hours=hours * (int(failed) - 1))
            all_.ticket(f"{project}OPS-{k}", "Incident", opened, opened + timedelta(hours=1), f"{project}-{failed}")

    changes, deployments, *_ = tables(3)
    add_changes(all_, "acme/api", changes, deployments)
    return all_


def gold(client: Client, repository: str, period: str, start: str) -> Row:
    """The row of a repository's period."""
    found = client.query(
        "select * from gold.dora_metrics "
        "where scope = 'repository' and scope_value = {repository:String} and period = {period:String} "
        "and period_start = {start:Date}",
        parameters={"repository": repository, "period": period, "start": start},
    )
    (row,) = found.named_results()
    return dict(row)


def assert_page(client: Client) -> None:
    """Gold says what the page says."""
    *_, numbers = tables(1)
    assert_numbers(gold(client, "acme/shop", "week", "2026-01-05"), numbers)

    (published,) = tables(2)
    for row in published:
        found = gold(client, row["repository"], "month", "2026-01-01")
        assert found["deployments"] == int(row["deployments"])
        assert found["change_fail_rate"] == pytest.approx(float(row["change_fail_rate"]), rel=1e-12), row

    _, _, outcomes, numbers = tables(3)
    assert_numbers(gold(client, "acme/api", "month", "2026-01-01"), numbers)
    linked = client.query(
        "select toString(pull_request_number), deployment_key, linked_by, coalesce(excluded_because, '') "
        "from gold.change_lead_times where repository = 'acme/api' order by pull_request_number"
    ).result_rows
    keys = client.query(
        "select deployment_key from silver.deployments where repository = 'acme/api' order by created_at"
    ).result_columns[0]
    told = [
        (
            row["pull request"],
            keys[int(d) - 1] if (d := row["deployment"]) else None,
            row["linked_by"],
            row["excluded_because"],
        )
        for row in outcomes
    ]
    assert [tuple(row) for row in linked] == told


def assert_numbers(found: Row, numbers: Table) -> None:
    assert numbers
    for row in numbers:
        assert found[row["column"]] == pytest.approx(float(row["value"]), rel=1e-12), row


def write(bronze: Any, load: Iterator[int], told: dict[str, dict[str, list[Row]]]) -> None:
    for source, entities in told.items():
        bronze.write(source, source, str(next(load)), **{name: rows for name, rows in entities.items() if rows})


def test_the_page(bronze: Any, client: Client, build: Callable[[Row], TransformSummary], events: Events) -> None:
    write(bronze, count(1_770_000_000), events.told_at(END))
    assert build(SOURCES).outcome == "succeeded"
    assert_page(client)


def test_the_page_as_it_happens(
    bronze: Any, client: Client, build: Callable[[Row], TransformSummary], events: Events
) -> None:
    """Loads that bring each thing while it is under way; every transform builds only what changed."""
    load = count(1_770_000_000)
    for now in ("2026-01-05 12:30", "2026-01-06 12:10", "2026-01-07 14:10", "2026-03-01 00:00"):
        write(bronze, load, events.told_at(moment(now)))
        assert build({**SOURCES, "loaded": ["github", "jira"]}).outcome == "succeeded"
    assert_page(client)
