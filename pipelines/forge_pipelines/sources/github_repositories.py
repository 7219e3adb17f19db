"""Which repositories a source selects, and what is newest in each: one query for fifty of them.

A repository that is named, or that a token may not see in full, costs a warning and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_stack.model import GitHubSource

from forge_pipelines.problems import LoadError
from forge_pipelines.sources.github_graph import NOT_SEEN, Errors, Graph, TooHeavy, kinds, problem
from forge_pipelines.sources.github_queries import PROBED, PROBES, organization_query, repositories_query
from forge_pipelines.sources.github_rows import Node, Place, number_of, topics


@dataclass(frozen=True)
class Repository:
    """A selected repository: its place, its global id, and its probe by listing, without those it may not see."""

    place: Place
    node_id: str
    node: Node

    def probe(self, name: str) -> Node | None:
        """What is newest in a listing, and how many elements it has."""
        return self.node.get(name)

    def newest(self, name: str) -> Node | None:
        """The newest element of a listing; None when there is none."""
        nodes = (self.probe(name) or {}).get("nodes") or []
        return next((node for node in nodes if node), None)


@dataclass
class Found:
    """The selected repositories by number, what could not be found, and whether that is all there is to know."""

    repositories: dict[int, Repository] = field(default_factory=dict)
    failures: list[LoadError] = field(default_factory=list)

    def add(self, node: Node) -> None:
        """Take a repository, however often it was selected: under its new name too."""
        number = number_of(node)
        self.repositories[number] = Repository(Place(number, node["nameWithOwner"]), str(node["id"]), node)


def find(graph: Graph, spec: GitHubSource) -> Found:
    """The selected repositories, by name. Raises LoadError when none is there and something went wrong."""
    found = Found()
    names = {name.lower(): name for name in spec.repositories}
    closed: dict[str, None] = {}
    for login in spec.organizations:
        try:
            for node in organization(graph, login, spec):
                if isinstance(node, str):
                    closed[node] = None
                else:
                    found.add(node)
        except LoadError as error:
            forgive(error, found, graph)
    known = {repository.place.name.lower() for repository in found.repositories.values()} | {n.lower() for n in closed}
    wanted = [names[key] for key in sorted(names) if key not in known]
    for start in range(0, len(wanted), PROBED):
        closed |= dict.fromkeys(named(graph, wanted[start : start + PROBED], found))
    for name in closed:
        in_parts(graph, name, found)
    if found.failures and not found.repositories:
        raise found.failures[0]
    order = sorted(found.repositories.values(), key=lambda repository: repository.place.name.lower())
    found.repositories = {repository.place.id: repository for repository in order}
    return found


def forgive(error: LoadError, found: Found, graph: Graph) -> None:
    """Go on without what is not there or not allowed."""
    if error.reason not in ("NotFound", "Forbidden"):
        raise error
    found.failures.append(error)
    graph.scope.warn(error.message)


def organization(graph: Graph, login: str, spec: GitHubSource) -> Iterator[Node | str]:
    """The repositories of an organisation with their probes; only the name of one that may not be seen in full."""
    whole: set[str] = set()
    is_closed = False
    for page, errors in organization_pages(graph, login, tuple(PROBES)):
        for node in chosen(page, spec):
            whole.add(node["id"])
            yield node
        is_closed = is_closed or any(len(error.get("path") or ()) > 2 for error in errors)
    if is_closed:
        # One element that may not be read takes the whole repository from the answer.
        for page, _ in organization_pages(graph, login, ()):
            yield from (node["nameWithOwner"] for node in chosen(page, spec) if node["id"] not in whole)


def organization_pages(graph: Graph, login: str, parts: Collection[str]) -> Iterator[tuple[Node, list[dict[str, Any]]]]:
    """The pages of an organisation's repositories, each with the errors about what is not seen."""
    after = None
    while True:
        page, errors = organization_page(graph, login, after, parts)
        yield page, errors
        info = page.get("pageInfo") or {}
        if not info.get("hasNextPage"):
            return
        after = info["endCursor"]


def chosen(page: Node, spec: GitHubSource) -> Iterator[Node]:
    """Those of a page's repositories that have one of the topics."""
    for node in page.get("nodes") or []:
        if node and (not spec.topics or set(topics(node)) & set(spec.topics)):
            yield node


def organization_page(
    graph: Graph, login: str, after: str | None, parts: Collection[str]
) -> tuple[Node, list[dict[str, Any]]]:
    """A page of an organisation's repositories, and the errors about what is not seen. Raises LoadError."""
    pace, what = graph.pace("organization", PROBED), f"organization {login}"
    while True:
        variables = {"login": login, "after": after, "first": pace.size}
        heavy = pace.size > 1
        try:
            data, errors = graph.answer(organization_query(parts), variables, what, heavy=heavy)
            if errors and not kinds(errors) <= NOT_SEEN:
                graph.refuse(errors, {}, what, heavy)
        except TooHeavy:
            pace.slower()
            continue
        pace.faster()
        if data.get("organization") is None:
            raise missing(errors, f"github.organizations {login!r}", graph)
        return data["organization"]["repositories"], errors


def named(graph: Graph, names: Sequence[str], found: Found) -> list[str]:
    """Repositories by owner/name, into `found`; gives the names of those that may not be seen in full."""
    data, errors = probed(graph, [(name, tuple(PROBES)) for name in names])
    closed = []
    for index, name in enumerate(names):
        node, own = data.get(f"r{index}"), about(errors, index)
        if node is not None and not own:
            found.add(node)
        elif any(len(error.get("path") or ()) > 1 for error in own):
            closed.append(name)
        else:
            forgive(missing(own, f"github.repositories {name!r}", graph), found, graph)
    return closed


def in_parts(graph: Graph, name: str, found: Found) -> None:
    """A repository that may not be seen in full: each listing by itself, so that one refusal does not take the rest."""
    data, errors = probed(graph, [(name, ()), *((name, (part,)) for part in PROBES)])
    if data.get("r0") is None:
        forgive(missing(about(errors, 0), f"github.repositories {name!r}", graph), found, graph)
        return
    node = dict(data["r0"])
    for index, part in enumerate(PROBES, start=1):
        if (answer := data.get(f"r{index}")) and answer.get(part) is not None:
            node[part] = answer[part]
    refused = [part for part in PROBES if part not in node]
    said = "; ".join(dict.fromkeys(str(error.get("message")) for error in errors))[:200]
    if refused:
        graph.scope.warn(
            f"{name}: its {', '.join(refused)} may not be read ({said}); give the token that right, or select less"
        )
    found.add(node)


def about(errors: Errors, index: int) -> list[Any]:
    """The errors about one of the repositories of a query."""
    return [error for error in errors if (error.get("path") or [""])[0] == f"r{index}"]


def probed(graph: Graph, wanted: Sequence[tuple[str, Collection[str]]]) -> tuple[Node, list[dict[str, Any]]]:
    """Probes of repositories, as r0, r1, ..., and the errors. In halves when GitHub finds it too heavy."""
    variables: dict[str, str] = {}
    for index, (name, _) in enumerate(wanted):
        variables[f"o{index}"], variables[f"n{index}"] = name.split("/", 1)
    query, what, heavy = repositories_query([parts for _, parts in wanted]), "what is new", len(wanted) > 1
    try:
        data, errors = graph.answer(query, variables, what, heavy=heavy)
        if errors and not kinds(errors) <= NOT_SEEN:
            graph.refuse(errors, {}, what, heavy)
        return data, errors
    except TooHeavy:
        half = len(wanted) // 2
        left, left_errors = probed(graph, wanted[:half])
        right, right_errors = probed(graph, wanted[half:])
        moved = {f"r{int(alias[1:]) + half}": node for alias, node in right.items() if alias != "rateLimit"}
        later = [{**error, "path": shifted(error.get("path") or [], half)} for error in right_errors]
        return {**left, **moved}, [*left_errors, *later]


def shifted(path: Sequence[Any], by: int) -> list[Any]:
    """The path of an error of the second half."""
    return [f"r{int(str(path[0])[1:]) + by}", *path[1:]] if path and str(path[0])[1:].isdigit() else list(path)


def missing(errors: Errors, what: str, graph: Graph) -> LoadError:
    """Why a name gives nothing."""
    message = "; ".join(dict.fromkeys(str(error.get("message")) for error in errors))[:200] or "it gives null"
    return problem(errors or [{"type": "NOT_FOUND"}], message, what, graph.api.host)
