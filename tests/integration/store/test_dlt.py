"""dlt's own SQL over HTTP: append, merge, nested tables, refresh, and a state restored by a fresh pipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import dlt
import pyarrow as pa
import pytest
from forge_pipelines.destination import forge_clickhouse
from forge_stack.wire import StoreDsn

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")


def pipeline(folder: Path, dsn: str) -> dlt.Pipeline:
    destination = forge_clickhouse(StoreDsn.parse(dsn))
    return dlt.pipeline("store_dlt", pipelines_dir=str(folder), destination=destination, dataset_name="dltest")


@dlt.resource(primary_key="id", write_disposition="merge")
def nested(cursor: Any = dlt.sources.incremental("at", initial_value=0)) -> Iterator[dict[str, Any]]:  # noqa: B008
    yield from (
        {"id": n, "at": n, "text": "it's; \\ 'quoted' %s {x:String}", "parts": [{"n": n, "deep": [n]}]}
        for n in range(5)
    )


def test_dlt_loads(tmp_path: Path, store_dsn: str) -> None:
    client = clickhouse_connect.get_client(dsn=store_dsn)
    client.command("create database if not exists bronze")
    one = pipeline(tmp_path / "one", store_dsn)
    rows = pa.table({"id": range(50_000), "value": ["v"] * 50_000})
    for _ in range(2):
        one.run(rows, table_name="appended", write_disposition="append").raise_on_failed_jobs()
    one.run(nested()).raise_on_failed_jobs()
    one.run([{"id": 1, "at": 9, "text": "new"}], table_name="nested", primary_key="id", write_disposition="merge")
    one.run([{"a": 1}], table_name="replaced", write_disposition="replace").raise_on_failed_jobs()
    one.run([{"a": 2}], table_name="replaced", write_disposition="replace").raise_on_failed_jobs()

    def count(table: str, what: str = "count()") -> Any:
        return client.query(f"select {what} from bronze.dltest_{table}").result_rows[0][0]

    assert count("appended") == 100_000
    assert (count("nested"), count("nested", "countIf(text = 'new')")) == (5, 1)
    assert count("nested", "anyIf(text, id = 0)") == "it's; \\ 'quoted' %s {x:String}"
    assert (count("replaced"), count("replaced", "max(a)")) == (1, 2)

    fresh = pipeline(tmp_path / "two", store_dsn)
    fresh.sync_destination()
    assert fresh.state["_state_version"] == one.state["_state_version"]
    info = fresh.run(nested())
    assert not info.has_failed_jobs
    assert count("nested") == 5
    fresh.run([{"a": 3}], table_name="replaced", refresh="drop_data").raise_on_failed_jobs()
    tables = client.query(
        "select name from system.tables where database = 'bronze' and name like 'dltest%'"
    ).result_rows
    for (name,) in tables:
        client.command(f"drop table bronze.{name} sync")
