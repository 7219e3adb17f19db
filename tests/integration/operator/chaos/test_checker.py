"""The checker finds each fault that is planted into a good life, and none in the good life."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from checker import STACK, Seen, differences, shape, violations

GROUP = "observability.forge.dev"
TEMPLATE = {"spec": {"containers": [{"name": "store", "image": "store:1"}]}}


class Tape:
    """Writes a history, one version after the other."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.version = 0
        self.live: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, name: str, *, uid: str = "", owner: str = "stack", labels: Any = None, **body: Any) -> str:
        uid = uid or name
        meta: dict[str, Any] = {"name": name, "uid": uid, "labels": {f"{GROUP}/stack": "acme", **(labels or {})}}
        meta["annotations"] = body.pop("annotations", {})
        if owner:
            meta["ownerReferences"] = [{"uid": owner, "controller": True, "kind": "X", "name": "x"}]
        self.live[uid] = {"kind": kind, "metadata": meta, **body}
        self._write("ADDED", uid)
        return uid

    def change(self, uid: str, **body: Any) -> None:
        self.live[uid] = {**self.live[uid], **body}
        self._write("MODIFIED", uid)

    def delete(self, uid: str) -> None:
        self._write("DELETED", uid)

    def _write(self, type_: Any, uid: str) -> None:
        self.version += 1
        self.seen.append(Seen(self.version, type_, copy.deepcopy(self.live[uid])))

    # what a stack's life is made of

    def stack(self, *sources: str, sequence: int = 0, covered: Any = None, observed: int = 1) -> None:
        body = {
            "spec": {"sources": [{"name": name} for name in sources]},
            "status": {"observedGeneration": observed, "transform": {"sequence": sequence, "covered": covered or {}}},
        }
        if "stack" in self.live:
            self.change("stack", **body)
        else:
            self.add(STACK, "acme", uid="stack", owner="", **body)

    def load(self, name: str, source: str, *, first: str = "", uid: str = "", request: str = "") -> str:
        labels = {"app.kubernetes.io/component": "load", f"{GROUP}/source": source}
        labels |= {f"{GROUP}/first-load": first} if first else {}
        return self.add("Job", name, uid=uid, labels=labels, annotations={f"{GROUP}/request": request})

    def transform(self, sequence: int, *loads: tuple[str, str, str], uid: str = "") -> str:
        labels = {"app.kubernetes.io/component": "transform", f"{GROUP}/sequence": str(sequence)}
        annotations = {f"{GROUP}/covers": json.dumps(loads)}
        name = f"acme-transform-{sequence}"
        return self.add("Job", name, uid=uid, labels=labels, annotations=annotations)

    def end(self, uid: str, how: str = "Complete", at: str = "2026-01-01T00:00:00Z") -> None:
        self.change(uid, status={"conditions": [{"type": how, "status": "True"}], "completionTime": at})

    def pod(self, name: str, component: str, owner: str) -> str:
        labels = {"app.kubernetes.io/component": component, f"{GROUP}/source": "a" if component == "load" else ""}
        return self.add("Pod", name, owner=owner, labels=labels, status={"phase": "Running"})


A1, A2 = ("load-a-1", "a", "2026-01-01T00:00:00+00:00"), ("load-a-2", "a", "2026-01-01T00:01:00+00:00")


@pytest.fixture
def tape() -> Tape:
    """A stack of one source whose first load was transformed; the store and the API run."""
    tape = Tape()
    tape.stack("a")
    tape.add("Secret", "acme-store-auth", data={"dsn": "x"})
    tape.add("StatefulSet", "acme-store", spec={"template": TEMPLATE})
    tape.add("Deployment", "acme-api", spec={"template": TEMPLATE})
    tape.pod("acme-store-0", "store", "acme-store")
    tape.pod("acme-api-1-1", "api", "a-replica-set")
    tape.add("CronJob", "acme-load-a", spec={"schedule": "0 0 1 1 *"})
    tape.load("load-a-1", "a", first="1")
    tape.end("load-a-1")
    tape.transform(1, A1)
    tape.end("acme-transform-1")
    tape.stack("a", sequence=1, covered={"a": "2026-01-01T00:00:00Z"})
    return tape


def second_load(tape: Tape) -> None:
    tape.load("load-a-2", "a")
    tape.end("load-a-2", at="2026-01-01T00:01:00Z")


def test_a_good_life_breaks_nothing(tape: Tape) -> None:
    second_load(tape)
    tape.transform(2, A2)
    tape.end("acme-transform-2", "Failed")
    tape.transform(3, A2)
    tape.end("acme-transform-3")
    tape.add(
        "Event", "acme.1", regarding={"uid": "stack"}, reason="TransformSucceeded", note="transform 1 succeeded: x"
    )
    tape.add(
        "Event", "acme.2", regarding={"uid": "stack"}, reason="TransformSucceeded", note="transform 3 succeeded: x"
    )
    assert violations(tape.seen) == []


def test_a_load_that_nothing_covers(tape: Tape) -> None:
    second_load(tape)
    assert violations(tape.seen) == ["acme: no successful transform covers the load load-a-2 (version 14)"]


def test_a_load_whose_transform_failed(tape: Tape) -> None:
    second_load(tape)
    tape.transform(2, A2)
    tape.end("acme-transform-2", "Failed")
    assert "covers the load load-a-2" in violations(tape.seen)[0]


def test_a_transform_that_began_before_the_load_ended(tape: Tape) -> None:
    tape.load("load-a-2", "a")
    tape.transform(2, A2)
    tape.end("load-a-2")
    tape.end("acme-transform-2")
    assert "covers the load load-a-2" in violations(tape.seen)[0]


def test_a_transform_of_another_source_covers_no_load(tape: Tape) -> None:
    """Though it began later: dbt builds only what is downstream of its sources."""
    tape.stack("a", "b", sequence=1)
    second_load(tape)
    tape.transform(2, ("load-b-1", "b", "2026-01-01T00:01:00+00:00"))
    tape.end("acme-transform-2")
    assert ["covers the load load-a-2" in told for told in violations(tape.seen)] == [True]


def test_a_load_that_is_known_by_the_record_of_its_cron_job_is_covered(tape: Tape) -> None:
    second_load(tape)
    tape.delete("load-a-2")
    tape.transform(2, ("acme-load-a@2026-01-01T00:01:00+00:00", "a", "2026-01-01T00:01:00+00:00"))
    tape.end("acme-transform-2")
    assert violations(tape.seen) == []


def test_a_removed_source_need_not_be_covered(tape: Tape) -> None:
    second_load(tape)
    tape.stack(sequence=1)
    assert violations(tape.seen) == []


def test_two_transforms_at_once(tape: Tape) -> None:
    second_load(tape)
    tape.transform(2, A2)
    tape.transform(3, A2)
    tape.end("acme-transform-2", "Failed")
    tape.end("acme-transform-3")
    assert ["two transforms at once" in told for told in violations(tape.seen)] == [True]


def test_two_pods_of_transforms_at_once(tape: Tape) -> None:
    """The Job was deleted, its pod lives on, and the next one begins."""
    second_load(tape)
    tape.transform(2, A2, uid="first-2")
    tape.pod("pod-1", "transform", "first-2")
    tape.delete("first-2")
    tape.transform(2, A2, uid="second-2")
    tape.pod("pod-2", "transform", "second-2")
    tape.delete("pod-1")
    tape.end("second-2")
    told = violations(tape.seen, by_hand=["first-2"])
    assert ["two pods of transforms at once" in each for each in told] == [True]


def test_two_loads_of_a_source_at_once(tape: Tape) -> None:
    tape.load("load-a-2", "a")
    tape.load("load-a-3", "a")
    tape.load("load-b-1", "b")
    assert ["two loads of a (Jobs) at once" in told for told in violations(tape.seen)] == [True]


def test_a_sequence_that_was_made_twice(tape: Tape) -> None:
    second_load(tape)
    tape.transform(1, A2, uid="again")
    tape.end("again")
    assert violations(tape.seen) == ["acme: transform 1 was made twice: acme-transform-1, again"]
    assert violations(tape.seen, by_hand=["acme-transform-1"]) == []


def test_a_load_that_was_transformed_twice(tape: Tape) -> None:
    tape.transform(2, A1)
    tape.end("acme-transform-2")
    assert violations(tape.seen) == [
        "acme: acme-transform-1 and acme-transform-2 both succeeded for one load of a (load-a-1)"
    ]


def test_a_load_that_was_transformed_once_more_by_the_record_of_its_cron_job(tape: Tape) -> None:
    tape.transform(2, ("acme-load-a@2026-01-01T00:00:00+00:00", "a", "2026-01-01T00:00:00+00:00"))
    tape.end("acme-transform-2")
    assert ["both succeeded for one load of a (load-a-1)" in told for told in violations(tape.seen)] == [True]


def test_a_first_load_after_one_succeeded(tape: Tape) -> None:
    tape.load("load-a-first-2", "a", first="2")
    tape.end("load-a-first-2", "Failed")
    assert violations(tape.seen) == ["acme: the first load load-a-first-2 was made after load-a-1 had succeeded"]


def test_a_first_load_that_was_made_twice(tape: Tape) -> None:
    tape.stack("a", "b", sequence=1)
    tape.end(tape.load("load-b-1", "b", first="1", uid="one"), "Failed")
    tape.end(tape.load("load-b-1", "b", first="1", uid="two"), "Failed")
    assert violations(tape.seen) == ["acme: the first load load-b-1 was made twice: one, two"]


def test_a_request_that_was_answered_twice(tape: Tape) -> None:
    for name in ("load-a-run-1", "load-a-run-2"):
        tape.end(tape.load(name, "a", request="r1"), "Failed")
    assert violations(tape.seen) == ["acme: load-a-run-1 and load-a-run-2 were both made for the request r1"]


def test_a_source_that_was_removed_and_added_again_loads_first_again(tape: Tape) -> None:
    tape.stack(sequence=1)
    tape.delete("load-a-1")
    tape.stack("a", sequence=1)
    tape.load("load-a-1", "a", first="1", uid="again")
    tape.end("again", "Failed")
    assert violations(tape.seen) == []


@pytest.mark.parametrize("uid", ["acme-store-0", "acme-api-1-1", "acme-store", "acme-api", "acme-store-auth"])
def test_what_must_stay_and_was_deleted(tape: Tape, uid: str) -> None:
    tape.delete(uid)
    assert ["was deleted" in told for told in violations(tape.seen)] == [True]
    assert violations(tape.seen, by_hand=[uid]) == []


def test_what_goes_with_the_stack_is_no_fault(tape: Tape) -> None:
    meta = {**tape.live["stack"]["metadata"], "deletionTimestamp": "2026-01-01T00:02:00Z"}
    tape.change("stack", metadata=meta)
    for uid in ("acme-store-0", "acme-store", "acme-store-auth", "stack"):
        tape.delete(uid)
    assert violations(tape.seen) == []


def test_a_container_that_restarted(tape: Tape) -> None:
    tape.change("acme-store-0", status={"phase": "Running", "containerStatuses": [{"restartCount": 2}]})
    assert violations(tape.seen) == ["acme: a container of pod acme-store-0 restarted 2 times"]


def test_a_template_that_changed_and_was_put_back(tape: Tape) -> None:
    tape.change("acme-store", spec={"template": {"spec": {"containers": []}}})
    tape.change("acme-store", spec={"template": TEMPLATE})
    assert violations(tape.seen) == ["acme: the pod template of StatefulSet acme-store changed"]


def test_a_secret_that_was_made_anew(tape: Tape) -> None:
    tape.change("acme-store-auth", data={"dsn": "y"})
    assert violations(tape.seen) == ["acme: Secret acme-store-auth changed"]


def test_a_status_that_went_back(tape: Tape) -> None:
    tape.stack("a", sequence=0, covered={"a": "2025-01-01T00:00:00Z"}, observed=0)
    assert [told.split(": ")[1].rsplit(" in ")[0] for told in violations(tape.seen)] == [
        "observedGeneration went back",
        "the committed sequence went back",
        "the covered time of a went back",
    ]
    assert violations(tape.seen, by_hand=["stack"]) == []


def test_a_source_whose_times_went_back(tape: Tape) -> None:
    status = tape.live["stack"]["status"]
    for minute, failed in ((2, 2), (1, 2), (1, 3)):
        times = {f"last{name}Time": f"2026-01-01T00:0{at}:00Z" for name, at in (("Success", minute), ("Load", failed))}
        tape.change("stack", status={**status, "sources": [{"name": "a", **times}]})
    tape.change("stack", status={**status, "sources": [{"name": "a"}]})
    tape.change("stack", status={**status, "sources": []})
    assert [told.split(": ")[1].rsplit(" in ")[0] for told in violations(tape.seen)] == [
        "lastSuccessTime of a went back",
        "lastLoadTime of a went back",
        "lastSuccessTime of a went back",
    ]


def test_an_end_that_was_told_twice(tape: Tape) -> None:
    for name in ("acme.1", "acme.2"):
        tape.add("Event", name, regarding={"uid": "stack"}, reason="TransformFailed", note="transform 1 failed: x")
    assert ["two Events say TransformFailed" in told for told in violations(tape.seen)] == [True]


def test_shapes_differ_by_what_is_missing_too_much_or_other(tape: Tape) -> None:
    wanted = shape(tape.seen, "acme")
    assert set(wanted) == {
        "Secret/acme-store-auth",
        "StatefulSet/acme-store",
        "Deployment/acme-api",
        "CronJob/acme-load-a",
    }
    tape.delete("acme-api")
    tape.change("acme-load-a", spec={"schedule": "* * * * *"})
    tape.add("Service", "acme-old", spec={"clusterIP": "10.0.0.1"})
    assert differences(wanted, shape(tape.seen, "acme")) == [
        "Deployment/acme-api is missing",
        "Service/acme-old is there though nothing wants it",
        "CronJob/acme-load-a differs: .spec.schedule is '* * * * *', not '0 0 1 1 *'",
    ]
    assert differences(wanted, wanted) == []
