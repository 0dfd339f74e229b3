"""
Plain data in a pickle: numbers, text, bytes, containers, dates, paths, numpy and Arrow arrays.

A reference to a function or class that creates plain data is not looked up: a constructor of ours replaces it, which
checks its arguments.  The exceptions of Python and woolexec are looked up, as classes.
"""

from __future__ import annotations

import pickle
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from woolexec.wire import plain_arrow

if TYPE_CHECKING:
    from collections.abc import Callable

_SAME = {
    **{f"builtins:{name}": "builtins" for name in ("complex", "frozenset", "range", "set", "slice")},
    **{f"collections:{name}": "collections" for name in ("Counter", "OrderedDict", "deque")},
    **{f"datetime:{name}": "datetime" for name in ("date", "datetime", "time", "timedelta", "timezone")},
    **{
        f"{module}:{name}": "pathlib"
        for module in ("pathlib", "pathlib._local")  # from Python 3.13 on
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")
    },
    "decimal:Decimal": "decimal",
    "fractions:Fraction": "fractions",
}
"""Classes whose arguments need no check, with their modules."""

EXCEPTIONS = frozenset(
    {"builtins", "_pickle", "concurrent.futures._base", "concurrent.futures.process", "woolexec.errors"}
)
"""Modules whose exceptions count as data."""

_KINDS = frozenset("biufcSUmM")
"""Allowed element types of arrays, as `numpy.dtype.kind`: none with objects or fields."""


class Constructor:
    """
    Creates plain data while a pickle is read, in place of the class or function that the pickle names.

    :param make: called with the arguments in the pickle
    """

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *args: Any) -> Any:
        """Create the object."""
        return self.make(*args)


_made: dict[str, Constructor] = {}


def find(module: str, name: str) -> Any:
    """Return the replacement for a reference in a pickle; None if the reference does not create plain data."""
    key = f"{module.replace('numpy._core', 'numpy.core')}:{name}"
    constructor = _made.get(key)
    if constructor is not None:
        return constructor
    make = _CHECKED.get(key)
    if make is None and key in _SAME:
        make = getattr(import_module(_SAME[key]), name)
    if make is not None:
        return _made.setdefault(key, Constructor(make))
    return exception_class(module, name)


def exception_class(module: str, name: str) -> type[BaseException] | None:
    """Return an exception class of Python or woolexec by its name; None if it is something else."""
    if module not in EXCEPTIONS:
        return None
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _bytes(data: Any = b"") -> bytes:
    return bytes(_buffer(data))


def _bytearray(data: Any = b"") -> bytearray:
    return bytearray(_buffer(data))


def _buffer(data: Any) -> Any:
    if not isinstance(data, bytes | bytearray | memoryview | pickle.PickleBuffer):  # a number would be a size
        raise pickle.UnpicklingError(f"bytes made from {type(data).__name__} are not allowed")
    return data


def _error(cls: Any, args: Any, state: Any) -> BaseException:
    """Make an exception of woolexec; see `base_error.rebuild`."""
    found = exception_class(cls.__module__, cls.__qualname__) if isinstance(cls, type) else None
    if found is None or found is not cls:
        raise pickle.UnpicklingError("only exceptions of Python and woolexec are plain data")
    error = found(*args)
    error.__dict__.update({str(name): value for name, value in state.items()})
    return error


class Dtype:
    """A stand-in for an element type while it is unpickled."""

    __slots__ = ("_order", "_text", "_unit")

    def __init__(self, text: object, *_: object) -> None:
        self._text, self._order, self._unit = str(text), "=", ""

    def __setstate__(self, state: Any) -> None:
        """Store the byte order and the unit of dates; the rest of the state matters only for types with fields."""
        if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|")):
            raise pickle.UnpicklingError("invalid state for the element type of an array")
        self._order = state[1]
        if self._text in ("M8", "m8") and len(state) == 9:  # the last is (metadata, (unit, number, ...))
            unit, number, *_ = state[8][1]
            self._unit = f"[{int(number)}{bytes(unit).decode()}]"

    def make(self) -> Any:
        """
        Create the numpy element type.

        :raises UnpicklingError: if its elements are not numbers, text or dates
        """
        import numpy as np

        dtype = np.dtype(self._text + self._unit)
        if dtype.kind not in _KINDS or dtype.hasobject:
            raise pickle.UnpicklingError(f"arrays of {self._text} are not allowed, only numbers, text and dates")
        return dtype if self._order in "=|" else dtype.newbyteorder(self._order)  # type: ignore[arg-type]


class Shell:
    """A stand-in for an array that is not contiguous, until its state has been read."""

    __slots__ = ("array",)

    def __init__(self, *_: object) -> None:
        self.array: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _array(_bytearray(data), dtype, shape, "F" if is_fortran else "C")


def _array(buffer: Any, dtype: Any, shape: Any, order: Any, *_: object) -> Any:
    import numpy as np

    return np.frombuffer(_buffer(buffer), dtype=_checked(dtype)).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    import numpy as np

    return np.frombuffer(_buffer(data), dtype=_checked(dtype), count=1)[0]


def _checked(dtype: Any) -> Any:
    if type(dtype) is not Dtype:
        raise pickle.UnpicklingError("array without an element type")
    return dtype.make()


def _ndarray(*_: object) -> Any:
    raise pickle.UnpicklingError("numpy:ndarray is not called in pickles of arrays")


_CHECKED: dict[str, Callable[..., Any]] = {
    "builtins:bytearray": _bytearray,
    "builtins:bytes": _bytes,
    "numpy:dtype": Dtype,
    "numpy:ndarray": _ndarray,
    "numpy.core.multiarray:_reconstruct": Shell,
    "numpy.core.multiarray:scalar": _scalar,
    "numpy.core.numeric:_frombuffer": _array,
    "woolexec.base_error:rebuild": _error,
    **plain_arrow.CONSTRUCTORS,
}
"""Functions that check their arguments, by the reference that they replace."""
