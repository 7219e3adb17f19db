"""Stack files: what is read, and how mistakes are told."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from forge_observability import template
from forge_observability.cluster import without_spec
from forge_observability.main import app
from forge_observability.stackfile import StackFile, StackFileError
from forge_observability.view import stack_view
from rich.console import Console
from typer.testing import CliRunner

SOURCES = list(template.SOURCES)
STACK = """\
apiVersion: observability.forge.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: s}
spec:
  sources:
  - name: p
    prometheus: {url: "http://p", credentialsSecretRef: {name: creds}}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("chosen", [list(c) for n in range(1, 5) for c in combinations(SOURCES, n)], ids="+".join)
def test_every_template_is_a_valid_stack(chosen: list[template.SourceType], tmp_path: Path) -> None:
    file = StackFile.read(write(tmp_path, template.render("mine", chosen)))
    assert [s.type for s in file.stack.spec.sources] == chosen
    named = {s.secret_name for s in file.stack.spec.sources if s.secret_name}
    assert set(file.secrets) == named, "the template holds each Secret that its stack names"


def test_secrets_are_decoded_and_string_data_wins(tmp_path: Path) -> None:
    secret = "---\nkind: Secret\nmetadata: {name: creds}\ndata: {token: b2xk, user: bWU=}\nstringData: {token: new}\n"
    file = StackFile.read(write(tmp_path, STACK + secret))
    assert file.secrets == {"creds": {"token": "new", "user": "me"}}
    assert "new" not in repr(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Secret\nmetadata: {name: x}\n", "holds 0 documents of kind ObservabilityStack"),
        (STACK + "---\n" + STACK, "holds 2 documents"),
        (STACK + "---\nkind: ConfigMap\n", "kind ConfigMap; only ObservabilityStack and Secret"),
        (STACK.replace("v1alpha1", "v9"), "write observability.forge.dev/v1alpha1"),
        (STACK.replace("sources:", "sourcez:"), "spec.sourcez: unknown field"),
        (
            STACK + "---\nkind: Secret\nmetadata: {name: creds}\ndata: {token: '%'}\n",
            "Secret creds: a value under data",
        ),
        (STACK + "---\nkind: Secret\nmetadata: {name: creds}\ndata: {token: ü}\n", "Secret creds: a value under data"),
        (STACK + "---\nkind: Secret\nstringData: {token: t}\n", "a Secret has no name"),
        (
            STACK + "---\nkind: Secret\nmetadata: {name: creds}\nstringData: [token]\n",
            "stringData is no mapping",
        ),
        (
            STACK + "---\nkind: Secret\nmetadata: {name: creds}\nstringData: {token: 0123}\n",
            "value of token is no text",
        ),
        ("a: [", "is not YAML in line 1, column 5"),
    ],
)
def test_mistakes_are_told(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(StackFileError) as caught:
        StackFile.read(write(tmp_path, text))
    assert told in str(caught.value)


def test_a_mistake_beside_a_secret_does_not_print_it(tmp_path: Path) -> None:
    text = STACK + "---\nkind: Secret\nmetadata: {name: creds}\nstringData:\n  token: hunter2: x\n"
    with pytest.raises(StackFileError, match="is not YAML in line 12") as caught:
        StackFile.read(write(tmp_path, text))
    assert "hunter2" not in str(caught.value)


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(StackFileError, match="is not UTF-8 text"):
        StackFile.read(path)


def test_a_stack_whose_spec_cannot_be_read_has_a_status() -> None:
    condition = {
        **{"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": "timeZone 'Mars' is unknown"},
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    manifest = {
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {"sources": [{"name": "p", "timeZone": "Mars", "prometheus": {"url": "http://p"}}]},
        "status": {"conditions": [condition]},
    }
    console = Console(width=200)
    with console.capture() as shown:
        console.print(stack_view(without_spec(manifest)))
    assert "timeZone 'Mars' is unknown" in shown.get()


def test_init_writes_what_up_reads_and_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    runner = CliRunner()
    assert runner.invoke(app, ["init", "team", "-f", str(path), "--source", "github"]).exit_code == 0
    assert StackFile.read(path).stack.metadata.name == "team"
    again = runner.invoke(app, ["init", "team", "-f", str(path)])
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_up_tells_a_bad_file_in_lines(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["up", "-f", str(write(tmp_path, STACK.replace("http://p", "p")))])
    assert result.exit_code == 1
    assert "spec.sources[0].prometheus.url" in result.stderr
    assert "Traceback" not in result.stderr
