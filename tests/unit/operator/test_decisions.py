"""Loads and transforms as the operator sees them: first loads, the backstop, batches, lost status, crash points."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from forge_operator import loads, transforms
from forge_operator.builders.transform import encode_covers
from forge_operator.observe import job_end
from forge_operator.stacks import status_of
from forge_operator.world import World, fingerprint
from forge_stack.decisions import FinishedLoad, RunTransform, decide_transform
from forge_stack.model import ObservabilityStack, SourceStatus, StackStatus, TransformStatus
from forge_stack.status import Fact, observe_source
from forge_stack.wire import NodeCounts, NodeFailure, Problem, TransformSummary, encode_summary
from stack_objects import NOW, at, make_job, make_pod, make_stack, world_of

Manifest = dict[str, Any]
SOURCE = {"observability.forge.dev/source": "github"}


def loads_in(world: World, cron_job: Manifest | None = None) -> loads.Loads:
    return loads.loads_of(world, make_stack().spec.sources[1], cron_job)


def first(number: int, **more: Any) -> Manifest:
    labels = {**SOURCE, "observability.forge.dev/first-load": str(number)}
    return make_job(f"acme-load-github-first-{number}", labels=labels, **more)


def transform_job(sequence: int, covers: list[FinishedLoad], **more: Any) -> Manifest:
    return make_job(
        f"acme-transform-{sequence}",
        component="transform",
        labels={"observability.forge.dev/sequence": str(sequence)},
        annotations={"observability.forge.dev/covers": encode_covers(covers)},
        **more,
    )


def cron_job(last_success: str = "") -> Manifest:
    return {
        "kind": "CronJob",
        "apiVersion": "batch/v1",
        "metadata": {
            "name": "acme-load-github",
            "uid": "uid-of-cron",
            "ownerReferences": [
                {"kind": "ObservabilityStack", "name": "acme", "uid": "uid-of-acme", "controller": True}
            ],
        },
        "spec": {"suspend": False},
        "status": {"lastSuccessfulTime": last_success} if last_success else {},
    }


# Whose Jobs they are


def test_jobs_of_a_deleted_stack_of_the_same_name_are_not_ours() -> None:
    ours, old = first(1, ended="Complete"), first(2, ended="Complete", owner="uid-of-the-old-acme")
    assert [job["metadata"]["name"] for job in world_of(ours, old).jobs] == ["acme-load-github-first-1"]


def test_jobs_of_our_cron_jobs_are_ours() -> None:
    ticked = make_job("acme-load-github-29000000", labels=SOURCE, owner="uid-of-cron")
    assert len(world_of(cron_job(), ticked).jobs) == 1
    assert len(world_of(ticked).jobs) == 0


# First loads


def test_the_first_load_is_due_at_once() -> None:
    world = world_of()
    found = loads_in(world)
    assert not found.succeeded_before(None)
    assert loads.first_load_due(world, found) == (NOW, 1)


def test_a_failed_first_load_comes_back_later_and_later() -> None:
    world = world_of(first(1, ended="Failed", seconds=-100), first(2, ended="Failed", seconds=0))
    due, number = loads.first_load_due(world, loads_in(world))
    assert (due - NOW, number) == (timedelta(seconds=60), 3)


@pytest.mark.parametrize("how", ["status", "job", "cron"])
def test_no_first_load_after_a_success(how: str) -> None:
    known = SourceStatus(name="github", last_success_time=NOW) if how == "status" else None
    world = world_of(*([first(1, ended="Complete")] if how == "job" else []))
    assert loads_in(world, cron_job(at()) if how == "cron" else None).succeeded_before(known)


def test_only_the_newest_failed_first_loads_are_kept() -> None:
    failed = [first(n, ended="Failed", seconds=n) for n in range(1, 7)]
    world = world_of(*failed, first(7, ended="Complete", seconds=9))
    gone = [job["metadata"]["name"][-1] for job in loads.outdated_first_loads(loads_in(world))]
    assert gone == ["1", "2", "3"]


def test_loads_of_a_removed_source_go() -> None:
    world = world_of(first(1), first(2, ended="Failed"))
    assert [job["metadata"]["name"][-1] for job in loads.of_removed_sources(world, ["jira"])] == ["1", "2"]
    assert loads.of_removed_sources(world, ["github", "jira"]) == []


# Finished loads


def test_the_cron_jobs_record_stands_in_for_a_job_that_is_gone() -> None:
    record = cron_job(at(60))
    found = loads.finished_loads([loads_in(world_of(), record)], StackStatus())
    assert [(f.uid.split("@")[0], f.source, f.ended_at) for f in found] == [
        ("acme-load-github", "github", NOW + timedelta(seconds=60))
    ]
    covered = TransformStatus(covered={"github": NOW + timedelta(seconds=60)})
    assert loads.finished_loads([loads_in(world_of(), record)], StackStatus(transform=covered)) == []


def test_a_job_that_is_there_needs_no_record() -> None:
    job = make_job("acme-load-github-1", labels=SOURCE, owner="uid-of-cron", ended="Complete", seconds=60)
    record = cron_job(at(60))
    found = loads.finished_loads([loads_in(world_of(record, job), record)], StackStatus())
    assert [f.uid for f in found] == ["uid-of-acme-load-github-1"]


def test_a_record_waits_for_the_job_that_it_may_speak_of() -> None:
    """The CronJob's news may come before its Job's; taken for two loads, they would be covered twice."""
    ticked = make_job("acme-load-github-1", labels=SOURCE, owner="uid-of-cron", seconds=50)
    later = make_job("acme-load-github-2", labels=SOURCE, owner="uid-of-cron", seconds=90)
    record = cron_job(at(60))
    assert loads.finished_loads([loads_in(world_of(record, ticked), record)], StackStatus()) == []
    assert len(loads.finished_loads([loads_in(world_of(record, later), record)], StackStatus())) == 1


def test_a_load_that_was_covered_by_its_record_is_the_same_when_its_job_is_seen() -> None:
    """All news of the Job may come after that of its CronJob."""
    record = cron_job(at(60))
    (load,) = loads.finished_loads([loads_in(world_of(record), record)], StackStatus())
    status = TransformStatus(consumed=[load.uid], covered={"github": load.ended_at})
    ended = make_job("acme-load-github-1", labels=SOURCE, owner="uid-of-cron", ended="Complete", seconds=60)
    other = make_job("acme-load-github-2", labels=SOURCE, owner="uid-of-cron", ended="Complete", seconds=61)
    found = loads.finished_loads([loads_in(world_of(record, ended, other), record)], StackStatus(transform=status))
    assert [each.uid for each in found] == [load.uid, "uid-of-acme-load-github-2"]


def test_the_status_stands_in_for_a_first_load_that_is_gone() -> None:
    """Of a first load, or one that was asked for, no CronJob keeps a record; it may go while a transform runs."""
    known = SourceStatus(name="github", last_success_time=NOW + timedelta(seconds=60))

    def finished(*jobs: Manifest, covered: int | None = None) -> list[str]:
        times = {} if covered is None else {"github": NOW + timedelta(seconds=covered)}
        status = StackStatus(sources=[known], transform=TransformStatus(covered=times))
        return [
            load.uid.split("@")[0] for load in loads.finished_loads([loads_in(world_of(*jobs), cron_job())], status)
        ]

    assert finished() == finished(covered=59) == ["acme-load-github"]
    assert finished(covered=60) == []
    assert finished(first(1, ended="Complete", seconds=60)) == ["uid-of-acme-load-github-first-1"]
    assert finished(first(1, seconds=50)) == [], "it seems to run: the end that the status tells is not seen yet"


# What a source is told


def told(world: World, known: SourceStatus | None = None, problem: Fact | None = None) -> SourceStatus:
    facts = loads.facts(world, loads_in(world), known, problem)
    return observe_source(loads.settled(known, facts.problem), facts, suspended=False)


def test_the_end_of_an_older_load_is_not_told_again_when_the_newest_is_gone() -> None:
    old, new = first(1, ended="Complete", seconds=60), first(2, ended="Failed", seconds=90)
    before = told(world_of(old, new))
    assert (before.state, before.last_load_time) == ("Failing", NOW + timedelta(seconds=90))
    assert told(world_of(old), before) == before


def test_a_missing_secret_is_told_and_forgotten_when_it_comes() -> None:
    source = make_stack().spec.sources[1]
    problem = loads.secret_problem(source, None)
    assert problem is not None
    before = told(world_of(), None, problem)
    assert (before.state, before.reason) == ("Failing", "SecretMissing")
    assert "github" in before.message
    after = told(world_of(), before, loads.secret_problem(source, {"data": {"token": "eA=="}}))
    assert (after.state, after.reason, after.message) == ("Pending", "", "")


def test_a_secret_without_its_keys_is_told() -> None:
    langfuse, metrics = make_stack().spec.sources[0], make_stack().spec.sources[3]
    problem = loads.secret_problem(langfuse, {"data": {"publicKey": "eA=="}})
    assert problem is not None
    assert "secretKey" in problem.message
    assert loads.secret_problem(metrics, None) is None


def test_a_failure_without_a_summary_keeps_its_words_when_the_pod_is_gone() -> None:
    job = first(1, ended="Failed", reason="BackoffLimitExceeded")
    pod = make_pod(job, terminated={"exitCode": 137, "reason": "OOMKilled", "finishedAt": at()})
    before = told(world_of(job, pod))
    assert (before.state, before.reason) == ("Failing", "OOMKilled")
    assert told(world_of(job), before) == before


def test_an_image_that_cannot_be_pulled_is_told_while_it_lasts() -> None:
    job = first(1)
    before = told(world_of(job, make_pod(job, waiting={"reason": "ErrImagePull"})))
    assert (before.state, before.reason) == ("Failing", "ImagePullBackOff")
    assert told(world_of(job, make_pod(job)), before).state == "Loading"


# Transforms


def with_transform(status: TransformStatus) -> ObservabilityStack:
    stack = make_stack()
    return stack.model_copy(update={"status": stack.status.model_copy(update={"transform": status})})


LOAD = FinishedLoad("u1", "github", NOW)


def test_an_ended_transform_is_committed_once() -> None:
    job = transform_job(1, [LOAD], ended="Complete", seconds=30)
    summary = TransformSummary(
        outcome="succeeded", models=NodeCounts(ok=12), tests=NodeCounts(ok=40), rows={"gold.tickets": 4}
    )
    pod = make_pod(
        job,
        container="transform",
        terminated={"exitCode": 0, "finishedAt": at(30), "message": encode_summary(summary)},
    )
    world = world_of(job, pod)
    jobs = transforms.transform_jobs(world)
    once = transforms.commit_ended(world, with_transform(TransformStatus()), jobs, [LOAD])
    assert (once.sequence, once.consumed, once.covered, once.rows) == (1, ["u1"], {"github": NOW}, {"gold.tickets": 4})
    assert (once.models, once.tests) == ("12 ok, 0 failed, 0 skipped", "40 ok, 0 failed")
    assert transforms.commit_ended(world, with_transform(once), jobs, [LOAD]) == once


def test_a_failed_transform_consumes_nothing_and_says_why() -> None:
    job = transform_job(1, [LOAD], ended="Failed", reason="BackoffLimitExceeded")
    summary = TransformSummary(
        outcome="failed",
        models=NodeCounts(ok=3, failed=1, skipped=2),
        failures=[NodeFailure(node="model.gold.tickets", message="no such column")],
        error=Problem(reason="TestsFailed", message="1 of 4 models failed"),
    )
    pod = make_pod(
        job, container="transform", terminated={"exitCode": 1, "finishedAt": at(), "message": encode_summary(summary)}
    )
    world = world_of(job, pod)
    status = transforms.commit_ended(world, with_transform(TransformStatus()), transforms.transform_jobs(world), [LOAD])
    assert (status.sequence, status.consumed, status.failures) == (1, [], 1)
    assert status.message == "1 of 4 models failed; model.gold.tickets: no such column"
    assert status.models == "3 ok, 1 failed, 2 skipped"


def test_a_lost_status_is_rebuilt_from_the_jobs() -> None:
    older = FinishedLoad("u0", "jira", NOW - timedelta(hours=1))
    world = world_of(
        transform_job(8, [LOAD], ended="Complete", seconds=60), transform_job(7, [older], ended="Complete")
    )
    jobs = transforms.transform_jobs(world)
    status = transforms.commit_ended(world, with_transform(TransformStatus()), jobs, [LOAD, older])
    assert (status.sequence, status.consumed) == (8, ["u0", "u1"])


def test_what_a_kept_transform_took_in_is_covered_although_its_batch_is_gone_with_the_status() -> None:
    old = first(1, ended="Complete", seconds=-300)
    new = make_job("acme-load-github-2", labels=SOURCE, ended="Complete", seconds=100)
    last = FinishedLoad("u9", "github", NOW)
    jobs = [old, new, transform_job(9, [last], ended="Complete", seconds=60)]

    def consumed(*jobs: Manifest, sequence: int = 0) -> list[str]:
        world = world_of(*jobs)
        finished = loads.finished_loads([loads_in(world)], StackStatus())
        stack = with_transform(TransformStatus(sequence=sequence))
        return transforms.commit_ended(world, stack, transforms.transform_jobs(world), finished).consumed

    assert consumed(*jobs) == ["u9", "uid-of-acme-load-github-first-1"]
    assert consumed(*jobs, sequence=8) == ["u9"], "a status that is not lost counts by batches alone"
    assert consumed(old, transform_job(1, [last], ended="Complete", seconds=60)) == ["u9"], "nothing is lost yet"
    other = transform_job(9, [FinishedLoad("u9", "jira", NOW)], ended="Complete", seconds=60)
    assert consumed(old, other) == ["u9"], "a transform takes in what its sources loaded"


def test_a_transform_runs_until_its_pod_ended_although_its_job_is_gone() -> None:
    job = transform_job(4, [LOAD])
    pod = make_pod(job, container="transform")
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "transform"}
    world = world_of(pod)
    assert transforms.running(transforms.transform_jobs(world), world.pods) == list(world.pods)
    world = world_of(job, pod)
    assert transforms.running(transforms.transform_jobs(world), world.pods) == list(world.jobs)
    pod["status"]["phase"] = "Succeeded"
    assert transforms.running([], world_of(pod).pods) == []


def test_a_failed_transform_is_committed_with_the_generation_of_its_spec() -> None:
    job = transform_job(1, [LOAD], ended="Failed")
    job["metadata"]["annotations"]["observability.forge.dev/generation"] = "7"
    world = world_of(job)
    status = transforms.commit_ended(world, with_transform(TransformStatus()), transforms.transform_jobs(world), [LOAD])
    assert (status.failures, status.failed_generation) == (1, 7)


def test_of_a_status_that_a_newer_release_wrote_stays_what_can_be_read() -> None:
    sources = [{"name": "github", "state": "Paused"}]
    status = status_of({"status": {"sources": sources, "transform": {"sequence": 7, "mood": "good"}, "more": 1}})
    assert (status.sources, status.transform.sequence) == ([], 7)
    assert status_of({}) == status_of({"status": {"transform": []}})


def test_history_keeps_the_newest_and_what_is_not_committed() -> None:
    world = world_of(*(transform_job(n, [LOAD], ended="Complete", seconds=n) for n in range(1, 9)))
    jobs = transforms.transform_jobs(world)
    gone = transforms.outdated(jobs, TransformStatus(sequence=7))
    assert [job["metadata"]["name"] for job in gone] == ["acme-transform-1", "acme-transform-2"]


class Cluster:
    """An API server in miniature: Job names are unique, status writes are all or nothing, a process may die anywhere,
    and people delete load Jobs whose end the status tells.

    It runs the very functions that the reconciler calls, in its order, and stops each pass at a random line.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.jobs: dict[str, Manifest] = {"acme-load-github": cron_job()}
        self.status = StackStatus()
        self.clock = 0.0
        self.violations: list[str] = []
        self.created: list[str] = []
        self.loaded: list[str] = []
        """When each load ended."""

    def world(self) -> World:
        return world_of(*self.jobs.values(), seconds=self.clock)

    def finish_load(self) -> None:
        self.loaded.append(at(self.clock))
        name = f"acme-load-github-{len(self.loaded)}"
        self.jobs[name] = make_job(name, labels=SOURCE, ended="Complete", seconds=self.clock)

    def delete_loads(self) -> None:
        """Only the CronJob and the transforms stay, and the loads that nobody has seen."""
        told = max((source.last_success_time or NOW for source in self.status.sources), default=NOW)
        for name, job in list(self.jobs.items()):
            if "acme-load-github-" in name and (end := job_end(job)) and end.at <= told:
                del self.jobs[name]

    def end_transforms(self) -> None:
        for job in list(self.jobs.values()):
            if "transform" in job["metadata"]["name"] and job_end(job) is None:
                ended = "Complete" if self.random.random() < 0.8 else "Failed"
                job["status"] |= make_job("x", ended=ended, seconds=self.clock)["status"]
                job["status"]["startTime"] = job["metadata"]["creationTimestamp"]

    def reconcile(self, world: World, read: StackStatus, dies_at: int, settle: Callable[[], None]) -> None:
        """One pass over what was read earlier, possibly stale."""
        stack = make_stack().model_copy(update={"status": read})
        jobs = transforms.transform_jobs(world)
        found = loads_in(world, cron_job())
        finished = loads.finished_loads([found], read)
        known = read.sources[0] if read.sources else None
        seen = observe_source(known, loads.facts(world, found, known, None), suspended=False)
        committed = StackStatus(sources=[seen], transform=transforms.commit_ended(world, stack, jobs, finished))
        decision = decide_transform(
            now=world.now,
            finished=finished,
            expected=["github"],
            status=committed.transform,
            running=bool(transforms.running(jobs, world.pods)),
            settings=stack.spec.transform,
        )
        if dies_at == 0:
            return
        settle()
        if committed != read:
            if self.status != read:
                return  # the precondition fails: another pass wrote
            self.status = committed
        if dies_at == 1 or not isinstance(decision, RunTransform):
            return
        name = f"acme-transform-{decision.sequence}"
        if name in self.jobs:
            return  # AlreadyExists
        if [j for n, j in self.jobs.items() if "transform" in n and job_end(j) is None]:
            self.violations.append(f"{name} beside another")
        covers = [load for load in finished if load.uid in decision.uids]
        job = transform_job(decision.sequence, covers)
        job["metadata"]["creationTimestamp"] = at(self.clock)
        self.jobs[name] = job
        self.created.append(name)


@pytest.mark.parametrize("seed", range(25))
def test_coverage_and_no_overlap_whatever_dies(seed: int) -> None:
    """Two operators, one with a view of the past, that die at random lines: every load is covered, none beside."""
    cluster = Cluster(seed)
    rng = cluster.random
    stale: tuple[World, StackStatus] | None = None
    for _ in range(120):
        cluster.clock += rng.choice([1, 5, 40])
        if rng.random() < 0.3:
            cluster.finish_load()
        if rng.random() < 0.4:
            cluster.end_transforms()
        view = (cluster.world(), cluster.status)
        if stale is not None and rng.random() < 0.3:
            cluster.reconcile(*stale, dies_at=rng.choice([0, 1, 2]), settle=lambda: None)
        cluster.reconcile(*view, dies_at=rng.choice([0, 1, 2, 2]), settle=lambda: None)
        if rng.random() < 0.2:
            cluster.delete_loads()
        if rng.random() < 0.3:
            stale = view
    cluster.delete_loads()
    for _ in range(12):  # calm at last
        cluster.clock += 4000
        cluster.end_transforms()
        cluster.reconcile(cluster.world(), cluster.status, 2, lambda: None)
    assert cluster.violations == []
    assert len(cluster.created) == len(set(cluster.created))
    finished = loads.finished_loads([loads_in(cluster.world(), cron_job())], cluster.status)
    assert {load.uid for load in finished} <= set(cluster.status.transform.consumed)
    # Covered by a successful transform that began after the load ended, by the Jobs themselves and not by the status.
    good = [job for name, job in cluster.jobs.items() if "transform" in name and (e := job_end(job)) and e.succeeded]
    assert max(job["metadata"]["creationTimestamp"] for job in good) >= max(cluster.loaded)
    for load in finished:
        began = [
            job["metadata"]["creationTimestamp"]
            for job in good
            if load.uid in job["metadata"]["annotations"]["observability.forge.dev/covers"]
        ]
        assert began
        assert min(began) >= load.ended_at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_fingerprint_tells_change_but_not_the_secret() -> None:
    assert fingerprint("a", "b") != fingerprint("ab", "") != fingerprint("ab", None)
    assert len(fingerprint("secret")) == 8
