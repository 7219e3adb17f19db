"""dlt's ClickHouse destination over HTTP alone.

Stock dlt 1.31 dials the native port for SQL and, for files, opens a new HTTP client each time, without the credentials'
time-outs, and takes every error for final. Here one HTTP client serves all, errors are told apart, passing ones are
retried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import Any, ClassVar, TypeVar

import clickhouse_connect
import tenacity
from clickhouse_connect import dbapi
from clickhouse_connect.driver import Client
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.tools import insert_file
from dlt.common.configuration import configspec
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema
from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    DatabaseUndefinedRelation,
)
from dlt.destinations.impl.clickhouse.clickhouse import ClickHouseClient
from dlt.destinations.impl.clickhouse.configuration import ClickHouseClientConfiguration, ClickHouseCredentials
from dlt.destinations.impl.clickhouse.factory import clickhouse
from dlt.destinations.impl.clickhouse.sql_client import ClickHouseDBApiCursorImpl, ClickHouseSqlClient
from dlt.destinations.sql_client import raise_database_error
from dlt.destinations.typing import DBApi, DBTransaction
from dlt.destinations.utils import _convert_to_old_pyformat
from forge_stack.wire import StoreDsn

from forge_pipelines.orphans import OpenLoads

BRONZE = "bronze"
SEPARATOR = "_"
CONNECT_TIMEOUT_SECONDS = 10
ANSWER_TIMEOUT_SECONDS = 300
ATTEMPTS = 8
"""Within a load: half a minute, in which a store may come back."""
FIRST_ATTEMPTS = 4
"""Before a load: a few seconds; nothing is lost yet."""
COMPRESSIONS = {"gz": "gzip"}
COMPUTED_HINT = "x-computed-columns"
"""Hint of a table: columns that the store computes (name to type and ALIAS expression)."""

UNDEFINED_RELATION = frozenset({60, 81})
# Codes of ClickHouse (src/Common/ErrorCodes.cpp) that a later attempt may not meet: busy, out of memory, network,
# keeper, too many parts, read-only replica, shutting down.
PASSING = frozenset(
    {
        159, 164, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286, 319, 335, 394, 425, 439, 473, 571,
        722, 745, 999, 1000, 1002,
    }
)  # fmt: skip

BEGUN: set[str] = set()
"""The loads of this process that were written down."""

FINAL_IN_THE_DRIVER = (driver.ProgrammingError, driver.NotSupportedError, driver.DataError, driver.InterfaceError)

Result = TypeVar("Result")


@configspec
class StoreConfiguration(ClickHouseClientConfiguration):
    """The store's configuration. As text it is host and port: stock dlt would import SQLAlchemy to write a URL."""

    def __str__(self) -> str:
        """Host and port, no user."""
        return f"{self.credentials.host}:{self.credentials.http_port}"


def forge_clickhouse(dsn: StoreDsn) -> clickhouse:
    """The destination `bronze.<prefix>_<table>` in the store of a DSN."""
    credentials = ClickHouseCredentials()
    credentials.host, credentials.http_port, credentials.port = dsn.host, dsn.port, dsn.port
    credentials.username, credentials.password = dsn.user, dsn.password
    credentials.database = BRONZE
    credentials.secure = 1 if dsn.secure else 0
    credentials.connect_timeout = CONNECT_TIMEOUT_SECONDS
    credentials.send_receive_timeout = ANSWER_TIMEOUT_SECONDS
    return HttpClickHouse(credentials=credentials, dataset_table_separator=SEPARATOR)


@lru_cache(maxsize=4)
def connect(host: str, port: int, user: str, password: str, secure: bool, patience: int, answer: int) -> Client:
    """The one client of this process for a store: without session and default database, so threads may share it."""
    return clickhouse_connect.get_client(
        host=host,
        port=port,
        username=user,
        password=password,
        secure=secure,
        connect_timeout=patience,
        send_receive_timeout=answer,
        autogenerate_session_id=False,
        client_name="forge-load",
    )


def store_client(dsn: StoreDsn) -> Client:
    """The client that the destination uses too."""
    return connect(
        dsn.host, dsn.port, dsn.user, dsn.password, dsn.secure, CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS
    )


def is_passing(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the transport failed, or the server said so by its code."""
    if not isinstance(error, driver.Error) or isinstance(error, FINAL_IN_THE_DRIVER):
        return False
    return error.code is None or error.code in PASSING


def patiently(action: Callable[[], Result], attempts: int = ATTEMPTS) -> Result:
    """Do it, again after passing errors. Every statement of a load may be repeated: inserts are keyed."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        wait=tenacity.wait_exponential_jitter(multiplier=0.3, max=8),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )
    return retrying(action)


class Rows:
    """A result as a DB API cursor. Its description is never None: a result without rows is a result."""

    def __init__(self, rows: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
        """Hold what the store answered."""
        self.description = [(name, None, None, None, None, None, None) for name in names]
        self._rows = iter(rows)

    def fetchone(self) -> Sequence[Any] | None:
        """The next row, None after the last."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Sequence[Any]]:
        """The next rows, at most `size`."""
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Sequence[Any]]:
        """All rows that are left."""
        return list(self._rows)

    def close(self) -> None:
        """Forget the rows."""
        self._rows = iter(())


class HttpSqlClient(ClickHouseSqlClient):
    """SQL and files over clickhouse-connect."""

    dbapi: ClassVar[DBApi] = dbapi

    def open_connection(self) -> Client:
        """Take the shared client."""
        to = self.credentials
        client: Client = patiently(
            lambda: connect(
                to.host,
                to.http_port,
                to.username,
                to.password or "",
                bool(to.secure),
                to.connect_timeout,
                to.send_receive_timeout,
            )
        )
        self._conn = client
        return client

    def close_connection(self) -> None:
        """Leave the client to others."""
        self._conn = None

    @contextmanager
    def begin_transaction(self) -> Iterator[DBTransaction]:
        """ClickHouse has no transactions: each statement stands alone."""
        yield self

    def commit_transaction(self) -> None:
        """Nothing to do."""

    def rollback_transaction(self) -> None:
        """Nothing to do."""

    def create_dataset(self) -> None:
        """Create the database too, and tolerate another first load beside this one."""
        self.execute_sql(f"CREATE DATABASE IF NOT EXISTS {self.catalog_name()}")
        sentinel = self.make_qualified_table_name(self.config.dataset_sentinel_table_name)
        self.execute_sql(
            f"CREATE TABLE IF NOT EXISTS {sentinel} (_dlt_id String) ENGINE = MergeTree PRIMARY KEY _dlt_id "
            "COMMENT 'marks that the tables of this source exist'"
        )

    @contextmanager
    @raise_database_error
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[ClickHouseDBApiCursorImpl]:
        """Run statements (split on semicolons, so literals must hold none) and give a cursor on the last."""
        values = dict(kwargs)
        if args:
            query, positional = _convert_to_old_pyformat(query, args, driver.OperationalError)
            values = {**positional, **values}
        values = self._sanitise_dbargs(values)
        cursor = Rows([], [])
        for statement in filter(None, (part.strip() for part in query.split(";"))):
            text = self.escape_pct(statement) if values else statement
            result = patiently(partial(self._conn.query, text, parameters=values or None))
            cursor = Rows(result.result_rows, list(result.column_names))
        yield ClickHouseDBApiCursorImpl(cursor)  # type: ignore[arg-type]

    @raise_database_error
    def insert_file(self, file_path: str, table_name: str, file_format: str, compression: str) -> Any:
        """Send a file as the body of one INSERT."""
        database, table = self.make_qualified_table_name_path(table_name, quote=False)
        return patiently(
            lambda: insert_file(
                self._conn,
                table,
                file_path,
                fmt=file_format,
                database=database,
                # Replicated engines drop a block that equals an earlier one; rows carry their load id, yet be safe.
                settings={"insert_deduplicate": 0},
                compression=COMPRESSIONS.get(compression),
            )
        )

    @classmethod
    def _make_database_exception(cls, ex: Exception) -> Exception:
        if not isinstance(ex, driver.Error):
            return ex
        if ex.code in UNDEFINED_RELATION:
            return DatabaseUndefinedRelation(ex)
        return DatabaseTransientException(ex) if is_passing(ex) else DatabaseTerminalException(ex)

    @staticmethod
    def is_dbapi_exception(ex: Exception) -> bool:
        """Whether the driver raised it."""
        return isinstance(ex, driver.Error)


class HttpJobClient(ClickHouseClient):
    """dlt's job client on that SQL client."""

    def __init__(
        self, schema: Schema, config: ClickHouseClientConfiguration, capabilities: DestinationCapabilitiesContext
    ) -> None:
        """Build as dlt does, then put the HTTP client in its place."""
        super().__init__(schema, config, capabilities)
        stock = self.sql_client
        self.sql_client = HttpSqlClient(
            stock.dataset_name,
            stock.staging_dataset_name,
            stock.known_table_names,
            config.credentials,
            capabilities,
            config,
        )

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """Make a job as dlt does; before the first of a load that inserts rows, the load is written down."""
        if load_id not in BEGUN and table["name"] not in self.schema.dlt_table_names():
            with self.sql_client:
                self._open_loads.begin(load_id)
            BEGUN.add(load_id)
        return super().create_load_job(table, file_path, load_id, restore)

    def complete_load(self, load_id: str) -> None:
        """Commit a load, with the rows of those that did not end."""
        if left := self._open_loads.left(load_id):
            tables = {table["name"]: table for table in self.schema.data_tables() if table["name"]}
            keys = {name: get_columns_names_with_prop(table, "primary_key") for name, table in tables.items()}
            self._open_loads.take_over(left, load_id, {name: key for name, key in keys.items() if key})
        super().complete_load(load_id)
        if left:
            self._open_loads.settle(left)

    @property
    def _open_loads(self) -> OpenLoads:
        return OpenLoads(self.sql_client, self.sql_client.make_qualified_table_name(self.schema.loads_table_name))

    def _get_table_update_sql(
        self, table_name: str, new_columns: Sequence[TColumnSchema], generate_alter: bool
    ) -> list[str]:
        hints: Any = self.prepare_load_table(table_name)
        computed: dict[str, str] = hints.get(COMPUTED_HINT) or {}
        table = self.sql_client.make_qualified_table_name(table_name)
        return [
            *super()._get_table_update_sql(table_name, new_columns, generate_alter),
            *(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in computed.items()),
        ]

    def _make_create_table(self, qualified_name: str, table: PreparedTableSchema) -> str:
        return f"CREATE TABLE IF NOT EXISTS {qualified_name}"


class HttpClickHouse(clickhouse):
    """The destination as dlt sees it."""

    spec = StoreConfiguration

    @property
    def client_class(self) -> type[ClickHouseClient]:
        """Which job client it makes."""
        return HttpJobClient


HttpClickHouse.register()
