"""A cluster's stacks: server-side apply and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from forge_stack.model import API_VERSION, KIND, PLURAL, Metadata, ObservabilityStack, StackStatus
from forge_stack.runs import RUN_NOW, parse_runs

from forge_observability.stackfile import StackFile

FIELD_MANAGER = "forge-observability-cli"
TRIES = 5
"""How often a stack is read anew that somebody else changed between the reading and the writing."""


class ClusterError(Exception):
    """The cluster refused or does not answer; the message says what to do."""


def _client(namespace: str | None) -> tuple[Any, str]:
    # Imported here: the client's import costs half a second that `init` and `up` need not pay.
    from kubernetes import config, dynamic
    from kubernetes.client import ApiClient

    try:
        config.load_config()  # type: ignore[no-untyped-call]
        client = dynamic.DynamicClient(ApiClient())  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise ClusterError(f"no cluster is configured: {error}; set KUBECONFIG") from error
    except Exception as error:
        raise ClusterError(f"the cluster does not answer: {error}") from error
    return client, namespace or _context_namespace() or "default"


def _context_namespace() -> str | None:
    from kubernetes import config

    try:
        _, current = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return None
    found = current["context"].get("namespace")
    return str(found) if found else None


def _resource(client: Any, api_version: str, kind: str) -> Any:
    from kubernetes.dynamic.exceptions import ResourceNotFoundError

    try:
        return client.resources.get(api_version=api_version, kind=kind)
    except ResourceNotFoundError as error:
        raise ClusterError(f"the cluster knows no {kind}; install the Helm chart forge-observability first") from error


def _message(error: Any) -> str:
    """What the API server said, without the envelope."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def apply(file: StackFile, *, namespace: str | None, dry_run: bool) -> Iterator[str]:
    """Apply the file's Secrets and its stack; gives a line for each. Raises ClusterError."""
    from kubernetes.dynamic.exceptions import DynamicApiError

    client, default = _client(namespace)
    resource = _resource(client, API_VERSION, KIND)
    secrets = _resource(client, "v1", "Secret")
    pairs = [*((secrets, m) for m in file.secret_manifests), (resource, file.manifest)]
    for kind, manifest in pairs:
        target = namespace or manifest["metadata"].get("namespace") or default
        body = manifest | {"metadata": manifest["metadata"] | {"namespace": target}}
        name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
        query = {"field_manager": FIELD_MANAGER, "query_params": [("fieldValidation", "Strict")]}
        if dry_run:
            query["dry_run"] = "All"
        try:
            kind.server_side_apply(body=body, namespace=target, force_conflicts=True, **query)
        except DynamicApiError as error:
            raise ClusterError(f"{name} is refused: {_message(error)}") from error
        yield f"{name} {'would be applied' if dry_run else 'applied'} in {target}"


def read(name: str | None, *, namespace: str | None) -> list[ObservabilityStack]:
    """The stacks of the namespace, or the one of that name, without their specs. Raises ClusterError."""
    from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError

    client, default = _client(namespace)
    resource = _resource(client, API_VERSION, KIND)
    target = namespace or default
    try:
        if name is None:
            items = resource.get(namespace=target).to_dict()["items"]
        else:
            items = [resource.get(name=name, namespace=target).to_dict()]
    except NotFoundError as error:
        raise ClusterError(f"no {PLURAL}/{name} in namespace {target}") from error
    except DynamicApiError as error:
        raise ClusterError(_message(error)) from error
    return [without_spec(item) for item in items]


def run(name: str, wanted: str, *, namespace: str | None) -> str:
    """Ask a stack for runs, after those that are asked for already; gives a line. Raises ClusterError."""
    from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError

    client, default = _client(namespace)
    resource = _resource(client, API_VERSION, KIND)
    target = namespace or default
    for left in reversed(range(TRIES)):
        try:
            found = resource.get(name=name, namespace=target).to_dict()
            change = {"metadata": {**asked(found, wanted), "resourceVersion": found["metadata"]["resourceVersion"]}}
            resource.patch(
                body=change,
                name=name,
                namespace=target,
                content_type="application/merge-patch+json",
                field_manager=FIELD_MANAGER,
            )
            break
        except NotFoundError as error:
            raise ClusterError(f"no {PLURAL}/{name} in namespace {target}") from error
        except ConflictError as error:
            if not left:
                raise ClusterError(f"{PLURAL}/{name} changes all the time; try again") from error
        except DynamicApiError as error:
            raise ClusterError(_message(error)) from error
    return f"{name} in {target} is asked for {wanted}; its events tell what becomes of it"


def asked(manifest: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The annotations of a stack that is asked for more. Raises ClusterError when it would refuse that."""
    if manifest["spec"].get("suspend"):
        raise ClusterError("the stack is suspended; set spec.suspend to false first")
    names = [source["name"] for source in manifest["spec"]["sources"]]
    _, problems = parse_runs(wanted, names, names)
    if problems:
        raise ClusterError("; ".join(problems))
    before = manifest["metadata"].get("annotations", {}).get(RUN_NOW, "")
    return {"annotations": {RUN_NOW: ",".join(filter(None, [before, wanted]))}}


def without_spec(manifest: dict[str, Any]) -> ObservabilityStack:
    """What a stack's status tells. Its spec is not checked: one that cannot be read (of a newer version, or with a time
    zone that nobody knows) has a status too, which says what is wrong with it."""
    return ObservabilityStack.model_construct(
        metadata=Metadata.model_validate(manifest["metadata"]),
        status=StackStatus.model_validate(manifest.get("status") or {}),
    )
