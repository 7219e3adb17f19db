"""The clients people use, through a started server."""

import datetime
import decimal
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

WRITER = ("forge", "wr:ite/r@1")


@pytest.fixture(params=["lz4", "zstd", "gzip", "br", False])
def client(request: pytest.FixtureRequest, store_dsn: str) -> Iterator[Any]:
    client = clickhouse_connect.get_client(dsn=store_dsn, compress=request.param)
    client.command("create database if not exists clients")
    yield client
    client.command("drop database clients sync")
    client.close()


def test_clickhouse_connect(client: Any) -> None:
    client.command(
        "create table clients.t (a Int64, b Nullable(String), c DateTime64(6, 'UTC'), d Decimal(38, 12)) order by a"
    )
    when = datetime.datetime(2026, 11, 1, 10, 0, 0, 123456)
    rows = [[1, "x", when, decimal.Decimal("1.5")], [2, None, when, decimal.Decimal("0.000000000001")]]
    assert client.insert("t", rows, database="clients").written_rows == 2
    assert client.query("select * from clients.t order by a").result_rows == [tuple(row) for row in rows]
    arrow = pa.table({"a": range(100_000), "b": ["z"] * 100_000})
    assert client.insert_arrow("clients.t", arrow).written_rows == 100_000
    frame = pd.DataFrame({"a": [-1], "b": ["df"], "c": [when], "d": [decimal.Decimal(2)]})
    client.insert_df("clients.t", frame)
    assert client.query_df("select * from clients.t where a < 0")["b"].tolist() == ["df"]
    assert client.query_arrow("select count() as n from clients.t").to_pydict() == {"n": [100_003]}
    with client.query_row_block_stream("select a, b from clients.t") as stream:
        assert sum(len(block) for block in stream) == 100_003
    bound = client.query("select {v:String} as v, {l:Array(Int32)} as l", parameters={"v": "it's\n\t\\", "l": [1, 2]})
    assert bound.result_rows == [("it's\n\t\\", [1, 2])]
    assert client.query("select %(v)s", parameters={"v": "o'clock"}).result_rows == [("o'clock",)]
    assert client.query("select * from clients.t where a = 5e9").result_rows == []
    assert client.query("select * from clients.t limit 0").column_names == ("a", "b", "c", "d")
    assert client.raw_query("select 1 as a", fmt="CSVWithNames") == b'"a"\n1\n'
    assert client.raw_insert("clients.t", ["a"], b"7\n8\n", fmt="CSV").written_rows == 2


def test_clickhouse_connects_sessions_and_settings(client: Any) -> None:
    client.command("create temporary table mine (a Int32)")
    client.insert("mine", [[1]], column_names=["a"])
    assert client.query("select * from mine").result_rows == [(1,)]
    client.command("set max_threads = 1")
    sql = "select getSetting('max_threads')"
    assert client.command(sql) == 1
    assert client.query(sql, settings={"max_threads": 3}).result_rows == [(3,)]
    assert client.command(sql) == 1


def test_clickhouse_connects_errors(client: Any) -> None:
    with pytest.raises(DatabaseError, match="code: 60"):
        client.query("select * from nothing_here")
    with pytest.raises(Exception, match=r"throwIf|cut|closed|Incomplete|decompress|Unexpected"):
        client.query("select cityHash64(number), throwIf(number = 2900000) from numbers(3000000)")
    assert client.command("select 1") == 1


def test_external_data_are_refused_by_name(client: Any) -> None:
    data = ExternalData(file_name="names.csv", data=b"1,one\n2,two\n", fmt="CSV", structure=["n Int32", "word String"])
    with pytest.raises(DatabaseError, match="create a temporary table instead"):
        client.query("select word from names where n = 2", external_data=data)


async def test_the_asynchronous_client(store_dsn: str) -> None:
    client = await clickhouse_connect.get_async_client(dsn=store_dsn, autogenerate_session_id=False)
    assert (await client.query("select number from numbers(3)")).result_rows == [(0,), (1,), (2,)]
    await client.close()


@pytest.mark.parametrize("dialect", ["clickhousedb", "clickhouse+http"])
def test_sqlalchemy(store_server: Any, dialect: str) -> None:
    user, password = map(quote_plus, WRITER)
    engine = sa.create_engine(f"{dialect}://{user}:{password}@127.0.0.1:{store_server.port}/default")
    name = "alchemy_" + dialect.replace("+", "_")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create or replace table {name} (a Int64, b String) engine = MergeTree order by a"))
        connection.execute(sa.text(f"insert into {name} select number, 'it''s ' || toString(number) from numbers(5)"))
        found = connection.execute(
            sa.text(f"select a, b from {name} where a > :low and b != :not"), {"low": 2, "not": "x"}
        )
        assert [tuple(row) for row in found] == [(3, "it's 3"), (4, "it's 4")]
        assert name in sa.inspect(engine).get_table_names()
        assert [column["name"] for column in sa.inspect(engine).get_columns(name)] == ["a", "b"]
        table = sa.Table(name, sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.String))
        assert connection.execute(sa.select(sa.func.count()).where(table.c.a < 2)).scalar() == 2
        with pytest.raises(sa.exc.DatabaseError if dialect == "clickhousedb" else Exception, match="nothing_here"):
            connection.execute(sa.text("select * from nothing_here"))
        connection.execute(sa.text(f"drop table {name}"))
    engine.dispose()


def test_parallel_clients_write(store_dsn: str) -> None:
    client = clickhouse_connect.get_client(dsn=store_dsn)
    client.command("create or replace table parallel_t (a Int64) engine = MergeTree order by a")

    def write(number: int) -> None:
        own = clickhouse_connect.get_client(dsn=store_dsn)
        for turn in range(5):
            own.insert("parallel_t", [[number * 100 + turn]] * 10, column_names=["a"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.query("select count(), uniqExact(a) from parallel_t").result_rows == [(400, 40)]
    client.command("drop table parallel_t sync")
