"""Where people have to agree: plans and reviews, how long they wait, and how far tickets come."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from forge_demo import organisation as org
from forge_demo.oracle import pulls
from forge_demo.oracle.known import Known, Pull, Score, Stay, Ticket, once, somebody
from forge_demo.oracle.periods import Cells, Row, scopes, seconds, share, stats
from forge_demo.oracle.stack import kind_of
from forge_demo.organisation import Person

GATES = ("proposed", "plan_approved", "pull_request_opened", "reviewed", "approved", "merged", "deployed")
_WAITS = {
    "plan_approved": "plan_wait_seconds",
    "pull_request_opened": "open_wait_seconds",
    "reviewed": "review_wait_seconds",
    "approved": "approve_wait_seconds",
    "merged": "merge_wait_seconds",
    "deployed": "deploy_wait_seconds",
}
_APPROVAL = re.compile(r"(approved|lgtm|/approve)\b", re.IGNORECASE)
_REJECTION = re.compile(r"(rejected|changes requested|/reject)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Decision:
    """Somebody let something through, or did not. `account` as `system` names it."""

    ticket: Ticket | None
    gate: str
    subject: str
    requested_at: datetime | None
    decided_at: datetime
    approved: bool
    person: Person | None
    system: str
    account: str | None
    reason: str | None
    evidence: str

    @property
    def wait(self) -> float | None:
        """How long it was waited for."""
        return seconds(self.requested_at, self.decided_at)


@once
def decisions(known: Known) -> list[Decision]:
    """All of them, of plans and of reviews."""
    found: list[Decision] = []
    for ticket in known.tickets:
        found += [
            _plan(known, ticket, stay, stay.left_at)
            for stay in ticket.stays
            if stay.left_at is not None and re.search(known.stack.plan_approval, stay.status.name)
        ]
    for pull in known.pulls:
        found += _reviews(pull)
    return found


def _plan(known: Known, ticket: Ticket, stay: Stay, end: datetime) -> Decision:
    def within(at: datetime) -> bool:
        return stay.entered_at <= at <= end

    def decided(
        approved: bool, person: Person | None, system: str, account: str | None, reason: str | None, evidence: str
    ) -> Decision:
        words = (reason or "").strip() or None
        return Decision(
            ticket, "plan", str(stay.index), stay.entered_at, end, approved, person, system, account, words, evidence
        )

    given: list[Score] = [
        score
        for trace in known.traces
        if trace.ticket is ticket
        for score in trace.scores
        if score.added.name == known.stack.plan_score and within(score.at)
    ]
    if given:
        score = max(given, key=lambda s: (s.at, s.added.id))
        account = score.added.author or known.trace(score.added.trace).metadata.get("approver")
        person = org.BY_LOGIN.get(account or "")
        return decided(score.value > 0.5, person, "langfuse", account, score.comment, "score")
    for at, author, text in reversed(ticket.comments):
        body = "\n".join(line for line in text.split("\n") if line)
        verdict = True if _APPROVAL.match(body) else False if _REJECTION.match(body) else None
        if within(at) and verdict is not None:
            return decided(verdict, author, "jira", author.account_id, body, "comment")
    following = ticket.stays[stay.index]
    approved = not following.is_reentry and following.kind not in ("queue", "done")
    person = following.by
    return decided(approved, person, "jira", person.account_id if person else None, None, "status")


def _reviews(pull: Pull) -> list[Decision]:
    found = []
    for review in pulls.human_reviews(pull):
        if review.state in ("APPROVED", "CHANGES_REQUESTED"):
            ready = pull.ready_at if pull.ready_at and pull.ready_at <= review.at else None
            asked = [c.committed_at for c in pull.commits if c.committed_at < review.at]
            found.append(
                Decision(
                    pull.ticket,
                    "review",
                    pull.url,
                    max([ready, *asked]) if ready else None,
                    review.at,
                    review.state == "APPROVED",
                    review.by,
                    "github",
                    review.by.login if review.by else None,
                    review.body.strip() or None,
                    "review",
                )
            )
    return found


# Tables


@once
def approval_funnel(known: Known) -> list[Row]:
    """A row a ticket that is no epic."""
    return [_funnel(known, ticket) for ticket in known.tickets if ticket.created.issue_type != "Epic"]


def _funnel(known: Known, it: Ticket) -> Row:
    flow = {(row["repository_id"], row["pull_request_number"]): row for row in pulls.pull_request_flow(known)}
    mine = [flow[pull.key] for pull in known.pulls if pull.ticket is it]
    made = [decision for decision in decisions(known) if decision.ticket is it]
    plans = [decision for decision in made if decision.gate == "plan"]
    asked = (s.entered_at for s in it.stays if re.search(known.stack.plan_approval, s.status.name))

    def least(column: str) -> datetime | None:
        return min((row[column] for row in mine if row[column]), default=None)

    planned = min((decision.decided_at for decision in plans if decision.approved), default=None)
    opened, reviewed, approved = least("created_at"), least("first_human_reviewed_at"), least("approved_at")
    merged, deployed = least("merged_at"), least("deployed_at")
    first = min(
        (row for row in mine if row["first_human_reviewed_at"]),
        key=lambda row: (row["first_human_reviewed_at"], row["repository_id"], row["pull_request_number"]),
        default=None,
    )
    waits = [decision.wait for decision in plans if decision.wait is not None]
    times = dict(zip(GATES, (it.at, planned, opened, reviewed, approved, merged, deployed), strict=True))
    no = sorted(
        (d for d in made if not d.approved), key=lambda d: (d.decided_at, d.gate, d.subject.encode(), d.reason or "")
    )
    return {
        "ticket_key": it.key,
        "project_key": it.project,
        "team": known.team(it),
        "issue_type": it.created.issue_type,
        "proposed_at": it.at,
        "plan_requested_at": min(asked, default=None),
        "plan_approved_at": planned,
        "pull_request_opened_at": opened,
        "first_reviewed_at": reviewed,
        "approved_at": approved,
        "merged_at": merged,
        "deployed_at": deployed,
        "plan_wait_seconds": sum(waits) if waits else None,
        "open_wait_seconds": seconds(planned or it.at, opened),
        "review_wait_seconds": seconds(first["ready_at"], reviewed) if first else None,
        "approve_wait_seconds": seconds(reviewed, approved),
        "merge_wait_seconds": seconds(approved, merged),
        "deploy_wait_seconds": seconds(merged, deployed),
        "plan_rejections": sum(not decision.approved for decision in plans),
        "review_rejections": sum(decision.gate == "review" for decision in no) if known.loads("github") else None,
        "rejection_reasons": [decision.reason for decision in no if decision.reason],
        "reached": next(gate for gate in reversed(GATES) if times[gate]),
    }


_AT = dict(
    zip(
        GATES,
        (
            "proposed_at",
            "plan_approved_at",
            "pull_request_opened_at",
            "first_reviewed_at",
            "approved_at",
            "merged_at",
            "deployed_at",
        ),
        strict=True,
    )
)


def approval_funnel_metrics(known: Known) -> list[Row]:
    """A row a period of the proposal, scope and gate."""
    cells = Cells("gate")
    for row in approval_funnel(known):
        where = scopes(row["team"], row["project_key"])
        for gate in GATES:
            cells.add("proposed", row["proposed_at"], where, (gate, row), ((gate,),))

    def numbers(facts: Mapping[str, list[tuple[str, Row]]]) -> Row:
        gate = facts["proposed"][0][0]
        if gate not in GATES[:2] and not known.loads("github"):
            return {"tickets": None, "conversion": None, **stats("wait_seconds", [])}
        reached = [row for _, row in facts["proposed"] if row[_AT[gate]]]
        waits = [row[_WAITS[gate]] for row in reached] if gate in _WAITS else []
        return {
            "tickets": len(reached),
            "conversion": share(len(reached), len(facts["proposed"])),
            **stats("wait_seconds", waits),
        }

    return cells.rows(numbers)


def approver_load(known: Known) -> list[Row]:
    """A row a period, person and gate."""
    cells = Cells("approver", "gate")
    for decision in decisions(known):
        if kind_of(decision.person) == "human" and decision.person is not None:
            who = ((_identity(known, decision), decision.gate),)
            cells.add("made", decision.decided_at, [("all", "")], decision, who)

    def numbers(facts: Mapping[str, list[Decision]]) -> Row:
        made = facts["made"]
        approved = sum(decision.approved for decision in made)
        return {
            "decisions": len(made),
            "approved": approved,
            "rejected": len(made) - approved,
            **stats("wait_seconds", (decision.wait for decision in made)),
        }

    rows = cells.rows(numbers)
    return [{name: value for name, value in row.items() if not name.startswith("scope")} for row in rows]


@once
def seen_in_github(known: Known) -> set[Person | None]:
    """Who did anything in the repositories that are loaded."""
    found: set[Person | None] = set()
    for pull in known.pulls:
        found |= {pull.author, *(review.by for review in pull.reviews), *(somebody(c.author) for c in pull.commits)}
        found |= {somebody(event.actor) for event in pull.events if hasattr(event, "actor")}
    for run in known.runs:
        found |= set(run.actors)
    return found | {somebody(deployment.created.actor) for deployment in known.deployments}


def _identity(known: Known, decision: Decision) -> str:
    """What somebody is called whatever the system: the GitHub login, where the account can be told to be the same.

    A Langfuse user is called like it; of Jira's names only those tell it whose letters spell it.
    """
    person = decision.person
    assert person is not None  # noqa: S101 (only people decide)
    plain = unicodedata.normalize("NFKD", person.name).encode("ascii", "ignore").decode()
    spelt = re.sub(r"[^a-z0-9]+", "-", plain.lower()) == person.login
    if decision.system == "github" or (person in seen_in_github(known) and (decision.system == "langfuse" or spelt)):
        return person.login
    return f"{decision.system}:{decision.account}"
