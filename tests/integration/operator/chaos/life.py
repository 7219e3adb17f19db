"""The life of a stack, from its creation to its end, with everything that can happen to one on the way.

Each step says what it does and waits until the operator has answered it; what went wrong between is for the checker.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checker import STACK, Manifest, differences, has_ended, load_names, shape, violations
from forge_operator.names import REQUEST_ANNOTATION
from forge_stack.runs import RUN_NOW
from operators import CLASS, Operator, Operators
from recorder import WATCHED, Client, RefusedError, View

NAME = "acme"
PATIENCE = 240.0
"""Seconds for one step, on a machine that is slow and has much else to do; without a fault one takes two."""
COMPONENT = "app.kubernetes.io/component"
SOURCE = "observability.forge.dev/source"
FAIL = "chaos.forge.dev/fail"
"""A Job's pod with this label fails at once."""


def failing() -> dict[str, Any]:
    """How KWOK plays that label; it outweighs the plane's own stages."""
    chosen = [
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
        {"key": ".status.phase", "operator": "In", "values": ["Running"]},
        {"key": f'.metadata.labels["{FAIL}"]', "operator": "Exists"},
    ]
    failed = """
phase: Failed
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  restartCount: 0
  state: {terminated: {exitCode: 1, reason: Error, finishedAt: {{ Now | Quote }}}}
{{ end }}
"""
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "chaos-fail"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": chosen},
            "weight": 1_000_000,
            "next": {"statusTemplate": failed},
        },
    }


def source(name: str, schedule: str = "0 0 1 1 *") -> Manifest:
    """A source whose schedule does not fire in a test."""
    return {"name": name, "schedule": schedule, "prometheus": {"url": f"http://{name}.example:9090"}}


STEPS = (
    "change",
    "drift",
    "load_again",
    "fail_a_transform",
    "add_a_source",
    "remove_a_source",
    "suspend_and_resume",
    "run_now",
)
"""What happens to a stack between birth and end, in an order that works."""


@dataclass
class Life:
    """One stack in a namespace of its own, the operators that look after it, and what was seen of it."""

    client: Client
    view: View
    operators: Operators
    namespace: str
    seed: int = 0
    patience: float = PATIENCE
    by_hand: set[str] = field(default_factory=set)
    running: list[Operator] = field(default_factory=list)
    starts: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.client.request(
            "POST",
            "/api/v1/namespaces",
            {"metadata": {"name": self.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        )

    # Operators

    def operate(self, **chaos: Any) -> Operator:
        """Start an operator."""
        self.starts += 1
        self.running.append(self.operators.start(self.namespace, **chaos))
        return self.running[-1]

    @contextlib.contextmanager
    def revived(self, **chaos: Any) -> Iterator[None]:
        """While it lasts, an operator that is dead is started again, as Kubernetes would."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.05):
                for operator in list(self.running):
                    if not operator.alive():
                        self.running.remove(operator)
                        self.operate(**chaos)

        nurse = threading.Thread(target=look)
        nurse.start()
        try:
            yield
        finally:
            done.set()
            nurse.join()

    def died(self) -> bool:
        """Whether an operator has ended that nobody killed."""
        return not all(operator.alive() for operator in self.running)

    def end(self) -> None:
        for operator in self.running:
            operator.kill()
        self.running.clear()

    # What can be asked of it

    def stack(self) -> Manifest:
        return self.view.get(STACK, NAME) or {"metadata": {}, "spec": {"sources": []}, "status": {}}

    def condition(self, name: str = "Ready") -> Manifest:
        """A condition of the current spec; empty when the status speaks of an older one."""
        stack = self.stack()
        status = stack.get("status", {})
        if status.get("observedGeneration") != stack["metadata"].get("generation", 0):
            return {}
        return next((dict(c) for c in status.get("conditions", []) if c["type"] == name), {})

    def is_ready(self) -> bool:
        return self.condition().get("status") == "True"

    def consumed(self) -> set[str]:
        return set(self.stack().get("status", {}).get("transform", {}).get("consumed", []))

    def is_settled(self) -> bool:
        """Whether no Job runs and every load that succeeded is covered."""
        covered = all(self.is_covered(job) for job in self.jobs("load") if has_ended(job, "Complete"))
        return covered and all(has_ended(job) for job in self.view.all("Job"))

    def is_covered(self, load: Manifest) -> bool:
        return not load_names(load).isdisjoint(self.consumed())

    def source_status(self, source: str) -> Manifest:
        sources = self.stack().get("status", {}).get("sources", [])
        return next((dict(s) for s in sources if s["name"] == source), {})

    def state(self, source: str) -> str:
        return str(self.source_status(source).get("state", ""))

    def jobs(self, component: str, source: str = "") -> list[Manifest]:
        labels = {COMPONENT: component, **({SOURCE: source} if source else {})}
        return [job for job in self.view.all("Job") if labels.items() <= job["metadata"]["labels"].items()]

    def wait(self, what: str, holds: Callable[[], Any], seconds: float | None = None) -> Any:
        return self.view.wait(f"{self.namespace}: {what}", holds, seconds or self.patience)

    # What can happen to it

    def create(self, *sources: str, **spec: Any) -> None:
        manifest = {
            "apiVersion": "observability.forge.dev/v1alpha1",
            "kind": STACK,
            "metadata": {"name": NAME, "labels": {"observability.forge.dev/operator": CLASS}},
            "spec": {
                "store": {"managed": {"storage": {"size": "1Gi"}}},
                "sources": [source(name) for name in sources],
                "transform": {"settleTime": "0s", "longestWait": "1m"},
                **spec,
            },
        }
        self.client.create(STACK, self.namespace, manifest)
        self.wait("the stack to be seen", lambda: self.view.get(STACK, NAME))

    def edit(self, **spec: Any) -> None:
        self.change_stack({"spec": spec})

    def change_stack(self, change: Manifest, subresource: str = "") -> None:
        """Change the stack, and wait until that is seen: else what was true before is taken for an answer to it."""
        version = int(
            self.client.merge(STACK, self.namespace, NAME, change, subresource)["metadata"]["resourceVersion"]
        )
        self.wait("the change to be seen", lambda: int(self.stack()["metadata"].get("resourceVersion", 0)) >= version)

    def load(self, source: str, *, fails: bool = False) -> str:
        """A load as the CronJob's controller starts one; its uid."""
        name = f"{NAME}-load-{source}"
        cron = self.wait(f"the CronJob of {source}", lambda: self.view.get("CronJob", name))
        template = cron["spec"]["jobTemplate"]
        pod = template["spec"]["template"]
        mark = {FAIL: "yes"} if fails else {}
        pod = {**pod, "metadata": {**pod["metadata"], "labels": {**pod["metadata"]["labels"], **mark}}}
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron["metadata"]["uid"]}
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"{name}-{uuid.uuid4().hex[:8]}",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{**owner, "controller": True}],
            },
            "spec": {**template["spec"], "backoffLimit": 0 if fails else 1, "template": pod},
        }
        return str(self.client.create("Job", self.namespace, job)["metadata"]["uid"])

    def job(self, uid: str) -> Manifest | None:
        return next((job for job in self.view.all("Job") if job["metadata"]["uid"] == uid), None)

    def has_ended(self, uid: str) -> bool:
        job = self.job(uid)
        return job is not None and has_ended(job)

    def finish(self, *uids: str) -> None:
        """Wait until these loads have ended and are covered."""

        def is_finished(uid: str) -> bool:
            job = self.job(uid)
            return job is not None and has_ended(job, "Complete") and self.is_covered(job)

        for uid in uids:
            self.wait(f"the load {uid} to be covered", lambda uid=uid: is_finished(uid))

    def mark_pod(self, what: str, label: str, chosen: Callable[[Manifest], bool]) -> Manifest:
        """Put a label on the first pod that is chosen. On a slow machine it may have ended before; then it is left."""
        pod: Manifest = self.wait(f"a pod of {what}", lambda: next(filter(chosen, self.view.all("Pod")), None))
        with contextlib.suppress(RefusedError):
            self.client.merge("Pod", self.namespace, pod["metadata"]["name"], {"metadata": {"labels": {label: "yes"}}})
        return pod

    # A life in steps

    def live(self, *steps: str, like: dict[str, Manifest] | None = None) -> None:
        """Be born, go through some steps, be found in order, and end."""
        self.begin()
        for step in steps:
            getattr(self, step)()
        self.check(like)
        self.delete()

    def begin(self) -> None:
        self.create("alpha", "beta")
        self.wait("Ready", self.is_ready)

    def change(self) -> None:
        self.edit(sources=[source("alpha", "1 0 1 1 *"), source("beta")])
        name = f"{NAME}-load-alpha"
        self.wait("the edit", lambda: self.view.get("CronJob", name)["spec"]["schedule"] == "1 0 1 1 *")  # type: ignore[index]

    def drift(self) -> None:
        self.client.merge("Service", self.namespace, f"{NAME}-api", {"spec": {"selector": {COMPONENT: "nobody"}}})
        gone = self.wait("the NetworkPolicy", lambda: self.view.get("NetworkPolicy", f"{NAME}-store"))
        self.client.delete("NetworkPolicy", self.namespace, f"{NAME}-store")
        self.wait(
            "the selector to be put back",
            lambda: self.view.get("Service", f"{NAME}-api")["spec"]["selector"][COMPONENT] == "api",  # type: ignore[index]
        )
        self.wait(
            "the NetworkPolicy to come back",
            lambda: (
                (self.view.get("NetworkPolicy", gone["metadata"]["name"]) or gone)["metadata"]["uid"]
                != gone["metadata"]["uid"]
            ),
        )

    def load_again(self) -> None:
        """Loads that end at random moments, one of them badly."""
        uids = []
        for name in self.chance.sample(["alpha", "beta"], 2):
            time.sleep(self.chance.uniform(0, 0.8))
            uids.append(self.load(name))
        self.finish(*uids)
        bad = self.load("beta", fails=True)
        self.wait("the load to fail", lambda: self.has_ended(bad))
        self.wait("beta to be Failing", lambda: self.state("beta") == "Failing")
        self.finish(self.load("beta"))
        self.wait("beta to be Healthy", lambda: self.state("beta") == "Healthy")

    def fail_a_transform(self) -> None:
        known = {job["metadata"]["uid"] for job in self.jobs("transform")}
        load = self.load("alpha")

        def of_new_transform(pod: Manifest) -> bool:
            is_transform = pod["metadata"]["labels"].get(COMPONENT) == "transform"
            return is_transform and pod["metadata"]["ownerReferences"][0]["uid"] not in known

        self.mark_pod("a transform", FAIL, of_new_transform)
        self.finish(load)

    def add_a_source(self) -> None:
        """Its first load fails at first."""
        self.edit(sources=[*self.stack()["spec"]["sources"], source("gamma")])
        first = self.wait("the first load of gamma", lambda: self.jobs("load", "gamma"))[0]["metadata"]["name"]
        # Else its second try comes ten seconds later.
        self.client.merge("Job", self.namespace, first, {"spec": {"backoffLimit": 0}})
        self.mark_pod("the first load of gamma", FAIL, lambda pod: pod["metadata"]["labels"].get(SOURCE) == "gamma")
        self.wait("gamma to be Healthy", lambda: self.state("gamma") == "Healthy")
        done = [job["metadata"]["uid"] for job in self.jobs("load", "gamma") if has_ended(job, "Complete")]
        self.finish(*done)

    def remove_a_source(self) -> None:
        self.edit(sources=[s for s in self.stack()["spec"]["sources"] if s["name"] != "gamma"])
        self.wait("gamma's Jobs to go", lambda: not self.jobs("load", "gamma"))
        self.wait("gamma's CronJob to go", lambda: not self.view.get("CronJob", f"{NAME}-load-gamma"))
        self.wait("gamma to leave the status", lambda: not self.state("gamma"))

    def suspend_and_resume(self) -> None:
        self.edit(suspend=True)
        self.wait("to be suspended", lambda: self.condition().get("reason") == "Suspended")
        self.edit(suspend=False)
        self.wait("to be Ready again", self.is_ready)

    def run_now(self) -> None:
        """A load and a transform that somebody asks for, each once."""
        before = self.asked_for()
        self.change_stack({"metadata": {"annotations": {RUN_NOW: "alpha,transform"}}})
        self.wait("the request to be taken", lambda: RUN_NOW not in self.stack()["metadata"].get("annotations", {}))
        self.catch_up("Job")
        self.wait("what was asked for to end", self.is_settled)
        self.catch_up("Job")
        new = sorted(self.asked_for() - before)
        if [component for component, _ in new] != ["load", "transform"]:
            raise AssertionError(f"{RUN_NOW} asked for one load and one transform and made {new}")

    def catch_up(self, *kinds: str) -> None:
        """Wait until what is there now was seen: news of one kind does not wait for news of another."""
        for kind in kinds or WATCHED:
            for item in self.client.items(kind, self.namespace):
                meta = item["metadata"]
                uid, version = meta["uid"], int(meta["resourceVersion"])
                self.wait(
                    f"{kind} {meta['name']} to be seen",
                    lambda uid=uid, version=version: self.view.reached.get(uid, 0) >= version,
                )

    def asked_for(self) -> set[tuple[str, str]]:
        """The Jobs that a request made: component and name."""
        jobs = [seen.object["metadata"] for seen in self.view.seen if seen.object["kind"] == "Job"]
        return {
            (meta["labels"][COMPONENT], meta["name"])
            for meta in jobs
            if meta.get("annotations", {}).get(REQUEST_ANNOTATION)
        }

    def check(self, like: dict[str, Manifest] | None = None) -> None:
        """Ready, no promise broken, and the children as those of a life that nothing disturbed."""
        self.wait("all to be covered in the end", self.is_settled)
        self.wait("Ready in the end", self.is_ready)
        self.catch_up()
        broken = violations(self.view.seen, by_hand=self.by_hand)
        broken += differences(like, self.shape()) if like is not None else []
        if broken:
            raise AssertionError(f"{'; '.join(broken)} (history: {self.keep()})")

    def uncovered(self) -> list[str]:
        return [told for told in violations(self.view.seen, by_hand=self.by_hand) if "no successful transform" in told]

    def keep(self) -> Path:
        """Write the history down, for whoever has to find out."""
        path = self.operators.folder / f"{self.namespace}.jsonl"
        rows = sorted(self.view.seen, key=lambda seen: seen.version)
        path.write_text("".join(json.dumps([seen.version, seen.type, seen.object]) + "\n" for seen in rows))
        return path

    def shape(self) -> dict[str, Manifest]:
        return shape(self.view.seen, NAME)

    def delete(self) -> None:
        self.client.delete(STACK, self.namespace, NAME)
        self.wait("the stack to go", lambda: not self.view.get(STACK, NAME))
        self.wait("its children to go", lambda: not self.children())

    def children(self) -> list[str]:
        """What is left of it, in words."""
        kinds = (
            "Job",
            "CronJob",
            "Pod",
            "Secret",
            "ConfigMap",
            "Service",
            "StatefulSet",
            "Deployment",
            "NetworkPolicy",
        )
        return [f"{kind}/{m['metadata']['name']}" for kind in kinds for m in self.view.all(kind)]
