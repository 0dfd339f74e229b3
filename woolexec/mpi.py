"""
A program under MPI: rank 0 runs it, and the other ranks are peers, as with `mpi4py.futures`.

::

    mpiexec -n 64 python -m woolexec.mpi main.py          in main.py: PeerPoolExecutor(peers="mpi://")

    rank 0   --bcast: token-->        the others   each starts woolexec serve, a child process
             <--gather: addresses--
             main.py: its tasks go directly to the peers, not through MPI
             --end-->                 the others   end their children

A peer ends with its rank: ``serve --lifeline`` ends when the standard input that the rank holds is closed.  Needs
mpi4py (the extra `mpi`).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import runpy
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from woolexec.discovery.base import Discovery, Event, Joined, Record
from woolexec.errors import PeerStartError
from woolexec.mesh.security.credentials import Credentials

_LOOK = 0.05
"""Seconds between two checks whether rank 0 has ended: waiting in an MPI call would occupy a whole processor."""

_LAUNCHERS = ("PMI", "PMIX", "OMPI", "HYDI", "MPI_LOCAL")
"""Prefixes of the environment variables that tell a process its rank; workers must not inherit them."""

_records: list[Record] | None = None


class Ranks(Discovery):
    """The peers of the other ranks."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self.count = len(records)

    def __str__(self) -> str:
        return "mpi://"

    @classmethod
    def from_url(cls, url: str) -> Ranks:
        """
        Return the peers of this run.

        :raises ValueError: if there are no other ranks, or something follows ``mpi://``
        """
        if url.rstrip("/") != "mpi:":
            raise ValueError("nothing may follow mpi:// in the URL")
        if not _records:
            raise ValueError(
                "there are no other ranks: run the program with `mpiexec -n N python -m woolexec.mpi main.py`, N > 1"
            )
        return cls(_records)

    async def watch(self) -> AsyncIterator[Event]:
        """Yield all peers, then wait."""
        for record in self._records:
            yield Joined(record)
        await asyncio.Event().wait()  # it is never set: ranks do not come and go


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program if this is rank 0, otherwise a peer; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m woolexec.mpi", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--workers", type=int, default=1, help="workers of each peer (default: 1, as many as ranks)")
    parser.add_argument("program", help="a script, which uses PeerPoolExecutor(peers='mpi://')")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args(arguments)
    try:
        from mpi4py import MPI
    except ImportError as exc:
        print(f"python -m woolexec.mpi: {exc}; pip install 'woolexec[mpi]'", file=sys.stderr)
        return 2
    comm = MPI.COMM_WORLD
    if comm.Get_rank():
        return _serve(comm, given.workers)
    return _run(comm, given.program, given.arguments)


def _run(comm: Any, program: str, arguments: Sequence[str]) -> int:
    """Run the program, then tell the other ranks."""
    global _records
    credentials = Credentials.with_new_token()
    comm.bcast(credentials.token)
    try:
        found = comm.gather(None)[1:]
        if faults := [text for text in found if isinstance(text, str)]:
            print(f"python -m woolexec.mpi: {faults[0]}", file=sys.stderr)
            return 1
        _records = [Record(f"rank {rank}", tuple(at), credentials=credentials) for rank, at in enumerate(found, 1)]
        sys.argv = [program, *arguments]
        sys.path[0] = str(Path(program).resolve().parent)
        runpy.run_path(program, run_name="__main__")
        return 0
    finally:
        for rank in range(1, comm.Get_size()):
            comm.send(None, rank)


def _serve(comm: Any, workers: int) -> int:
    """Run a peer until rank 0 has ended."""
    token = comm.bcast(None)
    from woolexec.mesh.server.child import ChildPeer

    peer = ChildPeer(token, workers, without=_LAUNCHERS)
    try:
        comm.gather(peer.addresses())
    except PeerStartError as exc:
        comm.gather(f"rank {comm.Get_rank()} could not serve: {exc}")
    ended = comm.irecv(source=0)
    while not ended.test()[0]:
        time.sleep(_LOOK)
    peer.end()
    return 0


if __name__ == "__main__":
    # This module is `__main__`; peers="mpi://" imports it a second time, as `woolexec.mpi`.
    sys.exit(importlib.import_module("woolexec.mpi").main())
