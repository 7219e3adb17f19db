"""What the operator knows: the newest version counts, what concerns nobody wakes nobody, what is gone stays gone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from forge_operator.cache import Cache
from forge_operator.credentials import SECRET, Credentials
from forge_operator.names import CHILDREN, Key
from forge_operator.stacks import PARSED, Stacks
from forge_operator.watch import Collection
from stack_objects import RICH

ACME = ("team-a", "acme")
Manifest = dict[str, Any]


def child(version: int, kind: str = "Service", name: str = "acme-api", stack: str = "acme", **body: Any) -> Manifest:
    return {
        "apiVersion": CHILDREN[kind].api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "labels": {"observability.forge.dev/stack": stack},
            "ownerReferences": [{"kind": "X", "name": "x", "uid": "uid-of-acme", "controller": True}],
            "managedFields": [{"manager": "forge-operator"}],
        },
        **body,
    }


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def cache(woken: list[Key]) -> Cache:
    return Cache(woken.append)


def test_a_change_wakes_the_stack_and_news_of_the_same_does_not(cache: Cache, woken: list[Key]) -> None:
    cache.put(child(1, spec={"ports": [80]}))
    cache.put(child(2, spec={"ports": [80]}, status={"loadBalancer": {}}))
    assert woken == [ACME], "nobody decides by a Service's status"
    cache.put(child(3, spec={"ports": [81]}))
    assert woken == [ACME, ACME]
    cache.put(child(2, spec={"ports": [80]}))
    assert woken == [ACME, ACME]
    entry = cache.of(ACME)["Service", "acme-api"]
    assert (entry.version, entry.owner) == (3, "uid-of-acme")
    whole = entry.whole()
    assert whole is not None and whole["spec"] == {"ports": [81]} and whole["metadata"]["managedFields"]


def test_what_this_process_wrote_wakes_nobody_and_needs_no_comparison(cache: Cache, woken: list[Key]) -> None:
    cache.put(child(5, spec={}), ours=True)
    cache.put(child(5, spec={}))
    assert woken == []
    assert cache.of(ACME)["Service", "acme-api"].whole() is None


def test_a_pod_on_its_way_wakes_nobody_a_pod_in_trouble_does(cache: Cache, woken: list[Key]) -> None:
    def pod(version: int, **state: Any) -> Manifest:
        status = {"phase": "Pending", "containerStatuses": [{"name": "api", "image": "api:1", "state": state}]}
        return child(version, "Pod", "acme-api-x", status=status)

    cache.put(pod(1))
    cache.put(pod(2, waiting={"reason": "ContainerCreating"}))
    cache.put(pod(3, running={"startedAt": "2026-11-24T12:00:00Z"}))
    assert woken == [ACME]
    cache.put(pod(4, waiting={"reason": "ImagePullBackOff"}))
    assert woken == [ACME, ACME]


def test_the_end_of_an_object_outlives_an_answer_that_was_long_on_its_way(cache: Cache, woken: list[Key]) -> None:
    cache.drop(child(7, "Job", "acme-load-x"))
    cache.put(child(6, "Job", "acme-load-x"), ours=True)
    assert cache.of(ACME) == {}
    cache.put(child(8, "Job", "acme-load-x"))
    assert ("Job", "acme-load-x") in cache.of(ACME)


def test_what_a_list_does_not_hold_is_gone(cache: Cache, woken: list[Key]) -> None:
    """After a version that was too old (410) nobody tells of what went meanwhile."""
    cache.put(child(1, name="kept"))
    cache.put(child(2, name="ghost"))
    cache.put(child(9, name="made-since"), ours=True)
    cache.put(child(3, "ConfigMap", "other-kind"))
    woken.clear()
    cache.keep(Collection(CHILDREN["Service"]), {("team-a", "kept")}, version=5)
    assert {name for _, name in cache.of(ACME)} == {"kept", "made-since", "other-kind"}
    assert woken == [ACME]


def test_a_child_that_is_given_to_another_stack_wakes_both(cache: Cache, woken: list[Key]) -> None:
    cache.put(child(1))
    woken.clear()
    cache.put(child(2, stack="other"))
    assert set(woken) == {ACME, ("team-a", "other")}
    assert cache.of(ACME) == {}


class OneSecret:
    """An API server with one Secret, or none."""

    def __init__(self) -> None:
        self.value: Manifest | None = None
        self.asked = 0
        self.meanwhile: Any = None

    async def get(self, *_: object) -> Manifest | None:
        self.asked += 1
        found = copy.deepcopy(self.value)
        if self.meanwhile is not None:
            self.meanwhile()
        return found


def secret(version: int, **data: str) -> Manifest:
    meta = {"name": "github", "namespace": "team-a", "uid": "s", "resourceVersion": str(version)}
    return {"metadata": meta, "data": data}


async def test_a_secret_is_read_once_and_again_when_it_changed(woken: list[Key]) -> None:
    api = OneSecret()
    known = Credentials(api, woken.append)  # type: ignore[arg-type]
    assert await known.read("team-a", "github", ACME) is None
    assert await known.read("team-a", "github", ACME) is None
    assert api.asked == 1
    api.value = secret(4, token="a")
    known.put(secret(4))
    assert woken == [ACME]
    found = await known.read("team-a", "github", ACME)
    assert found is not None and found["data"] == {"token": "a"}
    known.put(secret(4))
    assert woken == [ACME], "that version is known"
    known.keep(Collection(SECRET, meta=True), set(), version=9)
    assert woken == [ACME, ACME]


async def test_an_answer_that_was_overtaken_is_not_kept(woken: list[Key]) -> None:
    api = OneSecret()
    known = Credentials(api, woken.append)  # type: ignore[arg-type]
    api.value = secret(1, token="old")
    api.meanwhile = lambda: known.put(secret(2))
    await known.read("team-a", "github", ACME)
    api.meanwhile, api.value = None, secret(2, token="new")
    found = await known.read("team-a", "github", ACME)
    assert found is not None and found["data"] == {"token": "new"}


async def test_of_secrets_that_no_stack_needs_nothing_is_kept(woken: list[Key]) -> None:
    known = Credentials(OneSecret(), woken.append)  # type: ignore[arg-type]
    for number in range(100):
        known.put({"metadata": {"name": f"s{number}", "namespace": "team-b", "uid": "", "resourceVersion": "1"}})
    assert woken == []
    assert not known._known and not known._news
    await known.read("team-a", "github", ACME)
    known.forget(ACME)
    assert not known._known and not known._readers


def stack(version: int, name: str = "acme", **meta: Any) -> Manifest:
    found = copy.deepcopy(RICH)
    found["metadata"] |= {"name": name, "uid": f"uid-of-{name}", "resourceVersion": str(version), **meta}
    return found


def test_an_older_version_of_a_stack_changes_nothing_unless_it_was_made_anew(woken: list[Key]) -> None:
    stacks = Stacks(woken.append)
    stacks.put(stack(5, generation=2))
    stacks.put(stack(4, generation=1))
    kept = stacks.get(ACME)
    assert kept is not None and kept["metadata"]["generation"] == 2
    stacks.put(stack(3, uid="another"))
    kept = stacks.get(ACME)
    assert kept is not None and kept["metadata"]["uid"] == "another"
    stacks.drop(ACME, "uid-of-acme")
    assert stacks.get(ACME) is not None, "it was the earlier one that went"


def test_a_watch_that_tells_less_than_the_list_shows(woken: list[Key]) -> None:
    stacks = Stacks(woken.append)
    stacks.hear("ADDED", stack(1))
    stacks.hear("ADDED", stack(2, "gone"))
    stacks.keep({("team-b", "x"): 1}, "team-b")
    assert list(stacks) == [ACME, ("team-a", "gone")], "a list of another namespace"
    stacks.keep({ACME: 1}, "team-a")
    assert list(stacks) == [ACME]
    assert stacks.unheard({ACME: 1}) == {}
    stacks.put(stack(7))
    assert stacks.unheard({ACME: 7}) == {ACME: 7}
    stacks.hear("MODIFIED", stack(7))
    assert stacks.unheard({ACME: 7}) == {}


def test_a_spec_is_parsed_once_a_generation(woken: list[Key]) -> None:
    stacks = Stacks(woken.append)
    one, same = stacks.parse(stack(1)), stacks.parse({**stack(2), "status": {"observedGeneration": 3}})
    assert same.spec is one.spec
    assert same.status.observed_generation == 3
    assert stacks.parse(stack(3, generation=9)).spec is not one.spec
    for number in range(PARSED):
        stacks.parse(stack(4, f"s{number}"))
    assert stacks.parse(stack(3, generation=9)).spec is not same.spec
