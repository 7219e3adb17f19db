"""The API server as the tests see it: a small client, and a recorder that watches every version of what matters.

Own code over HTTP, so that a fault of the operator's client or caches cannot hide here.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from checker import STACK, Manifest, Seen

logger = logging.getLogger(__name__)
T = TypeVar("T")

STACKS = "/apis/observability.forge.dev/v1alpha1"
OURS = "app.kubernetes.io/managed-by=forge-operator"
WATCHED = {
    STACK: (STACKS, "observabilitystacks", ""),
    "Job": ("/apis/batch/v1", "jobs", OURS),
    "CronJob": ("/apis/batch/v1", "cronjobs", OURS),
    "Pod": ("/api/v1", "pods", OURS),
    "Secret": ("/api/v1", "secrets", OURS),
    "ConfigMap": ("/api/v1", "configmaps", OURS),
    "Service": ("/api/v1", "services", OURS),
    "ServiceAccount": ("/api/v1", "serviceaccounts", OURS),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", OURS),
    "Deployment": ("/apis/apps/v1", "deployments", OURS),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", OURS),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", OURS),
    "Event": ("/apis/events.k8s.io/v1", "events", ""),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", ""),
}
"""Kind to its place, plural and label selector."""


class RefusedError(Exception):
    """The API server said no: its HTTP status and its words."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(f"{status} {told}")
        self.status = status


class NotInTimeError(AssertionError):
    """What a test waited for did not come."""


class Client:
    """An administrator of the plane; a connection a thread. While `stubborn`, it asks again until it is answered."""

    def __init__(self, kubeconfig: Path) -> None:
        self.stubborn = False
        content = json.loads(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        url = urlsplit(cluster["server"])
        self.host, self.port = str(url.hostname), int(url.port or 443)
        self.tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self._local = threading.local()

    def connect(self, seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, self.port, timeout=seconds, context=self.tls)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Manifest:
        """One request. Raises RefusedError, or OSError when nothing answers."""
        again = False
        while True:
            try:
                return self._request(method, path, body, content_type, **query)
            except (OSError, RefusedError) as error:
                status = error.status if isinstance(error, RefusedError) else 503
                if again and (method, status) == ("POST", 409):  # it was done, and the answer was lost
                    return self._request("GET", f"{path}/{body['metadata']['name']}")
                if again and (method, status) == ("DELETE", 404):
                    return {}
                if not self.stubborn or status not in (429, 500, 503, 504):
                    raise
            again = True
            time.sleep(0.5)

    def _request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Manifest:
        target = f"{path}?{urlencode(query)}" if query else path
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        for again in (True, False):
            connection = self._connection()
            try:
                connection.request(method, target, data, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._local.connection = None
                connection.close()
                # A connection that the server had closed while it lay idle: the request did not arrive.
                if not (again and isinstance(error, http.client.RemoteDisconnected)):
                    raise OSError(f"{method} {path}: {error!r}") from error
        if response.status >= 400:
            raise RefusedError(response.status, answer.decode(errors="replace")[:500])
        return dict(json.loads(answer))

    def _connection(self) -> http.client.HTTPSConnection:
        """This thread's, unless it lay idle for so long that the API server may be about to close it (90 seconds)."""
        now = time.monotonic()
        connection, used = getattr(self._local, "connection", None), getattr(self._local, "used", now)
        if connection is not None and now - used > 30:
            connection.close()
            connection = None
        self._local.connection = connection = connection or self.connect(120)
        self._local.used = now
        found: http.client.HTTPSConnection = connection
        return found

    def path(self, kind: str, namespace: str, name: str = "") -> str:
        place, plural, _ = WATCHED[kind]
        return "/".join(part for part in (place, "namespaces", namespace, plural, name) if part)

    def items(self, kind: str, namespace: str) -> list[Manifest]:
        """What the recorder watches of a kind."""
        selector = WATCHED[kind][2]
        query = {"labelSelector": selector} if selector else {}
        return list(self.request("GET", self.path(kind, namespace), **query)["items"])

    def create(self, kind: str, namespace: str, manifest: Manifest) -> Manifest:
        return self.request("POST", self.path(kind, namespace), manifest)

    def merge(self, kind: str, namespace: str, name: str, change: Manifest, subresource: str = "") -> Manifest:
        path = self.path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, change, "application/merge-patch+json", fieldManager="somebody")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.request("DELETE", self.path(kind, namespace, name), {"propagationPolicy": "Background"})


class View:
    """What was seen of one namespace; `wait` sleeps until something more is seen."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.reached: dict[str, int] = {}
        """Of each object, by its uid, the newest version that was seen."""
        self._live: dict[tuple[str, str], Manifest] = {}
        self._more = threading.Condition()

    def add(self, seen: Seen) -> None:
        key = (seen.object["kind"], seen.object["metadata"]["name"])
        with self._more:
            self.seen.append(seen)
            self.reached[seen.object["metadata"]["uid"]] = seen.version
            if seen.type != "DELETED":
                self._live[key] = seen.object
            elif self._live.get(key, seen.object)["metadata"]["uid"] == seen.object["metadata"]["uid"]:
                self._live.pop(key, None)
            self._more.notify_all()

    def get(self, kind: str, name: str) -> Manifest | None:
        return self._live.get((kind, name))

    def all(self, kind: str) -> list[Manifest]:
        return [manifest for (of, _), manifest in list(self._live.items()) if of == kind]

    def wait(self, what: str, holds: Callable[[], T], seconds: float = 240) -> T:
        """Until it holds; the failure tells what did not come."""
        end = time.monotonic() + seconds
        with self._more:
            while not (answer := holds()):
                left = end - time.monotonic()
                if left <= 0:
                    raise NotInTimeError(f"not within {seconds:.0f} s: {what}")
                self._more.wait(min(left, 1))
            return answer

    def keep(self, kind: str, listed: dict[str, Manifest], version: int) -> None:
        """After a gap: what is there, and what has gone meanwhile."""
        for item in list(self.all(kind)):
            if item["metadata"]["uid"] not in listed:
                self.add(Seen(version, "DELETED", item))


class Recorder:
    """Watches all namespaces, a thread a kind, and keeps every version in the order in which it comes.

    Where a watch cannot go on (the API server was started anew and forgot) it lists; versions between are then missing.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._views: dict[str, View] = defaultdict(View)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._listed = {kind: threading.Event() for kind in WATCHED}
        self.gaps = 0
        for kind in WATCHED:
            threading.Thread(target=self._follow, args=(kind,), daemon=True, name=f"record {kind}").start()
        for listed in self._listed.values():
            assert listed.wait(240), "the recorder could not begin"

    def view(self, namespace: str) -> View:
        with self._lock:
            return self._views[namespace]

    def stop(self) -> None:
        self._stopped.set()

    def _follow(self, kind: str) -> None:
        version = ""
        while not self._stopped.is_set():
            try:
                if not version:
                    version = self._list(kind)
                    self._listed[kind].set()
                for type_, manifest in self._watch(kind, version):
                    version = manifest["metadata"]["resourceVersion"]
                    if type_ != "BOOKMARK":
                        self._add(kind, type_, manifest)
            except RefusedError as error:
                if error.status != 410:
                    logger.warning("record %s: %s", kind, error)
                    time.sleep(0.2)
                    continue
                self.gaps += 1
                version = ""
            except (OSError, ValueError, http.client.HTTPException) as error:
                logger.info("record %s: %r", kind, error)
                time.sleep(0.2)

    def _add(self, kind: str, type_: Any, manifest: Manifest) -> None:
        meta = manifest["metadata"]
        meta.pop("managedFields", None)
        self.view(meta["namespace"]).add(Seen(int(meta["resourceVersion"]), type_, {**manifest, "kind": kind}))

    def _list(self, kind: str) -> str:
        place, plural, selector = WATCHED[kind]
        query = {"labelSelector": selector} if selector else {}
        answer = self._client.request("GET", f"{place}/{plural}", **query)
        uids = {item["metadata"]["uid"]: item for item in answer["items"]}
        for item in answer["items"]:
            self._add(kind, "ADDED", item)
        version = str(answer["metadata"]["resourceVersion"])
        with self._lock:
            views = list(self._views.values())
        for view in views:
            view.keep(kind, uids, int(version))
        return version

    def _watch(self, kind: str, version: str) -> Iterator[tuple[str, Manifest]]:
        place, plural, selector = WATCHED[kind]
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": "600"}
        if selector:
            query["labelSelector"] = selector
        connection = self._client.connect(90)
        try:
            connection.request("GET", f"{place}/{plural}?{urlencode(query)}", headers={"Accept": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise RefusedError(response.status, response.read().decode(errors="replace")[:300])
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RefusedError(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]
        finally:
            connection.close()
