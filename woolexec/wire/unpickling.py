"""
Unpickle payloads, and hold the settings of this process for that.

All other modules for unpickling and pickling are above this module.
"""

from __future__ import annotations

from functools import partial

from woolexec.wire.payload import File, Parts
from woolexec.wire.values import WithValues

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Sequence
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle

is_worker = False
"""Whether this process is a worker, in which functions of the caller's ``__main__`` share one namespace, as they do in
the caller: see `main_module`."""

level = 0
"""Number of nested pools around this process: 1 in a worker of a pool that was not created in a worker."""

changes = 0
"""How often a global of the caller has arrived with a new value: see `main_module`."""

fingerprint: Callable[[object], bytes]
"""Pickles a value to compare it with one that arrives later.  Set by `pickling`, which is above its users."""


class Raw:
    """Represents large `bytes` in a pickle; arrives as `bytes`."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.data),)


ALL_BYTES = b"b"
"""A mark after the end of a pickle (ignored by the unpickler): all its buffers were `bytes` and must arrive as such."""

READ_ONLY = b"r"
"""Likewise: all its buffers are read-only, so all objects that are made of it may share them."""

ALONE = pickle.dumps(Raw(b""), 5, buffer_callback=lambda _: False) + ALL_BYTES
ALONE_IN_CALL = pickle.dumps(((Raw(b""),), {}), 5, buffer_callback=lambda _: False) + ALL_BYTES
"""The constant pickle that remains when medium-sized `bytes` are the result, or the only argument."""

NAMED = b"\x93\x94."
"""The end of a pickle that only names a global: STACK_GLOBAL, MEMOIZE, STOP."""


load = pickle.loads


def _run_any(function: object) -> None:
    """Allow every function."""


check_function: Callable[[object], None] = _run_any
"""Checks that a function may be run as a task."""


def restrict(other: Callable[..., Any], check: Callable[[object], None] = _run_any) -> None:
    """Unpickle with another function, and check the functions of tasks, from now on, in this process."""
    global load, check_function  # once, when a worker starts
    load, check_function = other, check


class Untrusted:
    """
    A payload from a sender that is not trusted.

    :param load: unpickles its values
    :param load_failure: decodes its exceptions
    """

    __slots__ = ("load", "load_failure", "payload")

    def __init__(self, payload: Any, load: Callable[..., Any], load_failure: Callable[[Any], BaseException]) -> None:
        self.payload = payload
        self.load = load
        self.load_failure = load_failure

    def part(self, payload: Any) -> Untrusted:
        """Return a payload that was found within this one."""
        return Untrusted(payload, self.load, self.load_failure)


def loads(payload: bytes | memoryview | File | Parts | Untrusted | WithValues, *, again: bool = False) -> Any:
    """
    Unpickle a payload.

    :param again: the payload may be unpickled again, after the objects made from it have been changed
    :raises Exception: any exception raised by unpickling, which may run any code unless the payload is `Untrusted`
    """
    if payload.__class__ is bytes:
        return load(payload)
    by: Callable[..., Any] = load
    if isinstance(payload, WithValues):
        return payload.open(partial(loads, again=again))
    if isinstance(payload, Untrusted):
        by, payload = payload.load, payload.payload
    if isinstance(payload, OSError):  # no descriptor was left to receive it
        raise payload
    if not isinstance(payload, File | Parts):
        return by(payload)
    if isinstance(payload, File):
        return _load_file(payload, by)
    body, *buffers = payload.load()
    if body[-1:] == ALL_BYTES:
        return _load_copied(body, buffers, by)
    return by(body, buffers=[bytearray(part) if again or part.__class__ is bytes else part for part in buffers])


_MOST_KEPT = 64
"""Maximum number of files in a process that stay mapped to be unpickled again; a map may hold a descriptor."""


class _Kept(list):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """The parts of a mapped file, counted while they are alive."""

    __slots__ = ()

    def __init__(self, parts: Sequence[Any]) -> None:
        super().__init__(parts)
        _kept.add(id(self))

    def __del__(self) -> None:
        _kept.discard(id(self))


_kept: set[int] = set()


def _load_file(file: File, by: Callable[..., Any]) -> Any:
    body, *buffers = file.kept or file.load(is_brief=True)
    if body[-1:] == READ_ONLY and body.__class__ is memoryview and len(_kept) < _MOST_KEPT:
        body, *buffers = file.kept = _Kept([bytes(body), *(memoryview(part).toreadonly() for part in buffers)])
    if body[-1:] == ALL_BYTES:
        value, buffers = _load_copied(body, buffers, by), []
    else:
        value = by(body, buffers=buffers)
    file.unpickled(buffers)
    return value


def _load_copied(body: Any, buffers: list[Any], by: Callable[..., Any]) -> Any:
    """Unpickle a payload whose buffers all become `bytes`, which are copies."""
    if body == ALONE:
        return bytes(buffers[0])
    if body == ALONE_IN_CALL:
        return (bytes(buffers[0]),), {}
    return by(body, buffers=buffers)
