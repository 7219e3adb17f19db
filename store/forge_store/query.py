"""One statement on one connection: what a worker thread does for a request.

A result comes through a pipe: the engine writes it (`INTO OUTFILE` the pipe, in any format, compressed if asked) while
the event loop sends it, so neither ever holds the whole. Statements without a large result return it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forge_store.engine import Connection, Engine, Summary
from forge_store.errors import StoreError
from forge_store.guard import Guard
from forge_store.sessions import Session
from forge_store.sql import Insert, Token, output_of, quoted, tokens, unquoted
from forge_store.users import User


@dataclass
class Query:
    """What a request asks for, and its state while it runs."""

    id: str
    user: User
    text: str
    default_format: str
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    insert: Insert | None = None
    data: Iterable[bytes] = ()
    compression: str = "none"
    reads_only: bool = False
    words: list[Token] = field(default_factory=list)
    tag: str | None = None
    is_read: bool = False
    cancelled: bool = False


@dataclass(frozen=True)
class Result:
    """How a statement ended; `content` is a result that did not go through the pipe."""

    summary: Summary
    content: bytes = b""


def read_statement(query: Query, guard: Guard) -> str:
    """Checks a statement by its words and finds the format of its result."""
    query.words = tokens(query.insert.head if query.insert else query.text)
    guard.check(query.words)
    for name in query.settings:
        guard.check_setting(name)
    if query.insert:
        return query.insert.format or query.default_format
    return output_of(query.text, query.words).format or query.default_format


def run(query: Query, engine: Engine, session: Session | None, pipe: int, running: Mapping[str, Query]) -> Result:
    """Runs a statement to its end, in a worker thread. Closes `pipe`, the writing end, whatever happens."""
    connection = None
    try:
        connection = _connection(query, engine, session)
        query.tag = connection.tag
        return _run(query, engine, connection, session, pipe, running)
    finally:
        query.tag = None
        os.close(pipe)
        if connection and not session:
            connection.close()


def _connection(query: Query, engine: Engine, session: Session | None) -> Connection:
    settings = {name: value for name, value in query.settings.items() if name != "readonly"}
    query.reads_only |= query.settings.get("readonly", "0") not in ("0", "false") and not query.user.readonly
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
    connection = session.connection
    is_set = bool(query.words) and query.words[0].says("SET")
    session.enter(connection, query.database, {} if is_set else settings)
    return connection


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
        return _insert(query, query.insert, connection)
    kind, statements = connection.classify(query.text)
    if statements > 1:
        raise StoreError(62, "SYNTAX_ERROR", "Multi-statements are not allowed: send one statement a request")
    if query.reads_only and kind != "READ_ONLY" and not query.words[0].says("SET", "USE"):
        raise _readonly(query)
    if query.cancelled:
        raise StoreError(394, "QUERY_WAS_CANCELLED", "Query was cancelled")
    if kind != "READ_ONLY":
        text = _with_engine_ids(query, engine, running) if query.words[0].says("KILL") else query.text
        content, summary = connection.execute(text, query.default_format, query.params)
        if session and query.words[0].says("USE") and len(query.words) > 1:
            name = query.words[-1] if query.words[-1].text != ";" else query.words[-2]
            session.used(unquoted(name) if name.kind == "name" else name.text)
        return Result(summary, content)
    query.is_read = True
    output = output_of(query.text, query.words)
    sql = output.into(f"/proc/self/fd/{pipe}", output.format or query.default_format, query.compression)
    _, summary = connection.execute(sql, "Null", query.params)
    return Result(summary)


def _insert(query: Query, insert: Insert, connection: Connection) -> Result:
    if query.reads_only:
        raise _readonly(query)
    if query.params:
        connection.set({f"param_{name}": value for name, value in query.params.items()})
    return Result(connection.insert(insert.head, insert.format or query.default_format, query.data))


def _readonly(query: Query) -> StoreError:
    return StoreError(
        164,
        "READONLY",
        f"{query.user.name}: Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries.",
    )


def _with_engine_ids(query: Query, engine: Engine, running: Mapping[str, Query]) -> str:
    """KILL QUERY by the ids that clients know: each is replaced by the engine's own."""
    text = query.text
    for word in reversed(query.words):
        other = running.get(word.text[1:-1]) if word.kind == "string" else None
        if other is None or other.user.name != query.user.name:
            continue
        other.cancelled = True
        engine_id = engine.query_id(other.tag) if other.tag else None
        text = text[: word.start] + quoted(engine_id or word.text[1:-1]) + text[word.end :]
    return text
