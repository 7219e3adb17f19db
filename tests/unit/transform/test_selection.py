"""Which models are built: the request and what the store holds decide."""

import pytest
from forge_stack.wire import TransformRequest
from forge_transform import project
from forge_transform.selection import Built, select, settings_fingerprint

EXPECTED = frozenset({("silver", "jira_issues"), ("gold", "tickets")})
SOURCES = [{"name": "a", "type": "github"}, {"name": "b", "type": "github"}, {"name": "j", "type": "jira"}]


def choose(loaded: list[str], *, full: bool = False, built: Built | None = None) -> tuple[str, ...]:
    request = TransformRequest.model_validate({"sources": SOURCES, "loaded": loaded, "fullRefresh": full})
    return select(request, built or Built(EXPECTED, "f"), expected=EXPECTED, fingerprint="f").selectors


@pytest.mark.parametrize(
    ("loaded", "selectors"),
    [(["a"], ("source:github+",)), (["a", "b"], ("source:github+",)), (["b", "j"], ("source:github+", "source:jira+"))],
)
def test_what_is_downstream_of_the_types_that_loaded(loaded: list[str], selectors: tuple[str, ...]) -> None:
    assert choose(loaded) == selectors


def test_everything_when_asked_for_or_when_nothing_is_named() -> None:
    assert choose(["a"], full=True) == choose([]) == ()


@pytest.mark.parametrize(
    "built",
    [
        Built(frozenset(), None),
        Built(frozenset({("gold", "tickets")}), "f"),
        Built(EXPECTED, None),
        Built(EXPECTED, "other"),
    ],
)
def test_everything_when_something_is_missing_or_was_built_otherwise(built: Built) -> None:
    assert choose(["a"], built=built) == ()


def test_what_a_build_depends_on_changes_the_fingerprint() -> None:
    one = settings_fingerprint({"sources": [], "pattern": "a"}, "files")
    assert one == settings_fingerprint({"pattern": "a", "sources": []}, "files")
    assert len({one, settings_fingerprint({"sources": []}, "files"), settings_fingerprint({"sources": []}, "new")}) == 3


def test_the_project_is_found_and_names_its_relations() -> None:
    relations = project.relations(project.project_dir())
    assert {("gold", table) for table in project.GOLD_TABLES} == {r for r in relations if r[0] == "gold"}
    assert ("silver", "transform_settings") in relations
    assert ("silver", "stg_github__pull_requests") in relations


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
