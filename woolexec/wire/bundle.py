"""
Bundles: an object pickled by value, and the globals that it needs, each pickled separately.

::

    bundle = the pickle of a function, or of arguments
             + for each global that functions in it name: its key, a digest, its pickle

1. A function's globals are not part of its own pickle: their keys are recorded, and the globals are added to the
   bundle.
2. Where a pickle contains the same object as another global, it refers to that global by key and digest.  So one object
   in the sender is one object in the receiver, and a value whose parts have changed has another digest.
   The same holds for a variable that two global functions capture: the pickle of one refers to the other.
3. Globals that refer to each other in a cycle are pickled together, under one digest.
4. Arguments are copied, as in the standard library: only functions and classes in them are such references.
5. A large global of a function is a separate payload, reused as long as its content does not change: see `Large`.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from functools import _lru_cache_wrapper
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from woolexec.core.recent import Recent
from woolexec.wire import by_value, modules
from woolexec.wire.bundled_globals import (
    NAMED,
    Group,
    Known,
    Large,
    copied_in,
    has_identity,
    may_be_kept,
    names_in,
    own_name,
    space_of_definition,
    taking,
    wrapped,
)
from woolexec.wire.by_value_pickler import IMPORTABLE, Pickler
from woolexec.wire.callables import cell_of
from woolexec.wire.inputs import is_future_class, reduce_future
from woolexec.wire.main_module import global_of, unbundle
from woolexec.wire.modules import space_of
from woolexec.wire.payload import APART, LARGE
from woolexec.wire.stand_ins import Anew, refused
from woolexec.wire.unchanging import ATOMS, Snapshot, is_definition
from woolexec.wire.values import Needs

if TYPE_CHECKING:
    from woolexec.wire.main_module import Key

_WARNED_SIZE = 1 << 20
_CACHE_LIMIT = 512
_DEFINED = (*NAMED, _lru_cache_wrapper)


class _Circle(BaseException):
    """Globals that refer to each other in a cycle; not an Exception, which user code might catch."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = keys


_known: Recent[Any, Known] = Recent(_CACHE_LIMIT)
"""The pickles of functions and classes."""

_warned: set[Key] = set()


def dumps_bundle(
    obj: object,
    is_inline: Callable[[pickle.PickleBuffer], bool] | None,
    buffers: list[Any] | None,
    names: tuple[str, ...] | str = (),
    *,
    is_function: bool = False,
    needs: Needs | None = None,
    inputs: list[Any] | None = None,
) -> bytes:
    """
    Pickle for a worker an object that travels by value.

    :param is_inline: returns whether a buffer stays in the pickle
    :param buffers: the list that `is_inline` appends buffers to
    :param names: names of the elements of `obj`, or the name of `obj`, for messages
    :param is_function: `obj` is the function to call; otherwise its contents are copied, as arguments are
    :param needs: receives the large globals; None: they are part of the pickle
    :param inputs: receives the futures; None: they are an error
    :raises Exception: any exception raised by pickling, with a note; `obj` may run any code
    """
    modules.look()
    bundler = _Bundler(None if needs is None else needs.known, inputs, shares_all=is_function)
    if type(obj) is FunctionType:
        bundler.add_space_of(obj)
    root_buffers: list[Any] = []
    body = by_value.dumps_by_value(obj, taking(root_buffers), root_buffers, names, bundler.make_pickler)
    table = bundler.collect(needs)
    if buffers is not None:
        buffers.clear()
    root = body if len(body) < APART else pickle.PickleBuffer(body)
    return pickle.dumps(_Bundle(root, wrapped(root_buffers), table), 5, buffer_callback=is_inline)


class _Bundle:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return unbundle, self._parts


class _Bundler:
    """
    Collects the globals for one bundle.

    :param large: the large globals that were pickled before; None: they are part of the bundle
    :param inputs: receives the futures; None: they are an error
    :param shares_all: the pickled object refers to all globals by key; otherwise only to functions and classes
    """

    def __init__(self, large: dict[Key, Large] | None, inputs: list[Any] | None, *, shares_all: bool) -> None:
        self._large = large
        self.inputs = inputs
        self._shares_all = shares_all
        self._groups: dict[Key, Group] = {}
        self._wanted: deque[tuple[str, Key]] = deque()
        self._stack: list[Key] = []
        self._spaces: dict[str, dict[str, Any]] = {}
        self._unread: list[str] = []  # namespaces that `keys` has not read yet
        self._keys: dict[int, Key] = {}
        self.captured: dict[int, tuple[FunctionType, int]] = {}
        """The first global function that captures a variable, and which of those it is, by its `id`."""
        main = sys.modules["__main__"].__dict__
        space = space_of(main)
        if space is not None:
            self.add_space(space, main)

    def add_space(self, space: str, namespace: dict[str, Any]) -> None:
        """Refer to the values in this namespace by their names."""
        if space in self._spaces:
            return
        self._spaces[space] = namespace
        self._unread.append(space)

    @property
    def keys(self) -> dict[int, Key]:
        """The key of each global whose identity matters, by its `id`."""
        while self._unread:
            space = self._unread.pop(0)
            for name, value in list(self._spaces[space].items()):
                if type(value) not in ATOMS and has_identity(name, value):
                    known = self._keys.get(id(value))
                    if known is None or (known[0] == space and own_name(value) == name):
                        self._keys[id(value)] = space, name
                    if type(value) is FunctionType:
                        for index, cell in enumerate(value.__closure__ or ()):
                            self.captured.setdefault(id(cell), (value, index))
        return self._keys

    def key_of(self, obj: Any) -> Key | None:
        """Return the key of a function or class, if it travels by value."""
        if issubclass(type(obj), NAMED):
            space, name = space_of_definition(obj), own_name(obj)
            if space is None:
                return None
            if self._spaces.get(space, {}).get(name) is obj:  # the usual case: no need to read the namespace
                return space, name
        return self.keys.get(id(obj))

    def make_pickler(self, file: Any, is_inline: Any, verdicts: Any) -> Any:
        """Create the pickler for the object that the bundle is made for."""
        if self._shares_all:
            return _References(file, is_inline, verdicts, self, (), self._wanted)
        return _Arguments(file, is_inline, verdicts, self, self._wanted)

    def digest_of(self, key: Key) -> bytes:
        """Pickle a global, unless it has been pickled already; return its digest."""
        return self._group("", key).digest

    def collect(self, needs: Needs | None) -> list[Any]:
        """Pickle all wanted globals, and the globals that these need in turn; return the table of the bundle."""
        table: list[Any] = []
        while self._wanted:
            owner, key = self._wanted.popleft()
            if key not in self._groups:
                self._group(owner, key)
        for group in dict.fromkeys(self._groups.values()):
            if group.large is None or needs is None:
                table.append((group.keys, group.digest, group.body, wrapped(group.buffers)))
            else:
                table.append((group.keys, group.digest, len(needs), ()))
                needs.append(group.large)
        return table

    def _group(self, owner: str, key: Key) -> Group:
        group = self._groups.get(key)
        if group is not None:
            return group
        if key in self._stack:
            raise _Circle(tuple(self._stack[self._stack.index(key) :]))
        keys: tuple[Key, ...] = (key,)
        depth = len(self._stack)
        while True:
            self._stack.extend(keys)
            try:
                group = self._pickle(owner, keys)
                break
            except _Circle as circle:
                if circle.keys[0] not in keys:  # a pickle further out must contain all of them
                    raise
                keys = tuple(sorted({*keys, *circle.keys}))  # sorted, so that the digest does not depend on the order
            finally:
                del self._stack[depth:]
        for each in keys:
            self._groups[each] = group
        self._wanted.extend(group.wanted)
        return group

    def _pickle(self, owner: str, keys: tuple[Key, ...]) -> Group:
        values = [self._spaces[space][name] for space, name in keys]
        defined = values[0] if len(values) == 1 else None
        known = _known.get(defined) if is_definition(defined) else None
        if known is None or known.key != keys[0] or not known.is_good():
            snapshot = Snapshot.of(defined)
            copied: list[Any] = []
            for fn in [] if snapshot is None else snapshot.functions:
                self.add_space_of(fn)
                copied += copied_in(fn)
            before = len(self.inputs or ())
            group = self._pickle_values(owner, keys, values)
            if len(self.inputs or ()) > before:  # the numbers of inputs stand for other values in each call
                group.digest = os.urandom(16)
                return group
            self._sign(owner, group)
            if snapshot is not None and may_be_kept(copied):
                names = [each for fn in snapshot.functions for each in names_in(fn)]
                referred = [(key, value, self._spaces[key[0]]) for key, value in group.referred]
                _known.add(defined, Known(keys[0], snapshot, group, names, referred, copied))
            return group
        for key, _, namespace in known.referred:
            self.add_space(key[0], namespace)
            self._group("", key)
        wanted = []
        for want, namespace in known.names:
            space, name = want[1]
            self.add_space(space, namespace)
            if name in namespace:  # it may have been defined since
                wanted.append(want)
        return known.group.wanting(wanted)

    def add_space_of(self, fn: FunctionType) -> None:
        """Refer to the values in a function's namespace by their names, if the namespace travels by value."""
        space = space_of(fn.__globals__)
        if space is not None:
            self.add_space(space, fn.__globals__)

    def _pickle_values(self, owner: str, keys: tuple[Key, ...], values: list[Any]) -> Group:
        values = [refused(value) for value in values]
        try:
            return self._try(keys, values, None)
        except Exception:  # user code
            pass
        try:
            return self._try(keys, values, by_value.Verdicts())
        except Exception:  # as above
            pass
        stand_ins = [by_value.substitute(owner, name, value) for (_, name), value in zip(keys, values, strict=True)]
        return self._try(keys, stand_ins, by_value.Verdicts())

    def _try(self, keys: tuple[Key, ...], values: list[Any], verdicts: Any) -> Group:
        file, buffers, wanted = io.BytesIO(), [], []  # type: ignore[var-annotated]
        known = self.keys
        roots = [value for key, value in zip(keys, values, strict=True) if known.get(id(value), key) == key]
        pickler = _References(file, taking(buffers), verdicts, self, roots, wanted)
        pickler.is_named, pickler.is_global = verdicts is not None, True
        pickler.dump([pickler.replace(value) for value in values])
        return Group(keys, file.getvalue(), buffers, wanted, pickler.referred)

    def _sign(self, owner: str, group: Group) -> None:
        """Compute the digest; a large group with unchanged content keeps its digest."""
        key = group.keys[0]
        large = None if self._large is None or group.size < LARGE else self._large.get(key)
        if large is not None and large.is_same(group):
            group.digest, group.large = large.digest, large
            return
        group.sign()
        if group.size < LARGE:
            return
        if self._large is not None:
            large = self._large[key] = Large(group, object() if large is None else large.family)
            group.large = large
        if group.size >= _WARNED_SIZE and key not in _warned:
            _warned.add(key)
            warnings.warn(
                f"{owner or 'a function'} names the global {key[1]!r} of {group.size / 1e6:.0f} MB, which is copied to "
                "each worker and compared before each task: load it in the pool's initializer, or in a module",
                RuntimeWarning,
                stacklevel=2,
            )


class _Collects(Pickler):
    """Leaves the globals of functions to a bundle, and futures to the call's inputs."""

    def __init__(self, file: Any, is_inline: Any, verdicts: Any, bundler: _Bundler, wanted: Any) -> None:
        super().__init__(file, is_inline, verdicts)
        self._bundler = bundler
        self._wanted = wanted

    def reducer_override(self, obj: Any) -> Any:
        inputs = self._bundler.inputs
        if inputs is not None and is_future_class(type(obj)):
            return reduce_future(obj, inputs)
        return super().reducer_override(obj)

    def _reduce_module(self, module: ModuleType) -> Any:
        """Leave all its names to the bundle."""
        space, names = module.__name__, vars(module)
        self._bundler.add_space(space, names)
        self._wanted.extend((space, (space, name)) for name in list(names) if not name.startswith("__"))
        return super()._reduce_module(module)

    def _take_globals(self, fn: Any, values: dict[str, Any]) -> None:
        """Leave the globals to the bundle."""
        space = space_of(fn.__globals__)
        if space is None:
            super()._take_globals(fn, values)
            return
        self._bundler.add_space_of(fn)
        self._wanted.extend((fn.__qualname__, (space, name)) for name in values)
        values.clear()


class _Arguments(_Collects):
    """Refers to functions and classes by their keys; copies everything else, as arguments are."""

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        if cls in self._usual or (cls is FunctionType and obj in IMPORTABLE):
            self.met.append(obj)
            return NotImplemented
        if issubclass(cls, _DEFINED):
            key = self._bundler.key_of(obj)
            if key is not None:
                self._bundler.digest_of(key)
                return global_of, key
        return super().reducer_override(obj)


class _References(_Collects):
    """Refers to all globals by their keys."""

    def __init__(
        self, file: Any, is_inline: Any, verdicts: Any, bundler: _Bundler, roots: Sequence[Any], wanted: Any
    ) -> None:
        super().__init__(file, is_inline, verdicts, bundler, wanted)
        self._keys = dict(bundler.keys)  # a copy: namespaces that are added while pickling are not used here
        self._captured = bundler.captured
        self._roots = {id(root) for root in roots}
        self.referred: list[tuple[Key, Any]] = []
        self._values_of: dict[int, Any] = {}

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is CellType and (owner := self._captured.get(id(obj))) is not None:
            fn = id(owner[0])
            if fn in self._keys and fn not in self._roots:
                return cell_of, owner
        return super().reducer_override(obj)

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) in ATOMS:
            return None
        if type(obj) is Anew:
            obj = self._values_of.get(id(obj), obj)
        key = self._keys.get(id(obj))
        if key is None or id(obj) in self._roots:
            return None
        self.referred.append((key, obj))
        return key, self._bundler.digest_of(key)

    def wrap(self, value: Any) -> Anew | None:
        made = super().wrap(value)
        if made is not None:
            self._values_of[id(made)] = value
        return made
