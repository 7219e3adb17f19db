from itertools import pairwise

import pytest
from forge_store.errors import StoreError
from forge_store.sql import output_of, quoted, scan, split_insert
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "head", "form", "data"),
    [
        ("insert into t values (1)", "insert into t ", "Values", " (1)"),
        ("INSERT INTO t(a,b) VALUES(1, 'values')", "INSERT INTO t(a,b) ", "Values", "(1, 'values')"),
        ("insert into t format TSV\n1\t2\n", "insert into t ", "TSV", "1\t2\n"),
        ("insert into t format TSV \n\n1", "insert into t ", "TSV", "\n1"),
        ("insert into t format TSV 1", "insert into t ", "TSV", "1"),
        (
            "insert into t /* format CSV */ -- values\n format CSV\n1",
            "insert into t /* format CSV */ -- values\n ",
            "CSV",
            "1",
        ),
        ("insert into t settings a=1 format Values (1)", "insert into t settings a=1 ", "Values", " (1)"),
        ("insert into `format` (`values`) format CSV\n1", "insert into `format` (`values`) ", "CSV", "1"),
        ("insert into a.values (x) values (1)", "insert into a.values (x) ", "Values", " (1)"),
        ("insert into format values (1)", "insert into format ", "Values", " (1)"),
        ("insert into table t (* except(a)) format CSV\n1", "insert into table t (* except(a)) ", "CSV", "1"),
        ("insert into t (a)", "insert into t (a)", None, ""),
        ("insert into t (a);", "insert into t (a)", None, ""),
        ("# remark\ninsert into t values (1)", "# remark\ninsert into t ", "Values", " (1)"),
    ],
)
def test_an_inserts_head_ends_where_its_data_begin(text: str, head: str, form: str | None, data: str) -> None:
    insert = split_insert(text, complete=True)
    assert insert is not None
    assert (insert.head, insert.format, text[insert.data_at :]) == (head, form, data)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "insert into t select 1",
        "insert into t (a) with x as (select 1) select * from x",
        "",
        "  -- nothing",
        "insert into t from infile 'x' format CSV",
        "create table t (a Int8) engine = Memory",
    ],
)
def test_other_statements_have_no_data(text: str) -> None:
    assert split_insert(text, complete=True) is None


@pytest.mark.parametrize("text", ["insert into t format Nati", "insert into t (a, b", "insert into"])
def test_a_head_cut_off_is_not_taken_for_whole(text: str) -> None:
    assert split_insert(text, complete=False) is None


@pytest.mark.parametrize(
    ("text", "form", "written"),
    [
        ("select 1", None, "select 1\nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV "),
        ("select 1;", None, "select 1\nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV "),
        ("select 1 format JSON", "JSON", "select 1 \nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV "),
        ("select 1 -- end", None, "select 1\nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV "),
        (
            "select 1 format JSON settings a=(1)",
            "JSON",
            "select 1 \nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV  settings a=(1)",
        ),
        ("select format as f", None, "select format as f\nINTO OUTFILE 'p' TRUNCATE COMPRESSION 'none' FORMAT TSV "),
    ],
)
def test_the_format_clause_is_taken_off(text: str, form: str | None, written: str) -> None:
    output = output_of(text, list(scan(text)))
    assert output.format == form
    assert output.into("p", "TSV", "none") == written


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("'it''s \\' one'", ["string"]),
        ('`a``b\\`c` "d"', ["name", "name"]),
        ("$x$ file( $x$", ["heredoc"]),
        ("a$b$c$b$", ["word"]),
        ("1$x$ y $x$", ["word", "word", "sign", "word"]),
        ("a--b\nc", ["word", "word"]),
        ("a # b\nc", ["word", "word"]),
        ("a/*b*/c", ["word", "word"]),
        ("file\u00a0(", ["word", "sign"]),
        ("'open", ["sign", "word"]),
    ],
)
def test_words(text: str, kinds: list[str]) -> None:
    assert [word.kind for word in scan(text)] == kinds


@given(st.text(alphabet="'`\"\\$-/*#a1(). \n;"))
def test_scanning_loses_no_letter_outside_spaces_and_never_fails(text: str) -> None:
    words = list(scan(text))
    assert all(text[word.start : word.end] == word.text for word in words)
    assert all(one.end <= two.start for one, two in pairwise(words))


@given(st.text())
def test_a_quoted_string_is_one_word(text: str) -> None:
    assert [word.kind for word in scan(quoted(text))] == ["string"]


@given(st.text(alphabet="'abc \\`\"", max_size=8), st.sampled_from(["Values", "CSV"]))
def test_text_in_strings_never_moves_the_beginning_of_the_data(value: str, form: str) -> None:
    text = f"insert into t (a) settings log_comment = {quoted(value)} format {form}\n"
    insert = split_insert(text + "1,2", complete=True)
    assert insert is not None
    assert text.endswith(f"format {form}\n") and insert.head == text[: -len(f"format {form}\n")]


def test_errors_of_the_engine_keep_code_and_text() -> None:
    error = StoreError.of_engine(RuntimeError("Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE)"))
    assert (error.code, error.text) == (60, "Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE)")
    twice = StoreError.of_engine(RuntimeError("Code: 27. DB::Exception: Code: 27. DB::Exception: Cannot parse"))
    assert twice.text == "Code: 27. DB::Exception: Cannot parse"
    assert StoreError.of_engine(RuntimeError("what?")).code == 1002
