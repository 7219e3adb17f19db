"""Tokens come from a file that a Secret's rotation swaps."""

from __future__ import annotations

from pathlib import Path

from forge_api.auth import Tokens, WatchedFile


def test_each_line_is_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# the analysts\n first \n\nsecönd\n")
    tokens = Tokens(file)
    assert tokens.accepts("first") and tokens.accepts("secönd")
    for wrong in ("", "# the analysts", "firs", "first ", "third", "first\nsecönd"):
        assert not tokens.accepts(wrong), wrong


def test_an_empty_file_accepts_nobody(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("\n")
    assert not Tokens(file).accepts("")


def test_a_rotation_takes_effect_at_once(tmp_path: Path) -> None:
    # As kubelet does it: the file is a link into a folder that is a link, and the latter is swapped.
    for name, token in (("one", "old-token"), ("two", "new-token")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens").write_text(token)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "tokens").symlink_to("data/tokens")
    tokens = Tokens(tmp_path / "tokens")
    assert tokens.accepts("old-token")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "data")
    assert tokens.accepts("new-token")
    assert not tokens.accepts("old-token")


def test_a_file_that_goes_away_accepts_nobody(tmp_path: Path, caplog: object) -> None:
    file = tmp_path / "tokens"
    file.write_text("sesame")
    tokens = Tokens(file)
    assert tokens.accepts("sesame")
    file.unlink()
    assert not tokens.accepts("sesame")
    file.write_bytes(b"\xff\xfe")
    assert not tokens.accepts("sesame")


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: object) -> None:
    file = tmp_path / "dsn"
    file.write_text("http://one")
    watched = WatchedFile(file)
    first = watched.read()
    assert watched.read() is first
