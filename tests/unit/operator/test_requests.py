"""Runs that are asked for: who they are, when they start, that a crash between two writes doubles nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from forge_operator import builders, loads, requests, transforms
from forge_operator.builders import Inputs
from forge_operator.names import REQUEST_ANNOTATION, WINDOW_ANNOTATION
from forge_operator.observe import job_end
from forge_operator.story import run_happenings
from forge_operator.world import World
from forge_stack.model import ObservabilityStack, StackStatus
from forge_stack.runs import RUN_NOW
from forge_stack.status import Fact
from forge_stack.wire import LoadSummary, Problem, encode_summary
from stack_objects import RICH, at, make_job, make_pod, make_settings, make_stack, world_of

Manifest = dict[str, Any]
PATH = "/metadata/annotations/observability.forge.dev~1run-now"
GITHUB = {"observability.forge.dev/source": "github"}


def asking(value: str, written: str = "2026-11-24T11:59:58Z", manager: str = "kubectl-annotate") -> Manifest:
    """The stack with the annotation, as the API server gives it."""
    field = {"f:metadata": {"f:annotations": {".": {}, f"f:{RUN_NOW}": {}}}}
    entries = [
        {"manager": "helm", "time": "2026-11-24T11:00:00Z", "fieldsV1": {"f:spec": {"f:sources": {}}}},
        {"manager": manager, "time": written, "fieldsV1": field},
        {"manager": "forge-operator", "time": "2026-11-24T12:00:00Z", "subresource": "status", "fieldsV1": {}},
    ]
    meta = {**RICH["metadata"], "annotations": {RUN_NOW: value} if value else {}, "managedFields": entries}
    return {**RICH, "metadata": meta}


def parsed(value: str, stack: ObservabilityStack | None = None, **more: str) -> requests.Requests:
    return requests.parse(asking(value, **more), stack or make_stack())


def cron_job(source: str, *, held: bool) -> Manifest:
    return {
        "kind": "CronJob",
        "apiVersion": "batch/v1",
        "metadata": {
            "name": f"acme-load-{source}",
            "uid": f"uid-of-cron-{source}",
            "ownerReferences": [
                {"kind": "ObservabilityStack", "name": "acme", "uid": "uid-of-acme", "controller": True}
            ],
        },
        "spec": {"suspend": held},
    }


def sources_of(world: World, *, held: bool = True) -> list[loads.Loads]:
    return [loads.loads_of(world, source, cron_job(source.name, held=held)) for source in make_stack().spec.sources]


def due(value: str, world: World | None = None, *, held: bool = True, **problems: Fact) -> list[str]:
    found = requests.due_loads(parsed(value), sources_of(world or world_of(), held=held), problems)
    return [str(request.run) for request, _ in found]


# Who they are


def test_a_request_is_known_by_its_words_and_by_when_they_were_written() -> None:
    again, later = parsed("github"), parsed("github", written="2026-11-24T12:00:30Z")
    assert parsed("github") == again
    assert again.runs[0].id != later.runs[0].id
    assert len({request.id for request in parsed("github,jira,github:2026-01-01/2026-02-01").runs}) == 3
    assert parsed("") == requests.Requests()


def test_the_same_words_in_other_company_are_the_same_request() -> None:
    """`all` that became a list of what is left, or a blank more, is no other request."""
    assert parsed("github, jira").runs == parsed("github,jira").runs
    assert {request.run.source for request in parsed("all").runs} == {"langfuse", "github", "metrics"}
    assert parsed("all").runs[1] == parsed("github").runs[0]


def test_a_suspended_source_runs_by_its_name_but_a_suspended_stack_runs_nothing() -> None:
    assert [request.run.source for request in parsed("jira").runs] == ["jira"]

    def suspend(manifest: Manifest) -> None:
        manifest["spec"]["suspend"] = True

    refused = parsed("github,transform", make_stack(suspend))
    assert refused.runs == ()
    assert refused.refusals == ("the stack is suspended; set spec.suspend to false and ask again",)


# When they start


def test_a_load_starts_when_its_cron_job_is_seen_to_be_held() -> None:
    assert due("github", held=False) == []
    assert due("github,jira,transform") == ["github", "jira"]


@pytest.mark.parametrize("owner", ["uid-of-acme", "uid-of-cron-github"])
def test_a_load_waits_for_the_one_that_runs(owner: str) -> None:
    running = make_job("acme-load-github-29000000", labels=GITHUB, owner=owner)
    ended = make_job("acme-load-github-29000000", labels=GITHUB, owner=owner, ended="Failed")
    cron = cron_job("github", held=True)
    assert due("github,jira", world_of(cron, running)) == ["jira"]
    assert due("github", world_of(cron, ended)) == ["github"]


def test_a_load_waits_for_a_pod_whose_job_was_deleted() -> None:
    gone = make_job("acme-load-github-29000000", labels=GITHUB)
    pod = make_pod(gone)
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "load", **GITHUB}
    assert due("github,jira", world_of(pod)) == ["jira"]
    pod["status"]["phase"] = "Failed"
    assert due("github,jira", world_of(pod)) == ["github", "jira"]


def test_a_load_waits_for_what_keeps_it_from_starting() -> None:
    assert due("github,jira", github=Fact(False, "SecretMissing")) == ["jira"]


def test_several_loads_of_one_source_run_one_after_another() -> None:
    windows = "github:2026-01-01/2026-02-01,github:2026-02-01/2026-03-01"
    assert len(due(windows)) == 1
    first = parsed(windows).runs[0]
    done = requests.started([make_job("x", annotations={REQUEST_ANNOTATION: f"other,{first.id}"})])
    assert parsed(windows).without(done).runs == parsed(windows).runs[1:]


def test_what_holds_a_cron_job() -> None:
    cron = cron_job("github", held=False)
    ticked = make_job("acme-load-github-29000000", labels=GITHUB, owner="uid-of-cron-github")
    by_hand = {**ticked, "metadata": {**ticked["metadata"], "annotations": {loads.MADE_BY_HAND: "manual"}}}
    asked = make_job("acme-load-github-run-012345", labels=GITHUB)
    pod = make_pod(ticked)
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "load", **GITHUB}
    going = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": at()}}

    def held(value: str, *items: Manifest) -> set[str]:
        return requests.holding(parsed(value), sources_of(world_of(cron, *items)))

    assert held("") == set()
    assert held("github,transform,jira:2026-01-01/2026-02-01") == {"github", "jira"}
    assert held("", ticked) == set()
    assert held("", asked) == held("", by_hand) == held("", going) == {"github"}
    assert held("", pod) == set(), "a pod whose Job was not seen yet is its CronJob's"


# Jobs


def test_the_longest_names_make_a_name_that_a_job_may_have() -> None:
    def rename(manifest: Manifest) -> None:
        manifest["metadata"]["name"] = "a" * 26
        manifest["spec"]["sources"][1]["name"] = "b" * 20

    stack = make_stack(rename)
    inputs = Inputs(stack=stack, settings=make_settings(), store_secret="s")
    job = builders.loads.requested_load(inputs, stack.spec.sources[1], "0123456789abcdef", None)
    assert len(job["metadata"]["name"]) == 63
    assert job["metadata"]["annotations"] == {REQUEST_ANNOTATION: "0123456789abcdef"}


def test_a_backfill_gets_its_window_and_says_nothing_of_its_source(inputs: Inputs) -> None:
    source = inputs.stack.spec.sources[1]
    window = parsed("github:2026-01-01/2026-02-01").runs[0].run.window
    job = builders.loads.requested_load(inputs, source, "0123456789abcdef", window)
    variables = {v["name"]: v["value"] for v in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["DLT_INTERVAL_START"] == "2026-01-01T00:00:00+00:00"
    assert variables["DLT_INTERVAL_END"] == "2026-02-01T00:00:00+00:00"
    job["metadata"] |= {"uid": "u", "creationTimestamp": at()}
    job["status"] = make_job("x", ended="Complete")["status"]
    found = loads.loads_of(world_of(job), source, None)
    assert not found.succeeded_before(None), "it loads no more than its window: the first load is still to come"
    assert [load.uid for load in loads.finished_loads([found], StackStatus())] == ["u"], (
        "but a transform must take it in"
    )


def test_a_transform_that_is_asked_for_builds_what_every_source_feeds(inputs: Inputs) -> None:
    job = builders.transform.job(inputs, 8, [], ["a", "b"], full_refresh=True)
    variables = {v["name"]: v["value"] for v in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert '"loaded":["github","jira","langfuse","metrics"]' in variables["FORGE_TRANSFORM"]
    assert '"fullRefresh":true' in variables["FORGE_TRANSFORM"]
    assert requests.started([job]) == {"a", "b"}


# Taking them out


def test_the_rest_stays_and_only_over_what_was_read() -> None:
    asked = parsed("github,jira,transform:full-refresh,gitlab")
    test = {"op": "test", "path": PATH, "value": asked.value}
    names = [f"{request.run}#{request.id}" for request in asked.runs]
    change = {"op": "replace", "path": PATH, "value": ",".join(names)}
    assert requests.settle(asked, asked) == [test, change], "what is refused is told once"
    left = asked.without([asked.runs[0].id])
    assert requests.settle(asked, left)[1]["value"] == ",".join(names[1:])
    assert requests.settle(asked, asked.without([r.id for r in asked.runs])) == [test, {"op": "remove", "path": PATH}]
    waiting = parsed("github")
    assert requests.settle(waiting, waiting) == []
    assert requests.settle(parsed(""), parsed("")) == []


def test_what_is_left_stays_what_it_was() -> None:
    """Its Job may be made already, its answer lost and its news late: by another name it would be made again."""
    asked = parsed("github,jira,transform")
    rest = requests.settle(asked, asked.without([asked.runs[1].id]))[1]["value"]
    later = parsed(rest, written="2026-11-24T12:07:00Z", manager="forge-operator")
    assert [request.id for request in later.runs] == [asked.runs[0].id, asked.runs[2].id]
    again = requests.settle(later, later.without([later.runs[0].id]))[1]["value"]
    assert parsed(again).runs == later.runs[1:]


class Cluster:
    """An API server in miniature; an operator that dies between any two of its writes, and whose answers get lost."""

    def __init__(self, seed: int, inputs: Inputs) -> None:
        self.random = random.Random(seed)
        self.inputs = inputs
        self.jobs: dict[str, Manifest] = {}
        self.stack = asking("")
        self.clock = 0.0
        self.unseen: set[str] = set()

    def write(self, value: str) -> None:
        """Somebody, or the operator, writes the annotation."""
        self.clock += 1
        self.stack = asking(value, written=at(self.clock))

    def asked(self) -> requests.Requests:
        return requests.parse(self.stack, self.inputs.stack)

    def create(self, job: Manifest) -> bool:
        name = job["metadata"]["name"]
        if name in self.jobs:
            self.unseen.discard(name)  # that the name is taken is an answer too
            return False
        alike = ("app.kubernetes.io/component", "observability.forge.dev/source")
        beside = [
            other
            for other in self.jobs.values()
            if job_end(other) is None
            and [other["metadata"]["labels"].get(key) for key in alike]
            == [job["metadata"]["labels"].get(key) for key in alike]
        ]
        assert beside == [], f"{name} beside another"
        meta = {"uid": f"uid-of-{name}", "creationTimestamp": at(self.clock)}
        self.jobs[name] = {**job, "metadata": {**job["metadata"], **meta}, "status": {}}
        return True

    def end_some(self) -> None:
        for job in self.jobs.values():
            if job_end(job) is None and self.random.random() < 0.4:
                ended = self.random.choice(["Complete", "Failed"])
                job["status"] = make_job("x", ended=ended, seconds=self.clock)["status"]

    def reconcile(self, writes: int) -> None:
        """One pass as the reconciler makes it; it dies after that many writes."""
        self.clock += self.random.choice([0, 1, 20])
        world = world_of(*(j for name, j in self.jobs.items() if name not in self.unseen), seconds=self.clock)
        asked = self.asked()
        waiting = asked.without(requests.started(world.jobs))
        made = [
            (builders.loads.requested_load(self.inputs, source, request.id, request.run.window), [request.id])
            for request, source in requests.due_loads(waiting, sources_of(world), {})
        ]
        jobs = transforms.transform_jobs(world)
        if waiting.transforms and not transforms.running(jobs, world.pods):
            ids = [request.id for request in waiting.transforms]
            made.append((builders.transform.job(self.inputs, len(jobs) + 1, [], ids), ids))
        done: list[str] = []
        for job, ids in made:
            if (writes := writes - 1) < 0:
                return
            if self.create(job):
                if self.random.random() < 0.2:  # the answer is lost, and the news of the Job is late
                    self.unseen.add(job["metadata"]["name"])
                    return
                done += ids
        patch = requests.settle(asked, waiting.without(done))
        if patch and writes > 0:
            assert patch[0]["value"] == asked.value
            self.write(patch[1].get("value", ""))


@pytest.mark.parametrize("seed", range(20))
def test_a_request_is_answered_by_one_job_whatever_dies(seed: int, inputs: Inputs) -> None:
    cluster = Cluster(seed, inputs)
    window = "metrics:2026-01-01/2026-02-01"
    values = ["github", "all", "transform", "github,transform:full-refresh,transform", f"metrics,{window}", window]
    for _ in range(12):
        cluster.write(value := cluster.random.choice(values))
        wanted, before = cluster.asked(), set(cluster.jobs)
        for _ in range(60):
            cluster.reconcile(writes=cluster.random.choice([0, 1, 2, 9]))
            cluster.end_some()
            if not cluster.asked().value:
                break
        assert cluster.asked() == requests.Requests(), "what was asked for is taken out"
        made = [job for name, job in cluster.jobs.items() if name not in before]
        loaded = sorted(job["metadata"]["labels"].get("observability.forge.dev/source", "") for job in made)
        transform = [""] if wanted.transforms else []
        assert loaded == sorted([r.run.source for r in wanted.runs if r.run.source] + transform), value


# What is told


def test_a_load_that_could_start_but_for_its_schedule_is_looked_at_again_soon() -> None:
    asked, loose = parsed("github,transform"), sources_of(world_of(), held=False)
    assert requests.unheld(asked, loose, {})
    assert not requests.unheld(asked, sources_of(world_of()), {})
    assert not requests.unheld(asked, loose, {"github": Fact(False, "ApplyRefused")}), "it would be looked at for ever"
    assert not requests.unheld(parsed("transform"), loose, {})


def test_what_became_of_a_run_is_told_for_a_while() -> None:
    annotations = {REQUEST_ANNOTATION: "0123", WINDOW_ANNOTATION: "2026-01-01/2026-02-01"}
    good = make_job("acme-load-github-run-1", labels=GITHUB, annotations=annotations, ended="Complete", seconds=-60)
    bad = make_job("acme-load-github-run-2", labels=GITHUB, annotations={REQUEST_ANNOTATION: "4567"}, ended="Failed")
    ticked = make_job("acme-load-github-3", labels=GITHUB, ended="Failed")
    error = Problem(reason="Unauthorized", message="the token was refused")
    summary = encode_summary(LoadSummary(source="github", outcome="failed", error=error))
    pod = make_pod(bad, terminated={"exitCode": 1, "finishedAt": at(), "message": summary})

    def told(seconds: float) -> list[tuple[str, str]]:
        world = world_of(good, bad, ticked, pod, seconds=seconds)
        found = run_happenings(parsed("gitlab"), world, sources_of(world))
        return [(happening.reason, happening.note) for happening in found]

    refused, succeeded, failed = told(30)
    assert refused[0] == "RunRefused"
    assert succeeded == ("RunSucceeded", "the backfill of github, 2026-01-01/2026-02-01, ended well")
    assert failed == ("RunFailed", "the load of github failed: the token was refused (Unauthorized)")
    assert [reason for reason, _ in told(700)] == ["RunRefused"]
