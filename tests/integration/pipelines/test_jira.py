"""The Jira source against sites that move issues, answer late, round times and lack things, while they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import chdb
import orjson
import pyarrow as pa
import pytest
from forge_pipelines.http import Api, Patience
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Page, Scope, jira, jira_cloud, jira_data_center, jira_site
from forge_pipelines.tables import COMMON, Table
from forge_stack.model import JiraSource

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOTH = pytest.mark.parametrize("deployment", ["Cloud", "DataCenter"])


def reply(body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> Any:
    return SimpleNamespace(body=body, status=status, headers=headers or {}, cut=False, drop=False)


@dataclass
class Thing:
    """An issue. `indexed` is the time by which the search orders it, when that is not its own."""

    number: int
    updated: datetime
    created: datetime
    project: str = "AB"
    key: str = ""
    indexed: datetime | None = None
    hidden: bool = False
    sprints: list[int] = field(default_factory=list)
    comments: int = 0
    histories: int = 1


class Site:
    """A Jira of both deployments. Cloud pages over the order that was when the search began, or (`living`) that is."""

    def __init__(self, updates: dict[int, datetime]) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        self.things = {n: Thing(n, at, start + timedelta(hours=n), key=f"AB-{n}") for n, at in updates.items()}
        self.before_page: Any = lambda number: None
        self.pages, self.floor, self.window, self.longest = 0, 1, 10_000, 1000
        self.living = self.bulk = self.agile = True
        self.projects = {"AB": "AB"}
        self.sprints: dict[int, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.embedded = 40
        self.deleted_comments: set[int] = set()
        self.before_list: Any = lambda start: None
        self.clock: datetime | None = None
        self.asked: list[str] = []

    def touch(self, number: int, at: datetime) -> None:
        self.things[number].updated = at

    @property
    def latest(self) -> dict[int, datetime]:
        return {n: thing.updated for n, thing in self.things.items() if thing.project in self.projects}

    # What it says

    def history(self, thing: Thing, n: int) -> dict[str, Any]:
        item = {"field": "status", "toString": f"v{thing.updated.isoformat()}"}
        return {"id": f"{thing.number}00{n}", "created": thing.updated.isoformat(), "items": [item, item]}

    def comment(self, thing: Thing, n: int) -> dict[str, Any]:
        return {"id": str(thing.number * 1000 + n), "created": thing.updated.isoformat(), "body": f"c{n}?"}

    def issue(self, thing: Thing) -> dict[str, Any]:
        histories = [self.history(thing, n) for n in range(thing.histories)]
        comments = [self.comment(thing, n) for n in range(thing.comments)]
        fields = {
            "updated": thing.updated.isoformat(), "created": thing.created.isoformat(),
            "project": {"key": thing.project}, "customfield_5": [self.sprints[id_] for id_ in thing.sprints] or None,
            "comment": {"comments": comments[-20:], "total": len(comments)},
        }  # fmt: skip
        log = {"total": len(histories), "histories": histories[: self.embedded]}
        return {"id": str(thing.number), "key": thing.key, "fields": fields, "changelog": log}

    def found(self, jql: str) -> list[Thing]:
        named = {self.projects[key] for key in re.findall(r'"(\w+)"', jql)}
        things = [t for t in self.things.values() if t.project in named and not t.hidden]
        by = re.search(r"ORDER BY (\w+)", jql)
        for name, sign, bound in re.findall(r"(updated|created) (>=|<) (\d+)", jql):
            at = datetime.fromtimestamp(int(bound) // 1000 // self.floor * self.floor, UTC)
            things = [t for t in things if (self.time(t, name) >= at) == (sign == ">=")]
        for name, ids in re.findall(r"(sprint|id|fixVersion|affectedVersion) in \(([\d, ]+)\)", jql):
            wanted = {int(n) for n in ids.split(",")}
            things = [t for t in things if wanted & ({t.number} if name == "id" else set(t.sprints))]
        return sorted(things, key=lambda t: (self.time(t, by[1] if by else "updated"), t.number))

    def time(self, thing: Thing, by: str) -> datetime:
        at = thing.created if by == "created" else thing.indexed or thing.updated
        return at.replace(microsecond=0, second=at.second // self.floor * self.floor if self.floor <= 60 else 0)

    def __call__(self, call: Any) -> Any:
        path = call.path
        self.asked.append(path)
        clock = {"Date": f"{self.clock:%a, %d %b %Y %H:%M:%S GMT}"} if self.clock else {}
        if path.endswith("/serverInfo"):
            return reply({"deploymentType": "Server"})
        if path.endswith("/field"):
            schema = {"type": "array", "custom": "com.pyxis.greenhopper.jira:gh-sprint"}
            return reply([{"id": "customfield_5", "name": "Sprint", "schema": schema}])
        if "/agile/" in path:
            return self.board(path) if self.agile else reply({"message": "no"}, 404)
        if "/project/" in path:
            key = path.rpartition("/")[2]
            if key not in self.projects:
                return reply({"errorMessages": ["No project could be found"]}, 404)
            return reply({"id": "1", "key": self.projects[key], "name": "A B", "versions": self.versions})
        if path.endswith("/changelog/bulkfetch"):
            return self.bulkfetch(call) if self.bulk else reply({"message": "no"}, 404)
        if path.endswith("/issue/bulkfetch"):
            there = [self.things[int(i)] for i in call.body["issueIdsOrKeys"] if int(i) in self.things]
            return reply({"issues": [self.issue(thing) for thing in there]})
        if "/issue/" in path:
            return self.one(call)
        if set(re.findall(r'"(\w+)"', call.body["jql"])) - self.projects.keys():
            return reply({"errorMessages": ["The value 'NO' does not exist for the field 'project'."]}, 400)
        self.pages += 1
        self.before_page(self.pages)
        answer = self.tokens(call) if path == "/rest/api/3/search/jql" else self.offsets(call)
        answer.headers = clock
        return answer

    def tokens(self, call: Any) -> Any:
        size, token, order = call.body["maxResults"], call.body.get("nextPageToken"), self.found(call.body["jql"])
        if token and self.living:
            after, number = token.split("|")
            place = datetime.fromisoformat(after), int(number)
            by = "created" if "ORDER BY created" in call.body["jql"] else "updated"
            order = [t for t in order if (self.time(t, by), t.number) > place]
        elif token:
            order = [self.things[int(n)] for n in token.split(",") if int(n) in self.things]
        page, rest = order[:size], order[size:]
        body: dict[str, Any] = {"issues": [self.issue(thing) for thing in page], "isLast": not rest}
        if rest:
            by = "created" if "ORDER BY created" in call.body["jql"] else "updated"
            last = f"{self.time(page[-1], by).isoformat()}|{page[-1].number}"
            body["nextPageToken"] = last if self.living else ",".join(str(t.number) for t in rest)
        return reply(body)

    def offsets(self, call: Any) -> Any:
        start, size, order = call.body["startAt"], call.body["maxResults"], self.found(call.body["jql"])
        if start + size > self.window:
            return reply({"errorMessages": ["Search limit exceeded."]}, 500)
        issues = [self.issue(thing) for thing in order[start : start + min(size, self.longest)]]
        return reply({"issues": issues, "startAt": start, "maxResults": size, "total": len(order)})

    def bulkfetch(self, call: Any) -> Any:
        logs = [
            {"issueId": id_, "changeHistories": [self.history(self.things[int(id_)], n)]}
            for id_ in call.body["issueIdsOrKeys"]
            if int(id_) in self.things
            for n in range(self.things[int(id_)].histories)
        ]
        half, token = len(logs) // 2, call.body.get("nextPageToken")
        if token or half == 0:
            return reply({"issueChangeLogs": logs[half:] if token else logs})
        return reply({"issueChangeLogs": logs[:half], "nextPageToken": "more"})

    def one(self, call: Any) -> Any:
        thing = self.things.get(int(call.path.split("/")[5]))
        if thing is None:
            return reply({"errorMessages": ["Issue does not exist"]}, 404)
        name, every = "", [self.issue(thing)]
        if call.path.endswith("/changelog"):
            name, every = "values", [self.history(thing, n) for n in range(thing.histories)]
        elif call.path.endswith("/comment"):
            self.before_list(int(call.params["startAt"]))
            numbers = [n for n in range(thing.comments) if n not in self.deleted_comments]
            name, every = "comments", [self.comment(thing, n) for n in numbers]
        if not name:
            return reply(every[0])
        start, size = int(call.params["startAt"]), int(call.params["maxResults"])
        return reply({name: every[start : start + size], "startAt": start, "maxResults": size, "total": len(every)})

    def board(self, path: str) -> Any:
        if path.endswith("/board"):
            return reply({"values": [{"id": 3, "type": "scrum"}, {"id": 4, "type": "kanban"}], "isLast": True})
        if path.endswith("/board/3/sprint"):
            return reply({"values": list(self.sprints.values()), "isLast": True, "maxResults": 50})
        sprint = self.sprints.get(int(path.rpartition("/")[2]))
        return reply(sprint) if sprint else reply({"errorMessages": ["Sprint does not exist"]}, 404)


class Bronze:
    """What a store would hold after these loads: rows by key, the newest version, read with the real engine."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.written: dict[str, int] = {}
        self.state: dict[str, Any] = {}

    def keep(self, page: Page) -> None:
        for table in (*jira.TABLES, *COMMON):
            for row in page.rows[table.name].to_pylist() if table.name in page.rows else []:
                rows, key = self.tables.setdefault(table.name, {}), tuple(row[name] for name in table.key)
                self.written[table.name] = self.written.get(table.name, 0) + 1
                if key not in rows or row[table.version] >= rows[key][table.version]:
                    rows[key] = row
        self.state = page.state if page.state is not None else self.state

    def stored(self, table: Table, columns: Any, where: str = "") -> pa.Table:
        rows = pa.Table.from_pylist(list(self.tables.get(table.name, {}).values()), schema=table.schema)
        wanted = pa.schema([table.schema.field(name) for name in columns])
        if not rows.num_rows:
            return wanted.empty_table()
        sql = f"select {', '.join(columns)} from Python(rows)" + (f" where {where}" if where else "")
        found = chdb.query(sql, "ArrowTable")
        return found.cast(pa.schema([f.with_nullable(True) for f in wanted])).cast(wanted)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return list(self.tables.get(table, {}).values())

    @property
    def latest(self) -> dict[int, datetime]:
        return {int(row["id"]): row["updated_at"] for row in self.rows("issues")}

    @property
    def gone(self) -> dict[str, str]:
        return {
            row["entity_key"]: row["reason"] for row in self.rows("deletions") if row["entity"] != "issue_changelogs"
        }

    @property
    def gone_changelogs(self) -> dict[str, str]:
        rows = [row for row in self.rows("deletions") if row["entity"] == "issue_changelogs"]
        return {orjson.loads(row["entity_key"])[0]: row["reason"] for row in rows}


@dataclass
class Loader:
    """Loads of one source into one bronze."""

    site: Site
    url: str
    spec: JiraSource
    bronze: Bronze = field(default_factory=Bronze)
    now: datetime = NOW
    warnings: list[str] = field(default_factory=list)

    def pages(self, **values: Any) -> Any:
        client = Api(self.url, {}, patience=Patience(first_wait=0.01, total_wait=5.0))
        scope = Scope(self.bronze.state, self.now, warn=self.warnings.append, stored=self.bronze.stored, **values)
        yield from jira.pages(self.spec, client, scope)
        assert scope.misfits == []

    def load(self, cut_after: int | None = None, **values: Any) -> Loader:
        """Load to the end, or only some pages as a load that is killed: what has no state behind it is kept or not."""
        self.site.asked.clear()
        for n, page in enumerate(self.pages(**values)):
            self.bronze.keep(page)
            if n == cut_after:
                break
        return self


@pytest.fixture
def loader(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a loader of small pages for a site of issues."""
    for module in (jira_site, jira_cloud, jira_data_center):
        monkeypatch.setattr(module, "PAGE", 10)

    def make(updates: dict[int, datetime], **values: Any) -> Loader:
        site = Site(updates)
        scripted.script = site
        given = {"url": scripted.url, "credentialsSecretRef": {"name": "s"}, "projects": ["AB"], "deployment": "Cloud"}
        return Loader(site, scripted.url, JiraSource.model_validate({**given, **values}))

    return make


# Updates while paging


def logs(bronze: Bronze) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row in bronze.rows("issue_changelogs"):
        found.setdefault(int(row["issue_id"]), set()).add(row["to_string"])
    return found


def assert_whole(loaded: Loader) -> None:
    assert loaded.bronze.latest == loaded.site.latest
    assert logs(loaded.bronze) == {n: {f"v{at.isoformat()}"} for n, at in loaded.site.latest.items()}


@BOTH
@pytest.mark.parametrize("living", [True, False])
def test_issues_that_move_while_the_pages_are_read_are_not_lost(loader: Any, deployment: str, living: bool) -> None:
    start = NOW - timedelta(days=20)
    # Many share one moment, so that keys of time alone would not get on.
    loaded = loader({n: start + timedelta(hours=n if n > 25 else 0) for n in range(95)}, deployment=deployment)
    site, site.living = loaded.site, living
    site.clock = NOW - timedelta(minutes=40)
    site.before_page = lambda page: site.touch(page * 2, NOW - timedelta(minutes=30 - page))
    loaded.load()
    site.before_page = lambda page: None
    loaded.load()
    assert_whole(loaded)


@BOTH
def test_a_first_load_that_takes_longer_than_the_overlap_loses_nothing(loader: Any, deployment: str) -> None:
    start = NOW - timedelta(days=20)
    loaded = loader({n: start + timedelta(hours=n) for n in range(95)}, deployment=deployment)
    site, site.living, site.clock = loaded.site, False, NOW

    def half_an_hour_later(page: int) -> None:
        """What was read already is updated, and its new place is not in the snapshot; and what is read last of all."""
        for number in (page % 40 + 2, 94):
            site.touch(number, NOW + timedelta(minutes=30 * page))

    site.before_page = half_an_hour_later
    loaded.load()
    site.before_page = lambda page: None
    loaded.now = NOW + timedelta(hours=6)
    loaded.load()
    assert_whole(loaded)


@BOTH
@pytest.mark.parametrize("floor", [1, 60])
def test_whole_pages_of_one_minute_and_equal_times_at_a_border(loader: Any, deployment: str, floor: int) -> None:
    start = NOW - timedelta(days=2)
    seconds = {n: start + timedelta(seconds=n * 2) for n in range(45)}
    equal = {n: start + timedelta(minutes=10) for n in range(45, 80)}
    loaded = loader(seconds | equal | {80: NOW - timedelta(hours=2)}, deployment=deployment)
    loaded.site.floor = floor
    assert_whole(loaded.load())


@pytest.mark.parametrize("floor", [1, 60])
def test_a_moment_longer_than_the_longest_page_is_read_though_issues_leave_it(
    loader: Any, floor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jira_data_center, "LONGEST_PAGE", 20)
    monkeypatch.setattr(jira_data_center, "OVERLAPPING", 3)
    loaded = loader({n: NOW - timedelta(days=1) for n in range(150)}, deployment="DataCenter")
    site, site.floor, site.longest = loaded.site, floor, 20

    def more_leave_than_pages_overlap(page: int) -> None:
        for number in range(page * 5, page * 5 + 5) if page < 15 else ():
            site.touch(number, NOW - timedelta(minutes=30 - page))

    site.before_page = more_leave_than_pages_overlap
    assert_whole(loaded.load())


def test_a_moment_longer_than_the_result_window_is_read_by_creation(
    loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jira_data_center, "LONGEST_PAGE", 20)
    monkeypatch.setattr(jira_data_center, "OVERLAPPING", 3)
    monkeypatch.setattr(jira_data_center, "WINDOW", 60)
    loaded = loader({n: NOW - timedelta(days=1 if n > 4 else 2) for n in range(150)}, deployment="DataCenter")
    site, site.window = loaded.site, 60
    site.before_page = lambda page: site.touch(page, NOW - timedelta(minutes=30 - page)) if page < 12 else None
    assert_whole(loaded.load())
    for thing in site.things.values():
        thing.updated = thing.created = NOW - timedelta(hours=1)
    with pytest.raises(LoadError, match=r"created in one minute.*fewer projects"):
        loaded.load()


@BOTH
def test_an_index_that_orders_by_older_times_than_it_shows_skips_nothing(loader: Any, deployment: str) -> None:
    start = NOW - timedelta(days=20)
    loaded = loader({n: start + timedelta(hours=n) for n in range(95)}, deployment=deployment)
    site, site.clock = loaded.site, NOW
    for n in (9, 19, 29, 50):  # at page ends: their fields are of now already, their place is an old one
        site.things[n].indexed, site.things[n].updated = site.things[n].updated, NOW - timedelta(minutes=5)
    for cut in (3, 9, 1):
        loaded.load(cut_after=cut)
    loaded.load()
    assert_whole(loaded)


@BOTH
@pytest.mark.parametrize("skew", [timedelta(minutes=-25), timedelta(minutes=25), timedelta(days=-40)])
def test_the_cursor_is_of_the_sites_times_however_wrong_its_clock(
    loader: Any, deployment: str, skew: timedelta
) -> None:
    there = NOW + skew
    loaded = loader({n: there - timedelta(hours=9 - n) for n in range(9)}, deployment=deployment)
    loaded.site.clock = there
    loaded.load()
    for step in range(1, 8):
        loaded.now = NOW + timedelta(minutes=15 * step)
        loaded.site.clock = there + timedelta(minutes=15 * step)
        loaded.site.touch(step, loaded.site.clock - timedelta(seconds=step))
        loaded.load()
        assert_whole(loaded)


@BOTH
def test_a_late_index_is_met_by_the_overlap(loader: Any, deployment: str) -> None:
    loaded = loader({1: NOW - timedelta(hours=3), 2: NOW - timedelta(minutes=10)}, deployment=deployment).load()
    loaded.site.things[3] = Thing(3, NOW - timedelta(minutes=50), NOW - timedelta(minutes=50), key="AB-3")
    before = loaded.bronze.written["issues"]
    assert_whole(loaded.load())
    assert loaded.bronze.written["issues"] == before + 2, "1 is not read again"


@BOTH
def test_killed_loads_go_on_and_lose_nothing(loader: Any, deployment: str) -> None:
    start = NOW - timedelta(days=20)
    loaded = loader({n: start + timedelta(hours=n) for n in range(95)}, deployment=deployment)
    for cut in (0, 1, 2, 5, 8, 13):
        loaded.load(cut_after=cut)
        loaded.site.touch(cut * 3, NOW - timedelta(minutes=20 - cut))
    assert_whole(loaded.load())


@BOTH
def test_a_backfill_is_its_window_and_keeps_no_state(loader: Any, deployment: str) -> None:
    loaded = loader({n: NOW - timedelta(hours=n) for n in range(40)}, deployment=deployment)
    window = NOW - timedelta(hours=30), NOW - timedelta(hours=10)
    loaded.load(window=window)
    assert set(loaded.bronze.latest) == set(range(11, 31))
    assert not any("agile" in path or "/project/" in path for path in loaded.site.asked)


# Changelogs and comments


@BOTH
@pytest.mark.parametrize("bulk", [True, False])
def test_changelogs_and_comments_are_followed_to_their_ends(loader: Any, deployment: str, bulk: bool) -> None:
    loaded = loader({n: NOW - timedelta(hours=n + 1) for n in range(3)}, deployment=deployment)
    loaded.site.bulk = bulk
    loaded.site.things[1].histories, loaded.site.things[1].comments = 57, 43
    loaded.load()
    assert len(loaded.bronze.rows("issue_changelogs")) == 2 * (57 + 1 + 1)
    comments = next(row["comments"] for row in loaded.bronze.rows("issues") if row["id"] == "1")
    assert [comments.count(f'"c{n}?"') for n in range(43)] == [1] * 43 and comments.count('"question"') == 43


def test_comments_that_are_deleted_while_they_are_read_skip_none(loader: Any) -> None:
    loaded = loader({1: NOW - timedelta(hours=1)})
    loaded.site.things[1].comments = 43
    loaded.site.before_list = lambda start: loaded.site.deleted_comments.add(5) if start else None
    (row,) = loaded.load().bronze.rows("issues")
    assert [row["comments"].count(f'"c{n}?"') for n in range(43)] == [int(n != 5) for n in range(43)]


def test_an_issue_that_is_gone_when_its_changelog_is_asked_for_stops_nothing(loader: Any) -> None:
    loaded = loader({n: NOW - timedelta(hours=n + 1) for n in range(3)})
    site, site.bulk = loaded.site, False
    for page in loaded.pages():
        loaded.bronze.keep(page)
        site.things.pop(2, None)
    assert set(loaded.bronze.latest) >= {0, 1} and set(logs(loaded.bronze)) == {0, 1}


# Sprints and versions


def sprint(id_: int, state: str, name: str = "") -> dict[str, Any]:
    return {"id": id_, "name": name or f"Sprint {id_}", "state": state, "originBoardId": 3}


def sprints(bronze: Bronze) -> dict[int, str]:
    return {row["sprint_id"]: row["state"] for row in bronze.rows("sprints")}


@BOTH
def test_sprints_that_start_and_close_without_their_issues(loader: Any, deployment: str) -> None:
    loaded = loader({n: NOW - timedelta(days=n + 1) for n in range(5)}, deployment=deployment)
    site = loaded.site
    site.sprints = {1: sprint(1, "closed"), 2: sprint(2, "active"), 3: sprint(3, "future"), 4: sprint(4, "future")}
    site.things[0].sprints, site.things[1].sprints, site.things[2].sprints = [1, 2], [2], [3]
    loaded.load()
    assert sprints(loaded.bronze) == {1: "closed", 2: "active", 3: "future", 4: "future"}
    loaded.load()
    assert loaded.bronze.written["sprints"] == 4, "what is known just so is not written again"
    site.sprints[2], site.sprints[3] = sprint(2, "closed"), sprint(3, "active", "Renamed")
    loaded.load()
    assert sprints(loaded.bronze) == {1: "closed", 2: "closed", 3: "active", 4: "future"}
    by_issue = {int(row["id"]): row["sprints"] for row in loaded.bronze.rows("issues")}
    assert '"closed"' in by_issue[1] and '"active"' not in by_issue[0] and "Renamed" in by_issue[2]
    del site.sprints[4]
    assert loaded.load().bronze.gone == {"[4]": "deleted"} and loaded.warnings == []
    loaded.load()
    assert loaded.bronze.written["deletions"] == 1


@BOTH
def test_a_site_without_boards_costs_a_warning_and_sprints_are_as_issues_say(loader: Any, deployment: str) -> None:
    loaded = loader({n: NOW - timedelta(minutes=n + 1) for n in range(5)}, deployment=deployment)
    site, site.agile = loaded.site, False
    site.sprints = {n: sprint(n, "active") for n in range(1, 9)}
    site.things[0].sprints = list(site.sprints)
    loaded.load()
    assert len(loaded.warnings) == 1 and "boards" in loaded.warnings[0]
    assert sum("/sprint/" in path for path in site.asked) <= 3
    site.sprints[1] = sprint(1, "closed")
    assert sprints(loaded.load().bronze) == {1: "closed", **dict.fromkeys(range(2, 9), "active")}
    assert loaded.bronze.gone == {}


def test_versions_that_are_renamed_released_and_deleted(loader: Any) -> None:
    loaded = loader({n: NOW - timedelta(days=n + 1) for n in range(3)})
    site = loaded.site
    site.versions = [{"id": "7", "name": "1.0", "released": False}, {"id": "8", "name": "2.0", "released": False}]
    site.things[2].sprints = [7]  # the site's stand-in for its fix versions
    loaded.site.sprints = {7: sprint(7, "closed")}
    loaded.load().load()
    assert loaded.bronze.written["versions"] == 2 and loaded.bronze.written["projects"] == 1
    site.versions = [{"id": "7", "name": "1.0.1", "released": True}]
    before = loaded.bronze.written["issues"]
    loaded.load()
    released = {row["version_id"]: (row["name"], row["is_released"]) for row in loaded.bronze.rows("versions")}
    assert released["7"] == ("1.0.1", True) and loaded.bronze.gone == {'["8"]': "deleted"}
    assert loaded.bronze.written["issues"] >= before + 1, "its issues carry the new name"


# What is gone


@BOTH
def test_moved_deleted_and_returned_issues(loader: Any, deployment: str) -> None:
    loaded = loader({n: NOW - timedelta(days=n + 1) for n in range(30)}, deployment=deployment)
    site = loaded.site
    site.projects["OTHER"] = "OTHER"
    loaded.load()
    site.things[3].project, site.things[3].key = "OTHER", "OTHER-1"
    deleted = site.things.pop(4)
    site.things[5].hidden = True  # the index does not know it for a while
    site.things[6].key = "AB-66"
    site.things[99] = Thing(99, NOW - timedelta(days=60), NOW - timedelta(days=60), key="AB-99")
    loaded.load()
    assert loaded.bronze.gone == {}
    loaded.now = NOW + timedelta(days=7)
    loaded.load()
    assert loaded.bronze.gone == {'["3"]': "moved", '["4"]': "deleted"}
    rows = {int(row["id"]): row["key"] for row in loaded.bronze.rows("issues")}
    assert rows[6] == "AB-66" and rows[99] == "AB-99" and 99 in logs(loaded.bronze)
    loaded.now += timedelta(hours=1)
    loaded.load()
    assert loaded.bronze.written["deletions"] == 2 + 2 * 2, "a sweep a week"
    assert loaded.bronze.gone_changelogs == {"3": "moved", "4": "deleted"}
    site.things[4], deleted.updated = deleted, loaded.now
    loaded.load()
    assert loaded.bronze.gone == {'["3"]': "moved", '["4"]': "returned"}
    assert loaded.bronze.gone_changelogs == {"3": "moved", "4": "returned"}
    site.things[3].project, site.things[3].key = "AB", "AB-3"
    loaded.now += timedelta(days=7)
    loaded.load()
    assert set(loaded.bronze.gone.values()) == {"returned"}


def test_a_sweep_may_be_put_off_for_ever(loader: Any) -> None:
    loaded = loader({n: NOW - timedelta(days=n + 1) for n in range(3)}, sweep="0s").load()
    del loaded.site.things[0]
    loaded.now += timedelta(days=900)
    assert loaded.load().bronze.gone == {}


# Requests


@BOTH
def test_requests_of_a_first_load_and_of_one_that_finds_nothing_new(
    loader: Any, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (jira_site, jira_cloud, jira_data_center):
        monkeypatch.setattr(module, "PAGE", 100)
    loaded = loader({n: NOW - timedelta(hours=2 * n + 2) for n in range(1000)}, deployment=deployment).load()
    assert len(loaded.bronze.rows("issues")) == 1000
    assert len(loaded.site.asked) <= 20, loaded.site.asked
    loaded.load()
    # The search, the changelogs of the newest issue, the board's sprints, the project with its versions.
    assert len(loaded.site.asked) <= 4, loaded.site.asked


def test_the_kind_of_a_site_and_its_fields_are_asked_once(loader: Any) -> None:
    loaded = loader({1: NOW}, deployment="Auto").load()
    assert loaded.bronze.state["deployment"] == "DataCenter"
    assert sum(path.endswith(("serverInfo", "/field")) for path in loaded.site.asked) == 2
    loaded.load()
    assert not any(path.endswith(("serverInfo", "/field")) for path in loaded.site.asked)


def test_an_unknown_project_costs_a_warning_and_only_unknown_ones_an_error(loader: Any) -> None:
    loaded = loader({1: NOW}, projects=["AB", "NO"]).load()
    assert loaded.bronze.latest == loaded.site.latest and "NO" in loaded.warnings[0]
    assert set(loaded.bronze.state["projects"]) == {"AB"}, "the unknown one is loaded whole once it is there"
    with pytest.raises(LoadError, match="no project NO") as error:
        loader({1: NOW}, projects=["NO"]).load()
    assert error.value.reason == "NotFound"
