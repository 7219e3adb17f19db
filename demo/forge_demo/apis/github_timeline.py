"""GitHub's GraphQL objects of what happened to pull requests and issues."""

from __future__ import annotations

from typing import Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_commits import Commit
from forge_demo.apis.github_objects import WEB, Account, Label, Team, account
from forge_demo.github_places import ACCOUNTS, node_id


def reviewer(login: str) -> Account | Team | None:
    """A person, or a team."""
    return Team(login) if login.startswith("@") else account(ACCOUNTS[login])


class TimelineEvent:
    """Something that happened to a pull request or an issue: every field that any type of event has."""

    merge_ref_name, is_cross_repository, database_id = "main", False, None
    dismissal_message, previous_review_state, head_ref_name = None, None, None

    def __init__(self, typename: str, event: Any, number: int, subject: Any) -> None:
        self.typename, self._event, self._subject = typename, event, subject
        self.pull_request = self.closable = self.labelable = self.assignable = self.source = subject
        self.id, self.created_at = node_id("EV", number), iso_seconds(event.at)
        self.actor = account(ACCOUNTS[event.actor])
        self.resource_path = f"{subject.resource_path}#event-{abs(number)}"
        self.url = WEB + self.resource_path

    @property
    def label(self) -> Label:
        """That was put on or taken off."""
        return Label(self._event.label, self._subject.it.repo)

    @property
    def requested_reviewer(self) -> Account | Team | None:
        """Who was asked, or need not answer."""
        return reviewer(self._event.reviewer)

    @property
    def assignee(self) -> Account | None:
        """Who shall care, or need not."""
        return account(ACCOUNTS[self._event.assignee])

    @property
    def user(self) -> Account | None:
        """Likewise, people only."""
        found = self.assignee
        return found if found and found.typename == "User" else None

    @property
    def milestone_title(self) -> str:
        """Of a milestone."""
        return str(self._event.milestone)

    @property
    def current_title(self) -> str:
        """After a change of the title."""
        return str(self._event.title)

    @property
    def previous_title(self) -> str:
        """Before it."""
        titles = [self._subject.it.opened.title]
        for _, event in self._subject.it.timeline:
            if event is self._event:
                break
            if isinstance(event, gh.Retitled):
                titles.append(event.title)
        return str(titles[-1])

    def _commit(self, oid: str) -> Commit:
        found: Commit = self._subject.repository.commit(oid)
        return found

    @property
    def commit(self) -> Commit | None:
        """What a merge made."""
        return self._commit(self._event.sha)

    @property
    def before_commit(self) -> Commit | None:
        """The head before a force push."""
        return self._commit(self._event.before)

    @property
    def after_commit(self) -> Commit | None:
        """And after it."""
        return self._commit(self._event.commits[-1].oid)

    ref = None

    @property
    def closer(self) -> Any:
        """The pull request whose merge closed an issue."""
        from forge_demo.apis.github_pulls import PullRequest

        by = self._subject.repository.graph.hub.pulls.get(getattr(self._event, "by", None) or "")
        return PullRequest(by, self._subject.repository) if by else None

    @property
    def state_reason(self) -> str | None:
        """Why an issue was closed."""
        if self.typename == "ReopenedEvent":
            return "REOPENED" if self._subject.typename == "Issue" else None
        return getattr(self._event, "reason", None)

    @property
    def subject(self) -> Any:
        """The issue that was linked."""
        from forge_demo.apis.github_pulls import Issue

        issue = self._subject.repository.graph.hub.issues.get(self._event.issue)
        return Issue(issue, self._subject.repository) if issue else self._subject


EVENTS: dict[type[ev.Event], str] = {
    ev.ReadyForReview: "ReadyForReviewEvent",
    gh.ConvertedToDraft: "ConvertToDraftEvent",
    gh.HeadForcePushed: "HeadRefForcePushedEvent",
    ev.PullRequestMerged: "MergedEvent",
    ev.PullRequestClosed: "ClosedEvent",
    gh.IssueClosed: "ClosedEvent",
    gh.Reopened: "ReopenedEvent",
    ev.Labeled: "LabeledEvent",
    gh.Unlabeled: "UnlabeledEvent",
    gh.Assigned: "AssignedEvent",
    gh.Milestoned: "MilestonedEvent",
    gh.Retitled: "RenamedTitleEvent",
    gh.IssueLinked: "ConnectedEvent",
    ev.ReviewRequested: "ReviewRequestedEvent",
    gh.ReviewRequestRemoved: "ReviewRequestRemovedEvent",
    gh.Commented: "IssueComment",
}
ITEM_TYPES = {
    "PullRequestCommit": "PULL_REQUEST_COMMIT",
    "PullRequestReview": "PULL_REQUEST_REVIEW",
    "IssueComment": "ISSUE_COMMENT",
    "ReadyForReviewEvent": "READY_FOR_REVIEW_EVENT",
    "ConvertToDraftEvent": "CONVERT_TO_DRAFT_EVENT",
    "HeadRefForcePushedEvent": "HEAD_REF_FORCE_PUSHED_EVENT",
    "MergedEvent": "MERGED_EVENT",
    "ClosedEvent": "CLOSED_EVENT",
    "ReopenedEvent": "REOPENED_EVENT",
    "LabeledEvent": "LABELED_EVENT",
    "UnlabeledEvent": "UNLABELED_EVENT",
    "AssignedEvent": "ASSIGNED_EVENT",
    "UnassignedEvent": "UNASSIGNED_EVENT",
    "MilestonedEvent": "MILESTONED_EVENT",
    "RenamedTitleEvent": "RENAMED_TITLE_EVENT",
    "ConnectedEvent": "CONNECTED_EVENT",
    "ReviewRequestedEvent": "REVIEW_REQUESTED_EVENT",
    "ReviewRequestRemovedEvent": "REVIEW_REQUEST_REMOVED_EVENT",
}
