"""REST: every answer is valid against GitHub's OpenAPI description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forge_demo.apis.common import Live
from jsonschema import Draft7Validator
from starlette.testclient import TestClient

HEADERS = {"Authorization": "Bearer ghp_demo"}
REPO = "/repos/acme-robotics/fleet-api"


@pytest.fixture(scope="session")
def description(octokit: Path) -> Any:
    return json.loads((octokit / "openapi" / "generated" / "api.github.com.json").read_text())


def validator(description: Any, path: str) -> Draft7Validator:
    """Of the body of status 200, with what it refers to."""
    body = description["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return Draft7Validator(_plain({**body, "components": description["components"]}))


def _plain(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` becomes a type."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _plain(value) for key, value in schema.items() if key not in ("example", "examples")}
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/orgs/{org}/repos", "/orgs/acme-robotics/repos"),
        ("/repos/{owner}/{repo}", REPO),
        ("/repos/{owner}/{repo}/pulls", f"{REPO}/pulls?state=all&per_page=100"),
        ("/repos/{owner}/{repo}/pulls/{pull_number}", f"{REPO}/pulls/NUMBER"),
        ("/repos/{owner}/{repo}/pulls/{pull_number}/reviews", f"{REPO}/pulls/NUMBER/reviews"),
        ("/repos/{owner}/{repo}/pulls/{pull_number}/commits", f"{REPO}/pulls/NUMBER/commits"),
        ("/repos/{owner}/{repo}/actions/runs", f"{REPO}/actions/runs?per_page=100"),
        ("/repos/{owner}/{repo}/deployments", f"{REPO}/deployments?per_page=100"),
        ("/repos/{owner}/{repo}/deployments/{deployment_id}/statuses", f"{REPO}/deployments/DEPLOYMENT/statuses"),
        ("/rate_limit", "/rate_limit"),
    ],
)
def test_answers_are_valid(client: TestClient, live: Live, description: Any, path: str, address: str) -> None:
    state = live.world.state
    pull = next(p for p in state.pulls_of("fleet-api") if p.reviews and p.merged)
    deployment = next(d for d in state.deployments.values() if d.created.repository == "fleet-api" and d.statuses)
    address = address.replace("NUMBER", str(pull.number)).replace("DEPLOYMENT", str(deployment.id))
    answer = client.get("/github/api/v3" + address, headers=HEADERS)
    assert answer.status_code == 200
    body = answer.json()
    assert body
    problems = [
        f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in validator(description, path).iter_errors(body)
    ]
    assert problems == []


def test_links_lead_through_every_pull_request(client: TestClient, live: Live) -> None:
    seen, address = [], f"/github{REPO}/pulls?state=all&sort=updated&direction=desc&per_page=9"
    while address:
        answer = client.get(address, headers=HEADERS)
        seen += answer.json()
        address = answer.links.get("next", {}).get("url", "")
    assert sorted(p["number"] for p in seen) == [p.number for p in live.world.state.pulls_of("fleet-api")]
    assert [p["updated_at"] for p in seen] == sorted((p["updated_at"] for p in seen), reverse=True)


def test_an_unchanged_page_is_304_and_costs_nothing(client: TestClient, live: Live) -> None:
    live.settings.rate_limits["github"] = 2
    first = client.get(f"/github{REPO}", headers=HEADERS)
    again = client.get(f"/github{REPO}", headers={**HEADERS, "If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert again.headers["x-ratelimit-remaining"] == first.headers["x-ratelimit-remaining"] == "1"


def test_errors_are_githubs(client: TestClient, live: Live) -> None:
    assert client.get(f"/github{REPO}").json()["message"] == "Requires authentication"
    wrong = client.get(f"/github{REPO}", headers={"Authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Bad credentials")
    missing = client.get("/github/api/v3/repos/acme-robotics/none/pulls", headers=HEADERS)
    assert (missing.status_code, missing.json()["message"]) == (404, "Not Found")
    live.settings.rate_limits["github"] = 1
    live.budgets.clear()
    client.get(f"/github{REPO}", headers=HEADERS)
    spent = client.get(f"/github{REPO}", headers=HEADERS)
    assert (spent.status_code, spent.headers["x-ratelimit-remaining"]) == (403, "0")
    assert "rate limit exceeded" in spent.json()["message"]


def test_a_filtered_listing_of_runs_can_be_cut_by_time(client: TestClient, live: Live) -> None:
    runs = [r for r in live.world.state.runs.values() if r.started.repository == "fleet-api"]
    day = f"{runs[len(runs) // 2].created_at:%Y-%m-%d}"
    answer = client.get(f"/github{REPO}/actions/runs?created={day}..{day}&per_page=100", headers=HEADERS).json()
    assert answer["total_count"] == sum(f"{r.created_at:%Y-%m-%d}" == day for r in runs) > 0
