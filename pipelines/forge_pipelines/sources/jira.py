"""Jira: issues by the order of their updates with their whole changelogs; sprints, versions, projects; what is gone.

Why no update is lost: a search runs in ascending order of `updated`, so that what is updated meanwhile moves to its end
and is met there, and its bound is epoch milliseconds, whose meaning no account zone and no minute's rounding moves
beyond the `overlap` that each load reads again; the cursor is made of the site's own times, never of this machine's.
Why none is doubled: a row's key is the id, which survives moves, and the newest row of a key counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from forge_stack.duration import duration
from forge_stack.model import JiraSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope, State
from forge_pipelines.sources import jira_projects as projects_of_site
from forge_pipelines.sources.jira_cloud import Cloud
from forge_pipelines.sources.jira_data_center import DataCenter
from forge_pipelines.sources.jira_rows import Fields, IssueRow, change_row, changes, meaning, sprints_of
from forge_pipelines.sources.jira_site import NOT_HERE, Issue, Search, Site, reached, times
from forge_pipelines.sources.jira_sprints import Sprints
from forge_pipelines.sources.jira_sweep import Gone, Sweep
from forge_pipelines.sources.jira_tables import CHANGELOGS, ISSUES, TABLES
from forge_pipelines.tables import iso, json_text, moment

__all__ = ["TABLES", "connect", "pages"]

FIELDS = (
    "summary", "issuetype", "status", "priority", "resolution", "assignee", "reporter", "creator", "parent", "labels",
    "created", "updated", "resolutiondate", "duedate", "project", "components", "fixVersions", "versions", "issuelinks",
    "description", "environment", "timeoriginalestimate", "timespent", "comment",
)  # fmt: skip
USUAL_SPRINT_FIELD = "customfield_10020"
REVISION = 2
"""Of what an issue's row holds: with a higher one, everything is loaded again."""
NAMED_AT_ONCE = 100

Deployment = Literal["Cloud", "DataCenter"]


@dataclass(frozen=True)
class Walk:
    """A search to read to its end: some projects from one moment on, in a backfill up to another."""

    projects: tuple[str, ...]
    start: datetime | None
    end: datetime | None = None


def connect(spec: JiraSource, credentials: Credentials) -> Api:
    """Cloud: e-mail and API token (basic). Data Center: a personal access token (bearer)."""
    token = credentials.require("token")
    if email := credentials.get("email"):
        return Api(spec.url, {}, basic=(email, token))
    return Api(spec.url, {"Authorization": f"Bearer {token}"})


def pages(spec: JiraSource, api: Api, scope: Scope) -> Iterator[Page]:
    """All of a load; a page that holds nothing is none."""
    for page in parts(Load(spec, api, scope)):
        if page.rows or page.state is not None:
            yield page


def parts(load: Load) -> Iterator[Page]:
    """Issues first, project group by project group; then what changes without them; then, when it is time, a sweep."""
    for walk in walks(load.spec, load.scope, load.marks):
        yield from load.issues(walk)
    if load.scope.window is None:
        yield from load.sprints_and_versions()
        if load.sweep_is_due:
            yield from load.sweeping()
        load.swept = load.swept or iso(load.scope.now)
    yield Page(state=load.state)


class Load:
    """One load: what it knows of the site, and how far it is."""

    def __init__(self, spec: JiraSource, api: Api, scope: Scope) -> None:
        """Go on from the state, or begin anew when it belongs to another selection."""
        self.spec, self.api, self.scope = spec, api, scope
        given = scope.state if scope.state.get("selection") == selection(spec) else {}
        self.marks: dict[str, str] = dict(given.get("projects", {}))
        self.read: dict[str, str] = dict(given.get("read", {}))
        self.swept: str | None = given.get("swept")
        self.deployment: Deployment = (
            spec.deployment if spec.deployment != "Auto" else scope.state.get("deployment") or ask(api, spec.url)
        )
        found = given.get("fields")
        self.fields = Fields(**{name: tuple(ids) for name, ids in found.items()}) if found else self.look_up_fields()
        self.sprints = Sprints(self.site(), scope, given.get("boards"))
        self.gone = Gone(scope, ISSUES, CHANGELOGS)
        self.known: set[str] = set()

    @property
    def state(self) -> State:
        """Where the next load goes on."""
        return {
            "projects": dict(self.marks),
            "selection": selection(self.spec),
            "deployment": self.deployment,
            "fields": asdict(self.fields),
            "boards": self.sprints.boards,
            "read": dict(self.read),
            "swept": self.swept,
        }

    def site(self) -> Site:
        """The site by its deployment, asking for the fields that rows are made of."""
        fields = (*FIELDS, *self.spec.custom_fields, *self.fields.sprint, *self.fields.points)
        kind = Cloud if self.deployment == "Cloud" else DataCenter
        return kind(self.api, tuple(dict.fromkeys(fields)))

    def look_up_fields(self) -> Fields:
        """Which custom fields are sprint and story points, by the site's list; without one, Cloud's usual one."""
        version = "3" if self.deployment == "Cloud" else "2"
        try:
            return meaning(
                self.api.get(f"/rest/api/{version}/field", what="the list of fields"), self.spec.story_points
            )
        except LoadError as error:
            if error.reason not in NOT_HERE:
                raise
            self.scope.warn("sprints and story points may be missing: the site does not show its list of fields")
            return replace(meaning([], self.spec.story_points), sprint=(USUAL_SPRINT_FIELD,))

    # Issues

    def issues(self, walk: Walk) -> Iterator[Page]:
        """A walk's issues and changelogs; its state at clean cuts only: when the changelogs of all issues are there."""
        site = self.site()
        newest: datetime | None = None
        begun: datetime | None = None
        search = Search(walk.projects, walk.start)
        waiting: list[Issue] = []
        for projects, found in self.found(site, search):
            begun = begun or site_time(self.api, self.scope.now)
            self.known |= set(projects)
            kept = [i for i in found if walk.end is None or min(times([i]), default=walk.end) < walk.end]
            yield from self.rows_of(site, kept)
            waiting += [{name: i.get(name) for name in ("id", "key", "changelog")} for i in kept if isinstance(i, dict)]
            newest = max((*times(found), *([newest] if newest else ())), default=None)
            end = reached(found)
            if len(waiting) >= site.batch:
                yield from self.changelogs_of(site, waiting)
                waiting = []
                yield self.cut(projects, end, begun, newest)
            if walk.end is not None and end is not None and end >= walk.end:
                break
        yield from self.changelogs_of(site, waiting)
        if begun is not None:
            yield self.cut(projects, newest, begun, newest)

    def cut(self, projects: Sequence[str], end: datetime | None, begun: datetime, newest: datetime | None) -> Page:
        """A clean cut. No cursor goes beyond the walk's beginning, by the site's clock: what is updated during it may
        be shown at its old place already and be missing at its new one."""
        covered = min(end, begun) if end else None
        if covered:
            for key in projects:
                self.marks[key] = max(self.marks.get(key, ""), iso(covered), key=lambda mark: moment(mark) or EVER)
        return Page(state=self.state, covered=covered, newest=newest)

    def rows_of(self, site: Site, found: Sequence[Issue]) -> Iterator[Page]:
        """The rows of issues, of the sprints that they name first, and of those that had been gone."""
        whole = [site.complete(issue) for issue in found]
        rows = self.scope.page(ISSUES, whole, IssueRow(self.spec, self.fields, self.sprints.confirmed))
        yield Page({"issues": rows})
        yield self.sprints.met(s for issue in whole if has_fields(issue) for s in sprints_of(issue, self.fields))
        if rows.num_rows:
            yield self.gone.there(rows.column("id").to_pylist())

    def changelogs_of(self, site: Site, issues: Sequence[Issue]) -> Iterator[Page]:
        """The changelog rows of issues."""
        kept = [issue for issue in issues if issue.get("id") and issue.get("key")]
        for part in site.histories(kept) if kept else ():
            items = (item for id_, key, history in part for item in changes(id_, key, history))
            yield Page({"issue_changelogs": self.scope.page(CHANGELOGS, items, change_row)})

    def found(self, site: Site, search: Search) -> Iterator[tuple[tuple[str, ...], list[Issue]]]:
        """The pages of a search, with the projects searched: those that the site knows. Others cost a warning."""
        try:
            for issues in site.search(search):
                yield search.projects, issues
            self.known |= set(search.projects)
            return
        except LoadError as error:
            if error.reason != "InvalidConfiguration":
                raise
            known = tuple(key for key in search.projects if site.knows(key))
            unknown = sorted(set(search.projects) - set(known))
            if not unknown:
                raise
            missing = f"jira.projects: the site has no project {', '.join(unknown)} that these credentials may see"
            if not known:
                raise LoadError(
                    "NotFound", f"{missing}; correct the keys, or give the account the right to browse it"
                ) from error
            self.scope.warn(f"{missing}; the others are loaded")
        self.known |= set(known)
        for issues in site.search(replace(search, projects=known)):
            yield known, issues

    # What changes without its issues

    def sprints_and_versions(self) -> Iterator[Page]:
        """Sprints, projects and versions; the issues that carry an old name of theirs are read again."""
        site, projects = self.site(), tuple(key for key in self.spec.projects if key in self.known)
        yield from self.sprints.follow(projects, anew=self.sweep_is_due)
        renamed: list[str] = []
        yield from projects_of_site.follow(site, self.scope, projects, self.read, renamed)
        yield from self.again("sprint", [str(id_) for id_ in self.sprints.misnamed])
        yield from self.again("fixVersion", renamed)
        yield from self.again("affectedVersion", renamed)

    def again(self, field: str, ids: Sequence[str]) -> Iterator[Page]:
        """Read issues whose field has one of these ids, though no update of theirs calls for it.

        A site refuses an id that has gone meanwhile: those issues are updated by that, and met by the next load.
        """
        site, projects = self.site(), tuple(key for key in self.spec.projects if key in self.known)
        for at in range(0, len(ids), NAMED_AT_ONCE):
            names = ", ".join(ids[at : at + NAMED_AT_ONCE])
            try:
                for issues in site.search(Search(projects, also=f"{field} in ({names})")):
                    yield from self.rows_of(site, issues)
                    yield from self.changelogs_of(site, issues)
            except LoadError as error:
                if error.reason != "InvalidConfiguration":
                    raise

    # What is gone

    @property
    def sweep_is_due(self) -> bool:
        """Whether `spec.sweep` has passed; the first load has nothing to compare with."""
        every, last = duration(self.spec.sweep), moment(self.swept)
        return bool(every) and last is not None and self.scope.now - last >= every

    def sweeping(self) -> Iterator[Page]:
        """Compare all ids, read what no search tells of, and look up anew what else seldom changes."""
        self.fields = self.look_up_fields()
        projects = [key for key in self.spec.projects if key in self.known]
        sweep = Sweep(self.gone)
        yield from sweep.run(self.site(), projects, whole=self.spec.since is None)
        yield from self.again("id", sorted(sweep.unlike))
        self.swept = iso(self.scope.now)


EVER = datetime.min.replace(tzinfo=UTC)


def has_fields(issue: Any) -> bool:
    """Whether an answer is an issue with fields at all."""
    return isinstance(issue, dict) and isinstance(issue.get("fields"), dict)


def site_time(api: Api, otherwise: datetime) -> datetime:
    """The site's clock, by its last answer."""
    try:
        told = parsedate_to_datetime(api.last_headers.get("date", ""))
    except ValueError:
        return otherwise
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def ask(api: Api, url: str) -> Deployment:
    """Which of the two APIs the site speaks, by its own word (`serverInfo`)."""
    if api.host.endswith((".atlassian.net", "api.atlassian.com")):
        return "Cloud"
    info = api.get("/rest/api/2/serverInfo", what="the kind of the site (serverInfo)")
    kind = info.get("deploymentType") if isinstance(info, dict) else None
    if kind is None:
        raise LoadError("BadResponse", f"{url} does not say what kind of Jira it is; set jira.deployment")
    return "Cloud" if kind == "Cloud" else "DataCenter"


def selection(spec: JiraSource) -> str:
    """What the cursors belong to: with another beginning, other fields or other events all is loaded from the start."""
    events = spec.comment_events
    return json_text(
        [
            REVISION,
            iso(spec.since) if spec.since else None,
            sorted(spec.custom_fields),
            spec.story_points,
            [events.approval, events.rejection, events.question],
        ]
    )


def walks(spec: JiraSource, scope: Scope, marks: Mapping[str, str]) -> list[Walk]:
    """What to search: the projects that are loaded up to the same moment together, new ones from `since`."""
    if scope.window:
        return [Walk(tuple(spec.projects), *scope.window)]
    groups: dict[str | None, list[str]] = {}
    for key in spec.projects:
        groups.setdefault(marks.get(key), []).append(key)
    return [Walk(tuple(keys), begin(spec, moment(mark))) for mark, keys in groups.items()]


def begin(spec: JiraSource, mark: datetime | None) -> datetime | None:
    """Where a search begins: an overlap before what is loaded, never before `since`; whole minutes, as JQL has them."""
    if mark is None:
        return spec.since
    start = (mark - duration(spec.overlap)).replace(second=0, microsecond=0)
    return max(start, spec.since) if spec.since else start
