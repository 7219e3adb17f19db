"""The store behind one function: an engine for its DSN, and what its errors mean."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import URL, Engine, Select, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

Row = dict[str, Any]

CONNECT_SECONDS = 3
QUERY_SECONDS = 15
POOL_SIZE = 8
POOL_WAIT_SECONDS = 5
# readonly 2: reads only, but settings may be given (1 would refuse the limits that follow).
CLICKHOUSE_SETTINGS = {"readonly": 2, "max_execution_time": QUERY_SECONDS, "max_result_rows": 20_000}


class StoreError(Exception):
    """A question the store did not answer; the text says why and what to do, and holds no secret."""


class StoreUnavailableError(StoreError):
    """The store is away, overloaded, or refused this API's user. Asking again later may work."""


class StoreTimeoutError(StoreError):
    """The store worked on the question longer than it may."""


class GoldMissingError(StoreError):
    """The store answers, but gold is not there (yet) in the shape this API reads."""

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = list(missing)


class Store:
    """The engine for a DSN that may change under it (a Secret rotates): a new DSN gets a new engine.

    `read_dsn` is called before each query and must be cheap; connections are pooled and bounded.
    """

    def __init__(self, read_dsn: Callable[[], str]) -> None:
        self._read_dsn = read_dsn
        self._lock = threading.Lock()
        self._dsn = ""
        self._engine: Engine | None = None

    def rows(self, query: Select[Any]) -> list[Row]:
        """Runs one query; raises StoreError, or what it was when the fault is this program's."""
        try:
            engine = self._current_engine()
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]
        except StoreError:
            raise
        except Exception as error:
            meaning = explain(error)
            if meaning is None:
                raise
            log.warning("the store did not answer: %s (%s)", meaning, type(error).__name__)
            raise meaning from error

    def close(self) -> None:
        """Closes the pooled connections."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _current_engine(self) -> Engine:
        try:
            dsn = self._read_dsn().strip()
        except OSError as error:
            raise StoreUnavailableError(f"the file with the store's DSN cannot be read: {error.strerror}") from error
        with self._lock:
            if self._engine is None or dsn != self._dsn:
                if self._engine is not None:
                    self._engine.dispose()
                self._engine, self._dsn = open_engine(dsn), dsn
            return self._engine


def open_engine(dsn: str) -> Engine:
    """A pooled, read-only engine for `dsn` (see `sqlalchemy_url`); nothing connects yet."""
    try:
        url, arguments = sqlalchemy_url(dsn)
        return create_engine(
            url,
            connect_args=arguments,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_recycle=1800,
            pool_pre_ping=url.get_backend_name() == "postgresql",  # over HTTP every query stands alone
            hide_parameters=True,
        )
    except (ArgumentError, NoSuchModuleError, ValueError):
        # The cause may quote the DSN, so it is not chained.
        raise StoreUnavailableError(
            "the store's DSN is not one this API understands: give http(s)://user:password@host:port, user and "
            "password percent-encoded, or a SQLAlchemy URL"
        ) from None


def sqlalchemy_url(dsn: str) -> tuple[URL, dict[str, Any]]:
    """The SQLAlchemy URL for a DSN, and the driver's arguments (time-outs, read only).

    The store's plain `http(s)://` becomes `clickhousedb://`, the dialect of clickhouse-connect: maintained for
    SQLAlchemy 2, typed results over the Native format, decimals and times exact. `clickhouse+http://`
    (clickhouse-sqlalchemy) works as well. The bare name `clickhouse://` is the latter's.
    """
    url = make_url(dsn)
    match url.drivername:
        case "http" | "https":
            secure = url.drivername == "https"
            url = url.set(drivername="clickhousedb", port=url.port or (8443 if secure else 8123))
            return url, _clickhouse_connect() | {"secure": secure}
        case "postgres" | "postgresql":
            url = url.set(drivername="postgresql+psycopg")
    if url.drivername.startswith("clickhousedb"):
        return url, _clickhouse_connect()
    if url.drivername.startswith("clickhouse"):
        return url, {"timeout": QUERY_SECONDS + 5, "ch_settings": CLICKHOUSE_SETTINGS}
    if url.drivername == "postgresql+psycopg":
        limits = f"-c default_transaction_read_only=on -c statement_timeout={QUERY_SECONDS * 1000} -c timezone=UTC"
        return url, {"connect_timeout": CONNECT_SECONDS, "options": limits}
    return url, {}


def _clickhouse_connect() -> dict[str, Any]:
    # A session would pin a connection of the store to each pooled client, for settings that no query leaves behind.
    return {
        "connect_timeout": CONNECT_SECONDS,
        "send_receive_timeout": QUERY_SECONDS + 5,
        "autogenerate_session_id": False,
        **CLICKHOUSE_SETTINGS,
    }


_REFUSED = "the store refused this API's user: check user and password in the store's Secret, and that it may read gold"
_NO_SETTINGS = "the store lets this API's user give no settings: give its profile readonly 2, not 1"
_AWAY = "the store does not answer: check that it runs and that the host and port of its DSN are right"
_BUSY = "the store is overloaded and gave the query up"
_SLOW = f"the store took longer than {QUERY_SECONDS} s: narrow the question"
_NOT_BUILT = "gold is not built yet: it appears when the first transform succeeds, after the first load"
_OTHER_SHAPE = "gold has another shape than this API reads: run the transform of the same version, with a full refresh"

# ClickHouse's numbers (ErrorCodes.cpp) and PostgreSQL's SQLSTATEs (appendix A of its manual).
MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    **dict.fromkeys(("60", "81", "42P01", "3F000", "3D000"), (GoldMissingError, _NOT_BUILT)),
    **dict.fromkeys(("16", "47", "42703"), (GoldMissingError, _OTHER_SHAPE)),
    **dict.fromkeys(("159", "160", "57014"), (StoreTimeoutError, _SLOW)),
    **dict.fromkeys(("192", "193", "194", "497", "516", "28P01", "28000", "42501"), (StoreUnavailableError, _REFUSED)),
    "164": (StoreUnavailableError, _NO_SETTINGS),
    **dict.fromkeys(("202", "241", "745", "53100", "53200", "53300", "53400"), (StoreUnavailableError, _BUSY)),
    **dict.fromkeys(("209", "210", "236", "394", "57P01", "57P02", "57P03"), (StoreUnavailableError, _AWAY)),
}
_MISSING_NAME = re.compile(r"\b(gold\.\w+)|[Dd]atabase (gold)\b|schema \"(gold)\"")


def explain(error: Exception) -> StoreError | None:
    """What an exception of a driver means, or None when it is a fault of this program."""
    if isinstance(error, PoolTimeout):
        return StoreUnavailableError(f"all {POOL_SIZE} connections to the store are busy")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = str(cause)
    number = re.search(r"\bCode: (\d+)", text)
    code = getattr(cause, "sqlstate", None) or (number[1] if number else None)
    if code in MEANINGS:
        kind, message = MEANINGS[code]
        if issubclass(kind, GoldMissingError):
            named = _MISSING_NAME.search(text)
            return kind(message, [next(filter(None, named.groups()))] if named else ["gold"])
        return kind(message)
    if code is not None:
        return None
    if "password authentication failed" in text:  # psycopg gives no SQLSTATE while it connects
        return StoreUnavailableError(_REFUSED)
    if "is readonly" in text:  # clickhouse-connect sees it before it asks
        return StoreUnavailableError(_NO_SETTINGS)
    # OSError covers sockets and requests; each driver has its own OperationalError for a lost server.
    lost = isinstance(cause, OSError) or type(cause).__name__ in ("OperationalError", "InterfaceError")
    return StoreUnavailableError(_AWAY) if lost else None
