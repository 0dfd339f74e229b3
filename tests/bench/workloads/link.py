"""What it costs to go through a link: the same work at one peer on this machine, over TCP, with TLS and without."""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.bench import work
from tests.bench.contenders import Contender, ExecutorPool
from tests.bench.goals import Figure, Goal

from .aio import stream_rates
from .data import array_rate
from .latency import round_trips
from .throughput import map_rate, submit_rate
from .workload import Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from woolexec import Credentials


WATCHING = 2.0
"""Seconds after which a pool has asked the LAN who is there, and listens."""


@contextlib.contextmanager
def peer(workers: int, *, tls: bool = False) -> Iterator[tuple[str, Credentials]]:
    """Lend the address of a peer in a process of its own, and what it asks for: nothing without TLS."""
    from woolexec import Credentials
    from woolexec.cli.local_peers import address_of, local_peer

    credentials, more, token = Credentials(), ["--log-level=error"], None
    with tempfile.TemporaryDirectory() as folder:
        if tls:
            from woolexec.mesh.security.certificate_authority import Authority
            from woolexec.mesh.security.tls import Tls

            authority = Authority.make(Path(folder), name="benchmark")
            made = authority.issue("peer")
            authority.issue("client")
            ca, client = f"{folder}/ca.pem", f"{folder}/client"
            more = ["--tls-ca", ca, "--tls-cert", str(made), "--tls-key", str(made.with_suffix(".key"))]
            made_token = Credentials.with_new_token().token
            assert made_token is not None
            token = made_token.decode()
            credentials = Credentials(made_token, Tls(ca, f"{client}.pem", f"{client}.key"))
        with local_peer("127.0.0.1:0", workers, token, *more) as process:
            yield address_of(process), credentials


class LinkedPool(ExecutorPool):
    """A pool without workers of its own, whose calls all go to one peer."""

    def __init__(self, workers: int, *, tls: bool = False, apart: bool = False) -> None:
        from woolexec import PeerPoolExecutor
        from woolexec.mesh.link import fd_passing

        self._stack = contextlib.ExitStack()
        address, credentials = self._stack.enter_context(peer(workers, tls=tls))
        with mock.patch.object(fd_passing, "boot_id", str) if apart else contextlib.nullcontext():
            executor = PeerPoolExecutor(peers=address, credentials=credentials, compression=None)
            executor.wait_for_peers(1, 20)
        super().__init__(executor)

    def close(self, *, cancel: bool = False) -> None:
        super().close(cancel=cancel)
        self._stack.close()


LINKED = Contender("woolexec", LinkedPool)
ENCRYPTED = Contender("woolexec", partial(LinkedPool, tls=True))
APART = Contender("woolexec", partial(LinkedPool, apart=True))
"""The client takes the peer to be on another host: large payloads travel in parts."""


def through_a_link(contender: Contender, *, workers: int, tasks: int, items: int, trips: int, arrays: int) -> Sample:
    """Measure calls, a map and arrays; only our own pool, and wool's, have links; the others go their way."""
    if contender.name == "woolexec":
        contender = LINKED
    elif contender.name == "wool":  # whose rates are the same with fewer, and which would take minutes
        tasks, items = tasks // 20, items // 50
    burst: dict[str, Any] = submit_rate(contender, workers=workers, tasks=tasks)
    mapped: dict[str, Any] = map_rate(contender, workers=workers, tasks=items)
    return {
        "rate": burst["rate"],
        "p50": round_trips(contender, workers=workers, trips=trips)["p50"],
        "map": mapped["rate"],
        "array": array_rate(contender, workers=workers, megabytes=10, trips=arrays)["rate"],
    }


def alone(contender: Contender, *, workers: int, tasks: int, items: int, megabytes: int) -> Sample:
    """Measure what nobody else does."""
    linked: dict[str, Any] = stream_rates(LINKED, workers=workers, items=items, prefetch=64, steps=100)
    plain: dict[str, Any] = submit_rate(LINKED, workers=workers, tasks=tasks)
    encrypted: dict[str, Any] = submit_rate(ENCRYPTED, workers=workers, tasks=tasks)
    return {
        "stream": linked["prefetch"],
        "one-way": one_way(LINKED, workers, megabytes),
        "one-way-apart": one_way(APART, workers, megabytes),
        "array-apart": array_rate(APART, workers=workers, megabytes=10, trips=10)["rate"],
        "tls": plain["rate"] / encrypted["rate"],
        "start": first_result(workers),
        "lan": first_use_on_lan(),
    }


def one_way(contender: Contender, workers: int, megabytes: int) -> float:
    """
    Send one large array, which the worker need not read; MB/s from submit to the result.

    The median of three: a virtual machine takes seconds to be given the memory that the first one needs.
    """
    import numpy as np

    array, took = np.ones(megabytes * 1_000_000 // 8), []
    with contender.warm(workers) as pool:
        for _ in range(3):
            begun = time.perf_counter()
            [size] = pool.gather([pool.submit(len, array)])
            took.append(time.perf_counter() - begun)
            if size != len(array):
                raise RuntimeError("another array came there")
    return array.nbytes / 1e6 / statistics.median(took)


def first_result(workers: int) -> float:
    """Start a peer, and a pool that uses it; milliseconds until the first result."""
    from woolexec import PeerPoolExecutor

    begun = time.perf_counter()
    with peer(workers) as (address, credentials), PeerPoolExecutor(peers=address, credentials=credentials) as pool:
        pool.submit(work.same, 1).result()
        return (time.perf_counter() - begun) * 1e3


def first_use_on_lan() -> float:
    """Let a peer join a pool that looks for it by multicast, on this machine alone; seconds until the first result."""
    from woolexec import Credentials, PeerPoolExecutor
    from woolexec.discovery import lan
    from woolexec.mesh.server.peer import Peer

    name, credentials = f"bench-{secrets.token_hex(4)}", Credentials.with_new_token()
    with (
        mock.patch.object(lan, "_interfaces", return_value=["127.0.0.1"]),
        PeerPoolExecutor(peers=f"lan://{name}", credentials=credentials) as pool,
    ):
        waiting = pool.submit(work.same, 1)
        time.sleep(WATCHING)
        begun = time.perf_counter()
        with Peer(1, bind="127.0.0.1:0", credentials=credentials, pool=name, announce=[lan.Lan()]):
            waiting.result(60)
            return time.perf_counter() - begun


def missing() -> str | None:
    """Say why there are no links here, or `None`."""
    for name in ("grpc", "cryptography", "numpy", "zeroconf"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return None


THROUGH = "through a peer over TCP:"
APARTLY = "through a peer as on another host:"

LINK = Workload(
    name="link",
    probe=through_a_link,
    figures=(
        Figure("rate", f"{THROUGH} submit 20,000 no-ops, gather", "tasks/s", "higher", (Goal(4),), (Goal(6),)),
        Figure("p50", f"{THROUGH} submit(f, 1).result(), p50", "µs", "lower", (Goal(2),), (Goal(1.3),)),
        Figure(
            "map", f"{THROUGH} map 100,000 no-ops, default arguments", "items/s", "higher", (Goal(30),), (Goal(60),)
        ),
        Figure("array", f"{THROUGH} numpy array of 10 MB there and back", "MB/s", "higher", (Goal(1.5),)),
    ),
    size={"workers": 2, "tasks": 20_000, "items": 100_000, "trips": 1_000, "arrays": 10},
    quick={"tasks": 500, "items": 2_000, "trips": 50, "arrays": 1},
    contenders=("woolexec", "stdlib", "wool"),
    libraries=False,
    missing=missing,
)

LINK_ALONE = Workload(
    name="link-alone",
    probe=alone,
    figures=(
        Figure(
            "stream",
            f"{THROUGH} async generator of 10,000 ints, prefetch=64",
            "items/s",
            "higher",
            (Goal(60_000, None),),
            reference=None,
        ),
        Figure("one-way", f"{THROUGH} 1 GB one way", "MB/s", "higher", (Goal(700, None),), reference=None),
        Figure("one-way-apart", f"{APARTLY} 1 GB one way", "MB/s", "higher", reference=None),
        Figure("array-apart", f"{APARTLY} numpy array of 10 MB there and back", "MB/s", "higher", reference=None),
        Figure("tls", f"{THROUGH} submit without TLS, with TLS", "ratio", "lower", (Goal(1.3, None),), reference=None),
        Figure("start", "woolexec serve to first result", "ms", "lower", (Goal(1000, None),), reference=None),
        Figure("lan", "peer announced on the LAN to first result", "s", "lower", (Goal(3, None),), reference=None),
    ),
    size={"workers": 2, "tasks": 20_000, "items": 10_000, "megabytes": 1_000},
    quick={"tasks": 500, "items": 500, "megabytes": 10},
    contenders=("woolexec",),
    libraries=False,
    missing=missing,
)
