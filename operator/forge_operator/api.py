"""The API server, as JSON in and JSON out; `kubernetes.aio` brings its address, trust and credentials.

Its generated models are left aside: builders and readers speak manifests, and a watch of thousands of objects may not
pay for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from forge_operator import metrics
from forge_operator.names import MANAGER, Kind, Manifest, kind_of

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
POOL = 16
"""Connections for requests; each holds a quarter of a megabyte of buffers for TLS."""
PAGE = 100
"""Objects a page of a list. One page at a time is in memory: at a start, all kinds are listed at once."""
WATCH_SECONDS = 300
"""Seconds after which the API server ends a watch, so that connections spread anew over its replicas."""
SILENCE_SECONDS = 100.0
"""Seconds without a word after which a watch is taken for dead and begun anew. The API server sends a bookmark about
every minute, but of a kind that never changed since it started only when etcd tells it of its progress."""
SKEW_THAT_COUNTS = timedelta(seconds=2)
"""The Date header has whole seconds: smaller differences say nothing."""
_META = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


def in_cluster() -> bool:
    """Whether this process is a pod with a service account."""
    return SERVICE_ACCOUNT_TOKEN.exists()


class ApiError(Exception):
    """The API server refused: HTTP status, its reason (e.g. AlreadyExists), its message, how many seconds it asks to be
    left alone, and whether it is because the namespace is about to go."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None, *, terminating: bool = False
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.terminating = terminating

    @property
    def refused(self) -> bool:
        """Whether the API server will not have an object as it is, however often it is asked."""
        # An apply of what does not fit the kind's schema (an affinity is free in a stack) is answered with 500.
        misfit = self.status == 500 and "failed to create typed patch object" in self.message
        return not self.terminating and (misfit or self.status in (400, 403, 422))


NO_ANSWER = (aiohttp.ClientError, TimeoutError)
"""What a request ends with that got no answer, or a part of one."""
TROUBLE = (ApiError, *NO_ANSWER)
"""What any request may end with."""


class Api:
    """The verbs that the operator uses. Each raises one of TROUBLE."""

    def __init__(self, client: ApiClient, timeout: float) -> None:
        configuration = client.configuration
        self._configuration = configuration
        self._root = str(configuration.host).rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=5)
        self._named = {"server_hostname": configuration.tls_server_name} if configuration.tls_server_name else {}
        tls = client.rest_client.ssl_context
        self._session = _session(configuration, aiohttp.TCPConnector(limit=POOL, ssl=tls))
        # Watches hold their connections; they must leave room for requests.
        self._streams = _session(configuration, aiohttp.TCPConnector(limit=0, ssl=tls))
        self._one_page = asyncio.Lock()
        self._ahead = timedelta(0)

    @classmethod
    @asynccontextmanager
    async def connect(cls, seconds: float) -> AsyncIterator[Api]:
        """As the pod's service account, else by kubeconfig; a request may take that many seconds."""
        configuration = Configuration()
        if in_cluster():
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        async with ApiClient(configuration) as client:
            api = cls(client, seconds)
            try:
                yield api
            finally:
                await asyncio.gather(api._session.close(), api._streams.close())

    def now(self) -> datetime:
        """The time by the API server's clock, by which objects are dated; this machine's may be wrong."""
        skew = self._ahead if abs(self._ahead) > SKEW_THAT_COUNTS else timedelta(0)
        return datetime.now(UTC) + skew

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        told: str = "other",
    ) -> Manifest:
        """One request; the metrics know it by its method and by `told`, the plural of its kind."""
        headers = {**await self._credentials(), "Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = orjson.dumps(body)
        began, code = time.monotonic(), "none"
        try:
            async with self._session.request(
                method,
                self._root + path,
                params=query,
                data=data,
                headers=headers,
                timeout=self._timeout,
                **self._named,
            ) as response:
                raw = await response.read()
                code = str(response.status)
        finally:
            metrics.REQUESTS.labels(method, told, code).inc()
            metrics.REQUEST_SECONDS.labels(method).observe(time.monotonic() - began)
        self._note_clock(response.headers.get("Date"))
        return _answer(response, raw)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object; None when there is none."""
        return await self._get(kind, namespace, name, "application/json")

    async def peek(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The metadata of one object; None when there is none."""
        return await self._get(kind, namespace, name, _META.format(""))

    async def _get(self, kind: Kind, namespace: str, name: str, accept: str) -> Manifest | None:
        try:
            return await self.request("GET", kind.path(namespace, name), accept=accept, told=kind.plural)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def pages(
        self, kind: Kind, namespace: str = "", selector: str = "", fields: str = "", *, meta: bool = False
    ) -> AsyncIterator[tuple[list[Manifest], str]]:
        """The objects of a kind (of all namespaces when empty), page by page, and the version of the whole list.

        Raises ApiError 410 when the list became too old while it was read: begin again.
        """
        query = {"limit": str(PAGE), **_selectors(selector, fields)}
        accept = _META.format("List") if meta else "application/json"
        while True:
            async with self._one_page:
                answer = await self.request("GET", kind.path(namespace), query=query, accept=accept, told=kind.plural)
                yield (
                    [{**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in answer["items"] or ()],
                    answer["metadata"]["resourceVersion"],
                )
                query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def all(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Manifest]:
        """All objects of a kind, each with its kind."""
        return [item async for items, _ in self.pages(kind, namespace, selector) for item in items]

    async def watch(
        self,
        kind: Kind,
        version: str,
        namespace: str = "",
        selector: str = "",
        fields: str = "",
        *,
        meta: bool = False,
        begun: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """What happens from a version on: ADDED, MODIFIED, DELETED or BOOKMARK, and the object. It ends now and again;
        go on from the last version. `begun` is called when the API server has taken the watch on, for that it may have
        nothing to tell. Raises ApiError 410 when the version is too old: list again."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            **_selectors(selector, fields),
        }
        headers = {**await self._credentials(), "Accept": _META.format("") if meta else "application/json"}
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=SILENCE_SECONDS)
        metrics.REQUESTS.labels("WATCH", kind.plural, "").inc()
        async with self._streams.get(
            self._root + kind.path(namespace), params=query, headers=headers, timeout=timeout, **self._named
        ) as response:
            if response.status != 200:
                _answer(response, await response.read())
            begun()
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = _event(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                    yield event["type"], {**item, "apiVersion": kind.api_version, "kind": kind.kind}

    async def create(self, manifest: Manifest, kind: Kind | None = None) -> Manifest:
        """Create. Raises ApiError 409 when the name is taken."""
        kind = kind or kind_of(manifest)
        path = kind.path(manifest["metadata"]["namespace"])
        return await self.request("POST", path, query={"fieldManager": MANAGER}, body=manifest, told=kind.plural)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply as our field manager; another manager's value of our fields is overruled."""
        return await self._patch(manifest, manifest, "application/apply-patch+yaml", {"force": "true"})

    async def merge(self, manifest: Manifest, change: Manifest) -> Manifest:
        """Merge a change into an existing object."""
        return await self._patch(manifest, change, "application/merge-patch+json", {})

    async def patch(self, manifest: Manifest, operations: list[dict[str, Any]], kind: Kind | None = None) -> Manifest:
        """Change an existing object by JSON Patch (RFC 6902). Raises ApiError 422 when a `test` of it does not hold."""
        return await self._patch(manifest, operations, "application/json-patch+json", {}, kind)

    async def _patch(
        self, manifest: Manifest, body: Any, content_type: str, query: Mapping[str, str], kind: Kind | None = None
    ) -> Manifest:
        meta, kind = manifest["metadata"], kind or kind_of(manifest)
        return await self.request(
            "PATCH",
            kind.path(meta["namespace"], meta["name"]),
            query={"fieldManager": MANAGER, **query},
            body=body,
            content_type=content_type,
            told=kind.plural,
        )

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object (by uid) and what it owns; what is gone already is no error."""
        meta, kind = manifest["metadata"], kind_of(manifest)
        body = {"propagationPolicy": "Background", "preconditions": {"uid": meta["uid"]}}
        try:
            await self.request("DELETE", kind.path(meta["namespace"], meta["name"]), body=body, told=kind.plural)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def replace(self, kind: Kind, manifest: Manifest, subresource: str = "") -> Manifest:
        """Write over the object, or its status, at the manifest's resourceVersion. Raises ApiError 409 if it moved."""
        meta = manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"], subresource)
        told = "/".join(part for part in (kind.plural, subresource) if part)
        return await self.request("PUT", path, query={"fieldManager": MANAGER}, body=manifest, told=told)

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster has this kind."""
        try:
            answer = await self.request("GET", f"/apis/{kind.group}/{kind.version}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in answer.get("resources", []))

    async def _credentials(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}

    def _note_clock(self, date: str | None) -> None:
        if date is not None:
            self._ahead = parsedate_to_datetime(date) - datetime.now(UTC)


def _session(configuration: Configuration, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """A session. The environment's proxy is looked up once: aiohttp's own `trust_env` starts a thread a request."""
    host = urlsplit(str(configuration.host))
    by_environment = None if proxy_bypass(host.netloc) else getproxies().get(host.scheme)
    proxy = str(configuration.proxy) if configuration.proxy else by_environment
    return aiohttp.ClientSession(connector=connector, proxy=proxy, read_bufsize=2**18)


def _answer(response: aiohttp.ClientResponse, raw: bytes) -> Manifest:
    try:
        answer = orjson.loads(raw) if raw else {}
    except ValueError:
        answer = {"message": raw[:200].decode(errors="replace")}
    if not 200 <= response.status <= 299:
        wait = response.headers.get("Retry-After", "")
        causes = (answer.get("details") or {}).get("causes") or ()
        raise ApiError(
            response.status,
            answer.get("reason", ""),
            answer.get("message", ""),
            float(wait) if wait.isdigit() else None,
            terminating=any(cause.get("reason") == "NamespaceTerminating" for cause in causes),
        )
    return dict(answer)


def _event(line: bytes) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", orjson.loads(line))
    except ValueError as error:
        raise aiohttp.ClientPayloadError(f"a line of a watch is no JSON: {line[:80]!r}") from error


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {**({"labelSelector": labels} if labels else {}), **({"fieldSelector": fields} if fields else {})}
