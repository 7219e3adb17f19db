"""What the program itself asks the store: is it there, what was built, how many rows gold has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from forge_stack.wire import Problem, StoreDsn

from forge_transform.project import GOLD_TABLES
from forge_transform.selection import Built


class StoreError(Exception):
    """The store cannot be used; `problem` says why and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@contextmanager
def connect(dsn: StoreDsn) -> Iterator[Client]:
    """A client of the store. Raises StoreError when the store does not answer or refuses the user."""
    try:
        client = clickhouse_connect.get_client(
            host=dsn.host,
            port=dsn.port,
            username=dsn.user,
            password=dsn.password,
            secure=dsn.secure,
            connect_timeout=10,
            autogenerate_session_id=False,
        )
    except ClickHouseError as error:
        raise StoreError(_explain(dsn, str(error))) from None
    try:
        yield client
    finally:
        client.close()


def _explain(dsn: StoreDsn, message: str) -> Problem:
    """Why connecting failed. 516 and 194 are ClickHouse's AUTHENTICATION_FAILED and REQUIRED_PASSWORD."""
    where = f"the store at {dsn.host}:{dsn.port}"
    if any(sign in message for sign in ("AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "Code: 516", "Code: 194", "401")):
        return Problem(
            reason="Unauthorized",
            message=f"{where} refuses user {dsn.user!r}: wrong user or password; correct the store's DSN",
        )
    return Problem(
        reason="StoreUnavailable",
        message=f"{where} does not answer: {_first_line(message)}; is it running and reachable?",
    )


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0][:300] if message.strip() else "no message"


def read_built(client: Client) -> Built:
    """What earlier transforms left."""
    rows = client.query("select database, name from system.tables where database in ('silver', 'gold')").result_rows
    relations = frozenset((str(database), str(name)) for database, name in rows)
    fingerprint = None
    if ("silver", "transform_settings") in relations:
        found = client.query("select settings_fingerprint from silver.transform_settings").result_rows
        fingerprint = str(found[0][0]) if len(found) == 1 else None
    return Built(relations, fingerprint)


def forget_settings(client: Client) -> None:
    """Before everything is built: what a build that fails half-way leaves was built with no one set of settings.

    The next transform then builds everything too, even when it has the settings of the last whole build again.
    """
    client.command("truncate table if exists silver.transform_settings")


def gold_rows(client: Client) -> dict[str, int]:
    """Rows of the gold tables that exist."""
    existing = read_built(client).relations
    tables = [f"gold.{table}" for table in GOLD_TABLES if ("gold", table) in existing]
    return {table: int(client.query(f"select count() from {table}").result_rows[0][0]) for table in tables}  # noqa: S608


def create_databases(client: Client) -> None:
    """Make the databases that models read or write; a stack that has not loaded yet has no bronze."""
    for database in ("bronze", "silver", "gold"):
        client.command(f"create database if not exists {database}")
