"""Whatever goes wrong on the way: nothing is lost, nothing is doubled, no field is another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from forge_demo.faults import KINDS as FAULTS

pytestmark = pytest.mark.slow

KINDS = ("langfuse", "github", "jira", "prometheus")
AT_ONCE: dict[str, dict[str, Any]] = {
    "rate_limit": {"times": 2, "seconds": 0.1},
    "rate_limit_date": {"times": 2, "seconds": 1},
    "secondary_limit": {"times": 2, "seconds": 0.1},
    "server_error": {"times": 2},
    "bad_gateway": {"times": 2},
    "unavailable": {"times": 2},
    "slow": {"times": 3, "seconds": 0.5},
    "drip": {"times": 3, "seconds": 0.5},
    "truncated": {"times": 2},
    "reset": {"times": 2},
    "reset_midway": {"times": 2},
    "reordered": {"times": 0},
    "duplicates": {"times": 0},
    "repeated_page": {"times": 0, "probability": 0.4},
    "empty_page": {"times": 0, "probability": 0.4},
}
"""By these a load does not notice more than a delay."""
AFTERWARDS: dict[str, dict[str, Any]] = {
    "moving": {"times": 12, "seconds": 120},
    "late": {"probability": 0.5, "seconds": 300},
    "skew": {"seconds": 600},
    "unicode": {},
    "huge": {},
}
"""With these the world moves on meanwhile: the load after them has it all."""
PATIENT = {"overlap": "3d"}
"""Of GitHub: a load takes it that nothing comes late beside a moment since which an overlap has gone by. This world
stands still two days ago, so what is late in it is late by two days for a load."""


@pytest.fixture
def names(request: pytest.FixtureRequest, exact: Any) -> Iterator[dict[str, str]]:
    """A source of each kind, that nobody else has."""
    short = request.node.callspec.params.get("fault", "all").replace("_", "")[:9]
    found = {kind: f"f-{short}-{kind[:4]}" for kind in KINDS}
    yield found
    exact.organisation.calm()
    exact.drop(found)


def test_every_kind_of_fault_is_tried() -> None:
    assert {*AT_ONCE, *AFTERWARDS, "answer", "login_page"} == set(FAULTS)


@pytest.mark.parametrize("fault", AT_ONCE)
def test_a_fault_changes_nothing(exact: Any, names: dict[str, str], fault: str) -> None:
    values = AT_ONCE[fault]
    apis = ["github"] if fault == "secondary_limit" else KINDS
    for api in apis:
        exact.organisation.fault(fault, path=f"^/{api}/", **values)
    left: list[dict[str, Any]] = []
    for _ in range(10):  # a source of few requests may be spared by the dice: then the next load is not
        exact.load_all(names, prometheus=exact.organisation.through_faults)
        left = exact.organisation.ask("/faults")["faults"]
        if all(f["struck"] for f in left):
            break
    assert all(f["struck"] for f in left) and (values["times"] == 0 or not left), f"the faults struck: {left}"
    exact.assert_all(names)


@pytest.mark.parametrize("fault", AFTERWARDS)
def test_a_world_that_moves_meanwhile_is_there_in_the_end(exact: Any, names: dict[str, str], fault: str) -> None:
    values = {"prometheus": exact.organisation.through_faults, "github": PATIENT if fault == "late" else {}}
    exact.load_all(names, **values)
    exact.organisation.fault(fault, **AFTERWARDS[fault])
    for _ in range(3 if fault == "late" else 1):
        exact.organisation.ask("/tickets", {"count": 1, "minutes": 4})
        exact.load_all(names, **values)
    exact.organisation.calm()
    exact.load_all(names, **values)
    exact.assert_all(names)


@pytest.mark.parametrize("fault", ["login_page"])
def test_a_login_page_fails_a_load_and_not_the_next(exact: Any, names: dict[str, str], fault: str) -> None:
    through = exact.organisation.through_faults
    for kind, name in names.items():
        exact.organisation.fault(fault, path=f"^/{kind}/", times=1)
        failed = exact.run(kind, name, **(through if kind == "prometheus" else {}))
        assert (failed.code, failed.reason) == (1, "BadResponse"), failed.stdout
        assert "HTML page" in failed.summary["error"]["message"]
    exact.load_all(names)
    exact.assert_all(names)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("fault", ["hostile"])
def test_all_of_it_at_once(exact: Any, names: dict[str, str], fault: str) -> None:
    values = {"prometheus": exact.organisation.through_faults, "github": PATIENT}
    exact.organisation.ask("/faults", {"profile": fault, "seed": 11})
    for _ in range(2):
        exact.load_all(names, **values)
        exact.organisation.ask("/tickets", {"count": 1, "minutes": 4})
    exact.organisation.calm()
    exact.load_all(names, **values)
    exact.assert_all(names)
