import pytest
from forge_store.errors import StoreError
from forge_store.guard import Guard
from forge_store.sql import scan

KNOWN = [
    "file",
    "url",
    "s3",
    "numbers",
    "python",
    "remote",
    "sqlite",
    "values",
    "File",
    "URL",
    "MergeTree",
    "Filesystem",
    "Memory",
    "executable",
]
GUARD = Guard(KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "select * from file('/etc/passwd')",
        "select * from FILE ('/etc/passwd')",
        "select * from `file`('/etc/passwd')",
        "select * from `f\\x69le`('/etc/passwd')",
        "select * from \"file\" /* x */ ('/etc/passwd')",
        "select file('/etc/passwd')",
        "select 1 + (select count() from url('http://169.254.169.254/'))",
        "insert into function file('x') select 1",
        "insert into t from infile '/etc/passwd' format LineAsString",
        "select 1 into outfile 'x'",
        "describe table file('x')",
        "create table t (a Int8) engine = File(CSV, '/etc/passwd')",
        "create table t (a Int8) engine File",
        "create database d engine = Filesystem",
        "create database d engine=`Filesystem`",
        "create table t as url('http://x')",
        "create view v as select * from s3('x')",
        "create function f as (x) -> file(x)",
        "create dictionary d (a String) primary key a source(file(path 'x' format CSV)) layout(flat())",
        "create dictionary d (a Int8) primary key a source(clickhouse(query 'select a from file(\\'x\\')'))",
        "create or replace dictionary d (a String) primary key a source(executable(command 'id')) layout(flat())",
        "attach table t from '/var/x' (a Int8) engine = MergeTree order by a",
        "backup table t to File('x')",
        "restore table t from Disk('a', 'x')",
        "system shutdown",
        "system kill",
        "select 1 settings format_template_row = '/etc/passwd'",
        "set format_schema = '/etc/x'",
        "create table t (a Int8) engine = MergeTree order by a settings disk = disk(type = local, path = '/')",
        "select * from python(x)",
        "select * from $$x$$, file('x')",
        "select 1$x$ , file('a') , $x$",
        "select file\u200b('/etc/passwd')",
        "select * from file\ufeff('/etc/passwd')",
        "create table t (a Int8) engine =\u180eFile\u2060(CSV, '/etc/passwd')",
        "select 1 into\u200coutfile 'x'",
        "select arrayMap(file, ['/etc/passwd'])",
        "select arrayFilter((`file`), ['/etc/passwd'])",
        "select arrayMap(`f\\x69le`, ['/etc/passwd'])",
        "select * apply(file) from (select '/etc/passwd')",
        "select columns('a') apply `file` from t",
        "select aiGenerate('x')",
        "create dictionary d (a Int8) primary key a source(clickhouse(query 'select \\x66ile(1)'))",
        "insert into t settings input_format_values_interpret_expressions = 1 values",
        "insert into t settings input_format_values_deduce_templates_of_expressions values",
        "select 1 settings \"promql_t\\x61ble\" = 'x'",
        "set dialect = 'kusto'",
        "create named collection c as host = 'example'",
        "create dictionary d (a Int8) primary key a source(clickhouse(host '10.0.0.1' table 't'))",
    ],
)
def test_what_reaches_outside_is_refused(text: str) -> None:
    with pytest.raises(StoreError) as raised:
        GUARD.check(list(scan(text)))
    assert raised.value.code == 344


@pytest.mark.parametrize(
    "text",
    [
        "select 'file(x)', \"url\", file, url from t where url in (1)",
        "select * from numbers(10)",
        "insert into bronze.file (a) values",
        "insert into file (a) values",
        "create table if not exists url (a Int8) engine = MergeTree order by a",
        "create table d.s3 (a Int8) engine = Memory",
        "select * from d.url where x = 'into outfile'",
        "-- file('x')\nselect 1",
        "system flush logs",
        "select disk_name from system.parts",
        "select * from values('a Int8', (1))",
        "create dictionary d (host String) primary key host source(clickhouse(host 'localhost' table 't'))",
        "select arrayMap(x -> x, [file]), arrayJoin(url), count(file), map(file, 1), max(`file`) from t",
        "create dictionary d (a Int8) primary key a source(clickhouse(query 'select \\'\\\\d\\' as a'))",
    ],
)
def test_the_rest_passes(text: str) -> None:
    GUARD.check(list(scan(text)))


@pytest.mark.parametrize(
    ("data", "suspect"),
    [
        ([b"(1, 'a'), (now(), 'profile')"], False),
        ([b"(file('/etc/passwd'))"], True),
        ([b"((select x from format(Values, 'x String', concat('(fi', 'le(1))'))))"], True),
        ([b"(fi", b"le('/etc/passwd'))"], True),
        ([b"(`f\\x69le`('x'))"], True),
        ([b'("f\\x69le" /**/ (1))'], True),
        ([b'("f\\x69le"' + b" " * 150, b"(1))"], True),
        (['("f\\x69le"\u200b(1))'.encode()], True),
        ([b"('{\"a\": 1}')"], False),
    ],
)
def test_values_that_may_call_something(data: list[bytes], suspect: bool) -> None:
    assert GUARD.suspects(data) is suspect
