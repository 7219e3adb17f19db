"""What an HTTP answer means: take it, wait, try again, or give up with a reason and a remedy. Pure decisions."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import orjson
from requests.utils import parse_header_links

from forge_pipelines.problems import LoadError, causes

REDIRECTS = (301, 302, 303, 307, 308)
PROXY_CREDENTIALS = (
    "the proxy refuses the load's credentials (407); correct user and password in the key `proxy` of the source's "
    "Secret, or in HTTPS_PROXY"
)


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
    answer_seconds: float = 300.0
    """From a request to the last byte of its answer: a server that sends a byte a second would hold a load for ever."""


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
    if answer.status == 407:
        return LoadError("Unauthorized", PROXY_CREDENTIALS)
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
    if answer.status in (404, 405, 410, 501):
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


def said(body: bytes | bytearray, content_type: str) -> str:
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


def parse(content: bytes | bytearray) -> Any:
    """JSON; half a surrogate pair, which JSON can say and Unicode cannot, as a question mark. Raises ValueError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return orjson.loads(json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace"))


def next_link(headers: Mapping[str, str]) -> str | None:
    """The URL of the next page in a Link header (RFC 8288), None on the last page; header names in lower case."""
    links = parse_header_links(headers.get("link", ""))
    return next((link["url"] for link in links if "next" in link.get("rel", "").split()), None)


def redirected(url: str, method: str, answer: Answer, what: str) -> str:
    """Where a redirect leads, if it stays on its server. Raises LoadError: credentials go to no other one."""
    host, target = urlsplit(url).netloc, urljoin(url, answer.headers.get("location", ""))
    old, new = urlsplit(url), urlsplit(target)
    upgraded = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
    if (old.scheme, old.netloc) != (new.scheme, new.netloc) and not upgraded:
        raise LoadError(
            "BadResponse",
            f"{host} sends {what} on to {new.scheme}://{new.netloc} ({answer.status}), where no credentials are sent; "
            "check that url is the API's own address and not that of a login page",
        )
    if method != "GET" and answer.status in (301, 302, 303):
        raise LoadError(
            "BadResponse",
            f"{host} sends {what} on to {new.scheme}://{new.netloc}{new.path} ({answer.status}); make url the address "
            "that it leads to, and check that this is no login page",
        )
    return target


def certificate_problem(error: BaseException, host: str) -> LoadError | None:
    """What a failed TLS handshake means to people; None when it may pass at the next attempt."""
    found = next((e for e in causes(error) if isinstance(e, ssl.SSLError)), None)
    if isinstance(found, ssl.SSLCertVerificationError):
        code, told = found.verify_code, found.verify_message
        if code == 10:
            text = f"{host} has a certificate that has expired; have it renewed on the server"
        elif code == 9:
            text = f"{host} has a certificate that is not valid yet; check the clocks of server and cluster"
        elif code in (62, 64):
            text = f"{host} has a certificate of another host ({told}); correct url, or the certificate's names"
        elif code in (2, 18, 19, 20, 21):
            text = (
                f"{host} has a certificate that is not trusted ({told}); put its authority's certificate (PEM) as the "
                "key `ca.crt` into the Secret that credentialsSecretRef names"
            )
        else:
            text = f"{host} has a certificate that is not trusted ({told}); correct it on the server"
        return LoadError("Unreachable", text)
    reason = (found.reason or str(found)).upper() if found else ""
    if any(word in reason for word in ("CERTIFICATE_REQUIRED", "CERTIFICATE REQUIRED", "HANDSHAKE_FAILURE")):
        return LoadError(
            "Unauthorized",
            f"{host} asks for a client certificate; put `tls.crt` and `tls.key` (PEM) into the Secret that "
            "credentialsSecretRef names",
        )
    if any(word in reason for word in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")):
        return LoadError(
            "Unreachable", f"{host} does not speak TLS on this port; write url with http:// or another port"
        )
    if "ALERT" in reason:
        return LoadError(
            "Unreachable", f"{host} breaks off the TLS handshake ({reason}); check its TLS versions and `tls.crt`"
        )
    return None


def root(error: BaseException) -> str:
    """The innermost cause of a transport error, without the URL that libraries put around it."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    text = str(error).split(": ", 1)[-1] if "object at 0x" in str(error) else str(error)
    return f"{type(error).__name__}: {text}"[:160]
