"""The control plane without machines (tests/cluster/plane.py), and the operator's benchmarks on it, small."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forge_stack.wire import LoadSummary, TransformSummary, decode_summary
from kubectl import eventually
from plane import FAILING_SOURCE, HELD_LABEL, Plane

sys.path.append(str(Path(__file__).parents[3]))

from bench import operator as bench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="a control plane of its own needs root"),
]
SMALL = bench.Scale(stacks=3, samples=2, foreign=20, rest=1, resync=2, quiet=2, limit=600)


def job(name: str, component: str, source: str = "") -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component, "observability.forge.dev/source": source}
    spec = {"restartPolicy": "Never", "containers": [{"name": "program", "image": "none"}]}
    template = {"metadata": {"labels": {name: value for name, value in labels.items() if value}}, "spec": spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane(tmp_path_factory.mktemp("plane") / "p") as running:
        yield running


def ended(plane: Plane, name: str) -> str:
    conditions = json.loads(plane.kubectl("get", "job", name, "-o", "json")).get("status", {}).get("conditions", [])
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")


def message(plane: Plane, name: str) -> str:
    pods = json.loads(plane.kubectl("get", "pods", "-l", f"job-name={name}", "-o", "json"))["items"]
    return str(pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"])


def test_jobs_end_with_the_summary_of_their_program(plane: Plane) -> None:
    jobs = [job("load", "load", "jira"), job("bad", "load", FAILING_SOURCE), job("transform", "transform")]
    plane.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": jobs}))
    for name, end in (("load", "Complete"), ("bad", "Failed"), ("transform", "Complete")):
        eventually(f"{name} ends", lambda name=name: ended(plane, name), every=0.2)
        assert ended(plane, name) == end
    loaded = decode_summary(message(plane, "load"))
    assert isinstance(loaded, LoadSummary)
    assert (loaded.source, loaded.outcome, loaded.rows) == ("jira", "succeeded", {"jira_rows": 1000})
    failed = decode_summary(message(plane, "bad"))
    assert isinstance(failed, LoadSummary) and failed.error is not None
    assert failed.error.reason == "Unreachable"
    assert isinstance(decode_summary(message(plane, "transform")), TransformSummary)


def test_a_pod_that_is_held_does_not_end(plane: Plane) -> None:
    held = job("held", "load", "jira")
    held["spec"]["template"]["metadata"]["labels"][HELD_LABEL] = "yes"
    plane.kubectl("create", "-f", "-", stdin=json.dumps(held))
    plane.kubectl("create", "-f", "-", stdin=json.dumps(job("free", "load", "jira")))
    eventually("the other ends", lambda: ended(plane, "free"), every=0.2)
    assert ended(plane, "held") == ""
    plane.kubectl("label", "pods", "-l", "job-name=held", f"{HELD_LABEL}-")
    eventually("it ends", lambda: ended(plane, "held"), every=0.2)


def test_what_was_written_outlives_a_kill_and_is_in_the_audit(plane: Plane) -> None:
    kubeconfig = plane.account("somebody")
    position = plane.audit_position()
    plane.kubectl("create", "configmap", "kept", f"--kubeconfig={kubeconfig}")
    assert [
        entry["objectRef"]["name"] for entry in plane.writes("system:serviceaccount:default:somebody", position)
    ] == ["kept"]
    plane.restart("etcd")
    plane.restart("kube-apiserver")
    assert "kept" in plane.kubectl("get", "configmaps", "-o", "name")
    with plane.frozen("kube-apiserver"), pytest.raises(Exception, match=r"timeout|deadline"):
        plane.kubectl("get", "configmap", "kept", "--request-timeout=2s")
    plane.kubectl("get", "configmap", "kept")
    plane.kubectl("create", "-f", "-", stdin=json.dumps(job("after", "load", "jira")))
    eventually("the rest works on", lambda: ended(plane, "after"), every=0.2)


def test_the_benchmarks_of_the_operator_run_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures say nothing here, but what must be nothing is nothing: writes at rest and after a kill."""
    found = bench.measure(SMALL)
    assert found.idle.others == 0, found.idle
    assert found.idle.leases > 0
    assert set(found.restart) == {"leases"}, found.restart
    assert len(found.edits) == len(found.changed) == len(found.deleted) == len(found.transforms) == SMALL.samples
    monkeypatch.setattr(bench, "given", lambda: SMALL)
    monkeypatch.setenv("FORGE_BENCH_STACKS_CURVE", "")
    results = [run(name) for name, run in bench.BENCHMARKS.items()]
    assert [result.name for result in results if result.value > 0] == [
        name for name in bench.BENCHMARKS if name != "operator.idle_writes"
    ]
    assert results[0].floor is not None and results[0].floor > 0
