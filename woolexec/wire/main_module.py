"""
The names of the caller's ``__main__`` in a worker: one namespace, as they are there.

Functions and classes of ``__main__`` travel by value.  What they name comes beside them in a bundle (see `bundle`),
each global for itself, with a digest of its pickle.  A worker takes a global only if its digest is another one than
when it last came.  So a sentinel, a cache or a function that has not changed stays the object that it is, whatever else
comes, and what a task or an initializer has stored under a name stays until the caller's value changes.

The same holds for other modules that a worker cannot import (see `modules`), and for namespaces that call themselves
``__main__`` and are not: those of a profiler, or of `exec`.
"""

from __future__ import annotations

import io
import sys
import threading
from types import FunctionType, ModuleType
from weakref import WeakKeyDictionary, WeakSet

from woolexec.wire import pickling, stand_ins
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
    """Import what unpickling by value needs; not with this module, which must be whole when that import is noticed."""
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
    """Payloads of the large globals that the function which is unpickled needs."""
    spaces: dict[str, dict[str, Any]] | None = None
    """Where this process is no worker: the namespaces of the bundle that is unpickled."""
    taker: Any = None
    """Takes in the bundle that is unpickled."""


_loading = _Loading()

_spaces: dict[str, dict[str, Any]] = {}
"""Namespaces that came, but for that of ``__main__``."""


def names_of(space: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return the names of a namespace here; `own` are those that it begins with."""
    if not pickling.is_worker:  # a function that comes home must not change what is there
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
    if "#" not in space and sys.modules.setdefault(space, module) is module:  # else another one was imported here
        note_by_path(space)  # what is of it travels on by value
    return module.__dict__


# -- bundles ----------------------------------------------------------------------------------------------------------

_arrived: dict[Key, tuple[bytes, Any]] = {}
"""What came under each name: the digest of its pickle, and the object, whatever the name stands for by now."""


def key_of_arrived(cls: Any) -> Key | None:
    """Return the key under which a class came; None if it did not, or another one has come since."""
    key = cls.__module__, cls.__qualname__
    try:
        return key if _arrived.get(key, _NEVER)[1] is cls else None
    except TypeError:  # names that are none
        return None


_taking = threading.RLock()  # guards `_arrived`: of two lanes that unpickle at once one waits


def load(payload: Any, needs: Sequence[Any]) -> Any:
    """
    Unpickle a function whose bundle refers to large globals.

    :param needs: their payloads, in the order in which the bundle counts them
    """
    _loading.needs = needs
    try:
        return pickling.loads(payload)
    finally:
        _loading.needs = ()


class WithNeeds:
    """A function's payload and those of the large globals that it needs, in one."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_with, self._parts


def _load_with(payload: list[Any], needs: list[list[Any]]) -> Any:
    from woolexec.wire.payload import Parts

    return load(Parts(payload), [Parts(need) for need in needs])


def unbundle(body: Any, buffers: Sequence[Any], table: Sequence[Any]) -> Any:
    """Take in the globals of a bundle that are news, then unpickle what it is about."""
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
    """Return what the bundle that is unpickled has brought under this key."""
    return _loading.taker.find(key)


class _Taker:
    """
    Takes in what is news in a bundle's table.

    Unpickling a global may need what another one's pickle does not refer to, such as what a ``__setstate__`` names, so
    those that fail are tried again when others have come.
    """

    def __init__(self, table: Sequence[Any], needs: Sequence[Any]) -> None:
        self._needs = needs
        self._arrived = _arrived if pickling.is_worker else {}
        self._left = {key: group for group in table for key in group[0]}
        self._failed: dict[Key, Exception] = {}

    def take_all(self) -> None:
        """Take in the table; what cannot be unpickled has a stand-in."""
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
        if group[0][0] not in self._left:  # another one's pickle has referred to it
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
            buffers = [bytearray(part) if type(part) is bytes else part for part in buffers]  # to be written to
        try:
            values = self.unpickle(body, buffers)
        except Exception:
            self._left |= dict.fromkeys(keys, group)
            raise
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
    """Finds the globals that a pickle refers to."""

    find: Any

    def persistent_load(self, pid: Any) -> Any:
        return self.find(pid[0])


# -- what comes without a bundle: outcomes ----------------------------------------------------------------------------

_seen: dict[str, bytes] = {}
"""What the globals were that last came with an outcome of a task of a task, pickled."""

_seen_of: WeakKeyDictionary[type, dict[str, bytes]] = WeakKeyDictionary()
"""What the attributes of the caller's classes were when they last came, pickled."""

_ours: WeakSet[type] = WeakSet()
_foreign: WeakSet[type] = WeakSet()
"""Classes that this process has sent by value, and those that it made when it unpickled them."""


def sent(cls: type) -> None:
    """Remember that this class leaves by value: if it comes home it stays as it is."""
    if cls not in _foreign:
        _ours.add(cls)


def came(cls: type) -> None:
    """Remember that this class was made here because it came, before anything that names it is sent."""
    _foreign.add(cls)


def set_class_state(cls: type, state: Any) -> type:
    """
    Complete a class, unless it is one of ours that has come home: it is as its owner wants it.

    An attribute that a task has set stays, as a global does: see `set_state`.
    """
    from cloudpickle.cloudpickle import _class_setstate

    if cls in _ours:
        return cls
    _foreign.add(cls)
    if pickling.is_worker:
        attributes, slots = state
        seen = _seen_of.setdefault(cls, {})
        state = {name: value for name, value in attributes.items() if _is_news(seen, name, value)}, slots
        if cls.__module__ == MAIN and "." not in cls.__qualname__:  # so that tasks can pickle what is of it
            setattr(sys.modules[MAIN], cls.__name__, cls)
    _class_setstate(cls, state)
    return cls


def set_state(fn: Any, state: Any) -> None:
    """
    Complete a function of ``__main__``, as cloudpickle does.

    A global that came with it is stored only if it has changed since it last came: what a task has stored under that
    name stays.
    """
    from cloudpickle.cloudpickle import _function_setstate

    if pickling.is_worker:
        values = state[1]["__globals__"]
        state[1]["__globals__"] = {name: value for name, value in values.items() if _is_news(_seen, name, value)}
    _function_setstate(fn, state)


def _is_news(seen: dict[str, bytes], name: str, value: Any) -> bool:
    """Say whether this came for the first time, or is another value than when it last came."""
    if isinstance(value, FunctionType | type) or hasattr(type(value), "__get__") or name == "_abc_impl":
        return True
    try:
        data = b"anew" if type(value) in stand_ins.ANEW else pickling.dumps_inline(value)
    except BaseException:  # user code
        return True
    if seen.get(name) == data:
        return False
    seen[name] = data
    return True
