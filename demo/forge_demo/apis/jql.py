"""The part of JQL that loaders use: comparisons joined by AND, OR, NOT and parentheses, and ORDER BY.

clause  := term (OR term)*        term := factor (AND factor)*      factor := NOT factor | ( clause ) | comparison
dates   := epoch milliseconds | "yyyy-MM-dd[ HH:mm]" | "yyyy/MM/dd[ HH:mm]" in the account's zone | -3d
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from forge_demo import organisation as org
from forge_demo.jira_places import PROJECTS
from forge_demo.jira_state import Issue

_TOKEN = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(>=|<=|!=|!~|[=<>~(),])|([^\s=<>!~(),"']+))""")
_RELATIVE = re.compile(r"([+-]?)(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE_FORMATS = ("%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y/%m/%d")

Predicate = Callable[[Issue], bool]
SortKey = tuple[int, ...]


class JqlError(ValueError):
    """The query cannot be run; the text is Jira's."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. `bounded`: it restricts the search at all."""

    matches: Predicate
    order: Callable[[Issue], SortKey]
    bounded: bool


def parse(text: str, *, zone: ZoneInfo, now: datetime) -> Query:
    """Read a query. Raises JqlError."""
    return _Parser(_tokens(text), zone, now).query()


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Pairs of (text, was quoted)."""
    found: list[tuple[str, bool]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise JqlError(
                f"Error in the JQL Query: The character '{text[at]}' is a reserved JQL character. "
                f"(line 1, character {at + 1})"
            )
        quoted = match.group(1)
        found.append(
            (re.sub(r"\\(.)", r"\1", quoted[1:-1]), True) if quoted else (match.group(2) or match.group(3), False)
        )
        at = match.end()
    return found


_TEXTS: dict[str, Callable[[Issue], set[str]]] = {
    "project": lambda i: {i.project.lower()},
    "key": lambda i: {i.key.lower()},
    "issuekey": lambda i: {i.key.lower()},
    "id": lambda i: {i.created.id},
    "status": lambda i: {i.status.name.lower(), i.status.id},
    "statuscategory": lambda i: {
        i.status.category,
        {"new": "to do", "indeterminate": "in progress", "done": "done"}[i.status.category],
    },
    "issuetype": lambda i: {i.created.issue_type.lower(), org.ISSUE_TYPES[i.created.issue_type]},
    "type": lambda i: {i.created.issue_type.lower(), org.ISSUE_TYPES[i.created.issue_type]},
    "assignee": lambda i: {i.assignee.account_id.lower()} if i.assignee else set(),
    "reporter": lambda i: {org.BY_LOGIN[i.created.reporter].account_id.lower()},
    "resolution": lambda i: {i.resolution.lower()} if i.resolution else set(),
    "sprint": lambda i: set(map(str, i.sprints)),
    "fixversion": lambda i: set(i.versions),
    "affectedversion": lambda i: set(i.affected),
    "labels": lambda i: set(i.created.labels),
}
_DATES: dict[str, Callable[[Issue], datetime | None]] = {
    "updated": lambda i: i.updated_at,
    "updateddate": lambda i: i.updated_at,
    "created": lambda i: i.created.at,
    "createddate": lambda i: i.created.at,
    "resolved": lambda i: i.resolved_at,
    "resolutiondate": lambda i: i.resolved_at,
}
_PROJECTS = {key.lower() for key in PROJECTS}
_COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class _Parser:
    def __init__(self, tokens: list[tuple[str, bool]], zone: ZoneInfo, now: datetime) -> None:
        self.tokens, self.zone, self.now, self.at = tokens, zone, now, 0

    def query(self) -> Query:
        bounded = bool(self.tokens) and not self._is("order")
        matches = self._clause() if bounded else (lambda issue: True)
        order = self._order()
        if self.at < len(self.tokens):
            raise JqlError(
                f"Error in the JQL Query: Expecting either 'OR' or 'AND' but got '{self.tokens[self.at][0]}'. (line 1)"
            )
        return Query(matches, order, bounded)

    def _is(self, word: str) -> bool:
        return (
            self.at < len(self.tokens)
            and self.tokens[self.at] == (self.tokens[self.at][0], False)
            and (self.tokens[self.at][0].lower() == word)
        )

    def _accept(self, word: str) -> bool:
        found = self._is(word)
        self.at += found
        return found

    def _take(self, what: str) -> str:
        if self.at >= len(self.tokens):
            raise JqlError(f"Error in the JQL Query: Expecting {what} before the end of the query.")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def _expect(self, word: str) -> None:
        got = self._take(f"'{word}'")
        if got.lower() != word:
            raise JqlError(f"Error in the JQL Query: Expecting '{word}' but got '{got}'. (line 1)")

    def _clause(self) -> Predicate:
        parts = [self._term()]
        while self._accept("or"):
            parts.append(self._term())
        return lambda issue: any(part(issue) for part in parts)

    def _term(self) -> Predicate:
        parts = [self._factor()]
        while self._accept("and"):
            parts.append(self._factor())
        return lambda issue: all(part(issue) for part in parts)

    def _factor(self) -> Predicate:
        if self._accept("not"):
            inner = self._factor()
            return lambda issue: not inner(issue)
        if self._accept("("):
            inner = self._clause()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        name = self._take("a field name").lower()
        if name in _DATES:
            return self._date(name)
        if name in _TEXTS:
            return self._text(name)
        raise JqlError(f"Field '{name}' does not exist or you do not have permission to view it.")

    def _date(self, name: str) -> Predicate:
        of, operator = _DATES[name], self._take("an operator")
        if operator.lower() == "is":
            return self._empty(lambda issue: of(issue) is None)
        if operator not in _COMPARE:
            raise JqlError(f"The operator '{operator}' is not supported by the '{name}' field.")
        compare, bound = _COMPARE[operator], self._moment(name, self._take("a value"))

        def matches(issue: Issue) -> bool:
            value = of(issue)
            return value is not None and compare(value, bound)

        return matches

    def _text(self, name: str) -> Predicate:
        of, operator = _TEXTS[name], self._take("an operator").lower()
        if operator == "is":
            return self._empty(lambda issue: not of(issue))
        negated = operator in ("!=", "not")
        if operator == "not":
            self._expect("in")
        elif operator not in ("=", "!=", "in"):
            raise JqlError(f"The operator '{operator}' is not supported by the '{name}' field.")
        wanted = self._values() if operator in ("in", "not") else {self._take("a value").lower()}
        if name == "project":
            for value in sorted(wanted - _PROJECTS):
                raise JqlError(f"The value '{value.upper()}' does not exist for the field 'project'.")
        return lambda issue: bool(of(issue) & wanted) != negated

    def _empty(self, empty: Predicate) -> Predicate:
        negated = self._accept("not")
        if self._take("EMPTY").lower() not in ("empty", "null"):
            raise JqlError("Error in the JQL Query: Expecting 'EMPTY' after 'is'. (line 1)")
        return lambda issue: empty(issue) != negated

    def _values(self) -> set[str]:
        self._expect("(")
        values = {self._take("a value").lower()}
        while self._accept(","):
            values.add(self._take("a value").lower())
        self._expect(")")
        return values

    def _moment(self, name: str, text: str) -> datetime:
        """Minute precision: seconds of a literal are dropped."""
        found: datetime | None = None
        if re.fullmatch(r"-?\d{9,15}", text):
            found = datetime.fromtimestamp(int(text) // 1000, UTC)
        elif relative := _RELATIVE.fullmatch(text):
            by = timedelta(**{_UNITS[relative.group(3)]: int(relative.group(2))})
            found = self.now - by if relative.group(1) == "-" else self.now + by
        else:
            for pattern in _DATE_FORMATS:
                try:
                    found = datetime.strptime(text, pattern).replace(tzinfo=self.zone).astimezone(UTC)
                    break
                except ValueError:
                    continue
        if found is None:
            raise JqlError(
                f"Date value '{text}' for field '{name}' is invalid. Valid formats include: 'yyyy/MM/dd HH:mm', "
                "'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'."
            )
        return found.replace(second=0, microsecond=0)

    def _order(self) -> Callable[[Issue], SortKey]:
        parts: list[Callable[[Issue], SortKey]] = []
        if self._accept("order"):
            self._expect("by")
            parts.append(self._order_part())
            while self._accept(","):
                parts.append(self._order_part())
        else:
            parts.append(lambda issue: (-_millis(issue.created.at),))
        # The id makes the order total, as the server's own tie-break does.
        return lambda issue: (*(n for part in parts for n in part(issue)), int(issue.created.id))

    def _order_part(self) -> Callable[[Issue], SortKey]:
        name = self._take("a field name").lower()
        sign = -1 if self._accept("desc") else 1
        self._accept("asc")
        if name in ("key", "issuekey"):
            return lambda issue: tuple(sign * n for n in _key_order(issue.key))
        if name == "id":
            return lambda issue: (sign * int(issue.created.id),)
        if name in _DATES:
            of = _DATES[name]
            return lambda issue: (sign * _millis(of(issue)),)
        raise JqlError(f"Not able to sort using field '{name}'.")


def _millis(at: datetime | None) -> int:
    return 0 if at is None else int(at.timestamp() * 1000 + 0.5)


def _key_order(key: str) -> tuple[int, int]:
    project, _, number = key.rpartition("-")
    return sorted(PROJECTS).index(project), int(number)
