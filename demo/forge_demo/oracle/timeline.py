"""Everything that happened to a ticket, one thing after another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo.github_places import ACCOUNTS, GHOST, STRANGER
from forge_demo.oracle import costs, dora, funnel, pulls, quality
from forge_demo.oracle.known import Known, Pull, Ticket, somebody
from forge_demo.oracle.periods import Row, seconds
from forge_demo.oracle.stack import kind_of
from forge_demo.organisation import Person

NOT_SAID = ...
"""A text in gold's own words: any will do."""


def ticket_timeline(known: Known) -> list[Row]:
    """A row a thing, numbered within its ticket."""
    rows: list[Row] = []
    for ticket in known.named:
        mine = [pull for pull in known.pulls if pull.ticket is ticket]
        found = [
            *_jira(known, ticket),
            *_langfuse(known, ticket),
            *_plans(known, ticket),
            *_shipped(known, ticket, mine),
        ]
        for pull in mine:
            found += _pull(pull)
            found += _ci(pull)
        rows += _numbered(known.key(ticket), found)
    for key in sorted({key for incident in dora.incidents(known) for key in incident.elsewhere}):
        there = [incident for incident in dora.incidents(known) if key in incident.elsewhere]
        rows += _numbered(key, [row for incident in there for row in _broken(incident)])
    return rows


def _numbered(key: str, found: list[Row]) -> list[Row]:
    ordered = enumerate(sorted(found, key=_order), 1)
    return [{"ticket_key": key, "sequence": number, **row} for number, row in ordered]


def _order(row: Row) -> tuple[Any, ...]:
    texts = (row["kind"], row["ref"], row["title"], row["detail"])
    return (row["at"], *(text.encode() if isinstance(text, str) else b"" for text in texts))


def _row(
    at: datetime | None,
    kind: str,
    source: str,
    ref: str,
    title: str,
    detail: Any = None,
    actor: str | None = None,
    actor_kind: str = "unknown",
    **numbers: Any,
) -> Iterator[Row]:
    if at is not None:
        row = {
            "at": at,
            "kind": kind,
            "actor": actor,
            "actor_kind": actor_kind,
            "title": title,
            "detail": detail or None,
            "ref": ref,
            "source": source,
        }
        yield row | dict.fromkeys(("duration_seconds", "cost_usd", "tokens", "value"), None) | numbers


def _jira(known: Known, it: Ticket) -> Iterator[Row]:
    if known.in_jira(it) is None:
        return
    reporter = org.BY_LOGIN[it.created.reporter]
    yield from _row(
        it.at, "created", "jira", it.key, it.created.summary, it.created.issue_type, reporter.name, kind_of(reporter)
    )
    for before, stay in zip(it.stays, it.stays[1:], strict=False):
        change = f"{before.status.name} -> {stay.status.name}"
        ref = f"{it.key}/{stay.index}"
        name = stay.by.name if stay.by else None
        yield from _row(stay.entered_at, "status_changed", "jira", ref, change, None, name, kind_of(stay.by))
    yield from _row(it.resolved_at, "resolved", "jira", it.key, it.resolution or "")


def _langfuse(known: Known, it: Ticket) -> Iterator[Row]:
    for run in costs.agent_runs(known):
        if run["ticket_key"] == known.key(it):
            yield from _row(
                run["started_at"],
                "agent_run",
                "langfuse",
                run["trace_id"],
                run["stage"] or run["trace_name"],
                run["error"],
                run["agent"],
                run["agent_kind"],
                duration_seconds=run["duration_seconds"],
                cost_usd=run["cost_usd"],
                tokens=run["total_tokens"],
            )
    by_id = {score.added.id: score for score in known.scores}
    for row in quality.quality_outcomes(known):
        if row["ticket_key"] == known.key(it):
            score = by_id[row["score_id"]]
            author = score.added.author
            detail = ": ".join(text for text in (row["string_value"], score.comment) if text)
            yield from _row(
                score.at, "score", "langfuse", score.added.id, score.added.name, detail, author,
                "human" if author else "unknown", value=row["value"],
            )  # fmt: skip


def _plans(known: Known, it: Ticket) -> Iterator[Row]:
    for made in funnel.decisions(known):
        if made.ticket is it and made.gate == "plan":
            yield from _row(
                made.decided_at,
                "plan_decided",
                "langfuse" if made.evidence == "score" else "jira",
                f"{it.key}/{made.subject}",
                "approved" if made.approved else "rejected",
                made.reason,
                made.account,
                kind_of(made.person),
            )


def _pull(it: Pull) -> Iterator[Row]:
    where = f"{it.repo.full_name}#{it.number}"

    def told(at: datetime | None, kind: str, login: str | None) -> Iterator[Row]:
        person = somebody(login) if login else None
        name = person.login if person else None
        return _row(at, kind, "github", it.url, it.title, where, name, kind_of(person))

    yield from told(it.opened.at, "pull_request_opened", it.opened.author)
    for event in it.events:
        if isinstance(event, ev.ReadyForReview):
            yield from told(event.at, "ready_for_review", event.actor)
        elif isinstance(event, gh.HeadForcePushed):
            yield from told(event.at, "force_pushed", event.actor)
    if it.merged:
        yield from told(it.merged.at, "merged", it.merged.actor)
    elif it.closed:
        yield from told(it.closed.at, "closed", it.closed.actor)
    for commit in it.commits:
        author = ACCOUNTS[commit.author]
        yield from _row(
            commit.committed_at, "commits_pushed", "github", f"{it.url}/commits/{commit.oid}",
            commit.message.split("\n")[0], where, _signed(author), pulls.commit_kind(commit),
        )  # fmt: skip
    for number, review in enumerate(it.reviews, 1):
        name = review.by.login if review.by else None
        ref = f"{it.url}#review-{number}"
        yield from _row(review.at, "reviewed", "github", ref, review.state, where, name, kind_of(review.by))


def _signed(author: Person) -> str:
    """What a commit says of its author: the login, else the name."""
    return author.git_name if author in (GHOST, STRANGER) else author.login


def _ci(it: Pull) -> Iterator[Row]:
    for run in it.runs:
        actor = run.actors[0]
        for attempt in range(1, run.last + 1):
            began = run.began(attempt)
            yield from _row(
                began, "ci_run", "github", f"{it.repo.full_name}/actions/runs/{run.id}/attempts/{attempt}", run.name,
                run.conclusion(attempt), actor.login if actor else None, kind_of(actor),
                duration_seconds=seconds(began, run.ended(attempt)),
            )  # fmt: skip


def _shipped(known: Known, it: Ticket, mine: list[Pull]) -> Iterator[Row]:
    shas = {commit.oid for pull in mine for commit in pull.commits} | {p.merged.sha for p in mine if p.merged}
    keys = {one.deployment.key for pull in mine if (one := dora.carried(known).get(pull.key))}
    for deployment in known.deployments:
        if deployment.created.sha in shas or deployment.key in keys:
            actor = somebody(deployment.created.actor)
            yield from _row(
                deployment.finished_at or deployment.created.at, "deployed", "github", deployment.key,
                deployment.repo.full_name, f"{deployment.created.environment} {deployment.outcome}",
                actor.login if actor else None, kind_of(actor),
            )  # fmt: skip
    for incident in dora.incidents(known):
        if it in incident.causes:
            yield from _broken(incident)


def _broken(incident: dora.Incident) -> Iterator[Row]:
    source = "jira" if incident.kind == "ticket" else "github"
    for at, kind in ((incident.opened_at, "incident_opened"), (incident.resolved_at, "incident_resolved")):
        yield from _row(at, kind, source, incident.key, incident.title, NOT_SAID)
