"""Events: the API server takes each, and none tells of a change that is none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from forge_operator import events
from forge_operator.builders import Inputs
from forge_operator.events import NOTE_LENGTH, Happening, Recorder, event
from forge_operator.reconcile import storage_unchanged
from stack_objects import NOW, make_stack


def test_a_long_note_fits_in_bytes() -> None:
    happening = Happening("LoadFailed", "Load", "ü…" * 600, "s")
    note = event("n", "acme", "u", happening, "me", NOW)["note"]
    assert 0 <= NOTE_LENGTH - len(note.encode()) < 4
    assert happening.note.startswith(note)


class SlowApi:
    """Writes one Event after the other, each in a hundredth of a second, or never."""

    def __init__(self, *, answers: bool = True) -> None:
        self.written: list[str] = []
        self._answers = answers

    async def create(self, manifest: dict[str, Any], _: object) -> None:
        await asyncio.sleep(0.01 if self._answers else 3600)
        self.written.append(manifest["note"])


async def end_soon(api: Any) -> None:
    """A recorder with much to write is told to end as soon as it began."""
    recorder = Recorder(api, "me")
    for number in range(40):
        recorder.tell("n", "acme", "u", Happening("LoadFailed", "Load", f"note {number}", str(number)))
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_what_waits_is_written_when_the_process_ends() -> None:
    api = SlowApi()
    asyncio.run(end_soon(api))
    assert sorted(api.written) == sorted(f"note {number}" for number in range(40))


def test_the_end_waits_for_no_silent_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LAST_WORDS", 0.05)
    api = SlowApi(answers=False)
    asyncio.run(asyncio.wait_for(end_soon(api), 60))
    assert api.written == []


@pytest.mark.parametrize(
    ("wanted", "live", "told"),
    [("1024Mi", "1Gi", False), ("1Gi", "1Gi", False), (1073741824, "1Gi", False), ("2Gi", "1Gi", True)],
)
def test_only_another_size_is_another_volume(inputs: Inputs, wanted: str | int, live: str, told: bool) -> None:
    stack = make_stack(lambda m: m["spec"]["store"]["managed"].update(storage={"size": wanted}))
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": live}}}}
    assert storage_unchanged(replace(inputs, stack=stack, claim_templates=[claim])) is told
