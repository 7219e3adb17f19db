"""dlt's own `rest_api` source, configured by its documentation for the same entities, into the same store.

`python -m bench.peers ENTITY STORE_PORT JSON` in a process of its own; prints {"seconds", "rows"}. Rows go as
dictionaries through dlt's normaliser, its default; stock dlt cannot reach a store over HTTP alone, so our destination
stands in for its own.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import dlt
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator, OffsetPaginator
from dlt.sources.rest_api import rest_api_source
from forge_pipelines.destination import forge_clickhouse
from forge_stack.wire import StoreDsn

Config = dict[str, Any]


def github(given: Config) -> Any:
    """Pull requests of one repository, and for each the four lists that its row needs; deployments and statuses."""
    base = f"repos/{given['repository']}"

    def listed(name: str, path: str, selector: str = "$", **params: Any) -> Config:
        endpoint = {"path": f"{base}/{path}", "params": {"per_page": 100, **params}, "data_selector": selector}
        return {"name": name, "endpoint": endpoint}

    def of(parent: str, field: str) -> Config:
        return {"type": "resolve", "resource": parent, "field": field}

    number = of("pulls", "number")
    resources: list[Any] = [
        listed("pulls", "pulls", state="all"),
        listed("details", "pulls/{number}", number=number),
        listed("reviews", "pulls/{number}/reviews", number=number),
        listed("commits", "pulls/{number}/commits", number=number),
        listed("check_runs", "commits/{sha}/check-runs", "check_runs", sha=of("pulls", "head.sha")),
        listed("deployments", "deployments"),
        listed("statuses", "deployments/{id}/statuses", id=of("deployments", "id")),
    ]
    client: Any = {
        "base_url": given["url"].rstrip("/") + "/",
        "auth": {"type": "bearer", "token": given["token"]},
        "paginator": "header_link",
    }
    return rest_api_source({"client": client, "resources": resources}, name="peer")


def jira(given: Config) -> Any:
    """Issues by the search, and the changelog of each: the search embeds 40 histories at most."""
    search = {
        "path": "rest/api/3/search/jql",
        "params": {"jql": given["jql"], "maxResults": 100, "fields": "*all"},
        "data_selector": "issues",
        "paginator": JSONResponseCursorPaginator(cursor_path="nextPageToken", cursor_param="nextPageToken"),
    }
    changelog = {
        "path": "rest/api/3/issue/{id}/changelog",
        "params": {"maxResults": 100, "id": {"type": "resolve", "resource": "issues", "field": "id"}},
        "data_selector": "values",
        "paginator": OffsetPaginator(100, offset_param="startAt", limit_param="maxResults", total_path="total"),
    }
    client = basic_client(given)
    resources: list[Any] = [
        {"name": "issues", "endpoint": search},
        {"name": "changelogs", "endpoint": changelog},
    ]
    return rest_api_source({"client": client, "resources": resources}, name="peer")


def langfuse(given: Config) -> Any:
    """Observations by the cursor of the v2 API."""
    endpoint = {
        "path": "api/public/v2/observations",
        "params": {
            "limit": 1000,
            "fields": given["fields"],
            "fromStartTime": given["from"],
            "toStartTime": given["to"],
        },
        "data_selector": "data",
        "paginator": JSONResponseCursorPaginator(cursor_path="meta.cursor", cursor_param="cursor"),
    }
    resources: list[Any] = [{"name": "observations", "endpoint": endpoint}]
    return rest_api_source({"client": basic_client(given), "resources": resources}, name="peer")


def prometheus(given: Config) -> Any:
    """Series by range queries, one a span of 11,000 steps; `rest_api` cannot page by time, so a resource of dlt's."""
    from dlt.sources.helpers import requests

    @dlt.resource(name="samples")
    def samples() -> Iterator[list[Config]]:
        start, end, step = int(given["start"]), int(given["end"]), int(given["step"])
        while start <= end:
            stop = min(start + 999 * step, end)
            params = {"query": given["query"], "start": start, "end": stop, "step": step}
            answer = requests.get(f"{given['url']}/api/v1/query_range", params=params)
            for series in answer.json()["data"]["result"]:
                yield [{"metric": series["metric"], "at": at, "value": value} for at, value in series["values"]]
            start = stop + step

    return samples


def basic_client(given: Config) -> Any:
    """A client with user and password."""
    secret = base64.b64encode(f"{given['user']}:{given['token']}".encode()).decode()
    return {"base_url": given["url"].rstrip("/") + "/", "headers": {"Authorization": f"Basic {secret}"}}


PEERS: dict[str, Callable[[Config], Any]] = {
    "github": github, "jira": jira, "langfuse": langfuse, "prometheus": prometheus
}  # fmt: skip


def main() -> None:
    """Load once."""
    entity, port, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    logging.getLogger("dlt").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(DLT_DATA_DIR=folder, RUNTIME__DLTHUB_TELEMETRY="false", DLT_PROJECT_DIR=folder)
        begun = time.monotonic()
        destination = forge_clickhouse(StoreDsn.parse(f"http://default:@127.0.0.1:{port}"))
        pipeline = dlt.pipeline(f"peer_{entity}", destination=destination, dataset_name="peer", pipelines_dir=folder)
        pipeline.run(PEERS[entity](given))
        took = time.monotonic() - begun
        trace: Any = pipeline.last_trace
        counts = trace.last_normalize_info.row_counts
        rows = {name: count for name, count in counts.items() if not name.startswith("_dlt")}
        print(json.dumps({"seconds": took, "rows": rows}))


if __name__ == "__main__":
    main()
