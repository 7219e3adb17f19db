"""GitHub's own ways, against the truth: what people do seldom, what is deleted, and what a load costs."""

from __future__ import annotations

import json
from typing import Any


def test_what_is_renamed_or_gone(exact: Any) -> None:
    exact.load("github", "github-gone", sweep="1s")
    hand = exact.organisation.ask

    def first(table: str, **wanted: Any) -> Any:
        rows = hand(f"/truth?table=github_{table}")
        return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))

    pull = first("pull_requests", state="MERGED")
    issue, release, tag, deployment = (first(name) for name in ("issues", "releases", "tags", "deployments"))
    gone = {
        "issue": (issue, issue["number"]),
        "release": (release, release["release_id"]),
        "tag": (tag, tag["name"]),
        "deployment": (deployment, deployment["deployment_id"]),
    }
    for kind, (row, name) in gone.items():
        hand("/github", {"action": "delete", "repository": row["repository"], "kind": kind, "of": name})
    names = [row["repository"] for row in hand("/truth?table=github_repositories")]
    renamed = pull["repository"]
    away, deleted = [name for name in names if name != renamed and not name.endswith("vault")][-2:]
    hand("/github", {"action": "rename", "repository": renamed, "name": "a-new-name"})
    hand("/github", {"action": "transfer", "repository": away})
    hand("/github", {"action": "delete", "repository": deleted, "kind": "repository"})
    exact.load("github", "github-gone", sweep="1s")
    exact.assert_equal("github", "github-gone")
    deletions = exact.committed("github_gone", "deletions")
    reasons = {(row["entity"], json.loads(row["entity_key"])[0]): row["reason"] for row in deletions}
    assert sorted(reason for (entity, _), reason in reasons.items() if entity == "repositories") == ["deleted", "moved"]
