"""Retention of bronze against a real store: old rows go, nothing is altered twice, and it can be taken back."""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import StoreDsn, TransformSource
from forge_transform import retention

SOURCES = [TransformSource(name="r-jira", type="jira"), TransformSource(name="never-loaded", type="github")]


@pytest.fixture
def client(store_dsn: str) -> Iterator[Client]:
    dsn = StoreDsn.parse(store_dsn)
    client = clickhouse_connect.get_client(host=dsn.host, port=dsn.port, username=dsn.user, password=dsn.password)
    client.command("create database if not exists bronze")
    client.command(
        "create table bronze.r_jira_issues (id String, updated_at DateTime64(6, 'UTC')) "
        "engine = ReplacingMergeTree(updated_at) order by id"
    )
    yield client
    client.command("drop table bronze.r_jira_issues")


def ids(client: Client) -> list[str]:
    client.command("optimize table bronze.r_jira_issues final")
    return [row[0] for row in client.query("select id from bronze.r_jira_issues order by id").result_rows]


def test_old_rows_go_and_it_can_be_taken_back(client: Client) -> None:
    insert = "insert into bronze.r_jira_issues select '{}', now64(6) - interval {} day"
    client.command(insert.format("old", 40))
    client.command(insert.format("new", 10))
    assert retention.apply(client, SOURCES, None) == 0
    assert ids(client) == ["new", "old"]
    assert retention.apply(client, SOURCES, 30) == 1
    assert ids(client) == ["new"]
    assert retention.apply(client, SOURCES, 30) == 0, "what is in line is not altered again"
    assert retention.apply(client, SOURCES, 60) == 1
    assert retention.apply(client, SOURCES, None) == 1
    client.command(insert.format("older", 400))
    assert ids(client) == ["new", "older"]
