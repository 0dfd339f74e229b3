"""
The names of the caller's ``__main__`` in a worker: one namespace, as in the caller.

Functions and classes of ``__main__`` travel by value.  The globals that they name come with them in a bundle (see
`bundle`), each separately, with a digest of its pickle.  A worker stores a global only if its digest differs from the
last one received for that name.  So a sentinel, a cache or a function that has not changed remains the same object,
whatever else arrives, and a value that a task or an initializer has stored under a name remains until the caller's
value changes.

The same applies to other modules that a worker cannot import (see `modules`), and to namespaces that have the name
``__main__`` without being that module: those of a profiler, or of `exec`.
"""

from __future__ import annotations

import io
import sys
import threading
from types import ModuleType

from woolexec.platform.posix import renewed_at_fork
from woolexec.wire import stand_ins, unpickling
from woolexec.wire.modules import MAIN, note_by_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Sequence
    from typing import Any

    Key = tuple[str, str]
    """A namespace, and a name in it."""
else:
    import _pickle as pickle


def import_cloudpickle() -> None:
    """Import the modules for unpickling by value; only when this module is complete, as import hooks may use it."""
    import cloudpickle  # noqa: F401


# -- namespaces -------------------------------------------------------------------------------------------------------


class Names(dict):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """Stands for the names of a namespace in a pickle."""

    def __init__(self, space: str, namespace: dict[str, Any]) -> None:
        self._space = space
        self._own = {name: namespace[name] for name in _OWN if type(namespace.get(name)) is str}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return names_of, (self._space, self._own)


_OWN = ("__name__", "__file__", "__package__")


class _Loading(threading.local):
    needs: Sequence[Any] = ()
    """Payloads of the large globals that the function being unpickled needs."""
    spaces: dict[str, dict[str, Any]] | None = None
    """Outside workers: the namespaces of the bundle being unpickled."""
    taker: Any = None
    """The `_Taker` of the bundle being unpickled."""


_loading = _Loading()

_spaces: dict[str, dict[str, Any]] = {}
"""Namespaces received, except that of ``__main__``."""


def names_of(space: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return this process's dictionary for a namespace; `own` are the names that it starts with."""
    if not unpickling.is_worker:  # a function that comes back to the caller must not change the caller's globals
        names = {"__name__": space.partition("#")[0], **own}
        return names if _loading.spaces is None else _loading.spaces.setdefault(space, names)
    if space == MAIN:
        names = sys.modules[MAIN].__dict__
        if own.get("__name__") == "__mp_main__":
            sys.modules.setdefault("__mp_main__", sys.modules[MAIN])
    else:
        names = _spaces.get(space) or _spaces.setdefault(space, _new_space(space))
    for name, value in own.items():
        names.setdefault(name, value)
    return names


def _new_space(space: str) -> dict[str, Any]:
    module = ModuleType(space.partition("#")[0])
    if "#" not in space and sys.modules.setdefault(space, module) is module:  # otherwise the name was imported here
        note_by_path(space)  # its functions and classes are sent by value from here too
    return module.__dict__


def module_of(name: str, names: dict[str, Any]) -> ModuleType:
    """Return this process's module for a namespace; a new one that only its sender needs, outside of workers."""
    module = sys.modules.get(name)
    if module is None or (unpickling.is_worker and vars(module) is not names):
        module = ModuleType(name)
        vars(module).update(names)
    return module


# -- bundles ----------------------------------------------------------------------------------------------------------

_arrived: dict[Key, tuple[bytes, Any]] = {}
"""The last global received under each key: the digest of its pickle, and the object, even if the name was rebound."""


def key_of_arrived(cls: Any) -> Key | None:
    """Return the key under which a class was received; None if it was not, or has been replaced since."""
    key = cls.__module__, cls.__qualname__
    try:
        return key if _arrived.get(key, _NEVER)[1] is cls else None
    except TypeError:  # the names are not hashable
        return None


_taking = renewed_at_fork(threading.RLock())  # guards `_arrived`, because several lanes may unpickle at the same time


def load(payload: Any, needs: Sequence[Any]) -> Any:
    """
    Unpickle a function whose bundle refers to large globals.

    :param needs: their payloads, in the order in which the bundle numbers them
    """
    _loading.needs = needs
    try:
        return unpickling.loads(payload)
    finally:
        _loading.needs = ()


class WithNeeds:
    """A function's payload together with those of the large globals that it needs."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_with, self._parts


def _load_with(payload: list[Any], needs: list[list[Any]]) -> Any:
    from woolexec.wire.payload import Parts

    return load(Parts(payload), [Parts(need) for need in needs])


def unbundle(body: Any, buffers: Sequence[Any], table: Sequence[Any]) -> Any:
    """Store the globals of a bundle that have changed, then unpickle its object."""
    with _taking:
        outer = _loading.spaces, _loading.taker
        taker = _Taker(table, _loading.needs)
        _loading.spaces, _loading.taker = {}, taker
        try:
            taker.take_all()
            return taker.unpickle(body, buffers)
        finally:
            _loading.spaces, _loading.taker = outer


def global_of(*key: str) -> Any:
    """Return the global with this key from the bundle being unpickled."""
    return _loading.taker.find(key)


class _Taker:
    """
    Stores the globals in a bundle's table that have changed.

    Unpickling a global may need another one that its pickle does not refer to, such as one that a ``__setstate__``
    names.  So globals that fail are tried again after others have been stored.
    """

    def __init__(self, table: Sequence[Any], needs: Sequence[Any]) -> None:
        self._needs = needs
        self._arrived = _arrived if unpickling.is_worker else {}
        self._left = {key: group for group in table for key in group[0]}
        self._failed: dict[Key, Exception] = {}

    def take_all(self) -> None:
        """Store all globals of the table; those that cannot be unpickled are replaced by stand-ins."""
        before = len(self._left) + 1
        while len(self._left) < before:
            before = len(self._left)
            self._failed.clear()
            for group in tuple(self._left.values()):
                self._try(group)
        for key in self._left:
            names_of(key[0], {})[key[1]] = stand_ins.StandIn(stand_ins.explain_failed(key[1], self._failed[key]))
        self._left.clear()

    def _try(self, group: Any) -> None:
        if group[0][0] not in self._left:  # done already, because another global refers to it
            return
        try:
            self._take(group)
        except Exception as exc:  # user code
            self._failed |= dict.fromkeys(group[0], exc)

    def _take(self, group: Any) -> None:
        keys, digest, body, buffers = group
        for key in keys:
            del self._left[key]
        if all(self._arrived.get(key, _NEVER)[0] == digest for key in keys):
            return
        if isinstance(body, int):
            body, *buffers = self._needs[body].load()
            buffers = [bytearray(part) if type(part) is bytes else part for part in buffers]  # writable
        try:
            values = self.unpickle(body, buffers)
        except Exception:
            self._left |= dict.fromkeys(keys, group)
            raise
        if any(self._arrived.get(key, _NEVER)[0] not in (digest, _NEVER[0]) for key in keys):
            unpickling.changes += 1
        for key, value in zip(keys, values, strict=True):
            self._failed.pop(key, None)
            self._arrived[key] = digest, value
            names_of(key[0], {})[key[1]] = value

    def unpickle(self, body: Any, buffers: Sequence[Any]) -> Any:
        unpickler = _Unpickler(io.BytesIO(body), buffers=buffers)
        unpickler.find = self.find
        return unpickler.load()

    def find(self, key: Key) -> Any:
        if key in self._left:
            self._take(self._left[key])
        elif key in self._failed:
            raise self._failed[key]
        return self._arrived[key][1]


_NEVER = (b"", None)


class _Unpickler(pickle.Unpickler):
    """Resolves the globals that a pickle refers to."""

    find: Any

    def persistent_load(self, pid: Any) -> Any:
        return self.find(pid[0])
