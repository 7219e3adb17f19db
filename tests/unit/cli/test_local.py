"""The local run: what its children get, what it remembers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from forge_observability.local import programs
from forge_observability.local.children import Child, Children
from forge_observability.local.state import KEPT_LOADS, LoadRecord, State, password
from forge_observability.local.up import Options, Runner, UpError, ending_signals
from forge_observability.stackfile import StackFile
from forge_stack.decisions import RunTransform, decide_transform
from forge_stack.model import ObservabilityStack, SourceStatus, StackStatus, TransformStatus
from forge_stack.wire import TransformRequest
from rich.console import Console

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STACK = ObservabilityStack.model_validate(
    {
        "metadata": {"name": "s"},
        "spec": {
            "sources": [
                {"name": "gh-a", "github": {"repositories": ["a/b"], "credentialsSecretRef": {"name": "x"}}},
                {"name": "p", "prometheus": {"url": "http://p"}},
            ]
        },
    }
)


def test_a_load_gets_its_source_as_in_the_resource(tmp_path: Path) -> None:
    source = STACK.spec.sources[0]
    command = programs.load(
        source, dsn=tmp_path / "d", credentials=tmp_path / "c", work=tmp_path, summary=tmp_path / "s"
    )
    assert command.args == ["forge-load", "gh-a"]
    assert json.loads(command.env["FORGE_SOURCE"])["github"]["credentialsSecretRef"] == {"name": "x"}


def test_a_transform_knows_every_source_and_what_was_loaded() -> None:
    request = STACK.spec.transform_request(["p"])
    again = TransformRequest.model_validate_json(request.model_dump_json(by_alias=True))
    assert [(s.name, s.type, s.prefix) for s in again.sources] == [("gh-a", "github", "gh_a"), ("p", "prometheus", "p")]
    assert again.loaded == ["p"]
    assert again.variables == STACK.spec.transform.variables.as_vars()
    assert again.variables["known_projects_only"] is True


def test_children_inherit_no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_API_TOKEN_FILE", "/elsewhere")
    assert programs.child_environment({"FORGE_X": "1"}) | {"FORGE_X": "1"} == programs.child_environment(
        {"FORGE_X": "1"}
    )
    assert "FORGE_API_TOKEN_FILE" not in programs.child_environment({})


def test_the_store_knows_two_users_by_their_hashes() -> None:
    users = yaml.safe_load(programs.store_users("writer-word", "reader-word"))["users"]
    assert users["forge"]["password_sha256_hex"] == hashlib.sha256(b"writer-word").hexdigest()
    assert users["reader"]["profile"] == "readonly"
    assert "word" not in programs.store_users("writer-word", "reader-word").replace("password", "")


def test_a_password_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "word"
    first = password(path)
    assert first == password(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_state_survives_and_forgets_only_covered_loads(tmp_path: Path) -> None:
    loads = [LoadRecord(uid=f"{i:04}", source="p", ended_at=T0 + timedelta(minutes=i)) for i in range(KEPT_LOADS + 20)]
    covered = [load.uid for load in loads[:30]]
    state = State(loads=loads, status=StackStatus(transform=TransformStatus(sequence=4, consumed=covered)))
    state.write(tmp_path / "state.json")
    again = State.read(tmp_path / "state.json")
    assert again.status.transform.sequence == 4
    assert len(again.loads) == KEPT_LOADS
    assert {load.uid for load in loads[30:]} <= {load.uid for load in again.loads}


def test_an_unreadable_state_starts_over(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert State.read(tmp_path / "state.json").loads == []


def test_a_new_start_tries_at_once_what_failed_or_was_cut_off() -> None:
    """Else a mended stack would wait out an hour's back-off, a load that a crash cut off would wait for the next tick,
    and `--once` would tell the failure of an earlier run without a transform of its own."""
    statuses = [
        SourceStatus(name="done", last_load_time=T0 + timedelta(minutes=1)),
        SourceStatus(name="cut", last_load_time=T0 - timedelta(minutes=1)),
        SourceStatus(name="failed", state="Failing", last_load_time=T0 + timedelta(minutes=1)),
    ]
    loads = [LoadRecord(uid="u", source="done", ended_at=T0), LoadRecord(uid="v", source="removed", ended_at=T0)]
    state = State(
        status=StackStatus(sources=statuses, transform=TransformStatus(sequence=3, failures=9, last_end_time=T0)),
        loads=loads,
        last_started=dict.fromkeys(["done", "cut", "failed", "never-ended", "removed"], T0),
        failures={"failed": 7},
    )
    state.resume(["done", "cut", "failed", "never-ended"])
    assert state.last_started == {"done": T0}
    decision = decide_transform(
        now=T0 + timedelta(seconds=1),
        finished=[load.finished() for load in state.loads],
        expected=["done"],
        status=state.status.transform,
        running=False,
        settings=STACK.spec.transform,
    )
    assert decision == RunTransform(4, ("u",), ("done",))
    assert state.failures == {}


async def test_a_child_that_is_just_starting_is_ended_too(tmp_path: Path) -> None:
    children = Children(tmp_path, asyncio.Event())
    child = children.start_soon("load", programs.Command(["sleep", "600"], {}))
    await children.end_all()
    assert child.process is not None
    assert await asyncio.wait_for(child.process.wait(), 60) == -signal.SIGTERM


async def test_a_program_that_is_missing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    children = Children(tmp_path, asyncio.Event())
    child = children.start_soon("load", programs.Command(["no-such-program"], {}))
    await asyncio.wait_for(children.end_all(), 60)
    assert (child.code, child.tail()) == (127, "no-such-program is not installed; install forge-observability[local]")


def test_a_terminal_that_closes_ends_a_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # What this process itself does with the signal depends on how the tests were started.
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    assert signal.SIGHUP in ending_signals()
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    assert signal.SIGHUP not in ending_signals(), "nohup"


def test_a_load_gets_no_key_that_its_secret_has_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = STACK.model_copy(update={"metadata": STACK.metadata.model_copy(update={"name": "keys"})})
    options = Options(data_dir=tmp_path, host="127.0.0.1", port=0, once=True, keep_serving=False)
    monkeypatch.setattr(Children, "start_soon", lambda _self, name, _command: Child(name, tmp_path / "log", None))
    for secret in ({"email": "e", "token": "t"}, {"token": "t"}):
        file = StackFile(tmp_path / "s.yaml", stack, {}, {"x": secret})
        Runner(file, options, Console(quiet=True))._start_load(stack.spec.sources[0], tmp_path / "dsn", T0)
        kept = tmp_path / "keys" / "secrets" / "sources" / "gh-a"
        assert {path.name for path in kept.iterdir()} == set(secret)


async def test_a_page_that_is_kept_says_when_its_api_ends(tmp_path: Path) -> None:
    options = Options(data_dir=tmp_path, host="127.0.0.1", port=0, once=True, keep_serving=True)
    runner = Runner(StackFile(tmp_path / "s.yaml", STACK, {}), options, Console(quiet=True))
    await runner.children.start("api", programs.Command(["sleep", "0.1"], {}))
    with pytest.raises(UpError, match="the api ended with code 0"):
        await asyncio.wait_for(runner._finish(), 60)
