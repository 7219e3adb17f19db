#!/usr/bin/env python3
"""A control plane without machines, for scale and chaos: `plane.py FOLDER`, or `with Plane(folder) as plane:`.

A real etcd, API server, controller manager and scheduler; KWOK plays the nodes: pods become Ready at once, and those of
Jobs end after a second with the summary that a load or a transform would leave. Any component can be killed, frozen and
started again while its data stays; every request of a client is in an audit log. It lives, like the cluster of
`own.py`, in namespaces of its own, so that several run beside one another, and ends with the process that made it.
Needs Linux, root, Go (the first time) and Python's standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import node
from machine import MachineError, bin_folder, ensure_packages, ensure_tool, run
from own import MANIFESTS, free_port

PACKAGES = ("iproute2", "openssl", "util-linux")
ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds" / "observabilitystacks.yaml"
START_SECONDS = 240
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
SOURCE_LABEL = "observability.forge.dev/source"
COMPONENT_LABEL = "app.kubernetes.io/component"
FAILING_SOURCE = "bad"
"""Loads of a source of this name fail."""
HELD_LABEL = "chaos.forge.dev/hold"
"""A Job's pod with this label does not end; put on while it runs, or before."""

# What no part of it needs: machines that come and go, requests for certificates, the Endpoints of old clients.
WITHOUT = ("certificatesigningrequest-approving-controller", "certificatesigningrequest-cleaner-controller",
           "certificatesigningrequest-signing-controller", "endpoints-controller",
           "endpointslice-mirroring-controller", "horizontal-pod-autoscaler-controller",
           "node-lifecycle-controller", "persistentvolume-attach-detach-controller",
           "persistentvolume-expander-controller", "ttl-controller")  # fmt: skip
AT_ONCE = ("cron-job", "deployment", "job", "replicaset", "service-endpoint", "statefulset")
KWOK_USER = "kwok"


class Plane:
    """A running control plane; `folder` is made, or is empty, and keeps logs and data afterwards.

    `qps` bounds each of its own clients, so that they hold nobody up. A Job's pod ends `job_seconds` after it began, or
    up to `job_jitter` later. `stages` are more KWOK Stages; they compete with those here by their weight.
    All methods raise MachineError with what failed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        qps: int = 5000,
        nodes: int = 10,
        job_seconds: float = 1.0,
        job_jitter: float = 0.0,
        stages: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self._nodes = nodes
        self._asked = {"qps": qps, "stages": [*pod_stages(job_seconds, job_jitter), *stages]}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Plane:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start it, and wait until pods could run."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise MachineError("A control plane of its own needs Linux and root: run this as root.")
        if len(str(self.folder / "api.sock")) > 100:
            raise MachineError(f"{self.folder} is too long a path for a socket; choose a shorter folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise MachineError(f"{self.folder} is not empty; a control plane begins in a folder of its own.")
        ensure_packages(PACKAGES)
        for tool in ("kube", "kwok"):
            ensure_tool(tool)
        self._start_process(port := free_port())
        self.kubeconfig.write_text(node.kubeconfig(self.folder, "admin", f"https://127.0.0.1:{port}"))
        self.kubeconfig.chmod(0o600)
        self.wait_ready()
        # Before the controllers: the garbage collector looks only every 30 seconds for kinds that are new.
        self.kubectl("apply", "--server-side", "-f", str(MANIFESTS), "-f", str(CRDS))
        self._wait_for("the stacks", lambda: self._succeeds("get", "observabilitystacks"))
        for component in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self.start(component)
        machines = {"apiVersion": "v1", "kind": "List", "items": [machine(number) for number in range(self._nodes)]}
        self.kubectl("create", "-f", "-", stdin=json.dumps(machines))
        self._wait_for("the default service account", lambda: self._succeeds("get", "serviceaccount", "default"))

    def down(self) -> None:
        """End all of it at once."""
        if self._process is not None:
            assert self._process.stdin and self._process.stdout
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl as an administrator; gives its standard output."""
        return run(bin_folder() / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments, input=stdin)

    def account(self, name: str, namespace: str = "default", role: str = "cluster-admin") -> Path:
        """A kubeconfig of a new ServiceAccount that a ClusterRole is bound to: subject to the limits of a program,
        and `system:serviceaccount:NAMESPACE:NAME` in the audit log. Its token lasts a day."""
        self.kubectl("create", "serviceaccount", name, "-n", namespace)
        subject = f"--serviceaccount={namespace}:{name}"
        self.kubectl("create", "clusterrolebinding", f"{namespace}-{name}", f"--clusterrole={role}", subject)
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").strip()
        content = json.loads(self.kubeconfig.read_text())
        content["users"][0]["user"] = {"token": token}
        path = self.folder / f"{name}.kubeconfig"
        path.touch(0o600)
        path.write_text(json.dumps(content))
        return path

    # Chaos

    def stop(self, component: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a component (`etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kwok`)."""
        self._ask("stop", component, how.name)

    def start(self, component: str) -> None:
        """Start a component that does not run; of etcd and the API server it waits until they answer."""
        self._ask("start", component)
        if component in ("etcd", "kube-apiserver") and self._runs("etcd") and self._runs("kube-apiserver"):
            self.wait_ready()

    def restart(self, component: str, how: signal.Signals = signal.SIGKILL) -> None:
        """`stop`, then `start`."""
        self.stop(component, how)
        self.start(component)

    @contextlib.contextmanager
    def frozen(self, component: str) -> Iterator[None]:
        """While this lasts the component is silent: its connections stay, nothing is answered."""
        self._ask("signal", component, "SIGSTOP")
        try:
            yield
        finally:
            self._ask("signal", component, "SIGCONT")

    # Observation

    def audit(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The entries of the audit log (audit.k8s.io/v1 Event) since position `start`, the oldest first.

        It holds every request but the reads of the plane's own programs, without bodies; a watch has two entries.
        An entry is there when the client has its answer.
        """
        with (self.folder / "log" / "audit.log").open("rb") as log:
            log.seek(start)
            # A line without its end is being written. Nothing behind it is read: that would begin with its rest.
            while (line := log.readline()).endswith(b"\n"):
                yield json.loads(line)

    def audit_position(self) -> int:
        """The end of the audit log's last whole line, for `audit`: the API server may be in the middle of the next."""
        path = self.folder / "log" / "audit.log"
        if not path.stat().st_size:  # nothing to map
            return 0
        with path.open("rb") as log, mmap.mmap(log.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(b"\n") + 1

    def writes(self, user: str, start: int = 0) -> list[dict[str, Any]]:
        """The writes of one user since position `start`, answered with success or not."""
        entries = self.audit(start)
        return [entry for entry in entries if entry["verb"] in WRITES and entry["user"]["username"] == user]

    def wait_ready(self) -> None:
        """Wait until the API server answers that it is ready."""
        self._wait_for("the API server", lambda: self._succeeds("get", "--raw", "/readyz", "--request-timeout=5s"))

    # The process inside

    def _start_process(self, port: int) -> None:
        namespaces = ("--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--net", "--propagation", "private")
        machine_network = os.open("/proc/self/ns/net", os.O_RDONLY)
        given = json.dumps({**self._asked, "port": port, "network": machine_network})
        inside = (sys.executable, str(Path(__file__).resolve()), "--inside", given, str(self.folder))
        try:
            with (self.folder / "plane.log").open("wb") as log:
                self._process = subprocess.Popen(
                    ["unshare", *namespaces, *inside], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    text=True, start_new_session=True, pass_fds=[machine_network],
                )  # fmt: skip
        finally:
            os.close(machine_network)
        self._answer()

    def _ask(self, *words: str) -> str:
        if self._process is None:
            raise MachineError("the control plane is not up")
        with self._lock:
            assert self._process.stdin
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(" ".join(words) + "\n")
                self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> str:
        assert self._process and self._process.stdout
        answer = self._process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise MachineError(f"the control plane says: {answer or 'nothing'}\n{self._last_words()}")
        return answer.removeprefix("ok").strip()

    def _runs(self, component: str) -> bool:
        return component in self._ask("list").split()

    def _succeeds(self, *arguments: str) -> bool:
        try:
            self.kubectl(*arguments)
        except MachineError:
            return False
        return True

    def _wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not holds():
            assert self._process
            if self._process.poll() is not None or time.monotonic() > deadline or self._ended():
                raise MachineError(f"the control plane: {what} did not come\n{self._last_words()}")
            time.sleep(0.1)

    def _ended(self) -> str:
        ended = self.folder / "ended"
        return ended.read_text() if ended.exists() else ""

    def _last_words(self) -> str:
        log = (self.folder / "plane.log").read_text(errors="replace")
        return f"{self._ended()}{log[-2000:]}(logs: {self.folder}/log)"


# What KWOK plays


def machine(number: int) -> dict[str, Any]:
    """A node that is Ready and has room for all that tests bring."""
    name = f"machine-{number}"
    room = {"cpu": "10k", "memory": "10Ti", "ephemeral-storage": "10Ti", "pods": "10k"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
              "topology.kubernetes.io/zone": f"zone-{number % 3}"}  # fmt: skip
    conditions = [{"type": "Ready", "status": "True", "reason": "Played", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    address = [{"type": "InternalIP", "address": f"10.88.{number // 250}.{number % 250 + 1}"}]
    status = {"allocatable": room, "capacity": room, "conditions": conditions, "addresses": address}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def pod_stages(job_seconds: float, job_jitter: float) -> list[dict[str, Any]]:
    """The life of a pod: Ready at once; done after a while when a Job made it; gone when deleted."""
    now = '"{{ Now }}"'
    source = f'{{{{ index .metadata.labels "{SOURCE_LABEL}" }}}}'
    load = f'"kind":"load","source":"{source}","requests":10,"durationSeconds":{job_seconds}'
    moments = f'"cursor":{now},"newestEventAt":{now}'
    summaries = {
        "load": f'{{{load},"outcome":"succeeded","rows":{{"{source}_rows":1000}},{moments}}}',
        "transform": '{"kind":"transform","outcome":"succeeded","models":{"ok":40},"tests":{"ok":100},'
        f'"rows":{{"gold.tickets":1000}},"durationSeconds":{job_seconds}}}',
    }
    unreachable = '{"reason":"Unreachable","message":"the source did not answer"}'
    failure = f'{{{load},"outcome":"failed","error":{unreachable}}}'
    milliseconds = int(job_seconds * 1000)
    delay = {"durationMilliseconds": milliseconds, "jitterDurationMilliseconds": milliseconds + int(job_jitter * 1000)}
    alive, deleted = _is(".metadata.deletionTimestamp", "DoesNotExist"), _is(".metadata.deletionTimestamp", "Exists")
    runs = (alive, _is(".status.phase", "In", "Running"), _is(".metadata.ownerReferences.[].kind", "In", "Job"),
            _is(f'.metadata.labels["{HELD_LABEL}"]', "DoesNotExist"))  # fmt: skip
    component, of_source = f'.metadata.labels["{COMPONENT_LABEL}"]', f'.metadata.labels["{SOURCE_LABEL}"]'
    good = _is(of_source, "NotIn", FAILING_SOURCE)

    def ends(name: str, message: str, code: int, *more: dict[str, Any]) -> dict[str, Any]:
        return _stage(name, (*runs, *more), {"statusTemplate": _ended_status(message, code)}, delay)

    return [
        _stage("ready", (alive, _is(".status.podIP", "DoesNotExist")), {"statusTemplate": READY}),
        ends("load", summaries["load"], 0, _is(component, "In", "load"), good),
        ends("failing-load", failure, 1, _is(component, "In", "load"), _is(of_source, "In", FAILING_SOURCE)),
        ends("transform", summaries["transform"], 0, _is(component, "In", "transform")),
        ends("job", "", 0, _is(component, "NotIn", *summaries)),
        _stage("deleted", (deleted,), {"finalizers": {"empty": True}, "delete": True}),
    ]


def _is(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def _stage(
    name: str,
    selected: Iterable[Mapping[str, Any]],
    following: Mapping[str, Any],
    delay: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": list(selected)},
        "next": following,
    }
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"pod-{name}"},
        "spec": spec | ({"delay": delay} if delay else {}),
    }


READY = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
conditions:
{{ range $type := list "Initialized" "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""


def _ended_status(message: str, code: int) -> str:
    return f"""
{{{{ $now := Now }}}}
phase: {"Failed" if code else "Succeeded"}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: {code}
      reason: {"Error" if code else "Completed"}
      startedAt: {{{{ $.status.startTime | Quote }}}}
      finishedAt: {{{{ $now | Quote }}}}
      message: '{message.replace("{{ index .", "{{ index $.")}'
{{{{ end }}}}
"""


# Inside: process 1 of the namespaces


def inside(folder: Path, given: Mapping[str, Any]) -> None:
    """Starts etcd, the API server and the door to it, then does what its standard input says until that ends."""
    binaries = bin_folder()
    node.bind(folder / "volumes", node.HOST_PATHS)
    node.make_network()
    node.make_keys(folder, (*node.CONTROL_PLANE, (KWOK_USER, f"/O=system:masters/CN={KWOK_USER}")))
    (folder / "etc").mkdir()
    (folder / "etc" / "audit.json").write_text(json.dumps(audit_policy()))
    (folder / "etc" / "kwok.yaml").write_text("\n---\n".join(json.dumps(stage) for stage in given["stages"]))
    os.environ["GOGC"] = "200"  # memory is there, and cores are few: a fifth of the API server's work was collecting
    components = node.Components(folder, binaries)
    known = flags(folder, int(given["qps"]))
    running = {name: components.run(name, *known[name]) for name in ("etcd", "kube-apiserver")}
    components.run("forward", f"unix:{folder}/api.sock", f"tcp:{node.API}")
    door = ("forward", f"tcp:127.0.0.1:{given['port']}", f"unix:{folder}/api.sock")
    network = f"--net=/proc/self/fd/{given['network']}"
    components.run(
        "door", network, str(binaries / "kube"), *door, program=Path("/usr/bin/nsenter"), pass_fds=[given["network"]]
    )
    os.chdir(folder)
    threading.Thread(target=components.wait, daemon=True).start()
    print("ok", flush=True)
    for line in sys.stdin:
        try:
            print("ok", obey(line.split(), components, running, known), flush=True)
        except (KeyError, ValueError, OSError) as error:
            print(f"{line.strip()}: {error!r}", flush=True)


def obey(
    words: list[str],
    components: node.Components,
    running: dict[str, subprocess.Popen[bytes]],
    known: Mapping[str, tuple[str, ...]],
) -> str:
    match words:
        case ["list"]:
            return " ".join(running)
        case ["start", name] if name not in running:
            running[name] = components.run(name, *known[name])
        case ["stop", name, how]:
            components.end(running.pop(name), signal.Signals[how])
        case ["signal", name, which]:
            running[name].send_signal(signal.Signals[which])
        case _:
            raise ValueError("that is no command, or it runs already")
    return ""


def flags(folder: Path, qps: int) -> dict[str, tuple[str, ...]]:
    """The components and their arguments."""
    return {
        "etcd": (*node.etcd_flags(folder), f"--quota-backend-bytes={8 << 30}"),
        "kube-apiserver": (
            *node.apiserver_flags(folder),
            "--audit-log-maxsize=100000",  # one file
            "--disable-admission-plugins=TaintNodesByCondition",  # nobody would take the taint away
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",  # as OpenShift does
        ),
        "kube-controller-manager": (
            *node.controller_manager_flags(folder, qps),
            f"--controllers=*,{','.join(f'-{name}' for name in WITHOUT)}",
            *(f"--concurrent-{name}-syncs=20" for name in AT_ONCE),
        ),
        "kube-scheduler": node.scheduler_flags(folder, qps),
        "kwok": (
            f"--kubeconfig={folder}/{KWOK_USER}.kubeconfig",
            f"--config={folder}/etc/kwok.yaml",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=0",
            "--cidr=10.244.0.0/16",
        ),
    }


def audit_policy() -> dict[str, Any]:
    """Everything without bodies, but the reads of the plane's own programs."""
    reads = {"level": "None", "verbs": ["get", "list", "watch"]}
    own = ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", KWOK_USER]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {**reads, "users": own},
            {**reads, "users": [], "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]},
            {"level": "Metadata"},
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="new or empty; keeps logs and data")
    parser.add_argument("--nodes", type=int, default=10, help="how many machines KWOK plays (%(default)s)")
    parser.add_argument("--job-seconds", type=float, default=1.0, help="how long a Job's pod runs (%(default)s)")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.folder, arguments.inside)
        return 0
    begun = time.monotonic()
    try:
        with Plane(arguments.folder, nodes=arguments.nodes, job_seconds=arguments.job_seconds) as plane:
            print(f"up ({time.monotonic() - begun:.1f} s). Here: stop COMPONENT, start COMPONENT; end with Ctrl-D.")
            print(f"export KUBECONFIG={shlex.quote(str(plane.kubeconfig))} PATH={bin_folder()}:$PATH", flush=True)
            for line in sys.stdin:
                try:
                    verb, component = line.split()
                    plane.stop(component) if verb == "stop" else plane.start(component)
                except (ValueError, MachineError) as error:
                    print(error, file=sys.stderr)
    except KeyboardInterrupt:
        pass
    except MachineError as error:
        print(f"plane: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
