"""Events: the API server takes each, and none tells of a change that is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forge_operator.builders import Inputs
from forge_operator.events import NOTE_LENGTH, Happening, event
from forge_operator.reconcile import storage_unchanged
from stack_objects import NOW, make_stack


def test_a_long_note_fits_in_bytes() -> None:
    happening = Happening("LoadFailed", "Load", "ü…" * 600, "s")
    note = event("n", "acme", "u", happening, "me", NOW)["note"]
    assert 0 <= NOTE_LENGTH - len(note.encode()) < 4
    assert happening.note.startswith(note)


@pytest.mark.parametrize(
    ("wanted", "live", "told"),
    [("1024Mi", "1Gi", False), ("1Gi", "1Gi", False), (1073741824, "1Gi", False), ("2Gi", "1Gi", True)],
)
def test_only_another_size_is_another_volume(inputs: Inputs, wanted: str | int, live: str, told: bool) -> None:
    stack = make_stack(lambda m: m["spec"]["store"]["managed"].update(storage={"size": wanted}))
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": live}}}}
    assert storage_unchanged(replace(inputs, stack=stack, claim_templates=[claim])) is told
