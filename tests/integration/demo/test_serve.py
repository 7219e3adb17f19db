"""The real process: the APIs walked from end to end say what the ground truth says, Prometheus included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from forge_demo import metrics, truth
from forge_demo.settings import read_moment
from forge_demo.world import World

END, DAYS, SEED = "2026-11-01T10:30:00Z", 20, 5
GITHUB = {"Authorization": "Bearer ghp_demo"}


@dataclass
class Demo:
    process: subprocess.Popen[str]
    urls: dict[str, str]
    ready: dict[str, Any]
    seconds: float

    def truth(self, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = httpx.get(
            f"{self.urls['world']}/truth", params={"table": table}, timeout=60
        ).json()
        return rows

    def post(self, path: str, body: Any) -> dict[str, Any]:
        answer = httpx.post(self.urls["world"] + path, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def start(*options: str, log: Path) -> Demo:
    command = [str(Path(sys.executable).parent / "forge-demo"), "serve", "--end", END, "--days", str(DAYS)]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--seed", str(SEED), *options], stdout=subprocess.PIPE, stderr=log.open("w"), text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    ready = json.loads(line)
    return Demo(process, ready["urls"], ready, time.monotonic() - began)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "log"
    running = start("--metrics-days", "2", log=log)
    yield running
    running.process.terminate()
    assert running.process.wait(60) == 0, log.read_text()


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def test_github_says_the_truth(demo: Demo) -> None:
    query = """query($name: String!, $after: String) { repository(owner: "acme-robotics", name: $name) {
      nameWithOwner pullRequests(first: 40, after: $after, orderBy: {field: UPDATED_AT, direction: ASC}) {
        pageInfo { hasNextPage endCursor }
        nodes { number id title state updatedAt mergedAt additions deletions changedFiles headRefOid reviewDecision
          author { login __typename } labels(first: 20) { nodes { name } } commits(first: 100) { totalCount }
          reviews(first: 100) { nodes { state submittedAt author { login } } }
          timelineItems(first: 10, itemTypes: [READY_FOR_REVIEW_EVENT]) {
            nodes { ... on ReadyForReviewEvent { createdAt } } } } } } }"""
    seen = {}
    names = ("fleet-api", "fleet-web", "pay-core", "fleet-legacy", "handbook", "telemetry", "sandbox")
    for name in names:  # beside the one whose pull request does not fit in pages
        after, more = None, True
        while more:
            body = {"query": query, "variables": {"name": name, "after": after}}
            url = demo.urls["github"].replace("/v3", "/graphql")
            repository = httpx.post(url, json=body, headers=GITHUB, timeout=60).json()["data"]["repository"]
            page = repository["pullRequests"]
            seen |= {(repository["nameWithOwner"], pull["number"]): pull for pull in page["nodes"]}
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    rows = {
        (row["repository"], row["number"]): row
        for row in demo.truth("github_pull_requests")
        if row["repository"] != "acme-robotics/atlas"
    }
    assert seen.keys() == rows.keys()
    for key, row in rows.items():
        pull = seen[key]
        for ours, theirs in (
            ("title", "title"),
            ("state", "state"),
            ("node_id", "id"),
            ("additions", "additions"),
            ("deletions", "deletions"),
            ("changed_files", "changedFiles"),
            ("head_sha", "headRefOid"),
            ("review_decision", "reviewDecision"),
        ):
            assert row[ours] == pull[theirs], (key, ours)
        assert (moment(row["updated_at"]), moment(row["merged_at"])) == (
            moment(pull["updatedAt"]),
            moment(pull["mergedAt"]),
        )
        author = pull["author"] or {"login": None, "__typename": None}
        assert (row["author_login"], row["author_type"]) == (author["login"], author["__typename"])
        assert row["labels"] == [label["name"] for label in pull["labels"]["nodes"]]
        assert row["commits_count"] == pull["commits"]["totalCount"]
        assert [(r["author"], r["state"]) for r in row["reviews"]] == [
            ((r["author"] or {"login": None})["login"], r["state"]) for r in pull["reviews"]["nodes"]
        ]
        ready = [moment(event["createdAt"]) for event in pull["timelineItems"]["nodes"]]
        assert moment(row["ready_for_review_at"]) == (ready[-1] if ready else None)


def test_jira_says_the_truth(demo: Demo) -> None:
    auth = ("observer@acme-robotics.example", "jira-demo")
    jql = "project in (FLEET, PAY) AND updated >= 1000000000000 ORDER BY updated ASC, key ASC"
    issues, token = [], None
    while True:
        query = {"jql": jql, "fields": "*all", "maxResults": 50} | ({"nextPageToken": token} if token else {})
        page = httpx.get(f"{demo.urls['jira']}/rest/api/3/search/jql", params=query, auth=auth, timeout=60).json()
        issues += page["issues"]
        token = page.get("nextPageToken")
        if token is None:
            break
    rows = {row["key"]: row for row in demo.truth("jira_issues")}
    assert [i["key"] for i in issues] == sorted(rows, key=lambda key: rows[key]["updated_at"])
    for issue in issues:
        row, fields = rows[issue["key"]], issue["fields"]
        assert (row["id"], row["summary"]) == (issue["id"], fields["summary"])
        assert (row["status"], row["status_category"]) == (
            fields["status"]["name"],
            fields["status"]["statusCategory"]["key"],
        )
        assert row["assignee_name"] == (fields["assignee"] or {}).get("displayName")
        assert moment(row["updated_at"]) == moment(fields["updated"])
        assert moment(row["resolved_at"]) == moment(fields["resolutiondate"])
        assert row["parent_key"] == fields.get("parent", {}).get("key")
        assert row["custom_fields"] == {name: fields[name] for name in row["custom_fields"]}
    items, token = set(), None
    while True:
        body = {"issueIdsOrKeys": list(rows), "maxResults": 300} | ({"nextPageToken": token} if token else {})
        url = f"{demo.urls['jira']}/rest/api/3/changelog/bulkfetch"
        page = httpx.post(url, json=body, auth=auth, timeout=60).json()
        for log in page["issueChangeLogs"]:
            for history in log["changeHistories"]:
                for index, item in enumerate(history["items"]):
                    made = moment(history["created"])
                    items.add(
                        (
                            log["issueId"],
                            history["id"],
                            index,
                            made,
                            item["field"],
                            item["fromString"],
                            item["toString"],
                        )
                    )
        token = page.get("nextPageToken")
        if token is None:
            break
    assert items == {
        (
            r["issue_id"],
            r["history_id"],
            r["item_index"],
            moment(r["created_at"]),
            r["field"],
            r["from_string"],
            r["to_string"],
        )
        for r in demo.truth("jira_issue_changelogs")
    }


def test_langfuse_says_the_truth_by_cursor_and_by_page(demo: Demo) -> None:
    auth = ("pk-lf-demo", "sk-lf-demo")
    rows = {row["id"]: row for row in demo.truth("langfuse_observations")}
    seen: dict[str, Any] = {}
    cursor, more = None, True
    query: dict[str, Any] = {
        "fields": "basic,time,model,usage,prompt,metadata",
        "limit": 500,
        "expandMetadata": "summary",
    }
    while more:
        url = f"{demo.urls['langfuse']}/api/public/v2/observations"
        page = httpx.get(url, params=query | ({"cursor": cursor} if cursor else {}), auth=auth, timeout=60).json()
        seen |= {row["id"]: row for row in page["data"]}
        cursor = page["meta"].get("cursor")
        more = cursor is not None
    legacy: dict[str, Any] = {}
    number, pages = 1, 1
    while number <= pages:
        url = f"{demo.urls['langfuse']}/api/public/observations"
        page = httpx.get(url, params={"page": number, "limit": 100}, auth=auth, timeout=60).json()
        legacy |= {row["id"]: row for row in page["data"]}
        number, pages = number + 1, page["meta"]["totalPages"]
    assert seen.keys() == legacy.keys() == rows.keys()
    for key, row in rows.items():
        new, old = seen[key], legacy[key]
        for found in (new, old):
            assert (row["trace_id"], row["parent_observation_id"]) == (found["traceId"], found["parentObservationId"])
            assert (row["type"], row["name"], row["model"]) == (found["type"], found["name"], found["model"])
            assert row["usage_details"] == found["usageDetails"]
            assert row["metadata"] == found["metadata"]
            assert moment(row["updated_at"]) == moment(found["updatedAt"])
            assert moment(row["start_time"]) == moment(found["startTime"])
        costs = [None if c is None else Decimal(str(c)) for c in (new["totalCost"], old["calculatedTotalCost"])]
        assert costs == [None if row["total_cost"] is None else Decimal(row["total_cost"])] * 2


def test_prometheus_holds_every_sample(demo: Demo) -> None:
    world = World.build(SEED, end=read_moment(END, floor_hour=True), days=DAYS)
    end = world.now.timestamp()
    check_samples(demo, world, end - 26 * 3600, end)


def check_samples(demo: Demo, world: World, begin: float, end: float) -> None:
    query = {"query": '{__name__=~"forge_.+"}', "start": begin, "end": end, "step": metrics.STEP}
    answer = httpx.post(f"{demo.urls['prometheus']}/api/v1/query_range", data=query, timeout=60).json()
    found = {
        tuple(sorted(one["metric"].items())): [(int(at), float(value)) for at, value in one["values"]]
        for one in answer["data"]["result"]
    }
    expected = {
        tuple(sorted({"__name__": one.name, **one.labels}.items())): list(one.samples(begin - 1, end))
        for one in metrics.series(world.past)
    }
    assert found.keys() == expected.keys()
    for key, samples in expected.items():
        assert [at for at, _ in found[key]] == [at for at, _ in samples]
        assert [v for _, v in found[key]] == pytest.approx([v for _, v in samples], rel=1e-11), key


def test_the_world_moves_on_in_all_four(demo: Demo) -> None:
    """After the others, as it changes what they look at."""
    world = World.build(SEED, end=read_moment(END, floor_hour=True), days=DAYS)
    told = demo.post("/advance", {"hours": 30})
    world.advance(read_moment("2026-11-02T16:30:00Z", floor_hour=True))
    assert told["now"] == truth.plain(world.now)
    assert told["events"] > 0
    check_samples(demo, world, world.now.timestamp() - 32 * 3600, world.now.timestamp())
    made = demo.post("/tickets", {"count": 2, "minutes": 10})["tickets"]
    told = httpx.get(f"{demo.urls['world']}/truth", timeout=60).json()
    tickets = {ticket["ticket_key"]: ticket for ticket in told["tickets"]}
    assert all(tickets[key]["traces"] > 0 and tickets[key]["merged_pull_requests"] > 0 for key in made[:1])
    github_test_rows = demo.truth("github_pull_requests")
    assert any(row["title"].startswith(f"{made[0]}: ") for row in github_test_rows)
    test_github_says_the_truth(demo)
    test_jira_says_the_truth(demo)
    test_langfuse_says_the_truth_by_cursor_and_by_page(demo)
    assert httpx.post(f"{demo.urls['world']}/advance", json={"weeks": 1}).status_code == 400


def test_it_stops_with_its_child_and_leaves_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    os.environ["FORGE_WORK_DIR"] = str(work)
    try:
        running = start("--metrics-days", "1", log=tmp_path / "log")
    finally:
        del os.environ["FORGE_WORK_DIR"]
    assert list(work.iterdir())
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert list(work.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.urls['prometheus']}/-/ready")


def test_faults_reach_the_wire(tmp_path: Path) -> None:
    running = start("--no-prometheus", log=tmp_path / "log")
    try:
        url = f"{running.urls['github']}/repos/acme-robotics/pay-core"
        running.post("/faults", {"path": "/pay-core", "truncate_bytes": 20})
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url, headers=GITHUB)
        running.post(
            "/faults", {"path": "/pay-core", "status": 403, "headers": {"Retry-After": "7"}, "body": "slow down"}
        )
        limited = httpx.get(url, headers=GITHUB)
        assert (limited.status_code, limited.headers["retry-after"]) == (403, "7")
        running.post("/settings", {"latency_seconds": 0.2})
        began = time.monotonic()
        assert httpx.get(url, headers=GITHUB).status_code == 200
        assert time.monotonic() - began >= 0.2
        assert httpx.get(running.urls["world"]).json()["requests"] == {"github": 3}
    finally:
        running.process.kill()
        running.process.wait(10)


def test_without_prometheus_it_says_what_to_install(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "forge-demo"), "serve", "--end", END, "--days", "3"]
    environment = {"PATH": str(tmp_path), "FORGE_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "install Debian's package prometheus" in done.stderr
    assert "--no-prometheus" in done.stderr
