"""GitHub's part of the world: stories stay as they are, everything that makes a loader's life hard is there, once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo import truth, truth_github
from forge_demo.github_life import lived
from forge_demo.github_places import GHOST, STRANGER
from forge_demo.github_state import Hub
from forge_demo.story import Brief, tell
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build(7, end=END)


def test_what_github_adds_leaves_a_story_as_it_is() -> None:
    for index in range(1, 60):
        brief = Brief("5", index, org.PLATFORM, f"FLEET-{index}", END)
        told = tell(brief, lambda team: (2, "FLEET-2"))
        whole = lived(told, "5")
        assert [e.at for e in whole] == sorted(e.at for e in whole)
        left = Counter(map(repr, whole))
        for event in told:
            if isinstance(event, ev.PullRequestOpened) and repr(event) not in left:
                # Only that another head was pushed first, and replaced by force at once.
                (other,) = (e for e in whole if isinstance(e, ev.PullRequestOpened) and e.ref == event.ref)
                assert replace(other, commits=event.commits) == event
                (forced,) = (e for e in whole if isinstance(e, gh.HeadForcePushed) and e.ref == event.ref)
                assert forced.commits == event.commits
            else:
                assert left[repr(event)] == 1


def test_every_kind_of_event_happens(world: World) -> None:
    kinds = {type(e) for e in world.past}
    told = {kind for kind in vars(gh).values() if isinstance(kind, type) and issubclass(kind, ev.Event)}
    assert told - kinds == {ev.Event, gh.Removed}  # what is removed, a test removes


def test_the_world_has_what_makes_life_hard(world: World) -> None:
    hub = world.state.hub
    pulls, runs = list(hub.pulls.values()), list(hub.runs.values())
    checks = [c for repo in hub.repos.values() for suites in repo.suites.values() for s in suites for c in s.checks]
    assert {c.conclusion for c in checks} >= {"success", "failure", "neutral", "skipped", "cancelled", None}
    assert {run.event for run in runs} == {"pull_request", "push", "schedule"}
    assert {run.conclusion for run in runs} >= {"success", "failure", "cancelled"}
    assert any({job.attempt for job in run.jobs} == {1, 2} for run in runs)
    assert any(run.pull is None and run.started.branch == "main" for run in runs)
    assert {d.state for d in hub.deployments.values()} >= {"success", "failure", "inactive"}
    assert {pull.author for pull in pulls} >= {GHOST, org.DEPENDABOT}
    assert any(commit.author == STRANGER.login for pull in pulls for commit in pull.commits)
    assert {pull.opened.fork for pull in pulls} >= {None, "", "nkechi-dev/handbook"}
    assert any(pull.issues for pull in pulls) and any(pull.milestone for pull in pulls)
    assert any("@platform" in pull.requested for pull in pulls)
    issues = list(hub.issues.values())
    assert {issue.state_reason for issue in issues} == {None, "COMPLETED", "NOT_PLANNED", "REOPENED"}
    releases = [r for repo in hub.repos.values() for r in repo.releases.values()]
    assert any(r.draft for r in releases) and any(r.created.prerelease for r in releases)
    tags = [t for repo in hub.repos.values() for t in repo.tags.values()]
    assert {t.created.message is None for t in tags} == {True, False}
    texts = " ".join(c.body for pull in pulls for c in pull.comments)
    assert "שלום" in texts and "𝔉" in texts and "\u0301" in texts
    giant = hub.pulls["tale/atlas/giant"]
    assert min(len(giant.commits), len(giant.comments), len(giant.reviews), len(giant.threads)) > 100
    assert len(giant.labels) == 100 and len(giant.body.encode()) > 10_000
    assert "spike-2022" not in hub.repos and hub.repos["telemetry"].name == "fleet-telemetry"
    assert hub.names["acme-robotics/telemetry"] is hub.repos["telemetry"]
    assert not hub.repos["sandbox"].pulls and not hub.repos["sandbox"].landed


def test_numbers_are_one_row_for_pull_requests_and_issues(world: World) -> None:
    for repo in world.state.hub.repos.values():
        numbers = sorted((*repo.pulls, *repo.issues))
        assert numbers == list(range(1, len(numbers) + 1))
        at = [it.created_at for _, it in sorted({**repo.pulls, **repo.issues}.items())]
        assert at == sorted(at)


def test_jobs_lie_within_their_attempt(world: World) -> None:
    for run in world.state.runs.values():
        assert (run.suite is not None and run.jobs) or run.conclusion is None
        for job in run.jobs:
            assert run.created_at <= job.started_at and job.attempt <= run.started.attempt
            assert job.completed_at is None or job.started_at <= job.completed_at
            for earlier, later in pairwise(job.steps):
                assert earlier.completed_at <= later.started_at
            if run.conclusion and job.completed_at:
                assert job.completed_at <= run.updated_at
        last = [job.conclusion for job in run.jobs if job.attempt == run.started.attempt]
        if run.conclusion == "success":
            assert set(last) <= {"success", "skipped", "neutral", "cancelled"}
        elif run.conclusion == "failure":
            assert "failure" in last


def test_a_new_success_ends_the_earlier_ones_of_an_environment_but_production(world: World) -> None:
    up = Counter((d.repo.name, d.created.environment) for d in world.state.deployments.values() if d.state == "success")
    assert {count for (_, name), count in up.items() if name != "production"} == {1}
    assert up["fleet-api", "production"] > 10


def test_a_success_that_is_seen_late_ends_nothing_that_came_after_it() -> None:
    def status(name: str, state: str, minute: int) -> ev.DeploymentStatusCreated:
        return ev.DeploymentStatusCreated(END + timedelta(minutes=minute), None, name, state, "marta-silva")

    def created(name: str, minute: int) -> ev.DeploymentCreated:
        at = END + timedelta(minutes=minute)
        return ev.DeploymentCreated(at, None, name, "atlas", "0" * 40, "staging", "marta-silva")

    hub = Hub()
    for event in (created("new", 3), status("new", "success", 4), created("old", 0), status("old", "success", 1)):
        hub.apply(event)
    assert [d.state for d in (hub.deployments["old"], hub.deployments["new"])] == ["success", "success"]
    hub.apply(created("last", 2))
    hub.apply(status("last", "success", 0))
    ended = hub.deployments["old"]
    assert [e.state for _, e in ended.statuses] == ["success", "inactive"]
    assert [e.at for _, e in ended.statuses] == [END + timedelta(minutes=1)] * 2
    assert ended.updated_at == END + timedelta(minutes=1)
    assert hub.deployments["new"].state == "success"


def test_times_are_whole_seconds_and_updates_are_the_newest(world: World) -> None:
    for name, rows in truth_github.TABLES.items():
        for row in rows(world.state):
            times = {k: v for k, v in row.items() if isinstance(v, datetime)}
            assert all(v.microsecond == 0 for v in times.values()), (name, row)
            if "updated_at" in times and name != "github_workflow_runs":
                assert max(times.values()) == times["updated_at"], (name, row)


def test_growing_in_steps_gives_the_same_github() -> None:
    whole = World.build(11, end=END, days=15)
    grown = World.build(11, end=END - timedelta(days=14), days=1)
    assert grown.start == whole.start
    while grown.now < END:
        grown.advance(min(END, grown.now + timedelta(hours=11)))
    for name, rows in truth_github.TABLES.items():
        assert truth.plain(rows(grown.state)) == truth.plain(rows(whole.state)), name


def test_a_key_is_found_where_it_stands_alone() -> None:
    found = truth_github._keys(("title", "PAY-1, xPAY-2 PAY-3x (FLEET-22) A-1 AB-C-5 A1-7-8"), ("body", "PAY-1"))
    assert [row["key"] for row in found] == ["PAY-1", "FLEET-22", "A1-7", "PAY-1"]
    assert [row["found_in"] for row in found][-1] == "body"
