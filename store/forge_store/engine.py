"""The engine: chDB opened on one data folder, its connections, and what it takes to cancel a query.

A chDB connection is serial; several run side by side. Settings, temporary tables and the current database belong to a
connection, and opening one costs under a millisecond: a request without a session gets its own and leaves nothing
behind, a session keeps one.
"""

import contextlib
import fcntl
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from chdb import _chdb

from forge_store.errors import StoreError
from forge_store.sql import quoted, quoted_name

logger = logging.getLogger(__name__)

# A string setting without effect outside PromQL: it marks the queries of a connection in system.processes.
TAG = "promql_table"
# What clickhouse-local turns on and a server does not; and data of the format Values may not call functions (`Guard`).
_AS_A_SERVER = (
    "SET implicit_select = 0, allow_introspection_functions = 0, input_format_values_interpret_expressions = 0, "
    "input_format_values_deduce_templates_of_expressions = 0"
)
_HIDDEN = "_local"
_CACHES = {
    "mark_cache_size": 128 << 20,
    "index_mark_cache_size": 32 << 20,
    "primary_index_cache_size": 64 << 20,
    "uncompressed_cache_size": 0,
    "mmap_cache_size": 100,
    "compiled_expression_cache_size": 32 << 20,
    "max_thread_pool_free_size": 32,
}
_FORWARDED = (
    "max_",
    "background_",
    "merge_tree",
    "timezone",
    "mark_cache",
    "index_",
    "primary_index_",
    "uncompressed_",
)


class InUseError(Exception):
    """Another process owns the data folder."""


@dataclass(frozen=True)
class Summary:
    """What a statement read and wrote: rows, bytes, seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    seconds: float = 0.0

    def header(self) -> str:
        """The value of X-ClickHouse-Summary."""
        return json.dumps(
            {
                "read_rows": str(self.read_rows),
                "read_bytes": str(self.read_bytes),
                "written_rows": str(self.written_rows),
                "written_bytes": str(self.written_bytes),
                "total_rows_to_read": "0",
                "result_rows": str(self.written_rows),
                "result_bytes": str(self.written_bytes),
                "elapsed_ns": str(int(self.seconds * 1e9)),
            },
            separators=(",", ":"),
        )


class Connection:
    """One serial connection to the engine. Every method blocks and raises StoreError."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.tag = uuid.uuid4().hex
        self.execute(_AS_A_SERVER + f", {TAG} = '{self.tag}'")

    def execute(
        self, sql: str, form: str = "TabSeparated", params: Mapping[str, str] | None = None
    ) -> tuple[bytes, Summary]:
        """Runs a statement; its result as bytes in the format."""
        try:
            result = self._raw.query(_bytes(sql), form, params=dict(params or {}))
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None
        return result.bytes(), Summary(
            result.rows_read(), result.bytes_read(), result.rows_written(), result.bytes_written(), result.elapsed()
        )

    def insert(self, head: str, form: str, chunks: Iterable[bytes]) -> Summary:
        """Feeds an INSERT with data; nothing is written unless all the chunks came."""
        try:
            inserter = self._raw.send_insert(_bytes(head), form)
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None
        try:
            for chunk in chunks:
                self._raw.insert_append(inserter, chunk)
            result = self._raw.insert_done(inserter)
        except RuntimeError as error:
            with contextlib.suppress(RuntimeError):
                self._raw.insert_cancel(inserter)
            raise StoreError.of_engine(error) from None
        except BaseException:
            with contextlib.suppress(RuntimeError):
                self._raw.insert_cancel(inserter)
            raise
        written, size = result.rows_written(), result.bytes_written()
        return Summary(written, size, written, size, result.elapsed())

    def classify(self, sql: str) -> tuple[str, int]:
        """The engine's own reading: READ_ONLY, MUTATING, CONTROL, ... or UNKNOWN, and how many statements."""
        found = self._raw.classify_query(_bytes(sql))
        return found["query_class"].name, found["statement_count"]

    def use(self, database: str) -> None:
        """Makes a database the current one."""
        self.execute(f"USE {quoted_name(database)}")

    def current_database(self) -> str:
        """The database of unqualified names."""
        return self.execute("SELECT currentDatabase()", "TabSeparatedRaw")[0].decode()[:-1]

    def set(self, settings: Mapping[str, str]) -> None:
        """Changes settings, all or none of them."""
        if settings:
            self.execute("SET " + ", ".join(f"{_checked(name)} = {quoted(value)}" for name, value in settings.items()))

    def values_of(self, names: Iterable[str]) -> dict[str, str]:
        """The present values of settings."""
        found = {}
        for name in names:
            content, _ = self.execute(f"SELECT toString(getSetting({quoted(name)}))", "TabSeparatedRaw")
            found[name] = content.decode()[:-1]
        return found

    def close(self) -> None:
        """Gives the connection up, with its settings and temporary tables."""
        self._raw.close()


class Engine:
    """The engine on its data folder. One process owns the folder: a second one is refused with the first one's pid."""

    def __init__(self, data: Path, server_settings: Mapping[str, Any] | None = None) -> None:
        self._lock = _own(data)
        configuration = data / "forge-store.xml"
        configuration.write_text(_configuration(data, server_settings or {}))
        _prepare_default_database(data)
        # The process is Python's and uvicorn's: the engine must not take its signals.
        _chdb.set_signal_handlers_enabled(False)  # type: ignore[attr-defined]
        self._address = f"{data}?config-file={configuration}"
        self._first = self.connect()
        # The database of clickhouse-local reads any file of the machine as a table.
        self._first.execute(f"DROP DATABASE IF EXISTS {_HIDDEN}")
        self.version = self.value("SELECT version()")
        self.timezone = self.value("SELECT timezone()")
        self.display_name = self.value("SELECT displayName()")
        self.content_types = dict(self.rows("SELECT name, content_type FROM system.formats"))

    def connect(self) -> Connection:
        """A new connection in the database `default`."""
        try:
            return Connection(_chdb.connect(self._address))  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise StoreError.of_engine(error) from None

    def rows(self, sql: str) -> Iterator[list[str]]:
        """A small result, for the server's own use."""
        content, _ = self._first.execute(sql, "JSONCompactStringsEachRow")
        for line in content.decode().splitlines():
            yield json.loads(line)

    def value(self, sql: str) -> str:
        """The first value of a small result."""
        return next(iter(self.rows(sql)))[0]

    def sources(self) -> list[str]:
        """Every table function, engine and dictionary source there is."""
        tables = ("table_functions", "table_engines", "database_engines", "dictionary_sources")
        return [row[0] for table in tables for row in self.rows(f"SELECT name FROM system.{table}")]  # noqa: S608

    def query_id(self, tag: str) -> str | None:
        """The engine's id of the query that runs on the connection of this tag."""
        found = list(self._control(f"SELECT query_id FROM system.processes WHERE Settings['{TAG}'] = '{tag}'"))  # noqa: S608
        return found[0][0] if found else None

    def kill(self, tag: str) -> None:
        """Asks the engine to stop the query that runs on the connection of this tag."""
        list(self._control(f"KILL QUERY WHERE Settings['{TAG}'] = '{tag}' ASYNC"))

    def _control(self, sql: str) -> Iterator[list[str]]:
        connection = self.connect()
        try:
            content, _ = connection.execute(sql, "JSONCompactStringsEachRow")
        finally:
            connection.close()
        return (json.loads(line) for line in content.decode().splitlines())

    def close(self) -> None:
        """Closes the engine and gives the folder up. No connection may be in use."""
        self._first.close()
        os.close(self._lock)


def _bytes(sql: str) -> bytes:
    """A statement as it came: what was not UTF-8 in it is kept."""
    return sql.encode("utf-8", "surrogateescape")


def _checked(name: str) -> str:
    if not (name.isascii() and name.replace(".", "_").isidentifier()):
        raise StoreError(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
    return name


def _own(data: Path) -> int:
    data.mkdir(parents=True, exist_ok=True)
    lock = os.open(data / "forge-store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode().strip() or "unknown"
        os.close(lock)
        raise InUseError(f"{data} is in use by process {owner}: stop it, or choose another --data") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _configuration(data: Path, server_settings: Mapping[str, Any]) -> str:
    """The engine's configuration file (it reads XML only): paths, modest caches, what the server's own files say."""
    settings: dict[str, Any] = dict(_CACHES)
    settings |= {name: value for name, value in server_settings.items() if name.startswith(_FORWARDED)}
    settings |= {
        "logger": {"level": "none"},
        "path": f"{data}/",
        "tmp_path": f"{data}/tmp/",  # noqa: S108
        "user_files_path": f"{data}/user_files/",
        "format_schema_path": f"{data}/format_schemas/",
        "default_database": _HIDDEN,
    }
    return f"<clickhouse>{_xml(settings)}</clickhouse>\n"


def _xml(tree: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_xml(value) if isinstance(value, Mapping) else escape(str(value))}</{name}>"
        for name, value in tree.items()
    )


def _prepare_default_database(data: Path) -> None:
    """Makes `default` an ordinary Atomic database instead of clickhouse-local's overlay over the file system.

    The engine wants a database `default` to exist, and gives the overlay (see `_HIDDEN`) the identity that the link
    `metadata/default` names. It makes the link again by itself when it loads the database.
    """
    metadata = data / "metadata"
    metadata.mkdir(exist_ok=True)
    if (metadata / "default").is_symlink():
        (metadata / "default").unlink()
    definition = metadata / "default.sql"
    if not definition.exists():
        started = metadata / "default.sql.new"
        started.write_text(f"ATTACH DATABASE _ UUID '{uuid.uuid4()}'\nENGINE = Atomic\n")
        started.rename(definition)
