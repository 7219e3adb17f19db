"""The cluster of a machine with a Docker engine: kind."""

from __future__ import annotations

from pathlib import Path

from machine import cache, ensure_tool, run, step

NAME = "forge-observability"
# The node image of the pinned kind release for the Kubernetes minor version that `machine.KUBERNETES` names.
NODE_IMAGE = "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"


def kubeconfig() -> Path:
    return cache() / "kind.kubeconfig"


def is_up() -> bool:
    return NAME in run(ensure_tool("kind"), "get", "clusters").split()


def up() -> None:
    if is_up():
        return
    with step("creating a kind cluster"):
        run(ensure_tool("kind"), "create", "cluster", "--name", NAME, "--kubeconfig", kubeconfig(),
            "--image", NODE_IMAGE, "--wait", "180s")  # fmt: skip


def down() -> None:
    run(ensure_tool("kind"), "delete", "cluster", "--name", NAME, "--kubeconfig", kubeconfig())


def load_image(archive: Path) -> None:
    with step(f"loading {archive.name}"):
        run(ensure_tool("kind"), "load", "image-archive", archive, "--name", NAME)
