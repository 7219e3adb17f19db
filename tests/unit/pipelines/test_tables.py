"""Bronze tables equal their contract, and a value that does not fit is named."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import github, jira, langfuse, prometheus
from forge_pipelines.tables import (
    COMMON,
    FLAG,
    MOMENT,
    TEXT,
    Misfit,
    Table,
    day,
    deletion,
    iso,
    moment,
    money,
    optional,
    rejection,
    required,
)

CONTRACT = Path(__file__).parents[3] / "docs" / "architecture.md"
ALL = {
    f"{module.__name__.rpartition('.')[2]}_{table.name}": table
    for module in (langfuse, github, jira, prometheus)
    for table in module.TABLES
} | {f"all_{table.name}": table for table in COMMON}
TYPES = {
    pa.string(): "String", pa.int64(): "Int64", pa.int32(): "Int32", pa.float64(): "Float64", pa.bool_(): "Bool",
    pa.date32(): "Date", pa.decimal128(38, 12): "Decimal(38, 12)", pa.timestamp("us", "UTC"): "",
}  # fmt: skip


def contract_columns(name: str) -> list[tuple[str, str, bool]]:
    """The columns of a table in docs/architecture.md: name, type ('' is a time), nullable; prose comes after them."""
    text = " ".join(CONTRACT.read_text(encoding="utf-8").split())
    found = re.search(rf"- `{name}`: (.*?)(?= - `| ## )", text)
    assert found, f"{name} is not in the contract"
    body = re.sub(r"\((?:[^()]|\([^()]*\))*\)", lambda m: m[0] if m[0] == "(38, 12)" else "", found[1])
    body = re.split(r"[.;] ", body)[0].rstrip(". ")
    columns = []
    for part in re.split(r",\s*(?![^()]*\))", body):
        word, _, kind = part.strip().partition(" ")
        nullable = part.strip().endswith("?")
        kind = {"json": "String"}.get(kind.rstrip("?").strip(), kind.rstrip("?").strip())
        columns.append((word.rstrip("?"), kind, nullable))
    return columns


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_table_equals_the_contract(name: str) -> None:
    ours = [(field.name, TYPES[field.type], field.nullable) for field in ALL[name].schema]
    assert ours == contract_columns(name)


def test_key_and_version_equal_the_contract() -> None:
    rows = re.findall(r"^\| (\w+) `(\w+)` \| ([\w, ]+) \| (\w+) \|$", CONTRACT.read_text(encoding="utf-8"), re.M)
    rows_by_name, kind = {}, ""
    for source, entity, key, version in rows:
        kind = source or kind
        rows_by_name[f"{kind}_{entity}"] = (tuple(key.split(", ")), version)
    assert rows_by_name == {name: (table.key, table.version) for name, table in ALL.items()}


TABLE = Table(
    "things",
    pa.schema([required("id", TEXT), required("at", MOMENT), optional("flag", FLAG)]),
    key=("id",),
    version="at",
)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_row_of_our_own_that_does_not_fit_is_named() -> None:
    with pytest.raises(LoadError, match=r"things: flag: must be bool, but is 'maybe'") as found:
        TABLE.page([{"id": "a", "at": AT}, {"id": "b", "at": AT, "flag": "maybe"}])
    assert found.value.reason == "SchemaViolation"
    with pytest.raises(LoadError, match=r"things: at: must be .* and not null, but is 'None'"):
        TABLE.page([{"id": "a", "at": None}])


def test_answers_that_make_no_row_are_set_aside_whole_and_the_others_stay() -> None:
    answers = [
        {"id": "a"},
        {"id": "b", "flag": "maybe", "note": "ü"},
        {"id": None},
        {"flag": True},
        {"id": "c", "flag": True},
        "no object",
    ]
    page, misfits = TABLE.sorted_out(answers, lambda answer: {"id": answer["id"], "at": AT, "flag": answer.get("flag")})
    assert page.column("id").to_pylist() == ["a", "c"] and page.schema == TABLE.schema
    assert sorted(misfits, key=lambda m: m.payload) == [
        Misfit("things", "", "TypeError: string indices must be integers, not 'str'", '"no object"'),
        Misfit("things", "", "KeyError: 'id'", '{"flag":true}'),
        Misfit("things", "flag", "must be bool, but is 'maybe'", '{"id":"b","flag":"maybe","note":"ü"}'),
        Misfit("things", "id", "must be string and not null, but is 'None'", '{"id":null}'),
    ]
    first, again = (rejection(misfits[0], now) for now in (AT, datetime(2027, 1, 1, tzinfo=UTC)))
    assert first["payload_hash"] == again["payload_hash"] != rejection(misfits[1], AT)["payload_hash"]
    assert next(t for t in COMMON if t.name == "rejected_rows").page([first]).num_rows == 1


def test_no_value_breaks_the_page_of_the_others() -> None:
    odd = ["\ud83d", 2**70, {1: {2}}, b"\xff", float("nan"), [None]]
    page, misfits = TABLE.sorted_out([*({"id": value, "at": AT} for value in odd), {"id": "good", "at": AT}])
    assert "good" in page.column("id").to_pylist() and page.num_rows + len(misfits) == len(odd) + 1
    assert any("ud83d" in misfit.payload for misfit in misfits)
    assert next(t for t in COMMON if t.name == "rejected_rows").page([rejection(m, AT) for m in misfits])


def test_a_deletion_names_the_row_by_its_key() -> None:
    page = next(t for t in COMMON if t.name == "deletions").page([deletion(TABLE, ["ü", 7], AT, "moved")])
    assert page.to_pylist() == [{"entity": "things", "entity_key": '["ü",7]', "deleted_at": AT, "reason": "moved"}]


def test_the_key_leads_the_columns() -> None:
    with pytest.raises(ValueError, match="must begin with the key"):
        Table("wrong", pa.schema([required("at", MOMENT), required("id", TEXT)]), key=("id",), version="at")


def test_times_become_utc() -> None:
    assert moment("2021-01-25T11:09:27.985+0800") == datetime(2021, 1, 25, 3, 9, 27, 985000, tzinfo=UTC)
    assert moment("2026-01-01T00:00:00Z") == AT
    assert moment("2026-01-01T00:00:00") == AT
    assert moment(None) is None and moment("") is None
    with pytest.raises(LoadError, match="'soon'"):
        moment("soon")
    assert iso(AT) == "2026-01-01T00:00:00Z"


def test_money_keeps_its_decimal_text() -> None:
    assert money(0.1) == Decimal("0.1")
    assert money("0.000012345678") == Decimal("0.000012345678")
    assert money(3) == 3
    assert money(1e-7) == Decimal("0.0000001")
    assert money(None) is None
    with pytest.raises(LoadError, match="'a lot'"):
        money("a lot")
    with pytest.raises(LoadError, match="nan"):
        money(float("nan"))


def test_dates() -> None:
    assert str(day("2026-02-03")) == "2026-02-03"
    assert day(None) is None
    with pytest.raises(LoadError):
        day("03.02.2026")
