"""One HTTP client for all four APIs: it waits as the server asks, tries again what may pass, says what does not.

The decisions (`judge`, `pause`) are pure; `Api` carries them out. Credentials are in headers only, never in a message.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
import requests
from requests import PreparedRequest
from requests.auth import HTTPBasicAuth

from forge_pipelines.problems import LoadError, RateLimited, Stopped

USER_AGENT = "forge-load"
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
SIGNALLED = "stopped by a signal; the next load goes on from here"


@dataclass(frozen=True)
class Patience:
    """How long a load bears with a source. Waits are seconds."""

    attempts: int = 5
    first_wait: float = 0.5
    longest_backoff: float = 30.0
    unasked_limit_wait: float = 60.0
    """GitHub's advice for a secondary limit without a header: at least a minute."""
    total_wait: float = 600.0
    """All waits of one load together; beyond it the load stops at a clean cursor and the next one goes on."""


@dataclass(frozen=True)
class Answer:
    """A response as the decisions see it: header names in lower case, the body's beginning as text."""

    status: int
    headers: Mapping[str, str]
    excerpt: str = ""


Verdict = Literal["good", "limited", "passing", "final"]


def judge(answer: Answer) -> Verdict:
    """What a status means: take it, wait for a limit, try again, or give up.

    GitHub tells both of its limits by 403 as well as 429 ("Rate limits for the REST API", GitHub documentation).
    """
    if answer.status < 400:
        return "good"
    if answer.status == 429:
        return "limited"
    if answer.status == 403:
        text = answer.excerpt.lower()
        spoken = "rate limit" in text or "abuse detection" in text
        exhausted = answer.headers.get("x-ratelimit-remaining") == "0"
        return "limited" if spoken or exhausted or "retry-after" in answer.headers else "final"
    if answer.status == 503 and "retry-after" in answer.headers:
        return "limited"
    return "passing" if answer.status in (408, 425, 500, 502, 503, 504, 520, 522, 524) else "final"


def pause(answer: Answer, attempt: int, patience: Patience, now: float) -> float:
    """Seconds to wait before attempt + 1 (attempt counts from 1), without jitter; `now` is Unix time.

    Retry-After (seconds or a date) wins, then the reset of an exhausted budget, then doubling. No wait is shorter than
    the doubling: a server that says 0 for ever is not asked for ever.
    """
    backoff = min(patience.first_wait * 2.0 ** (attempt - 1), patience.longest_backoff)
    asked = _seconds(answer.headers.get("retry-after"), now)
    if asked is not None:
        return max(backoff, asked)
    if judge(answer) != "limited":
        return backoff
    reset = answer.headers.get("x-ratelimit-reset")
    if reset and answer.headers.get("x-ratelimit-remaining", "0") == "0":
        until = _reset_time(reset, now)
        if until is not None:
            return max(until - now, 0.0) + 1.0
    if answer.status == 403 or "secondary" in answer.excerpt.lower():
        return patience.unasked_limit_wait * 2.0 ** (attempt - 1)
    return max(backoff, 1.0)


def _seconds(text: str | None, now: float) -> float | None:
    if not text:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except ValueError:
        return None


def _reset_time(text: str, now: float) -> float | None:
    """GitHub gives Unix seconds, Jira a date, Langfuse either seconds from now or a date."""
    try:
        number = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            return None
    return number if number > 1e9 else now + number


def problem(answer: Answer, host: str, what: str, said: str) -> LoadError:
    """The error of a final status, with its remedy."""
    hint = f' (it said "{said}")' if said else ""
    if answer.status == 401:
        return LoadError(
            "Unauthorized",
            f"{host} refuses the credentials (401) for {what}{hint}; put valid ones into the Secret that "
            "credentialsSecretRef names",
        )
    if answer.status == 403:
        return LoadError(
            "Forbidden",
            f"{host} forbids {what} (403){hint}; give the credentials the right to read it, or select less",
        )
    if answer.status in (404, 410):
        return LoadError(
            "NotFound",
            f"{host} does not know {what} ({answer.status}){hint}; check the url and the names in the source",
        )
    if answer.status in (400, 414, 422):
        return LoadError(
            "InvalidConfiguration", f"{host} refuses {what} ({answer.status}){hint}; correct the source's selection"
        )
    return LoadError(
        "BadResponse",
        f"{host} answers {answer.status} to {what}{hint}; check the url, or try again when the server is well",
    )


def said(body: bytes, content_type: str) -> str:
    """What a server says of an error, in one short line."""
    text = body[:2000].decode("utf-8", "replace").strip()
    if "json" in content_type or text.startswith(("{", "[")):
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            data = None
        if isinstance(data, dict):
            parts = data.get("errorMessages") or data.get("errors") or data.get("error") or data.get("message")
            parts = parts if parts else data
            if isinstance(parts, list):
                parts = "; ".join(str(p.get("message", p)) if isinstance(p, dict) else str(p) for p in parts)
            elif isinstance(parts, dict):
                parts = "; ".join(f"{k}: {v}" for k, v in parts.items())
            text = str(parts)
    elif "html" in content_type or text[:1] == "<":
        text = "an HTML page"
    return " ".join(text.split())[:200]


def parse(content: bytes) -> Any:
    """JSON; half a surrogate pair, which JSON can say and Unicode cannot, as a question mark. Raises ValueError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return orjson.loads(json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace"))


@dataclass
class Api:
    """A server's API. `stop` ends waits early; `requests` counts every request sent, repeated ones too."""

    base_url: str
    headers: Mapping[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    patience: Patience = Patience()
    basic: tuple[str, str] | None = None
    clock: Callable[[], float] = time.time
    requests: int = 0
    waited: float = 0.0
    last_headers: Mapping[str, str] = field(default_factory=dict)
    _not_before: float = 0.0

    def __post_init__(self) -> None:
        """Open the session: kept connections, no credentials of the machine's own (.netrc)."""
        self._session = requests.Session()
        self._session.auth = self._authorise
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", **self.headers})

    def _authorise(self, request: PreparedRequest) -> PreparedRequest:
        if self.basic:
            return HTTPBasicAuth(*self.basic)(request)
        return request

    @property
    def host(self) -> str:
        """For messages: the server without path."""
        return urlsplit(self.base_url).netloc

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, what: str) -> Any:
        """The parsed JSON of a GET. `what` names the thing asked for, in messages."""
        return self.send("GET", path, params=params, what=what)

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
        what: str,
        passing_attempts: int | None = None,
    ) -> Any:
        """The parsed JSON of a call.

        Raises LoadError when the answer is final or the attempts are used up, RateLimited when the waits of this load
        are used up, Stopped when it was told to end. `passing_attempts` bounds the tries after 5xx and broken bodies.
        """
        attempts = passing_attempts or self.patience.attempts
        failures = limits = 0
        while True:
            if self.stop.is_set():
                raise Stopped(SIGNALLED)
            if (ahead := self._not_before - self.clock()) > 0:
                self._wait(ahead, what, limited=True)
            self.requests += 1
            try:
                response = self._session.request(
                    method,
                    self.base_url.rstrip("/") + path,
                    params=params,
                    json=body,
                    data=form,
                    timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                )
                content = response.content
            except requests.exceptions.SSLError as error:
                raise LoadError(
                    "Unreachable",
                    f"{self.host} has a certificate that is not trusted ({_root(error)}); check the url, or give the "
                    "load the right CA bundle by REQUESTS_CA_BUNDLE",
                ) from error
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
                raise LoadError(
                    "InvalidConfiguration", f"url {self.base_url!r} is no URL that can be called"
                ) from error
            except requests.exceptions.RequestException as error:
                failures += 1
                if failures >= attempts:
                    raise LoadError(
                        "Unreachable",
                        f"{self.host} did not answer {what} in {failures} attempts ({_root(error)}); check the url, "
                        "the network policy, and that the server runs",
                    ) from error
                self._wait(self.patience.first_wait * 2 ** (failures - 1), what)
                continue
            self.last_headers = {name.lower(): value for name, value in response.headers.items()}
            kind = self.last_headers.get("content-type", "")
            answer = Answer(response.status_code, self.last_headers, content[:2000].decode("utf-8", "replace"))
            verdict = judge(answer)
            if verdict == "good":
                try:
                    return parse(content)
                except ValueError as error:
                    failures += 1
                    if "html" in kind or answer.excerpt.lstrip()[:1] == "<" or failures >= attempts:
                        found = said(content, kind) or "an empty body"
                        raise LoadError(
                            "BadResponse",
                            f"{self.host} answers {what} with {found} in place of JSON; check that url is the API's "
                            "address and not that of a login page or proxy",
                        ) from error
                    self._wait(self.patience.first_wait * 2 ** (failures - 1), what)
                    continue
            if verdict == "limited":
                limits += 1
                self._wait(pause(answer, limits, self.patience, self.clock()), what, limited=True)
                continue
            failures += 1
            if verdict == "final" or failures >= attempts:
                raise problem(answer, self.host, what, said(content, kind))
            self._wait(pause(answer, failures, self.patience, self.clock()), what)

    def rest_until(self, reset: datetime | None, attempt: int, what: str) -> None:
        """Wait for a limit that an answer told of inside its body. Raises RateLimited or Stopped."""
        now = self.clock()
        unasked = pause(Answer(429, self.last_headers, "secondary"), attempt, self.patience, now)
        self._wait(max(reset.timestamp() - now, 0.0) + 1.0 if reset else unasked, what, limited=True)

    def hold_until(self, moment: datetime) -> None:
        """Let the next request wait for a moment, because a budget is nearly used up."""
        self._not_before = moment.timestamp()

    def _wait(self, seconds: float, what: str, *, limited: bool = False) -> None:
        seconds += random.uniform(0, min(seconds, 5.0) * 0.25)  # noqa: S311 - jitter, no secret
        if self.waited + seconds > self.patience.total_wait:
            why = f"{self.host} limits the rate of requests" if limited else f"{self.host} answers too slowly"
            raise RateLimited(f"{why} ({what}) and asks to wait {seconds:.0f} s more; the next load goes on from here")
        self.waited += seconds
        if self.stop.wait(seconds):
            raise Stopped(SIGNALLED)


def _root(error: BaseException) -> str:
    """The innermost cause of a transport error, without the URL that libraries put around it."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    text = str(error).split(": ", 1)[-1] if "object at 0x" in str(error) else str(error)
    return f"{type(error).__name__}: {text}"[:160]
