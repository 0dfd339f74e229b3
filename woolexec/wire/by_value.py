"""
Pickle by value, with cloudpickle: functions, classes and what is of them, where the other side cannot import them.

It is imported where the C pickler does not do, so that what needs none of it starts without it.
"""

from __future__ import annotations

import io
import sys
from collections import ChainMap
from contextvars import ContextVar
from functools import _lru_cache_wrapper, cached_property, lru_cache
from types import CodeType

from cloudpickle import cloudpickle

from woolexec.wire import code_objects
from woolexec.wire.main_module import Main, sent, set_class_state, set_state
from woolexec.wire.stand_ins import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable
    from typing import Any


def dumps_by_value(obj: object, is_inline: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    """
    Pickle with cloudpickle, and with what is registered with multiprocessing, as the stdlib's pool does.

    :param is_inline: says of a buffer whether it stays in the pickle
    :raises Exception: what pickling it raises; `obj` may run any code
    """
    reduction = sys.modules.get("multiprocessing.reduction")
    table: Any = cloudpickle.Pickler.dispatch_table
    if reduction is not None:
        table = ChainMap(table, reduction.ForkingPickler._extra_reducers)
    base: Any = type("Pickler", (cloudpickle.Pickler,), {"dispatch_table": table, "reducer_override": _reduce})
    file = io.BytesIO()
    pickler = base(file, 5, is_inline)
    main = sys.modules["__main__"].__dict__
    pickler.globals_ref[id(main)] = Main(main)
    pickler.lines_sent = {}
    pickler.dump(obj)
    return file.getvalue()


def _reduce(pickler: Any, obj: Any) -> Any:
    """Reduce as cloudpickle does, but have functions and classes completed by our own functions."""
    if obj.__class__ is CodeType:
        return code_objects.reduce(obj, pickler.lines_sent)
    if obj.__class__ is _lru_cache_wrapper and not _is_named(obj):
        return _cached, (obj.__wrapped__, obj.cache_parameters())  # by itself it would travel as its name
    if obj.__class__ is cached_property and hasattr(obj, "lock"):  # before Python 3.12
        return cached_property, (obj.func,), {"attrname": obj.attrname}
    if obj.__class__.__module__ == "typing" and obj.__class__.__name__ == "NewType" and obj.__module__ == "__main__":
        return obj.__class__, (obj.__name__, obj.__supertype__)
    if obj.__class__ is ContextVar:
        from woolexec.wire import variables

        reduced = variables.reduce(obj)
        if reduced is not None:
            return reduced
    reduced = cloudpickle.Pickler.reducer_override(pickler, obj)
    if reduced.__class__ is not tuple or len(reduced) != 6:
        return reduced
    if reduced[5] is cloudpickle._function_setstate:
        code_objects.find(obj.__code__, obj.__globals__)
        replace(reduced[2][1]["__globals__"])
        if obj.__globals__ is sys.modules["__main__"].__dict__:
            return (*reduced[:5], set_state)
    elif reduced[5] is cloudpickle._class_setstate:
        sent(obj)
        if len(reduced[1]) == 6:  # not an Enum
            names = reduced[1][3]
            names["__qualname__"] = obj.__qualname__
            if "__slots__" in obj.__dict__ and "_fields" not in obj.__dict__:  # not a NamedTuple, whose base has them
                names["__slots__"] = obj.__slots__  # by itself it comes without
        replace(reduced[2][0])
        return (*reduced[:5], set_class_state)
    return reduced


def _is_named(obj: Any) -> bool:
    """Say whether what has a module and a qualified name is found by them, elsewhere than in ``__main__``."""
    if obj.__module__ == "__main__" or obj.__module__ not in sys.modules:
        return False
    found: Any = sys.modules[obj.__module__]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _cached(fn: Any, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(fn)
