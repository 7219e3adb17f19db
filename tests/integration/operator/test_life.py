"""The life of a stack on a real API server whose pods are played: loads, transforms, runs by hand, edits, lost states.

The tests go on from one another: they are the days of one stack.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from forge_stack.crd import custom_resource_definition
from kubectl import eventually
from operator_process import Operator
from plane import Plane

sys.path.insert(0, str(Path(__file__).parent / "chaos"))

from checker import load_names
from life import FAIL, failing
from operators import CLASS, Operators

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NAMESPACE = "life"
GROUP = "observability.forge.dev"
HOLD = "chaos.forge.dev/hold"
"""A label of a Job's pod: it runs until the label is taken away."""
BY_HAND = "acme-load-metrics-hand"
METRICS = {"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}, "schedule": "0 0 1 1 *"}
GITHUB = {
    "name": "github",
    "github": {"credentialsSecretRef": {"name": "github"}, "repositories": ["acme/shop"]},
    "schedule": "0 0 1 1 *",
}
STACK = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "ObservabilityStack",
    "metadata": {"name": "acme", "namespace": NAMESPACE, "labels": {f"{GROUP}/operator": CLASS}},
    "spec": {
        "store": {"managed": {"storage": {"size": "1Gi"}}},
        "sources": [METRICS, GITHUB],
        "transform": {"settleTime": "0s"},
        "api": {"auth": {"tokenSecretRef": {"name": "token"}}},
    },
}
Manifest = dict[str, Any]


class Life:
    """One stack, and the operator that looks after it."""

    def __init__(self, plane: Plane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.account = plane.account("life-operator")
        self.operator = self.new_operator()

    def new_operator(self, **environment: str) -> Operator:
        given = {
            "KUBECONFIG": str(self.account),
            "FORGE_OPERATOR_CLASS": CLASS,
            "FORGE_LEADER_ELECTION": "false",
            "FORGE_RESYNC_SECONDS": "20",  # a watch may outlive the CRD under which it began
            **environment,
        }
        return Operator(NAMESPACE, self.folder, given)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", NAMESPACE, *arguments, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def stack(self) -> Manifest:
        return dict(self.json("obs", "acme"))

    def sources(self) -> dict[str, Manifest]:
        return {source["name"]: source for source in self.stack()["status"]["sources"]}

    def ready(self) -> tuple[str, str]:
        conditions = self.stack().get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), ("", ""))

    def patch(self, spec: Manifest) -> None:
        self.kubectl("patch", "obs", "acme", "--type=merge", "-p", json.dumps({"spec": spec}))

    def ask(self, value: str) -> None:
        """Run now."""
        self.kubectl("annotate", "--overwrite", "obs", "acme", f"{GROUP}/run-now={value}")

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("forge-observability")
        environment = {**os.environ, "KUBECONFIG": str(self.plane.kubeconfig)}
        command = [program, *arguments, "-n", NAMESPACE]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def asked(self) -> str:
        return str(self.stack()["metadata"].get("annotations", {}).get(f"{GROUP}/run-now", ""))

    def jobs(self, component: str = "", source: str = "") -> dict[str, Manifest]:
        found = self.json("jobs", "--sort-by=.metadata.creationTimestamp")["items"]
        return {
            job["metadata"]["name"]: job
            for job in found
            if component in ("", job["metadata"]["labels"]["app.kubernetes.io/component"])
            and source in ("", job["metadata"]["labels"].get(f"{GROUP}/source"))
        }

    def held(self, source: str) -> bool:
        return bool(self.json("cronjob", f"acme-load-{source}")["spec"]["suspend"])

    def told(self, reason: str) -> list[str]:
        events = self.json("events.events.k8s.io")["items"]
        return [event["note"] for event in events if event["reason"] == reason]

    def templates(self) -> dict[str, tuple[str, int]]:
        """The uid and the generation of what makes pods: another generation is another template."""
        items = self.json("statefulsets,deployments,cronjobs")["items"]
        return {i["metadata"]["name"]: (i["metadata"]["uid"], i["metadata"]["generation"]) for i in items}

    def pods(self, component: str) -> set[str]:
        found = self.json("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def covered(self) -> bool:
        """Whether a successful transform covers every finished load, by its Job or by its CronJob's record, and nothing
        runs."""
        consumed = set(self.stack().get("status", {}).get("transform", {}).get("consumed", []))
        jobs = self.jobs().values()
        loads = [job for job in jobs if "-load-" in job["metadata"]["name"] and ended(job) == "Complete"]
        return all(ended(job) for job in jobs) and not any(consumed.isdisjoint(load_names(job)) for job in loads)

    def released(self) -> bool:
        """Whether the schedules go on, but for those that are suspended."""
        spec = self.stack()["spec"]
        going = [s["name"] for s in spec["sources"] if not (spec.get("suspend") or s.get("suspend"))]
        return not any(self.held(name) for name in going)

    def is_settled(self) -> bool:
        return self.covered() and self.ready() == ("True", "Ready") and self.released()

    def settle(self, what: str = "every load is covered, the stack is ready, the schedules go on") -> None:
        eventually(what, self.is_settled, every=0.3)


def ended(job: Manifest) -> str:
    conditions = job["status"].get("conditions", [])
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")


def variables(job: Manifest) -> dict[str, str]:
    return {v["name"]: v["value"] for v in job["spec"]["template"]["spec"]["containers"][0]["env"]}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A control plane of its own: another CRD is installed on the way."""
    folder = tmp_path_factory.mktemp("l")
    with Plane(folder / "p", nodes=2, job_seconds=0.5, stages=[failing()]) as plane:
        plane.kubectl("create", "namespace", NAMESPACE)
        found = Life(plane, folder)
        for name in ("github", "token"):
            found.kubectl("create", "secret", "generic", name, "--from-literal=token=one")
        found.operator.start()
        found.kubectl("create", "-f", "-", stdin=json.dumps(STACK))
        yield found
        found.operator.stop()


@pytest.fixture
def new_jobs(life: Life) -> Callable[..., dict[str, Manifest]]:
    """The Jobs that were not there when the test began."""
    before = {job["metadata"]["uid"] for job in life.jobs().values()}
    return lambda *of: {n: j for n, j in life.jobs(*of).items() if j["metadata"]["uid"] not in before}


def test_first_loads_run_and_a_transform_covers_them(life: Life) -> None:
    eventually("the first status", lambda: life.ready()[0], every=0.2)
    life.settle()
    assert set(life.jobs("load")) == {"acme-load-metrics-first", "acme-load-github-first"}
    assert life.stack()["status"]["healthySources"] == "2/2"


# Runs by hand


def test_a_load_runs_now_and_a_transform_follows(life: Life, new_jobs: Callable[..., dict[str, Manifest]]) -> None:
    asked = life.cli("run", "acme", "github")
    assert "acme in life is asked for github" in asked.stdout, asked.stderr
    refused = life.cli("run", "acme", "gitlab")
    assert (refused.returncode, "there is no source 'gitlab'" in refused.stderr) == (1, True)
    eventually("it is taken out", lambda: not life.asked() and new_jobs("load"), every=0.2)
    life.settle()
    ((name, job),) = new_jobs("load").items()
    assert name.startswith("acme-load-github-run-")
    assert len(job["metadata"]["annotations"][f"{GROUP}/request"]) == 16
    assert len(new_jobs("transform")) == 1
    eventually("told", lambda: life.told("RunSucceeded"), every=0.2)
    assert "RunStarted" in {e["reason"] for e in life.json("events.events.k8s.io")["items"]}


def test_a_backfill_gets_its_window_and_leaves_the_sources_status(
    life: Life, new_jobs: Callable[..., dict[str, Manifest]]
) -> None:
    before = life.sources()["github"]
    life.ask("github:2026-01-01/2026-02-01T12:00:00Z")
    eventually("it is taken out", lambda: not life.asked() and new_jobs("load"), every=0.2)
    life.settle()
    (job,) = new_jobs("load").values()
    assert variables(job)["DLT_INTERVAL_START"] == "2026-01-01T00:00:00+00:00"
    assert variables(job)["DLT_INTERVAL_END"] == "2026-02-01T12:00:00+00:00"
    assert life.sources()["github"] == before
    assert len(new_jobs("transform")) == 1


def test_a_full_refresh_runs_now(life: Life, new_jobs: Callable[..., dict[str, Manifest]]) -> None:
    life.ask("transform:full-refresh")
    eventually("it is taken out", lambda: not life.asked() and new_jobs("transform"), every=0.2)
    life.settle()
    (job,) = new_jobs().values()
    request = json.loads(variables(job)["FORGE_TRANSFORM"])
    assert (request["fullRefresh"], request["loaded"]) == (True, ["github", "metrics"])


def test_what_cannot_run_is_refused_in_words(life: Life, new_jobs: Callable[..., dict[str, Manifest]]) -> None:
    life.ask("gitlab,github:2026-02-01/2026-01-01")
    eventually("it is taken out", lambda: not life.asked(), every=0.2)
    eventually("told", lambda: len(life.told("RunRefused")) == 2, every=0.2)
    told = " ".join(life.told("RunRefused"))
    assert "there is no source 'gitlab'; there is github, metrics, all, transform" in told
    assert "ends before it starts" in told
    assert new_jobs() == {}


def test_a_run_waits_for_the_load_that_runs_and_the_schedule_waits_for_both(
    life: Life, new_jobs: Callable[..., dict[str, Manifest]]
) -> None:
    life.patch({"loads": {"podTemplate": {"labels": {HOLD: "yes"}}}})
    life.ask("metrics,metrics:2026-01-01/2026-02-01")
    eventually("the first", lambda: life.asked().startswith("metrics:2026") and new_jobs("load"), every=0.2)
    life.patch({"loads": {"podTemplate": {"labels": {HOLD: None}}}})
    time.sleep(1.5)
    assert len(new_jobs("load")) == 1
    eventually("its schedule is held", lambda: life.held("metrics"), every=0.2)
    assert not life.held("github")
    (first,) = new_jobs("load")
    eventually("its pod is there", lambda: life.json("pods", "-l", f"job-name={first}")["items"], every=0.2)
    # Deleted by hand while its pod runs: the pod is on its way, the next load waits for its end.
    life.kubectl("label", "pods", "-l", f"job-name={first}", f"{HOLD}-")
    eventually("the second", lambda: not life.asked() and len(new_jobs("load")) == 2, every=0.2)
    life.settle()


def test_a_corrected_spec_ends_the_pause_after_a_failure(
    life: Life, new_jobs: Callable[..., dict[str, Manifest]]
) -> None:
    life.patch({"transform": {"podTemplate": {"labels": {FAIL: "yes"}}}})
    life.ask("metrics")
    eventually("it failed", lambda: life.stack()["status"]["transform"]["failures"] == 1, every=0.2)
    time.sleep(2)
    assert len(new_jobs("transform")) == 1
    assert life.ready() == ("False", "TransformFailed")
    life.patch({"transform": {"podTemplate": {"labels": {FAIL: None}}}})
    eventually("it succeeds", lambda: life.covered() and life.ready() == ("True", "Ready"), every=0.3)
    # By the API server's clock: the pause after a failure is of 30 seconds.
    failed, succeeded = new_jobs("transform").values()
    end = next(c["lastTransitionTime"] for c in failed["status"]["conditions"] if c["type"] == "Failed")
    begin = succeeded["metadata"]["creationTimestamp"]
    assert (datetime.fromisoformat(begin) - datetime.fromisoformat(end)).total_seconds() < 28


CRASHES = [
    ("github", "patch observabilitystacks acme", "before"),
    ("github", "patch observabilitystacks acme", "after"),
    ("transform", "patch observabilitystacks acme", "before"),
    ("all,transform:full-refresh", "patch observabilitystacks acme", "before"),
]


@pytest.mark.parametrize(("value", "label", "when"), CRASHES)
def test_a_crash_between_the_job_and_its_annotation_doubles_nothing(
    life: Life, new_jobs: Callable[..., dict[str, Manifest]], value: str, label: str, when: str
) -> None:
    life.operator.stop()
    life.ask(value)
    operators = Operators(life.account, life.folder)
    try:
        operators.start(NAMESPACE, crash=[label, when, 1]).wait_gone()
    finally:
        operators.stop()
    assert new_jobs()
    assert bool(life.asked()) == (when == "before")
    life.operator.start()
    life.settle()
    assert life.asked() == ""
    sources = [job["metadata"]["labels"][f"{GROUP}/source"] for job in new_jobs("load").values()]
    assert sorted(sources) == {"github": ["github"], "transform": []}.get(value, ["github", "metrics"])
    answers = [job["metadata"]["annotations"].get(f"{GROUP}/request") for job in new_jobs("transform").values()]
    assert len([answer for answer in answers if answer]) == value.count("transform")


# Edits


def test_suspending_a_source_and_the_stack_stops_no_load_that_runs(life: Life) -> None:
    jobs = set(life.jobs())
    life.patch({"sources": [METRICS, {**GITHUB, "suspend": True}]})
    eventually("suspended", lambda: life.sources()["github"]["state"] == "Suspended" and life.held("github"), every=0.2)
    assert not life.held("metrics")
    life.ask("github")
    eventually("it runs by its name", lambda: not life.asked() and len(life.jobs()) > len(jobs), every=0.2)
    life.settle()
    assert life.held("github")
    life.patch({"suspend": True})
    eventually("all stands", lambda: life.ready() == ("False", "Suspended") and life.held("metrics"), every=0.2)
    before = set(life.jobs())
    life.ask("metrics")
    eventually("refused", lambda: not life.asked() and "suspended" in " ".join(life.told("RunRefused")), every=0.2)
    assert set(life.jobs()) == before
    life.patch({"suspend": False, "sources": [METRICS, GITHUB]})
    eventually("all goes on", lambda: not life.held("metrics") and not life.held("github"), every=0.2)
    life.settle()
    assert set(life.jobs()) == before


def test_another_schedule_changes_the_cron_job_and_keeps_its_jobs(life: Life) -> None:
    life.patch({"loads": {"podTemplate": {"labels": {HOLD: "yes"}}}})
    template = "the CronJob has the label"
    eventually(template, lambda: HOLD in json.dumps(life.json("cronjob", "acme-load-metrics")["spec"]), every=0.2)
    life.kubectl("create", "job", BY_HAND, "--from=cronjob/acme-load-metrics")
    eventually("held meanwhile", lambda: life.held("metrics"), every=0.1)
    eventually("its pod is there", lambda: life.json("pods", "-l", f"job-name={BY_HAND}")["items"], every=0.2)
    life.patch({"loads": {"podTemplate": {"labels": {HOLD: None}}}})
    life.kubectl("label", "pods", "-l", f"job-name={BY_HAND}", f"{HOLD}-")
    life.settle()
    before, uid = life.jobs(), life.json("cronjob", "acme-load-metrics")["metadata"]["uid"]
    life.patch({"sources": [{**METRICS, "schedule": "30 4 1 1 *", "timeZone": "Europe/Berlin"}, GITHUB]})

    def changed() -> bool:
        spec = life.json("cronjob", "acme-load-metrics")["spec"]
        return (spec["schedule"], spec["timeZone"]) == ("30 4 1 1 *", "Europe/Berlin")

    eventually("the schedule", changed, every=0.2)
    assert life.json("cronjob", "acme-load-metrics")["metadata"]["uid"] == uid
    assert life.jobs().keys() == before.keys()


def test_credentials_reach_those_that_use_them_and_nobody_else(life: Life) -> None:
    life.settle()
    templates, store = life.templates(), life.pods("store")
    rotate = '{"stringData": {"token": "two"}}'
    life.kubectl("patch", "secret", "github", "-p", rotate)
    life.ask("github")  # a pass that sees it, and a Job that reads it
    eventually("it is taken out", lambda: not life.asked(), every=0.2)
    life.settle()
    volumes = life.jobs("load", "github").popitem()[1]["spec"]["template"]["spec"]["volumes"]
    assert "github" in [volume.get("secret", {}).get("secretName") for volume in volumes]
    changed = {name for name, now in life.templates().items() if now != templates[name]}
    assert changed <= {"acme-load-github"}, "held and released, and no pod was replaced"

    templates, api = life.templates(), life.pods("api")
    life.kubectl("patch", "secret", "token", "-p", rotate)
    eventually("the API's pods roll", lambda: life.pods("api") and not life.pods("api") & api, every=0.3)
    assert {name for name, now in life.templates().items() if now != templates[name]} == {"acme-api"}
    assert life.pods("store") == store


def test_an_image_rolls_what_runs_it(life: Life) -> None:
    life.settle()
    templates, store, api = life.templates(), life.pods("store"), life.pods("api")
    life.operator.stop()
    life.operator = life.new_operator(FORGE_IMAGE_API="forge.test/api:next", FORGE_IMAGE_PIPELINES="forge.test/p:next")
    life.operator.start()
    eventually("the API's pods roll", lambda: life.pods("api") and not life.pods("api") & api, every=0.3)
    eventually("the next loads", lambda: "p:next" in json.dumps(life.json("cronjob", "acme-load-github")), every=0.2)
    wanted = {"acme-api", "acme-load-github", "acme-load-metrics"}

    def changed() -> set[str]:
        return {name for name, now in life.templates().items() if now != templates[name]}

    eventually("the next loads of the other source", lambda: changed() == wanted, every=0.2)
    assert life.pods("store") == store


# Lost and foreign states


def test_a_lost_status_is_rebuilt_and_nothing_runs_again(
    life: Life, new_jobs: Callable[..., dict[str, Manifest]]
) -> None:
    life.settle()
    before = life.stack()["status"]
    wipe = json.dumps([{"op": "replace", "path": "/status", "value": {}}])
    life.kubectl("patch", "obs", "acme", "--subresource=status", "--type=json", "-p", wipe)
    eventually("it is back", lambda: life.ready() == ("True", "Ready"), every=0.2)
    time.sleep(2)
    after = life.stack()["status"]
    assert after["transform"]["sequence"] == before["transform"]["sequence"]
    assert set(before["transform"]["consumed"]) == set(after["transform"]["consumed"])
    assert new_jobs() == {}


def newer_crd() -> Manifest:
    """A CRD of a later release: a field more in the spec, another state and a field more in the status."""
    crd = json.loads(json.dumps(custom_resource_definition()))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["spec"]["properties"]["quota"] = {"type": "string"}
    schema["status"]["properties"]["phaseOfMoon"] = {"type": "string"}
    schema["status"]["properties"]["sources"]["items"]["properties"]["state"]["enum"].append("Paused")
    return dict(crd)


def test_what_a_newer_release_wrote_breaks_nothing(life: Life) -> None:
    """The operator was rolled back, then its CRD: what it does not know is refused in words, later just not there."""
    life.settle()
    templates, pods = life.templates(), life.pods("store") | life.pods("api")
    life.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(newer_crd()))
    eventually("it is served", lambda: "phaseOfMoon" in life.kubectl("explain", "obs.status"), every=0.5)

    def refused() -> bool:
        # A watch that began under the CRD before shows stacks as that knew them, until the API server ends it.
        life.patch({"quota": f"by {time.time()}"})
        return any("quota" in note for note in life.told("SpecRefused"))

    eventually("told", refused, every=1)
    paused = [{**source, "state": "Paused"} for source in life.stack()["status"]["sources"]]
    foreign = json.dumps({"status": {"phaseOfMoon": "full", "sources": paused}})
    life.kubectl("patch", "obs", "acme", "--subresource=status", "--type=merge", "-p", foreign)
    time.sleep(1)
    assert life.templates() == templates
    older = json.dumps(custom_resource_definition())
    life.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=older)
    eventually("it is served", lambda: "phaseOfMoon" not in life.kubectl("explain", "obs.status"), every=0.5)
    life.ask("transform")
    life.settle("the stack is well again")
    assert "quota" not in life.stack()["spec"]
    assert {source["state"] for source in life.stack()["status"]["sources"]} == {"Healthy"}
    assert (life.templates(), life.pods("store") | life.pods("api")) == (templates, pods)


def test_a_removed_source_takes_its_schedule_and_leaves_the_data(life: Life) -> None:
    claim = life.json("pvc", "data-acme-store-0")["metadata"]["uid"]
    life.ask("github")
    life.patch({"sources": [METRICS]})
    eventually("its Jobs are gone", lambda: life.jobs("load", "github") == {}, every=0.3)
    assert "acme-load-github" not in life.templates()
    eventually("the request is answered", lambda: not life.asked(), every=0.2)
    life.settle()
    assert set(life.sources()) == {"metrics"}
    assert life.json("pvc", "data-acme-store-0")["metadata"]["uid"] == claim
