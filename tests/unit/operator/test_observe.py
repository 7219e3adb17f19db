"""What Jobs and pods say."""

from __future__ import annotations

import pytest
from forge_operator.observe import failure, job_end, pod_trouble, reported, stateful_set_fact
from forge_stack.wire import LoadSummary, encode_summary
from stack_objects import NOW, at, make_job, make_pod

SUMMARY = LoadSummary(source="github", outcome="succeeded", rows={"pull_requests": 3})


@pytest.mark.parametrize("condition", ["SuccessCriteriaMet", "FailureTarget", "Suspended"])
def test_only_a_terminal_condition_ends_a_job(condition: str) -> None:
    job = make_job("j", ended=condition)
    job["status"] |= {"succeeded": 1, "failed": 1}
    assert job_end(job) is None


def test_a_condition_that_is_not_true_ends_nothing() -> None:
    job = make_job("j", ended="Complete")
    job["status"]["conditions"][0]["status"] = "False"
    assert job_end(job) is None


def test_how_a_job_ended() -> None:
    good = job_end(make_job("j", ended="Complete", seconds=5))
    bad = job_end(make_job("j", ended="Failed", reason="BackoffLimitExceeded"))
    assert good is not None
    assert (good.succeeded, (good.at - NOW).total_seconds()) == (True, 5)
    assert bad is not None
    assert (bad.succeeded, bad.reason) == (False, "BackoffLimitExceeded")


def test_the_newest_pod_reports() -> None:
    job = make_job("j", ended="Complete")
    old = make_pod(job, terminated={"exitCode": 1, "finishedAt": at(1), "message": "no json"})
    new = make_pod(job, terminated={"exitCode": 0, "finishedAt": at(2), "message": encode_summary(SUMMARY)})
    assert reported([new, old], "load") == SUMMARY
    assert reported([old], "load") is None
    assert reported([], "load") is None


def test_out_of_memory_names_the_limit_and_the_field() -> None:
    job = make_job("j", ended="Failed", reason="BackoffLimitExceeded")
    pod = make_pod(job, terminated={"exitCode": 137, "reason": "OOMKilled", "finishedAt": at()})
    end = job_end(job)
    assert end is not None
    reason, told = failure(end, [pod], "load", "1Gi", "sources[github].resources")
    assert reason == "OOMKilled"
    assert "1Gi" in told
    assert "sources[github].resources.limits.memory" in told


def test_a_deadline_is_told() -> None:
    end = job_end(make_job("j", ended="Failed", reason="DeadlineExceeded"))
    assert end is not None
    assert failure(end, [], "load", "", "x")[0] == "DeadlineExceeded"


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ({"reason": "ErrImagePull"}, "ImagePullBackOff"),
        ({"reason": "ImagePullBackOff"}, "ImagePullBackOff"),
        ({"reason": "CreateContainerConfigError", "message": "no key dsn"}, "CreateContainerConfigError"),
        ({"reason": "CrashLoopBackOff"}, "CrashLoopBackOff"),
        ({"reason": "ContainerCreating"}, None),
        ({"reason": "PodInitializing"}, None),
    ],
)
def test_why_a_pod_waits(waiting: dict[str, str], reason: str | None) -> None:
    fact = pod_trouble([make_pod(make_job("j"), waiting=waiting)])
    assert (fact.reason if fact else None) == reason


def test_a_pod_without_a_node_is_told() -> None:
    pod = make_pod(make_job("j"), waiting={})
    pod["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}],
    }
    fact = pod_trouble([pod])
    assert fact is not None
    assert (fact.reason, "0/3 nodes" in fact.message) == ("Unschedulable", True)


def test_the_store_is_ready_when_a_pod_answers() -> None:
    live = {"status": {"readyReplicas": 1, "updateRevision": "a", "currentRevision": "a"}}
    assert stateful_set_fact(live, [], 1).holds is True
    assert stateful_set_fact({"status": {}}, [], 1).holds is False
    assert stateful_set_fact(None, [], 1).holds is None
