#!/usr/bin/env python3
"""Builds the container images: `python3 images/build.py [NAME...] [--load] [--tag dev]`.

With a Docker engine by `docker build`; else by buildah, on a base made of Debian packages, as no registry of images may
be in reach. An image is built again only when something it is made of changed. `--load` puts what the test cluster
lacks, layer by layer, into its node. Standard library only, Python 3.9.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "cluster"))  # the one place that knows the machine: cache, packages, cluster

import cluster  # noqa: E402
import own  # noqa: E402
from machine import MachineError, alone, cache, ensure_packages, fingerprint, has_docker, run, step  # noqa: E402

# Image to the rooms whose source it holds.
IMAGES: Mapping[str, tuple[str, ...]] = {
    "operator": ("crds", "operator"),
    "pipelines": ("crds", "pipelines"),
    "dbt": ("crds", "dbt"),
    "api": ("api",),
    "store": ("store",),
    "demo": ("demo",),
}
PACKAGES = ("buildah", "skopeo", "debootstrap", "ca-certificates", "util-linux")
BASE_RELEASE = "bookworm"
BASE = f"localhost/forge-base:{BASE_RELEASE}-1"
# How this machine reaches its package registries, lent to a build and never part of an image.
MACHINE_SETTINGS = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/uv")


def main() -> int:
    arguments = parse()
    try:
        with alone("images"):
            engine = Docker() if has_docker() else Buildah()
            for name in arguments.names or IMAGES:
                build(engine, name, arguments.tag)
            if arguments.load:
                engine.load([reference(name, arguments.tag) for name in arguments.names or IMAGES])
    except MachineError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: all")
    parser.add_argument("--tag", default="dev", help="default: %(default)s")
    parser.add_argument("--load", action="store_true", help="put them into the test cluster's node")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(IMAGES)):
        parser.error(f"no image {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    return arguments


def reference(name: str, tag: str) -> str:
    return f"forge-observability/{name}:{tag}"


def build(engine: Docker | Buildah, name: str, tag: str) -> None:
    """Builds one image, unless the one that is there was made of the very same files."""
    context = make_context(name)
    inputs = fingerprint(context)
    record = cache() / "images" / f"{name}-{tag}.json"
    made_of = json.loads(record.read_text()) if record.exists() else {}
    if (
        made_of.get("inputs") == inputs
        and made_of.get("image") == (image := engine.identity(reference(name, tag)))
        and image
    ):
        return
    engine.prepare()
    with step(f"building {reference(name, tag)}"):
        engine.build(context, name, reference(name, tag))
    record.write_text(json.dumps({"inputs": inputs, "image": engine.identity(reference(name, tag))}))


def make_context(name: str) -> Path:
    """A folder of just what the image is made of: what is built is what was compared."""
    context = cache() / "images" / "context" / name
    shutil.rmtree(context, ignore_errors=True)
    for path in source_files(["pyproject.toml", "uv.lock", f"images/{name}", *IMAGES[name]]):
        target = context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    return context


def source_files(paths: Iterable[str]) -> list[str]:
    """The files below, relative to the root, that git keeps or would keep."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    return sorted({path for path in listed.split("\0") if path and (ROOT / path).is_file()})


class Docker:
    """Builds by the Docker engine; the cluster is kind, or the user's own."""

    def identity(self, image: str) -> str:
        try:
            return run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()
        except MachineError:
            return ""

    def prepare(self) -> None:
        """Nothing: `docker build` fetches what it needs."""

    def build(self, context: Path, name: str, image: str) -> None:
        run("docker", "build", "--quiet", "--tag", image, "--file", context / "images" / name / "Dockerfile", context)

    def load(self, images: list[str]) -> None:
        archive = cache() / "images" / "load.tar"
        run("docker", "save", "--output", archive, *images)
        cluster.load(archive)
        archive.unlink()


class Buildah:
    """Builds by buildah, which needs no engine, into one OCI layout in the cache, where images share their layers."""

    def __init__(self) -> None:
        ensure_packages(PACKAGES)
        self.layout = cache() / "images" / "layout"
        self.uv_cache = cache() / "images" / "uv"
        self.uv_cache.mkdir(parents=True, exist_ok=True)
        self.store = cache() / "images" / "buildah"
        shutil.rmtree(self.store / "run", ignore_errors=True)  # of a build that was cut off, or of before a reboot
        self.alone = ("unshare", "--mount", "--propagation", "private")  # what it mounts goes when it ends
        storage = ("--storage-driver=overlay", f"--root={self.store}/root", f"--runroot={self.store}/run")
        self.buildah = (*self.alone, "buildah", *storage)

    def identity(self, image: str) -> str:
        entry = layout_index(self.layout).get(image)
        return str(entry["digest"]) if entry else ""

    def build(self, context: Path, name: str, image: str) -> None:
        lent = [f"--volume={path}:{path}:ro" for path in MACHINE_SETTINGS if Path(path).exists()]
        run(
            *self.buildah, "build", "--isolation=chroot", "--layers", "--pull=false", f"--build-arg=BASE={BASE}", *lent,
            f"--volume={self.uv_cache}:/var/cache/uv", f"--tag=localhost/{image}",
            f"--file={context / 'images' / name / 'Dockerfile'}", context,
        )  # fmt: skip
        # Not `buildah push`: that compresses every layer again at every build, 20 s for what takes 1 s.
        source = f"containers-storage:[overlay@{self.store}/root+{self.store}/run]localhost/{image}"
        run(
            *self.alone,
            "skopeo",
            "copy",
            "--quiet",
            "--dest-oci-accept-uncompressed-layers",
            source,
            f"oci:{self.layout}:{image}",
        )

    def prepare(self) -> None:
        """What python:3.11-slim-bookworm is to a machine with a registry: Debian and its Python."""
        if run(*self.buildah, "images", "--quiet", "--filter", f"reference={BASE}"):
            return
        root = cache() / "images" / "base"
        shutil.rmtree(root, ignore_errors=True)
        with step(f"making the base image {BASE} of Debian packages"):
            run(*self.alone, "debootstrap", "--variant=minbase",
                "--include=python3,python3-venv,ca-certificates", BASE_RELEASE, root)  # fmt: skip
            for unneeded in (
                "var/cache/apt",
                "var/lib/apt/lists",
                "usr/share/doc",
                "usr/share/man",
                "usr/share/locale",
            ):
                shutil.rmtree(root / unneeded, ignore_errors=True)
            container = run(*self.buildah, "from", "scratch").strip()
            run(*self.buildah, "add", "--quiet", container, root, "/")
            run(*self.buildah, "commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(root)

    def load(self, images: list[str]) -> None:
        """Puts into the node what it lacks: only images whose digest it does not have, only layers it does not have."""
        cluster.must_be_ours()
        if not own.is_up():
            raise MachineError("no test cluster runs here: `python3 tests/cluster/cluster.py up` starts one")
        there = own.images()
        index = layout_index(self.layout)
        missing = [index[image] for image in images if there.get(f"docker.io/{image}") != index[image]["digest"]]
        if not missing:
            return
        archive = cache() / "images" / "load.tar"
        write_archive(self.layout, missing, archive, leave_out=own.blobs())
        cluster.load(archive)
        archive.unlink()


# The OCI image layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def layout_index(layout: Path) -> dict[str, dict[str, object]]:
    """The layout's images: name to the descriptor of its manifest."""
    try:
        manifests = json.loads((layout / "index.json").read_text())["manifests"]
    except FileNotFoundError:
        return {}
    return {entry["annotations"][REF_NAME]: entry for entry in manifests if REF_NAME in entry.get("annotations", {})}


def write_archive(layout: Path, images: list[dict[str, object]], archive: Path, leave_out: Iterable[str] = ()) -> None:
    """Writes a tar of the layout with only these images, without the blobs that are known to be there already."""
    known = set(leave_out)
    entries = []
    with tarfile.open(archive, "w") as tar:
        for image in images:
            digest = str(image["digest"])
            manifest = json.loads(blob(layout, digest).read_text())
            name = f"docker.io/{image['annotations'][REF_NAME]}"  # type: ignore[index]
            entries.append({**image, "annotations": {CONTAINERD_NAME: name}})
            for each in (digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])):
                if each not in known:
                    tar.add(blob(layout, each), arcname=str(blob(Path(), each)))
                    known.add(each)
        for path, content in {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": {"schemaVersion": 2, "manifests": entries},
        }.items():
            text = json.dumps(content).encode()
            header = tarfile.TarInfo(path)
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / Path(*digest.split(":"))


if __name__ == "__main__":
    sys.exit(main())
