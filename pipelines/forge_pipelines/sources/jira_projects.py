"""Projects and their versions: one request gives both. Versions are released and renamed without their issues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forge_pipelines.conditions import quoted
from forge_pipelines.sources import Page, Scope
from forge_pipelines.sources.jira_rows import project_row, version_row
from forge_pipelines.sources.jira_site import Site
from forge_pipelines.sources.jira_sweep import Gone
from forge_pipelines.sources.jira_tables import PROJECTS, VERSIONS, contents, news
from forge_pipelines.tables import Table, iso

A_LOAD = 20
"""How many projects a load reads at most beside new ones; of more, those that were not read for longest."""


def turn(projects: Sequence[str], read: dict[str, str]) -> list[str]:
    """The projects to read now: those never read, and of the others the longest unread; `read` is when, by key."""
    new = [key for key in projects if key not in read]
    return new + sorted((key for key in projects if key in read), key=lambda key: read[key])[:A_LOAD]


def follow(
    site: Site, scope: Scope, projects: Sequence[str], read: dict[str, str], renamed: list[str]
) -> Iterator[Page]:
    """Rows of projects and versions that are new or changed, and of versions that are gone.

    `read` is moved on; `renamed` gains the ids of versions whose name changed, which issues carry.
    """
    gone = Gone(scope, VERSIONS)
    for asked in turn(projects, read):
        project = site.find(f"{site.root}/project/{asked}", what="a project")
        read[asked] = iso(scope.now)
        if not isinstance(project, dict):
            continue
        yield Page({"projects": _changed(PROJECTS, scope, scope.page(PROJECTS, [project], project_row(scope.now)), "")})
        versions, key = project.get("versions"), str(project.get("key") or asked)
        if not isinstance(versions, list):
            continue
        of_project = f"project_key = {quoted(key)}"
        stored = scope.stored(VERSIONS, ["version_id", "name"], of_project).to_pylist()
        page = scope.page(VERSIONS, versions, version_row(key, scope.now))
        names = {row["version_id"]: row["name"] for row in page.to_pylist()}
        renamed += [v["version_id"] for v in stored if names.get(v["version_id"], v["name"]) != v["name"]]
        yield Page({"versions": _changed(VERSIONS, scope, page, of_project)})
        yield gone.there(names)
        yield gone.missing({v["version_id"]: "deleted" for v in stored if v["version_id"] not in names})


def _changed(table: Table, scope: Scope, page: Any, where: str) -> Any:
    """The rows of a page that bronze does not hold just so."""
    stored = scope.stored(table, contents(table), where).to_pylist()
    return news(table, page, {row[table.key[0]]: row for row in stored})
