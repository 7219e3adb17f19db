"""Which models are built: the request and what the store holds decide."""

import pytest
import yaml
from forge_stack.model import Variables
from forge_stack.wire import TransformRequest
from forge_transform import project
from forge_transform.selection import Built, Selection, select, settings_fingerprint

EXPECTED = frozenset({("silver", "jira_issues"), ("gold_next", "tickets"), ("gold", "tickets")})
SOURCES = [{"name": "a", "type": "github"}, {"name": "b", "type": "github"}, {"name": "j", "type": "jira"}]


def choose(
    loaded: list[str],
    new: list[tuple[str, str]] | None = None,
    *,
    full: bool = False,
    built: Built | None = None,
    unsettled: tuple[str, ...] = (),
) -> Selection:
    request = TransformRequest.model_validate({"sources": SOURCES, "loaded": loaded, "fullRefresh": full})
    return select(
        request,
        built or Built(EXPECTED, "f"),
        new or [],
        expected=EXPECTED,
        fingerprint="f",
        unsettled=unsettled,
    )


@pytest.mark.parametrize(
    ("loaded", "new", "selectors"),
    [
        (["a"], [], ("source:github+",)),
        (["a", "b"], [("b", "1")], ("source:github+",)),
        (["b"], [("j", "1"), ("j", "2")], ("source:github+", "source:jira+")),
        ([], [("j", "1")], ("source:jira+",)),
    ],
)
def test_what_is_downstream_of_loads_that_are_new_or_named(
    loaded: list[str], new: list[tuple[str, str]], selectors: tuple[str, ...]
) -> None:
    selection = choose(loaded, new)
    assert (selection.scope, selection.selectors) == ("changed", selectors)
    assert selection.arguments == ["--select", *selectors]


def test_everything_when_asked_for() -> None:
    assert choose(["a"], full=True).scope == "everything"
    assert choose(["a"], full=True).arguments == ["--full-refresh"]


def test_nothing_when_nothing_is_new_and_nothing_named() -> None:
    assert choose([]).scope == "nothing"


def test_what_a_transform_left_unfinished_goes_with_whatever_comes() -> None:
    assert choose([], unsettled=("source:jira+",)).selectors == ("source:jira+",)
    assert choose(["a"], unsettled=("source:jira+",)).selectors == ("source:github+", "source:jira+")


@pytest.mark.parametrize(
    "built",
    [
        Built(frozenset(), None),
        Built(frozenset({("gold", "tickets")}), "f"),
        Built(EXPECTED - {("gold", "tickets")}, "f"),
        Built(EXPECTED, None),
        Built(EXPECTED, "other"),
    ],
)
def test_everything_when_something_is_missing_or_was_built_otherwise(built: Built) -> None:
    assert choose(["a"], built=built).scope == "everything"


def test_what_a_build_depends_on_changes_the_fingerprint() -> None:
    one = settings_fingerprint({"sources": [], "pattern": "a"}, "files")
    assert one == settings_fingerprint({"pattern": "a", "sources": []}, "files")
    assert len({one, settings_fingerprint({"sources": []}, "files"), settings_fingerprint({"sources": []}, "new")}) == 3


def test_the_project_is_found_and_names_its_relations() -> None:
    """Gold is known by its files: each is built in gold_next and shown in gold."""
    folder = project.project_dir()
    relations = project.relations(folder)
    files = {file.stem for file in (folder / "models/gold").glob("*.sql")}
    assert "tickets" in files
    assert project.gold_tables(folder) == files
    assert {name for database, name in relations if database == "gold"} == files
    assert {name for database, name in relations if database == "gold_next"} == files
    assert ("silver", "stg_github__pull_requests") in relations


def test_dbt_is_told_the_databases_that_the_program_expects() -> None:
    declared = yaml.safe_load((project.project_dir() / "dbt_project.yml").read_text())["models"]["forge_observability"]
    assert {folder: declared[folder]["+schema"] for folder in project.DATABASES} == project.DATABASES


def test_the_defaults_of_the_project_are_those_of_the_stack() -> None:
    declared = yaml.safe_load((project.project_dir() / "dbt_project.yml").read_text())["vars"]
    assert declared == Variables().as_vars() | {"sources": []}


def test_a_changed_file_changes_the_fingerprint_of_the_project(tmp_path: object) -> None:
    import shutil
    from pathlib import Path

    copy = Path(str(tmp_path)) / "copy"
    copy.mkdir()
    for part in project.PARTS:
        origin = project.project_dir() / part
        shutil.copytree(origin, copy / part) if origin.is_dir() else shutil.copy(origin, copy / part)
    before = project.files_fingerprint(copy)
    assert before == project.files_fingerprint(project.project_dir())
    with (copy / "macros" / "durations.sql").open("a") as file:
        file.write(" ")
    assert project.files_fingerprint(copy) != before
