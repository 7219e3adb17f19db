"""ClickHouse's HTTP interface over chDB, the embedded ClickHouse engine."""
