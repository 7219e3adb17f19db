#!/usr/bin/env python3
"""A real Kubernetes for tests and newcomers: `python3 tests/cluster/cluster.py up`, and `down` again.

Which one, in this order: the cluster that KUBECONFIG names, if it is set (nothing is started); kind, where a Docker
engine answers; else the cluster of Go modules (`own.py`), for a Linux machine with root and Go and nothing more.
Needs Python 3.9, and no package. What it builds is kept in FORGE_CACHE_DIR (default ~/.cache/forge-observability).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import kind
import own
from machine import TOOLS, MachineError, alone, answers, bin_folder, ensure_tool, has_docker, run


def main() -> int:
    arguments = parse()
    try:
        if arguments.verb == "tools":
            for name in arguments.names:
                ensure_tool(name)
            print(bin_folder())
        else:
            with alone("cluster"):
                return int(VERBS[arguments.verb](arguments) or 0)
    except MachineError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("up", help="start it, if it is not there; prints the kubeconfig's path")
    verbs.add_parser("down", help="end it and remove everything it left but the cache")
    verbs.add_parser("status", help="what runs; exit code 1 when nothing does")
    verbs.add_parser("kubeconfig", help="print the path of its kubeconfig")
    load = verbs.add_parser("load-image", help="put images into its node")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="a docker or OCI archive (tar)")
    tools = verbs.add_parser("tools", help="build programs, print the folder they are in")
    tools.add_argument("names", nargs="+", metavar="NAME", choices=["kubectl", *sorted(TOOLS)], help="%(choices)s")
    return parser.parse_args()


def given() -> str | None:
    """The user's own cluster: KUBECONFIG, unless it is one of ours."""
    path = os.environ.get("KUBECONFIG")
    return path if path and path not in (str(own.kubeconfig()), str(kind.kubeconfig())) else None


def is_kind() -> bool:
    return not own.state().exists() and has_docker()


def up(_: argparse.Namespace) -> None:
    begun = time.monotonic()
    if path := given():
        check_given(path)
    elif is_kind():
        ensure_kubectl()
        kind.up()
    else:
        own.up()
    print(f"the cluster is up ({time.monotonic() - begun:.1f} s); kubectl is in {bin_folder()}", file=sys.stderr)
    kubeconfig(_)


def check_given(path: str) -> None:
    ensure_kubectl()
    if not answers(bin_folder() / "kubectl", "get", "--raw", "/readyz", "--request-timeout=10s"):
        raise MachineError(f"KUBECONFIG is {path}, but no API server answers there. Correct it, or unset it.")


def ensure_kubectl() -> None:
    """Where somebody else's cluster is used their kubectl will do; only where there is none one is built."""
    link = bin_folder() / "kubectl"
    if link.exists():
        return
    if found := shutil.which("kubectl"):
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    else:
        ensure_tool("kubectl")


def down(_: argparse.Namespace) -> None:
    if path := given():
        print(f"KUBECONFIG names a cluster that is not ours ({path}); it stays as it is", file=sys.stderr)
        return
    if is_kind():
        kind.down()
    else:
        own.down()


def status(_: argparse.Namespace) -> int:
    which = "KUBECONFIG's own" if given() else "kind" if is_kind() else "Go modules"
    kubectl = (bin_folder() / "kubectl", f"--kubeconfig={path_of_kubeconfig()}")
    if not answers(*kubectl, "get", "--raw", "/readyz", "--request-timeout=5s"):
        print(f"cluster ({which}): down")
        return 1
    print(f"cluster ({which}): up, KUBECONFIG={path_of_kubeconfig()}\n{own.ended_components()}", end="")
    print(run(*kubectl, "get", "nodes", "-o", "wide"), end="")
    return 0


def path_of_kubeconfig() -> str:
    return given() or str(kind.kubeconfig() if is_kind() else own.kubeconfig())


def kubeconfig(_: argparse.Namespace) -> None:
    print(path_of_kubeconfig())


def load_image(arguments: argparse.Namespace) -> None:
    for archive in arguments.archives:
        load(archive)


def must_be_ours() -> None:
    if path := given():
        raise MachineError(f"KUBECONFIG names a cluster that is not ours ({path}): push the images to its registry.")


def load(archive: Path) -> None:
    """Puts the images of a docker or OCI archive into the cluster's node."""
    must_be_ours()
    if not archive.exists():
        raise MachineError(f"no archive {archive}; `python3 images/build.py` makes images and, with --load, loads them")
    (kind if is_kind() else own).load_image(archive)


VERBS = {"up": up, "down": down, "status": status, "kubeconfig": kubeconfig, "load-image": load_image}

if __name__ == "__main__":
    sys.exit(main())
