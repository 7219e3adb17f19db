"""The client against servers that limit, break off, drip, redirect, and show certificates that nobody should trust."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from forge_pipelines.answers import Patience
from forge_pipelines.http import UNCHANGED, Api
from forge_pipelines.problems import LoadError, RateLimited, Stopped

FAST = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0)
HASTY = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0, answer_seconds=1.0)
"""For answers that never end."""


def api(url: str, **values: Any) -> Api:
    return Api(url, {"Authorization": "Bearer t0p-s3cret"}, **{"patience": FAST, **values})


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 403, "body": {"message": "You have exceeded a secondary rate limit"}},
        {"status": 500},
        {"status": 502, "body": b"<html>Bad Gateway</html>"},
        {"cut": True, "body": {"rows": list(range(1000))}},
        {"drop": True},
        {"body": b'{"rows": [1, 2'},
        {"body": b""},
        {"body": {"rows": list(range(1000))}, "drip": 0.05},
    ],
)
def test_trouble_that_passes_is_got_over(scripted: Any, trouble: dict[str, Any]) -> None:
    scripted.replies(reply(**trouble), reply(**trouble), reply(body={"rows": [1]}))
    client = api(scripted.url, patience=HASTY if "drip" in trouble else FAST)
    assert client.get("/rows", what="rows") == {"rows": [1]}
    assert client.requests == 3 == len(scripted.calls) and client.retries == 2


def reply(**values: Any) -> Any:
    """An answer of the script; the fields are those of conftest's Reply."""
    return SimpleNamespace(
        **{"body": None, "status": 200, "headers": {}, "cut": False, "drop": False, "drip": 0, **values}
    )


def test_a_limit_that_outlasts_the_patience_stops_the_load(scripted: Any) -> None:
    scripted.replies(reply(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited, match=r"limits the rate.*asks to wait 3\d\d\d s more"):
        api(scripted.url).get("/x", what="rows")
    assert len(scripted.calls) == 1


def test_a_signal_ends_a_wait(scripted: Any) -> None:
    scripted.replies(reply(status=429, headers={"Retry-After": "300"}))
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped, match="signal"):
        api(scripted.url, stop=stop, patience=Patience(total_wait=600)).get("/x", what="rows")
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("values", "reason", "text"),
    [
        ({"status": 401, "body": {"message": "Bad credentials"}}, "Unauthorized", "Bad credentials.*Secret"),
        ({"status": 403, "body": {"message": "Resource not accessible"}}, "Forbidden", "right to read"),
        ({"status": 404}, "NotFound", "check the url"),
        ({"body": b"<!doctype html><title>Sign in</title>", "headers": {"Content-Type": "text/html"}}, "BadResponse",
         "HTML page in place of JSON.*login"),
        ({"status": 500, "body": {"message": "oops"}}, "BadResponse", "500.*oops"),
        ({"body": b""}, "BadResponse", "an empty body in place of JSON.*login"),
        ({"body": b"a,b", "headers": {"Content-Type": "text/csv"}}, "BadResponse", "with a,b in place of JSON"),
        ({"body": b"[" + b"0," * 999, "drip": 0.01}, "Unreachable", "did not end in 1 s.*check the url"),
        ({"status": 302, "headers": {"Location": "https://login.example/sso"}}, "BadResponse",
         "on to https://login.example .302., where no credentials are sent; check that url is the API's"),
        ({"status": 302, "headers": {"Location": "/login"}}, "BadResponse", "in circles"),
        ({"status": 407}, "Unauthorized", "proxy refuses.*`proxy`"),
    ],
)  # fmt: skip
def test_trouble_that_stays_is_told_with_its_remedy(
    scripted: Any, values: dict[str, Any], reason: str, text: str
) -> None:
    scripted.replies(reply(**values))
    with pytest.raises(LoadError, match=f"(?s){text}") as found:
        api(scripted.url, patience=HASTY if "drip" in values else FAST).get("/x", what="rows")
    assert found.value.reason == reason
    assert "t0p-s3cret" not in str(found.value)


def test_an_unreachable_host_is_told() -> None:
    with pytest.raises(LoadError, match=r"did not answer rows in 5 attempts.*network policy") as found:
        api("http://127.0.0.1:1").get("/x", what="rows")
    assert found.value.reason == "Unreachable"


def test_a_large_body_is_read_and_one_beyond_all_measure_refused(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.replies(reply(body={"text": "ü" * (12 << 20)}))
    patient = api(scripted.url, patience=Patience())
    assert len(patient.get("/x", what="rows")["text"]) == 12 << 20
    assert patient.bytes_read > 24 << 20
    monkeypatch.setattr("forge_pipelines.http.LONGEST_BODY", 20 << 20)
    with pytest.raises(LoadError, match="more than 20 MB at once; select less"):
        api(scripted.url, patience=Patience()).get("/x", what="rows")


def test_a_signal_ends_the_reading_of_a_slow_answer(scripted: Any) -> None:
    scripted.replies(reply(body=list(range(1000)), drip=0.02))
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped, match="signal"):
        api(scripted.url, stop=stop, patience=Patience()).get("/x", what="rows")


def test_headers_that_drip_and_a_silent_server_hold_no_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = threading.Event()

        def drip(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                asked.set()
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for letter in range(900):
                    connection.sendall(b"X-%d: y\r\n" % letter)
                    time.sleep(0.1)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        quick = Patience(attempts=2, first_wait=0.01, answer_seconds=0.5)
        with pytest.raises(LoadError, match=r"did not answer rows in 2 attempts .*did not end in"):
            api(url, patience=quick).get("/x", what="rows")
        stop, begun = threading.Event(), time.monotonic()
        asked.clear()
        threading.Thread(target=lambda: (asked.wait(), stop.set()), daemon=True).start()
        with pytest.raises(Stopped):
            api(url, stop=stop, patience=Patience()).get("/x", what="rows")
        assert time.monotonic() - begun < 60, "a signal is heard while nothing comes"
        server.shutdown(socket.SHUT_RDWR)


def test_what_did_not_change_is_said_so(scripted: Any) -> None:
    def script(call: Any) -> Any:
        if call.headers.get("if-none-match") == '"one"':
            return reply(status=304, body=b"")
        return reply(body=[1], headers={"ETag": '"one"'})

    scripted.script = script
    client = api(scripted.url)
    assert client.get("/x", what="rows") == [1]
    assert client.get("/x", what="rows", etag=client.last_headers["etag"]) is UNCHANGED
    assert client.get("/x", what="rows", etag='"two"') == [1]


def test_pages_are_followed_by_their_links_but_not_to_another_server(scripted: Any) -> None:
    scripted.script = lambda call: reply(
        body=call.params,
        headers={"Link": f'<{scripted.url}/x?page=2&a=b>; rel="next", <{scripted.url}/x?page=9>; rel="last"'}
        if not call.params
        else {"Link": '<https://elsewhere.example/x>; rel="next"'},
    )
    client = api(scripted.url)
    assert client.get("/x", what="rows") == {}
    assert client.get(client.next_page or "", what="rows") == {"page": "2", "a": "b"}
    with pytest.raises(LoadError, match="names another server for rows"):
        client.get(client.next_page or "", what="rows")
    scripted.replies(reply(body=1))
    client.get("/x", what="rows")
    assert client.next_page is None


def test_redirects_stay_on_their_server_and_take_no_credentials_elsewhere(
    scripted: Any, scripted_with: Callable[..., Any]
) -> None:
    other = scripted_with()
    other.replies(reply(body="stolen"))

    def script(call: Any) -> Any:
        places = {"/old": "/new?a=1", "/away": f"{other.url}/x"}
        if call.path in places:
            return reply(status=307, headers={"Location": places[call.path]})
        return reply(body=[call.method, call.params, call.body])

    scripted.script = script
    client = api(scripted.url)
    assert client.get("/old", {"b": "2"}, what="rows") == ["GET", {"a": "1"}, None]
    assert client.post("/old", {"b": 2}, what="rows") == ["POST", {"a": "1"}, {"b": 2}]
    with pytest.raises(LoadError, match="where no credentials are sent"):
        client.get("/away", what="rows")
    scripted.replies(reply(status=301, headers={"Location": "/moved"}))
    with pytest.raises(LoadError, match="make url the address that it leads to"):
        client.post("/old", {}, what="rows")
    assert other.calls == []


def test_a_credential_that_ends_is_renewed_once_a_request(scripted: Any) -> None:
    tokens = {"valid": 1}
    asked: list[bool] = []

    def script(call: Any) -> Any:
        if call.path == "/token":
            assert call.headers["authorization"] == "Bearer jwt"
            return reply(body={"token": tokens["valid"]})
        good = call.headers["authorization"] == f"Bearer {tokens['valid']}"
        return reply(body=[1]) if good else reply(status=401, body={"message": "expired"})

    scripted.script = script
    client, held = Api(scripted.url, {}, patience=FAST), {"token": 1}

    def authorise(renew: bool) -> Mapping[str, str]:
        asked.append(renew)
        if renew:
            answer = client.send("POST", "/token", headers={"Authorization": "Bearer jwt"}, what="a token")
            held["token"] = answer["token"]
        return {"Authorization": f"Bearer {held['token']}"}

    client.authorise = authorise
    assert client.get("/x", what="rows") == [1] and asked == [False]
    tokens["valid"] = 2
    assert client.get("/x", what="rows") == [1] and asked == [False, False, True]
    assert (client.requests, client.retries) == (4, 1)
    client.authorise = lambda renew: {"Authorization": "Bearer 0"}
    with pytest.raises(LoadError, match="refuses the credentials"):
        client.get("/x", what="rows")


# TLS and proxies


@dataclass(frozen=True)
class Authority:
    """A private certificate authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private authority")])
        built = built_certificate(name, name, key.public_key(), timedelta(days=1), None)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(key, built.sign(key, hashes.SHA256()))

    def issue(self, host: str, ends: timedelta = timedelta(days=1)) -> tuple[str, str]:
        """Certificate and key of a host, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        built = built_certificate(name, self.certificate.subject, key.public_key(), ends, host)
        certificate = built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.decode(), private.decode()


def built_certificate(
    name: x509.Name, issuer: x509.Name, key: Any, ends: timedelta, host: str | None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    built = built.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=9))
    built = built.not_valid_after(now + ends)
    return built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False) if host else built


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


def serving(pair: tuple[str, str], folder: Path, clients: str | None = None) -> ssl.SSLContext:
    """A server's context; it asks for client certificates of an authority when one is given."""
    (folder / "pem").write_text("\n".join(pair))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "pem")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients)
    return context


def test_a_private_authority_is_trusted_when_the_secret_holds_it(
    authority: Authority, scripted_with: Callable[..., Any], tmp_path: Path
) -> None:
    server = scripted_with(serving(authority.issue("localhost"), tmp_path))
    server.replies(reply(body=[1]))
    with pytest.raises(LoadError, match=r"not trusted \(.*issuer.*\); put its authority.*`ca.crt`") as found:
        api(server.url).get("/x", what="rows")
    assert found.value.reason == "Unreachable"
    client = api(server.url)
    client.use({"ca.crt": authority.pem}.get)
    assert client.get("/x", what="rows") == [1]


@pytest.mark.parametrize(
    ("host", "ends", "text"),
    [
        ("localhost", timedelta(days=-1), "has expired; have it renewed"),
        ("other.example", timedelta(days=1), "certificate of another host .*; correct url"),
    ],
)
def test_a_bad_certificate_is_told_at_once(
    authority: Authority, scripted_with: Callable[..., Any], tmp_path: Path, host: str, ends: timedelta, text: str
) -> None:
    server = scripted_with(serving(authority.issue(host, ends), tmp_path))
    client = api(server.url)
    client.use({"ca.crt": authority.pem}.get)
    with pytest.raises(LoadError, match=text) as found:
        client.get("/x", what="rows")
    assert found.value.reason == "Unreachable" and client.requests == 1


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (ssl.TLSVersion.TLSv1_2, r"asks for a client certificate; put `tls\.crt` and `tls\.key`"),
        # It is missed after the handshake: what is read of that depends on who is faster.
        (ssl.TLSVersion.TLSv1_3, r"asks for a client certificate.*`tls\.crt` and `tls\.key`"),
    ],
)
def test_a_client_certificate_is_shown(
    authority: Authority, scripted_with: Callable[..., Any], tmp_path: Path, version: ssl.TLSVersion, text: str
) -> None:
    context = serving(authority.issue("localhost"), tmp_path, clients=authority.pem)
    context.minimum_version = context.maximum_version = version
    server = scripted_with(context)
    server.replies(reply(body=[1]))
    certificate, key = authority.issue("a load")
    client = api(server.url)
    client.use({"ca.crt": authority.pem, "tls.crt": certificate, "tls.key": key}.get)
    assert client.get("/x", what="rows") == [1]
    without = api(server.url)
    without.use({"ca.crt": authority.pem}.get)
    with pytest.raises(LoadError, match=text):
        without.get("/x", what="rows")


def test_tls_where_there_is_none_is_told(scripted: Any) -> None:
    with pytest.raises(LoadError, match="does not speak TLS on this port; write url with http://"):
        api(scripted.url.replace("http://", "https://")).get("/x", what="rows")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"ca.crt": "no pem"}, "`ca.crt` .* is no certificate in PEM"),
        ({"tls.crt": "x"}, "one of `tls.crt` and `tls.key`; a client certificate needs both"),
        ({"tls.crt": "x", "tls.key": "secret-key"}, "`tls.crt` and `tls.key` .* are no certificate"),
        ({"proxy": "proxy:3128"}, "`proxy` .* is no URL of an HTTP proxy"),
    ],
)
def test_a_key_of_the_secret_that_is_wrong_is_named(keys: dict[str, str], text: str) -> None:
    with pytest.raises(LoadError, match=text) as found:
        api("https://localhost").use(keys.get)
    assert found.value.reason == "InvalidConfiguration" and "secret-key" not in str(found.value)


@pytest.fixture
def proxy() -> Iterator[Any]:
    """A proxy that tunnels and forwards for one user, as a process of this test; `asked` is what it was asked for."""
    import http.server
    import select
    import urllib.request

    asked: list[str] = []
    right = "Basic " + base64.b64encode(b"us er:pa:ss").decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def refused(self) -> bool:
            asked.append(f"{self.command} {self.path}")
            if self.headers.get("Proxy-Authorization") == right:
                return False
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return True

        def do_CONNECT(self) -> None:
            if self.refused():
                return
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                pairs = {self.connection: there, there: self.connection}
                while ready := select.select(list(pairs), [], [], 60)[0]:
                    for one in ready:
                        if not (data := one.recv(65536)):
                            self.close_connection = True
                            return
                        pairs[one].sendall(data)

        def do_GET(self) -> None:
            if self.refused():
                return
            with urllib.request.urlopen(self.path) as answer:
                data = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(place=f"127.0.0.1:{server.server_port}", asked=asked)
    server.shutdown()
    server.server_close()


def test_a_proxy_of_the_secret_is_used_with_and_without_tls(
    authority: Authority,
    scripted: Any,
    scripted_with: Callable[..., Any],
    proxy: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    secure = scripted_with(serving(authority.issue("localhost"), tmp_path))
    for server in (scripted, secure):
        server.replies(reply(body=[1]))
        client = api(server.url)
        client.use({"ca.crt": authority.pem, "proxy": f"http://us%20er:pa%3Ass@{proxy.place}"}.get)
        assert client.get("/x", what="rows") == [1]
    assert [a.split(" ")[0] for a in proxy.asked] == ["GET", "CONNECT"]
    for server in (scripted, secure):
        client = api(server.url)
        client.use({"ca.crt": authority.pem, "proxy": f"http://us%20er:wr0ng@{proxy.place}"}.get)
        with pytest.raises(LoadError, match="proxy refuses the load's credentials") as refused:
            client.get("/x", what="rows")
        assert refused.value.reason == "Unauthorized" and "wr0ng" not in str(refused.value)
    client = api(secure.url)
    client.use({"proxy": "http://u:pr0xy-password@127.0.0.1:1"}.get)
    with pytest.raises(LoadError, match="not reached through the proxy") as silent:
        client.get("/x", what="rows")
    assert "pr0xy-password" not in str(silent.value)
