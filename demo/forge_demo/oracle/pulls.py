"""Pull requests: what each went through, and by period."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from forge_demo import events as ev
from forge_demo.github_places import ACCOUNTS
from forge_demo.oracle.known import Known, Pull, Review, Run, Stay, once
from forge_demo.oracle.periods import Cells, Row, mean, quantile, scopes, seconds, share, stats
from forge_demo.oracle.stack import kind_of

DURABLE = timedelta(days=7)
FAILED = ("failure", "timed_out", "startup_failure")
GAPS = ("coding", "pickup", "review", "merge", "deploy", "cycle")
_KEYED = re.compile(r"^\[?[A-Z][A-Z0-9]+-[0-9]+\]?:?\s*")
_NUMBERED = re.compile(r"\bReverts\s+(?:([\w.-]+/[\w.-]+))?#([0-9]+)")
_QUOTED = re.compile(r'Revert "(.*)"')


def is_revert(known: Known, pull: Pull) -> bool:
    """Whether it takes another one back, by its title."""
    bare = _KEYED.sub("", pull.title)
    return re.search(known.stack.revert, pull.title) is not None or (bare != pull.title and bare.startswith('Revert "'))


def reverted_by(known: Known, pull: Pull) -> Pull | None:
    """What it takes back: what its text numbers, else the newest merge before it with the title that it quotes."""
    near = [other for other in known.pulls if other.repo is pull.repo]
    numbered = _NUMBERED.search(pull.body)
    if numbered is not None and numbered.group(1) in (None, pull.repo.full_name):
        return next((other for other in near if other.number == int(numbered.group(2))), None)
    named = _QUOTED.search(pull.title)
    if not is_revert(known, pull) or named is None:
        return None
    before = [
        (other.merged.at, other.number, other)
        for other in near
        if other.merged and other.merged.at <= pull.opened.at and named.group(1) == other.title
    ]
    return max(before, key=lambda found: found[:2])[2] if before else None


@once
def reverts(known: Known) -> dict[tuple[int, int], datetime]:
    """When each pull request that was taken back was: the first merge of one that does."""
    found: dict[tuple[int, int], datetime] = {}
    for pull in known.pulls:
        if pull.merged and (of := reverted_by(known, pull)) is not None:
            found[of.key] = min(found.get(of.key, pull.merged.at), pull.merged.at)
    return found


def commit_kind(commit: ev.Commit) -> str:
    """Who wrote a commit; git names even those whose account is gone."""
    return kind_of(ACCOUNTS[commit.author])


def human_reviews(pull: Pull) -> list[Review]:
    """Those by people other than the author."""
    return [review for review in pull.by_others if kind_of(review.by) == "human"]


def stepped_in(known: Known, pull: Pull) -> list[Stay]:
    """Where a human put the ticket back while the pull request was open."""
    end = pull.closed_at
    ticket = known.in_jira(pull.ticket)
    return [
        stay
        for stay in (ticket.stays if ticket else ())
        if stay.is_reentry
        and kind_of(stay.by) == "human"
        and stay.entered_at >= pull.opened.at
        and (end is None or stay.entered_at <= end)
    ]


def _first(reviews: list[Review], *states: str) -> datetime | None:
    return next((r.at for r in reviews if not states or r.state in states), None)


def _first_pass(pull: Pull) -> bool | None:
    humans = human_reviews(pull)
    if not humans:
        return None
    approved = _first(humans, "APPROVED")
    if approved is None or any(r.state == "CHANGES_REQUESTED" and r.at <= approved for r in humans):
        return False
    until = pull.merged_at
    return not any(c.committed_at > humans[0].at and (until is None or c.committed_at <= until) for c in pull.commits)


def _rounds(pull: Pull) -> int:
    """Changes that were asked for and then came: each new batch of commits once."""
    answers = set()
    for review in pull.by_others:
        later = [c.committed_at for c in pull.commits if c.committed_at > review.at]
        if review.state == "CHANGES_REQUESTED" and later:
            answers.add(min(later))
    return len(answers)


def _first_ci(pull: Pull) -> str | None:
    runs = sorted(pull.runs, key=lambda run: (run.created_at, run.id))
    ends = {run.conclusion(1) for run in runs if run.sha == runs[0].sha}
    return "failure" if ends & set(FAILED) else "success" if "success" in ends else None


def _fixes(runs: list[Run]) -> int:
    return sum(
        run.conclusion(run.last) in FAILED
        and any(r.name == run.name and r.sha != run.sha and r.created_at > run.created_at for r in runs)
        for run in runs
    )


@once
def pull_request_flow(known: Known) -> list[Row]:
    """A row a pull request."""
    from forge_demo.oracle import dora

    return [_flow(known, pull, dora.carried(known).get(pull.key)) for pull in known.pulls]


def _flow(known: Known, pull: Pull, carried: Any) -> Row:
    author = pull.author
    others, humans = pull.by_others, human_reviews(pull)
    first_reviewed = _first([r for r in others if kind_of(r.by) != "bot"])
    approved = _first(humans, "APPROVED")
    ticket = known.in_jira(pull.ticket)
    by_kind = [commit_kind(commit) for commit in pull.commits]
    intervened = None
    if kind_of(author) == "agent":
        intervened = "human" in by_kind or bool(stepped_in(known, pull))
    reverted_at = reverts(known).get(pull.key)
    deployed = carried.deployed_at if carried else None
    return {
        "repository_id": pull.repo.place.id,
        "repository": pull.repo.full_name,
        "team": known.team(pull.repo),
        "pull_request_number": pull.number,
        "url": pull.url,
        "title": pull.title,
        "ticket_key": known.key(pull.ticket),
        "project_key": known.project(pull.ticket),
        "issue_type": ticket.created.issue_type if ticket else None,
        "author_login": author.login if author else None,
        "author_kind": kind_of(author),
        "state": "MERGED" if pull.merged else "CLOSED" if pull.closed else "OPEN",
        "link_method": pull.method,
        "created_at": pull.opened.at,
        "first_commit_at": pull.first_commit_at,
        "ready_at": pull.ready_at,
        "first_reviewed_at": first_reviewed,
        "first_human_reviewed_at": _first(humans),
        "approved_at": approved,
        "merged_at": pull.merged_at,
        "closed_at": pull.closed_at,
        "deployed_at": deployed,
        "coding_seconds": seconds(pull.first_commit_at, pull.ready_at),
        "pickup_seconds": seconds(pull.ready_at, first_reviewed),
        "review_seconds": seconds(first_reviewed, approved),
        "merge_seconds": seconds(approved, pull.merged_at),
        "deploy_seconds": None if carried is None or carried.is_baseline else seconds(pull.merged_at, deployed),
        "cycle_seconds": seconds(pull.first_commit_at, pull.merged_at),
        "additions": sum(c.additions for c in pull.commits),
        "deletions": sum(c.deletions for c in pull.commits),
        "changed_files": pull.files,
        "commits_count": len(pull.commits),
        "reviews": len(others),
        "human_reviews": len(humans),
        "changes_requested": sum(r.state == "CHANGES_REQUESTED" for r in others),
        "revision_cycles": _rounds(pull),
        "is_first_pass": _first_pass(pull),
        "human_commits": by_kind.count("human"),
        "agent_commits": by_kind.count("agent"),
        "is_human_intervened": intervened,
        "ci_runs": len(pull.runs),
        "first_ci_conclusion": _first_ci(pull) if pull.runs else None,
        "fix_attempts": _fixes(pull.runs),
        "is_reverted": reverted_at is not None,
        "reverted_at": reverted_at,
        "is_merged": pull.merged is not None,
    }


def lasted(row: Row) -> bool:
    """Whether what was merged was not taken back within a week."""
    return row["reverted_at"] is None or row["reverted_at"] > row["merged_at"] + DURABLE


def pull_request_metrics(known: Known) -> list[Row]:
    """A row a period, scope and kind of author ('': all)."""
    cells = Cells("author_kind")
    for row in pull_request_flow(known):
        where = scopes(row["team"], row["project_key"], row["repository"])
        kinds = (("",), (row["author_kind"],))
        cells.add("opened", row["created_at"], where, row, kinds)
        if row["is_merged"]:
            cells.add("merged", row["merged_at"], where, row, kinds)
        else:
            cells.add("closed", row["closed_at"], where, row, kinds)

    def numbers(facts: Mapping[str, list[Row]]) -> Row:
        merged, closed = facts["merged"], len(facts["closed"])
        judged = [row for row in merged if row["is_first_pass"] is not None]
        found: Row = {
            "opened": len(facts["opened"]),
            "merged": len(merged),
            "closed_unmerged": closed,
            "merge_rate": share(len(merged), len(merged) + closed),
        }
        for gap in GAPS:
            found |= stats(f"{gap}_seconds", (row[f"{gap}_seconds"] for row in merged))
        return found | {
            "revision_cycles_mean": mean([row["revision_cycles"] for row in merged]),
            "first_pass_rate": share(sum(row["is_first_pass"] for row in judged), len(judged)),
            "reverted_rate": share(sum(not lasted(row) for row in merged), len(merged)),
            "lines_changed_p50": quantile((row["additions"] + row["deletions"] for row in merged), 0.5),
        }

    return cells.rows(numbers)
