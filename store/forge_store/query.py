"""One statement on one connection: what a worker thread does for a request.

A result comes through a pipe: the engine writes it (`INTO OUTFILE` the pipe, in any format, compressed if asked) while
the event loop sends it, so neither ever holds the whole. Statements without a large result return it.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from forge_store.engine import Connection, Engine, Summary
from forge_store.errors import StoreError
from forge_store.guard import EVALUATION, Guard
from forge_store.sessions import Session
from forge_store.sql import Insert, Token, output_of, quoted, scan
from forge_store.users import User

_STREAMED = ("SELECT", "WITH", "FROM")


@dataclass
class Query:
    """What a request asks for, and its state while it runs."""

    id: str
    user: User
    text: str
    default_format: str | None = None
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    insert: Insert | None = None
    data: Callable[[], Iterable[bytes]] = tuple
    compression: str = "none"
    reads_only: bool = False
    words: list[Token] = field(default_factory=list)
    format: str = "TabSeparated"
    tag: str | None = None
    is_read: bool = False
    cancelled: bool = False
    abandoned: bool = False
    """Its client went away: if it turns out to read only, it need not run."""


@dataclass(frozen=True)
class Result:
    """How a statement ended; `content` is a result that did not go through the pipe."""

    summary: Summary
    content: bytes = b""


def check(query: Query, guard: Guard) -> None:
    """Checks a statement by its words and finds the format of its data or result."""
    query.words = list(scan(query.insert.head if query.insert else query.text))
    guard.check(query.words)
    for name in query.settings:
        guard.check_setting(name)
    if query.insert:
        query.format = query.insert.format or query.default_format or "Values"
        if query.format.lower() == "values" and not guard.suspects(query.data()):
            # Plain values need no evaluation; expressions could call what the guard refuses.
            query.settings |= dict.fromkeys(EVALUATION, "1")
    else:
        query.format = output_of(query.text, query.words).format or query.default_format or "TabSeparated"


def run(query: Query, engine: Engine, session: Session | None, pipe: int, running: Mapping[str, Query]) -> Result:
    """Runs a statement to its end, in a worker thread. Closes `pipe`, the writing end, whatever happens."""
    connection = None
    try:
        _stop_if_cancelled(query)
        connection = _connection(query, engine, session)
        query.tag = connection.tag
        return _run(query, engine, connection, session, pipe, running)
    finally:
        query.tag = None
        os.close(pipe)
        if connection and not session:
            connection.close()


def _connection(query: Query, engine: Engine, session: Session | None) -> Connection:
    """A connection with the user's profile and the request's database and settings."""
    settings = dict(query.settings)
    # On a connection `readonly` cannot be taken back: for a user who may write it is kept here, by statement class.
    query.reads_only |= settings.pop("readonly", "0") not in ("0", "false", "")
    if session is None:
        connection = engine.connect()
        try:
            _restrict(connection, query.user)
            if query.database:
                connection.use(query.database)
            connection.set(settings)
        except BaseException:
            connection.close()
            raise
        return connection
    if session.connection is None:
        session.connection = engine.connect()
        _restrict(session.connection, query.user)
    # What SET changes holds on: the request's own settings step aside for it.
    session.enter(session.connection, query.database, {} if _begins(query, "SET") else settings)
    return session.connection


def _restrict(connection: Connection, user: User) -> None:
    """The profile's settings; `readonly` last, for nothing can be changed under 1."""
    connection.set({name: value for name, value in user.settings.items() if name != "readonly"})
    if user.readonly:
        connection.set({"readonly": str(user.readonly)})


def _run(
    query: Query,
    engine: Engine,
    connection: Connection,
    session: Session | None,
    pipe: int,
    running: Mapping[str, Query],
) -> Result:
    if query.insert:
        if query.reads_only:
            raise _readonly(query)
        connection.set({f"param_{name}": value for name, value in query.params.items()})
        return Result(connection.insert(query.insert.head, query.format, query.data()))
    kind, statements = connection.classify(query.text)
    if statements > 1:
        raise StoreError(62, "SYNTAX_ERROR", "Multi-statements are not allowed: send one statement a request")
    query.is_read = kind == "READ_ONLY"
    if query.reads_only and not query.is_read and not _begins(query, "SET", "USE"):
        raise _readonly(query)
    if query.user.readonly and _begins(query, "SYSTEM", "UNDROP"):
        # The engine lets some of these pass.
        raise StoreError(164, "READONLY", f"{query.user.name}: Cannot execute query in readonly mode")
    query.cancelled |= query.abandoned and query.is_read
    _stop_if_cancelled(query)
    if query.is_read and (_begins(query, *_STREAMED) or query.words[0].text == "("):
        output = output_of(query.text, query.words)
        sql = output.into(f"/proc/self/fd/{pipe}", query.format, query.compression)
        return Result(connection.execute(sql, "Null", query.params)[1])
    text = _with_engine_ids(query, engine, running) if _begins(query, "KILL") else query.text
    content, summary = connection.execute(text, query.format, query.params)
    if session and _begins(query, "USE"):
        session.used(connection.current_database())
    return Result(summary, content)


def _begins(query: Query, *words: str) -> bool:
    return bool(query.words) and query.words[0].says(*words)


def _stop_if_cancelled(query: Query) -> None:
    if query.cancelled:
        raise StoreError(394, "QUERY_WAS_CANCELLED", "Query was cancelled")


def _readonly(query: Query) -> StoreError:
    why = "Cannot execute query in readonly mode. GET implies it: use POST for statements that change something"
    return StoreError(164, "READONLY", f"{query.user.name}: {why}")


def _with_engine_ids(query: Query, engine: Engine, running: Mapping[str, Query]) -> str:
    """KILL QUERY by the ids that clients know: each is replaced by the engine's own.

    A readonly user may stop only statements of the same user, named by their ids.
    """
    text, ids = query.text, []
    for word in reversed(query.words):
        other = running.get(word.text[1:-1]) if word.kind == "string" else None
        if other is None or (query.user.readonly and other.user.name != query.user.name):
            continue
        other.cancelled = True
        ids.append(quoted((engine.query_id(other.tag) if other.tag else None) or other.id))
        text = text[: word.start] + ids[-1] + text[word.end :]
    if not query.user.readonly:
        return text
    if not ids:
        raise StoreError(497, "ACCESS_DENIED", f"{query.user.name}: only statements of your own, by their query_id")
    return f"KILL QUERY WHERE query_id IN ({', '.join(ids)})"
