"""
Values that several calls need: each is pickled once, and a target is sent it once, under its number.

::

    owner        a Value, of which calls have references
    Keep         a target is sent its payload
    Start        the numbers of the values that the call needs
    worker       the payloads of these, of which each call unpickles objects of its own
    Drop         the owner has no use for it any more

A large payload is a memory file.  All workers of a host map the same pages, each of them privately.
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
        :raises Exception: whatever unpickling raises; it may run any code
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
