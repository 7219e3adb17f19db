"""What is asked of GitHub's GraphQL: the text of every query, and nothing that runs.

Points are the connections that a query may open, over 100, and a query may ask for 500,000 nodes at most ("Rate limits
and query limits for the GraphQL API", GitHub documentation). So the connections that hold others are short here, and
what is longer is followed, many of them by one query. A full page of pull requests is 50 * (8 + 10 + 10) connections:
14 points.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

FOLLOWED = 100
"""Elements of a connection that is followed, the most GitHub gives."""
RATE = "rateLimit { cost remaining resetAt }"
ACTOR = "{ __typename login }"
MORE = "pageInfo { hasNextPage endCursor }"


@dataclass(frozen=True)
class Nested:
    """A connection inside an object: its arguments, how many elements come with their owner, and their fields."""

    fields: str
    first: int
    arguments: str = ""
    inside: str = ""
    """The field that holds the connection, when that is not the object itself."""

    def text(self, name: str, first: int | None = None, after: str = "") -> str:
        """The connection as a selection."""
        arguments = f"{self.arguments}first: {first or self.first}{after}"
        text = f"{name}({arguments}) {{ totalCount nodes {{ {self.fields} }} {MORE} }}"
        return f"{self.inside} {{ state {text} }}" if self.inside else text


CHECK_RUN = """id databaseId name status conclusion startedAt completedAt url detailsUrl
    checkSuite { databaseId app { slug } workflowRun { databaseId } }"""
CHECK = f"""__typename
  ... on CheckRun {{ {CHECK_RUN} }}
  ... on StatusContext {{ id context state createdAt targetUrl creator {ACTOR} }}"""
COMMENT = f"id fullDatabaseId author {ACTOR} createdAt updatedAt body"
ASSIGNEES = Nested("login", 10)
LABELS = Nested("name", 20)
EVENTS = (
    "READY_FOR_REVIEW_EVENT",
    "CONVERT_TO_DRAFT_EVENT",
    "REVIEW_REQUESTED_EVENT",
    "REVIEW_REQUEST_REMOVED_EVENT",
    "HEAD_REF_FORCE_PUSHED_EVENT",
    "CLOSED_EVENT",
    "REOPENED_EVENT",
    "MERGED_EVENT",
)
REVIEWER = """requestedReviewer { __typename
  ... on User { login } ... on Bot { login } ... on Mannequin { login } ... on Team { slug } }"""
EVENT = f"""__typename
  ... on ReadyForReviewEvent {{ createdAt actor {ACTOR} }}
  ... on ConvertToDraftEvent {{ createdAt actor {ACTOR} }}
  ... on ReviewRequestedEvent {{ createdAt actor {ACTOR} {REVIEWER} }}
  ... on ReviewRequestRemovedEvent {{ createdAt actor {ACTOR} {REVIEWER} }}
  ... on HeadRefForcePushedEvent {{ createdAt actor {ACTOR} beforeCommit {{ oid }} afterCommit {{ oid }} }}
  ... on ClosedEvent {{ createdAt actor {ACTOR} }}
  ... on ReopenedEvent {{ createdAt actor {ACTOR} }}
  ... on MergedEvent {{ createdAt actor {ACTOR} commit {{ oid }} }}"""
CONTEXTS = Nested(CHECK, 50, inside="statusCheckRollup")
REVIEW_COMMENTS = Nested(f"{COMMENT} path", 50)
NESTED: Mapping[str, Mapping[str, Nested]] = {
    "PullRequest": {
        "labels": LABELS,
        "assignees": ASSIGNEES,
        "reviewRequests": Nested(REVIEWER, 10),
        "closingIssuesReferences": Nested("number url repository { nameWithOwner }", 10),
        "reviews": Nested(
            f"id fullDatabaseId author {ACTOR} state submittedAt body commit {{ oid }} "
            f"{REVIEW_COMMENTS.text('comments')}",
            10,
        ),
        "comments": Nested(COMMENT, 50),
        "timelineItems": Nested(EVENT, 50, arguments=f"itemTypes: [{', '.join(EVENTS)}], "),
        "commits": Nested(
            "commit { id oid authoredDate committedDate message author { name email user { __typename login } } "
            f"{CONTEXTS.text('contexts')} }}",
            10,
        ),
    },
    "PullRequestReview": {"comments": REVIEW_COMMENTS},
    "Commit": {"contexts": CONTEXTS},
    "Issue": {"labels": LABELS, "assignees": ASSIGNEES, "comments": Nested(COMMENT, 50)},
    "Deployment": {
        "statuses": Nested(f"id state createdAt updatedAt creator {ACTOR} environmentUrl logUrl description", 10)
    },
}
"""The connections inside each type of object, by name. All of them are followed to their ends."""


def connections(owner: str) -> str:
    """All connections of a type of object, as they come with it."""
    return " ".join(nested.text(name) for name, nested in NESTED[owner].items())


PULL_REQUEST = f"""
  id fullDatabaseId number createdAt updatedAt closedAt mergedAt title body state isDraft url author {ACTOR}
  mergedBy {ACTOR} headRefName baseRefName headRefOid headRepository {{ nameWithOwner }} isCrossRepository
  mergeCommit {{ oid }} additions deletions changedFiles reviewDecision totalCommentsCount milestone {{ title }}
  statusCheckRollup {{ state }} {connections("PullRequest")}"""
ISSUE = f"""
  id number createdAt updatedAt closedAt title body state stateReason url author {ACTOR} milestone {{ title }}
  {connections("Issue")}"""
DEPLOYMENT = f"""
  id databaseId createdAt updatedAt environment originalEnvironment latestEnvironment ref {{ name }} commitOid task
  description payload state creator {ACTOR} {connections("Deployment")}"""
RELEASE = """id databaseId tagName name isDraft isPrerelease createdAt publishedAt updatedAt url author { login }
  tagCommit { oid }"""
TAG = """name target { __typename oid
  ... on Tag { message tagger { date } target { __typename oid ... on Tag { target { oid } } } } }"""


@dataclass(frozen=True)
class Listing:
    """A connection of a repository that is read page by page. `first` is how many at most come on a page."""

    name: str
    field: str
    type: str
    fields: str
    first: int
    order: str
    ids: str
    """What a sweep reads of each element: its identity and what shows a change."""
    arguments: str = ""

    def query(self, fields: str | None = None) -> str:
        """The query of a page."""
        return (
            f"query {self.name.capitalize()}($id: ID!, $first: Int!, $after: String) {{ {RATE} node(id: $id) {{ "
            f"... on Repository {{ {self.field}({self.arguments}first: $first, after: $after, "
            f"orderBy: {{field: {self.order}, direction: DESC}}) "
            f"{{ totalCount nodes {{ {fields or self.fields} }} {MORE} }} }} }} }}"
        )


PULLS = Listing("pulls", "pullRequests", "PullRequest", PULL_REQUEST, 50, "UPDATED_AT", "id number updatedAt")
ISSUES = Listing("issues", "issues", "Issue", ISSUE, 100, "UPDATED_AT", "id number updatedAt")
DEPLOYMENTS = Listing(
    "deployments", "deployments", "Deployment", DEPLOYMENT, 100, "CREATED_AT", "id databaseId createdAt updatedAt"
)
RELEASES = Listing("releases", "releases", "Release", RELEASE, 100, "CREATED_AT", "id databaseId createdAt updatedAt")
TAGS = Listing("tags", "refs", "Ref", TAG, 100, "TAG_COMMIT_DATE", "name", arguments='refPrefix: "refs/tags/", ')
LISTINGS = (PULLS, ISSUES, DEPLOYMENTS, RELEASES, TAGS)

REPOSITORY = """id databaseId nameWithOwner isPrivate isArchived isFork createdAt pushedAt defaultBranchRef { name }
  repositoryTopics(first: 20) { nodes { topic { name } } }"""
PROBES = {
    "pulls": "pulls: pullRequests(first: 1, orderBy: {field: UPDATED_AT, direction: DESC}) "
    "{ totalCount nodes { updatedAt } }",
    "issues": "issues(first: 1, orderBy: {field: UPDATED_AT, direction: DESC}) { totalCount nodes { updatedAt } }",
    "deployments": "deployments(first: 1, orderBy: {field: CREATED_AT, direction: DESC}) "
    "{ totalCount nodes { createdAt } }",
    "releases": "releases(first: 1, orderBy: {field: CREATED_AT, direction: DESC}) "
    "{ totalCount nodes { id updatedAt } }",
    "tags": 'tags: refs(refPrefix: "refs/tags/", first: 1, orderBy: {field: TAG_COMMIT_DATE, direction: DESC}) '
    "{ totalCount nodes { name target { oid } } }",
}
"""What tells whether a repository has anything new, by listing."""
PROBED = 50
"""Repositories that one query tells of: 50 * 6 connections are 3 points."""


def probe(parts: Collection[str]) -> str:
    """What is asked of each repository: itself and what is newest in these listings."""
    return " ".join((REPOSITORY, *(PROBES[name] for name in parts)))


def organization_query(parts: Collection[str]) -> str:
    """A page of an organisation's repositories, each with its probe."""
    return (
        f"query Organization($login: String!, $first: Int!, $after: String) {{ {RATE} organization(login: $login) {{ "
        f"repositories(first: $first, after: $after, orderBy: {{field: NAME, direction: ASC}}) "
        f"{{ nodes {{ {probe(parts)} }} {MORE} }} }} }}"
    )


def repositories_query(parts: Sequence[Collection[str]]) -> str:
    """Repositories by name, each with the probes of some listings.

    $o0 and $n0 are owner and name of the first, which is answered as r0.
    """
    names = ", ".join(f"$o{n}: String!, $n{n}: String!" for n in range(len(parts)))
    fields = " ".join(
        f"r{n}: repository(owner: $o{n}, name: $n{n}) {{ {probe(some)} }}" for n, some in enumerate(parts)
    )
    return f"query Repositories({names}) {{ {RATE} {fields} }}"


def follow_query(gaps: Iterable[tuple[str, str]]) -> str:
    """More elements of nested connections, each given by the type of its owner and its name.

    $i0 and $c0 are the owner's id and the cursor of the first, which is answered as m0.
    """
    names, fields = [], []
    for n, (owner, name) in enumerate(gaps):
        names.append(f"$i{n}: ID!, $c{n}: String")
        more = NESTED[owner][name].text(name, FOLLOWED, f", after: $c{n}")
        fields.append(f"m{n}: node(id: $i{n}) {{ ... on {owner} {{ {more} }} }}")
    return f"query Follow({', '.join(names)}) {{ {RATE} {' '.join(fields)} }}"


OPEN_PULL_REQUEST = "updatedAt headRefOid totalCommentsCount statusCheckRollup { state }"
LATEST_STATUS = "updatedAt state latestStatus { createdAt }"
WHERE_NOW = "repository { databaseId }"
NAME_NOW = "databaseId nameWithOwner"
NODES = {
    "PullRequest": (PULL_REQUEST, OPEN_PULL_REQUEST, WHERE_NOW),
    "Issue": (ISSUE, WHERE_NOW),
    "Deployment": (DEPLOYMENT, LATEST_STATUS),
    "CheckRun": (CHECK_RUN,),
    "Repository": (NAME_NOW,),
}
"""What is asked of objects by their ids."""


def nodes_query(owner: str, fields: str) -> str:
    """Objects of a type by their ids, in their order, null for what is gone."""
    return f"query Nodes($ids: [ID!]!) {{ {RATE} nodes(ids: $ids) {{ __typename ... on {owner} {{ id {fields} }} }} }}"
