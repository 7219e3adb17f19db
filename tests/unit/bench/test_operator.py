"""The parts of the operator's benchmarks that decide: what the floor writes, when a child is back, what rest is."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bench import operator as bench

STATUS = {"conditions": [{"type": "Ready", "status": "True"}]}


def test_the_floor_writes_what_a_stack_is_made_of() -> None:
    """Every workload, each source's Job and CronJob, one transform; all owned by the stack, whose uid is put in."""
    manifest = bench.stack("team-0", "stack-0")
    writes = bench.writes_of(manifest, STATUS)
    bodies = [json.loads(body.replace(bench.UID.encode(), b"the-uid")) for _, _, body, _ in writes]
    kinds = Counter(body.get("kind", "") for body in bodies)
    assert (kinds["StatefulSet"], kinds["Deployment"], kinds["CronJob"], kinds["Job"], kinds["Secret"]) == (
        1,
        1,
        4,
        5,
        2,
    )
    owners = [
        body["metadata"]["ownerReferences"][0]["uid"] for body in bodies if body.get("kind") not in ("Event", None)
    ]
    assert set(owners) == {"the-uid"}
    method, path, _, _ = writes[-1]
    assert (method, path.rsplit("/", 2)[1:], bodies[-1]) == ("PATCH", ["stack-0", "status"], {"status": STATUS})


def test_schedules_never_fire_while_it_is_measured() -> None:
    assert {source["schedule"] for source in bench.stack("a", "b")["spec"]["sources"]} == {bench.NEVER}


def test_a_child_is_back_once_it_was_seen_changed_and_is_as_it_was() -> None:
    back = bench._put_back({"spec": {"replicas": 1}})
    seen = [back("MODIFIED", {"spec": {"replicas": replicas}}) for replicas in (1, 5, 4, 1)]
    assert seen == [False, False, False, True]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1, 100), (0, 1)])
def test_quantiles_are_samples(share: float, expected: float) -> None:
    assert bench.quantile([float(number) for number in range(100, 0, -1)], share) == expected


def test_work_is_what_the_operator_asks_beyond_watching_and_leading() -> None:
    def entry(verb: str, resource: str, user: str = bench.ACCOUNT) -> dict[str, object]:
        return {"verb": verb, "objectRef": {"resource": resource}, "user": {"username": user}}

    assert bench._is_work(entry("get", "secrets"))
    assert bench._is_work(entry("patch", "cronjobs"))
    assert not bench._is_work(entry("watch", "cronjobs"))
    assert not bench._is_work(entry("update", "leases"))
    assert not bench._is_work(entry("create", "jobs", "somebody"))
