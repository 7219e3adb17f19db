"""What was deployed when, and what it broke: deployments, changes, incidents, and the five numbers of DORA."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from forge_demo.oracle.known import Deployment, Known, Pull, Ticket, once, somebody
from forge_demo.oracle.periods import Cells, Row, scopes, seconds, share, stats
from forge_demo.oracle.pulls import is_revert, reverted_by
from forge_demo.oracle.stack import kind_of


@dataclass(frozen=True, slots=True)
class Carried:
    """The first production deployment that brought a merge to production."""

    pull: Pull
    deployment: Deployment
    linked_by: str
    is_baseline: bool

    @property
    def deployed_at(self) -> datetime:
        """When it was there."""
        return _end(self.deployment)


@dataclass(slots=True, eq=False)
class Incident:
    """A ticket of an incident's type, or a revert of no such ticket.

    reverts: which of its pull requests takes which back. elsewhere: keys of causes in projects that are not loaded, of
    which only Jira's links tell.
    """

    key: str
    kind: str
    opened_at: datetime
    resolved_at: datetime | None
    causes: list[Ticket]
    pulls: list[Pull]
    reverts: list[tuple[Pull, Pull]]
    team: str | None
    title: str
    elsewhere: list[str] = field(default_factory=list)
    deployment: Deployment | None = None
    linked_by: str = "none"


def _end(deployment: Deployment) -> datetime:
    assert deployment.finished_at is not None  # noqa: S101 (only of those that are over)
    return deployment.finished_at


def _order(deployment: Deployment) -> tuple[datetime, str]:
    return _end(deployment), deployment.key


@once
def production(known: Known) -> list[Deployment]:
    """Deployments to production."""
    return [d for d in known.deployments if re.search(known.stack.production, d.created.environment)]


@once
def succeeded(known: Known) -> list[Deployment]:
    """Those that came to be, oldest first."""
    return sorted((d for d in production(known) if d.outcome == "succeeded"), key=_order)


@once
def carried(known: Known) -> dict[tuple[int, int], Carried]:
    """What brought each merged pull request to production, by its key.

    Merges land on main one after another, so a deployment of one has all that landed before it.
    """
    found: dict[tuple[int, int], Carried] = {}
    merges = {pull.merged.sha: pull for pull in known.pulls if pull.merged}
    for pull in known.pulls:
        if pull.merged is None:
            continue
        inside = [d for d in succeeded(known) if d.repo is pull.repo]
        for deployment in inside:
            of = merges.get(deployment.created.sha)
            reaches = of.merged.at if of and of.merged else deployment.created.at
            if reaches < pull.merged.at:
                continue
            linked_by = "commit" if of is pull else "ancestry" if of else "time"
            baseline = deployment is inside[0] and linked_by != "commit"
            found[pull.key] = Carried(pull, deployment, linked_by, baseline)
            break
    return found


@once
def loads(known: Known) -> dict[str, list[Carried]]:
    """What each deployment brought first, by its key."""
    found: dict[str, list[Carried]] = {}
    for one in carried(known).values():
        found.setdefault(one.deployment.key, []).append(one)
    return found


# Incidents


@once
def incidents(known: Known) -> list[Incident]:
    """All of them, with the deployment that each is laid to."""
    found = []
    tickets = [t for t in known.tickets if re.search(known.stack.incident, t.created.issue_type)]
    for ticket in tickets:
        mine = [pull for pull in known.pulls if pull.ticket is ticket]
        said = [t for key in dict.fromkeys(ticket.causes) if (t := known.ticket(key)) and not t.gone]
        causes = [t for t in said if known.in_jira(t)]
        incident = Incident(
            ticket.key, "ticket", ticket.at, ticket.resolved_at, causes, mine,
            [(pull, of) for pull in mine if (of := reverted_by(known, pull))], known.team(ticket),
            ticket.created.summary, [t.key for t in said if t not in causes],
        )  # fmt: skip
        _lay(known, incident)
        found.append(incident)
    for pull in known.pulls:
        if pull.merged and is_revert(known, pull) and pull.ticket not in tickets:
            of, there = reverted_by(known, pull), carried(known).get(pull.key)
            resolved = there.deployed_at if there else None
            incident = Incident(
                pull.url, "revert", pull.opened.at, resolved, [], [pull], [(pull, of)] if of else [],
                known.team(pull.repo), pull.title,
            )  # fmt: skip
            _lay(known, incident)
            found.append(incident)
    return found


def _lay(known: Known, incident: Incident) -> None:
    """Find the deployment: by what is said to have caused it, by what it takes back, else by time."""
    there = carried(known)
    by_cause = [
        one.deployment
        for one in there.values()
        if one.pull.ticket in incident.causes and one.deployed_at <= incident.opened_at
    ]
    by_revert = [
        there[of.key].deployment
        for by, of in incident.reverts
        if of.key in there and by.key not in {one.pull.key for one in loads(known)[there[of.key].deployment.key]}
    ]
    if by_cause:
        incident.deployment, incident.linked_by = max(by_cause, key=_order), "cause"
    elif by_revert:
        incident.deployment, incident.linked_by = max(by_revert, key=_order), "revert"
    elif incident.kind == "ticket" or not incident.reverts:
        if incident.pulls:
            near = [d for d in succeeded(known) if d.repo in [pull.repo for pull in incident.pulls]]
        else:
            near = [d for d in succeeded(known) if incident.team and known.team(d.repo) == incident.team]
        before = [d for d in near if _end(d) <= incident.opened_at]
        if before:
            incident.deployment, incident.linked_by = max(before, key=_order), "time"


# Tables


@once
def change_lead_times(known: Known) -> list[Row]:
    """A row a merged pull request."""
    rows = []
    for pull in known.pulls:
        if pull.merged is None:
            continue
        one = carried(known).get(pull.key)
        first, deployed = pull.first_commit_at, one.deployed_at if one else None
        why = None
        if deployed is None or one is None:
            why = "not deployed"
        elif one.is_baseline:
            why = "baseline"
        elif first > deployed:
            why = "first commit after deployment"
        rows.append(
            {
                "repository_id": pull.repo.place.id,
                "repository": pull.repo.full_name,
                "team": known.team(pull.repo),
                "project_key": known.project(pull.ticket),
                "ticket_key": known.key(pull.ticket),
                "pull_request_number": pull.number,
                "url": pull.url,
                "first_commit_at": first,
                "merged_at": pull.merged.at,
                "deployment_key": one.deployment.key if one else None,
                "deployed_at": deployed,
                "linked_by": one.linked_by if one else "none",
                "is_baseline": one is not None and one.is_baseline,
                "is_counted": why is None,
                "excluded_because": why,
                "lead_time_seconds": seconds(first, deployed),
            }
        )
    return rows


@once
def deployment_outcomes(known: Known) -> list[Row]:
    """A row a deployment to production."""
    return [_outcome(known, deployment) for deployment in production(known)]


def _outcome(known: Known, it: Deployment) -> Row:
    brought = loads(known).get(it.key, [])
    broken = [incident for incident in incidents(known) if incident.deployment is it]
    worked = it.outcome == "succeeded"
    incident_keys = {incident.key for incident in incidents(known) if incident.kind == "ticket"}
    again: set[str] = set()
    for one in brought:
        if not one.is_baseline and known.key(one.pull.ticket) in incident_keys:
            again.add(known.key(one.pull.ticket))
        elif not one.is_baseline and is_revert(known, one.pull):
            again.add(one.pull.url)
    ends = [incident.resolved_at for incident in broken]
    recovered = max((end for end in ends if end), default=None) if all(ends) else None
    creator = it.created.actor
    return {
        "deployment_key": it.key,
        "kind": "github_deployment",
        "repository_id": it.repo.place.id,
        "repository": it.repo.full_name,
        "team": known.team(it.repo),
        "environment": it.created.environment,
        "sha": it.created.sha,
        "creator_login": creator,
        "creator_kind": kind_of(somebody(creator)),
        "outcome": it.outcome,
        "created_at": it.created.at,
        "finished_at": it.finished_at,
        "changes": len(brought),
        "change_urls": sorted({one.pull.url for one in brought}),
        "ticket_keys": sorted({known.key(one.pull.ticket) for one in brought} - {""}),
        "is_failed": bool(broken) if worked else None,
        "incident_keys": sorted({incident.key for incident in broken}),
        "first_incident_at": min((incident.opened_at for incident in broken), default=None),
        "recovered_at": recovered,
        "recovery_seconds": seconds(it.finished_at, recovered),
        "is_rework": bool(again) if worked else None,
        "rework_because": ", ".join(sorted(again)) if again and worked else None,
    }


def dora_metrics(known: Known) -> list[Row]:
    """A row a period and scope."""
    cells = Cells()
    for row, it in zip(deployment_outcomes(known), production(known), strict=True):
        where = scopes(row["team"], None, row["repository"])
        projects = {known.project(one.pull.ticket) for one in loads(known).get(it.key, [])} - {None}
        where += [("project", project) for project in sorted(p for p in projects if p)]
        if row["outcome"] != "pending":
            cells.add(row["outcome"], row["finished_at"], where, row)
    for row in change_lead_times(known):
        if row["is_counted"]:
            cells.add("changes", row["deployed_at"], scopes(row["team"], row["project_key"], row["repository"]), row)

    def numbers(facts: Mapping[str, list[Row]]) -> Row:
        came = facts["succeeded"]
        broke = [row for row in came if row["is_failed"]]
        rework = sum(row["is_rework"] for row in came)
        times = [row["recovery_seconds"] for row in broke if row["recovery_seconds"] is not None]
        return {
            "deployments": len(came),
            "failed_deployments": len(broke),
            "deployments_attempted_failed": len(facts["failed"]),
            "change_fail_rate": share(len(broke), len(came)),
            "rework_deployments": rework,
            "rework_rate": share(rework, len(came)),
            "deployment_days": len({row["finished_at"].date() for row in came}),
            "changes": len(facts["changes"]),
            **stats("change_lead_time_seconds", (row["lead_time_seconds"] for row in facts["changes"])),
            "recoveries": len(times),
            **stats("recovery_time_seconds", times),
        }

    return cells.rows(numbers)
