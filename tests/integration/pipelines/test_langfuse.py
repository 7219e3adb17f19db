"""Langfuse against a server that answers by a script: what it has, how it pages, what is late, gone or back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa
import pytest
from forge_pipelines.http import Api, Patience
from forge_pipelines.problems import LoadError, RateLimited
from forge_pipelines.sources import Page, Scope, langfuse, langfuse_windows
from forge_pipelines.sources.langfuse_api import GROUPS, SMALLEST_PAGE
from forge_pipelines.tables import DELETIONS, Table
from forge_stack.model import LangfuseSource

FAST = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = {"credentialsSecretRef": {"name": "s"}}
PROJECT = {"data": [{"id": "p"}]}


def api(url: str, **values: Any) -> Api:
    return Api(url, {}, basic=("pk", "sk"), patience=FAST, **values)


def spec_of(url: str, **values: Any) -> LangfuseSource:
    return LangfuseSource.model_validate({"url": url, "lag": "0s", **SECRET, **values})


def reply(**values: Any) -> Any:
    """An answer of the script; the fields are those of conftest's Reply."""
    return SimpleNamespace(**{"body": None, "status": 200, "headers": {}, "cut": False, "drop": False, **values})


def rows(pages: list[Page], table: str) -> list[dict[str, Any]]:
    return [row for page in pages if table in page.rows for row in page.rows[table].to_pylist()]


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def between(call: Any, name: str) -> tuple[datetime, datetime]:
    """The window that a call asks for."""
    low, high = (
        call.params.get(f"from{name}", "2000-01-01T00:00:00Z"),
        call.params.get(f"to{name}", "2100-01-01T00:00:00Z"),
    )
    return datetime.fromisoformat(low), datetime.fromisoformat(high)


class Server:
    """A Langfuse of observations: {id: (trace, start, update, parent)}; cursor and pages as it is told to have."""

    def __init__(self, *, cursor: bool = True, pages: bool = False, missing: int = 404) -> None:
        self.cursor, self.pages, self.missing = cursor, pages, missing
        self.observations: dict[str, tuple[str, datetime, datetime, str | None]] = {}
        self.scores: dict[str, tuple[datetime, datetime]] = {}
        self.before: Callable[[Any], Any] = lambda call: None
        self.roots_hidden_once: set[str] = set()

    def trace(self, id_: str, start: datetime, *, children: int = 1, updated: datetime | None = None) -> None:
        for n in range(children + 1):
            at = start + timedelta(seconds=n)
            self.observations[f"{id_}/{n}"] = id_, at, updated or at, f"{id_}/0" if n else None

    def delete(self, id_: str) -> None:
        self.observations = {key: o for key, o in self.observations.items() if o[0] != id_}

    def __call__(self, call: Any) -> Any:
        if (made := self.before(call)) is not None:
            return made
        kind = call.path.removeprefix("/api/public/")
        if kind == "projects":
            return reply(body=PROJECT)
        if self.cursor and kind == "v2/observations":
            return self.paged(call, self.found(call), 1000)
        if self.cursor and kind == "v3/scores":
            return self.paged(call, self.found_scores(call), 100)
        if self.pages and kind == "observations":
            return self.numbered(call, self.found(call))
        if self.pages and kind.startswith("traces"):
            return self.traces(call)
        if self.pages and kind in ("sessions", "v2/scores"):
            return self.numbered(call, [])
        return reply(status=self.missing, body={"message": "not here"})

    def found(self, call: Any) -> list[dict[str, Any]]:
        low, high = between(call, "StartTime")
        found = []
        for id_, (trace, start, updated, parent) in self.observations.items():
            if not low <= start < high:
                continue
            if call.params.get("traceId", trace) != trace or (call.params.get("isRootObservation") and parent):
                continue
            found.append(
                {"id": id_, "traceId": trace, "startTime": iso(start), "updatedAt": iso(updated), "type": "SPAN",
                 "parentObservationId": parent, "projectId": "p", "createdAt": iso(start), "sessionId": f"S-{trace}"}
            )  # fmt: skip
        return sorted(found, key=lambda o: (o["startTime"], o["id"]), reverse=True)

    def found_scores(self, call: Any) -> list[dict[str, Any]]:
        low, high = between(call, "Timestamp")
        return [
            {"id": id_, "projectId": "p", "name": "n", "timestamp": iso(at), "createdAt": iso(at), "updatedAt": iso(to),
             "dataType": "NUMERIC", "value": 1, "source": "API", "subject": {"kind": "trace", "id": "t"}}
            for id_, (at, to) in self.scores.items() if low <= at < high
        ]  # fmt: skip

    def paged(self, call: Any, found: list[dict[str, Any]], most: int) -> Any:
        size, begin = int(call.params["limit"]), int(call.params.get("cursor", 0))
        if size > most:
            return reply(status=400, body={"message": "limit"})
        meta = {"cursor": str(begin + size)} if begin + size < len(found) else {}
        return reply(body={"data": found[begin : begin + size], "meta": meta})

    def numbered(self, call: Any, found: list[dict[str, Any]]) -> Any:
        size, page = int(call.params["limit"]), int(call.params.get("page", 1))
        if size > 100:
            return reply(status=400, body={"message": "limit"})
        meta = {"page": page, "totalPages": -(-len(found) // size), "totalItems": len(found)}
        return reply(body={"data": found[(page - 1) * size : page * size], "meta": meta})

    def traces(self, call: Any) -> Any:
        roots = {
            t: {"id": t, "timestamp": iso(start), "updatedAt": iso(updated)}
            for t, start, updated, parent in self.observations.values() if parent is None
        }  # fmt: skip
        _, _, wanted = call.path.removeprefix("/api/public/").partition("/")
        if wanted:
            return reply(body=roots[unquote(wanted)])
        low, high = between(call, "Timestamp")
        shown = [r for r in roots.values() if low <= datetime.fromisoformat(r["timestamp"]) < high]
        hidden, self.roots_hidden_once = self.roots_hidden_once, set()
        return self.numbered(call, [r for r in shown if r["id"] not in hidden])


class Bronze:
    """What loads have stored, kept in memory: the newest version of a row wins, rows come with their clean cursor."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, dict[str, Any]]] = {}
        self.state: dict[str, Any] = {}

    def load(self, spec: LangfuseSource, now: datetime, *, cursors: int | None = None) -> Any:
        """Run a load (only to its clean cursor of that number); gives its scope and its requests."""
        client, clean = api(spec.url), 0
        scope = Scope(self.state, now, stored=self.stored)
        waiting: list[tuple[str, pa.Table]] = []
        for page in langfuse.pages(spec, client, scope):
            if clean == cursors:
                break
            waiting += page.rows.items()
            if page.state is not None:
                for name, table in waiting:
                    self.keep(name, table)
                self.state, waiting, clean = orjson.loads(orjson.dumps(page.state)), [], clean + 1
        return SimpleNamespace(scope=scope, requests=client.requests)

    def keep(self, name: str, table: pa.Table) -> None:
        """Store rows."""
        held = self.tables.setdefault(name, {})
        keys = ["entity", "entity_key"] if name == "deletions" else ["id"]
        version = {"deletions": "deleted_at", "sessions": "loaded_at"}.get(name, "updated_at")
        for row in table.to_pylist():
            key = tuple(row[k] for k in keys)
            if key not in held or row[version] >= held[key][version]:
                held[key] = row

    def stored(self, table: Table, columns: Any, where: str = "") -> pa.Table:
        held = pa.Table.from_pylist(list(self.tables.get(table.name, {}).values()), schema=table.schema)
        for part in where.split(" and "):
            if " in (" in part:
                column, _, values = part.partition(" in (")
                wanted = {v.strip(" '") for v in values.rstrip(")").split(",")}
                held = held.filter(pa.array([v in wanted for v in held.column(column).to_pylist()], pa.bool_()))
            elif "fromUnixTimestamp64Micro" in part:
                column, sign, rest = part.split(" ", 2)
                bound = int(rest.partition("(")[2].partition(",")[0])
                times = held.column(column).cast(pa.int64()).to_pylist()
                held = held.filter(pa.array([t >= bound if sign == ">=" else t < bound for t in times], pa.bool_()))
            elif part == "reason = 'deleted'":
                held = held.filter(pa.array([r == "deleted" for r in held.column("reason").to_pylist()], pa.bool_()))
            else:
                assert not part, part
        return held.select(list(columns))

    def ids(self, table: str) -> set[str]:
        return {key[-1] for key in self.tables.get(table, {})}

    def noted(self, reason: str) -> set[tuple[str, str]]:
        return {
            (entity, orjson.loads(key)[1])
            for (entity, key), row in self.tables.get(DELETIONS.name, {}).items()
            if row["reason"] == reason
        }


# What the server has


def test_empty_pages_are_no_end_while_a_cursor_is_given(scripted: Any) -> None:
    at = iso(NOW - timedelta(hours=1))
    one = {"id": "o", "traceId": "t", "startTime": at, "type": "SPAN", "projectId": "p", "updatedAt": at}
    pages = {None: ([], "1"), "1": ([one], "2"), "2": ([], "3"), "3": ([{**one, "id": "p", "traceId": "u"}], None)}

    def script(call: Any) -> Any:
        if call.path == "/api/public/projects":
            return reply(body=PROJECT)
        if call.path != "/api/public/v2/observations":
            return reply(status=404, body={"message": "gone"})
        if call.params["fields"] == "core":
            return reply(body={"data": [], "meta": {}})
        assert {"ticket", "stage", "repo", "event", "attempt"} <= set(call.params["expandMetadata"].split(","))
        assert call.params["fields"] == GROUPS and call.params["limit"] == "1000"
        data, cursor = pages[call.params.get("cursor")]
        if datetime.fromisoformat(call.params["toStartTime"]) < NOW:
            data, cursor = [], None
        return reply(body={"data": data, "meta": {"cursor": cursor} if cursor else {}})

    scripted.script = script
    spec = spec_of(scripted.url, since=NOW - timedelta(minutes=59))
    found = list(langfuse.pages(spec, api(spec.url), Scope({}, NOW)))
    assert [r["id"] for r in rows(found, "observations")] == ["o", "p"]
    assert [r["id"] for r in rows(found, "traces")] == ["t", "u"]


@pytest.mark.parametrize("missing", [404, 405, 410, 501])
def test_what_the_server_has_is_remembered_and_asked_again(scripted: Any, missing: int) -> None:
    server = scripted.script = Server(cursor=False, pages=True, missing=missing)
    server.trace("t", NOW - timedelta(hours=1))
    spec, bronze = spec_of(scripted.url, since=NOW - timedelta(days=1)), Bronze()
    bronze.load(spec, NOW)
    assert bronze.state["server"] == {"cursor": False, "scores": "v2", "sessions": True}
    scripted.calls.clear()
    bronze.load(spec, NOW + timedelta(minutes=15))
    paths = {call.path.removeprefix("/api/public/") for call in scripted.calls}
    assert paths == {"projects", "observations", "traces", "sessions", "v2/scores"}, "nothing is probed"
    server.cursor = True
    bronze.load(spec, NOW + timedelta(hours=1))
    assert not bronze.state["server"]["cursor"]
    bronze.load(spec, NOW + timedelta(days=1))
    assert bronze.state["server"] == {"cursor": True, "scores": "v3", "sessions": False}, "it was upgraded"
    scripted.calls.clear()
    bronze.load(spec, NOW + timedelta(days=9))
    probes = [call for call in scripted.calls if call.path.endswith("/scores") and "toTimestamp" not in call.params]
    assert not probes, "there is nothing better to ask for"
    server.cursor = False
    bronze.load(spec, NOW + timedelta(days=9, hours=1))
    assert bronze.state["server"]["scores"] == "v2", "what is gone is found out at once"


def test_the_cursor_is_followed_though_the_older_pages_are_there_too(scripted: Any) -> None:
    server = scripted.script = Server(cursor=True, pages=True)
    server.trace("t", NOW - timedelta(hours=1))
    bronze = Bronze()
    bronze.load(spec_of(scripted.url), NOW)
    assert {call.path for call in scripted.calls} == {
        "/api/public/projects",
        "/api/public/v2/observations",
        "/api/public/v3/scores",
    }
    assert bronze.ids("traces") == {"t"} and bronze.ids("sessions") == {"S-t"}


def test_a_page_that_is_too_heavy_is_asked_for_in_parts(scripted: Any) -> None:
    server = scripted.script = Server()
    for n in range(200):
        server.trace(f"t{n}", NOW - timedelta(hours=1) + timedelta(seconds=n), children=9)
    sizes: list[int] = []

    def heavy(call: Any) -> Any:
        size = int(call.params.get("limit", 0))
        if call.path.endswith("observations") and size > 1:
            sizes.append(size)
        return reply(status=422, body={"message": "Request timed out"}) if size > 130 else None

    server.before = heavy
    bronze = Bronze()
    bronze.load(spec_of(scripted.url), NOW)
    assert len(bronze.ids("observations")) == 2000 and len(bronze.ids("traces")) == 200
    assert min(sizes) == 125 and sizes.count(250) > 1, "it grows again when all goes well"
    server.before = lambda call: reply(status=422, body={"message": "no"}) if "fields" in call.params else None
    with pytest.raises(LoadError, match="422"):
        Bronze().load(spec_of(scripted.url, since=NOW - timedelta(days=1)), NOW)
    assert int(scripted.calls[-1].params["limit"]) <= SMALLEST_PAGE


def test_a_cursor_that_repeats_ends_the_walk(scripted: Any) -> None:
    def script(call: Any) -> Any:
        if call.path.endswith("projects"):
            return reply(body=PROJECT)
        if not call.path.endswith("v2/observations"):
            return reply(status=404, body={})
        return reply(body={"data": [], "meta": {} if call.params["limit"] == "1" else {"cursor": "x"}})

    scripted.script = script
    with pytest.raises(LoadError, match="same cursor") as error:
        Bronze().load(spec_of(scripted.url, since=NOW - timedelta(days=1)), NOW)
    assert error.value.reason == "BadResponse" and len(scripted.calls) < 12


def test_a_limit_that_outlasts_patience_stops_at_a_clean_cursor(scripted: Any) -> None:
    server = scripted.script = Server()
    for n in range(40):
        server.trace(f"t{n}", NOW - timedelta(days=40 - n))
    left = [8]

    def limited(call: Any) -> Any:
        left[0] -= 1
        reset = "Sun Mar 01 2026 12:10:00 GMT+0000 (Coordinated Universal Time)"
        headers = {"Retry-After": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return reply(status=429, headers=headers, body={"message": "Rate limit exceeded"}) if left[0] < 0 else None

    server.before = limited
    bronze, spec = Bronze(), spec_of(scripted.url, since=NOW - timedelta(days=41))
    with pytest.raises(RateLimited):
        bronze.load(spec, NOW)
    before = bronze.ids("observations")
    assert before and bronze.state["marks"]["observations"]["whole"] is False
    left[0] = 1000
    scripted.calls.clear()
    bronze.load(spec, NOW)
    assert len(bronze.ids("observations")) == 80 and len(bronze.ids("traces")) == 40
    starts = [c.params["fromStartTime"] for c in scripted.calls if "fromStartTime" in c.params]
    assert min(starts) > iso(NOW - timedelta(days=40)), "it does not begin again"


# What is late


def test_a_killed_load_goes_on_near_where_it_was_and_windows_cut_no_trace(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langfuse_windows, "ROWS_A_WINDOW", 500)
    server = scripted.script = Server()
    begin = NOW - timedelta(days=3)
    for n in range(300):
        server.trace(f"t{n:03}", begin + timedelta(minutes=10 * n), children=19)
    spec, bronze = spec_of(scripted.url, since=begin), Bronze()
    bronze.load(spec, NOW, cursors=3)
    read = datetime.fromisoformat(bronze.state["marks"]["observations"]["read"])
    assert begin < read < NOW and bronze.ids("observations") < set(server.observations)
    scripted.calls.clear()
    bronze.load(spec, NOW)
    again = [c.params["fromStartTime"] for c in scripted.calls if "fromStartTime" in c.params]
    assert min(again) >= iso(read - timedelta(days=1)) and len(again) > 4
    assert bronze.ids("observations") == set(server.observations) and len(bronze.ids("traces")) == 300
    assert {row["latency_seconds"] for row in bronze.tables["traces"].values()} == {19.0}


def test_a_late_update_of_a_week_is_found_within_a_day(scripted: Any) -> None:
    server = scripted.script = Server()
    begin = NOW - timedelta(days=5)
    server.trace("t", begin)
    server.scores["s"] = begin, begin
    server.trace("new", NOW - timedelta(hours=1))
    spec, bronze = spec_of(scripted.url), Bronze()
    bronze.load(spec, NOW)
    trace, start, _, parent = server.observations["t/1"]
    server.observations["t/1"] = trace, start, NOW, parent
    server.scores |= {"s": (begin, NOW), "late": (begin + timedelta(hours=2), NOW)}
    bronze.load(spec, NOW + timedelta(hours=1))
    assert bronze.tables["observations"][("t/1",)]["updated_at"] == start, "the overlap is a day"
    bronze.load(spec, NOW + timedelta(days=1))
    assert bronze.tables["observations"][("t/1",)]["updated_at"] == NOW
    assert bronze.tables["traces"][("t",)]["updated_at"] == NOW
    assert bronze.tables["scores"][("s",)]["updated_at"] == NOW and bronze.ids("scores") == {"s", "late"}


@pytest.mark.parametrize("cursor", [True, False])
def test_of_the_last_week_roots_are_compared_by_each_load(scripted: Any, cursor: bool) -> None:
    server = scripted.script = Server(cursor=cursor, pages=not cursor)
    for n in range(6):
        server.trace(f"t{n}", NOW - timedelta(days=6 - n))
    spec, bronze = spec_of(scripted.url), Bronze()
    bronze.load(spec, NOW)
    server.trace("t1", NOW - timedelta(days=5), updated=NOW)
    server.trace("late", NOW - timedelta(days=4))
    server.delete("t3")
    bronze.load(spec, NOW + timedelta(minutes=15))
    assert (
        bronze.tables["traces"][("t1",)]["updated_at"] == NOW == bronze.tables["observations"][("t1/1",)]["updated_at"]
    )
    assert "late" in bronze.ids("traces") and "late/1" in bronze.ids("observations")
    assert ("traces", "t3") in bronze.noted("deleted")
    assert bronze.load(spec, NOW + timedelta(minutes=30)).requests == (4 if cursor else 6)


def test_a_trace_that_began_before_what_is_read_again_stays_exact(scripted: Any) -> None:
    server = scripted.script = Server()
    begin = NOW - timedelta(days=3)
    server.trace("long", begin)
    server.trace("other", NOW - timedelta(hours=1))
    spec, bronze = spec_of(scripted.url), Bronze()
    bronze.load(spec, NOW)
    late = NOW + timedelta(minutes=20)
    server.observations["long/late"] = "long", late, late, "long/0"
    loaded = bronze.load(spec, NOW + timedelta(hours=1))
    row = bronze.tables["traces"][("long",)]
    assert (row["timestamp"], row["latency_seconds"]) == (begin, (late - begin).total_seconds())
    assert loaded.requests == 5, "one more than a load with nothing new"
    assert bronze.load(spec, NOW + timedelta(hours=2)).requests == 4, "and only once"
    assert bronze.tables["sessions"][("S-long",)]["created_at"] == begin


def test_since_and_a_backfill_window_are_exact(scripted: Any) -> None:
    server = scripted.script = Server()
    since = NOW - timedelta(days=10)
    for n in range(20):
        server.trace(f"t{n:02}", since + timedelta(days=n - 5), children=2)
    server.trace("across", since - timedelta(seconds=1))
    bronze = Bronze()
    bronze.load(spec_of(scripted.url, since=since), NOW)
    must = {id_ for id_, o in server.observations.items() if since <= o[1] < NOW}
    assert bronze.ids("observations") == must and "across/1" in must
    assert bronze.ids("traces") == {f"t{n:02}" for n in range(5, 15)}
    low, high = NOW - timedelta(days=4), NOW - timedelta(days=2)
    scope = Scope({}, NOW, window=(low, high))
    found = list(langfuse.pages(spec_of(scripted.url), api(scripted.url), scope))
    assert {r["id"] for r in rows(found, "observations")} == {
        i for i, o in server.observations.items() if low <= o[1] < high
    }


def test_another_project_behind_the_keys_is_loaded_from_the_start(scripted: Any) -> None:
    server = scripted.script = Server()
    server.trace("old", NOW - timedelta(days=200))
    server.trace("new", NOW - timedelta(hours=1))
    spec, bronze = spec_of(scripted.url), Bronze()
    bronze.load(spec, NOW)
    server.before = lambda call: reply(body={"data": [{"id": "q"}]}) if call.path.endswith("/projects") else None
    scripted.calls.clear()
    bronze.load(spec, NOW)
    assert any("fromStartTime" not in call.params for call in scripted.calls if "fields" in call.params)


# What is gone


@pytest.mark.parametrize("cursor", [True, False])
def test_the_sweep_finds_what_was_deleted_what_came_back_and_what_changed(scripted: Any, cursor: bool) -> None:
    server = scripted.script = Server(cursor=cursor, pages=not cursor)
    for n in range(30):
        server.trace(f"t{n}", NOW - timedelta(days=60 - n))
    kept = dict(server.observations)
    spec, bronze = spec_of(scripted.url, sweep="7d"), Bronze()
    bronze.load(spec, NOW)
    server.delete("t3")
    server.delete("t4")
    trace, start, _, parent = server.observations["t5/0"]
    server.observations["t5/0"] = trace, start, NOW, parent
    server.roots_hidden_once = {"t9"}
    bronze.load(spec, NOW + timedelta(days=6))
    assert not bronze.noted("deleted"), "no sweep is due yet"
    server.roots_hidden_once = {"t9"}
    swept = bronze.load(spec, NOW + timedelta(days=8))
    assert bronze.noted("deleted") == {
        (entity, id_)
        for t in ("t3", "t4")
        for entity, id_ in (("traces", t), ("observations", f"{t}/0"), ("observations", f"{t}/1"))
    }
    assert bronze.tables["traces"][("t5",)]["updated_at"] == NOW
    assert bronze.tables["observations"][("t5/0",)]["updated_at"] == NOW
    assert swept.requests <= (9 if cursor else 14)
    server.observations |= {id_: o for id_, o in kept.items() if o[0] == "t4"}
    bronze.load(spec, NOW + timedelta(days=9))
    assert not bronze.noted("returned")
    bronze.load(spec, NOW + timedelta(days=16))
    assert bronze.noted("returned") == {("traces", "t4"), ("observations", "t4/0"), ("observations", "t4/1")}
    assert {id_ for _, id_ in bronze.noted("deleted")} == {"t3", "t3/0", "t3/1"}


@pytest.mark.parametrize("cursor", [True, False])
def test_what_the_servers_retention_took_has_expired(scripted: Any, cursor: bool) -> None:
    server = scripted.script = Server(cursor=cursor, pages=not cursor)
    for n in range(9):
        server.trace(f"t{n}", NOW - timedelta(days=60 - n))
    bronze, spec = Bronze(), spec_of(scripted.url, sweep="7d")
    bronze.load(spec, NOW)
    for gone in ("t0", "t1", "t5"):
        server.delete(gone)
    bronze.load(spec, NOW + timedelta(days=8))
    assert {id_ for entity, id_ in bronze.noted("expired") if entity == "traces"} == {"t0", "t1"}
    assert {id_ for entity, id_ in bronze.noted("deleted") if entity == "traces"} == {"t5"}


def test_a_sweep_of_never_and_of_other_environments_finds_nothing(scripted: Any) -> None:
    server = scripted.script = Server()
    for n in range(3):
        server.trace(f"t{n}", NOW - timedelta(days=60 - n))
    bronze = Bronze()
    bronze.load(spec_of(scripted.url), NOW)
    server.observations.clear()
    bronze.load(spec_of(scripted.url, sweep="0s"), NOW + timedelta(days=30))
    assert not bronze.noted("deleted")
    state = bronze.state
    bronze.state = {**state, "selection": orjson.dumps(["p", None, ["staging"]]).decode()}
    bronze.load(spec_of(scripted.url, environments=["staging"]), NOW + timedelta(days=30))
    assert not bronze.noted("deleted"), "of production nothing is shown, and nothing is said"
