"""What the models must not do, because it is wrong now and then or slow at last: found in their text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from forge_transform import project_dir

PROJECT = project_dir()
STAGING = PROJECT / "models" / "staging"
READS_BRONZE = PROJECT / "macros" / "bronze.sql"
FILES = sorted(file for part in ("models", "macros", "tests") for file in (PROJECT / part).rglob("*.sql"))

FORBIDDEN = {
    "a mutation or a merge by hand": r"\bdelete\s+from\b|\boptimize\s+table\b"
    r"|\balter\s+table\s[^;]*?\b(delete|update)\b"
    r"|\bupdate\s+\S+\s+set\b",
    "a watermark over what it has: a load that ends late is lost": r"[<>]=?\s*\(\s*select\s+(max|min)\s*\("
    r"|\bis_incremental\s*\(",
}
OUTSIDE_STAGING = r"\bbronze\.|\bsource\s*\(|\bbronze\s*\(|\bbronze_loads\s*\(|\bsource_table\s*\("
OF_KEYS_ALONE = ("find_affected", "noted_keys")
"""Macros that collect keys to look at: the key of an older version is the same key."""


def statements(text: str) -> str:
    """SQL and Jinja in lower case, without comments."""
    text = re.sub(r"\{#.*?#\}", " ", text, flags=re.S)
    return re.sub(r"--[^\n]*", " ", text).lower()


def forbidden(text: str) -> list[str]:
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, statements(text))]


def reads_bronze(text: str) -> bool:
    return re.search(OUTSIDE_STAGING, statements(text)) is not None


def without_final(text: str) -> list[str]:
    """Reads of bronze tables that see every version of a row."""
    found = []
    for macro in re.split(r"(?=\{%-?\s*macro\s)", statements(text)):
        name = re.match(r"\{%-?\s*macro\s+(\w+)", macro)
        if name and name[1] in OF_KEYS_ALONE:
            continue
        tables = r"\{\{\s*(?:source_table\([^}]*\)|deletions)\s*\}\}|bronze\.\w+|'\s*~\s*source_table\("
        found += [read[0] for read in re.finditer(rf"\b(?:from|join)\s+(?:{tables})(?!\s+final\b)", macro)]
    return found


def materializations(text: str) -> set[str]:
    return set(re.findall(r"\bmaterialized\s*=\s*['\"](\w+)", statements(text)))


def relative(file: Path) -> str:
    return str(file.relative_to(PROJECT))


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_statements(file: Path) -> None:
    text = file.read_text()
    assert forbidden(text) == []
    if STAGING not in file.parents and file != READS_BRONZE:
        assert not reads_bronze(text), "only staging reads bronze"


@pytest.mark.parametrize("file", [READS_BRONZE, *sorted(STAGING.rglob("*.sql"))], ids=relative)
def test_bronze_is_read_with_final(file: Path) -> None:
    text = file.read_text()
    assert without_final(text) == []
    if file != READS_BRONZE:
        assert "bronze." not in statements(text), "staging reads bronze by the macro alone"


def test_gold_is_made_of_tables() -> None:
    allowed = {"partitioned", "table"}
    for file in (PROJECT / "models" / "gold").rglob("*.sql"):
        assert materializations(file.read_text()) <= allowed, file
    models = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["models"]["forge_observability"]
    assert models["gold"]["+materialized"] in allowed


@pytest.mark.parametrize(
    "text",
    [
        "delete from {{ this }} where true",
        "alter table {{ this }} delete where id = 1",
        "ALTER TABLE x\n    UPDATE a = 1 WHERE true",
        "optimize table silver.x final",
        "select * from a where at > (select max(at) from {{ this }})",
        "{% if is_incremental() %}x{% endif %}",
    ],
)
def test_forbidden_is_found(text: str) -> None:
    assert forbidden(text)


def test_what_is_allowed_is_not_found() -> None:
    assert not forbidden("select max(at) as deleted_at, update_count from a -- delete from\n{# optimize table #}")
    assert not forbidden("alter table a replace partition id '1' from b")
    assert not reads_bronze("select source_name from {{ ref('stg_github__loads') }}")


@pytest.mark.parametrize("text", ["from bronze.github_issues", "{{ bronze('a', 'b') }}", "{{ source('a', 'b') }}"])
def test_a_read_of_bronze_is_found(text: str) -> None:
    assert reads_bronze(text)


def test_a_read_without_final_is_found() -> None:
    assert without_final("{% macro a() %}select * from {{ source_table(name, entity) }} prewhere x{% endmacro %}")
    assert without_final("select * from bronze.github_issues as issues")
    assert not without_final("{% macro a() %}select * from {{ source_table(name, entity) }} final{% endmacro %}")
    assert materializations("{{ config(materialized='view') }}") == {"view"}
