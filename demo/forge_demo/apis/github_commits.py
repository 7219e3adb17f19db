"""GitHub's GraphQL objects of git: commits, branches, tags, and the releases made of them."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from forge_demo import events as ev
from forge_demo import github_things as st
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_objects import WEB, Account, Connection, account, paging
from forge_demo.apis.github_runs import CheckSuite, StatusCheckRollup, contexts_of
from forge_demo.github_places import ACCOUNTS, STRANGER, node_id
from forge_demo.organisation import Person

if TYPE_CHECKING:
    from forge_demo.apis.github_graph import Repository

_TRAILER = re.compile(r"^co-authored-by:\s*(.*?)\s*<(.*)>\s*$", re.IGNORECASE | re.MULTILINE)


class Commit:
    """A commit; a merge commit is by who merged."""

    typename, changed_files_if_available = "Commit", 1

    def __init__(self, commit: ev.Commit, repository: Repository) -> None:
        self.commit, self.repository, self.oid = commit, repository, commit.oid
        self.message, self.additions, self.deletions = commit.message, commit.additions, commit.deletions

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("C", self.oid)

    @property
    def abbreviated_oid(self) -> str:
        """Short."""
        return self.oid[:7]

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.repository.url}/commit/{self.oid}"

    @property
    def commit_url(self) -> str:
        """Its page."""
        return self.url

    @property
    def authored_date(self) -> str | None:
        """By the author's clock."""
        return iso_seconds(self.commit.authored_at)

    @property
    def committed_date(self) -> str | None:
        """When it came to be in this form."""
        return iso_seconds(self.commit.committed_at)

    @property
    def message_headline(self) -> str:
        """Its first line."""
        return self.message.partition("\n")[0]

    @property
    def message_body(self) -> str:
        """The rest."""
        return self.message.partition("\n")[2].strip()

    @property
    def author(self) -> GitActor:
        """Who wrote it."""
        return GitActor(ACCOUNTS[self.commit.author], self.commit.authored_at)

    @property
    def committer(self) -> GitActor:
        """Who put it here."""
        return GitActor(ACCOUNTS[self.commit.author], self.commit.committed_at)

    def authors(self, info: Any, **given: Any) -> Connection:
        """The author, then co-authors."""
        known = {person.email: person for person in ACCOUNTS.values()}
        people = [ACCOUNTS[self.commit.author]]
        for name, email in _TRAILER.findall(self.message):
            people.append(known.get(email) or Person("", name, "", 0))
        return Connection(people, lambda p: GitActor(p, self.commit.authored_at), **paging(given))

    @property
    def status_check_rollup(self) -> StatusCheckRollup | None:
        """None without checks."""
        contexts = contexts_of(self.repository.repo, self.oid)
        return StatusCheckRollup(self, contexts) if contexts else None

    def check_suites(self, info: Any, **given: Any) -> Connection:
        """By app and by check."""
        wanted = given.get("filter_by") or {}
        rows = [
            s
            for s in self.repository.repo.suites.get(self.oid, ())
            if wanted.get("appId") in (None, s.app.id)
            and (wanted.get("checkName") is None or any(c.name == wanted["checkName"] for c in s.checks))
        ]
        return Connection(rows, lambda suite: CheckSuite(suite, self.repository.graph), **paging(given))


class GitActor:
    """Name and address in a commit; `user` only of humans with an account, as bots are no users."""

    typename = "GitActor"

    def __init__(self, person: Person, at: datetime) -> None:
        self._person = person
        self.name, self.email, self.date = person.git_name, git_email(person), iso_seconds(at)

    @property
    def user(self) -> Account | None:
        """Whose address it is."""
        return None if self._person.is_agent or not self._person.login else account(self._person)

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.email}"


def git_email(person: Person) -> str:
    """The address in commits; that of nobody belongs to no account."""
    return "ghost-writer@nowhere.example" if person == STRANGER else person.email


class Ref:
    """A branch."""

    typename, prefix = "Ref", "refs/heads/"

    def __init__(self, name: str, oid: str, repository: Repository) -> None:
        self.name, self.repository, self._oid = name, repository, oid

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("REF", f"{self.repository.database_id}/{self.prefix}{self.name}")

    @property
    def target(self) -> Commit | Tag:
        """Its head."""
        return self.repository.commit(self._oid)


class TagRef(Ref):
    """A tag: of a commit, or of a tag object."""

    prefix = "refs/tags/"

    def __init__(self, tag: st.Tag, repository: Repository) -> None:
        super().__init__(tag.created.name, tag.created.sha, repository)
        self._tag = tag

    @property
    def target(self) -> Commit | Tag:
        """The tag object, when it is annotated."""
        return super().target if self._tag.created.message is None else Tag(self._tag, self.repository)


def tag_oid(tag: st.Tag) -> str:
    """The id of an annotated tag's own object."""
    return hashlib.sha256(f"tag/{tag.repo.place.key}/{tag.created.name}".encode()).hexdigest()[:40]


class Tag:
    """An annotated tag's object."""

    typename = "Tag"

    def __init__(self, tag: st.Tag, repository: Repository) -> None:
        it = tag.created
        self.oid, self.name, self.message, self.repository = tag_oid(tag), it.name, it.message, repository
        self.abbreviated_oid, self.id = self.oid[:7], node_id("TA", self.oid)
        self.commit_url = f"{repository.url}/commit/{it.sha}"
        self.tagger, self.target = GitActor(ACCOUNTS[it.tagger], it.at), repository.commit(it.sha)


class Release:
    """A release."""

    typename = "Release"

    def __init__(self, release: st.Release, repository: Repository) -> None:
        self._release, self.repository = release, repository
        it = release.created
        self.database_id, self.id, self.tag_name, self.name = release.id, node_id("RE", release.id), it.tag, it.name
        self.description, self.is_draft, self.is_prerelease = release.body, release.draft, it.prerelease
        self.created_at, self.published_at = iso_seconds(it.at), iso_seconds(release.published_at)
        self.updated_at, self.author = iso_seconds(release.updated_at), account(ACCOUNTS[it.author])
        self.resource_path = f"/{release.repo.full_name}/releases/tag/{it.tag}"
        self.url = WEB + self.resource_path

    @property
    def is_latest(self) -> bool:
        """The newest that is out."""
        latest = latest_release(self._release.repo)
        return latest is self._release

    @property
    def tag(self) -> TagRef | None:
        """None for a draft whose tag is not made yet."""
        tag = self._release.repo.tags.get(self.tag_name)
        return TagRef(tag, self.repository) if tag else None

    @property
    def tag_commit(self) -> Commit | None:
        """What was released."""
        tag = self._release.repo.tags.get(self.tag_name)
        return self.repository.commit(tag.created.sha) if tag else None


def latest_release(repo: st.Repo) -> st.Release | None:
    """The newest that is neither draft nor prerelease."""
    out = [r for r in repo.releases.values() if not r.draft and not r.created.prerelease]
    return max(out, key=lambda r: r.created.at, default=None)
