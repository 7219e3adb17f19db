"""Jira: a client that checks Jira's published models takes every answer; paging, JQL and refusals are Jira's."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from forge_demo import truth_jira
from forge_demo.apis.common import Live
from forge_demo.apis.jql import JqlError, parse
from forge_demo.jira_places import PROJECTS, SCHEMAS
from forge_demo.jira_state import Issue
from forge_demo.truth_jira import LOADED
from starlette.testclient import TestClient

EMAIL, TOKEN = "observer@acme-robotics.example", "jira-demo"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode()}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SEARCH = "/jira/rest/api/3/search/jql"


def test_the_published_models_take_every_answer(served: str, jira_js: Path, live: Live) -> None:
    program = Path(__file__).parent / "jira.mjs"
    command = ["node", str(program), str(jira_js), f"{served}/jira", EMAIL, TOKEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    site = live.world.state.site
    issues = sorted((i for i in site.issues.values() if i.project in LOADED), key=lambda i: i.updated_at)
    assert seen["keys"] == [issue.key for issue in issues]
    assert seen["histories"] == sum(len(issue.histories) for issue in issues)
    assert seen["one"] == len(issues[0].histories)
    assert (seen["zone"], seen["kind"]) == ("Europe/Berlin", "Cloud")
    assert set(seen["custom"]) == set(SCHEMAS)
    assert seen["projects"] == ["FLEET", "PAY", "OPS"]
    assert seen["lead"] == PROJECTS["FLEET"].lead.name
    assert seen["versions"] == seen["inProject"] == [v.id for v in site.versions.values() if v.project == "FLEET"]
    assert seen["comments"] == max(len(issue.comments) for issue in issues)
    assert seen["embedded"] == min(seen["comments"], 20)
    assert seen["bulk"] == [issues[0].created.id]
    assert seen["boards"] == ["scrum", "kanban"]
    assert seen["sprints"] == [s.id for s in site.sprints.values() if s.board == 1]
    assert seen["sprint"] == site.sprints[seen["sprints"][0]].name


def matched(live: Live, jql: str) -> set[str]:
    query = parse(jql, zone=ZoneInfo("Europe/Berlin"), now=live.world.now)
    return {issue.key for issue in live.world.state.issues.values() if query.matches(issue)}


def test_jql_selects_what_it_says(live: Live) -> None:
    issues = live.world.state.issues.values()

    def keys(wanted: Any) -> set[str]:
        return {issue.key for issue in issues if wanted(issue)}

    assert matched(live, "project = PAY") == keys(lambda i: i.project == "PAY")
    assert matched(live, 'project in ("FLEET") and status != Done') == keys(
        lambda i: i.project == "FLEET" and i.status.name != "Done"
    )
    assert matched(live, "not (type = Incident or statusCategory = Done)") == keys(
        lambda i: i.created.issue_type != "Incident" and i.status.category != "done"
    )
    assert matched(live, "resolved is EMPTY AND assignee is not EMPTY") == keys(
        lambda i: i.resolved_at is None and i.assignee is not None
    )
    sprint, version = next(i.sprints[0] for i in issues if i.sprints), next(i.versions[0] for i in issues if i.versions)
    assert matched(live, f"sprint in ({sprint}, 1)") == keys(lambda i: sprint in i.sprints)
    assert matched(live, f"fixVersion = {version}") == keys(lambda i: version in i.versions)
    assert matched(live, "updated >= -3d") == keys(lambda i: i.updated_at >= live.world.now - timedelta(days=3))


def test_dates_have_minutes_and_mean_the_accounts_zone(live: Live) -> None:
    issue: Issue = max(live.world.state.issues.values(), key=lambda i: i.updated_at)
    local = issue.updated_at.astimezone(ZoneInfo("Europe/Berlin"))
    millis = int(issue.updated_at.timestamp() * 1000)
    for bound in (f'"{local:%Y-%m-%d %H:%M}"', f"'{local:%Y/%m/%d %H:%M}'", str(millis)):
        assert issue.key in matched(live, f"updated >= {bound}")
        # The bound is floored to the minute, so an upper bound hides what happened within it.
        assert (issue.key in matched(live, f"updated <= {bound}")) == (issue.updated_at.second == 0)
    an_hour_off = local + timedelta(hours=1)
    assert issue.key not in matched(live, f'updated >= "{an_hour_off:%Y-%m-%d %H:%M}"')


@pytest.mark.parametrize(
    "jql",
    [
        "project = NOPE",
        "colour = red",
        "project =",
        "updated >= yesterday",
        "project = PAY project = PAY",
        "status ~ x",
        "(",
    ],
)
def test_a_wrong_query_is_400_in_jiras_form(client: TestClient, jql: str) -> None:
    with pytest.raises(JqlError):
        parse(jql, zone=ZoneInfo("UTC"), now=None)  # type: ignore[arg-type]
    answer = client.get(SEARCH, params={"jql": jql}, headers=BASIC)
    assert answer.status_code == 400
    assert answer.json()["errorMessages"]
    assert answer.json()["errors"] == {}


def test_refusals(client: TestClient, live: Live) -> None:
    unbounded = client.get(SEARCH, params={"jql": "ORDER BY updated ASC"}, headers=BASIC)
    assert unbounded.status_code == 400
    assert "Unbounded JQL" in unbounded.json()["errorMessages"][0]
    assert client.get("/jira/rest/api/3/search", params={"jql": "project = PAY"}, headers=BASIC).status_code == 410
    assert client.get("/jira/rest/api/2/search", params={"jql": "project = PAY"}, headers=BASIC).status_code == 410
    assert client.get(SEARCH, params={"jql": "project = PAY"}).status_code == 401
    assert client.get(SEARCH, params={"jql": "project = PAY", "nextPageToken": "x"}, headers=BASIC).status_code == 400
    live.settings.rate_limits["jira"] = 1
    live.budgets.clear()
    client.get("/jira/rest/api/3/myself", headers=BASIC)
    limited = client.get("/jira/rest/api/3/myself", headers=BASIC)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0


def test_a_page_with_fields_is_small_one_of_keys_is_large(client: TestClient, live: Live) -> None:
    query = {"jql": "project in (FLEET, PAY) ORDER BY key ASC", "maxResults": 5000}
    keys = client.get(SEARCH, params={**query, "fields": "key"}, headers=BASIC).json()
    assert len(keys["issues"]) == len(truth_jira.issues(live.world.state)) > 100
    assert keys["isLast"] is True
    assert "nextPageToken" not in keys
    rows = client.get(SEARCH, params={**query, "fields": "summary"}, headers=BASIC).json()
    assert len(rows["issues"]) == 100
    assert rows["nextPageToken"]
    assert "total" not in rows
    assert set(rows["issues"][0]["fields"]) == {"summary"}


def test_data_center_pages_by_offset_and_takes_a_bearer_token(client: TestClient, live: Live) -> None:
    path, query = "/jira-dc/rest/api/2/search", {"jql": "project = PAY ORDER BY updated ASC, key", "fields": "updated"}
    assert client.get(path, params=query, headers=BASIC).status_code == 401
    seen: list[str] = []
    while True:
        page = client.get(path, params={**query, "startAt": len(seen), "maxResults": 7}, headers=BEARER).json()
        seen += [issue["key"] for issue in page["issues"]]
        if len(seen) >= page["total"]:
            break
    pay = [i for i in live.world.state.issues.values() if i.project == "PAY"]
    assert seen == [i.key for i in sorted(pay, key=lambda i: i.updated_at)]
    whole = client.get(path, params={**query, "fields": "*all", "expand": "changelog"}, headers=BEARER).json()
    assert isinstance(whole["issues"][0]["fields"]["description"], str)
    assert whole["issues"][0]["changelog"]["total"] == len(whole["issues"][0]["changelog"]["histories"])
    assert client.get("/jira-dc/rest/api/2/serverInfo").json()["deploymentType"] == "Server"


def test_sprints_of_data_center_are_texts_and_a_board_lists_its_own(client: TestClient, live: Live) -> None:
    site = live.world.state.site
    issue = next(i for i in site.issues.values() if i.sprints)
    (told, *_) = client.get(f"/jira-dc/rest/api/2/issue/{issue.key}", headers=BEARER).json()["fields"][
        "customfield_10020"
    ]
    assert told.startswith("com.atlassian.greenhopper") and f"name={site.sprints[issue.sprints[0]].name}" in told
    root = "/jira-dc/rest/agile/1.0"
    assert client.get(f"{root}/board/51/sprint", headers=BEARER).status_code == 400
    assert client.get(f"{root}/sprint/1", headers=BEARER).status_code == 404
    open_ones = client.get(f"{root}/board/1/sprint", params={"state": "active,future"}, headers=BEARER).json()["values"]
    assert {one["state"] for one in open_ones} == {"active", "future"}
    assert client.get("/jira-dc/rest/api/3/search/jql", headers=BEARER).status_code == 404
    beyond = {"jql": "project = PAY", "startAt": 9_999, "maxResults": 100}
    assert client.get("/jira-dc/rest/api/2/search", params=beyond, headers=BEARER).status_code == 500


def test_an_index_may_be_late(client: TestClient, live: Live) -> None:
    query = {"jql": "project in (FLEET, PAY)", "maxResults": 5000, "fields": "key"}
    every = len(client.get(SEARCH, params=query, headers=BASIC).json()["issues"])
    live.settings.jira_index_seconds = 86_400.0
    recent = [i for i in truth_jira.issues(live.world.state) if i["updated_at"] > live.world.now - timedelta(days=1)]
    assert len(client.get(SEARCH, params=query, headers=BASIC).json()["issues"]) == every - len(recent) < every
