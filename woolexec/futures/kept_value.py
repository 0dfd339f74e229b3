"""
Outcomes of tasks that are kept by the peers that ran them.

::

    made       the future is done; the payload is at the peer
    here       the value was requested, and has arrived
    pending    its peer is gone, and the task runs again
    lost       its peer is gone, or the pool has ended

All waits are for one latch, which opens when the payload is here or lost.
"""

from __future__ import annotations

from woolexec.futures.latch import Latch
from woolexec.wire.exceptions import as_exception
from woolexec.wire.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from woolexec.core.call import Call
    from woolexec.wire.exceptions import LateFailure
    from woolexec.wire.payload import File, Parts

    class Asked(Protocol):
        """The kept values of an engine."""

        def ask(self, value: KeptValue) -> None:
            """Fetch a value."""


class KeptValue(Value):
    """
    The outcome of a task that is kept by the peer that ran it.

    :param number: its number, at the peer and in the engine of its owner
    :param size: size of the pickle in bytes
    :param engine: the engine's values, through which it is requested, in any thread
    :param task: the name of the task
    """

    __slots__ = (
        "_copy",
        "_latch",
        "_size",
        "engine",
        "failure",
        "home",
        "is_forgotten",
        "is_pending",
        "is_wanted",
        "origin",
        "task",
    )

    is_kept = True

    def __init__(
        self,
        number: int,
        size: int,
        engine: Asked,
        task: str = "",
    ) -> None:
        self.payload = None
        self.number = number
        self.failure: BaseException | LateFailure | None = None
        """Why it is lost; None if it is not."""
        self._size = size
        self.engine = engine
        self.home = ""
        """The name of the peer that keeps it; empty if none does any more."""
        self.task = task
        self.origin: Call | None = None
        """The call that would make it again; None if it must not be made again."""
        self.is_forgotten = False
        """Its call was dropped, because the arguments of other calls took the room."""
        self.is_pending = False
        """It is being made again."""
        self.is_wanted = False
        """It was requested in this process."""
        self._copy: Value | None = None
        self._latch = Latch()  # opens when it is here or lost

    @property
    def size(self) -> int:
        """Bytes of the pickle."""
        return self._size

    @property
    def is_away(self) -> bool:
        """It is not here but at a peer, or it is lost."""
        return self.payload is None

    def fetch(self) -> Latch:
        """Request the value, unless that was done; return the latch that opens when it is here, or lost."""
        if not self._latch.is_open:
            self.is_wanted = True
            self.engine.ask(self)
        return self._latch

    def arrived(self) -> Any:
        """
        Return what is to be unpickled, once the latch is open.

        :raises Exception: if it is lost: a `ValueLostError`, unless the memory here is exhausted
        """
        if self.failure is not None:
            raise as_exception(self.failure)
        return self.payload

    def copy(self) -> Value:
        """Return a `Value` with the same payload, which must be here, for calls of any engine."""
        if self._copy is None:
            self._copy = Value(self.payload)
        return self._copy

    def settle(self, payload: bytes | File | Parts) -> None:
        """Take the payload."""
        self.payload = payload
        self._latch.open()

    def fail(self, error: BaseException | LateFailure) -> None:
        """Note that it is lost."""
        self.failure = error
        self._latch.open()
