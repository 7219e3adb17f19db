"""Stacks live through faults of the API server, of the network, of clocks, of leaders and of people.

All of these lives are led beside one another, each with operators of its own; each must come to rest as quickly as ever
once the fault is over, with no promise broken on the way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from checker import STACK, Manifest, has_ended
from faults import Faults, Proxy
from forge_operator.names import REQUEST_ANNOTATION
from forge_stack.runs import RUN_NOW
from life import COMPONENT, NAME, PATIENCE, SOURCE, STEPS, Life, source
from operators import Operator
from plane import HELD_LABEL, Plane
from recorder import Client, Recorder, RefusedError

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OUTAGE = float(os.environ.get("FORGE_CHAOS_OUTAGE_SECONDS", "120"))
"""Seconds for which the API server is gone."""
TAKE_OVER = 20.0
"""Seconds in which another leads, in the best of three times: eleven other lives are led beside it."""


# What may go wrong between an operator and the API server

NETWORKS = {
    "conflicts": Faults(refuse={409: 0.2}, methods=frozenset({"PUT", "PATCH", "DELETE"})),
    "too many requests": Faults(refuse={429: 0.2}),
    "internal errors": Faults(refuse={500: 0.07, 504: 0.03}),
    "lost answers": Faults(lose=0.25),
    "expired watches": Faults(refuse_watches={410: 0.6}, cut=1.0),
    "broken watches": Faults(refuse_watches={429: 0.1, 500: 0.1}, cut=3.0),
    "cut watches": Faults(cut=1.0),
    "late events": Faults(delay=2.0),
    "all of it": Faults(refuse={409: 0.03, 429: 0.03, 500: 0.05}, lose=0.05, refuse_watches={410: 0.2}, cut=4, delay=1),
}


def through(life: Life, proxy: Proxy, faults: Faults) -> None:
    """A whole life behind the proxy; at its end the fault is over, and all must be found in order."""
    kubeconfig = proxy.open(faults)
    life.operate(kubeconfig=kubeconfig)
    # An error inside a stream that is no 410 ends kopf's watch, and with it the process: it is started again.
    nurses = life.revived(kubeconfig=kubeconfig) if faults.refuse_watches.keys() - {410} else contextlib.nullcontext()
    with nurses:
        life.begin()
        for step in STEPS:
            getattr(life, step)()
        if not faults.done and not faults.delay:
            raise AssertionError("the fault never happened")
        faults.stop()
        life.check()
        life.delete()


def silence(life: Life, proxy: Proxy) -> None:
    """For 30 seconds no watch says a word, then all is told at once; meanwhile things happen."""
    faults = Faults()
    life.operate(kubeconfig=proxy.open(faults))
    life.begin()
    faults.silent_until = time.monotonic() + 30
    load = life.load("alpha")
    life.client.delete("Service", life.namespace, f"{NAME}-api")
    life.wait("the load to end", lambda: life.has_ended(load))
    life.finish(load)
    life.wait("the Service", lambda: life.view.get("Service", f"{NAME}-api"))
    life.check()


# Two operators where one should be


def two_leaders(life: Life, proxy: Proxy) -> None:
    """Two that both believe to lead, from the start to the end."""
    life.operate()
    life.operate()
    life.live(*STEPS)


def two_leaders_one_late(life: Life, proxy: Proxy) -> None:
    """One of the two knows everything two seconds late."""
    life.operate()
    life.operate(kubeconfig=proxy.open(Faults(delay=2.0)))
    life.live(*STEPS)


def frozen_leader(life: Life, proxy: Proxy) -> None:
    """The leader stands still for longer than its Lease; another takes over in time; the first comes back."""
    for _ in range(2):
        life.operate(election=True)
    with life.revived(election=True):  # who loses its Lease ends
        _freeze(life)


def _freeze(life: Life) -> None:
    life.begin()
    took = [_take_over(life)]
    while min(took) > TAKE_OVER and len(took) < 3:
        took.append(_take_over(life))
    life.load_again()
    life.check()
    if min(took) > TAKE_OVER:
        raise AssertionError(f"the take-overs took {took} s")
    print(f"take-over: {min(took):.1f} s")


def _take_over(life: Life) -> float:
    leader = _leader(life)
    load = life.load("beta")
    leader.send(signal.SIGSTOP)
    began = time.monotonic()
    life.edit(suspend=True)
    life.wait("the take-over", lambda: life.view.get("CronJob", f"{NAME}-load-alpha")["spec"]["suspend"] is True)  # type: ignore[index]
    took = time.monotonic() - began
    life.edit(suspend=False)
    life.finish(load)
    leader.send(signal.SIGCONT)
    leader.wait_gone()
    return took


def _leader(life: Life) -> Operator:
    def leads() -> Operator | None:
        holders = [str(lease["spec"].get("holderIdentity")) for lease in life.view.all("Lease")]
        return next((o for o in list(life.running) for held_by in holders if held_by.endswith(f"-{o.process}")), None)

    found: Operator = life.wait("a leader", leads)
    return found


# Clocks


def clock_ahead(life: Life, proxy: Proxy) -> None:
    life.operate(skew=300)
    life.live(*STEPS)


def clock_behind(life: Life, proxy: Proxy) -> None:
    life.operate(skew=-300)
    life.live(*STEPS)


# People, and what they take away


def loads_deleted_early(life: Life, proxy: Proxy) -> None:
    """First loads are deleted the moment they have ended; then one that the operator saw, but could not cover while a
    transform ran: of it only the status tells; then one that the operator, standing still, never saw: of it only its
    CronJob's record is left."""
    taken: set[str] = set()

    def take(job: Manifest) -> bool:
        source = job["metadata"]["labels"].get(SOURCE, "")
        if not has_ended(job, "Complete") or job["metadata"]["labels"][COMPONENT] != "load" or source in taken:
            return False
        if job["metadata"]["ownerReferences"][0]["kind"] == "CronJob":
            record = (life.view.get("CronJob", f"{NAME}-load-{source}") or {}).get("status", {})
            if record.get("lastSuccessfulTime", "") < job["status"]["completionTime"]:
                return False
        taken.add(source)
        return True

    with _taking(life, take):
        operator = life.operate()
        life.begin()
        _delete_beside_a_transform(life)
        taken.clear()
        operator.send(signal.SIGSTOP)
        life.load("alpha")
        life.wait("that load to be deleted", lambda: "alpha" in taken)
        operator.send(signal.SIGCONT)
        life.wait("a later transform of alpha", lambda: not life.uncovered())
        life.check()


def _delete_beside_a_transform(life: Life) -> None:
    _, pod = _hold_a_transform(life)
    life.change_stack({"metadata": {"annotations": {RUN_NOW: "beta"}}})
    load: Manifest = life.wait(
        "the load that was asked for", lambda: next(filter(_is_done_request, life.jobs("load")), None)
    )
    ended = load["status"]["completionTime"]
    life.wait("the status to tell its end", lambda: life.source_status("beta").get("lastSuccessTime", "") >= ended)
    life.by_hand.add(load["metadata"]["uid"])
    life.client.delete("Job", life.namespace, load["metadata"]["name"])
    life.wait("it to be gone", lambda: life.job(load["metadata"]["uid"]) is None)
    with contextlib.suppress(RefusedError):  # it ended before it could be held
        life.client.merge("Pod", life.namespace, pod["metadata"]["name"], {"metadata": {"labels": {HELD_LABEL: None}}})
    life.wait("a later transform of beta", lambda: not life.uncovered())


def _is_done_request(job: Manifest) -> bool:
    return bool(job["metadata"].get("annotations", {}).get(REQUEST_ANNOTATION)) and has_ended(job, "Complete")


def transforms_deleted_at_their_end(life: Life, proxy: Proxy) -> None:
    taken: list[str] = []

    def take(job: Manifest) -> bool:
        if not has_ended(job) or job["metadata"]["labels"][COMPONENT] != "transform" or len(taken) == 3:
            return False
        taken.append(job["metadata"]["uid"])
        return True

    with _taking(life, take):
        life.operate()
        life.begin()
        life.load_again()
        life.check()


def transform_deleted_while_it_runs(life: Life, proxy: Proxy) -> None:
    """Its Job goes at once, its pod some time later; and once the pod is left alone for longer."""
    life.operate()
    life.begin()
    for policy, seconds in (("Background", 0.0), ("Orphan", 3.0)):
        load, pod = _hold_a_transform(life)
        job = pod["metadata"]["ownerReferences"][0]
        life.by_hand |= {job["uid"], pod["metadata"]["uid"]}
        path = life.client.path("Job", life.namespace, job["name"])
        life.client.request("DELETE", path, {"propagationPolicy": policy})
        if seconds:
            time.sleep(seconds)
            life.client.delete("Pod", life.namespace, pod["metadata"]["name"])
        life.finish(load)
    life.check()


def _hold_a_transform(life: Life) -> tuple[str, Manifest]:
    """A load of alpha, by its uid, and the pod of the transform that it brings, which does not end."""
    known = {job["metadata"]["uid"] for job in life.jobs("transform")}
    load = life.load("alpha")
    return load, life.mark_pod("a transform", HELD_LABEL, lambda pod: _is_new_transform(pod, known))


def _is_new_transform(pod: Manifest, known: set[str]) -> bool:
    owners = pod["metadata"].get("ownerReferences", [{"uid": ""}])
    return pod["metadata"]["labels"].get(COMPONENT) == "transform" and owners[0]["uid"] not in known


def status_wiped(life: Life, proxy: Proxy) -> None:
    """Somebody replaces the stack by what stands in a file, and its status is gone: twice at rest, twice in a hurry."""
    life.operate()
    life.begin()
    life.by_hand.add(life.stack()["metadata"]["uid"])
    for seconds in (0.0, 0.5, 1.5):
        load = life.load("alpha")
        time.sleep(seconds)
        life.change_stack({"status": None}, "status")
        life.finish(load)
        life.wait("Ready again", life.is_ready)
    life.change_stack({"status": None}, "status")
    life.check()


def annotations_stripped(life: Life, proxy: Proxy) -> None:
    """Every annotation of the operator is taken from every child, and from each transform's Job while it runs."""
    life.operate()
    life.begin()
    before = life.shape()
    load = life.load("alpha")
    known = {job["metadata"]["uid"] for job in life.jobs("transform")}
    jobs = life.wait("a transform", lambda: [j for j in life.jobs("transform") if j["metadata"]["uid"] not in known])
    for kind in ("Job", "ConfigMap", "Service", "StatefulSet", "Deployment", "CronJob", "Secret"):
        for manifest in [*(jobs if kind == "Job" else life.view.all(kind))]:
            ours = [key for key in manifest["metadata"].get("annotations", {}) if "forge" in key]
            if ours:
                life.by_hand.add(manifest["metadata"]["uid"])
                change = {"metadata": {"annotations": dict.fromkeys(ours)}}
                life.client.merge(kind, life.namespace, manifest["metadata"]["name"], change)
    life.finish(load)
    life.check(before)


def born_again(life: Life, proxy: Proxy) -> None:
    """A stack is deleted and made anew under its name at once, while the operator hears of it late."""
    life.operate(kubeconfig=proxy.open(Faults(delay=1.5)))
    life.begin()
    life.load("alpha")
    for _ in range(2):
        old = life.stack()["metadata"]["uid"]
        life.client.delete(STACK, life.namespace, NAME)
        life.create("alpha", "beta")
        life.wait("the new stack", lambda old=old: life.stack()["metadata"].get("uid") not in (old, None))
        life.wait("Ready again", life.is_ready)
    life.check()


def request_at_the_tick(life: Life, proxy: Proxy) -> None:
    """A load is asked for in the very moment in which the schedule fires: the two never run at once."""
    life.operate()
    life.create("alpha", "beta")
    life.edit(sources=[source("alpha", "* * * * *"), source("beta")])
    life.wait("Ready", life.is_ready)
    before = life.asked_for()
    time.sleep((59.5 + life.chance.uniform(0, 0.7) - time.time()) % 60)
    life.change_stack({"metadata": {"annotations": {RUN_NOW: "alpha"}}})
    life.wait("the load that was asked for", lambda: life.asked_for() - before)
    life.wait("a load by the schedule", lambda: _scheduled(life))
    life.check()


def _scheduled(life: Life) -> list[Manifest]:
    done = [job for job in life.jobs("load", "alpha") if has_ended(job, "Complete")]
    mark = "batch.kubernetes.io/cronjob-scheduled-timestamp"
    return [job for job in done if mark in job["metadata"].get("annotations", {})]


class _taking:  # noqa: N801 - used as a function
    """While it lasts, the Jobs that `take` chooses are deleted as soon as they are seen."""

    def __init__(self, life: Life, take: Callable[[Manifest], bool]) -> None:
        self._life, self._take = life, take
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.002):
            for job in self._life.view.all("Job"):
                uid = job["metadata"]["uid"]
                if uid not in self._life.by_hand and self._take(job):
                    self._life.by_hand.add(uid)
                    with contextlib.suppress(RefusedError):  # it is gone already
                        self._life.client.delete("Job", self._life.namespace, job["metadata"]["name"])


LIVES: dict[str, Callable[[Life, Proxy], None]] = {
    **{name: lambda life, proxy, f=faults: through(life, proxy, f) for name, faults in NETWORKS.items()},  # type: ignore[misc]
    "silence": silence,
    "two leaders": two_leaders,
    "two leaders, one late": two_leaders_one_late,
    "a frozen leader": frozen_leader,
    "a clock ahead": clock_ahead,
    "a clock behind": clock_behind,
    "loads deleted early": loads_deleted_early,
    "transforms deleted at their end": transforms_deleted_at_their_end,
    "a transform deleted while it runs": transform_deleted_while_it_runs,
    "a status wiped": status_wiped,
    "annotations stripped": annotations_stripped,
    "a stack born again": born_again,
    "a request at the tick": request_at_the_tick,
    "another request at the tick": request_at_the_tick,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, new_life: Callable[..., Life], together: Callable[..., list[str]], proxy: Proxy
) -> list[str]:
    """What went wrong in those lives that are tested."""

    def lead(name: str) -> None:
        life = new_life(name.replace(" ", "-").replace(",", "")[:40])
        try:
            LIVES[name](life, proxy)
            if life.died():
                raise AssertionError("an operator ended by itself")
        except AssertionError as error:
            alive = [operator.alive() for operator in life.running]
            raise AssertionError(
                f"{error} (operators alive: {alive}, log: {life.operators.folder}/{life.namespace}.log, "
                f"history: {life.keep()})"
            ) from error
        finally:
            life.end()

    wanted = {item.callspec.params["name"] for item in request.session.items if "name" in _parameters(item)}  # type: ignore[attr-defined]
    return together({name: lambda name=name: lead(name) for name in LIVES if name in wanted}, 12)


def _parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec is not None and "outcomes" in getattr(item, "fixturenames", ()) else {}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", LIVES)
def test_a_life_with(name: str, outcomes: list[str]) -> None:
    told = [outcome for outcome in outcomes if outcome.startswith(f"{name}: ")]
    assert not told, told[0]


@pytest.mark.timeout(2400)
def test_the_control_plane_fails(
    plane: Plane, client: Client, recorder: Recorder, new_life: Callable[..., Life], together: Callable[..., list[str]]
) -> None:
    """etcd is killed and started again, the API server is gone for a while, both in the middle of lives."""
    client.stubborn = True
    stop = threading.Event()

    def fail() -> None:
        stop.wait(5)
        plane.restart("etcd")
        stop.wait(5)
        plane.stop("kube-apiserver")
        time.sleep(OUTAGE)
        plane.start("kube-apiserver")

    def lead(number: int) -> None:
        life = new_life("outage", patience=PATIENCE + OUTAGE)
        life.operate(election=number == 0)
        try:
            with life.revived(election=number == 0):
                life.live(*STEPS)
        finally:
            life.end()

    lives: dict[str, Callable[[], None]] = {f"life {n}": lambda n=n: lead(n) for n in range(4)}  # type: ignore[misc]
    try:
        told = together({"the control plane": fail, **lives}, 5)
    finally:
        stop.set()
        client.stubborn = False
    assert not told, "\n".join(told)
    print(f"the recorder had to list again {recorder.gaps} times")


def test_the_proxy_does_what_it_says(proxy: Proxy, tmp_path: Path) -> None:
    """Each fault is really there: a check of the test's own tool."""
    import json
    import urllib.error
    import urllib.request

    def ask(faults: Faults, path: str, method: str = "GET") -> int:
        server = json.loads(proxy.open(faults).read_text())["clusters"][0]["cluster"]["server"]
        request = urllib.request.Request(server + path, method=method, data=None if method == "GET" else b"{}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    pods = "/api/v1/namespaces/default/pods"
    assert ask(Faults(), pods) == 200
    assert ask(Faults(refuse={429: 1.0}), pods) == 429
    assert ask(Faults(refuse={429: 1.0}, methods=frozenset({"PUT"})), pods) == 200
    with pytest.raises(OSError):
        ask(Faults(lose=1.0), pods, "POST")
