"""Retention against a real store: old rows go, nothing is altered twice, and it can be taken back.

Partitions of a table that keeps its rows for a time can still be replaced and copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import StoreDsn, TransformRequest
from forge_transform import publish, retention, store
from forge_transform.store import Store

SOURCES = [{"name": "r-jira", "type": "jira"}, {"name": "never-loaded", "type": "github"}]
TIME = "DateTime64(6, 'UTC')"
COLUMNS = "(id String, month UInt32, at {}) engine = MergeTree partition by month order by id"


@pytest.fixture
def client(store_dsn: str) -> Iterator[Client]:
    dsn = StoreDsn.parse(store_dsn)
    client = clickhouse_connect.get_client(host=dsn.host, port=dsn.port, username=dsn.user, password=dsn.password)
    for database in store.DATABASES:
        client.command(f"create database if not exists {database}")
    client.command(
        "create table bronze.r_jira_issues (id String, updated_at DateTime64(6, 'UTC')) "
        "engine = ReplacingMergeTree(updated_at) order by id"
    )
    yield client
    for table in ("bronze.r_jira_issues", "silver.r_table", "silver.r_new", "gold_next.r_table", "gold.r_table"):
        client.command(f"drop table if exists {table} sync")


def ids(client: Client, table: str) -> list[str]:
    return [row[0] for row in client.query(f"select id from {table} order by id").result_rows]


def apply(client: Client, **days: int | None) -> int:
    asked = {f"{layer}_retention_days": number for layer, number in days.items()}
    request = TransformRequest.model_validate({"sources": SOURCES} | asked)
    times = {("silver", "r_table"): "at", ("gold_next", "r_table"): "at", ("silver", "not_there"): "at"}
    return retention.apply(Store(client), request, times)


def write(client: Client, table: str, **days_ago: int | None) -> None:
    for id_, days in days_ago.items():
        at = "null" if days is None else f"now64(6, 'UTC') - interval {days} day"
        client.command(f"insert into {table} (id, month, at) select '{id_}', {len(id_)}, {at}")


def test_old_rows_of_bronze_go_and_it_can_be_taken_back(client: Client) -> None:
    insert = "insert into bronze.r_jira_issues select '{}', now64(6) - interval {} day"
    client.command(insert.format("old", 40))
    client.command(insert.format("new", 10))
    assert apply(client) == 0
    assert ids(client, "bronze.r_jira_issues") == ["new", "old"]
    assert apply(client, bronze=30) == 1
    client.command("optimize table bronze.r_jira_issues final")
    assert ids(client, "bronze.r_jira_issues") == ["new"]
    assert apply(client, bronze=30) == 0, "what is in line is not altered again"
    assert apply(client, bronze=60) == 1
    assert apply(client) == 1
    client.command(insert.format("older", 400))
    client.command("optimize table bronze.r_jira_issues final")
    assert ids(client, "bronze.r_jira_issues") == ["new", "older"]


def test_a_hundred_years_are_no_moment_long_ago(client: Client) -> None:
    """A DateTime ends in 2106: what is to be kept until 2126 was once gone at once."""
    client.command("insert into bronze.r_jira_issues select 'new', now64(6)")
    assert apply(client, bronze=36500) == 1
    client.command("optimize table bronze.r_jira_issues final")
    assert ids(client, "bronze.r_jira_issues") == ["new"]


@pytest.mark.parametrize("type_", ["DateTime64(6, 'UTC')", "Nullable(DateTime64(6, 'UTC'))"])
def test_partitions_come_and_go_under_a_ttl(client: Client, type_: str) -> None:
    """As a partial build does: rows come in a table without a TTL, and its partition takes the place of another."""
    for table in ("r_table", "r_new"):
        client.command(f"create table silver.{table} {COLUMNS.format(type_)}")
    write(client, "silver.r_table", a=1, b=40, cc=2)
    assert apply(client, silver=30, gold=20) == 1
    assert ids(client, "silver.r_table") == ["a", "cc"]
    nothing = {"n": None} if type_.startswith("Nullable") else {}
    write(client, "silver.r_new", a=1, d=3, e=50, ff=60, **nothing)
    client.command("alter table silver.r_table replace partition 1 from silver.r_new")
    assert "e" in ids(client, "silver.r_table")
    assert apply(client, silver=30, gold=20) == 0
    assert ids(client, "silver.r_table") == ["a", "cc", "d", *nothing]
    asked = "select count() from system.mutations where table = 'r_table'"
    mutations = client.query(asked).result_rows
    assert apply(client, silver=30, gold=20) == 0
    assert client.query(asked).result_rows == mutations, "what has been counted is not counted again"


def test_gold_takes_the_retention_of_what_it_is_copied_from(client: Client) -> None:
    client.command(f"create table gold_next.r_table {COLUMNS.format(TIME)}")
    write(client, "gold_next.r_table", a=1, b=40)
    assert publish.publish(Store(client), {"r_table"}) == ["r_table"]
    assert ids(client, "gold.r_table") == ["a", "b"]
    assert apply(client, gold=30) == 1
    assert publish.publish(Store(client), {"r_table"}) == ["r_table"]
    assert ids(client, "gold.r_table") == ["a"]
    asked = "select create_table_query like '%TTL toDate(at) + toIntervalDay(30)%' from system.tables where name = "
    assert set(client.query(asked + "'r_table' and database in ('gold', 'gold_next')").result_rows) == {(1,)}
    assert publish.publish(Store(client), {"r_table"}) == []
