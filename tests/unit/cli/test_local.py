"""The local run: what its children get, what it remembers."""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from forge_observability.local import programs
from forge_observability.local.state import KEPT_LOADS, LoadRecord, State, password
from forge_stack.model import ObservabilityStack, StackStatus, TransformStatus
from forge_stack.wire import TransformRequest

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
    assert set(again.variables) == {"ticket_key_pattern", "deployment_environment_pattern", "known_projects_only"}
    assert again.variables["known_projects_only"] == "true"


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
