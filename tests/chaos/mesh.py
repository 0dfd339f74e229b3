"""A pool whose tasks run at peers, and faults of the peers, of the network and of other clients."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tests.chaos import tasks
from tests.chaos.peers import DRAIN, Peer
from tests.chaos.plan import action
from tests.chaos.processes import fork_servers, send, workers
from tests.chaos.relay import Relay
from tests.chaos.world import World
from woolexec import PeerPoolExecutor

PEERS, WORKERS, OTHERS = 3, 2, 1

AWAY = [0.5, 3.0, 18.0]
"""Seconds for which peers are stopped and ways silent; the last is longer than links wait for an answer to a ping."""

SETTLE = 20.0
"""Seconds after which a peer without clients has no worker."""

LOOK = 0.5


class Mesh(World):
    """Peers behind relays."""

    def __init__(self, folder: Path, *, can_fill: bool = False) -> None:
        super().__init__(folder, can_fill=can_fill)
        self._log = folder / "peers.log"
        self._stack = contextlib.ExitStack()
        self._peers: list[Peer] = []
        self._relays: list[Relay] = []
        self._others: list[subprocess.Popen[bytes]] = []
        self._draining: set[Peer] = set()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for number in range(PEERS):
                audit = os.path.join(tempfile.gettempdir(), f"audit-{number}.jsonl")  # on the disk that can be full
                peer = Peer(self._log, arguments=["--workers", str(WORKERS), "--audit", audit])
                self._peers.append(peer)
                stack.callback(peer.close)
            for peer in self._peers:
                peer.wait_ready()
                self._relays.append(stack.enter_context(Relay(peer.port)))
            super().__enter__()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        with self._stack:
            for other in self._others:
                other.kill()
                other.wait()
            super().__exit__(kind, exc, tb)
            if exc is None:
                self._check_peers()

    def _check_peers(self) -> None:
        """All clients are gone: each peer soon has no worker, and ends as it should."""
        deadline = time.monotonic() + SETTLE
        for peer in self._peers:
            while (left := workers(peer.pid)) and time.monotonic() < deadline:
                time.sleep(0.1)
            if left:
                self.ledger.wrong.append(f"peer {peer.pid} has the workers {left}, and no client")
            peer.wait_ready()  # one that has just been started does not handle signals yet
            code = peer.close()
            if code != 0:
                self.ledger.wrong.append(f"peer {peer.pid} ended with {code}")
        log = self._log.read_text(errors="replace")
        if "Traceback" in log:
            at = log.index("Traceback")
            self.ledger.wrong.append(
                f"the peers logged {log.count('Traceback')} tracebacks: {log[at - 200 : at + 2000]}"
            )

    def make_pool(self) -> PeerPoolExecutor:
        addresses = [relay.address for relay in self._relays]
        pool = PeerPoolExecutor(
            peers=addresses, peers_timeout=self.bound, initializer=tasks.open_journal, initargs=(self.journal,)
        )
        pool.wait_for_peers(PEERS, self.bound)
        return pool

    def pids(self) -> dict[str, int]:
        return {"client": os.getpid(), **{f"peer {peer.pid}": peer.pid for peer in self._peers}}

    # -- peers --------------------------------------------------------------------------------------------------

    @action(1)
    def kill_a_peer(self, dice: Random) -> str | None:
        """End a peer at once; another takes its place."""
        return self._with_a_peer(dice, Peer.kill)

    @action(1.5)
    def stop_a_peer(self, dice: Random) -> str | None:
        """Stop a peer for a while."""
        return self._with_a_peer(dice, lambda peer: self._stop(peer.pid, dice.choice(AWAY)))

    def _stop(self, pid: int, seconds: float) -> None:
        send(pid, signal.SIGSTOP)
        self.later(seconds, lambda: send(pid, signal.SIGCONT))

    @action(1)
    def drain_a_peer(self, dice: Random) -> str | None:
        """Have a peer finish and leave; another takes its place."""
        return self._with_a_peer(dice, self._drain)

    def _drain(self, peer: Peer) -> None:
        self._draining.add(peer)
        send(peer.pid, signal.SIGCONT)
        send(peer.pid, signal.SIGTERM)
        self._see_off(peer, time.monotonic() + DRAIN)

    def _see_off(self, peer: Peer, deadline: float) -> None:
        if peer.is_running and time.monotonic() < deadline:
            self.later(LOOK, lambda: self._see_off(peer, deadline))
            return
        self._draining.discard(peer)
        code = peer.process.poll()
        if code != 0:
            self.ledger.wrong.append(f"peer {peer.pid} did not drain" if code is None else f"it drained with {code}")
            peer.kill()
        else:
            peer.replace()

    def _with_a_peer(self, dice: Random, act: Callable[[Peer], object]) -> str | None:
        peer = dice.choice(self._peers)
        if peer in self._draining or not peer.is_ready:
            return None
        pid = peer.pid
        act(peer)
        return f"process {pid}"

    @action(4)
    def kill_a_worker(self, dice: Random) -> str | None:
        """End a worker of a peer by a signal."""
        found = workers(dice.choice(self._peers).pid)
        return f"process {pid}" if found and send(pid := dice.choice(found), dice.choice(_DEADLY)) else None

    @action(0.7)
    def kill_a_fork_server(self, dice: Random) -> str | None:
        """End the fork server of a peer, and with it all of its workers."""
        found = fork_servers(dice.choice(self._peers).pid)
        return f"processes {found}" if [send(pid, signal.SIGKILL) for pid in found] else None

    @action(0.7)
    def stop_a_fork_server(self, dice: Random) -> str | None:
        """Stop the fork server of a peer for a while."""
        found = fork_servers(dice.choice(self._peers).pid)
        for pid in found:
            self._stop(pid, dice.random() * 3.0)
        return f"processes {found}" if found else None

    # -- the way ------------------------------------------------------------------------------------------------

    @action(1.5)
    def cut_a_way(self, dice: Random) -> str:
        """Reset the connections to a peer, and let nobody connect for a while."""
        return self._disturb(dice, Relay.cut)

    @action(1.5)
    def silence_a_way(self, dice: Random) -> str:
        """Let nothing through to and from a peer for a while."""
        return self._disturb(dice, Relay.silence)

    @action(2)
    def slow_a_way(self, dice: Random) -> str:
        """Delay all that goes to and comes from a peer for a while."""
        seconds = dice.choice([0.01, 0.05, 0.3])
        return self._disturb(dice, lambda relay: setattr(relay, "delay", seconds))

    def _disturb(self, dice: Random, act: Callable[[Relay], object]) -> str:
        relay, seconds = dice.choice(self._relays), dice.choice(AWAY)
        act(relay)
        self.later(seconds, relay.mend)
        return f"{relay.address} for {seconds:g} s"

    # -- other clients ------------------------------------------------------------------------------------------

    @action(0.7)
    def start_another_client(self, dice: Random) -> str:
        """Have another client use the peers; the one before the last is killed."""
        addresses = [relay.address for relay in self._relays]
        self._others.append(subprocess.Popen([sys.executable, "-m", "tests.chaos.client", *addresses]))
        if len(self._others) > OTHERS:
            oldest = self._others.pop(0)
            oldest.kill()
            oldest.wait()
        return f"process {self._others[-1].pid}"


_DEADLY = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]
