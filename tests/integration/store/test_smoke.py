import clickhouse_connect


def test_a_client_connects_and_asks(store_dsn: str, store_reader_dsn: str) -> None:
    for dsn in (store_dsn, store_reader_dsn):
        client = clickhouse_connect.get_client(dsn=dsn)
        assert client.query("select 1, 'a'").result_rows == [(1, "a")]
