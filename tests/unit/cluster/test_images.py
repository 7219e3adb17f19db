"""What an image is made of, and what of it must be sent to a node."""

import hashlib
import json
import re
import subprocess
import tarfile
from pathlib import Path

import build
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", build.IMAGES)
def test_a_dockerfile_copies_the_rooms_its_image_is_compared_by(name: str) -> None:
    text = (ROOT / "images" / name / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    assert copied == set(build.IMAGES[name])
    assert set(re.findall(r"^COPY (\w+)/pyproject.toml", text, re.MULTILINE)) == copied


@pytest.mark.parametrize("name", build.IMAGES)
def test_an_image_starts_as_a_user_who_is_not_root(name: str) -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "images" / name / "Dockerfile").read_text(), re.MULTILINE)
    assert user == [("101", "101") if name == "store" else ("10001", "10001")]


def test_dockerfiles_agree_on_everything_before_the_last_stage() -> None:
    """They are one recipe for six packages; a layer they write alike is built once."""
    first_stages = {
        (ROOT / "images" / name / "Dockerfile").read_text().split("ARG BASE")[1].split("# What the lock says")[0]
        for name in build.IMAGES
    }
    assert len(first_stages) == 1


def test_sources_are_what_git_keeps_or_would_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for path in ("room/kept.py", "room/new.py", "room/__pycache__/kept.pyc", "room/deleted.py", "other/file.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    subprocess.run(["git", "-C", tmp_path, "add", "room/kept.py", "room/deleted.py"], check=True)
    (tmp_path / "room/deleted.py").unlink()
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.source_files(["room"]) == ["room/kept.py", "room/new.py"]


def put(layout: Path, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = build.blob(layout, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


def make_layout(layout: Path) -> dict[str, str]:
    """Two images on one base layer; returns the digests of the layers by their names."""
    layers = {name: put(layout, name.encode()) for name in ("base", "one", "two")}
    entries = []
    for name in ("one", "two"):
        manifest = {
            "config": {"digest": put(layout, f"configuration of {name}".encode())},
            "layers": [{"digest": layers["base"]}, {"digest": layers[name]}],
        }
        digest = put(layout, json.dumps(manifest).encode())
        entries.append({"digest": digest, "annotations": {build.REF_NAME: f"forge-observability/{name}:dev"}})
    (layout / "index.json").write_text(json.dumps({"manifests": entries}))
    return layers


def test_an_archive_holds_a_shared_layer_once_and_leaves_out_what_is_there(tmp_path: Path) -> None:
    layers = make_layout(tmp_path)
    index = build.layout_index(tmp_path)
    assert set(index) == {"forge-observability/one:dev", "forge-observability/two:dev"}

    archive = tmp_path / "all.tar"
    build.write_archive(tmp_path, list(index.values()), archive)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        listed = json.load(tar.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
    assert len(names) == len(set(names)) == 3 + 2 + 2 + 2  # layers, configurations, manifests, index and version
    assert [entry["annotations"][build.CONTAINERD_NAME] for entry in listed] == [
        "docker.io/forge-observability/one:dev",
        "docker.io/forge-observability/two:dev",
    ]

    build.write_archive(tmp_path, list(index.values()), archive, leave_out={layers["base"]})
    with tarfile.open(archive) as tar:
        assert set(names) - set(tar.getnames()) == {str(build.blob(Path(), layers["base"]))}


def test_a_layout_that_is_not_there_holds_no_image(tmp_path: Path) -> None:
    assert build.layout_index(tmp_path / "none") == {}
