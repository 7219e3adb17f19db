"""From a request to a query: which parameters are settings, where the statement is, where an INSERT's data begin."""

from collections.abc import Callable, Iterable, Iterator

from forge_store.body import Body, Text
from forge_store.errors import StoreError
from forge_store.exchange import Exchange
from forge_store.query import Query
from forge_store.sql import split_insert
from forge_store.users import User

# A statement in a body is looked for in this much of it before the whole is taken as the statement.
HEAD = 64 << 10
MAX_STATEMENT = 64 << 20
_NO_SETTINGS = frozenset(
    {
        *("query", "database", "default_format", "query_id", "user", "password", "quota_key", "role", "promql_table"),
        *("session_id", "session_timeout", "session_check", "compress", "decompress", "client_protocol_version"),
        *("wait_end_of_query", "buffer_size", "enable_http_compression", "stacktrace", "add_http_cors_header"),
        *("cancel_http_readonly_queries_on_client_close", "http_write_exception_in_output_format"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_response_buffer_size"),
    }
)


def read_request(exchange: Exchange, user: User, body: Body) -> Query:
    """The statement of a request, its data and its parameters."""
    params = exchange.params
    for name in ("compress", "decompress"):
        if exchange.says(name):
            instead = "Accept-Encoding" if name == "compress" else "Content-Encoding"
            raise StoreError(48, "NOT_IMPLEMENTED", f"{name}=1, blocks of the native protocol: use {instead}")
    if exchange.headers.get("content-type", "").startswith("multipart/form-data"):
        raise StoreError(
            48, "NOT_IMPLEMENTED", "multipart/form-data (external tables): create a temporary table instead"
        )
    query = Query(
        id=exchange.id,
        user=user,
        text=params.get("query", ""),
        default_format=params.get("default_format") or exchange.headers.get("x-clickhouse-format"),
        database=params.get("database") or exchange.headers.get("x-clickhouse-database"),
        settings={name: value for name, value in params.items() if not name.startswith("param_")},
        params={name[len("param_") :]: value for name, value in params.items() if name.startswith("param_")},
        compression=exchange.compression(),
        reads_only=exchange.method != "POST",
    )
    for name in _NO_SETTINGS:
        query.settings.pop(name, None)
    if query.default_format and not query.default_format.isalnum():
        raise StoreError(73, "UNKNOWN_FORMAT", f"Unknown format {query.default_format}")
    if query.text.strip():
        _statement_of_parameter(query, body)
    else:
        _statement_of_body(query, body)
    return query


def _statement_of_parameter(query: Query, body: Body) -> None:
    query.insert = split_insert(query.text, complete=True)
    if query.insert:
        inline = query.text[query.insert.data_at :].encode()
        query.data = _data(inline if inline.strip(b"; \t\r\n") else b"", body, 0)
    elif body.size:
        query.text += "\n" + _decoded(_whole(Text(body.pieces())))


def _statement_of_body(query: Query, body: Body) -> None:
    content = Text(body.pieces())
    head = content.take(HEAD)
    text = _decoded(head)
    query.insert = split_insert(text, complete=content.complete)
    if not query.insert:
        query.text = text = _decoded(_whole(content))
        query.insert = split_insert(text, complete=True)
    if query.insert:
        query.text = query.insert.head
        query.data = _data(b"", body, len(text[: query.insert.data_at].encode("utf-8", "surrogateescape")))


def _data(inline: bytes, body: Body, begins: int) -> Callable[[], Iterable[bytes]]:
    """An INSERT's data, as often as they are asked for: what stood in the URL, then the body after its statement."""

    def pieces() -> Iterator[bytes]:
        if inline:
            yield inline
        content = Text(body.pieces())
        content.take(begins)
        yield from content.after(begins)

    return pieces


def _whole(content: Text) -> bytes:
    statement = content.take(MAX_STATEMENT)
    if not content.complete:
        raise StoreError(229, "QUERY_IS_TOO_LARGE", f"A statement may have {MAX_STATEMENT} bytes")
    return statement


def _decoded(content: bytes) -> str:
    # Lossless, so that places in the text can be found again in the bytes.
    return content.decode("utf-8", "surrogateescape")
