"""
Pickles of globals for bundles: groups of globals with their buffers, and large globals, each a separate payload.

`bundle` puts them together.
"""

from __future__ import annotations

import hashlib
from pickle import PickleBuffer
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from woolexec.platform.ipc import map_shared
from woolexec.wire.by_value_pickler import named_in
from woolexec.wire.modules import comes_by_value, is_named, space_of
from woolexec.wire.payload import File, Parts, offsets_of, store
from woolexec.wire.unchanging import Snapshot, is_constant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.wire.main_module import Key

NAMED = (FunctionType, type)


def taking(buffers: list[Any]) -> Callable[[PickleBuffer], bool]:
    """Return a function that adds the memory of a buffer to a list, and returns True if that is not possible."""

    def is_inline(buffer: PickleBuffer) -> bool:
        try:
            buffers.append(buffer.raw())
        except BufferError:  # not contiguous
            return True
        return False

    return is_inline


def wrapped(buffers: Sequence[Any]) -> list[PickleBuffer]:
    """Wrap memory in `PickleBuffer` objects."""
    return [*map(PickleBuffer, buffers)]


class Group:
    """Globals that are pickled together: usually only one."""

    __slots__ = ("body", "buffers", "digest", "keys", "large", "referred", "wanted")

    def __init__(
        self,
        keys: tuple[Key, ...],
        body: bytes,
        buffers: list[Any],
        wanted: list[tuple[str, Key]],
        referred: list[tuple[Key, Any]],
    ) -> None:
        self.keys = keys
        self.body = body
        self.buffers = buffers
        self.wanted = wanted  # pairs of the function that names a global, and the global's key
        self.referred = referred  # the globals that its pickle refers to
        self.large: Large | None = None
        self.digest = b""

    @property
    def size(self) -> int:
        """Size of its pickle and buffers, in bytes."""
        return len(self.body) + sum(map(len, self.buffers))

    def wanting(self, wanted: list[tuple[str, Key]]) -> Group:
        """Return a copy with other wanted globals: one may have been defined since."""
        group = Group(self.keys, self.body, self.buffers, wanted, self.referred)
        group.digest, group.large = self.digest, self.large
        return group

    def sign(self) -> None:
        """Compute the digest."""
        digest = hashlib.blake2b(self.body, digest_size=16)
        for buffer in self.buffers:
            digest.update(buffer)
        self.digest = digest.digest()


class Large:
    """
    The payload of a large global, kept to detect whether its content has changed the next time.

    All versions of a global have the same `family`: a worker needs to keep only the latest one.
    """

    __slots__ = ("_map", "_offsets", "digest", "family", "function", "payload")

    def __init__(self, group: Group, family: object) -> None:
        self.digest = group.digest
        self.family = family
        self.function: Any = None  # the engine's `Function` that sends it
        self._map: Any = None
        try:
            file = store([group.body, *group.buffers])
            self.payload: File | Parts = file
            self._offsets, end = offsets_of(file.extent)
            self._map = map_shared(file.fd, end, is_read_only=True)
        except OSError:  # out of file descriptors
            self.payload = Parts([group.body, *map(bytes, group.buffers)])

    def is_same(self, group: Group) -> bool:
        """Return whether a group has this content; compares the memory once, without copying it."""
        parts, extent = [group.body, *group.buffers], self.payload.extent
        if tuple(map(len, parts)) != extent:
            return False
        if self._map is None:
            assert isinstance(self.payload, Parts)
            return all(mine.startswith(part) for mine, part in zip(self.payload.parts, parts, strict=True))
        return all(
            self._map.find(part, start, start + size) == start
            for part, start, size in zip(parts, self._offsets, extent, strict=True)
            if size
        )


MISSING = object()


def copied_in(fn: FunctionType) -> list[tuple[dict[str, Any], str, Any]]:
    """
    Return the globals whose values are part of a function's own pickle, each with its namespace and its value.

    There are such globals only if the function travels by value and its namespace does not.
    """
    if space_of(fn.__globals__) is not None or is_named(fn):
        return []
    return [(fn.__globals__, name, fn.__globals__.get(name, MISSING)) for name in named_in(fn.__code__)]


def may_be_kept(copied: list[tuple[dict[str, Any], str, Any]]) -> bool:
    """Return whether such globals can change only by being replaced."""
    return all(
        value is MISSING or is_constant(value) or (type(value) is FunctionType and is_named(value))
        for _, _, value in copied
    )


class Known(NamedTuple):
    """The cached pickle of a function or class, valid as long as its parts are the same objects."""

    key: Key
    snapshot: Snapshot
    group: Group
    names: list[tuple[tuple[str, Key], dict[str, Any]]]
    """The globals that its functions name, each with the function that names it, and their namespaces."""
    referred: list[tuple[Key, Any, dict[str, Any]]]
    """The globals that its pickle refers to, and the namespaces that contained them."""
    copied: list[tuple[dict[str, Any], str, Any]]
    """The globals whose values are part of its pickle: see `copied_in`."""

    def is_good(self) -> bool:
        """Return whether pickling it again would give the same result."""
        return (
            self.snapshot.is_same()
            and all(namespace.get(key[1]) is value for key, value, namespace in self.referred)
            and all(namespace.get(name, MISSING) is value for namespace, name, value in self.copied)
        )


# -- which values are globals ------------------------------------------------------------------------------------------


def own_name(value: Any) -> Any:
    """Return the name that a function or class gives itself; None for other values."""
    return value.__name__ if issubclass(type(value), NAMED) else None


def space_of_definition(defined: Any) -> Any:
    """Return the name of the namespace in which a function or class is defined, if it travels by value."""
    if type(defined) is FunctionType:
        return space_of(defined.__globals__)
    return defined.__module__ if comes_by_value(defined.__module__) else None


def has_identity(name: str, value: Any) -> bool:
    """Return whether the identity of a value matters, as it does for functions and instances."""
    cls = type(value)  # not `isinstance`: `__class__` can be overridden
    if name.startswith("__") or issubclass(cls, ModuleType | BuiltinFunctionType):
        return False
    return not issubclass(cls, NAMED) or space_of_definition(value) is not None


def names_in(fn: FunctionType) -> list[tuple[tuple[str, Key], dict[str, Any]]]:
    """Return the globals that a function names, whether they are defined or not, and their namespace."""
    space = space_of(fn.__globals__)
    if space is None:
        return []
    return [((fn.__qualname__, (space, name)), fn.__globals__) for name in named_in(fn.__code__)]
