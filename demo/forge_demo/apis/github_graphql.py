"""GitHub's GraphQL endpoint: queries are read and checked by (a part of) GitHub's own schema, priced, and executed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from graphql.language import DocumentNode

from forge_demo import organisation as org
from forge_demo.apis.common import Budget, Json, iso_seconds
from forge_demo.apis.github_execute import execute
from forge_demo.apis.github_graph import Graph
from forge_demo.apis.github_objects import NotFoundError, account
from forge_demo.github_places import ACCOUNTS, node_id
from forge_demo.state import State

MAX_PAGE, MAX_NODES = 100, 500_000
SCHEMA_FILE = Path(__file__).parent.parent / "schema" / "github.graphql"
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")


@cache
def schema() -> GraphQLSchema:
    """The part of GitHub's schema that is served."""
    return build_schema(SCHEMA_FILE.read_text(encoding="utf-8"))


class _RefusedError(Exception):
    """A query that is refused before it runs; `type` is GitHub's."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def run(state: State, request: Json, budget: Budget) -> Json:
    """Answer one request: always a body for status 200, as GitHub gives errors inside it."""
    document, problems = _read(str(request.get("query") or ""))
    if document is None:
        return {"errors": problems}
    variables = request.get("variables") or {}
    try:
        cost, nodes = _price(document, variables)
    except _RefusedError as refusal:
        return {"errors": [{"type": refusal.kind, "message": str(refusal)}]}
    if not budget.take(cost):
        return {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 7000002."}]}
    root = Root(state, budget, cost, nodes)
    if "__schema" in request["query"] or "__type(" in request["query"]:
        result = slowly(document, root, variables, request.get("operationName"))
        data, errors = result.data, list(result.errors or ())
    else:
        data, errors = execute(schema(), document, root, variables, request.get("operationName"), _snake)
    body: Json = {"data": data}
    if errors:
        body["errors"] = [_told(error) for error in errors]
    return body


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[DocumentNode | None, list[Json]]:
    """A query that is valid, or what is wrong with it."""
    try:
        document = parse(text)
    except GraphQLError as error:
        return None, [{"message": error.message, "locations": _locations(error)}]
    problems = validate(schema(), document)
    return (None, [_told(problem) for problem in problems]) if problems else (document, [])


def slowly(document: DocumentNode, root: Any, variables: Json, operation_name: str | None = None) -> ExecutionResult:
    """By graphql-core's own executor: for introspection, and to compare with."""
    result = execute_sync(
        schema(),
        document,
        root_value=root,
        variable_values=variables,
        operation_name=operation_name,
        field_resolver=_resolve,
        type_resolver=lambda value, *_: str(value.typename),
    )
    assert isinstance(result, ExecutionResult)  # noqa: S101
    return result


def _resolve(source: Any, info: GraphQLResolveInfo[None], **arguments: Any) -> Any:
    name = _snake(info.field_name)
    found = source.get(name) if isinstance(source, dict) else getattr(source, name)
    if callable(found):
        return found(info, **{_snake(key): value for key, value in arguments.items()})
    return found


@cache
def _snake(name: str) -> str:
    return _CAMEL.sub(r"_\1", name).lower()


class TooManyIdsError(Exception):
    """More ids than `nodes` takes."""

    type = "ARGUMENT_LIMIT"


class Root:
    """What a query's root fields give."""

    def __init__(self, state: State, budget: Budget, cost: int, nodes: int) -> None:
        self._graph = Graph(state)
        limit = budget.limit or 5000
        # Without a limit the demo shows a budget that is always full but for this query.
        used = budget.used if budget.limit else cost
        reset = iso_seconds(datetime.fromtimestamp(budget.resets_at, UTC))
        shown = {"limit": limit, "cost": cost, "remaining": limit - used, "used": used, "node_count": nodes}
        self._rate_limit = shown | {"reset_at": reset}
        self.id, self.viewer = node_id("Q", "query"), account(org.PLATFORM.lead)

    def rate_limit(self, info: Any, dry_run: bool = False) -> Json:
        return self._rate_limit

    def repository(self, info: Any, owner: str, name: str, follow_renames: bool = True) -> Any:
        return self._graph.find(owner, name, follow_renames=follow_renames)

    def organization(self, info: Any, login: str) -> Any:
        return self._graph.organization(login)

    def user(self, info: Any, login: str) -> Any:
        person = ACCOUNTS.get(login)
        if person is None or person.is_agent or account(person) is None:
            raise NotFoundError(f"Could not resolve to a User with the login of '{login}'.")
        return account(person)

    def node(self, info: Any, id: str) -> Any:
        return self._graph.node(id)

    def nodes(self, info: Any, ids: list[str]) -> list[Any]:
        if len(ids) > MAX_PAGE:
            raise TooManyIdsError(f"You may not provide more than {MAX_PAGE} node ids; you provided {len(ids)}.")
        return self._graph.nodes(ids)


def _told(error: GraphQLError) -> Json:
    shape: Json = {}
    kind = getattr(error.original_error, "type", None)
    if kind:
        shape["type"] = kind
    if error.path:
        shape["path"] = error.path
    return shape | {"locations": _locations(error), "message": error.message}


def _locations(error: GraphQLError) -> list[Json]:
    return [{"line": at.line, "column": at.column} for at in error.locations or ()]


def _price(document: DocumentNode, variables: Json) -> tuple[int, int]:
    """(points, nodes) by GitHub's rule: the requests that the connections make, divided by 100, at least 1."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    defaults = {
        v.variable.name.value: int(v.default_value.value)
        for v in operation.variable_definitions or ()
        if isinstance(v.default_value, IntValueNode)
    }
    counter = _Counter(fragments, {**defaults, **variables})
    counter.walk(operation.selection_set, 1)
    if counter.nodes > MAX_NODES:
        text = f"This query requests up to {counter.nodes:,} possible nodes which exceeds the maximum of {MAX_NODES:,}."
        raise _RefusedError("MAX_NODE_LIMIT_EXCEEDED", text)
    return max(1, round(counter.requests / 100)), counter.nodes


class _Counter:
    def __init__(self, fragments: dict[str, FragmentDefinitionNode], variables: Json) -> None:
        self.fragments, self.variables, self.requests, self.nodes = fragments, variables, 0, 0

    def walk(self, selections: SelectionSetNode | None, times: int) -> None:
        for node in selections.selections if selections else ():
            if isinstance(node, FragmentSpreadNode):
                self.walk(self.fragments[node.name.value].selection_set, times)
            elif isinstance(node, InlineFragmentNode):
                self.walk(node.selection_set, times)
            elif isinstance(node, FieldNode):
                self._field(node, times)

    def _field(self, node: FieldNode, times: int) -> None:
        if not _is_connection(node):
            self.walk(node.selection_set, times)
            return
        name = node.name.value
        size = next((self._number(a.value) for a in node.arguments or () if a.name.value in ("first", "last")), None)
        if size is None:
            text = f"You must provide a `first` or `last` value to properly paginate the `{name}` connection."
            raise _RefusedError("MISSING_PAGINATION_BOUNDARIES", text)
        if size > MAX_PAGE:
            text = (
                f"Requesting {size} records on the `{name}` connection exceeds the `first` limit of {MAX_PAGE} records."
            )
            raise _RefusedError("EXCESSIVE_PAGINATION", text)
        self.requests += times
        self.nodes += times * size
        self.walk(node.selection_set, times * size)

    def _number(self, value: Any) -> int | None:
        if isinstance(value, IntValueNode):
            return int(value.value)
        found = self.variables.get(value.name.value) if isinstance(value, VariableNode) else None
        return found if isinstance(found, int) else None


def _is_connection(node: FieldNode) -> bool:
    """A connection is asked for its nodes or edges; one asked only for totalCount needs no bounds."""
    names = (
        {s.name.value for s in node.selection_set.selections if isinstance(s, FieldNode)}
        if node.selection_set
        else set()
    )
    return bool(names & {"nodes", "edges"})
