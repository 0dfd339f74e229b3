"""What it costs to go through a link: the same calls on a peer behind a Unix socket, which is another process."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.bench.contenders import Contender, ExecutorPool, Pool
from tests.bench.goals import Figure

from .latency import round_trips
from .throughput import submit_rate
from .workload import Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    import woolexec

SERVE = """
import sys
from woolexec import Credentials
from woolexec.mesh.server import Peer
with Peer(int(sys.argv[1]), credentials=Credentials()) as peer:
    print(peer.address, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def peer(workers: int) -> Iterator[str]:
    """Lend the address of a peer in a process of its own."""
    command = [sys.executable, "-c", SERVE, str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate(timeout=20)


class LinkedPool(ExecutorPool):
    """A pool without workers of its own, whose calls all go to one peer."""

    def __init__(self, workers: int) -> None:
        from woolexec import Credentials, PeerPoolExecutor

        self._stack = contextlib.ExitStack()
        address = self._stack.enter_context(peer(workers))
        executor: woolexec.PeerPoolExecutor = PeerPoolExecutor(peers=address, credentials=Credentials())
        executor.wait_for_peers(1, 20)
        super().__init__(executor)

    def close(self, *, cancel: bool = False) -> None:
        super().close(cancel=cancel)
        self._stack.close()


def through_a_link(contender: Contender, *, workers: int, tasks: int, trips: int) -> Sample:
    """Measure a burst and round trips; only our own pool has links, the others go their usual way."""
    if contender.name == "woolexec":
        contender = Contender("woolexec", open_linked)
    burst: dict[str, Any] = submit_rate(contender, workers=workers, tasks=tasks)
    return {**burst, "p50": round_trips(contender, workers=workers, trips=trips)["p50"]}


def open_linked(workers: int) -> Pool:
    return LinkedPool(workers)


def missing() -> str | None:
    """Say why there are no links here, or `None`."""
    return None if importlib.util.find_spec("grpc") else "grpc is not installed"


LINK = Workload(
    name="link",
    probe=through_a_link,
    figures=(
        Figure("rate", "through a gRPC link on a Unix socket: submit 20,000 no-ops, gather", "tasks/s", "higher"),
        Figure("p50", "through a gRPC link on a Unix socket: submit(f, 1).result(), p50", "µs", "lower"),
    ),
    size={"workers": 2, "tasks": 20_000, "trips": 1_000},
    quick={"tasks": 500, "trips": 50},
    libraries=False,
    missing=missing,
)
