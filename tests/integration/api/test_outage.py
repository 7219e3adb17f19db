"""A store that goes away, comes back, refuses, or has nothing yet: what the caller is told, over both dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from forge_api import metrics
from forge_api.app import create_app
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from tests.conftest import StoreServer, start_store, stop_store

from .conftest import Row, fill_clickhouse

DIALECTS = ("http", "clickhouse+http")


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreServer]:
    """A store of one test alone, with a user more: `strict`, who may not even give settings."""
    users = tmp_path / "config" / "users.d" / "strict.yaml"
    users.parent.mkdir(parents=True)
    strict = {
        "users": {"strict": {"password": "hunter2", "profile": "strict"}},
        "profiles": {"strict": {"readonly": 1}},
    }
    users.write_text(yaml.safe_dump(strict))
    server = start_store(tmp_path)
    yield server
    stop_store(server)


@pytest.fixture(params=DIALECTS)
async def api(
    request: pytest.FixtureRequest, own_store: StoreServer, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The API over `own_store`; the user is the reader, or who the test writes into the DSN file."""
    url = make_url(own_store.reader_dsn).set(drivername=request.param)
    dsn = tmp_path / "dsn"
    dsn.write_text(url.render_as_string(hide_password=False))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(dsn.read_text)), base_url="http://api"
    ) as made:
        yield made


def log_in(folder: Path, user: str, password: str) -> None:
    file = folder / "dsn"
    file.write_text(
        make_url(file.read_text()).set(username=user, password=password).render_as_string(hide_password=False)
    )


async def test_a_store_that_stops_and_comes_back(
    api: httpx.AsyncClient, own_store: StoreServer, rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    fill_clickhouse(own_store.dsn, rows)
    before = (await api.get("/api/v1/tickets")).json()
    assert len(before["items"]) == 50
    stop_store(own_store)
    for path in ("/readyz", "/api/v1/tickets", "/api/v1/summary"):
        response = await api.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "10"), response.text
        assert response.json()["type"].endswith(":store-unavailable")
    own_store.process = start_store(tmp_path, "--port", str(own_store.port)).process
    assert (await api.get("/readyz")).status_code == 200
    assert (await api.get("/api/v1/tickets")).json() == before


async def test_metrics_of_the_sources_while_the_store_stops(
    api: httpx.AsyncClient, own_store: StoreServer, rows: dict[str, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scrape() -> tuple[float, list[tuple[str, float]]]:
        response = await api.get("/metrics")
        assert response.status_code == 200
        found = [s for family in text_string_to_metric_families(response.text) for s in family.samples]
        up = [s.value for s in found if s.name == "forge_api_store_up"]
        assert len(up) == 1
        sources = [(f"{s.name}{s.labels}", s.value) for s in found if s.name.startswith("forge_source_")]
        return up[0], sorted(sources)

    fill_clickhouse(own_store.dsn, rows)
    expected = [
        (f"forge_source_{name}{ {'source': row['source'], 'type': row['type']} }", value)
        for row in rows["coverage"]
        for name, value in (
            ("newest_event_timestamp_seconds", row["newest_event_at"] and row["newest_event_at"].timestamp()),
            ("last_load_timestamp_seconds", row["last_load_at"] and row["last_load_at"].timestamp()),
            ("rows", row["rows"]),
        )
        if value is not None
    ]
    assert len(expected) == 7  # a source that never loaded has rows, 0, and no times
    assert await scrape() == (1, sorted(expected))
    stop_store(own_store)
    assert await scrape() == (1, sorted(expected)), "the store is not asked at every scrape"
    monkeypatch.setattr(metrics, "CACHE_SECONDS", 0)
    assert await scrape() == (0, [])


async def test_gold_that_is_not_built_yet(
    api: httpx.AsyncClient, own_store: StoreServer, rows: dict[str, list[Row]]
) -> None:
    response = await api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["missing"] == ["gold"] or response.json()["missing"] == ["gold.tickets"]
    assert "first transform" in response.json()["detail"]
    fill_clickhouse(own_store.dsn, rows)
    assert (await api.get("/readyz")).status_code == 200


async def test_users_that_the_store_refuses(
    api: httpx.AsyncClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_in(tmp_path, "reader", "hunter2")
    response = await api.get("/readyz")
    assert (response.status_code, "refused this API's user" in response.text) == (503, True), response.text
    log_in(tmp_path, "strict", "hunter2")
    response = await api.get("/readyz")
    assert (response.status_code, "readonly 2, not 1" in response.text) == (503, True), response.text
    assert "hunter2" not in caplog.text
