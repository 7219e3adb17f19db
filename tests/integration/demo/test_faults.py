"""Every fault on the wire, as a client meets it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import uvicorn
from forge_demo.apis.common import Live
from forge_demo.apis.server import application
from forge_demo.faults import HUGE, KINDS, ODD
from forge_demo.settings import Clock, Settings
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
AUTH = {"jira": ("observer@acme-robotics.example", "jira-demo"), "langfuse": ("pk-lf-demo", "sk-lf-demo")}
GITHUB = {"Authorization": "Bearer ghp_demo"}
REPOSITORY = "/github/api/v3/repos/acme-robotics/pay-core"
CLOUD = {"jql": "project = PAY ORDER BY created", "maxResults": 5, "fields": ["summary"]}
PULLS = """query($after: String) { repository(owner: "acme-robotics", name: "pay-core") {
  pullRequests(first: 4, after: $after, orderBy: {field: CREATED_AT, direction: ASC}) {
    nodes { number } pageInfo { hasNextPage endCursor } } } }"""
tried: set[str] = {"answer"}


class Demo:
    """A served world."""

    def __init__(self, url: str, live: Live) -> None:
        self.url, self.live = url, live

    def fault(self, kind: str, **values: Any) -> None:
        tried.add(kind)
        done = httpx.post(f"{self.url}/_world/faults", json={"kind": kind, **values})
        assert done.status_code == 200, done.text

    def repository(self) -> httpx.Response:
        return httpx.get(self.url + REPOSITORY, headers=GITHUB)

    def cloud(self, **values: Any) -> Any:
        return httpx.post(f"{self.url}/jira/rest/api/3/search/jql", json={**CLOUD, **values}, auth=AUTH["jira"]).json()

    def cloud_pages(self, size: int = 5) -> list[list[str]]:
        pages, token = [], {}
        while True:
            page = self.cloud(maxResults=size, **token)
            pages.append([issue["id"] for issue in page["issues"]])
            if not page.get("nextPageToken"):
                return pages
            token = {"nextPageToken": page["nextPageToken"]}

    def pull_pages(self) -> list[list[int]]:
        pages, after = [], None
        while True:
            body = {"query": PULLS, "variables": {"after": after}}
            done = httpx.post(f"{self.url}/github/api/graphql", json=body, headers=GITHUB).json()
            page = done["data"]["repository"]["pullRequests"]
            pages.append([node["number"] for node in page["nodes"]])
            if not page["pageInfo"]["hasNextPage"]:
                return pages
            after = page["pageInfo"]["endCursor"]

    def observation_pages(self) -> list[list[str]]:
        pages: list[list[str]] = []
        query = {"limit": "400"}
        while True:
            url = f"{self.url}/langfuse/api/public/v2/observations"
            page = httpx.get(url, params=query, auth=AUTH["langfuse"]).json()
            pages.append([row["id"] for row in page["data"]])
            if not page["meta"].get("cursor"):
                return pages
            query["cursor"] = page["meta"]["cursor"]


@pytest.fixture(scope="module")
def serving() -> Iterator[Demo]:
    live = Live(World.build(11, end=END, days=20), Clock(END), Settings(short_pages=False))
    config = uvicorn.Config(
        application(live), host="127.0.0.1", port=0, log_level="warning", lifespan="off", date_header=False
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield Demo(f"http://127.0.0.1:{listener.getsockname()[1]}", live)
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def demo(serving: Demo) -> Iterator[Demo]:
    yield serving
    httpx.delete(f"{serving.url}/_world/faults")
    assert httpx.get(f"{serving.url}/_world/faults").json()["faults"] == []


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("rate_limit", 429, "limit"),
        ("rate_limit_date", 429, "limit"),
        ("secondary_limit", 403, "secondary rate limit"),
        ("server_error", 500, "Internal"),
        ("bad_gateway", 502, "<html>"),
        ("unavailable", 503, "Unavailable"),
        ("login_page", 200, "<form"),
    ],
)
def test_answers_in_place_of_the_real_one(demo: Demo, kind: str, status: int, text: str) -> None:
    demo.fault(kind, times=2, **({"seconds": 30} if "limit" in kind else {}))
    for _ in range(2):
        found = demo.repository()
        assert found.status_code == status and text in found.text
        if "limit" in kind:
            wait = found.headers["retry-after"]
            if kind == "rate_limit_date":
                assert 25 < (parsedate_to_datetime(wait) - datetime.now(UTC)).total_seconds() <= 31
            else:
                assert wait == "30"
    assert demo.repository().json()["name"] == "pay-core"


def test_waits_may_be_short(demo: Demo) -> None:
    demo.fault("rate_limit", seconds=0.05)
    assert demo.repository().headers["retry-after"] == "0.05"


def test_cut_bodies_and_reset_connections(demo: Demo) -> None:
    demo.fault("truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        demo.repository()
    demo.fault("reset")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        demo.repository()
    demo.fault("reset_midway")
    got = 0
    with (
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
        httpx.stream("GET", demo.url + REPOSITORY, headers=GITHUB) as response,
    ):
        promised = int(response.headers["content-length"])
        for part in response.iter_raw():
            got += len(part)
    assert 0 < got < promised
    assert demo.repository().status_code == 200


def test_slow_answers_and_trickling_bytes(demo: Demo) -> None:
    demo.fault("slow", seconds=0.3)
    began = time.monotonic()
    whole = demo.repository().content
    assert time.monotonic() - began >= 0.3
    demo.fault("drip", seconds=2)
    began = time.monotonic()
    with httpx.stream("GET", demo.url + REPOSITORY, headers=GITHUB) as response:
        parts = list(response.iter_raw())
    assert time.monotonic() - began >= 1.5
    assert b"".join(parts) == whole and len(parts) > 5


def test_reordered_and_doubled_rows(demo: Demo) -> None:
    plain = demo.cloud(maxResults=50)["issues"]
    demo.fault("reordered")
    other = demo.cloud(maxResults=50)["issues"]
    assert other != plain and sorted(other, key=str) == sorted(plain, key=str)
    demo.fault("duplicates")
    doubled = demo.cloud(maxResults=50)["issues"]
    assert len(doubled) > len(plain) and {i["id"] for i in doubled} == {i["id"] for i in plain}


@pytest.mark.parametrize("kind", ["repeated_page", "empty_page"])
@pytest.mark.parametrize("api", ["cloud_pages", "pull_pages", "observation_pages"])
def test_pages_that_come_again_or_are_empty(demo: Demo, kind: str, api: str) -> None:
    plain = getattr(demo, api)()
    assert len(plain) > 2
    demo.fault(kind, times=0, probability=0.5)
    found = getattr(demo, api)()
    assert len(found) > len(plain)
    assert [page for n, page in enumerate(found) if page and (n == 0 or page != found[n - 1])] == plain
    assert ([] in found) is (kind == "empty_page")


def test_the_world_moves_while_pages_are_read(demo: Demo) -> None:
    before = demo.live.clock.now()
    demo.fault("moving", times=3, seconds=120)
    demo.cloud_pages()
    assert demo.live.clock.now() - before == timedelta(seconds=360)


def test_what_is_late_is_seen_late_and_at_once_when_that_ends(demo: Demo) -> None:
    demo.fault("late", probability=1.0, seconds=7200)
    made = httpx.post(f"{demo.url}/_world/tickets", json={"count": 1, "minutes": 5}).json()["tickets"]
    search = {"jql": f"key = {made[0]}", "maxResults": 5}
    assert demo.cloud(**search).get("issues", []) == []
    httpx.delete(f"{demo.url}/_world/faults")
    assert len(demo.cloud(**search)["issues"]) == 1


def test_a_clock_that_is_off(demo: Demo) -> None:
    before = demo.live.clock.now()
    demo.fault("skew", seconds=600)
    off = parsedate_to_datetime(demo.repository().headers["date"]) - datetime.now(UTC)
    assert 595 < off.total_seconds() < 605 and demo.live.clock.now() - before >= timedelta(seconds=600)


@pytest.mark.parametrize("kind", ["unicode", "huge"])
def test_new_tickets_with_texts_of_a_kind(demo: Demo, kind: str) -> None:
    known = {row["id"] for row in httpx.get(f"{demo.url}/_world/truth?table=langfuse_traces").json()}
    demo.fault(kind)
    found = httpx.get(f"{demo.url}/langfuse/api/public/traces?limit=100", auth=AUTH["langfuse"], timeout=60).json()
    new = [trace for trace in found["data"] if trace["id"] not in known]
    notes = [trace["metadata"].get("note" if kind == "unicode" else "summary", "") for trace in new]
    assert notes and (ODD in notes if kind == "unicode" else max(len(n.encode()) for n in notes) >= HUGE)


def test_a_profile_is_turned_on_by_name_with_its_seed(demo: Demo) -> None:
    answer = httpx.post(f"{demo.url}/_world/faults", json={"profile": "flaky", "seed": 3}).json()
    assert answer["seed"] == 3 and {f["kind"] for f in answer["faults"]} >= {"reset", "drip", "rate_limit"}
    for wrong in ({"profile": "nice"}, {"kind": "quake"}, {"times": "x"}, {"color": "red"}):
        refused = httpx.post(f"{demo.url}/_world/faults", json=wrong)
        assert refused.status_code == 400 and refused.json()["error"]


def test_no_kind_was_forgotten_here() -> None:
    assert tried == set(KINDS), json.dumps(sorted(set(KINDS) - tried))
