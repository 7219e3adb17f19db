"""The simulated organisation's ground truth equals bronze, row by row and field by field."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

SECRETS = {
    "langfuse": {"publicKey": "pk-lf-demo", "secretKey": "sk-lf-demo"},
    "github": {"token": "ghp_demo"},
    "jira": {"email": "observer@acme-robotics.example", "token": "jira-demo"},
    "jiraDataCenter": {"token": "jira-demo"},
    "prometheus": {},
}
TABLES = {
    "langfuse": ("langfuse_traces", "langfuse_observations"),
    "github": ("github_pull_requests",),
    "jira": ("jira_issues", "jira_issue_changelogs"),
}
NOTHING_NEW = {"langfuse": 3, "github": 2, "jira": 2}
JSON_COLUMNS = {"tags", "metadata", "usage_details", "cost_details", "labels", "reviews", "commits", "custom_fields"}
KEYS = {
    "langfuse_traces": ("id",),
    "langfuse_observations": ("id",),
    "github_pull_requests": ("repository", "number"),
    "jira_issues": ("id",),
    "jira_issue_changelogs": ("issue_id", "history_id", "item_index"),
}


class Organisation:
    """The running demo: its addresses, its truth, and what a test makes happen in it."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.urls["world"] + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def truth(self, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        rows = self.ask(f"/truth?table={table}")
        return {tuple(row[k] for k in KEYS[table]): {k: plain(k, v) for k, v in row.items()} for row in rows}

    def source(self, kind: str, name: str, **values: Any) -> dict[str, Any]:
        spec: dict[str, Any] = {"url": self.urls[kind]}
        if kind != "prometheus":
            spec["credentialsSecretRef"] = {"name": "s"}
        spec |= {
            "langfuse": {"lag": "0s"},
            "github": {"organizations": ["acme-robotics"]},
            "jira": {"projects": ["FLEET", "PAY"], "customFields": ["customfield_10016", "customfield_10042"]},
            "jiraDataCenter": {"projects": ["FLEET", "PAY"], "customFields": ["customfield_10016"]},
            "prometheus": {"backfill": "3d"},
        }[kind]
        return {"name": name, "jira" if kind == "jiraDataCenter" else kind: {**spec, **values}}


def plain(column: str, value: Any) -> Any:
    """A value as both sides can say it: moments as datetimes, amounts as floats, JSON as values."""
    if isinstance(value, dict):
        return {key: plain(key, item) for key, item in value.items() if not (column == "metadata" and key == "summary")}
    if isinstance(value, list):
        return [plain(column, item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str) and (column.endswith(("_at", "_time", "At")) or column == "timestamp"):
        return datetime.fromisoformat(value)
    if column in ("total_cost", "input", "output", "total", "cache_read_input_tokens") and value is not None:
        return float(value)
    return value


def bronze(forge: Any, prefix: str, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """A table as silver reads it: FINAL, of committed loads."""
    entity = table.partition("_")[2]
    committed = f"select load_id from bronze.{prefix}__dlt_loads where status = 0"
    result = forge.store.query(f"select * from bronze.{prefix}_{entity} final where _dlt_load_id in ({committed})")
    found = {}
    for values in result.result_rows:
        row = dict(zip(result.column_names, values, strict=True))
        del row["_dlt_load_id"]
        row = {k: plain(k, orjson.loads(v) if k in JSON_COLUMNS else v) for k, v in row.items()}
        key = tuple(row[k] for k in KEYS[table])
        assert key not in found, f"{table}: {key} is there twice"
        found[key] = row
    return found


def assert_equal(forge: Any, organisation: Organisation, kind: str, prefix: str, leave: tuple[str, ...] = ()) -> None:
    for table in TABLES[kind]:
        is_, must = bronze(forge, prefix, table), organisation.truth(table)
        assert is_.keys() == must.keys(), f"{table}: {len(is_)} rows, {len(must)} expected"
        for key, row in must.items():
            wrong = {
                k: (is_[key].get(k, "absent"), v) for k, v in row.items() if k not in leave and is_[key].get(k) != v
            }
            assert not wrong, f"{table} {key}: (found, expected) {wrong}"
        assert set(next(iter(is_.values()))) == set(next(iter(must.values())))


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organisation]:
    """A world of 30 days that stands still a day ago, so that it may be moved on without reaching the future."""
    log = (tmp_path_factory.mktemp("demo") / "log").open("wb")
    command = [str(Path(sys.executable).parent / "forge-demo"), "serve", "--end", "now-2d", "--days", "30"]
    process = subprocess.Popen([*command, "--metrics-days", "1"], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, Path(log.name).read_text()
    yield Organisation(json.loads(line)["urls"])
    died = process.poll()
    process.terminate()
    process.wait(30)
    assert died is None, f"the demo ended with {died}: {Path(log.name).read_text()[-2000:]}"


def load(forge: Any, organisation: Organisation, kind: str, name: str, **values: Any) -> Any:
    loaded = forge.load(organisation.source(kind, name, **values), SECRETS[kind])
    assert loaded.code == 0, loaded.stdout + loaded.stderr
    return loaded


@pytest.mark.parametrize("kind", ["langfuse", "github", "jira"])
def test_full_again_and_after_the_world_moved_on(forge: Any, organisation: Organisation, kind: str) -> None:
    first = load(forge, organisation, kind, kind)
    assert_equal(forge, organisation, kind, kind)
    again = load(forge, organisation, kind, kind)
    assert again.summary["requests"] <= NOTHING_NEW[kind], "a load with nothing new is cheap"
    assert_equal(forge, organisation, kind, kind)
    organisation.ask("/advance", {"hours": 5})
    organisation.ask("/tickets", {"count": 2, "minutes": 30})
    moved = load(forge, organisation, kind, kind)
    assert sum(moved.summary["rows"].values()) < sum(first.summary["rows"].values())
    assert_equal(forge, organisation, kind, kind)


@pytest.mark.slow
@pytest.mark.parametrize("api", ["cursor", "pages"])
def test_langfuse_with_one_api_alone(forge: Any, organisation: Organisation, api: str) -> None:
    name = f"langfuse-{api}"
    organisation.ask("/settings", {"langfuse_v2": api == "cursor", "langfuse_legacy": api == "pages"})
    try:
        load(forge, organisation, "langfuse", name)
    finally:
        organisation.ask("/settings", {"langfuse_v2": True, "langfuse_legacy": True})
    # Where no list of traces is, a trace's times are those of its observations.
    leave = ("created_at", "updated_at") if api == "cursor" else ()
    assert_equal(forge, organisation, "langfuse", name.replace("-", "_"), leave)


def test_jira_data_center(forge: Any, organisation: Organisation) -> None:
    load(forge, organisation, "jiraDataCenter", "jira-dc", deployment="Auto")
    # Data Center names people by key, and gives a changelog's field no id.
    leave = ("assignee_id", "reporter_id", "author_id", "field_id", "custom_fields")
    assert_equal(forge, organisation, "jira", "jira_dc", leave)


def test_prometheus(forge: Any, organisation: Organisation) -> None:
    begin = int(time.time()) // 60 * 60 - 3 * 86_400
    since = {"since": datetime.fromtimestamp(begin, UTC).isoformat()}
    source = organisation.source("prometheus", "metrics", **since)
    first = load(forge, organisation, "prometheus", "metrics", **since)
    url = organisation.urls["prometheus"]

    def expected() -> dict[tuple[str, int], float]:
        end = int(time.time()) // 60 * 60
        query = f"query=%7B__name__%3D~%22forge_.%2B%22%7D&start={begin}&end={end}&step=60"
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}", timeout=60) as answer:
            result = json.loads(answer.read())["data"]["result"]
        return {
            (json.dumps(series["metric"], sort_keys=True), int(at)): float(value)
            for series in result
            for at, value in series["values"]
        }

    def found() -> dict[tuple[str, int], float]:
        series = {
            print_: json.dumps({"__name__": metric, **json.loads(labels)}, sort_keys=True)
            for print_, metric, labels in forge.rows(
                "select fingerprint, metric, labels from bronze.metrics_series final"
            )
        }
        rows = forge.rows("select fingerprint, toUnixTimestamp(sampled_at), value from bronze.metrics_samples final")
        assert len(rows) == len({row[:2] for row in rows})
        return {(series[print_], at): value for print_, at, value in rows}

    assert found() == expected() and first.summary["rows"]["samples"] > 10_000
    maps = forge.rows("select labels, toJSONString(labels_map), labels_map['stage'] from bronze.metrics_series final")
    assert maps and all(orjson.loads(text) == orjson.loads(typed) for text, typed, _ in maps)
    assert any(stage for *_, stage in maps)
    again = load(forge, organisation, "prometheus", "metrics", **since)
    assert again.summary["rows"]["samples"] < first.summary["rows"]["samples"] / 10
    assert found() == expected()
    bad = {**source, "prometheus": {**source["prometheus"], "queries": [{"name": "bad", "expr": "sum(("}]}}
    failed = forge.load({**bad, "name": "metrics-bad"}, {})
    assert (failed.code, failed.reason) == (1, "InvalidConfiguration")
    assert "prometheus.queries 'bad'" in failed.summary["error"]["message"]


@pytest.mark.parametrize("kind", ["langfuse", "github", "jira"])
def test_a_wrong_token_is_told(forge: Any, organisation: Organisation, kind: str) -> None:
    wrong = {key: f"wr0ng-{value}" for key, value in SECRETS[kind].items()}
    failed = forge.load(organisation.source(kind, f"wrong-{kind}"), wrong)
    assert (failed.code, failed.reason) == (1, "Unauthorized")
    assert "wr0ng" not in failed.stdout + failed.stderr + json.dumps(failed.summary)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["langfuse", "github", "jira"])
def test_faults_on_the_way_change_nothing(forge: Any, organisation: Organisation, kind: str) -> None:
    dice = random.Random(kind)
    faults: list[dict[str, Any]] = [
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 403, "headers": {"Retry-After": "1"}, "body": '{"message": "secondary rate limit"}'},
        {"status": 502, "body": "<html>Bad Gateway</html>"},
        {"status": 503},
        {"truncate_bytes": 500},
    ]
    dice.shuffle(faults)
    for fault in faults:
        organisation.ask("/faults", {"path": f"^/{kind}/", "times": 1, **fault})
    load(forge, organisation, kind, f"hard-{kind}")
    assert_equal(forge, organisation, kind, f"hard_{kind}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["langfuse", "github"])
def test_killed_and_run_again(forge: Any, organisation: Organisation, kind: str) -> None:
    source, dice = organisation.source(kind, f"kill-{kind}"), random.Random(kind)
    for _ in range(2):
        process = forge.start(source, SECRETS[kind])
        time.sleep(dice.uniform(1.0, 3.5))
        process.kill()
        process.communicate()
    load(forge, organisation, kind, f"kill-{kind}")
    assert_equal(forge, organisation, kind, f"kill_{kind}")


def test_a_used_up_budget_stops_the_load_and_the_next_one_goes_on(forge: Any, organisation: Organisation) -> None:
    source = organisation.source("github", "thrifty")
    organisation.ask("/settings", {"rate_limits": {"github_graphql": 53}})
    try:
        stopped = forge.load(source, SECRETS["github"])
    finally:
        organisation.ask("/settings", {"rate_limits": {}})
    assert (stopped.code, stopped.summary["outcome"]) == (0, "stopped"), stopped.stdout + stopped.stderr
    assert "limits the rate" in stopped.summary["warnings"][0]
    rest = load(forge, organisation, "github", "thrifty")
    assert_equal(forge, organisation, "github", "thrifty")
    assert rest.summary["rows"]["pull_requests"] > 0
