"""
Values that several calls need: each is pickled once, and sent to a target once, under its number.

::

    owner        a Value, of which calls have references
    Keep         a target is sent its payload
    Start        the numbers of the values that the call needs
    worker       the payloads of these, from which each call unpickles its own objects
    Drop         the owner no longer needs it

A large payload is a memory file.  All workers of a host map the same pages, each of them privately.

The outcome of a task may stay with the peer that ran it: see `woolexec.futures.kept_value`.  For its owner it is a
value like any other; its payload is fetched when it is needed here.
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

    :param payload: the pickle; None: a peer that knows the value has not received it yet
    """

    __slots__ = ("__weakref__", "number", "payload")

    def __init__(self, payload: bytes | File | Parts | None) -> None:
        self.payload = payload
        self.number = next(_numbers)
        """The value's number in this process."""

    @property
    def size(self) -> int:
        """Size of the pickle, in bytes."""
        return 0 if self.payload is None else len(self.payload)

    is_kept = False
    """Whether it is the outcome of a call, and stayed with a peer."""
    is_pending = False
    """Whether it is being made again."""

    @property
    def is_away(self) -> bool:
        """Whether it is with a peer, and not here."""
        return False

    def use(self) -> None:
        """Record that a call needs the value."""

    def copy(self) -> Value:
        """Return this value, with its payload here, for calls of any engine."""
        return self


KEPT = 1 << 62
"""Added to the number of a call, gives the number of the value that the call has left with a peer."""

LEAST_KEPT = 64 << 10
"""Minimum size, in bytes, of an outcome that stays with its peer: fetching smaller ones takes longer than sending."""


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
