"""Which tables are shown anew, and which go."""

from forge_transform.publish import Table, differing

A, B = Table("create", {"1": ("a",)}), Table("create", {"1": ("b",)})


def test_what_differs_or_is_missing_is_published() -> None:
    built = {"same": A, "changed": B, "new": A, "changed__changes": A}
    published = {"same": A, "changed": A}
    assert differing({"same", "changed", "new", "not_built"}, built, published) == (["changed", "new"], [])


def test_another_definition_is_another_table() -> None:
    assert differing({"t"}, {"t": Table("create ttl", A.parts)}, {"t": A}) == (["t"], [])


def test_what_no_model_makes_goes_and_what_is_not_ours_stays() -> None:
    built = {"old": A, "old__dirty": A, "kept": A}
    assert differing({"kept"}, built, {"old": A, "kept": A, "theirs": A}) == ([], ["old"])


def test_only_partitions_that_differ_are_replaced() -> None:
    built = Table("create", {"1": ("a",), "2": ("b", "c"), "3": ("d",), "5": ("e",)})
    aside = Table("create", {"1": ("a",), "2": ("b",), "4": ("f",), "5": ("e",)})
    assert built.differing(aside) == aside.differing(built) == ["2", "3", "4"]
    assert built.differing(built) == []


def test_what_is_far_off_is_made_anew() -> None:
    built = Table("create", {str(n): ("new" if n < 3 else "old",) for n in range(6)})
    aside = Table("create", {str(n): ("old",) for n in range(6)})
    assert built.is_near(aside)
    assert not built.is_near(Table("create ttl", aside.parts))
    assert not built.is_near(Table("create", {**aside.parts, "6": ("old",)}))
    assert not built.is_near(None)
    assert B.is_near(A), "a table of one partition is that partition"
