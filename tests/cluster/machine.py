"""What the cluster and the images need of the machine: a cache folder, Debian packages, programs built from Go modules.

Standard library only: it runs before any virtual environment exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

KUBERNETES = "1.34.4"
KUBE_MODULE = Path(__file__).parent / "kube"
KUBE_LINKS = ("etcd", "forward", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl",
              "kubelet")  # fmt: skip
TOOLS: Mapping[str, str] = {
    "coredns": "github.com/coredns/coredns@v1.12.4",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "helm-docs": "github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2",
    "kind": "sigs.k8s.io/kind@v0.33.0",
    "kube-linter": "golang.stackrox.io/kube-linter/cmd/kube-linter@v0.8.3",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score@v1.20.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.7.0",
    "operator-verify": "github.com/operator-framework/api/cmd/operator-verify@v0.9.1",
}
# Module path to the repository it is in, for one whose own address is not on every module proxy.
MODULE_AT: Mapping[str, str] = {"golang.stackrox.io/kube-linter": "github.com/stackrox/kube-linter"}


class MachineError(Exception):
    """Something on this machine failed; the message says what, and what to do."""


def cache() -> Path:
    """The folder of all that outlives a clone: FORGE_CACHE_DIR, or ~/.cache/forge-observability."""
    folder = Path(os.environ.get("FORGE_CACHE_DIR") or Path.home() / ".cache" / "forge-observability").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bin_folder() -> Path:
    folder = cache() / "bin"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says on standard error that something long begins, and how long it took."""
    print(f"{what} ...", end=" ", file=sys.stderr, flush=True)
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"failed after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        raise
    print(f"{time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Lets one process at a time do what is called `name`; the others wait."""
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str | Path, quiet: bool = True, **options: object) -> str:
    """Runs a command and returns its standard output; MachineError carries the end of its standard error."""
    arguments = [str(part) for part in command]
    done = subprocess.run(  # type: ignore[call-overload]
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True, **options
    )
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout or "").strip().splitlines()[-15:])
        raise MachineError(f"`{' '.join(arguments)}` ended with {done.returncode}\n{tail}".rstrip())
    return str(done.stdout)


def fetch(*command: str | Path, **options: object) -> str:
    """`run` of what asks a registry, which may fail to answer: three times at most, after ever longer pauses."""
    for pause in (10, 60):
        try:
            return run(*command, **options)  # type: ignore[arg-type]
        except MachineError as error:
            print(f"{error}\nagain in {pause} s ...", end=" ", file=sys.stderr, flush=True)
            time.sleep(pause)
    return run(*command, **options)  # type: ignore[arg-type]


def answers(*command: str | Path, timeout: float = 20) -> bool:
    """Whether a command exists and ends with success in time."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def has_docker() -> bool:
    return answers("docker", "info")


def ensure_packages(names: Iterable[str]) -> None:
    """Installs the Debian packages that are missing; none of their services is started."""
    missing = [name for name in names if not _is_installed(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MachineError(
            f"Debian packages are missing: {' '.join(missing)}. Install them, or run this as root on Debian, "
            "or start a Docker engine and everything here uses that instead."
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ("apt-get", "-q", "-o=DPkg::Lock::Timeout=600", "-o=Acquire::Retries=3")
    install = (*apt, "install", "-y", "--no-install-recommends", *missing)
    with step(f"installing Debian packages {' '.join(missing)}"), _no_services():
        try:
            run(*install, env=environment)
        except MachineError:  # no package lists yet, or stale ones
            run(*apt, "update", env=environment)
            run(*install, env=environment)


def _is_installed(package: str) -> bool:
    query = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return query.stdout.endswith(" installed")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Packages ask policy-rc.d before they start a service; while this lasts the answer is no (exit 101)."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def ensure_tool(name: str) -> Path:
    """A program's path in the bin folder, built from its Go module if this version of it is not there yet.

    `kube` is all of Kubernetes in one binary, and brings kubectl and its other names as links.
    """
    return _ensure_kube() if name in ("kube", *KUBE_LINKS) else _ensure_module(name)


def _ensure_module(name: str) -> Path:
    if name not in TOOLS:
        raise MachineError(f"unknown tool {name!r}; there are kubectl, {', '.join(sorted(TOOLS))}")
    package, version = TOOLS[name].split("@")
    built = cache() / "go" / f"{name}-{version}" / name
    with alone("go-build"):
        if not built.exists():
            with step(f"building {name} {version} (first time only, ~2 min)"), _staged(built) as staged:
                _build_module(package, version, staged)
        return _link(built, name)


def _build_module(package: str, version: str, to: Path) -> None:
    flags, environment = ("-trimpath", "-ldflags=-s -w"), _go_environment()
    for module, repository in MODULE_AT.items():
        if package.startswith(module):
            require = f"require {module} {version}\nreplace {module} => {repository} {version}\n"
            (to / "go.mod").write_text(f"module tool\ngo 1.24.0\n{require}")
            fetch("go", "build", "-mod=mod", *flags, "-o", f"{to}/", package, cwd=to, env=environment)
            return
    fetch("go", "install", *flags, f"{package}@{version}", env=environment | {"GOBIN": str(to)})


def _ensure_kube() -> Path:
    built = cache() / "go" / f"kube-{KUBERNETES}-{fingerprint(KUBE_MODULE)[:8]}" / "kube"
    with alone("go-build"):
        if not built.exists():
            with step(f"building kube {KUBERNETES} (first time only, ~5 min)"), _staged(built) as staged:
                version = "k8s.io/component-base/version"
                stamp = f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=34"
                flags = ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w {stamp}")
                for package in ("./pause", "."):
                    fetch("go", "build", *flags, "-o", f"{staged}/", package, cwd=KUBE_MODULE, env=_go_environment())
        for name in ("pause", *KUBE_LINKS):
            _link(built.with_name("pause") if name == "pause" else built, name)
        return _link(built, "kube")


def _go_environment() -> dict[str, str]:
    if not shutil.which("go"):
        raise MachineError("Go is missing. Install it (https://go.dev/dl), 1.24 or newer.")
    return {**os.environ, "CGO_ENABLED": "0"}


@contextlib.contextmanager
def _staged(built: Path) -> Iterator[Path]:
    """A folder that becomes `built`'s folder when all went well: a build cut off leaves nothing that looks whole."""
    staged = built.parent.with_name(built.parent.name + ".part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    yield staged
    if not (staged / built.name).exists():
        raise MachineError(f"the build left no {built.name} in {staged}")
    staged.rename(built.parent)


def _link(target: Path, name: str) -> Path:
    link = bin_folder() / name
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return link


def fingerprint(*paths: Path) -> str:
    """SHA-256 (hex) of files and of all files below folders: relative names, whether executable, content."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path) if path.is_dir() else file.name
            content = file.read_bytes()
            digest.update(f"{name}\0{os.access(file, os.X_OK)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()
