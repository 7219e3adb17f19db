"""The corpus of bad stacks that the API server refuses: the model refuses it too, in the same words where it can."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from forge_stack.model import ObservabilityStack, explain
from pydantic import ValidationError

CORPUS = sorted((Path(__file__).parents[2] / "integration" / "operator" / "bad_stacks").glob("*.yaml"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_model_refuses(path: Path) -> None:
    text = path.read_text()
    heads = dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("# "))
    with pytest.raises(ValidationError) as refused:
        ObservabilityStack.parse(yaml.safe_load(text))
    assert heads.get("python", heads["refused"]) in "; ".join(explain(refused.value))


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 20
