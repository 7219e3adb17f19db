"""The HTTP interface as ClickHouse's documentation describes it."""

import bz2
import gzip
import http.client
import json
import lzma
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import httpx
import lz4.frame
import pytest
import zstandard

WRITER = ("forge", "wr:ite/r@1")
READER = ("reader", "re ad%er")


@pytest.fixture
def wait_running(store_server: Any) -> Callable[[int], None]:
    """Waits until so many statements run, or wait for their turn."""

    def wait_running(statements: int) -> None:
        deadline, wanted = time.monotonic() + 60, f"forge_store_queries_running {statements}\n"
        while wanted not in httpx.get(f"{store_server.url}/metrics", timeout=60).text:
            assert time.monotonic() < deadline, wanted
            time.sleep(0.02)

    return wait_running


def test_health_needs_no_user(store_server: Any) -> None:
    for path in ("/ping", "/replicas_status", "/"):
        answer = httpx.get(store_server.url + path, auth=WRITER if path == "/" else None, timeout=60)
        assert (answer.status_code, answer.text) == (200, "Ok.\n")
    assert "forge_store_queries_running" in httpx.get(store_server.url + "/metrics", timeout=60).text
    assert httpx.get(store_server.url + "/nothing", timeout=60).status_code == 404


def test_the_statement_may_stand_in_the_url_the_body_or_both(ask: Any, table: str) -> None:
    assert ask("select 1").text == "1\n"
    assert ask(method="GET", query="select 1").text == "1\n"
    assert ask("select 1,", data="2 format CSV").text == "1,2\n"
    assert ask(f"insert into {table} format CSV", data="1,x\n2,y\n").summary["written_rows"] == "2"
    assert ask(f"insert into {table} values (3, 'z')").summary["written_rows"] == "1"
    assert ask(f"insert into {table} values", data="(4, concat('v', 'w')), (5, 'x;y');").summary["written_rows"] == "2"
    assert ask(f"insert into {table} format JSONEachRow\n" + '{"a": 6, "b": "json"}').status == 200
    assert ask(f"insert into {table} (a)", data="7\t", default_format="TSV").code == 27
    assert ask(f"insert into {table} (a)", data="7\n", default_format="TSV").status == 200
    assert ask(f"insert into {table} select 8, 'select'").status == 200
    assert ask(f"select * from {table} order by a").text == "1\tx\n2\ty\n3\tz\n4\tvw\n5\tx;y\n6\tjson\n7\t\n8\tselect\n"


def test_formats_and_their_types(ask: Any) -> None:
    for form, kind in [
        ("JSON", "application/json; charset=UTF-8"),
        ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("Native", "application/octet-stream"),
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ]:
        for answer in (ask(f"select 1 format {form}"), ask("select 1", default_format=form)):
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["X-ClickHouse-Format"] == form
    assert ask("select 1 as x", headers={"X-ClickHouse-Format": "JSONEachRow"}).text == '{"x":1}\n'
    assert json.loads(ask("select 1 as x format JSON settings max_threads = 1").text)["data"] == [{"x": 1}]
    headers = ask("select 1", query_id="my-own").headers
    assert headers["X-ClickHouse-Query-Id"] == "my-own"
    assert headers["X-ClickHouse-Timezone"] and headers["X-ClickHouse-Server-Display-Name"]


@pytest.mark.parametrize(
    ("sql", "begins"),
    [
        ("show tables from system like 'one'", "one\n"),
        ("describe (select 1 as x)", "x\tUInt8"),
        ("exists system.one", "1\n"),
        ("show create database default", "CREATE DATABASE default\\nENGINE = Atomic"),
        ("explain syntax select 1", "SELECT 1"),
        ("explain ast select 1", "SelectWithUnionQuery"),
        ("(select 1) union all (select 1)", "1\n1\n"),
        ("with 1 as x select x", "1\n"),
        ("from system.one select *", "0\n"),
        ("show settings like 'max_threads'", "max_threads"),
        ("select currentDatabase()", "default\n"),
        ("select name from system.databases where engine = 'Overlay'", ""),
        ("-- remark\nselect 1 -- end", "1\n"),
    ],
)
def test_every_statement_with_a_result_has_it(ask: Any, sql: str, begins: str) -> None:
    answer = ask(sql)
    assert (answer.status, answer.text[: len(begins) or 1]) == (200, begins)


def test_parameters_of_statements(ask: Any, table: str) -> None:
    assert ask("select {n:Int32} + 1, {s:String}", param_n="41", param_s="it's\\tso").text == "42\tit\\'s\\tso\n"
    assert ask("select {a:Array(String)}", param_a="['x','y']").text == "['x','y']\n"
    assert ask("insert into {t:Identifier} values (1, {v:String})", param_t=table, param_v="p").status == 200
    assert ask("select b from {t:Identifier}", param_t=table).text == "p\n"
    assert ask("select {missing:String}").code == 456


def test_bytes_that_are_not_text_stay_as_they_are(ask: Any, table: str) -> None:
    assert ask(b"select '\xff\xfe' format RawBLOB").content == b"\xff\xfe"
    assert ask(f"insert into {table} values (1, '".encode() + b"\xff\x00\xfe')").status == 200
    assert ask(f"select b from {table} format RawBLOB").content == b"\xff\x00\xfe"
    assert ask("select '\u043f\u0440'").text == "\u043f\u0440\n"


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("selec 1", 62, 400),
        ("select * from nothing_here", 60, 404),
        ("select * from nothing_db.t", 81, 404),
        ("select nothing_here", 47, 404),
        ("select nothing_here(1)", 46, 404),
        ("select 1 settings nothing_here = 1", 115, 404),
        ("select 1 format Nothing", 73, 404),
        ("select throwIf(1)", 395, 500),
        ("select 1; select 2", 62, 400),
        ("select toInt8('x')", 6, 400),
        ("select sum(number) from numbers(1e12) settings max_execution_time = 0.2", 159, 408),
        ("select uniqExact(number) from numbers(1e9) settings max_memory_usage = '20M'", 241, 500),
        ("create table default.t_twice (a Int8) engine = Nothing", 56, 404),
    ],
)
def test_errors_have_clickhouses_code_text_and_status(ask: Any, sql: str, code: int, status: int) -> None:
    answer = ask(sql)
    assert (answer.code, answer.status) == (code, status)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.endswith(")\n") and "(version " in answer.text
    assert answer.headers["X-ClickHouse-Query-Id"]


def test_settings_in_the_url(ask: Any) -> None:
    sql = "select getSetting('max_threads'), currentDatabase()"
    assert ask(sql, max_threads="3", database="system").text == "3\tsystem\n"
    assert not ask(sql).text.startswith("3\t") and ask(sql).text.endswith("\tdefault\n")
    assert ask("select 1", nothing_here="1").code == 115
    assert ask("select 1", **{"bad name": "1"}).code == 115
    assert ask("select 1", database="nothing_here").code == 81
    assert ask("select 1", max_threads="'; drop").status == 400


def test_requests_without_a_session_leave_nothing_behind(ask: Any) -> None:
    assert ask("set max_threads = 3").status == 200
    assert ask("use system").status == 200
    assert ask("create temporary table left_behind (a Int8)").status == 200
    assert ask("select getSetting('max_threads') = 3, currentDatabase()").text == "0\tdefault\n"
    assert ask("select * from left_behind").code == 60


def test_a_session_keeps_settings_tables_and_database(ask: Any) -> None:
    session = {"session_id": "keeps"}
    ask("set max_threads = 3", **session)
    ask("create temporary table mine (a Int8)", **session)
    ask("insert into mine values (7)", **session)
    assert ask("select a, getSetting('max_threads') from mine", **session).text == "7\t3\n"
    assert ask("select getSetting('max_threads')", **session, max_threads="2").text == "2\n"
    assert ask("select getSetting('max_threads')", **session).text == "3\n"
    assert ask("set max_threads = 5", **session, max_threads="2").status == 200
    assert ask("select getSetting('max_threads')", **session).text == "5\n"
    assert ask("select currentDatabase()", **session, database="system").text == "system\n"
    assert ask("select currentDatabase()", **session).text == "default\n"
    ask("use `system`", **session)
    assert ask("select currentDatabase()", **session).text == "system\n"
    assert ask("select * from mine", session_id="another").code == 60
    assert ask("select * from mine", **session, auth=READER).code == 60
    assert ask("select 1", session_id="unheard of", session_check="1").code == 372
    assert ask("select 1", session_id="x", session_timeout="99999").code == 374


def test_a_busy_session_is_locked_and_a_timed_out_one_gone(ask: Any, wait_running: Callable[[int], None]) -> None:
    slow = threading.Thread(target=ask, args=("select sleep(3)",), kwargs={"session_id": "busy"})
    slow.start()
    wait_running(1)
    assert ask("select 1", session_id="busy").code == 373
    slow.join()
    assert ask("select 1", session_id="busy", session_timeout="1", session_check="1").status == 200
    time.sleep(1.2)
    assert ask("select 1", session_id="busy", session_check="1").code == 372


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "xz": lambda data: lzma.compress(data, preset=1),
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_bodies_of_every_encoding(ask: Any, table: str, encoding: str) -> None:
    encode = ENCODERS[encoding]
    rows = b"".join(b"%d\tvalue %d\n" % (n, n) for n in range(50_000))
    headers = {"Content-Encoding": encoding}
    assert ask(f"insert into {table} format TSV", data=encode(rows), headers=headers).summary["written_rows"] == "50000"
    whole = encode(f"insert into {table} format TSV\n".encode() + rows)
    assert ask(whole, headers=headers).summary["written_rows"] == "50000"
    assert ask(encode(f"select count(), sum(a) from {table}".encode()), headers=headers).text == "100000\t2499950000\n"
    for broken in (encode(rows)[:-20], b"not compressed at all", encode(rows)[:-20] + b"x" * 20):
        answer = ask(f"insert into {table} format TSV", data=broken, headers=headers)
        assert (answer.status, answer.code) == (500, 271), answer.text
    assert ask(f"select count() from {table}").text == "100000\n"


def test_an_unknown_encoding_is_named(ask: Any) -> None:
    answer = ask("select 1", headers={"Content-Encoding": "shrunk"})
    assert (answer.code, "gzip, deflate, br, zstd, lz4, xz or bz2" in answer.text) == (89, True)
    assert ask("select 1", decompress="1").code == 48
    assert ask("select 1", compress="1").status == 501


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "lz4", "xz"])
def test_responses_of_every_encoding(raw: Any, store_server: Any, encoding: str) -> None:
    decoders: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "br": brotli.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        "lz4": lz4.frame.decompress,
        "xz": lzma.decompress,
    }
    for rows in (1, 300_000):
        url = f"{store_server.url}/?enable_http_compression=1&query=select+number+from+numbers({rows})"
        with httpx.stream("GET", url, auth=WRITER, headers={"Accept-Encoding": encoding}, timeout=60) as answer:
            content = b"".join(answer.iter_raw())
        assert answer.headers["Content-Encoding"] == encoding
        assert decoders[encoding](content).count(b"\n") == rows
    asked = {"auth": WRITER, "headers": {"Accept-Encoding": encoding}, "timeout": 60}
    plain = httpx.get(f"{store_server.url}/?query=select+1", **asked)
    assert "Content-Encoding" not in plain.headers


def test_a_chunked_body(ask: Any, table: str) -> None:
    def rows() -> Iterator[bytes]:
        for n in range(1000):
            yield b"%d\tx\n" % n

    assert ask(f"insert into {table} format TSV", data=rows()).summary["written_rows"] == "1000"


def test_a_body_cut_off_writes_nothing(ask: Any, table: str, store_server: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", store_server.port)
    connection.putrequest("POST", f"/?query=insert+into+{table}+format+TSV&user=forge&password=wr:ite/r@1")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"1\tx\n2\ty\n")
    connection.close()
    time.sleep(0.3)
    assert ask(f"select count() from {table}").text == "0\n"
    assert ask(f"insert into {table} format TSV", data="1\tx\nbad\ty\n").code == 27
    assert ask(f"select count() from {table}").text == "0\n"


def test_a_large_result_streams_in_little_memory(raw: Any, store_server: Any) -> None:
    def resident() -> int:
        status = Path(f"/proc/{store_server.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    raw("select number, toString(number) as s from numbers(200000) format JSON").read()
    before, size, highest = resident(), 0, 0
    response = raw("select number, toString(number) as s from numbers(5000000) format JSON")
    while chunk := response.read(1 << 20):
        size += len(chunk)
        highest = max(highest, resident())
    assert size > 200 << 20
    assert highest - before < 150 << 10, f"{(highest - before) >> 10} MiB more"


def test_an_error_in_mid_stream_breaks_the_response(raw: Any) -> None:
    response = raw("select number, throwIf(number = 2000000) from numbers(3000000)")
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as raised:
        response.read()
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    end = raised.value.partial[-2000:].decode()
    assert f"\r\n__exception__\r\n{tag}\r\nCode: 395. DB::Exception: " in end
    found = re.search(rf"__exception__\r\n{tag}\r\n(.*\n)(\d+) {tag}\r\n__exception__\r\n$", end, re.DOTALL)
    assert found and int(found[2]) == len(found[1].encode())


def test_an_error_in_mid_stream_is_an_error_when_the_client_waits_for_the_end(ask: Any) -> None:
    answer = ask("select number, throwIf(number = 2000000) from numbers(3000000)", wait_end_of_query="1")
    assert (answer.status, answer.code) == (500, 395)
    whole = ask("select number from numbers(1000000)", wait_end_of_query="1")
    assert whole.content.count(b"\n") == 1_000_000
    assert whole.summary["read_rows"] == "1000000"


def test_kill_query_by_the_clients_id(ask: Any, wait_running: Callable[[int], None]) -> None:
    answers: list[Any] = []
    sql = "select sum(cityHash64(number)) from numbers(1e12)"
    slow = threading.Thread(target=lambda: answers.append(ask(sql, query_id="to be killed")))
    slow.start()
    wait_running(1)
    assert ask("select 1", query_id="to be killed").code == 216
    assert ask("kill query where query_id = 'to be killed'", auth=READER).code == 497
    assert ask("kill query where query_id = 'to be killed' sync").status == 200
    slow.join(60)
    assert answers[0].code == 394


def test_a_client_that_goes_away_stops_its_query(ask: Any, raw: Any, store_server: Any) -> None:
    def running() -> int:
        return int(ask("select count() from system.processes where query like '%1e13%'").text) - 1

    def until(number: int) -> None:
        deadline = time.monotonic() + 60
        while running() != number:
            assert time.monotonic() < deadline, number
            time.sleep(0.1)

    connection = http.client.HTTPConnection("127.0.0.1", store_server.port)
    query = "select+sum(cityHash64(number))+from+numbers(1e13)"
    connection.request("POST", f"/?query={query}&user=forge&password=wr:ite/r@1")
    streaming = raw("select number from numbers(1e13)")
    streaming.read(1000)
    until(2)
    connection.close()
    streaming.close()
    until(0)


def test_a_client_that_goes_away_while_its_query_waits_leaves_nothing_to_run(
    ask: Any, store_server: Any, wait_running: Callable[[int], None]
) -> None:
    sleepers = [threading.Thread(target=ask, args=("select sleep(3)",)) for _ in range(16)]
    for thread in sleepers:
        thread.start()
    wait_running(16)
    waiting = http.client.HTTPConnection("127.0.0.1", store_server.port)
    waiting.request("POST", "/?query=select+sum(sipHash64(number))+from+numbers(1e13)&user=forge&password=wr:ite/r@1")
    wait_running(17)
    waiting.close()
    for thread in sleepers:
        thread.join()
    wait_running(0)
    assert ask("select count() from system.processes where query like '%sipHash64%'").text == "1\n"


def test_values_may_be_expressions(ask: Any, table: str) -> None:
    assert ask(f"insert into {table} values (1 + 1, concat('a', 'b')), (toInt32('3'), upper('c'))").code == 0
    assert ask(f"select * from {table} order by all").text == "2\tab\n3\tC\n"


def test_get_only_reads(ask: Any, table: str) -> None:
    for sql in (
        f"insert into {table} values (1, 'x')",
        f"truncate table {table}",
        "create table x (a Int8) engine = Log",
    ):
        assert ask(method="GET", query=sql).code == 164
    assert ask(f"insert into {table} values (1, 'x')", readonly="1").code == 164
    assert ask("select 1", readonly="2").text == "1\n"


def test_readonly_users_only_read(ask: Any, table: str) -> None:
    assert ask(f"select count() from {table}", auth=READER).text == "0\n"
    assert ask("select getSetting('max_threads')", auth=READER, max_threads="3").text == "3\n"
    for session in ({}, {"session_id": "reader"}):
        for sql in (
            f"insert into {table} values (1, 'x')",
            f"insert into {table} select 1, 'x'",
            f"drop table {table}",
            f"alter table {table} delete where 1",
            "create table x (a Int8) engine = Log",
            "set readonly = 0",
            "system flush logs",
            "system stop merges",
        ):
            answer = ask(sql, auth=READER, **session)
            assert (answer.code, answer.status) == (164, 500), sql
        assert ask("select 1", auth=READER, readonly="0", **session).status in (200, 500)
        assert ask(f"insert into {table} values (1, 'x')", auth=READER, readonly="0", **session).code == 164
    assert ask(f"select count() from {table}").text == "0\n"


def test_who_may_come(ask: Any, store_server: Any) -> None:
    for auth in (None, ("forge", "wrong"), ("nobody", ""), ("default", "")):
        answer = ask("select 1", auth=auth)
        assert (answer.status, answer.code) == (403, 516)
    url = f"{store_server.url}/?query=select+1"
    assert (
        httpx.get(url, params={"query": "select 1", "user": "forge", "password": WRITER[1]}, timeout=60).text == "1\n"
    )
    assert (
        httpx.get(url, headers={"X-ClickHouse-User": "forge", "X-ClickHouse-Key": WRITER[1]}, timeout=60).text == "1\n"
    )
    assert httpx.get(url, headers={"Authorization": "Basic ???"}, timeout=60).status_code == 403
    log = (store_server.folder / "store.log").read_text()
    assert WRITER[1] not in log and "wrong" not in log


@pytest.mark.parametrize(
    "sql",
    [
        "select * from file('/etc/passwd', LineAsString, 'l String')",
        "select * from `/etc/passwd`",
        "select * from default.`/etc/passwd`",
        "select * from '/etc/passwd'",
        "select * from url('file:///etc/passwd', LineAsString)",
        "select file('/proc/self/environ')",
        "insert into {t} (b) values (file('/etc/passwd'))",
        "insert into {t} (b) values ((select l from file('/etc/passwd', LineAsString, 'l String') limit 1))",
        "insert into {t} (b) from infile '/etc/passwd' format LineAsString",
        "select 1 into outfile '/tmp/forge-store-was-here'",
        "create database d_fs engine = Filesystem",
        "create table t_file (l String) engine = File(LineAsString, '/etc/passwd')",
        "select * from python(x)",
        "select * from sqlite('/x', 't')",
        "system shutdown",
        "select 1 a format Template settings format_template_row = '/etc/passwd'",
        "select * from eval('select 1')",
        "select file\u200b('/etc/passwd')",
        "select arrayMap(file, ['/etc/passwd'])",
        "select * apply(file) from (select '/etc/passwd' as a)",
        "select * from format(Values, 'l String', '(file(\\'/etc/passwd\\'))')",
        "insert into {t} (b) values (file(assumeNotNull('/etc/passwd')))",
        "insert into {t} (b) settings input_format_values_interpret_expressions = 1 values (file('/etc/passwd'))",
        "create dictionary d_x (id UInt64, l String) primary key id "
        "source(clickhouse(query 'select toUInt64(1) as id, \\x66ile(\\'/etc/passwd\\') as l')) "
        "layout(flat()) lifetime(0)",
    ],
)
def test_the_servers_files_are_out_of_reach(ask: Any, table: str, sql: str) -> None:
    for auth in (WRITER, READER):
        answer = ask(sql.format(t=table), auth=auth)
        assert answer.status != 200, answer.text
        assert "root:" not in answer.text
    assert ask(f"select count() from {table}").text == "0\n"


def test_what_dbt_and_people_rely_on(ask: Any) -> None:
    for sql in (
        "create database if not exists exchange_db",
        "create or replace table exchange_db.x (a Int8) engine = MergeTree partition by a order by a",
        "create or replace table exchange_db.y as exchange_db.x",
        "insert into exchange_db.x values (1), (2)",
        "insert into exchange_db.y select a from exchange_db.x where a = 2",
        "alter table exchange_db.y replace partition 1 from exchange_db.x",
        "exchange tables exchange_db.x and exchange_db.y",
        "rename table exchange_db.y to exchange_db.z",
    ):
        assert ask(sql).status == 200, ask(sql).text
    assert ask("select count() from exchange_db.x").text == "2\n"
    assert (
        ask("select engine from system.databases where name in ('default', 'exchange_db')").text == "Atomic\nAtomic\n"
    )
    assert ask("drop database exchange_db sync").status == 200


def test_many_clients_at_once(ask: Any, store_server: Any) -> None:
    def work(number: int, failures: list[str]) -> None:
        with httpx.Client(base_url=store_server.url, auth=WRITER, timeout=60) as client:
            for turn in range(10):
                sql = f"select {number} * 1000 + {turn}, sum(number) from numbers({number + turn + 1})"
                text = client.post("/", content=sql, params={"max_threads": 1 + turn % 2}).text
                expected = f"{number * 1000 + turn}\t{sum(range(number + turn + 1))}\n"
                if text != expected:
                    failures.append(text)

    failures: list[str] = []
    threads = [threading.Thread(target=work, args=(number, failures)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
