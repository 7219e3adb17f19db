"""The parts of the control plane without machines that decide: where it may live, what its audit log says."""

import json
import os
from pathlib import Path

import pytest
from machine import MachineError
from plane import Plane, audit_policy, pod_stages


def test_it_begins_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "mine").write_text("")
    with pytest.raises(MachineError, match="is not empty"):
        Plane(tmp_path).up()
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match="needs Linux and root"):
        Plane(tmp_path / "plane").up()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MachineError, match="too long a path"):
        Plane(tmp_path / ("x" * 100)).up()
    assert list(tmp_path.iterdir()) == []


def test_the_audit_log_is_read_from_a_position_and_only_in_whole_lines(tmp_path: Path) -> None:
    plane, log = Plane(tmp_path), tmp_path / "log" / "audit.log"
    log.parent.mkdir()
    entries = [{"verb": verb, "user": {"username": user}} for verb, user in
               (("create", "a"), ("get", "a"), ("patch", "b"), ("delete", "a"))]  # fmt: skip
    lines = [json.dumps(entry) + "\n" for entry in entries]
    log.write_text("")
    assert plane.audit_position() == 0
    log.write_text(lines[0] + lines[1][:10])
    position = plane.audit_position()
    assert position == len(lines[0])
    with log.open("a") as more:
        more.write(lines[1][10:] + "".join(lines[2:]) + '{"verb": "upd')
    assert list(plane.audit(position)) == entries[1:]
    assert [entry["verb"] for entry in plane.writes("a")] == ["create", "delete"]
    assert [entry["verb"] for entry in plane.writes("a", position)] == ["delete"]


def test_writes_of_everybody_are_in_the_audit_log() -> None:
    """Only rules that name reads, or paths that are no resource, leave something out."""
    for rule in audit_policy()["rules"]:
        leaves_out = rule["level"] == "None"
        assert not leaves_out or set(rule.get("verbs", ())) == {"get", "list", "watch"} or "nonResourceURLs" in rule


def test_jobs_end_within_the_jitter() -> None:
    delays = [stage["spec"]["delay"] for stage in pod_stages(1.5, 0.5) if "delay" in stage["spec"]]
    assert len(delays) == 4
    assert {(delay["durationMilliseconds"], delay["jitterDurationMilliseconds"]) for delay in delays} == {(1500, 2000)}
