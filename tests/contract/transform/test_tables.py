"""The tables that docs/architecture.md describes are those that dbt declares: bronze as sources, gold by name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_transform.project import project_dir

PAGE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text(encoding="utf-8")
TIME = "DateTime64(6, 'UTC')"


def page_columns(text: str) -> dict[str, str]:
    """Columns of a list like `key String, updated_at, tags json, closed_at?`; a time needs no type.

    Sentences may follow the list.
    """
    while (bare := re.sub(r"\((?!\d+[,)]|')[^()]*\)", "", text)) != text:  # remarks, not types
        text = bare
    text = re.split(r"[.;]\s", text)[0].rstrip(".\n")
    columns = {}
    for part in re.split(r",(?![^(]*\))", text):
        name, _, type_ = " ".join(part.split()).partition(" ")
        optional = name.endswith("?") or type_.endswith("?")
        name, type_ = name.rstrip("?"), type_.rstrip("?")
        type_ = {"": TIME, "json": "String"}.get(type_, type_)
        columns[name] = f"Nullable({type_})" if optional else type_
    return columns


def declared(path: str, kind: str) -> list[dict[str, Any]]:
    content: dict[str, list[dict[str, Any]]] = yaml.safe_load((project_dir() / path).read_text())
    return content[kind]


def declared_models(layer: str) -> list[dict[str, Any]]:
    files = sorted((project_dir() / "models" / layer).glob("*.yml"))
    contents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return [model for content in contents for model in content.get("models", [])]


SOURCES = {
    f"{source['name']}_{table['name']}": table
    for source in declared("models/staging/__sources.yml", "sources")
    for table in source["tables"]
    if table["name"] != "_dlt_loads"
}
BRONZE = dict(re.findall(r"^- `((?:langfuse|github|jira|prometheus)_\w+)`: (.*?)(?=^- |^$)", PAGE, re.M | re.S))
# The table of gold's tables, and no other: a link goes to docs/gold.md for their columns.
GOLD = set(re.findall(r"`(\w+)`", PAGE.split("| subject |")[1].split("\n\n")[0]))


def test_the_page_names_the_same_tables() -> None:
    assert set(BRONZE) == set(SOURCES)
    assert {model["name"] for model in declared_models("gold")} == GOLD


@pytest.mark.parametrize("table", sorted(SOURCES))
def test_bronze(table: str) -> None:
    columns = {column["name"]: column["data_type"] for column in SOURCES[table]["columns"]}
    assert columns.pop("_dlt_load_id") == "String"
    assert columns == page_columns(BRONZE[table])
    assert SOURCES[table]["identifier"] == table


@pytest.mark.parametrize("layer", ["staging", "silver", "gold"])
def test_every_column_is_described(layer: str) -> None:
    models = declared_models(layer)
    assert {model["name"] for model in models} == {f.stem for f in (project_dir() / "models" / layer).glob("*.sql")}
    for model in models:
        for item in (model, *model["columns"]):
            assert len(item["description"]) > 4, item
