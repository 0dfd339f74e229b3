"""
The log of a peer: records of the logger ``woolexec.peer``.

The level is INFO when clients join and leave, when draining starts, and when the peer serves again; it is WARNING for
refusals, deaths of workers, and if no worker can be started.  Each record has its parts as a dict, `about`, for
handlers that write fields.  Strangers can cause any number of refusals, so only `MOST` of them in `PERIOD` seconds are
logged, and the number of the others.

It also counts the failures for which clients avoid the peer, so that `woolexec peers` can name it.
"""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.engine.diagnostics import describe_exit
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.engine.worker_process import Worker

MOST, PERIOD = 10, 10.0

LATELY = 600.0
"""Seconds for which a failure of the peer counts; at most the latest thousand count."""

_LONGEST = 1000
"""Maximum length of a text, in characters."""

_log = logging.getLogger("woolexec.peer")


class PeerLog:
    """
    The events of one peer.

    :param clock: returns monotonic seconds
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._told = self._untold = 0
        self._failed: deque[float] = deque(maxlen=1000)

    @property
    def failures(self) -> int:
        """How often workers recently ended before they ran anything, or could not be started."""
        while self._failed and self._failed[0] < self._clock() - LATELY:
            self._failed.popleft()
        return len(self._failed)

    def joined(self, client: str, address: str) -> None:
        """A client has opened its link."""
        self._tell(logging.INFO, "joined", f"client {client} joined from {address}", client=client, address=address)

    def left(self, client: str, seconds: float) -> None:
        """A client's link has ended."""
        text = f"client {client} left after {seconds:.1f} s"
        self._tell(logging.INFO, "left", text, client=client, seconds=round(seconds, 3))

    def refused(self, address: str, reason: str) -> None:
        """A connection was refused, or a link was ended because of an error."""
        if self._clock() - self._since > PERIOD:
            if self._untold:
                text = f"{self._untold} more refusals in {self._clock() - self._since:.0f} s"
                self._tell(logging.WARNING, "refused", text, count=self._untold)
            self._since = self._clock()
            self._told = self._untold = 0
        if self._told >= MOST:
            self._untold += 1
            return
        self._told += 1
        self._tell(logging.WARNING, "refused", f"refused {address}: {reason}", address=address, reason=reason)

    def listening_again(self, address: str, reason: str) -> None:
        """The peer listens again at an address that had stopped accepting calls."""
        text = f"listening again at {address}: {reason}"
        self._tell(logging.WARNING, "listening again", text, address=address, reason=reason)

    def serving(self, reason: str) -> None:
        """No worker could be started, for this reason; empty: one was started again."""
        if reason:
            self._failed.append(self._clock())
            text = f"not serving: no worker can be started: {reason}"
            self._tell(logging.WARNING, "not serving", text, reason=reason)
        else:
            self._tell(logging.INFO, "serving", "serving again: a worker has been started")

    def draining(self, clients: int) -> None:
        """The peer was told to end."""
        self._tell(logging.INFO, "draining", f"draining, with {clients} clients", clients=clients)

    def short_of_memory(self, used: int, limit: int) -> None:
        """Calls are refused from now on."""
        text = f"short of memory, refusing calls: {used >> 20} of {limit >> 20} MiB are in use"
        self._tell(logging.WARNING, "short of memory", text, used=used, limit=limit)

    def memory_is_back(self, used: int, limit: int) -> None:
        """Calls are taken again."""
        text = f"taking calls again: {used >> 20} of {limit >> 20} MiB of memory are in use"
        self._tell(logging.INFO, "memory is back", text, used=used, limit=limit)

    def worker_died(self, worker: Worker, *, is_early: bool) -> None:
        """A worker has ended unexpectedly; `is_early`: before it ran anything."""
        if is_early:
            self._failed.append(self._clock())
        text = f"worker {worker.pid} {describe_exit(worker.exitcode)}"
        self._tell(logging.WARNING, "worker died", text, worker=worker.pid, exitcode=worker.exitcode)

    def _tell(self, level: int, event: str, text: str, **about: Any) -> None:
        # Clients and strangers have written some of it.
        about = {name: printable(value, _LONGEST) if isinstance(value, str) else value for name, value in about.items()}
        _log.log(level, "%s", printable(text, _LONGEST), extra={"about": {"event": event, **about}})
