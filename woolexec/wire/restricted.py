"""
Unpickling for workers of peers that run only the functions on an allow list.

Guarantees:
1. A reference is looked up only if it is on the list, or creates plain data.
2. No existing object is changed: the opcode BUILD, which sets an object's state, works only on our stand-ins.
3. Arrays consist of numbers and text only: numpy's own functions would accept pointers as objects.

It is based on Python's unpickler written in Python, several times slower than the one in C, in which the second
guarantee cannot be enforced.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALLOW = "WOOLEXEC_WORKER_ALLOWS"
"""The environment variable with the list; set only for workers of such peers."""

_DATA = frozenset(
    {
        *(f"builtins:{name}" for name in ("bytearray", "complex", "frozenset", "range", "set", "slice")),
        *(f"collections:{name}" for name in ("Counter", "OrderedDict", "deque")),
        *(f"datetime:{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(
            f"{module}:{name}"
            for module in ("pathlib", "pathlib._local")  # from Python 3.13 on
            for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")
        ),
        "decimal:Decimal",
        "fractions:Fraction",
        "woolexec.base_error:rebuild",
        "woolexec.api.task_executor:current_executor",
        "woolexec.wire.pickling:Pickled",
    }
)
"""References that create nothing but data."""

_EXCEPTIONS = frozenset({"builtins", "_pickle", "woolexec.errors"})
"""Modules whose exceptions count as data."""

_InPython: Any = pickle._Unpickler  # documented only by its source

_KINDS = frozenset("biufcSU")
"""Allowed element types of arrays, as `numpy.dtype.kind`: none with objects or fields."""


def loader(names: Iterable[str]) -> Callable[..., Any]:
    """
    Return a function that unpickles references to these functions, and plain data.

    :param names: each as ``module:qualname``
    """
    allowed = _DATA | {*names}

    class Unpickler(_InPython):  # type: ignore[misc]  # it has no type information
        """Looks up only what is on the list, and changes no existing object."""

        dispatch = _InPython.dispatch.copy()

        def find_class(self, module: str, name: str) -> Any:
            """
            Look up a reference.

            :raises UnpicklingError: if it is not on the list
            """
            stand_in = _STAND_INS.get(f"{module.replace('numpy._core', 'numpy.core')}:{name}")
            if stand_in is not None:
                return stand_in
            if f"{module}:{name}" not in allowed and not _is_exception(module, name):
                raise pickle.UnpicklingError(f"{module}:{name} is not on this peer's list (woolexec serve --allow)")
            return super().find_class(module, name)

        def load_build(self) -> None:
            """
            Set the state of the object on top of the stack.

            :raises UnpicklingError: if that is anything but a stand-in of ours
            """
            state = self.stack.pop()
            target = self.stack[-1]
            if type(target) is not _Dtype:
                raise pickle.UnpicklingError(f"setting state of {type(target).__name__} is not allowed on this peer")
            target.set_state(state)

        dispatch[pickle.BUILD[0]] = load_build

    def load(data: Any, *, buffers: Any = None) -> Any:
        return Unpickler(io.BytesIO(data), buffers=buffers).load()

    return load


def _is_exception(module: str, name: str) -> bool:
    if module not in _EXCEPTIONS:
        return False
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


class _Dtype:
    """A stand-in for an element type while it is unpickled."""

    def __init__(self, text: object, *_: object) -> None:
        self._text, self._order = str(text), "="

    def set_state(self, state: Any) -> None:
        """Store the byte order; the rest of the state matters only for types with fields."""
        if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|")):
            raise pickle.UnpicklingError("invalid state for the element type of an array")
        self._order = state[1]

    def make(self) -> Any:
        """
        Create the numpy element type.

        :raises UnpicklingError: if its elements are not numbers or text
        """
        import numpy as np

        dtype = np.dtype(self._text)
        if dtype.kind not in _KINDS or dtype.hasobject:
            raise pickle.UnpicklingError(f"arrays of {self._text} are not allowed on this peer, only numbers and text")
        return dtype if self._order in "=|" else dtype.newbyteorder(self._order)  # type: ignore[arg-type]


def _array(buffer: Any, dtype: Any, shape: Any, order: Any, *_: object) -> Any:
    import numpy as np

    return np.frombuffer(buffer, dtype=_checked(dtype)).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    import numpy as np

    return np.frombuffer(data, dtype=_checked(dtype), count=1)[0]


def _checked(dtype: Any) -> Any:
    if type(dtype) is not _Dtype:
        raise pickle.UnpicklingError("array without an element type")
    return dtype.make()


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy:dtype": _Dtype,
    "numpy.core.multiarray:scalar": _scalar,
    "numpy.core.numeric:_frombuffer": _array,
}
