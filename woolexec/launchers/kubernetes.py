"""
Peers that are pods: ``k8s://namespace/deployment?max=16``.

::

    start(n), stop(h) --> pods.py: which pod is which peer          no request
    watch()           --> one look a second: pods, scale, lease     all requests, one after the other

The peers' token is made for each run; the pods read it from a Secret.  If this program is killed, its lease expires,
and ``python -m woolexec.launchers.kubernetes``, run by a CronJob, sets the number of pods to 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from woolexec.checks import positive_seconds
from woolexec.discovery.base import PORT, Event, Record
from woolexec.discovery.launcher import LEASE, Handle, Launcher
from woolexec.errors import DiscoveryError
from woolexec.launchers.pods import Pods
from woolexec.launchers.urls import LAUNCHER, options_of
from woolexec.mesh.security.credentials import Credentials

try:
    from woolexec.launchers.kubernetes_client import KINDS, Cluster, LeaseLostError, Target
except ImportError as missing:
    text = f"{missing}; k8s:// needs: pip install 'woolexec[kubernetes]'"
    raise ModuleNotFoundError(text, name=missing.name) from missing

_LOOK = 1.0
"""Seconds between two looks at the pods."""


class Kubernetes(Launcher):
    """
    Pods of a Deployment or a StatefulSet, each with one peer.

    The Deployment is scaled to 0 at the beginning and at the end of its use.  One executor may use it at a time.

    :param namespace: the namespace of the Deployment
    :param name: the name of the Deployment, and of the Lease that says which program uses it
    :param kind: ``"Deployment"`` or ``"StatefulSet"``
    :param port: the port of the peers
    :param secret: the name of the Secret that gets the token of the peers; None: `name` followed by ``-token``
    :param context: the context of the kubeconfig; None: the current one, or that of the pod in which this program runs
    :param lease: seconds after which other programs may use the Deployment if this program dies
    :param options: those of `Launcher`; `workers` must be what the command in the pods says
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        *,
        kind: str = KINDS[0],
        port: int = PORT,
        secret: str | None = None,
        context: str | None = None,
        lease: float = LEASE,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if kind not in KINDS:
            raise ValueError(f"kind must be {' or '.join(KINDS)}, not {kind!r}")
        if not positive_seconds("lease", lease):
            raise ValueError("lease must be a number of seconds")
        self.target = Target(namespace, name, kind, secret or f"{name}-token", port, context)
        self.lease = lease
        self._pods: Pods | None = None
        self._changed = asyncio.Event()  # set when the wanted state of the pods has changed
        # It is kept from one use to the next: it remembers since when another program has had the lease.
        self._cluster: Cluster | None = None

    @classmethod
    def from_url(cls, url: str) -> Kubernetes:
        """
        Create a launcher from a URL such as ``k8s://team/workers?max=16``.

        :raises ValueError: if it is invalid
        """
        parts = urlsplit(url)
        name = parts.path.strip("/")
        if not parts.netloc or not name or "/" in name:
            raise ValueError("k8s:// needs a namespace and the name of a Deployment, such as k8s://team/workers?max=16")
        kinds: Mapping[str, Callable[[str], Any]] = {
            **LAUNCHER,
            "kind": str,
            "port": int,
            "secret": str,
            "context": str,
            "lease": float,
        }
        return cls(parts.netloc, name, **options_of(parts, kinds))

    def __str__(self) -> str:
        return str(self.target)

    async def start(self, count: int) -> Sequence[Handle]:
        """Ask for pods."""
        if self._pods is None:
            raise DiscoveryError(f"{self}: not in use by an executor")
        self._changed.set()
        return [Handle(key, f"pod {key}") for key in self._pods.start(count)]

    async def stop(self, handle: Handle) -> None:
        """End a pod: it gets SIGTERM, so its peer drains."""
        if self._pods is not None:
            self._pods.stop(handle.key)
            self._changed.set()

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield the peers in pods that are ready, and the pods that end; all pods end when this is closed.

        :raises DiscoveryError: if Kubernetes refuses a request, or another program uses the same Deployment
        """
        self._pods = pods = Pods(self.target.name, is_ordered=self.target.kind != KINDS[0])
        self._changed = asyncio.Event()  # of this loop
        self._cluster = self._cluster or Cluster(self.target, self.lease)
        try:
            async with self._cluster as cluster:
                await cluster.acquire()
                async with contextlib.aclosing(self._run(cluster, pods)) as events:  # type: ignore[type-var]  # a generator
                    async for event in events:
                        yield event
        finally:
            self._pods = None

    async def _run(self, cluster: Cluster, pods: Pods) -> AsyncIterator[Event]:
        record = Record("", (), credentials=Credentials.with_new_token())
        assert record.credentials is not None
        assert record.credentials.token is not None
        is_ours = True
        try:
            selector = await cluster.selector()
            pods.ignore(await cluster.pods(selector))
            await cluster.put_token(record.credentials.token)
            await cluster.set_replicas(replicas := 0)
            while True:
                self._changed.clear()
                try:
                    if monotonic() >= cluster.renew_at:
                        await cluster.renew()
                    for event in pods.see(await cluster.pods(selector), record):
                        yield event
                    for name in pods.stopping():
                        await cluster.end_first(name)
                    if pods.replicas != replicas:
                        wanted = pods.replicas
                        await cluster.set_replicas(wanted)
                        replicas = wanted
                    self.trouble = f"{self}: {pods.trouble}" if pods.trouble else ""
                except LeaseLostError:
                    raise
                except DiscoveryError as exc:
                    self.trouble = str(exc)  # the pods continue, so this does too
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._changed.wait()
        except LeaseLostError:
            is_ours = False
            raise
        finally:
            if is_ours:
                await let_go(cluster)


async def let_go(cluster: Cluster) -> None:
    """End all pods and release the lease; what fails is left to other programs, once the lease has expired."""
    with contextlib.suppress(DiscoveryError):
        await cluster.set_replicas(0)
        await cluster.put_token(b"")
        await cluster.release()


async def sweep(launcher: Kubernetes) -> str:
    """End all pods if the lease was not renewed for its duration; return what was done."""
    async with Cluster(launcher.target, launcher.lease) as cluster:
        begun = monotonic()
        while True:
            try:
                await cluster.acquire()
            except LeaseLostError as exc:
                if monotonic() > begun + cluster.duration + _LOOK:
                    return str(exc)
                await asyncio.sleep(min(_LOOK, launcher.lease / 3))
            else:
                await let_go(cluster)
                return f"{launcher} is not in use, and has no pods"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sweep`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m woolexec.launchers.kubernetes",
        description="Scale a Deployment to 0 if the program that used it has died.",
    )
    parser.add_argument("url", help="as in peers=: k8s://namespace/deployment")
    try:
        print(asyncio.run(sweep(Kubernetes.from_url(parser.parse_args(arguments).url))))  # noqa: T201  # a command
    except (DiscoveryError, ValueError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201  # as above
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
