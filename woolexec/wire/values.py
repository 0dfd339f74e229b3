"""
Values that several calls need: each is pickled once, and a target is sent it once, under its number.

::

    owner        a Value, of which calls have references
    Keep         a target is sent its payload
    Start        the numbers of the values that the call needs
    worker       the payloads of these, from which each call unpickles its own objects
    Drop         the owner has no use for it any more

A large payload is a memory file.  All workers of a host map the same pages, each of them privately.

The outcome of a task may stay with the peer that ran it: see `woolexec.futures.kept_value`.  To its owner that is a
value like any other, whose payload is fetched when it is needed here.
"""

from __future__ import annotations

from _thread import _local
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.wire.payload import File, Parts

_numbers = count(1)


class Value:
    """
    A pickled value.

    :param payload: the pickle; None: a peer has heard of it and not received it yet
    """

    __slots__ = ("__weakref__", "number", "payload")

    def __init__(self, payload: bytes | File | Parts | None) -> None:
        self.payload = payload
        self.number = next(_numbers)
        """Its number in this process."""

    @property
    def size(self) -> int:
        """Bytes of the pickle."""
        return 0 if self.payload is None else len(self.payload)

    is_kept = False
    """It is the outcome of a call, which stayed with a peer."""
    is_pending = False
    """It is being made again."""

    @property
    def is_away(self) -> bool:
        """It is not here, but with a peer."""
        return False

    def use(self) -> None:
        """Note that a call needs it."""

    def copy(self) -> Value:
        """Return the same value, which is here, for calls of any engine."""
        return self


KEPT = 1 << 62
"""Added to the number of a call, it is the number of the value that the call has left with a peer."""

LEAST_KEPT = 64 << 10
"""Minimum size, in bytes, of an outcome that stays there: to fetch a smaller one would take longer than to send it."""


class WithValues:
    """
    Pickled arguments that refer to values.

    :param payload: the arguments
    :param values: the values, in the order in which the arguments refer to them; in a worker their payloads
    """

    __slots__ = ("payload", "values")

    def __init__(self, payload: bytes | File | Parts, values: Sequence[Any]) -> None:
        self.payload = payload
        self.values = values

    def __len__(self) -> int:
        return len(self.payload)

    def open(self, load: Callable[[Any], Any]) -> Any:
        """
        Unpickle the arguments in a worker.

        :param load: unpickles a payload
        :raises Exception: any exception raised by unpickling, which may run any code
        """
        outer, here.payloads = here.payloads, self.values
        try:
            return load(self.payload)
        finally:
            here.payloads = outer


class _Here(_local):
    """The values of the call whose arguments this thread is unpickling."""

    payloads: Sequence[Any] = ()


here = _Here()


class Needs(list):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """
    The large globals that a function names, each a separate payload: see `bundle`.

    :param known: those that were pickled before; new ones are added
    """

    def __init__(self, known: dict[Any, Any]) -> None:
        super().__init__()
        self.known = known
