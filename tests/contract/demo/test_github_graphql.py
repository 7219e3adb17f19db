"""GraphQL: the served schema is a part of GitHub's real one, and every field of it resolves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forge_demo import truth_github
from forge_demo.apis.common import Budget, Live
from forge_demo.apis.github_graphql import Root, schema, slowly
from forge_demo.apis.server import application
from forge_demo.settings import Clock, Settings
from forge_demo.world import World
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    is_leaf_type,
    parse,
)
from starlette.testclient import TestClient

HEADERS = {"Authorization": "Bearer ghp_demo"}


def ask(client: TestClient, query: str, variables: dict[str, Any] | None = None, path: str = "/github/graphql") -> Any:
    answer = client.post(path, json={"query": query, "variables": variables or {}}, headers=HEADERS)
    assert answer.status_code == 200
    return answer.json()


def test_the_served_schema_is_a_part_of_githubs(octokit: Path) -> None:
    # The published file defines a field twice, which graphql-core would refuse.
    text = (octokit / "graphql-schema" / "schema.graphql").read_text()
    real = build_schema(text, assume_valid_sdl=True)
    differences = list(_differences(schema(), real))
    assert differences == []


def _differences(ours: GraphQLSchema, real: GraphQLSchema) -> Any:
    for name, type_ in ours.type_map.items():
        if name.startswith("__"):
            continue
        theirs = real.type_map.get(name)
        if theirs is None or type(theirs) is not type(type_):
            yield f"type {name}"
            continue
        yield from _type_differences(name, type_, theirs)


def _type_differences(name: str, ours: GraphQLNamedType, real: Any) -> Any:
    if isinstance(ours, (GraphQLObjectType, GraphQLInterfaceType)):
        if not {i.name for i in ours.interfaces} <= {i.name for i in real.interfaces}:
            yield f"interfaces of {name}"
        for field_name, field in ours.fields.items():
            theirs = real.fields.get(field_name)
            if theirs is None or str(theirs.type) != str(field.type):
                yield f"field {name}.{field_name}"
                continue
            for argument, value in field.args.items():
                if argument not in theirs.args or str(theirs.args[argument].type) != str(value.type):
                    yield f"argument {name}.{field_name}({argument})"
            for argument, value in theirs.args.items():
                if isinstance(value.type, GraphQLNonNull) and argument not in field.args:
                    yield f"required argument {name}.{field_name}({argument}) is missing"
    elif isinstance(ours, GraphQLUnionType):
        if not {t.name for t in ours.types} <= {t.name for t in real.types}:
            yield f"members of {name}"
    elif isinstance(ours, GraphQLEnumType):
        if set(ours.values) != set(real.values):
            yield f"values of {name}"
    elif isinstance(ours, GraphQLInputObjectType):
        for field_name, field in ours.fields.items():
            if field_name not in real.fields or str(real.fields[field_name].type) != str(field.type):
                yield f"input field {name}.{field_name}"


def test_every_field_resolves(client: TestClient, live: Live) -> None:
    hub = live.state().hub
    pull = next(p for p in hub.repos["fleet-api"].pulls.values() if p.reviews and p.merged and p.issues)
    issue, (tag, *_) = pull.issues[0], pull.repo.tags
    known = {
        "Query.repository": '(owner: "acme-robotics", name: "fleet-api")',
        "Query.organization": '(login: "acme-robotics")',
        "Query.user": '(login: "amelie-wagner")',
        "Query.node": f'(id: "{pull.node_id}")',
        "Query.nodes": f'(ids: ["{pull.node_id}", "{issue.node_id}", "{hub.repos["atlas"].node_id}"])',
        "Repository.pullRequest": f"(number: {pull.number})",
        "Repository.issue": f"(number: {issue.number})",
        "Repository.release": f'(tagName: "{tag}")',
        "Repository.ref": f'(qualifiedName: "refs/tags/{tag}")',
        "Repository.refs": '(refPrefix: "refs/tags/", first: 1)',
        "Repository.object": f'(oid: "{pull.head}")',
        "Organization.repository": '(name: "fleet-api")',
    }
    root = schema().query_type
    assert root is not None
    asked: set[str] = set()
    for name in root.fields:
        answer = ask(client, "{" + _field(root, name, known, asked) + "}")
        assert "errors" not in answer, (name, answer["errors"][:3])
        assert answer["data"][name] is not None
    objects = [
        t for t in schema().type_map.values() if isinstance(t, GraphQLObjectType) and not t.name.startswith("__")
    ]
    assert {f"{t.name}.{f}" for t in objects for f in t.fields} - asked == set()


def _field(parent: Any, name: str, known: dict[str, str], asked: set[str]) -> str:
    """The field with everything below it that was not asked for before."""
    field = parent.fields[name]
    asked.add(f"{parent.name}.{name}")
    arguments = known.get(f"{parent.name}.{name}", "(first: 1)" if "first" in field.args else "")
    type_ = get_named_type(field.type)
    # An alias keeps fields of one name and different types apart in fragments.
    alias = f"{parent.name.lower()}_{name}: " if parent.name != "Query" else ""
    return f"{alias}{name}{arguments} " + (
        "" if is_leaf_type(type_) else f"{{ __typename {_fields(type_, known, asked)} }}"
    )


def _fields(type_: Any, known: dict[str, str], asked: set[str]) -> str:
    if isinstance(type_, (GraphQLUnionType, GraphQLInterfaceType)):
        members = schema().get_possible_types(type_)
        return " ".join(f"... on {m.name} {{ __typename {_fields(m, known, asked)} }}" for m in members)
    new = [name for name in type_.fields if f"{type_.name}.{name}" not in asked]
    return " ".join(_field(type_, name, known, asked) for name in new if f"{type_.name}.{name}" not in asked)


def test_refusals_are_githubs_own_and_come_with_status_200(client: TestClient) -> None:
    pulls = '{ repository(owner: "acme-robotics", name: "pay-core") { pullRequests%s { nodes { number } } } }'
    (error,) = ask(client, pulls % "(first: 101)")["errors"]
    assert error["type"] == "EXCESSIVE_PAGINATION"
    assert "exceeds the `first` limit of 100" in error["message"]
    assert ask(client, pulls % "")["errors"][0]["type"] == "MISSING_PAGINATION_BOUNDARIES"
    commits = "pullRequest { commits(first: 100) { nodes { id } } }"
    deep = "(first: 100) { nodes { reviews(first: 100) { nodes { " + commits + " } } } }"
    answer = ask(client, '{ repository(owner: "acme-robotics", name: "pay-core") { pullRequests' + deep + " } }")
    assert answer["errors"][0]["type"] == "MAX_NODE_LIMIT_EXCEEDED"
    missing = ask(client, '{ repository(owner: "acme-robotics", name: "nothing") { id } }')
    assert missing["data"] == {"repository": None}
    assert missing["errors"][0]["type"] == "NOT_FOUND"
    assert missing["errors"][0]["path"] == ["repository"]
    assert "errors" in ask(client, "{ repository { wrong } }")
    assert client.post("/github/graphql", json={"query": "{ viewer { login } }"}).status_code == 401


def test_the_cost_is_githubs_rule(client: TestClient) -> None:
    query = """{ rateLimit { cost nodeCount limit remaining }
      repository(owner: "acme-robotics", name: "pay-core") {
        pullRequests(first: 50) { nodes {
          reviews(first: 10) { nodes { id } } commits(first: 10) { nodes { id } } } } } }"""
    shown = ask(client, query, path="/github/api/graphql")["data"]["rateLimit"]
    assert shown["cost"] == 1  # 101 requests of connections / 100
    assert shown["nodeCount"] == 50 + 50 * 10 * 2


def test_a_walk_by_update_time_sees_each_pull_request_once(client: TestClient, live: Live) -> None:
    query = """query($after: String) { repository(owner: "acme-robotics", name: "fleet-api") {
      pullRequests(first: 7, after: $after, orderBy: {field: UPDATED_AT, direction: DESC}) {
        totalCount pageInfo { hasNextPage endCursor } nodes { number updatedAt } } } }"""
    seen: list[Any] = []
    after = None
    while True:
        page = ask(client, query, {"after": after})["data"]["repository"]["pullRequests"]
        seen += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert [p["updatedAt"] for p in seen] == sorted((p["updatedAt"] for p in seen), reverse=True)
    assert sorted(p["number"] for p in seen) == [p.number for p in live.world.state.pulls_of("fleet-api")]
    assert len(seen) == page["totalCount"] > 20


def test_a_spent_budget_is_an_error_inside_200(client: TestClient, live: Live) -> None:
    live.settings.rate_limits["github_graphql"] = 1
    assert "data" in ask(client, "{ viewer { login } }")
    answer = client.post("/github/graphql", json={"query": "{ viewer { login } }"}, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["type"] == "RATE_LIMITED"
    assert answer.headers["x-ratelimit-remaining"] == "0"


ACTOR = "{ __typename login ... on Bot { databaseId } ... on User { email } }"
PAGE = "pageInfo { hasNextPage endCursor hasPreviousPage startCursor }"
EVENT = """__typename ... on ReadyForReviewEvent { createdAt actor { login } } ... on MergedEvent { commit { oid } }
  ... on HeadRefForcePushedEvent { beforeCommit { oid } afterCommit { oid } } ... on ConvertToDraftEvent { createdAt }
  ... on ReviewRequestedEvent { requestedReviewer { __typename ... on User { login } ... on Team { slug } } }
  ... on ReviewRequestRemovedEvent { createdAt } ... on LabeledEvent { label { name } }
  ... on ReopenedEvent { createdAt }
  ... on ClosedEvent { stateReason closer { __typename ... on PullRequest { number } } } ... on IssueComment { body }
  ... on RenamedTitleEvent { previousTitle currentTitle } ... on MilestonedEvent { milestoneTitle }
  ... on AssignedEvent { assignee { ... on User { login } } } ... on UnassignedEvent { createdAt }"""
CHECKS = f"""statusCheckRollup {{ state contexts(first: 100) {{ totalCount {PAGE} nodes {{ __typename
  ... on CheckRun {{ databaseId name status conclusion startedAt completedAt url steps(first: 9) {{ nodes {{ name }} }}
    checkSuite {{ databaseId conclusion app {{ slug }} workflowRun {{ databaseId event workflow {{ name }} }} }} }}
  ... on StatusContext {{ context state creator {ACTOR} }} }} }} }}"""
WHOLE = f"""query($owner: String!, $name: String!, $after: String, $quiet: Boolean = false) {{
  repository(owner: $owner, name: $name) {{
    id nameWithOwner isArchived isEmpty defaultBranchRef {{ name target {{ oid }} }}
    pullRequests(first: 10, after: $after, orderBy: {{field: UPDATED_AT, direction: DESC}}) {{
      totalCount {PAGE} edges {{ cursor node {{ ...P }} }} }}
    issues(first: 20, orderBy: {{field: UPDATED_AT, direction: DESC}}) {{ nodes {{ number state stateReason
      author {ACTOR} comments(first: 20) {{ {PAGE} nodes {{ body author {ACTOR} }} }}
      timelineItems(first: 20) {{ nodes {{ __typename
        ... on ClosedEvent {{ stateReason closer {{ __typename ... on PullRequest {{ number }} }} }} }} }} }} }}
    deployments(first: 20) {{ nodes {{ state payload commit {{ oid }} statuses(first: 3) {{ nodes {{ state }} }} }} }}
    releases(first: 20) {{ nodes {{ tagName isLatest tagCommit {{ oid }} author {{ login }} }} }}
    refs(refPrefix: "refs/tags/", first: 20) {{ nodes {{ name target {{
      oid ... on Tag {{ message target {{ oid }} }} }} }} }}
    repositoryTopics(first: 9) {{ nodes {{ topic {{ name }} }} }} }} }}
fragment P on PullRequest {{ number title body @skip(if: $quiet) again: title author {ACTOR} isCrossRepository
  headRepository {{ nameWithOwner }} headRepositoryOwner {{ login }} mergeCommit {{ oid }} milestone {{ title }}
  labels(first: 20) {{ nodes {{ name }} }} assignees(first: 9) {{ nodes {{ login }} }}
  reviewRequests(first: 9) {{ nodes {{ requestedReviewer {{ __typename }} }} }}
  closingIssuesReferences(first: 9) {{ nodes {{ number }} }}
  reviewThreads(first: 5) {{ nodes {{ isResolved comments(first: 5) {{ nodes {{ body replyTo {{ id }} }} }} }} }}
  reviews(first: 10) {{ totalCount {PAGE} nodes {{ state author {ACTOR} comments(first: 5) {{ nodes {{ path }} }} }} }}
  comments(last: 5) {{ {PAGE} nodes {{ body }} }} timelineItems(first: 50) {{ totalCount nodes {{ {EVENT} }} }}
  commits(last: 2) {{ totalCount nodes {{ commit {{ oid message {CHECKS} author {{ name user {{ login }} }}
    authors(first: 3) {{ nodes {{ name email }} }} }} }} }} }}"""


@pytest.mark.parametrize("name", ["fleet-api", "handbook", "telemetry", "sandbox", "atlas", "vault", "spike-2022"])
def test_our_executor_answers_as_graphql_core(
    client: TestClient, live: Live, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GitHub gives numbers beyond 32 bits where its schema says Int; graphql-core does not.
    monkeypatch.setattr(schema().type_map["Int"], "coerce_output_value", lambda value: value)
    variables: dict[str, Any] = {"owner": "acme-robotics", "name": name, "after": None, "quiet": name == "atlas"}
    while True:
        answer = ask(client, WHOLE, variables)
        document = parse(WHOLE)
        slow = slowly(document, Root(live.state(), Budget(None), 1, 1), variables)
        assert answer["data"] == slow.data
        assert [e["path"] for e in answer.get("errors", [])] == [e.path for e in slow.errors or ()]
        if name in ("vault", "spike-2022"):
            kind = {"vault": "FORBIDDEN", "spike-2022": "NOT_FOUND"}[name]
            assert {e["type"] for e in answer["errors"]} == {kind}
            return
        assert "errors" not in answer
        page = answer["data"]["repository"]["pullRequests"]["pageInfo"]
        variables["after"] = page["endCursor"]
        if not page["hasNextPage"]:
            return


def test_errors_stay_in_their_place(client: TestClient, live: Live) -> None:
    hub = live.state().hub
    pull = next(iter(hub.repos["fleet-api"].pulls.values()))
    hidden = next(iter(hub.repos["vault"].pulls.values()))
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename ... on PullRequest { number } } }"
    answer = ask(client, query, {"ids": [pull.node_id, "PR_nothing", hidden.node_id]})
    assert answer["data"]["nodes"] == [{"__typename": "PullRequest", "number": pull.number}, None, None]
    assert [(e["type"], e["path"]) for e in answer["errors"]] == [
        ("NOT_FOUND", ["nodes", 1]),
        ("FORBIDDEN", ["nodes", 2]),
    ]


def test_long_connections_are_followed_to_their_ends(client: TestClient, live: Live) -> None:
    giant = live.state().pull_requests["tale/atlas/giant"]
    for name, count in (("commits", 130), ("comments", 130), ("reviews", len(giant.reviews)), ("labels", 100)):
        query = f"""query($id: ID!, $after: String) {{ node(id: $id) {{ ... on PullRequest {{
          {name}(first: 60, after: $after) {{ totalCount nodes {{ id }} {PAGE} }} }} }} }}"""
        seen: list[str] = []
        after = None
        while True:
            page = ask(client, query, {"id": giant.node_id, "after": after})["data"]["node"][name]
            seen += [node["id"] for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert len(set(seen)) == len(seen) == page["totalCount"] == count >= 100


def test_hands_change_what_is_there(live: Live) -> None:
    world = World.build(3, end=live.clock.now(), days=14)
    mine = Live(world, Clock(live.clock.now()), Settings())
    client = TestClient(application(mine))
    repo = world.state.hub.repos["pay-core"]
    pull, release = next(iter(repo.pulls.values())), next(iter(repo.releases.values()))
    tag, deployment = next(iter(repo.tags)), next(iter(repo.deployments))
    for kind, of in (("tag", tag), ("release", release.id), ("deployment", deployment), ("pull_request", pull.number)):
        body = {"action": "delete", "repository": "pay-core", "kind": kind, "of": of}
        assert client.post("/_world/github", json=body).status_code == 200, kind
        assert client.post("/_world/github", json=body).status_code == 400
    assert tag not in repo.tags and deployment not in repo.deployments and pull.number not in repo.pulls
    other = next(iter(repo.pulls.values()))
    body = {"action": "body", "repository": "pay-core", "of": other.number, "bytes": 3_000_000}
    assert client.post("/_world/github", json=body).status_code == 200
    query = "query($id: ID!) { node(id: $id) { ... on PullRequest { body } } }"
    assert 2_999_990 < len(ask(client, query, {"id": other.node_id})["data"]["node"]["body"].encode()) <= 3_000_000
    client.post("/_world/github", json={"action": "rename", "repository": "pay-core", "name": "pay-engine"})
    client.post("/_world/github", json={"action": "transfer", "repository": "pay-engine"})
    found = ask(client, '{ repository(owner: "acme-robotics", name: "pay-core") { nameWithOwner } }')
    assert found["data"]["repository"] == {"nameWithOwner": "acme-spinoff/pay-engine"}
    strict = '{ repository(owner: "acme-robotics", name: "pay-core", followRenames: false) { id } }'
    assert ask(client, strict)["errors"][0]["type"] == "NOT_FOUND"
    client.post("/_world/github", json={"action": "delete", "repository": "pay-engine", "kind": "repository"})
    assert ask(client, '{ repository(owner: "acme-spinoff", name: "pay-engine") { id } }')["data"]["repository"] is None
    assert not any(row["repository_id"] == 500_002 for row in truth_github.pull_requests(world.state))
