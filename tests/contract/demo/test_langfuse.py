"""Langfuse: the SDKs' own models take every answer, of the cursors and of the legacy pages."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from forge_demo.apis.common import Live
from langfuse.api.client import LangfuseAPI
from langfuse.api.core.pydantic_utilities import parse_obj_as
from langfuse.api.observations.types.observations_v2response import ObservationsV2Response
from langfuse.api.scores.types.get_scores_v3response import GetScoresV3Response
from starlette.testclient import TestClient

BASIC = {"Authorization": "Basic " + base64.b64encode(b"pk-lf-demo:sk-lf-demo").decode()}
V2 = "/langfuse/api/public/v2/observations"
ALL = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"


def walk(client: TestClient, path: str, **query: Any) -> list[Any]:
    """Every page's body, until no cursor is given."""
    pages: list[Any] = []
    while True:
        answer = client.get(path, params=query, headers=BASIC)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        query["cursor"] = pages[-1]["meta"].get("cursor")
        if query["cursor"] is None:
            return pages


def test_the_sdk_reads_observations_and_scores(served: str, live: Live) -> None:
    api = LangfuseAPI(base_url=f"{served}/langfuse", username="pk-lf-demo", password="sk-lf-demo")
    assert api.health.health().status == "OK"
    assert api.projects.get().data[0].name == "forge"
    seen, cursor = [], None
    while True:
        page = api.observations.get_many(fields=ALL, limit=1000, cursor=cursor)
        seen += page.data
        cursor = page.meta.cursor
        if cursor is None:
            break
    assert len({o.id for o in seen}) == len(seen) == sum(len(t.observations) for t in live.world.state.traces.values())
    scores = api.scores.get_many(fields="details,subject", limit=100)
    assert len(scores.data) == 100
    assert scores.meta.cursor


def test_every_page_is_valid_some_are_short_and_none_repeats(client: TestClient, live: Live) -> None:
    pages = walk(client, V2, fields=ALL, limit=100)
    for page in pages:
        parse_obj_as(ObservationsV2Response, page)
    sizes = [len(page["data"]) for page in pages]
    assert 0 in sizes[:-1]
    assert any(0 < size < 100 for size in sizes[:-1])
    rows = [row for page in pages for row in page["data"]]
    assert len({row["id"] for row in rows}) == len(rows)
    assert [row["startTime"] for row in rows] == sorted((row["startTime"] for row in rows), reverse=True)
    for page in walk(client, "/langfuse/api/public/v3/scores", fields="details,subject,annotation", limit=100):
        parse_obj_as(GetScoresV3Response, page)


def test_metadata_is_cut_unless_asked_for(client: TestClient) -> None:
    query = {"fields": "metadata", "isRootObservation": "true", "limit": 1000}
    cut = client.get(V2, params=query, headers=BASIC).json()["data"]
    whole = client.get(V2, params={**query, "expandMetadata": "summary"}, headers=BASIC).json()["data"]
    lengths = [
        (len(a["metadata"]["summary"]), len(b["metadata"]["summary"]))
        for a, b in zip(cut, whole, strict=True)
        if "summary" in a["metadata"]
    ]
    assert max(length for length, _ in lengths) == 200
    assert max(length for _, length in lengths) > 200
    assert "name" not in cut[0]


def test_time_bounds_are_half_open(client: TestClient, live: Live) -> None:
    times = sorted(o.observation.started_at for t in live.world.state.traces.values() for o in t.observations)
    low, high = times[len(times) // 3], times[2 * len(times) // 3]
    rows = [
        r
        for p in walk(client, V2, fromStartTime=low.isoformat(), toStartTime=high.isoformat(), limit=1000)
        for r in p["data"]
    ]
    assert len(rows) == sum(low <= at < high for at in times)


def test_scores_of_every_kind_subject_and_source(client: TestClient, live: Live) -> None:
    pages = walk(client, "/langfuse/api/public/v3/scores", fields="details,subject,annotation", limit=50)
    sizes = [len(page["data"]) for page in pages]
    assert 0 in sizes[:-1], "an empty page is no end"
    rows = [row for page in pages for row in page["data"]]
    assert len({row["id"] for row in rows}) == len(rows) == len(live.world.state.scores)
    assert [row["timestamp"] for row in rows] == sorted((row["timestamp"] for row in rows), reverse=True)
    kinds = {(row["dataType"], type(row["value"])) for row in rows}
    assert kinds == {("NUMERIC", float), ("BOOLEAN", bool), ("CATEGORICAL", str)}
    assert {row["subject"]["kind"] for row in rows} == {"trace", "observation", "session"}
    assert {row["source"] for row in rows} == {"API", "ANNOTATION", "EVAL"}
    starts = {t.ingested.id: t.ingested.timestamp for t in live.world.state.traces.values()}
    added = [score.added for score in live.world.state.scores.values()]
    assert any((score.at - starts[score.trace]).days >= 2 for score in added), "people judge days later"
    assert any(row["updatedAt"] > row["createdAt"] for row in rows) and any(
        row["timestamp"] < row["createdAt"] for row in rows
    )


def test_scores_are_selected_and_bad_questions_refused(client: TestClient) -> None:
    path = "/langfuse/api/public/v3/scores"
    query: dict[str, Any]
    for query in ({"dataType": "BOOLEAN,CATEGORICAL"}, {"source": "EVAL"}, {"environment": "production"}):
        ((name, values),) = query.items()
        rows = [row for page in walk(client, path, limit=100, **query) for row in page["data"]]
        assert {row[name] for row in rows} == set(values.split(","))
    assert not client.get(path, params={"environment": "nowhere"}, headers=BASIC).json()["data"]
    for query in ({"limit": 101}, {"fields": "colours"}, {"observationId": "x"}, {"cursor": "!"}):
        assert client.get(path, params=query, headers=BASIC).status_code == 400


def test_the_first_list_of_scores_is_all_that_an_old_server_has(client: TestClient, live: Live) -> None:
    live.settings.langfuse_scores_v2 = False
    assert client.get("/langfuse/api/public/v2/scores", headers=BASIC).status_code == 404
    body = client.get("/langfuse/api/public/scores", params={"limit": 100}, headers=BASIC).json()
    of_traces = [score for score in live.world.state.scores.values() if score.added.session is None]
    assert body["meta"]["totalItems"] == len(of_traces)
    assert {row["stringValue"] for row in body["data"] if row["dataType"] == "BOOLEAN"} == {"True", "False"}


def test_a_plan_limits_requests_a_minute_by_class(client: TestClient, live: Live) -> None:
    live.settings.langfuse_plan = "hobby"
    older = [client.get("/langfuse/api/public/sessions", headers=BASIC) for _ in range(16)]
    assert [answer.status_code for answer in older] == [200] * 15 + [429]
    assert 0 < int(older[-1].headers["retry-after"]) <= 61
    assert "GMT" in older[-1].headers["x-ratelimit-reset"], "as JavaScript writes a date"
    newer = [client.get("/langfuse/api/public/v3/scores", headers=BASIC).status_code for _ in range(31)]
    assert newer == [200] * 30 + [429]


def test_each_observation_is_there_as_often_as_asked(client: TestClient, live: Live) -> None:
    live.settings.langfuse_copies = 3
    pages = walk(client, V2, fields=ALL, limit=1000)
    for page in pages:
        parse_obj_as(ObservationsV2Response, page)
    rows = [row for page in pages for row in page["data"]]
    own = sum(len(trace.observations) for trace in live.world.state.traces.values())
    assert len({row["id"] for row in rows}) == len(rows) == 3 * own
    assert [row["startTime"] for row in rows] == sorted((row["startTime"] for row in rows), reverse=True)
    one = next(row for row in rows if row["id"].endswith("-2") and row["parentObservationId"])
    assert one["parentObservationId"].endswith("-2") and one["traceId"].endswith("-2")
    trace = [r for p in walk(client, V2, limit=1000, traceId=one["traceId"]) for r in p["data"]]
    assert {row["id"] for row in trace} == {row["id"] for row in rows if row["traceId"] == one["traceId"]}


def test_deleted_traces_are_gone_with_all_that_is_theirs(client: TestClient, live: Live) -> None:
    before = set(live.world.state.traces)
    gone = client.delete("/_world/langfuse/traces", params={"count": 3}).json()["deleted"]
    assert len(gone) == 3 and before - set(live.world.state.traces) == set(gone)
    rows = [row for page in walk(client, V2, limit=1000) for row in page["data"]]
    assert not {row["traceId"] for row in rows} & set(gone)
    assert not {score.added.trace for score in live.world.state.scores.values()} & set(gone)
    tickets = client.get("/_world/truth").json()["tickets"]
    assert sum(ticket["traces"] for ticket in tickets) == sum(
        t.ingested.ticket is not None for t in live.world.state.traces.values()
    )
    assert client.delete("/_world/langfuse/traces", params={"count": 0}).status_code == 400


LEGACY = """
import json, sys
from langfuse.api.resources.commons.types.observations_view import ObservationsView
from langfuse.api.resources.trace.types.traces import Traces
from langfuse.api.resources.sessions.types.paginated_sessions import PaginatedSessions
from langfuse.api.resources.score_v_2.types.get_scores_response import GetScoresResponse
from langfuse.api.core.pydantic_utilities import pydantic_v1
models = {"traces": Traces, "sessions": PaginatedSessions, "v2/scores": GetScoresResponse, "scores": GetScoresResponse}
for path, body in json.load(sys.stdin).items():
    if path == "observations":
        rows = [ObservationsView.parse_obj(row) for row in body["data"]]
        assert any(row.calculated_total_cost for row in rows) and any(row.usage.total for row in rows)
    else:
        models[path].parse_obj(body)
print("valid")
"""


def test_the_legacy_pages_fit_the_sdk_that_read_them(client: TestClient, legacy_langfuse: Path) -> None:
    paths = ("traces", "observations", "sessions", "v2/scores", "scores")
    bodies = {p: client.get(f"/langfuse/api/public/{p}", params={"limit": 100}, headers=BASIC).json() for p in paths}
    environment = {**os.environ, "PYTHONPATH": str(legacy_langfuse)}
    done = subprocess.run(
        [sys.executable, "-c", LEGACY],
        input=json.dumps(bodies),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "valid"), done.stderr


def test_legacy_pages_end_where_the_total_says(client: TestClient, live: Live) -> None:
    seen: list[Any] = []
    page = 1
    while True:
        query = {"page": page, "limit": 100, "orderBy": "timestamp.asc", "fields": "core,metrics"}
        body = client.get("/langfuse/api/public/traces", params=query, headers=BASIC).json()
        seen += body["data"]
        if page >= body["meta"]["totalPages"]:
            break
        page += 1
    assert len(seen) == body["meta"]["totalItems"] == len(live.world.state.traces)
    assert [t["timestamp"] for t in seen] == sorted(t["timestamp"] for t in seen)
    assert all(t["observations"] == [] and t["totalCost"] >= 0 for t in seen)


def test_refusals(client: TestClient, live: Live) -> None:
    assert client.get(V2).json()["message"] == "No authorization header"
    assert client.get(V2, auth=("pk-lf-demo", "wrong")).status_code == 401
    for query in ({"limit": 1001}, {"fields": "colours"}, {"cursor": "!"}, {"fromStartTime": "soon"}):
        assert client.get(V2, params=query, headers=BASIC).status_code == 400  # type: ignore[arg-type]
    assert client.get("/langfuse/api/public/traces", params={"limit": 101}, headers=BASIC).status_code == 400
    live.settings.langfuse_v2 = False
    assert client.get(V2, headers=BASIC).status_code == 404
    assert client.get("/langfuse/api/public/observations", headers=BASIC).status_code == 200
    live.settings.rate_limits["langfuse"] = 1
    live.budgets.clear()
    client.get("/langfuse/api/public/traces", headers=BASIC)
    limited = client.get("/langfuse/api/public/traces", headers=BASIC)
    assert (limited.status_code, limited.headers["x-ratelimit-remaining"]) == (429, "0")
    assert int(limited.headers["retry-after"]) > 0


def test_faults_happen_as_often_as_asked(client: TestClient) -> None:
    client.post("/_world/faults", json={"path": "/v2/observations", "times": 2, "status": 502, "body": "<html>"})
    assert [client.get(V2, headers=BASIC).status_code for _ in range(3)] == [502, 502, 200]
