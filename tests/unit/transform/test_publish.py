"""Which tables are shown anew, and which go."""

from forge_transform.publish import Table, differing

A, B = Table("create", ("1:a",)), Table("create", ("1:b",))


def test_what_differs_or_is_missing_is_published() -> None:
    built = {"same": A, "changed": B, "new": A, "changed__changes": A}
    published = {"same": A, "changed": A}
    assert differing({"same", "changed", "new", "not_built"}, built, published) == (["changed", "new"], [])


def test_another_definition_is_another_table() -> None:
    assert differing({"t"}, {"t": Table("create ttl", A.parts)}, {"t": A}) == (["t"], [])


def test_what_no_model_makes_goes_and_what_is_not_ours_stays() -> None:
    built = {"old": A, "old__dirty": A, "kept": A}
    assert differing({"kept"}, built, {"old": A, "kept": A, "theirs": A}) == ([], ["old"])
