"""
The launcher's requests to the API of Kubernetes, made with the official client.

::

    deployments/workers/scale     get, patch      how many pods there should be, and which labels they have
    pods                          list, patch     their states; which of them to end first
    leases/workers                get, patch      which program uses the Deployment now
    secrets/workers-token         patch           the token of this run

A lease is held by one program at a time.  A program that is killed no longer renews it.  Another program that has seen
it unchanged for its duration may take it, so the clocks of the hosts do not matter.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

from woolexec.discovery.dns import with_port
from woolexec.errors import DiscoveryError
from woolexec.launchers.pods import Pod
from woolexec.platform.posix import host_name

KINDS = ("Deployment", "StatefulSet")

_ANSWER = 10.0
"""Seconds that a request may take."""

_MERGE = "application/merge-patch+json"
_COST = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}}}
_OVER = ("Failed", "Succeeded")


_FINAL = {401, 403, 404}
"""Answers of Kubernetes that retrying does not change: the object does not exist, or access is denied."""


class LeaseLostError(DiscoveryError):
    """Another program has the lease."""


class _ConflictError(DiscoveryError):
    """The object was changed by another program meanwhile."""


@dataclass(frozen=True, slots=True)
class Target:
    """
    The Deployment or StatefulSet that is scaled.

    :param kind: one of `KINDS`
    :param secret: the name of the Secret from which its pods read their token
    :param port: the port of the peers in its pods
    :param context: the context of the kubeconfig; None: the current one
    """

    namespace: str
    name: str
    kind: str
    secret: str
    port: int
    context: str | None = None

    def __str__(self) -> str:
        return f"k8s://{self.namespace}/{self.name}"


class Cluster:
    """
    Access to a target; use it as an asynchronous context manager.

    :param lease: duration of this program's lease in seconds
    """

    def __init__(self, target: Target, lease: float) -> None:
        self._target, self._lease = target, lease
        self._client: Any = None
        self._me = f"{host_name()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._version = ""  # of the lease that this program holds
        self._seen = ("", 0.0)  # the version of another program's lease, and since when it has been unchanged
        self.duration = lease
        """Duration, in seconds, of the lease that another program had at the last look."""
        self.renew_at = 0.0
        """When the lease must be renewed."""

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _connect(self) -> None:
        """
        Read the configuration and connect; also called again when the credentials have expired.

        :raises DiscoveryError: if there is no usable configuration; an earlier connection stays
        """
        configuration = client.Configuration()
        known: Any = config  # without types
        try:
            if paths := _kubeconfig():
                await known.load_kube_config(paths, self._target.context, client_configuration=configuration)
            else:
                known.load_incluster_config(client_configuration=configuration)
        except Exception as exc:  # also yaml's, and the TypeError of a file that is just being written
            raise DiscoveryError(f"{self._target}: no access to Kubernetes: {exc}") from exc
        if self._client is not None:
            await self._client.close()
        self._client = client.ApiClient(configuration)

    async def _call(self, group: str, method: str, *args: Any, **options: Any) -> Any:
        """
        Call a method of the official client.

        :raises DiscoveryError: if it fails
        """
        again = True
        while True:
            function = getattr(getattr(client, group)(self._client), method)
            try:
                return await function(*args, _request_timeout=_ANSWER, **options)
            except client.ApiException as exc:
                if exc.status == 401 and again:
                    again = False
                    await self._connect()
                    continue
                kind = _ConflictError if exc.status == 409 else DiscoveryError
                error = kind(f"{self._target}: {method}: {_message(exc)}")
                error.is_final = exc.status in _FINAL
                raise error from exc
            except (aiohttp.ClientError, OSError) as exc:  # TimeoutError too
                raise DiscoveryError(f"{self._target}: {method}: {str(exc) or type(exc).__name__}") from exc

    # -- pods -----------------------------------------------------------------------------------------------------

    @property
    def _scale(self) -> str:
        return f"namespaced_{'deployment' if self._target.kind == KINDS[0] else 'stateful_set'}_scale"

    async def selector(self) -> str:
        """Return the labels of its pods, in the form of a query."""
        scale = await self._call("AppsV1Api", f"read_{self._scale}", self._target.name, self._target.namespace)
        selector = scale.status.selector if scale.status is not None else None
        if not selector:
            raise DiscoveryError(f"{self._target}: it has no selector")
        return str(selector)

    async def set_replicas(self, count: int) -> None:
        """Set the number of its pods."""
        where = self._target.name, self._target.namespace
        body = {"spec": {"replicas": count}}
        await self._call("AppsV1Api", f"patch_{self._scale}", *where, body, _content_type=_MERGE)

    async def pods(self, selector: str) -> Sequence[Pod]:
        """Return its pods."""
        found = await self._call("CoreV1Api", "list_namespaced_pod", self._target.namespace, label_selector=selector)
        return [_pod(each, self._target.port) for each in found.items]

    async def end_first(self, pod: str) -> None:
        """Mark a pod to be ended before others when the number of pods is lowered."""
        where = pod, self._target.namespace
        await self._call("CoreV1Api", "patch_namespaced_pod", *where, _COST, _content_type=_MERGE)

    async def put_token(self, token: bytes) -> None:
        """Set the token of the pods that start from now on."""
        where = self._target.secret, self._target.namespace
        body = {"data": {"token": base64.b64encode(token).decode()}}
        await self._call("CoreV1Api", "patch_namespaced_secret", *where, body, _content_type=_MERGE)

    # -- the lease ------------------------------------------------------------------------------------------------

    async def acquire(self) -> None:
        """
        Take the lease.

        :raises LeaseLostError: if another program has it, or has had it until less than its duration ago
        """
        version, holder, self.duration = await self._read_lease()
        if holder and holder != self._me:
            if self._seen[0] != version:
                self._seen = version, monotonic()
            if monotonic() - self._seen[1] < self.duration:
                raise LeaseLostError(f"{self._target} is in use by {holder}, or was until a moment ago")
        await self._write_lease(version, self._me)

    async def renew(self) -> None:
        """
        Renew the lease.

        :raises LeaseLostError: if another program has taken it
        """
        await self._write_lease(self._version, self._me)

    async def release(self) -> None:
        """Release the lease."""
        await self._write_lease(self._version, "")

    async def _read_lease(self) -> tuple[str, str, float]:
        """Return the version of the lease, its holder (empty if there is none), and its duration in seconds."""
        where = self._target.name, self._target.namespace
        found = await self._call("CoordinationV1Api", "read_namespaced_lease", *where)
        spec = found.spec or client.V1LeaseSpec()
        seconds = float(spec.lease_duration_seconds or self._lease)
        return str(found.metadata.resource_version), spec.holder_identity or "", seconds

    async def _write_lease(self, version: str, holder: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": holder, "leaseDurationSeconds": max(1, round(self._lease)), "renewTime": now}
        self.renew_at = monotonic() + self._lease / 3
        try:
            self._version = await self._patch_lease(version, spec)
        except _ConflictError as exc:
            version, found, _ = await self._read_lease()
            if found != self._me:
                raise LeaseLostError(f"{self._target} is in use by another program") from exc
            # It was our own last write, whose answer did not arrive.
            self._version = await self._patch_lease(version, spec)

    async def _patch_lease(self, version: str, spec: Mapping[str, Any]) -> str:
        where = self._target.name, self._target.namespace
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        written = await self._call("CoordinationV1Api", "patch_namespaced_lease", *where, body, _content_type=_MERGE)
        return str(written.metadata.resource_version)


def _kubeconfig() -> str:
    """Return the paths of the kubeconfig; empty if there is none."""
    paths = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    return paths if any(map(os.path.exists, paths.split(os.pathsep))) else ""


def _message(exc: Any) -> str:
    """Return what the API says about an error."""
    try:
        said = str(json.loads(exc.body)["message"])
    except (KeyError, TypeError, ValueError):
        said = str(exc.reason)
    return f"{said} (status {exc.status})"


def _pod(found: Any, port: int) -> Pod:
    status = found.status
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions or ())
    return Pod(
        uid=found.metadata.uid,
        name=found.metadata.name,
        address=with_port(status.pod_ip, port) if status.pod_ip else "",
        is_ready=ready,
        is_ending=found.metadata.deletion_timestamp is not None,
        is_over=status.phase in _OVER,
        text="" if ready else _why(status),
    )


def _why(status: Any) -> str:
    """Return why a pod is not ready: why a container does not run, otherwise why the pod has no node."""
    reasons = [(status.reason, status.message)]
    for each in status.container_statuses or ():
        waiting = each.state.waiting if each.state is not None else None
        ended = each.last_state.terminated if each.last_state is not None else None
        if waiting is not None and waiting.reason not in ("ContainerCreating", "PodInitializing"):
            reasons.append((waiting.reason, waiting.message))
        if ended is not None:
            reasons.append((ended.reason, ended.message or f"exit code {ended.exit_code}"))
    reasons += [(each.reason, each.message) for each in status.conditions or () if each.type == "PodScheduled"]
    return "; ".join(": ".join(filter(None, each)) for each in reasons if any(each))
