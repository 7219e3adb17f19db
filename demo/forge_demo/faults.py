"""Faults that may be turned on: what can go wrong between a client and the APIs, by kind, by chance and by seed.

A fault strikes the next `times` requests (0: for as long as it stands) whose path matches, each by `probability`. The
dice of a request are made of the seed, the API and how many requests that API has had, so that a run can be repeated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from forge_demo import events as ev

Json = Any

KINDS = {
    "answer": "what the fault says itself: status, headers, body; else the real answer, late or cut",
    "rate_limit": "429, Retry-After as a number of seconds",
    "rate_limit_date": "429, Retry-After as a date",
    "secondary_limit": "403 with GitHub's words for its secondary limit and Retry-After",
    "server_error": "500",
    "bad_gateway": "502 with an HTML page",
    "unavailable": "503",
    "login_page": "200 with an HTML page",
    "slow": "the answer comes `seconds` later",
    "drip": "the answer's bytes trickle in for `seconds`",
    "truncated": "half of the body that was promised, then the end of the connection",
    "reset": "the connection is reset before the first byte",
    "reset_midway": "the connection is reset half way through the body",
    "reordered": "the rows of a page in another order",
    "duplicates": "some rows of a page twice (where a cursor leads on, not a position)",
    "repeated_page": "a page, and the same page again by its cursor",
    "empty_page": "an empty page, whose cursor leads to the rows",
    "moving": "the world moves on by `seconds` behind the answer, so that things change while pages are read",
    "late": "of what happens from now on, this share of the tickets is visible up to `seconds` later (by the world's "
    "clock)",
    "skew": "the Date header is `seconds` off, and the world's clock that much ahead",
    "unicode": "a new ticket whose texts hold all sorts of letters",
    "huge": "a new ticket with texts of 10 MB: a description, a comment, a pull request's body, a trace's metadata",
}
OF_THE_WORLD = frozenset({"late", "skew", "unicode", "huge"})
"""These are done once, when they are turned on."""
IN_PLACE = frozenset(
    {
        "rate_limit", "rate_limit_date", "secondary_limit", "server_error", "bad_gateway", "unavailable", "login_page",
        "truncated", "reset", "reset_midway",
    }
)  # fmt: skip
"""A client gets no good answer by these, so that only one of them strikes a request, and IN_A_ROW at most one after
another: a client that tries again a few times gets through."""
IN_A_ROW = 2
DEFAULT_SECONDS = {
    "rate_limit": 1.0,
    "rate_limit_date": 1.0,
    "secondary_limit": 1.0,
    "slow": 1.0,
    "drip": 0.5,
    "moving": 60.0,
    "late": 300.0,
    "skew": 90.0,
}
HUGE = 10_000_000
ODD = 'Ünïcødé „quoted" \\ back\tslash — 中文 日本語 עברית \u202eright to left\u202c e\u0301 👩🏽‍🚀 𝕬 \u2028 ; -- %s {}'


@dataclass(slots=True)
class Fault:
    """One fault. `kind` is one of KINDS; `path` a regular expression; `seconds` what the kind says.

    status, headers, body, delay_seconds and truncate_bytes are for the kind answer.
    """

    kind: str = "answer"
    path: str = ""
    times: int = 1
    probability: float = 1.0
    seconds: float | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    delay_seconds: float = 0.0
    truncate_bytes: int | None = None
    struck: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no fault."""
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability is a share above 0 and at most 1, not {self.probability}")
        if self.times < 0:
            raise ValueError(f"times is how many requests are struck (0: all), not {self.times}")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path {self.path!r} is no regular expression: {error}") from error
        if self.kind == "secondary_limit" and not self.path:
            self.path = "^/github/"
        if self.seconds is None:
            self.seconds = DEFAULT_SECONDS.get(self.kind, 0.0)

    @property
    def span(self) -> float:
        """`seconds`, which is never None once made."""
        return self.seconds or 0.0

    @property
    def in_place(self) -> bool:
        """Whether there is no good answer."""
        return self.kind in IN_PLACE or self.status is not None or self.truncate_bytes is not None


def standing(kind: str, probability: float, seconds: float | None = None) -> Fault:
    """A fault that stands until it is turned off."""
    return Fault(kind, times=0, probability=probability, seconds=seconds)


_PASSING = ("rate_limit", "server_error", "bad_gateway", "unavailable", "truncated", "reset", "reset_midway")
PROFILES: dict[str, tuple[Fault, ...]] = {
    "none": (),
    "flaky": (*(standing(kind, 0.02) for kind in _PASSING), standing("drip", 0.05), standing("slow", 0.05, 0.3)),
    "hostile": (
        *(standing(kind, 0.04) for kind in (*_PASSING, "rate_limit_date", "secondary_limit")),
        standing("drip", 0.1),
        standing("reordered", 0.5),
        standing("duplicates", 0.5),
        standing("repeated_page", 0.2),
        standing("empty_page", 0.2),
        standing("moving", 0.1),
        standing("late", 0.3),
        standing("skew", 1.0),
        standing("unicode", 1.0),
        standing("huge", 1.0),
    ),
}


def profile(name: str) -> list[Fault]:
    """The faults of a profile, to be turned on. Raises ValueError."""
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return [replace(fault) for fault in PROFILES[name]]


@dataclass(slots=True)
class Faults:
    """The faults that stand, and whom they strike."""

    seed: int = 7
    standing: list[Fault] = field(default_factory=list)
    _requests: dict[str, int] = field(default_factory=dict)
    _in_a_row: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        """Turn all off."""
        self.standing.clear()
        self._in_a_row.clear()

    def strike(self, api: str, path: str) -> tuple[list[Fault], random.Random]:
        """The faults that a request meets, and dice for what they do."""
        number = self._requests[api] = self._requests.get(api, 0) + 1
        dice = random.Random(f"{self.seed}/{api}/{number}")  # noqa: S311 - a game, no secret
        met: list[Fault] = []
        in_a_row = self._in_a_row.get(api, 0)
        for fault in list(self.standing):
            wanted = re.search(fault.path, path) is not None
            # The dice fall for every fault, so that one fault more or less leaves the others' as they are.
            if not (random.Random(f"{self.seed}/{api}/{number}/{fault.kind}").random() < fault.probability and wanted):  # noqa: S311
                continue
            by_chance = fault.probability < 1
            if fault.in_place and (any(f.in_place for f in met) or (by_chance and in_a_row >= IN_A_ROW)):
                continue
            met.append(fault)
            fault.struck += 1
            if fault.times and fault.struck >= fault.times:
                self.standing.remove(fault)
        self._in_a_row[api] = in_a_row + 1 if any(f.in_place for f in met) else 0
        return met, dice


# What a fault does to a page

_GRAPHQL_LISTS = ("repositories", "pullRequests", "issues", "deployments", "releases", "refs")
_LISTS = ("data", "issues", "values", "issueChangeLogs", "workflow_runs", "check_runs", "check_suites", "jobs", "items")


@dataclass(slots=True)
class Listing:
    """The rows of an answer: a list, or what `holder` has by a name. `by_position`: paged by number, not by cursor."""

    holder: Any
    name: str | None
    by_position: bool = False

    @property
    def rows(self) -> list[Any]:
        """The rows."""
        rows: list[Any] = self.holder if self.name is None else self.holder[self.name]
        return rows

    @rows.setter
    def rows(self, rows: list[Any]) -> None:
        self.rows[:] = rows


def listings(document: Json) -> list[Listing]:
    """Where an answer of one of the APIs holds rows: a list, a list by a known name, a GraphQL connection, a matrix."""
    if isinstance(document, list):
        return [Listing(document, None)]
    if not isinstance(document, dict):
        return []
    data = document.get("data")
    if isinstance(data, dict):
        if isinstance(data.get("result"), list):
            return [Listing(data, "result", by_position=True)]
        return [Listing(found, "nodes") for found in connections(data)]
    meta = document.get("meta")
    by_position = "startAt" in document or (isinstance(meta, dict) and "page" in meta)
    return [Listing(document, name, by_position) for name in _LISTS if isinstance(document.get(name), list)][:1]


def connections(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The listings of a GraphQL answer that may have further pages.

    Lists inside their rows (labels, commits) are not among them: of these the order says something.
    """
    found: list[dict[str, Any]] = []
    level: list[dict[str, Any]] = [data]
    while level and not found:
        inner = [(name, value) for one in level for name, value in one.items() if isinstance(value, dict)]
        found = [value for name, value in inner if name in _GRAPHQL_LISTS and "pageInfo" in value]
        level = [value for _, value in inner]
    return found


def reordered(document: Json, dice: random.Random) -> None:
    """Shuffle the rows in place."""
    for listing in listings(document):
        dice.shuffle(listing.rows)


def duplicated(document: Json, dice: random.Random) -> None:
    """Give some rows twice, in place, where the client does not count rows to find the next page."""
    for listing in listings(document):
        if not listing.by_position:
            again = [row for row in listing.rows if dice.random() < 0.3]
            listing.rows = [*listing.rows, *again]


@dataclass(slots=True)
class Replays:
    """Cursors of ours that lead to a page which a client has asked for before."""

    _known: dict[str, str | None] = field(default_factory=dict)

    def real(self, given: Any) -> Any:
        """The API's cursor for a client's, whatever it is in."""
        if isinstance(given, dict):
            return {name: self.real(value) for name, value in given.items()}
        return self._known[given] if isinstance(given, str) and given in self._known else given

    def again(self, document: Json, asked: str | None, *, empty: bool) -> bool:
        """Let the answer's cursor lead to the page that was asked for by the cursor `asked`; False where none can."""
        place = _cursor_of(document)
        if place is None or not (rows := listings(document)):
            return False
        ours = f"again-{len(self._known) + 1}"
        self._known[ours] = asked
        holder, name = place
        holder[name] = ours
        if "hasNextPage" in holder:
            holder["hasNextPage"] = True
        if "isLast" in holder:
            holder["isLast"] = False
        if empty:
            for listing in rows:
                listing.rows = []
        return True


def _cursor_of(document: Json) -> tuple[dict[str, Any], str] | None:
    """The object and the key that hold the cursor to the next page."""
    if not isinstance(document, dict):
        return None
    data = document.get("data")
    if isinstance(data, dict):
        found = connections(data)
        return (found[0]["pageInfo"], "endCursor") if len(found) == 1 and "endCursor" in found[0]["pageInfo"] else None
    if isinstance(data, list):
        meta = document.get("meta")
        return (meta, "cursor") if isinstance(meta, dict) and "page" not in meta else None
    if "startAt" not in document and ("issues" in document or "issueChangeLogs" in document):
        return document, "nextPageToken"
    return None


def asked_cursor(query: dict[str, str], body: Json) -> tuple[bool, str | None]:
    """Whether a request is one whose page can be asked for again, and by which cursor it asks (None: the first)."""
    given = body if isinstance(body, dict) else {}
    variables = given.get("variables")
    if isinstance(variables, dict):
        names = [name for name in variables if re.search("after|cursor", name, re.IGNORECASE)]
        return len(names) == 1, variables[names[0]] if len(names) == 1 else None
    return "query" not in given, query.get("cursor") or given.get("nextPageToken") or query.get("nextPageToken")


# What a fault does to the world


@dataclass(frozen=True, slots=True)
class Lateness:
    """A share of the tickets is visible late, each event of one by up to `most`, in their order."""

    seed: int
    share: float
    most: timedelta

    def delay(self, event: ev.Event) -> timedelta:
        """How much later than it happened an event is seen."""
        if event.ticket is None or random.Random(f"{self.seed}/late/{event.ticket}").random() >= self.share:  # noqa: S311
            return timedelta(0)
        return self.most * random.Random(f"{self.seed}/late/{event.ticket}/{event.at}").random()  # noqa: S311


def odd(events: Iterable[ev.Event]) -> list[ev.Event]:
    """The same story in texts of all sorts of letters."""
    return [_with_texts(event, ODD) for event in events]


def huge(events: Iterable[ev.Event]) -> list[ev.Event]:
    """The same story, with one text of 10 MB in the first event of each kind that has one."""
    made, had = [], set()
    for event in events:
        big = type(event) not in had and not isinstance(event, ev.ReviewSubmitted)
        had.add(type(event))
        made.append(_with_texts(event, "ö" * (HUGE // 2), titles=False) if big else event)
    return made


def _with_texts(event: ev.Event, text: str, *, titles: bool = True) -> ev.Event:
    match event:
        case ev.IssueCreated():
            summary = f"{event.summary} {text}" if titles else event.summary
            return replace(event, summary=summary, description=f"{event.description}\n{text}")
        case ev.CommentAdded():
            return replace(event, body=f"{event.body}\n{text}")
        case ev.PullRequestOpened():
            commits = tuple(replace(c, message=f"{c.message}\n\n{text}") for c in event.commits)
            title = f"{event.title} {text}" if titles else event.title
            return replace(
                event, title=title, body=f"{event.body}\n{text}", commits=commits if titles else event.commits
            )
        case ev.ReviewSubmitted():
            return replace(event, body=f"{event.body}\n{text}")
        case ev.TraceIngested():
            # Long values are cut where nobody asks for their keys; of this one, the first letters are of no interest.
            key = "note" if titles else "summary"
            steps = tuple(
                replace(o, metadata=_with(o.metadata, key, text)) if o.parent is None else o for o in event.observations
            )
            return replace(event, metadata=_with(event.metadata, key, text), observations=steps)
        case ev.ScoreAdded():
            return replace(event, comment=text) if titles else event
    return event


def _with(metadata: tuple[tuple[str, str], ...], key: str, text: str) -> tuple[tuple[str, str], ...]:
    return (*((k, v) for k, v in metadata if k != key), (key, text))
