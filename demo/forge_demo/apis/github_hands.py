"""The hands of a test on GitHub: what people do there so seldom that no story tells it."""

from __future__ import annotations

from typing import Any

from forge_demo import github_events as gh
from forge_demo.apis.common import Json, Live
from forge_demo.events import Event
from forge_demo.github_places import NEW_OWNER
from forge_demo.github_things import Repo

MAX_BODY = 10_000_000
_FILLER = "Ein großer Text, 長い, 🗺️. "


def act(live: Live, given: Json) -> Json:
    """Do one thing now. Raises ValueError that says what is wrong.

    {"action": "rename", "repository": NAME, "name": NEW}; {"action": "transfer", "repository": NAME};
    {"action": "delete", "repository": NAME, "kind": KIND, "of": NUMBER, ID OR NAME} (kind repository needs no "of");
    {"action": "body", "repository": NAME, "of": NUMBER, "bytes": SIZE}: a description of that size.
    """
    hub = live.state().hub
    name = str(given.get("repository"))
    repo = next(
        (r for r in hub.repos.values() if name.lower() in (r.place.key, r.name.lower(), r.full_name.lower())), None
    )
    if repo is None:
        raise ValueError(f"no repository {name!r}; there are {', '.join(r.name for r in hub.repos.values())}")
    event = _event(live, repo, given)
    live.world.happen(event)
    return {"repository": repo.full_name, "at": event.at.isoformat()}


def _event(live: Live, repo: Repo, given: Json) -> Event:
    at, key = live.clock.now().replace(microsecond=0), repo.place.key
    match given.get("action"):
        case "rename":
            return gh.RepositoryRenamed(at, None, key, repo.owner, str(given["name"]))
        case "transfer":
            return gh.RepositoryRenamed(at, None, key, NEW_OWNER, repo.name)
        case "delete" if given.get("kind") == "repository":
            return gh.RepositoryDeleted(at, None, key)
        case "delete":
            kind = str(given.get("kind"))
            return gh.Removed(at, None, kind, key, _named(live, repo, kind, given.get("of")))
        case "body":
            size = int(given.get("bytes", 0))
            if not 0 <= size <= MAX_BODY:
                raise ValueError(f"bytes must be 0 to {MAX_BODY}; found {size}")
            ref = _named(live, repo, "subject", given.get("of"))
            text = (_FILLER * (size // len(_FILLER.encode()) + 1)).encode()[:size].decode(errors="ignore")
            return gh.BodyEdited(at, None, ref, live.state().hub.subject(ref).author.login, text)
        case other:
            raise ValueError(f"no action {other!r}; there are rename, transfer, delete, body")


def _named(live: Live, repo: Repo, kind: str, of: Any) -> str:
    """What events call the thing that a test names by its number, id or name."""
    hub, wanted = live.state().hub, str(of)
    found: str | None
    if kind == "tag":
        found = wanted if wanted in repo.tags else None
    elif kind == "comment":
        subjects = (*repo.pulls.values(), *repo.issues.values())
        found = next((wanted for s in subjects for c in s.comments if str(c.id) == wanted), None)
    elif kind == "release":
        found = next((ref for ref, r in repo.releases.items() if wanted in (str(r.id), r.created.tag)), None)
    elif kind in ("pull_request", "issue", "subject"):
        held: dict[str, Any] = {
            **(hub.pulls if kind != "issue" else {}),
            **(hub.issues if kind != "pull_request" else {}),
        }
        found = next((ref for ref, it in held.items() if it.repo is repo and str(it.number) == wanted), None)
    elif kind in ("deployment", "run"):
        rows: dict[str, Any] = dict(hub.deployments if kind == "deployment" else hub.runs)
        found = next((ref for ref, it in rows.items() if it.repo is repo and str(it.id) == wanted), None)
    else:
        kinds = "repository, pull_request, issue, release, tag, deployment, run, comment"
        raise ValueError(f"no kind {kind!r}; there are {kinds}")
    if found is None:
        raise ValueError(f"{repo.full_name} has no {kind} {wanted}")
    return found
