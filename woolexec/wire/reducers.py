"""
Reducers from outside a class: those registered with multiprocessing, which the standard library's pool uses too, and
our own.
"""

from __future__ import annotations

import copyreg
import io
import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import partial

from woolexec.imported import import_now, imported
from woolexec.wire import arrays, tensors
from woolexec.wire.inputs import is_future_class, reduce_future

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle

_NEEDLESS = frozenset({"functools", "builtins", "array"})
"""Modules of classes that multiprocessing and its managers register reducers for, although they do not need them."""

_USUAL = _NEEDLESS | {"multiprocessing", "socket", "_socket", "torch"}
"""Modules of classes that multiprocessing itself registers reducers for, and torch, whose pickles name it."""

own: dict[type, Callable[[Any], Any]] = {}
"""Our own reducers that modules above this one add, by class; they return None for an object that needs none."""

_reduction: Any = None
_seen = (0, False)


def registered() -> dict[type, Any]:
    """Return the registered reducers by class; empty if `multiprocessing.reduction` has not been imported."""
    global _reduction  # a cache: this is called for every pickle that names a class
    if _reduction is None:
        _reduction = imported("multiprocessing.reduction")
        if _reduction is None:
            return {}
    return _reduction.ForkingPickler._extra_reducers  # type: ignore[no-any-return]  # it has no public name


def has_foreign(reducers: dict[type, Any]) -> bool:
    """Return whether there are reducers other than those that multiprocessing registers, which include sockets."""
    global _seen  # a cache, as above
    if _seen[0] != len(reducers):
        # Use a copy: another thread may be registering more.
        _seen = len(reducers), any(cls.__module__.partition(".")[0] not in _USUAL for cls in list(reducers))
    return _seen[1]


def has_torch(reducers: dict[type, Any]) -> bool:
    """Return whether torch has registered its reducers; it registers all at once."""
    torch = sys.modules.get("torch")
    return torch is not None and getattr(torch, "Tensor", None) in reducers


def needed() -> dict[Any, Any]:
    """Return the registered reducers of classes that cannot be pickled without them, or not in the same way."""
    # Use a copy: another thread may be registering more.
    found = {
        cls: tensors.copying(reduce) if tensors.is_of_torch(cls) else reduce
        for cls, reduce in list(registered().items())
        if cls.__module__ not in _NEEDLESS
    }
    if (socket := imported("socket")) is not None:
        found.setdefault(socket.socket, _reduce_socket)
    lending = imported("woolexec.wire.lending")
    return found if lending is None else found | lending.reducers()


def _reduce_socket(sock: Any) -> Any:
    """Reduce a socket with the reducer of multiprocessing, which is not imported before it is needed."""
    import_now("multiprocessing.reduction")
    with _here.inheriting():
        return needed()[type(sock)](sock)


class _Here(threading.local):
    """What this thread pickles within: see `inheriting`."""

    inheriting: Callable[[], AbstractContextManager[object]] = nullcontext


_here = _Here()


def inheriting(kept: list[Any] | None = None, *, is_shared: bool = False) -> AbstractContextManager[object]:
    """
    Within this, objects of `multiprocessing` that are shared only by inheritance can be pickled.

    :param kept: receives objects that must live as long as workers may unpickle the pickle; None: one worker unpickles
        it once
    :param is_shared: any number of workers unpickle the pickle, while its connections and sockets are open here
    """
    if any(imported(f"multiprocessing.{name}") is not None for name in ("synchronize", "heap", "connection")):
        return _lending(kept, is_shared=is_shared)
    # There are no such objects; but there may be a socket.
    return nullcontext() if kept is None and not is_shared else _at_a_socket(kept, is_shared=is_shared)


def _lending(kept: list[Any] | None, *, is_shared: bool) -> AbstractContextManager[object]:
    from woolexec.wire.lending import SHARED, lending

    return lending(kept, SHARED if is_shared else None)


@contextmanager
def _at_a_socket(kept: list[Any] | None, *, is_shared: bool) -> Iterator[None]:
    """Within this, `_lending` is entered for each socket: what it imports takes long, and most pickles have none."""
    before = _here.inheriting
    _here.inheriting = partial(_lending, kept, is_shared=is_shared)
    try:
        yield
    finally:
        _here.inheriting = before


class _Pickler(pickle.Pickler):
    """Reduces futures to numbers."""

    inputs: list[Any]

    def reducer_override(self, obj: Any) -> Any:
        return reduce_future(obj, self.inputs) if is_future_class(type(obj)) else NotImplemented


def dumps(obj: object, is_inline: Callable[[pickle.PickleBuffer], bool], inputs: list[Any] | None = None) -> bytes:
    """
    Pickle with the C pickler and all reducers.

    :param inputs: receives the futures in `obj`; None: they are an error
    :raises Exception: any exception raised by pickling; `obj` may run any code
    """
    file = io.BytesIO()
    pickler: Any = (pickle.Pickler if inputs is None else _Pickler)(file, 5, buffer_callback=is_inline)
    table = needed() | copyreg.dispatch_table
    if (numpy := sys.modules.get("numpy")) is not None and hasattr(numpy, "ndarray"):
        table[numpy.ndarray] = arrays.reduce
    pickler.dispatch_table = table
    if inputs is not None:
        inputs.clear()
        pickler.inputs = inputs
    pickler.dump(obj)
    return file.getvalue()
