"""Cut GitHub's real GraphQL schema down to what the demo resolves.

    npm install @octokit/graphql-schema
    python demo/tools/prune_schema.py node_modules/@octokit/graphql-schema/schema.graphql

writes demo/forge_demo/schema/github.graphql. Descriptions and deprecations go; types, fields and arguments stay as they
are. A contract test proves that the result is a part of the real schema.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from graphql import (
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    TypeDefinitionNode,
    TypeNode,
    UnionTypeDefinitionNode,
    build_ast_schema,
    parse,
    print_schema,
)

OUT = Path(__file__).parent.parent / "forge_demo" / "schema" / "github.graphql"
# Types and their fields.
_TYPES = """
Query: id node nodes organization rateLimit repository user viewer
Node: id
Actor: avatarUrl login resourcePath url
RepositoryOwner: avatarUrl id login resourcePath url
GitObject: abbreviatedOid commitUrl id oid
Closable: closed closedAt
Assignable: assignees
Labelable: labels
RateLimit: cost limit nodeCount remaining resetAt used
PageInfo: endCursor hasNextPage hasPreviousPage startCursor
Organization: avatarUrl databaseId id login name repositories repository resourcePath url
User: avatarUrl databaseId email id login name resourcePath url
Bot: avatarUrl databaseId id login resourcePath url
Mannequin: avatarUrl databaseId id login resourcePath url
Team: databaseId id name slug
Repository: archivedAt createdAt databaseId defaultBranchRef deployments description diskUsage forkCount
  hasIssuesEnabled hasWikiEnabled id isArchived isDisabled isEmpty isFork isInOrganization isLocked isMirror
  isPrivate isTemplate issue issues latestRelease milestones name nameWithOwner object owner pullRequest
  pullRequests pushedAt ref refs release releases repositoryTopics resourcePath stargazerCount updatedAt url
  visibility
RepositoryTopic: id resourcePath topic url
Topic: id name
Ref: id name prefix repository target
Tag: abbreviatedOid commitUrl id message name oid repository tagger target
Release: author createdAt databaseId description id isDraft isLatest isPrerelease name publishedAt repository
  resourcePath tag tagCommit tagName updatedAt url
Milestone: closed closedAt createdAt dueOn id number state title updatedAt url
PullRequest: additions assignees author authorAssociation baseRefName baseRefOid baseRepository body bodyText
  changedFiles closed closedAt closingIssuesReferences comments commits createdAt databaseId deletions
  fullDatabaseId headRefName headRefOid headRepository headRepositoryOwner id isCrossRepository isDraft labels
  lastEditedAt latestOpinionatedReviews latestReviews locked mergeCommit mergeStateStatus mergeable merged
  mergedAt mergedBy milestone number permalink publishedAt repository resourcePath reviewDecision
  reviewRequests reviewThreads reviews state statusCheckRollup timelineItems title totalCommentsCount updatedAt
  url
PullRequestReview: author authorAssociation body bodyText comments commit createdAt databaseId fullDatabaseId id
  lastEditedAt publishedAt pullRequest state submittedAt updatedAt url
PullRequestReviewComment: author authorAssociation body bodyText commit createdAt databaseId diffHunk
  fullDatabaseId id isMinimized line originalCommit originalLine outdated path publishedAt pullRequest
  pullRequestReview replyTo repository state subjectType updatedAt url
PullRequestReviewThread: comments diffSide id isCollapsed isOutdated isResolved line originalLine path pullRequest
  repository resolvedBy subjectType
IssueComment: author authorAssociation body bodyText createdAt databaseId fullDatabaseId id isMinimized issue
  lastEditedAt publishedAt pullRequest repository updatedAt url
ReviewRequest: asCodeOwner databaseId id pullRequest requestedReviewer
PullRequestCommit: commit id pullRequest url
Commit: abbreviatedOid additions author authoredDate authors changedFilesIfAvailable checkSuites commitUrl
  committedDate committer deletions id message messageBody messageHeadline oid repository statusCheckRollup url
GitActor: avatarUrl date email name user
Label: color description id name url
Issue: assignees author authorAssociation body bodyText closed closedAt comments createdAt databaseId
  fullDatabaseId id labels lastEditedAt locked milestone number publishedAt repository resourcePath state
  stateReason timelineItems title updatedAt url
StatusCheckRollup: commit contexts id state
StatusContext: avatarUrl commit context createdAt creator description id state targetUrl
CheckSuite: app branch checkRuns commit conclusion createdAt databaseId id repository resourcePath status
  updatedAt url workflowRun
CheckRun: checkSuite completedAt conclusion databaseId detailsUrl externalId id name permalink repository
  resourcePath startedAt status steps summary text title url
CheckStep: completedAt conclusion name number startedAt status
App: databaseId id name slug
WorkflowRun: checkSuite createdAt databaseId event id resourcePath runNumber updatedAt url workflow
Workflow: databaseId id name resourcePath url
Deployment: commit commitOid createdAt creator databaseId description environment id latestEnvironment
  latestStatus originalEnvironment payload ref repository state statuses task updatedAt
DeploymentStatus: createdAt creator deployment description environment environmentUrl id logUrl state updatedAt
ReadyForReviewEvent: id actor createdAt pullRequest resourcePath url
ConvertToDraftEvent: id actor createdAt pullRequest resourcePath url
HeadRefForcePushedEvent: id actor createdAt afterCommit beforeCommit pullRequest ref
HeadRefDeletedEvent: id actor createdAt headRefName pullRequest
MergedEvent: id actor createdAt commit mergeRefName pullRequest resourcePath url
ClosedEvent: id actor createdAt closable closer resourcePath stateReason url
ReopenedEvent: id actor createdAt closable stateReason
LabeledEvent: id actor createdAt label labelable
UnlabeledEvent: id actor createdAt label labelable
AssignedEvent: id actor createdAt assignable assignee user
UnassignedEvent: id actor createdAt assignable assignee user
MilestonedEvent: id actor createdAt milestoneTitle
DemilestonedEvent: id actor createdAt milestoneTitle
RenamedTitleEvent: id actor createdAt currentTitle previousTitle
ConnectedEvent: id actor createdAt isCrossRepository source subject
ReviewRequestedEvent: id actor createdAt pullRequest requestedReviewer
ReviewRequestRemovedEvent: id actor createdAt pullRequest requestedReviewer
ReviewDismissedEvent: id actor createdAt databaseId dismissalMessage previousReviewState pullRequest
PullRequestTimelineItemsConnection: edges nodes pageInfo totalCount filteredCount pageCount updatedAt
PullRequestTimelineItemsEdge: cursor node
IssueTimelineItemsConnection: edges nodes pageInfo totalCount filteredCount pageCount updatedAt
IssueTimelineItemsEdge: cursor node
"""
# Types of which there are connections.
_PAGED = """
CheckRun CheckStep CheckSuite Deployment DeploymentStatus GitActor Issue IssueComment Label Milestone PullRequest
PullRequestCommit PullRequestReview PullRequestReviewComment PullRequestReviewThread Ref Release Repository
RepositoryTopic ReviewRequest StatusCheckRollupContext User
"""
# Inputs, enums, unions and scalars: whole, as far as their own types are kept.
_WHOLE = """
IssueOrder IssueOrderField OrderDirection RepositoryOrder RepositoryOrderField DeploymentOrder
DeploymentOrderField PullRequestState PullRequestReviewState PullRequestReviewDecision
PullRequestTimelineItemsItemType MergeableState CommentAuthorAssociation StatusState CheckStatusState
CheckConclusionState DeploymentState DeploymentStatusState RepositoryVisibility RepositoryPrivacy
RepositoryAffiliation IssueState IssueStateReason RequestedReviewer StatusCheckRollupContext
PullRequestTimelineItems IssueTimelineItems IssueTimelineItemsItemType ID String
Int Float Boolean DateTime URI GitObjectID BigInt Date GitTimestamp LabelOrder LabelOrderField CheckSuiteFilter
CheckRunFilter CheckRunType CheckAnnotationLevel IssueFilters IssueCommentOrder IssueCommentOrderField
ReleaseOrder ReleaseOrderField RefOrder RefOrderField MilestoneOrder MilestoneOrderField MilestoneState
MergeStateStatus PullRequestReviewCommentState PullRequestReviewThreadSubjectType DiffSide Assignee Closer
ReferencedSubject
"""
KEEP: dict[str, str] = {
    **dict(line.split(": ") for line in _TYPES.strip().replace("\n  ", " ").split("\n")),
    **{f"{name}Connection": "edges nodes pageInfo totalCount" for name in _PAGED.split()},
    **{f"{name}Edge": "cursor node" for name in _PAGED.split()},
    **dict.fromkeys(_WHOLE.split(), "*"),
}
_BUILT_IN = {"ID", "String", "Int", "Float", "Boolean"}


def prune(document: DocumentNode) -> str:
    """The SDL of what is kept, types and fields in order of name."""
    definitions = {d.name.value: d for d in document.definitions if isinstance(d, TypeDefinitionNode)}
    missing = sorted(set(KEEP) - set(definitions) - _BUILT_IN)
    if missing:
        raise SystemExit(f"the real schema has no {', '.join(missing)}; take them out of KEEP")
    kept = [_cut(definitions[name], fields) for name, fields in sorted(KEEP.items()) if name in definitions]
    return print_schema(build_ast_schema(DocumentNode(definitions=tuple(kept)))) + "\n"


def _cut(node: TypeDefinitionNode, wanted: str) -> TypeDefinitionNode:
    name = node.name
    if isinstance(node, (ObjectTypeDefinitionNode, InterfaceTypeDefinitionNode)):
        names = set(wanted.split())
        unknown = names - {field.name.value for field in node.fields or ()}
        if unknown:
            raise SystemExit(f"{name.value} has no {', '.join(sorted(unknown))}; take it out of KEEP")
        interfaces = tuple(i for i in node.interfaces or () if i.name.value in KEEP)
        fields = tuple(_field(f) for f in node.fields or () if f.name.value in names)
        return type(node)(name=name, interfaces=interfaces, fields=fields, directives=())
    if isinstance(node, UnionTypeDefinitionNode):
        return UnionTypeDefinitionNode(
            name=name, types=tuple(t for t in node.types or () if t.name.value in KEEP), directives=()
        )
    if isinstance(node, EnumTypeDefinitionNode):
        values = tuple(type(v)(name=v.name, directives=()) for v in node.values or ())
        return EnumTypeDefinitionNode(name=name, values=values, directives=())
    if isinstance(node, InputObjectTypeDefinitionNode):
        return InputObjectTypeDefinitionNode(name=name, fields=_arguments(node.fields or ()), directives=())
    if isinstance(node, ScalarTypeDefinitionNode):
        return ScalarTypeDefinitionNode(name=name, directives=())
    raise SystemExit(f"{name.value} is of a kind this program does not know: {node.kind}")


def _field(node: FieldDefinitionNode) -> FieldDefinitionNode:
    if _named(node.type) not in KEEP:
        raise SystemExit(f"the type {_named(node.type)} of the field {node.name.value} is not kept; add it to KEEP")
    arguments = _arguments(node.arguments or ())
    return FieldDefinitionNode(name=node.name, arguments=arguments, type=node.type, directives=())


def _arguments(nodes: Iterable[InputValueDefinitionNode]) -> tuple[InputValueDefinitionNode, ...]:
    return tuple(
        InputValueDefinitionNode(name=n.name, type=n.type, default_value=n.default_value, directives=())
        for n in nodes
        if _named(n.type) in KEEP
    )


def _named(node: TypeNode) -> str:
    while isinstance(node, (ListTypeNode, NonNullTypeNode)):
        node = node.type
    assert isinstance(node, NamedTypeNode)  # noqa: S101
    return node.name.value


if __name__ == "__main__":
    OUT.write_text(prune(parse(Path(sys.argv[1]).read_text(), no_location=True)))
    print(f"{OUT}: {OUT.stat().st_size} bytes")
