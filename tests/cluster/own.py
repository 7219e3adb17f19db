"""The cluster of Go modules, for a machine without a Docker engine: Linux, root, nothing else.

`node.py` is the cluster: one process tree in namespaces of its own. This is its outside: start it, reach its API server
from the machine's loopback, put images into it, end it. What runs is found by its command line, never by a remembered
process id, so a reboot or a start that was cut off needs no care.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import node
from machine import MachineError, bin_folder, cache, ensure_packages, ensure_tool, run, step

PACKAGES = ("containerd", "runc", "containernetworking-plugins", "iptables", "iproute2", "openssl", "util-linux")
PREFERRED_PORT = 16443
MANIFESTS = Path(__file__).parent / "manifests.yaml"
START_SECONDS = 600


def state() -> Path:
    return cache() / "cluster"


def kubeconfig() -> Path:
    return state() / "kubeconfig"


def up() -> None:
    if is_up():
        return
    if os.geteuid() != 0:
        raise MachineError("This cluster needs root. Run it as root, or start a Docker engine: then kind is used.")
    if len(str(state() / "containerd.sock")) > 100:
        raise MachineError(f"{state()} is too long a path for a socket; set FORGE_CACHE_DIR to a shorter folder.")
    down()
    ensure_packages(PACKAGES)
    for tool in ("kube", "coredns"):
        ensure_tool(tool)
    with step("starting the cluster"):
        state().mkdir()
        (state() / "pause.tar").write_bytes(pause_archive((bin_folder() / "pause").read_bytes()))
        process = start_node()

        def wait_for(what: str, holds: Callable[[], bool]) -> None:
            deadline = time.monotonic() + START_SECONDS
            while not holds():
                if process.poll() is not None or ended_components() or time.monotonic() > deadline:
                    raise MachineError(f"the cluster did not start: {what} did not come\n{last_words()}")
                time.sleep(0.2)

        wait_for("its configuration", (state() / "etc" / "resolv.conf").exists)
        open_door()
        wait_for("the API server", is_up)
        kubectl("apply", "--server-side", "-f", str(MANIFESTS))
        wait_for("the node to be Ready", lambda: answers_yes("get", "node", node.NAME, "-o", NODE_READY))
        wait_for("the default service account", lambda: kubectl_ok("get", "serviceaccount", "default"))


NODE_READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'


def start_node() -> subprocess.Popen[bytes]:
    namespaces = ("--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--net", "--propagation", "private")
    with (state() / "node.log").open("wb") as log:
        return subprocess.Popen(
            ["unshare", *namespaces, sys.executable, Path(node.__file__).resolve(), state(), bin_folder()],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def open_door() -> None:
    """The API server on the machine's loopback: a forward on each side of the namespace, a unix socket between them."""
    port = free_port(PREFERRED_PORT)
    kubeconfig().write_text(node.kubeconfig(state(), "admin", f"https://127.0.0.1:{port}"))
    kubeconfig().chmod(0o600)
    with (state() / "forward.log").open("wb") as log:
        subprocess.Popen(
            [bin_folder() / "kube", "forward", f"tcp:127.0.0.1:{port}", f"unix:{state()}/api.sock"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def free_port(preferred: int = 0) -> int:
    """A port of the loopback on which nothing listens: the preferred one, else one that the kernel gives to nobody.

    What it gives out (to who binds to port 0, and to every connection) may be taken again before a program that is only
    starting listens on it.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    others = random.sample(range(10_000, lowest), 20) if lowest > 10_100 else [0]
    for port in (*([preferred] if preferred else []), *others):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise MachineError("no free port on 127.0.0.1")


def ended_components() -> str:
    ended = state() / "ended"
    return ended.read_text() if ended.exists() else ""


def last_words() -> str:
    log = (state() / "node.log").read_text(errors="replace")
    return f"{ended_components()}{log[-2000:]}(logs: {state()}/log)"


def kubectl(*arguments: str) -> str:
    return run(bin_folder() / "kubectl", f"--kubeconfig={kubeconfig()}", *arguments)


def kubectl_ok(*arguments: str) -> bool:
    try:
        kubectl(*arguments)
    except (MachineError, OSError):
        return False
    return True


def answers_yes(*arguments: str) -> bool:
    try:
        return kubectl(*arguments) == "True"
    except MachineError:
        return False


def is_up() -> bool:
    return kubeconfig().exists() and kubectl_ok("get", "--raw", "/readyz", "--request-timeout=5s")


def down() -> None:
    """Ends what runs and removes what it left, whatever state it is in. Images stay in the cache."""
    ours = processes()
    inside = {namespace for pid in ours if (namespace := pid_namespace(pid)) != pid_namespace(os.getpid())}
    for pid in ours:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        if not processes() and not any(pid_namespace(pid) in inside for pid in pids()):
            break
        time.sleep(0.1)
    else:
        raise MachineError(f"processes of the cluster do not end: {processes()}")
    remove_cgroups()
    if mounted := [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {state()}/" in line]:
        raise MachineError(f"{state()} still holds mounts, nothing was removed: {mounted}")
    if state().exists():
        shutil.rmtree(state())


def processes() -> list[int]:
    """Our process ids: the cluster's first process with its parent, and the forward outside."""
    return [pid for pid in pids() if is_ours(command_line(pid), state())]


def is_ours(command: list[str], state: Path) -> bool:
    is_node = any(part.endswith("/node.py") for part in command) and str(state) in command
    return is_node or (command[1:2] == ["forward"] and command[-1] == f"unix:{state}/api.sock")


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def pid_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def remove_cgroups() -> None:
    for ours in node.cgroups(state()):
        for folder, _, _ in os.walk(ours, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(folder).rmdir()


# Images


def containerd_control(*arguments: str) -> str:
    return run("ctr", f"--address={state()}/containerd.sock", "--namespace=k8s.io", *arguments)


def load_image(archive: Path) -> None:
    with step(f"loading {archive.name} ({archive.stat().st_size / 1e6:.0f} MB)"):
        containerd_control("images", "import", str(archive))


def images() -> dict[str, str]:
    """The node's images: name to digest of the manifest."""
    rows = [line.split() for line in containerd_control("images", "list").splitlines()[1:]]
    return {row[0]: row[2] for row in rows if not row[0].startswith("sha256:")}


def blobs() -> set[str]:
    """Digests of all content the node holds."""
    return set(containerd_control("content", "list", "-q").split())


def pause_archive(program: bytes) -> bytes:
    """A docker-archive of one static program, the image that holds a pod's namespaces open."""
    layer = tar({"pause": (0o755, program)})
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [node.PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(configuration), "manifest.json": json.dumps(manifest)}
    return tar({"layer.tar": (0o644, layer)} | {name: (0o644, text.encode()) for name, text in files.items()})


def tar(files: dict[str, tuple[int, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (mode, content) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
