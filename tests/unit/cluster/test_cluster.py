"""The parts of the test cluster that decide: what is ours, what is in an archive, what a configuration says."""

import contextlib
import hashlib
import io
import json
import os
import socket
import tarfile
from pathlib import Path

import machine
import node
import own
import pytest

STATE = Path("/cache/cluster")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["unshare", "--fork", "python3", "/clone/tests/cluster/node.py", str(STATE), "/cache/bin"], True),
        (["python3", "/another/clone/node.py", str(STATE), "/cache/bin"], True),
        (["/cache/bin/kube", "forward", "tcp:127.0.0.1:16443", f"unix:{STATE}/api.sock"], True),
        (["python3", "/clone/tests/cluster/node.py", "/other/cluster", "/cache/bin"], False),
        (["/cache/bin/kube", "forward", "tcp:127.0.0.1:16443", "unix:/other/cluster/api.sock"], False),
        (["tail", "-f", f"{STATE}/log/kubelet.log"], False),
        (["kubectl", f"--kubeconfig={STATE}/kubeconfig", "get", "pods"], False),
        ([], False),  # a kernel thread, or a process that has just ended
    ],
)
def test_only_processes_of_this_cluster_are_ended(command: list[str], expected: bool) -> None:
    assert own.is_ours(command, STATE) is expected


def test_pause_image_says_the_digest_of_its_layer() -> None:
    with tarfile.open(fileobj=io.BytesIO(own.pause_archive(b"program"))) as archive:
        content = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    configuration = json.loads(content["config.json"])
    (manifest,) = json.loads(content["manifest.json"])
    assert configuration["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content['layer.tar']).hexdigest()}"]
    assert manifest["RepoTags"] == [node.PAUSE_IMAGE]
    with tarfile.open(fileobj=io.BytesIO(content[manifest["Layers"][0]])) as layer:
        assert [(entry.name, entry.mode) for entry in layer] == [("pause", 0o755)]


def test_two_clusters_on_one_machine_share_no_cgroup() -> None:
    assert node.cgroup_name(Path("/a/cluster")) != node.cgroup_name(Path("/b/cluster"))
    assert node.kubelet(STATE)["cgroupRoot"] == f"/{node.cgroup_name(STATE)}"


def test_a_kubeconfig_names_its_user_and_server() -> None:
    written = json.loads(node.kubeconfig(STATE, "admin", "https://127.0.0.1:1"))
    context = {entry["name"]: entry["context"] for entry in written["contexts"]}[written["current-context"]]
    assert [entry["name"] for entry in written["users"]] == [context["user"]]
    assert written["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"


def test_a_fingerprint_sees_content_names_and_modes(tmp_path: Path) -> None:
    def of_folder(name: str = "a", content: str = "x", mode: int = 0o644) -> str:
        folder = tmp_path / f"{name}{content}{mode}"
        folder.mkdir()
        (folder / name).write_text(content)
        (folder / name).chmod(mode)
        return machine.fingerprint(folder)

    folders = [of_folder(), of_folder(name="b"), of_folder(content="y"), of_folder(mode=0o755)]
    assert len(set(folders)) == len(folders)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "a").write_text("x")
    os.utime(copy / "a", (0, 0))
    assert machine.fingerprint(copy) == folders[0]


def test_a_build_that_fails_leaves_nothing_that_looks_built(tmp_path: Path) -> None:
    built = tmp_path / "tool-1" / "tool"
    with pytest.raises(RuntimeError), machine._staged(built) as staged:
        (staged / "tool").write_text("half")
        raise RuntimeError
    assert not built.exists()
    with machine._staged(built) as staged:
        (staged / "tool").write_text("whole")
    assert built.read_text() == "whole"


def test_a_failed_command_says_what_it_was_and_its_last_words() -> None:
    with pytest.raises(machine.MachineError, match=r"(?s)`sh -c .*` ended with 3\nno such thing"):
        machine.run("sh", "-c", "echo no such thing >&2; exit 3")


@pytest.mark.parametrize(("failures", "told"), [(0, "yes"), (2, "yes"), (3, "")])
def test_a_registry_that_does_not_answer_is_asked_three_times(
    failures: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [*[machine.MachineError("no answer")] * failures, "yes"]
    pauses: list[float] = []

    def run(*_: object, **__: object) -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(machine, "run", run)
    monkeypatch.setattr(machine.time, "sleep", pauses.append)
    with contextlib.nullcontext() if told else pytest.raises(machine.MachineError, match="no answer"):
        assert machine.fetch("go", "install") == told
    assert pauses == [10, 60][:failures]


def test_a_free_port_is_one_that_the_kernel_gives_to_nobody() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = own.free_port()
    assert not lowest <= port <= highest
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))
        held.listen()
        assert own.free_port(port) != port, "the preferred one is taken"
