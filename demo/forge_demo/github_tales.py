"""The repositories that make a loader's life hard: full, forked, archived, renamed, forbidden, deleted.

Told once, from the world's start on, with dice of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo.github_life import external_checks, jobs
from forge_demo.github_places import (
    ATLAS,
    CONTRIBUTOR,
    DELETED_ON,
    GHOST,
    HANDBOOK,
    LEGACY,
    RENAMED_ON,
    SPIKE,
    STRANGER,
    TELEMETRY,
    TELEMETRY_RENAMED,
    VAULT,
)
from forge_demo.pen import Pen

MANY = 130
"""More than one page of 100 of whatever nests in a pull request."""
TICKET = "MAPS-7"
"""Of a project that this Jira does not have."""
_PEOPLE = tuple(person.login for person in org.PLATFORM.members)


def tales(seed: str, start: datetime) -> list[ev.Event]:
    """Every event of these repositories."""
    found: list[ev.Event] = [
        gh.RepositoryRenamed(
            start + timedelta(days=RENAMED_ON, hours=12), None, TELEMETRY, org.ORGANISATION, TELEMETRY_RENAMED
        ),
        gh.RepositoryDeleted(start + timedelta(days=DELETED_ON, hours=12), None, SPIKE),
    ]
    for key, count, every in ((LEGACY, 3, 1), (VAULT, 3, 4), (SPIKE, 4, 2), (TELEMETRY, 8, 3), (ATLAS, 6, 5)):
        for n in range(count):
            pen = Pen(f"{seed}/tales/{key}/{n}", start + timedelta(days=n * every, hours=8))
            found += _plain(pen, key, n)
    found += _handbook(Pen(f"{seed}/tales/{HANDBOOK}", start + timedelta(days=1, hours=9)))
    found += _everything_at_once(Pen(f"{seed}/tales/{ATLAS}", start + timedelta(days=1, hours=9)))
    return found


def _commit(pen: Pen, author: str, message: str) -> ev.Commit:
    at = pen.seconds_before(pen.number(30, 4000))
    return ev.Commit(pen.sha(), author, at, at + timedelta(seconds=25), message, pen.number(1, 90), pen.number(0, 40))


def _open(pen: Pen, key: str, ref: str, author: str, title: str, body: str, **more: object) -> ev.PullRequestOpened:
    commits = more.get("commits") or (_commit(pen, author, f"{title}\n\nRefs: {TICKET}"),)
    assert isinstance(commits, tuple)  # noqa: S101
    fork = more.get("fork")
    return ev.PullRequestOpened(
        pen.seconds,
        None,
        ref,
        key,
        author,
        title,
        body,
        str(more.get("branch") or f"topic/{pen.hex(6)}"),
        bool(more.get("draft")),
        (),
        pen.number(1, 9),
        commits,
        None if fork is None else str(fork),
    )


def _ci(pen: Pen, opened: ev.PullRequestOpened, conclusion: str = "success") -> Iterator[ev.Event]:
    run, sha = pen.uuid(), opened.commits[-1].oid
    started = ev.WorkflowRunStarted(
        pen.wait_seconds(3, 20).seconds, None, run, opened.repository, "tests", opened.ref, sha, opened.branch,
        opened.author, 1,
    )  # fmt: skip
    ended = ev.WorkflowRunCompleted(pen.wait_minutes(2, 20).seconds, None, run, conclusion)
    yield from (started, *jobs(pen, started, ended), ended)
    yield from external_checks(pen, started.at, None, opened.repository, sha, opened.branch)


def _plain(pen: Pen, key: str, n: int) -> Iterator[ev.Event]:
    """A pull request with CI, a review and its merge; an issue and a deployment beside."""
    author, other = pen.sample(_PEOPLE, 2)
    opened = _open(pen, key, f"tale/{key}/{n}", author, f"{pen.title()} [{key} {n}]", "No ticket.")
    yield opened
    yield from _ci(pen, opened, "success" if n % 3 else "failure")
    pen.wait_hours(0.1, 5)
    yield ev.ReviewSubmitted(pen.seconds, None, opened.ref, other, "APPROVED", "")
    if n % 4 == 3:
        return
    sha = pen.sha()
    yield ev.PullRequestMerged(pen.wait_minutes(1, 40).seconds, None, opened.ref, other, sha)
    issue = f"tale/{key}/issue/{n}"
    yield gh.IssueOpened(pen.wait_minutes(1, 40).seconds, None, issue, key, author, f"About {key} {n}", "", ())
    deployment = pen.uuid()
    yield ev.DeploymentCreated(pen.wait_minutes(1, 9).seconds, None, deployment, key, sha, "staging", author)
    for state in ("queued", "in_progress", "success"):
        yield ev.DeploymentStatusCreated(pen.wait_seconds(2, 90).seconds, None, deployment, state, author)


def _handbook(pen: Pen) -> Iterator[ev.Event]:
    """Outsiders: a fork that is still there, one that is gone, an author that is gone, a commit of nobody."""
    author, reviewer = CONTRIBUTOR.login, _PEOPLE[0]
    for n, (who, fork) in enumerate(
        (
            (author, f"{author}/handbook"),
            (author, ""),
            (GHOST.login, ""),
            (GHOST.login, None),
            (author, f"{author}/handbook"),
        )
    ):
        commits = (
            _commit(pen, who, f"Translate page {n}"),
            _commit(pen, STRANGER.login, "Fix typo\n\nSigned-off-by: x"),
        )
        opened = _open(
            pen, HANDBOOK, f"tale/handbook/{n}", who, f"Translate page {n} 翻訳 ترجمة", "", commits=commits, fork=fork,
            branch="main" if n % 2 else None, draft=n == 4,
        )  # fmt: skip
        yield opened
        if fork is None:
            yield from _ci(pen, opened)
        yield gh.Commented(pen.wait_hours(0.2, 5).seconds, None, opened.ref, GHOST.login, "I wrote this once.")
        state = ("APPROVED", "COMMENTED", "CHANGES_REQUESTED")[n % 3]
        yield ev.ReviewSubmitted(pen.seconds, None, opened.ref, GHOST.login if n == 1 else reviewer, state, "")
        if n < 2:
            yield ev.PullRequestMerged(pen.wait_minutes(1, 40).seconds, None, opened.ref, reviewer, pen.sha())
        elif n == 2:
            yield ev.PullRequestClosed(pen.wait_minutes(1, 40).seconds, None, opened.ref, reviewer)
        pen.wait_hours(2, 20)
    yield gh.ReleaseCreated(
        pen.seconds, None, pen.uuid(), HANDBOOK, "untagged", None, "A draft has no tag.", reviewer, True, False
    )


def _everything_at_once(pen: Pen) -> Iterator[ev.Event]:
    """One pull request with more of everything than fits in a page."""
    ref, author, ticket = "tale/atlas/giant", _PEOPLE[1], TICKET
    commits = tuple(
        _commit(pen, _PEOPLE[n % 3], f"Tile {n}\n\nRefs: {ticket}\nCo-authored-by: Mal <mal@example.org>")
        for n in range(MANY)
    )
    body = "Everything at once.\n\n" + "It's a long story. 長い話。\n" * 400
    opened = _open(pen, ATLAS, ref, author, f"{ticket}: redraw the world 🗺️", body, commits=commits)
    yield opened
    for n in range(100):
        yield ev.Labeled(pen.wait_seconds(1, 9).seconds, None, ref, author, f"tile/{n:03}")
    for person in (*_PEOPLE, "@platform"):
        if person != author:
            yield ev.ReviewRequested(pen.wait_seconds(1, 9).seconds, None, ref, author, person)
    for person in _PEOPLE:
        yield gh.Assigned(pen.wait_seconds(1, 9).seconds, None, ref, author, person)
    for n in range(12):
        issue = f"tale/atlas/linked/{n}"
        yield gh.IssueOpened(
            pen.wait_seconds(1, 9).seconds, None, issue, ATLAS, author, f"Tile {n} is wrong", "", ("bug",)
        )
        yield gh.IssueLinked(pen.wait_seconds(1, 9).seconds, None, ref, author, issue)
    yield from _matrix(pen, opened)
    for n in range(MANY):
        yield gh.Commented(pen.wait_minutes(1, 9).seconds, None, ref, _PEOPLE[n % 5], f"Tile {n} ✔️")
        yield ev.ReviewSubmitted(pen.wait_minutes(1, 9).seconds, None, ref, _PEOPLE[n % 4], "COMMENTED", f"Part {n}")
        for line in range(110 if n == 7 else n % 2):
            yield gh.ThreadCommented(
                pen.seconds,
                None,
                ref,
                f"{ref}/{n}/{line}",
                _PEOPLE[n % 4],
                f"Line {line}",
                "src/tiles.py",
                line + 1,
                True,
            )
    for n in range(110):
        yield gh.ThreadCommented(
            pen.wait_seconds(1, 60).seconds,
            None,
            ref,
            f"{ref}/7/0",
            _PEOPLE[n % 5],
            f"Reply {n}",
            "src/tiles.py",
            1,
            False,
        )
    noisy = "tale/atlas/noisy"
    yield gh.IssueOpened(pen.seconds, None, noisy, ATLAS, author, "A long discussion", "", ())
    for n in range(MANY):
        yield gh.Commented(pen.wait_seconds(1, 60).seconds, None, noisy, _PEOPLE[n % 5], f"Opinion {n}")
    deployment = pen.uuid()
    yield ev.DeploymentCreated(pen.seconds, None, deployment, ATLAS, opened.commits[-1].oid, "preview", author)
    for n in range(MANY):
        state = "success" if n == MANY - 1 else ("queued", "in_progress")[n % 2]
        yield ev.DeploymentStatusCreated(pen.wait_seconds(1, 60).seconds, None, deployment, state, author)


def _matrix(pen: Pen, opened: ev.PullRequestOpened) -> Iterator[ev.Event]:
    """A workflow of more jobs than a page, some of every verdict, run twice."""
    run, head = pen.uuid(), opened.commits[-1].oid
    for attempt in (1, 2):
        begin = pen.wait_minutes(1, 5).seconds
        yield ev.WorkflowRunStarted(
            begin, None, run, opened.repository, "matrix", opened.ref, head, opened.branch, opened.author, attempt
        )
        ends = begin + timedelta(minutes=10)
        for n in range(MANY):
            job = pen.uuid()
            verdict = ("success", "success", "skipped", "neutral", "cancelled", "failure")[
                n % (6 if attempt == 1 else 4)
            ]
            yield gh.JobStarted(begin + timedelta(seconds=n), None, job, run, f"tile {n}", attempt, f"runner-{n % 7}")
            yield gh.JobCompleted(ends, None, job, verdict, ())
        pen.now = ends
        yield ev.WorkflowRunCompleted(ends, None, run, "failure" if attempt == 1 else "success")
