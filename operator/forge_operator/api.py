"""The API server, as JSON in and JSON out, over `kubernetes.aio` (which brings authentication, TLS and token renewal).

Its generated models are left aside: builders and readers speak manifests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from forge_operator.names import MANAGER, Kind, Manifest, kind_of

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
POOL = 32


def in_cluster() -> bool:
    """Whether this process is a pod with a service account."""
    return SERVICE_ACCOUNT_TOKEN.exists()


class ApiError(Exception):
    """The API server refused: HTTP status, its reason (e.g. AlreadyExists) and its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """The verbs that the operator uses. Each raises ApiError, or what aiohttp raises when nothing answers."""

    def __init__(self, client: ApiClient, timeout: float) -> None:
        self.client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=5)

    @classmethod
    @asynccontextmanager
    async def connect(cls, seconds: float) -> AsyncIterator[Api]:
        """As the pod's service account, else by kubeconfig; a request may take that many seconds."""
        configuration = Configuration()
        if in_cluster():
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.connection_pool_maxsize = POOL
        async with ApiClient(configuration) as client:
            yield cls(client, seconds)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Manifest:
        """One request."""
        _, url, headers, _, _ = await self.client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        response = await self.client.call_api(method, url, headers, body, _request_timeout=self._timeout)
        raw = await response.read()  # type: ignore[no-untyped-call]
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"message": raw[:200].decode(errors="replace")}
        if not 200 <= response.status <= 299:
            raise ApiError(response.status, answer.get("reason", ""), answer.get("message", ""))
        return dict(answer)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object; None when there is none."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str, selector: str = "") -> list[Manifest]:
        """The objects of a kind in a namespace (all namespaces when empty), each with its kind."""
        query = {"labelSelector": selector} if selector else {}
        answer = await self.request("GET", kind.path(namespace) if namespace else _everywhere(kind), query=query)
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in answer["items"]]

    async def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object by the right to list alone; None when there is none."""
        answer = await self.request("GET", kind.path(namespace), query={"fieldSelector": f"metadata.name={name}"})
        return dict(answer["items"][0]) if answer["items"] else None

    async def create(self, manifest: Manifest, kind: Kind | None = None) -> Manifest:
        """Create. Raises ApiError 409 when the name is taken."""
        kind = kind or kind_of(manifest)
        return await self.request(
            "POST", kind.path(manifest["metadata"]["namespace"]), query={"fieldManager": MANAGER}, body=manifest
        )

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply as our field manager; another manager's value of our fields is overruled."""
        meta = manifest["metadata"]
        return await self.request(
            "PATCH",
            kind_of(manifest).path(meta["namespace"], meta["name"]),
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, manifest: Manifest, change: Manifest) -> Manifest:
        """Merge a change into an existing object."""
        meta = manifest["metadata"]
        return await self.request(
            "PATCH",
            kind_of(manifest).path(meta["namespace"], meta["name"]),
            query={"fieldManager": MANAGER},
            body=change,
            content_type="application/merge-patch+json",
        )

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object (by uid) and what it owns; what is gone already is no error."""
        meta = manifest["metadata"]
        body = {"propagationPolicy": "Background", "preconditions": {"uid": meta["uid"]}}
        try:
            await self.request("DELETE", kind_of(manifest).path(meta["namespace"], meta["name"]), body=body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def replace(self, kind: Kind, manifest: Manifest, subresource: str = "") -> Manifest:
        """Write over the object, or its status, at the manifest's resourceVersion. Raises ApiError 409 if it moved."""
        meta = manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"], subresource)
        return await self.request("PUT", path, query={"fieldManager": MANAGER}, body=manifest)

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster has this kind."""
        try:
            answer = await self.request("GET", f"/apis/{kind.group}/{kind.version}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in answer.get("resources", []))


def _everywhere(kind: Kind) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/{kind.plural}"
