"""REST: every answer is valid against GitHub's OpenAPI description."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from forge_demo.apis.common import Live
from forge_demo.apis.server import application
from jsonschema import Draft7Validator
from starlette.testclient import TestClient

HEADERS = {"Authorization": "Bearer ghp_demo"}
REPO = "/repos/acme-robotics/fleet-api"


@pytest.fixture(scope="session")
def description(octokit: Path) -> Any:
    return json.loads((octokit / "openapi" / "generated" / "api.github.com.json").read_text())


class Contract:
    """Bodies of status 200 (or another), each against its part of the description."""

    def __init__(self, description: Any) -> None:
        self.paths, self.components = description["paths"], _plain(description["components"])
        self.validators: dict[tuple[str, str, int], Draft7Validator] = {}

    def problems(self, path: str, body: Any, method: str = "get", status: int = 200) -> list[str]:
        key = path, method, status
        if key not in self.validators:
            content = self.paths[path][method]["responses"][str(status)]["content"]["application/json"]
            schema = {**_plain(content["schema"]), "components": self.components}
            self.validators[key] = Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)
        found = self.validators[key].iter_errors(body)
        # The description gives a pull request's head always a repository; GitHub gives null for a deleted fork.
        return [
            f"{path} {'/'.join(map(str, e.path))}: {e.message[:200]}"
            for e in found
            if [*e.path][-2:] != ["head", "repo"] or e.instance is not None
        ]


@pytest.fixture(scope="session")
def contract(description: Any) -> Contract:
    return Contract(description)


def _plain(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` becomes a type."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _plain(value) for key, value in schema.items() if key not in ("example", "examples")}
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


OF_REPOSITORY = [
    ("", ""),
    ("/pulls", "?state=all&per_page=100"),
    ("/pulls/comments", "?per_page=100"),
    ("/issues", "?state=all&per_page=100"),
    ("/issues/comments", "?per_page=100"),
    ("/actions/runs", "?per_page=100"),
    ("/deployments", "?per_page=100"),
    ("/releases", "?per_page=100"),
    ("/tags", "?per_page=100"),
]
OF_PULL = ["", "/reviews", "/commits", "/comments", "/files"]
OF_ISSUE = ["", "/comments", "/timeline"]


def every(client: TestClient, address: str) -> list[Any]:
    """The bodies of all pages."""
    bodies = []
    while address:
        answer = client.get(address, headers=HEADERS)
        assert answer.status_code == 200, (address, answer.text[:300])
        bodies.append(answer.json())
        address = answer.links.get("next", {}).get("url", "")
    return bodies


REPOSITORIES = ["fleet-api", "fleet-web", "pay-core", "fleet-legacy", "sandbox", "handbook", "fleet-telemetry", "atlas"]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_every_listing_of_every_repository_is_valid(
    client: TestClient, live: Live, contract: Contract, name: str
) -> None:
    repo = live.state().hub.names[f"acme-robotics/{name}"]
    for tail, query in OF_REPOSITORY:
        if tail == "/issues" and not repo.place.issues:
            continue
        for body in every(client, f"/github/repos/acme-robotics/{name}{tail}{query}"):
            assert contract.problems(f"/repos/{{owner}}/{{repo}}{tail}", body) == []


def test_everything_below_hard_pull_requests_issues_runs_and_commits_is_valid(
    client: TestClient, live: Live, contract: Contract
) -> None:
    hub = live.state().hub
    pulls = [p for n, p in enumerate(hub.pulls.values()) if n % 25 == 0 or p.repo.name in ("handbook", "atlas")]
    base = "/repos/{owner}/{repo}"
    for pull in pulls:
        if pull.repo.place.forbidden:
            continue
        root = f"/github/repos/{pull.repo.full_name}"
        for tail in OF_PULL:
            for body in every(client, f"{root}/pulls/{pull.number}{tail}?per_page=100"):
                assert contract.problems(f"{base}/pulls/{{pull_number}}{tail}", body) == []
        for tail in OF_ISSUE:
            for body in every(client, f"{root}/issues/{pull.number}{tail}?per_page=100"):
                assert contract.problems(f"{base}/issues/{{issue_number}}{tail}", body) == []
        for tail in ("/check-runs", "/check-suites"):
            for body in every(client, f"{root}/commits/{pull.head}{tail}?per_page=100&filter=all"):
                assert contract.problems(f"{base}/commits/{{ref}}{tail}", body) == []
    for issue in list(hub.issues.values())[::5]:
        if not issue.repo.place.forbidden:
            for tail in OF_ISSUE:
                for body in every(client, f"/github/repos/{issue.repo.full_name}/issues/{issue.number}{tail}"):
                    assert contract.problems(f"{base}/issues/{{issue_number}}{tail}", body) == []
    for run in [r for n, r in enumerate(hub.runs.values()) if n % 40 == 0 or r.started.attempt > 1]:
        root = f"/github/repos/{run.repo.full_name}/actions/runs/{run.id}"
        if not run.repo.place.forbidden:
            assert contract.problems(f"{base}/actions/runs/{{run_id}}", every(client, root)[0]) == []
            for body in every(client, f"{root}/jobs?filter=all&per_page=100"):
                assert contract.problems(f"{base}/actions/runs/{{run_id}}/jobs", body) == []
    for deployment in list(hub.deployments.values())[::20]:
        root = f"/github/repos/{deployment.repo.full_name}/deployments/{deployment.id}"
        if not deployment.repo.place.forbidden:
            assert contract.problems(f"{base}/deployments/{{deployment_id}}", every(client, root)[0]) == []
            for body in every(client, f"{root}/statuses?per_page=100"):
                assert contract.problems(f"{base}/deployments/{{deployment_id}}/statuses", body) == []


def test_what_is_above_repositories_is_valid(client: TestClient, contract: Contract) -> None:
    (repositories,) = every(client, "/github/orgs/acme-robotics/repos?per_page=100")
    assert contract.problems("/orgs/{org}/repos", repositories) == []
    assert {r["name"] for r in repositories} == {*REPOSITORIES, "vault"}
    assert {r["name"] for r in repositories if r["archived"]} == {"fleet-legacy"}
    assert contract.problems("/rate_limit", every(client, "/github/rate_limit")[0]) == []


def test_the_app_gives_tokens_that_end(client: TestClient, live: Live, contract: Contract) -> None:
    secret = client.get("/_world/github").json()
    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + 540, "iss": secret["appId"]}
    bearer = {"Authorization": f"Bearer {jwt.encode(claims, secret['privateKey'], algorithm='RS256')}"}
    assert contract.problems("/app", client.get("/github/app", headers=bearer).json()) == []
    address = f"/github/app/installations/{secret['installationId']}/access_tokens"
    made = client.post(address, headers=bearer)
    path = "/app/installations/{installation_id}/access_tokens"
    assert made.status_code == 201
    assert contract.problems(path, made.json(), "post", 201) == []
    mine = {"Authorization": f"Bearer {made.json()['token']}"}
    listed = client.get("/github/installation/repositories?per_page=100", headers=mine)
    assert contract.problems("/installation/repositories", listed.json()) == []
    assert "x-oauth-scopes" not in listed.headers
    live.settings.github_token_seconds = -1
    ended = {"Authorization": f"Bearer {client.post(address, headers=bearer).json()['token']}"}
    assert client.get(f"/github{REPO}", headers=ended).status_code == 401
    for wrong in ({**claims, "exp": now - 600}, {**claims, "exp": now + 5000}, {**claims, "iss": "1"}):
        token = jwt.encode(wrong, secret["privateKey"], algorithm="RS256")
        refused = client.post(address, headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code in (401, 404)
    assert client.post(address, headers=HEADERS).status_code == 401


def test_repositories_that_were_renamed_forbidden_deleted_or_are_empty_say_so(client: TestClient) -> None:
    moved = client.get(
        "/github/api/v3/repos/acme-robotics/telemetry/pulls?state=all", headers=HEADERS, follow_redirects=False
    )
    assert moved.status_code == 301
    assert moved.headers["location"].endswith("/github/api/v3/repositories/500006/pulls?state=all")
    there = client.get("/github/repos/acme-robotics/telemetry/pulls?state=all", headers=HEADERS)
    assert there.json()[0]["base"]["repo"]["full_name"] == "acme-robotics/fleet-telemetry"
    vault = "/github/repos/acme-robotics/vault"
    assert client.get(vault, headers=HEADERS).status_code == 200
    assert client.get(f"{vault}/pulls", headers=HEADERS).status_code == 403
    assert client.get("/github/repos/acme-robotics/spike-2022", headers=HEADERS).status_code == 404
    assert client.get("/github/repos/acme-robotics/handbook/issues", headers=HEADERS).status_code == 410
    assert client.get("/github/repos/acme-robotics/sandbox", headers=HEADERS).json()["size"] == 0


def test_secondary_limits_say_how_long_to_wait(client: TestClient, live: Live) -> None:
    live.settings.github_requests_per_minute, live.settings.github_retry_after_seconds = 1, 7
    codes = [client.get(f"/github{REPO}", headers=HEADERS) for _ in range(2)]
    assert (codes[1].status_code, codes[1].headers["retry-after"]) == (403, "7")
    assert "secondary rate limit" in codes[1].json()["message"]


async def test_too_many_requests_at_once_are_refused(client: TestClient, live: Live) -> None:
    live.settings.github_concurrency = 2
    transport = httpx.ASGITransport(application(live))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo", headers=HEADERS) as many:
        answers = await asyncio.gather(*(many.get(f"/github{REPO}") for _ in range(6)))
        assert Counter(answer.status_code for answer in answers) == {200: 2, 403: 4}
        assert (await many.get(f"/github{REPO}")).status_code == 200


def test_a_run_keeps_the_jobs_of_every_attempt(client: TestClient, live: Live) -> None:
    run = next(r for r in live.state().runs.values() if r.started.name == "matrix")
    root = f"/github/repos/acme-robotics/atlas/actions/runs/{run.id}"
    assert client.get(root, headers=HEADERS).json()["run_attempt"] == 2
    latest = [job for body in every(client, f"{root}/jobs?per_page=100") for job in body["jobs"]]
    whole = [job for body in every(client, f"{root}/jobs?filter=all&per_page=100") for job in body["jobs"]]
    assert (len(latest), len(whole)) == (130, 260)
    assert {job["run_attempt"] for job in latest} == {2}
    assert {job["conclusion"] for job in whole} == {"success", "failure", "skipped", "neutral", "cancelled"}


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
