"""Which of a store's errors may pass, and which end a load."""

import pytest
from clickhouse_connect.driver import exceptions as driver
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    DatabaseUndefinedRelation,
)
from forge_pipelines.destination import HttpSqlClient, Rows, patiently


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (driver.OperationalError("connection refused"), DatabaseTransientException),
        (driver.DatabaseError("503 from a proxy"), DatabaseTransientException),
        (driver.DatabaseError("too many parts", code=252), DatabaseTransientException),
        (driver.DatabaseError("memory limit", code=241), DatabaseTransientException),
        (driver.DatabaseError("unknown table", code=60), DatabaseUndefinedRelation),
        (driver.DatabaseError("unknown database", code=81), DatabaseUndefinedRelation),
        (driver.DatabaseError("type mismatch", code=53), DatabaseTerminalException),
        (driver.DatabaseError("authentication failed", code=516), DatabaseTerminalException),
        (driver.ProgrammingError("the driver refuses"), DatabaseTerminalException),
    ],
)
def test_errors_are_told_apart(error: driver.Error, kind: type[Exception]) -> None:
    assert type(HttpSqlClient._make_database_exception(error)) is kind


def test_errors_of_others_stay_themselves() -> None:
    error = KeyError("x")
    assert HttpSqlClient._make_database_exception(error) is error


def test_a_passing_error_is_tried_again_and_a_final_one_is_not() -> None:
    calls: list[int] = []

    def twice() -> str:
        calls.append(1)
        if len(calls) < 2:
            raise driver.OperationalError("reset")
        return "stored"

    assert patiently(twice) == "stored" and len(calls) == 2

    def never() -> None:
        calls.append(1)
        raise driver.DatabaseError("syntax", code=62)

    calls.clear()
    with pytest.raises(driver.DatabaseError):
        patiently(never)
    assert len(calls) == 1


def test_a_result_without_rows_is_still_a_result() -> None:
    rows = Rows([], ["a"])
    assert rows.description == [("a", None, None, None, None, None, None)]
    assert rows.fetchone() is None and rows.fetchall() == []
    assert Rows([], []).description == []
    assert Rows([(1,), (2,), (3,)], ["a"]).fetchmany(2) == [(1,), (2,)]
