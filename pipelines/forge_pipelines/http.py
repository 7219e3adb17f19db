"""One HTTP client for all four APIs: it waits as the server asks, tries again what may pass, says what does not.

The decisions are in `answers`; `Api` carries them out. Credentials are in headers only, never in a message, and never
go to another server than the source's own.
"""

from __future__ import annotations

import random
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from forge_pipelines.answers import (
    PROXY_CREDENTIALS,
    REDIRECTS,
    Answer,
    Patience,
    certificate_problem,
    judge,
    next_link,
    parse,
    pause,
    problem,
    redirected,
    root,
    said,
)
from forge_pipelines.problems import LoadError, NotTheApiError, RateLimited, Stopped, causes

USER_AGENT = "forge-load"
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
CHUNK = 1 << 16
LONGEST_BODY = 256 << 20
"""Bytes of a body, unpacked: far above any page that the sources ask for."""
REDIRECTS_IN_A_ROW = 5
LOOK_UP_SECONDS = 0.25
"""How often a load that waits for an answer looks whether it is to end."""
PATIENCE = Patience()
SIGNALLED = "stopped by a signal; the next load goes on from here"


class Unchanged(Enum):
    """The answer to a conditional GET whose thing is as it was (304)."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


class TooSlowError(Exception):
    """An answer did not end in the time that a load gives it."""


@dataclass(frozen=True)
class Exchange:
    """An answer, its body, and how many bytes of it came over the wire."""

    answer: Answer
    body: bytearray
    bytes_read: int


@dataclass
class Api:
    """A server's API. `stop` ends waits early; `requests` counts every request sent, `retries` the repeated ones.

    `authorise` gives headers that carry a credential which ends (a token of a GitHub App). It is asked before each
    request, with True once after a 401: the credential must be renewed then. Requests that it makes itself through this
    client bring their own `Authorization` in `headers`, and it is not asked for them.
    """

    base_url: str
    headers: Mapping[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    patience: Patience = PATIENCE
    basic: tuple[str, str] | None = None
    authorise: Callable[[bool], Mapping[str, str]] | None = None
    clock: Callable[[], float] = time.time
    requests: int = 0
    retries: int = 0
    bytes_read: int = 0
    waited: float = 0.0
    last_headers: Mapping[str, str] = field(default_factory=dict)
    _proxy: str | None = None
    _not_before: float = 0.0

    def __post_init__(self) -> None:
        """Open the session: kept connections, no credentials of the machine's own (.netrc)."""
        self._session = requests.Session()
        self._session.auth = self._sign
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", **self.headers})

    def _sign(self, request: PreparedRequest) -> PreparedRequest:
        if self.basic and "Authorization" not in request.headers:
            return HTTPBasicAuth(*self.basic)(request)
        return request

    def use(self, credentials: Callable[[str], str | None]) -> None:
        """Take what any source's Secret may hold: `ca.crt`, `tls.crt` with `tls.key`, `proxy`.

        Raises LoadError (InvalidConfiguration) that names the key. `credentials` gives the value of a key, or None.
        """
        authority, certificate, key = (credentials(name) for name in ("ca.crt", "tls.crt", "tls.key"))
        if authority or certificate or key:
            self._session.mount("https://", Trusting(tls_context(authority, certificate, key)))
        if proxy := credentials("proxy"):
            url = urlsplit(proxy)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise LoadError(
                    "InvalidConfiguration",
                    "the key `proxy` of the source's Secret is no URL of an HTTP proxy; write "
                    "http://user:password@host:port",
                )
            self._proxy = proxy

    @property
    def host(self) -> str:
        """For messages: the server without path."""
        return urlsplit(self.base_url).netloc

    @property
    def next_page(self) -> str | None:
        """The URL of the page after the last answer's, by its Link header; `get` takes it as a path."""
        return next_link(self.last_headers)

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, what: str, etag: str | None = None, **more: Any
    ) -> Any:
        """The parsed JSON of a GET. `what` names the thing asked for, in messages.

        With an `etag` of an earlier answer (`last_headers["etag"]`) it is UNCHANGED when nothing is new, which GitHub
        does not count against the budget.
        """
        headers = {"If-None-Match": etag} if etag else {}
        return self.send("GET", path, params=params, headers=headers, what=what, **more)

    def post(self, path: str, body: Any, *, what: str) -> Any:
        """The parsed JSON of a POST with a JSON body (of a reading call: it may be repeated)."""
        return self.send("POST", path, body=body, what=what)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        what: str,
        passing_attempts: int | None = None,
    ) -> Any:
        """The parsed JSON of a call; `path` may also be a whole URL of this server (as in a Link header).

        Raises LoadError when the answer is final or the attempts are used up, RateLimited when the waits of this load
        are used up, Stopped when it was told to end. `passing_attempts` bounds the tries after 5xx and broken bodies.
        """
        attempts = passing_attempts or self.patience.attempts
        failures = limits = hops = 0
        renew, url = False, self._url(path, what)
        asks_itself = self.authorise is not None and "Authorization" not in (headers or {})
        while True:
            self._may_go_on(what)
            given = {**(headers or {}), **(self.authorise(renew) if self.authorise and asks_itself else {})}
            try:
                answer, content = self._exchange(method, url, params=params, json=body, data=form, headers=given)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
                raise LoadError(
                    "InvalidConfiguration", f"url {self.base_url!r} is no URL that can be called"
                ) from error
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, TooSlowError, OSError) as error:
                failures += 1
                if final := certificate_problem(error, self.host):
                    raise final from error
                if failures >= attempts or is_refused_by_proxy(error):
                    raise self._silent(error, what, failures) from error
                self._again(self.patience.first_wait * 2 ** (failures - 1), what)
                continue
            if answer.status == 304:
                return UNCHANGED
            if answer.status in REDIRECTS:
                hops += 1
                if hops > REDIRECTS_IN_A_ROW:
                    raise LoadError("BadResponse", f"{self.host} sends {what} on in circles; check the url")
                url, params = redirected(url, method, answer, what), None
                continue
            kind = answer.headers.get("content-type", "")
            verdict = judge(answer)
            if verdict == "good":
                try:
                    return parse(content)
                except ValueError as error:
                    failures += 1
                    is_page = "html" in kind or answer.excerpt.lstrip()[:1] == "<"
                    if is_page or failures >= attempts:
                        found = said(content, kind) or "an empty body"
                        raise (NotTheApiError if is_page else LoadError)(
                            "BadResponse",
                            f"{self.host} answers {what} with {found} in place of JSON; check that url is the API's "
                            "address and not that of a login page or proxy",
                        ) from error
                    self._again(self.patience.first_wait * 2 ** (failures - 1), what)
                    continue
            if verdict == "limited":
                limits += 1
                self._again(pause(answer, limits, self.patience, self.clock()), what, limited=True)
                continue
            if answer.status == 401 and asks_itself and not renew:
                renew = True
                self.retries += 1
                continue
            failures += 1
            if verdict == "final" or failures >= attempts:
                raise problem(answer, self.host, what, said(content, kind))
            self._again(pause(answer, failures, self.patience, self.clock()), what)

    def rest_until(self, reset: datetime | None, attempt: int, what: str) -> None:
        """Wait for a limit that an answer told of inside its body. Raises RateLimited or Stopped."""
        now = self.clock()
        unasked = pause(Answer(429, self.last_headers, "secondary"), attempt, self.patience, now)
        self._again(max(reset.timestamp() - now, 0.0) + 1.0 if reset else unasked, what, limited=True)

    def hold_until(self, moment: datetime) -> None:
        """Let the next request wait for a moment, because a budget is nearly used up."""
        self._not_before = moment.timestamp()

    def _url(self, path: str, what: str) -> str:
        if not path.startswith(("http://", "https://")):
            return self.base_url.rstrip("/") + path
        if urlsplit(path).netloc != self.host:
            raise LoadError(
                "BadResponse",
                f"{self.host} names another server for {what} ({urlsplit(path).netloc}), where no credentials are "
                "sent; make url the address that the server calls itself by",
            )
        return path

    def _may_go_on(self, what: str) -> None:
        if self.stop.is_set():
            raise Stopped(SIGNALLED)
        if (ahead := self._not_before - self.clock()) > 0:
            self._wait(ahead, what, limited=True)

    def _exchange(self, method: str, url: str, **given: Any) -> tuple[Answer, bytearray]:
        """One request and its whole answer, within a time and a size.

        It is made beside the caller, who can thus leave a server that drips its headers, or when the load is to end: a
        socket alone knows only how long nothing came.
        """
        self.requests += 1
        outcomes: SimpleQueue[Exchange | Exception] = SimpleQueue()
        left = threading.Event()
        work = partial(self._answered, outcomes, left, method, url, given)
        threading.Thread(target=work, name="request", daemon=True).start()
        deadline = time.monotonic() + self.patience.answer_seconds
        outcome: Exchange | Exception | None = None
        while outcome is None:
            with suppress(Empty):
                outcome = outcomes.get(timeout=min(max(deadline - time.monotonic(), 0.01), LOOK_UP_SECONDS))
            if outcome is None and self.stop.is_set():
                left.set()
                raise Stopped(SIGNALLED)
            if outcome is None and time.monotonic() > deadline:
                left.set()
                raise TooSlowError(f"the answer did not end in {self.patience.answer_seconds:.0f} s")
        if isinstance(outcome, Exception):
            raise outcome
        self.bytes_read += outcome.bytes_read
        self.last_headers = outcome.answer.headers
        return outcome.answer, outcome.body

    def _answered(
        self,
        outcomes: SimpleQueue[Exchange | Exception],
        left: threading.Event,
        method: str,
        url: str,
        given: Mapping[str, Any],
    ) -> None:
        """Put the outcome of a request into the queue, unless its caller has left."""
        timeout = (CONNECT_SECONDS, min(SILENCE_SECONDS, self.patience.answer_seconds))
        proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else None
        try:
            with self._session.request(
                method, url, timeout=timeout, allow_redirects=False, stream=True, proxies=proxies, **given
            ) as response:
                body = bytearray()
                while part := response.raw.read1(CHUNK, decode_content=True):
                    body += part
                    if left.is_set():
                        return
                    if len(body) > LONGEST_BODY:
                        raise LoadError(
                            "BadResponse",
                            f"{self.host} answers with more than {LONGEST_BODY >> 20} MB at once; select less in the "
                            "source",
                        )
                headers = {name.lower(): value for name, value in response.headers.items()}
                answer = Answer(response.status_code, headers, body[:2000].decode("utf-8", "replace"))
                outcomes.put(Exchange(answer, body, response.raw.tell()))
        except Exception as error:
            outcomes.put(error)

    def _silent(self, error: Exception, what: str, attempts: int) -> LoadError:
        if is_refused_by_proxy(error):
            return LoadError("Unauthorized", PROXY_CREDENTIALS)
        if isinstance(error, requests.exceptions.ProxyError):
            return LoadError(
                "Unreachable",
                f"{self.host} is not reached through the proxy ({root(error)}); check the key `proxy` of the source's "
                "Secret, or HTTPS_PROXY",
            )
        told = (
            f"{self.host} did not answer {what} in {attempts} attempts ({root(error)}); check the url, the network "
            "policy, and that the server runs"
        )
        # With TLS 1.3 a server misses the client certificate after the handshake. Of its alert nothing may be left to
        # read when the connection is closed before the request was written.
        closed = any(isinstance(cause, (ssl.SSLEOFError, ConnectionResetError)) for cause in causes(error))
        if closed and self.base_url.startswith("https://"):
            told += "; or it asks for a client certificate: `tls.crt` and `tls.key` (PEM) of the source's Secret"
        return LoadError("Unreachable", told)

    def _again(self, seconds: float, what: str, *, limited: bool = False) -> None:
        """Wait, then let the request be sent once more."""
        self._wait(seconds, what, limited=limited)
        self.retries += 1

    def _wait(self, seconds: float, what: str, *, limited: bool = False) -> None:
        seconds += random.uniform(0, min(seconds, 5.0) * 0.25)  # noqa: S311 - jitter, no secret
        if self.waited + seconds > self.patience.total_wait:
            why = f"{self.host} limits the rate of requests" if limited else f"{self.host} answers too slowly"
            raise RateLimited(f"{why} ({what}) and asks to wait {seconds:.0f} s more; the next load goes on from here")
        self.waited += seconds
        if self.stop.wait(seconds):
            raise Stopped(SIGNALLED)


def is_refused_by_proxy(error: Exception) -> bool:
    """Whether a proxy wants other credentials before it opens a tunnel."""
    return isinstance(error, requests.exceptions.ProxyError) and "407" in root(error)


class Trusting(HTTPAdapter):
    """Connections with a TLS context of our own; requests adds the public authorities to it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Keep the context, with or without a proxy between."""
        self.context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **values: Any) -> None:
        """Hand the context on."""
        super().init_poolmanager(*arguments, ssl_context=self.context, **values)

    def proxy_manager_for(self, proxy: str, **values: Any) -> Any:
        """Hand the context on."""
        return super().proxy_manager_for(proxy, ssl_context=self.context, **values)


def tls_context(authority: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """A context that trusts a private authority and shows a client certificate (all PEM). Raises LoadError."""
    try:
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise LoadError(
            "InvalidConfiguration", f"the key `ca.crt` of the source's Secret is no certificate in PEM ({root(error)})"
        ) from error
    # Private authorities often lack the extensions that newer Pythons insist on.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if certificate or key:
        if not (certificate and key):
            raise LoadError(
                "InvalidConfiguration",
                "the source's Secret holds one of `tls.crt` and `tls.key`; a client certificate needs both",
            )
        # Python reads certificates from files only; this one is gone at once.
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{certificate}\n{key}\n")
            file.flush()
            try:
                context.load_cert_chain(file.name, password=lambda: "")
            except (ssl.SSLError, OSError) as error:
                raise LoadError(
                    "InvalidConfiguration",
                    f"`tls.crt` and `tls.key` of the source's Secret are no certificate with its key in PEM, without "
                    f"password ({root(error)})",
                ) from error
    return context
