import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

WRITER = ("forge", "wr:ite/r@1")
READER = ("reader", "re ad%er")


class Answer:
    """A response: status, headers, text and, for JSON, the data."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers, self.content = response.status_code, response.headers, response.content

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def code(self) -> int:
        return int(self.headers.get("X-ClickHouse-Exception-Code", 0))

    @property
    def summary(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.headers["X-ClickHouse-Summary"])
        return found


Ask = Callable[..., Answer]


@pytest.fixture
def ask(store_server: Any) -> Iterator[Ask]:
    """Asks the store as curl does: `ask(sql, **parameters)`."""
    with httpx.Client(base_url=store_server.url, timeout=120) as client:

        def ask(
            sql: str | bytes | None = None,
            data: Any = None,
            auth: tuple[str, str] | None = WRITER,
            method: str = "POST",
            headers: dict[str, str] | None = None,
            **params: Any,
        ) -> Answer:
            if data is not None and sql is not None:
                params["query"] = sql
            return Answer(
                client.request(
                    method,
                    "/",
                    params=params,
                    content=data if data is not None else sql,
                    auth=auth,
                    headers=headers,
                )
            )

        yield ask


@pytest.fixture
def raw(store_server: Any) -> Callable[..., http.client.HTTPResponse]:
    """A response that is not read yet."""

    def raw(sql: str, **params: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", store_server.port, timeout=120)
        headers = {"X-ClickHouse-User": WRITER[0], "X-ClickHouse-Key": WRITER[1]}
        connection.request("POST", "/?" + urlencode(params), sql, headers)
        return connection.getresponse()

    return raw


@pytest.fixture
def table(ask: Ask, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty table (a UInt64, b String) of this test's own."""
    name = "t_" + str(abs(hash(request.node.nodeid)))
    assert ask(f"create or replace table {name} (a UInt64, b String) engine = MergeTree order by a").status == 200
    yield name
    ask(f"drop table if exists {name} sync")
