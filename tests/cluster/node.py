"""The whole cluster as one process tree: `python3 node.py STATE BIN`, process 1 of namespaces of its own (see own.py).

Network, mounts and process ids are the tree's own. So nothing here can be seen on, or left behind in, the machine: no
address, bridge, iptables rule or mount; and when this process ends the kernel ends every other one in the tree, pods
included. Only cgroups and files in STATE outlive it. Sockets in STATE are how the outside reaches in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

ADDRESS = "10.89.0.1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API = "127.0.0.1:6443"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
NAME = "forge-node"
PAUSE_IMAGE = "docker.io/local/pause:1"
HOST_PATHS = "/tmp/hostpath_pv"  # where the controller manager makes volumes
CONTROL_PLANE = (  # a client's name to the subject of its certificate
    ("admin", "/O=system:masters/CN=admin"),
    ("controller-manager", "/CN=system:kube-controller-manager"),
    ("scheduler", "/CN=system:kube-scheduler"),
)
NODE = (("kubelet", f"/O=system:nodes/CN=system:node:{NAME}"), ("proxy", "/CN=system:kube-proxy"))


def main() -> None:
    state, binaries = Path(sys.argv[1]), Path(sys.argv[2])
    os.chdir(state)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    make_mounts(state)
    make_network()
    make_cgroups(state)
    make_keys(state, (*CONTROL_PLANE, *NODE))
    make_configuration(state)
    components = start(state, binaries)
    threading.Thread(target=open_volumes, args=(state / "volumes",), daemon=True).start()
    components.wait()


# What surrounds the components


def make_mounts(state: Path) -> None:
    """Folders where Kubernetes' programs write by custom become folders of STATE, or memory.

    The empty folders they are mounted on stay: to remove one would take it from another cluster on this machine.
    """
    mount("-t", "tmpfs", "tmpfs", "/run")
    for inside, at in {
        HOST_PATHS: "volumes",
        "/var/lib/cni": "cni-results",
        "/var/lib/kubelet": "kubelet",
        "/var/log": "var-log",
    }.items():
        bind(state / at, inside)
    mount("--make-rshared", "/")  # volumes mounted by the kubelet must be seen by containerd's children


def bind(folder: Path, inside: str) -> None:
    """Makes `folder` what the tree sees at `inside`."""
    folder.mkdir(exist_ok=True)
    Path(inside).mkdir(parents=True, exist_ok=True)
    mount("--bind", str(folder), inside)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_network() -> None:
    """One address, and a default route because the API server wants one; it leads nowhere."""
    for command in (
        "link set lo up",
        "link add uplink0 type veth peer name uplink1",
        f"addr add {ADDRESS}/24 dev uplink0",
        "link set uplink0 up",
        "link set uplink1 up",
        "route add default dev uplink0",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def make_cgroups(state: Path) -> None:
    for folder in cgroups(state):
        folder.mkdir(exist_ok=True)


def cgroups(state: Path) -> list[Path]:
    """The parents of the pods' cgroups, this cluster's own, one a hierarchy; the outside removes what stays behind."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    hierarchies = [fields[1] for fields in map(str.split, lines) if fields[2] in ("cgroup", "cgroup2")]
    return [Path(hierarchy) / cgroup_name(state) for hierarchy in hierarchies]


def cgroup_name(state: Path) -> str:
    return "forge-" + hashlib.sha256(str(state).encode()).hexdigest()[:8]


# Keys and configuration


def make_keys(state: Path, clients: Iterable[tuple[str, str]]) -> None:
    """The authority, the server's keys, and a kubeconfig for each client, who are pairs of a name and a subject."""
    pki = state / "pki"
    pki.mkdir()
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki / "sa.key")
    openssl("ec", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365")
    authority = ("-x509", "-keyout", pki / "ca.key", "-out", pki / "ca.crt", "-subj", "/CN=forge-test-ca")
    openssl("req", *new_key, *authority)
    addresses = f"IP:127.0.0.1,IP:{ADDRESS},IP:{API_SERVICE},DNS:localhost,DNS:kubernetes.default.svc"
    servers = {"apiserver": addresses, "kubelet": f"DNS:{NAME},IP:{ADDRESS},IP:127.0.0.1"}
    clients = tuple(clients)
    kubelet_client = ("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    for name, subject in (("apiserver", "/CN=kube-apiserver"), kubelet_client, *clients):
        files = ("-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt", "-subj", subject)
        extension = ("-addext", f"subjectAltName={servers[name]}") if name in servers else ()
        openssl("req", *new_key, "-x509", "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", *files, *extension,
                "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
    for name, _ in clients:
        (state / f"{name}.kubeconfig").write_text(kubeconfig(state, name, f"https://{API}"))


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, stderr=subprocess.PIPE)


def kubeconfig(state: Path, user: str, server: str) -> str:
    """A kubeconfig, as JSON (which is YAML)."""
    pki = state / "pki"
    cluster = {"server": server, "certificate-authority": str(pki / "ca.crt")}
    keys = {"client-certificate": str(pki / f"{user}.crt"), "client-key": str(pki / f"{user}.key")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "forge-observability", "cluster": cluster}],
            "users": [{"name": user, "user": keys}],
            "contexts": [{"name": "forge-observability", "context": {"cluster": "forge-observability", "user": user}}],
            "current-context": "forge-observability",
        },
        indent=1,
    )


def make_configuration(state: Path) -> None:
    (state / "etc").mkdir()
    for name, content in {
        "audit.json": audit_policy(),
        "containerd.toml": containerd(state),
        "Corefile": corefile(state),
        "kubelet.json": kubelet(state),
        "proxy.json": proxy(state),
        "resolv.conf": f"nameserver {DNS_SERVICE}\n",
        "net.d/pods.conflist": pod_network(),
    }.items():
        path = state / "etc" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def audit_policy() -> dict[str, object]:
    """Who wrote what: every write without its body; reads are left out, they would be most of the file."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        ],
    }


def containerd(state: Path) -> str:
    return f"""
version = 2
root = "{state}/../containerd"
state = "/run/containerd-state"
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true  # this machine may not lower one
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{state}/etc/net.d"
"""


def pod_network() -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge | {"ipam": addresses}, ports]}


def kubelet(state: Path) -> dict[str, object]:
    authority = str(state / "pki" / "ca.crt")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup_name(state)}",
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{state}/containerd.sock",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": str(state / "etc" / "resolv.conf"),
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "featureGates": {"KubeletInUserNamespace": True},  # it may not write some sysctls and scores, and says so only
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,  # never: no registry to fetch an image from again
        "nodeStatusReportFrequency": "1m0s",
        "tlsCertFile": str(state / "pki" / "kubelet.crt"),
        "tlsPrivateKeyFile": str(state / "pki" / "kubelet.key"),
    }


def proxy(state: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(state / "proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": "10.244.0.0/16",
        "hostnameOverride": NAME,
        # 0: leave the kernel's numbers, they may not be written here
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def corefile(state: Path) -> str:
    return f""".:53 {{
    bind {ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {state}/admin.kubeconfig
        ttl 5
    }}
    cache 5
}}
"""


# The components


class Components:
    """The programs that run, each with its log in STATE/log."""

    def __init__(self, state: Path, binaries: Path) -> None:
        self.logs, self.binaries = state / "log", binaries
        self.logs.mkdir()
        self.names: dict[int, str] = {}  # by process id

    def run(
        self, name: str, *arguments: str, program: Path | None = None, pass_fds: Iterable[int] = ()
    ) -> subprocess.Popen[bytes]:
        command: list[str | Path] = [program or self.binaries / name, *arguments]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=tuple(pass_fds)
            )
        self.names[process.pid] = name
        return process

    def end(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        del self.names[process.pid]  # first, so that its end is not taken for one that nobody wanted
        process.send_signal(how)
        process.wait()

    def wait(self) -> None:
        """Reaps what ends here, as process 1 must; a component that ends is written down, for `status` to say."""
        while True:
            pid, status = os.wait()
            if name := self.names.pop(pid, None):
                with Path("ended").open("a") as ended:
                    ended.write(f"{name} ended with {os.waitstatus_to_exitcode(status)}, see log/{name}.log\n")


def start(state: Path, binaries: Path) -> Components:
    """Starts all of them, in an order that spares waiting."""
    etc = state / "etc"
    components = Components(state, binaries)
    run = components.run
    run("etcd", *etcd_flags(state))
    run("kube-apiserver", *apiserver_flags(state), "--audit-log-maxsize=200", "--audit-log-maxbackup=2")
    start_containerd(state, components)
    run("forward", f"unix:{state}/api.sock", f"tcp:{API}")
    while not is_ready(state, binaries):
        time.sleep(0.2)
    run("kube-controller-manager", *controller_manager_flags(state, 200),
        "--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16")  # fmt: skip
    run("kube-scheduler", *scheduler_flags(state, 200))
    run("kubelet", f"--config={etc}/kubelet.json", f"--kubeconfig={state}/kubelet.kubeconfig",
        f"--hostname-override={NAME}", f"--node-ip={ADDRESS}")  # fmt: skip
    run("kube-proxy", f"--config={etc}/proxy.json")
    run("coredns", f"-conf={etc}/Corefile")
    return components


def etcd_flags(state: Path) -> tuple[str, ...]:
    return (
        f"--data-dir={state}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # this data outlives nothing
        "--log-level=error",
    )


def apiserver_flags(state: Path) -> tuple[str, ...]:
    pki = state / "pki"
    return (
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={ADDRESS}",
        "--secure-port=6443",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",  # the node's name is in no DNS
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-cluster-ip-range={SERVICES}",
        "--allow-privileged=true",
        f"--audit-policy-file={state}/etc/audit.json",
        f"--audit-log-path={state}/log/audit.log",
    )


def control_flags(state: Path, name: str, qps: int) -> tuple[str, ...]:
    limits = (f"--kube-api-qps={qps}", f"--kube-api-burst={2 * qps}")
    return (f"--kubeconfig={state}/{name}.kubeconfig", "--leader-elect=false", "--bind-address=127.0.0.1", *limits)


def scheduler_flags(state: Path, qps: int) -> tuple[str, ...]:
    # A volume that is bound while its pod is found to lack it wakes nobody: the pod would wait for 5 minutes.
    return (*control_flags(state, "scheduler", qps), "--pod-max-in-unschedulable-pods-duration=2s")


def controller_manager_flags(state: Path, qps: int) -> tuple[str, ...]:
    pki = state / "pki"
    return (
        *control_flags(state, "controller-manager", qps),
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials",
        "--enable-hostpath-provisioner",
    )


def start_containerd(state: Path, components: Components) -> None:
    """Images are kept from one run to the next; containers of the run before are removed before anyone looks."""
    control = ["ctr", f"--address={state}/containerd.sock", "--namespace=k8s.io"]

    def run() -> subprocess.Popen[bytes]:
        process = components.run(
            "containerd", f"--config={state}/etc/containerd.toml", program=Path("/usr/bin/containerd")
        )
        while not answers(*control, "version"):
            time.sleep(0.1)
        return process

    process = run()
    listed = subprocess.run([*control, "containers", "list", "-q"], stdout=subprocess.PIPE, text=True, check=True)
    if stale := listed.stdout.split():
        subprocess.run([*control, "containers", "rm", *stale], stdout=subprocess.DEVNULL, check=True)
        components.end(process)
        run()
    # `ctr` fails at once where a socket refuses (bound but not yet listening, seen once); its stderr is in node.log
    for wait in (0.2, 1, 5, 0):
        if answers(*control, "images", "import", str(state / "pause.tar"), stderr=None):
            return
        time.sleep(wait)
    raise SystemExit("containerd did not take the pause image, see above")


def answers(*command: str, stderr: int | None = subprocess.DEVNULL) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr).returncode == 0


def is_ready(state: Path, binaries: Path) -> bool:
    ask = [str(binaries / "kubectl"), f"--kubeconfig={state}/admin.kubeconfig", "get", "--raw", "/readyz"]
    return answers(*ask)


def open_volumes(volumes: Path) -> None:
    """Lets every user write to new volumes, as a storage driver would by the pod's fsGroup (hostPath knows none).

    The provisioner makes its folders for root alone; they are opened in the second that passes before a pod sees them.
    """
    while True:
        with os.scandir(volumes) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.stat().st_mode & 0o777 != 0o777:
                        Path(entry).chmod(0o777)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
