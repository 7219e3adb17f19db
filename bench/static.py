"""A server of ready bytes, as Langfuse and as Prometheus: what it costs to answer must not be what is measured.

`python -m bench.static PORT_FILE SAMPLES OBSERVATIONS`: so many in all. Not a simulator: it knows the two lists
that the benchmarks read, the rest of both APIs is empty.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
SPAN = timedelta(days=30)
SERIES = 100
STEP = 60


class Static(BaseHTTPRequestHandler):
    """Answers GET and POST; `rows` is how many samples there are in all."""

    protocol_version = "HTTP/1.1"
    rows: ClassVar[int] = 0
    starts: ClassVar[list[str]] = []
    ready: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        """One answer."""
        url = urlsplit(self.path)
        size = int(self.headers.get("content-length") or 0)
        given = parse_qs(url.query) | parse_qs(self.rfile.read(size).decode() if size else "")
        params = {name: values[-1] for name, values in given.items()}
        body = self.answer(url.path, params)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def answer(self, path: str, params: dict[str, str]) -> bytes:
        """The body."""
        if path.endswith("/v2/observations"):
            return self.observations(params)
        if path.endswith("/query_range"):
            return self.samples(params)
        if path.endswith("/projects"):
            return b'{"data":[{"id":"bench","name":"bench","metadata":{}}]}'
        if "/api/v1/" in path:
            return b'{"status":"success","data":{}}'
        return b'{"data":[],"meta":{"totalItems":0,"totalPages":0,"page":1,"limit":100}}'

    def observations(self, params: dict[str, str]) -> bytes:
        """A page, newest first; the cursor is the index of the next row from the end."""
        low = bisect_left(self.starts, _plain(params.get("fromStartTime", "")))
        high = bisect_left(self.starts, _plain(params.get("toStartTime", "9")))
        high = min(int(params.get("cursor") or high), high)
        limit = min(int(params.get("limit", 50)), 1000)
        first = max(high - limit, low)
        rows = b",".join(reversed(self.ready[first:high]))
        cursor = b',"cursor":"%d"' % first if first > low else b""
        return b'{"data":[%s],"meta":{"limit":%d%s}}' % (rows, limit, cursor)

    def samples(self, params: dict[str, str]) -> bytes:
        """A matrix of the steps asked for that the world has."""
        start, end, step = (int(float(params[name])) for name in ("start", "end", "step"))
        begin = int(BEGIN.timestamp())
        last = begin + (self.rows // SERIES - 1) * STEP
        times = range(max(start, begin), min(end, last) + 1, step)
        values = b",".join(b'[%d,"%d.25"]' % (at, at % 7919) for at in times)
        if not values:
            return b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
        series = b",".join(
            b'{"metric":{"__name__":"forge_bench","worker":"%d"},"values":[%s]}' % (number, values)
            for number in range(SERIES)
        )
        return b'{"status":"success","data":{"resultType":"matrix","result":[%s]}}' % series

    def log_message(self, *_: Any) -> None:
        """Nothing."""


OBSERVATION = (
    b'{"id":"%(id)s","traceId":"%(trace)s","projectId":"bench","parentObservationId":%(parent)s,"type":"GENERATION",'
    b'"name":"llm-call","level":"DEFAULT","statusMessage":null,"environment":"default","version":null,'
    b'"startTime":"%(at)s","endTime":"%(at)s","completionStartTime":null,"createdAt":"%(at)s","updatedAt":"%(at)s",'
    b'"providedModelName":"claude-sonnet-4","internalModelId":null,"modelParameters":{"temperature":"0"},'
    b'"usageDetails":{"input":%(n)s,"output":120,"total":%(n)s},"costDetails":{"input":%(cost)s,"total":%(cost)s},'
    b'"inputUsage":%(n)s,"outputUsage":120,"totalUsage":%(n)s,"totalCost":%(cost)s,"inputCost":%(cost)s,"latency":1.5,'
    b'"timeToFirstToken":null,"promptId":null,"promptName":"implement","promptVersion":3,'
    b'"metadata":{"ticket":"%(key)s","stage":"implement","repo":"acme/fleet","attempt":"1"},'
    b'"traceName":"implement %(key)s","tags":["ticket:%(key)s"],"userId":"forge","sessionId":"%(key)s","release":null}'
)


def observation(index: int, start: str) -> bytes:
    """One row in every group of fields."""
    return OBSERVATION % {
        b"id": b"%032x" % index,
        b"trace": b"%032x" % (index // 5),
        b"parent": b"null" if index % 5 == 0 else b'"%032x"' % (index // 5 * 5),
        b"at": start.encode(),
        b"n": b"%d" % (index % 5000),
        b"cost": b"0.00%04d" % (index % 9973),
        b"key": b"FLEET-%d" % (index // 50 % 900),
    }


def _plain(text: str) -> str:
    """A moment in the one form that sorts as text."""
    try:
        return _text(datetime.fromisoformat(text))
    except ValueError:
        return text


def _text(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def main() -> None:
    """Serve until killed."""
    port_file, Static.rows, observations = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    Static.starts = [_text(BEGIN + SPAN * (index / observations)) for index in range(observations)]
    Static.ready = [observation(index, start) for index, start in enumerate(Static.starts)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Static)
    server.daemon_threads = True
    port_file.write_text(json.dumps(server.server_port))
    server.serve_forever()


if __name__ == "__main__":
    main()
