"""Pickling of numpy arrays: read-only arrays arrive writable, as they do with pickle protocol 4."""

from __future__ import annotations

import sys

from woolexec.wire.payload import APART

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_array(obj: object) -> bool:
    """Return whether an object is a numpy array, and not an instance of a subclass."""
    cls = type(obj)  # not `__class__`, which an object can override
    return cls.__name__ == "ndarray" and cls.__module__ == "numpy"


def is_small(obj: Any) -> bool:
    """Return whether an object is a writable array of numbers, small enough to be pickled in band."""
    return is_array(obj) and obj.nbytes < APART and obj.dtype.kind in _KINDS and obj.flags.writeable


def reduce(array: Any) -> Any:
    """Reduce an array so that it arrives writable."""
    flags = array.flags
    if flags.writeable or array.dtype.hasobject or not array.nbytes or not (flags.c_contiguous or flags.f_contiguous):
        return array.__reduce_ex__(5)  # it arrives writable without our help
    numpy = sys.modules["numpy"]
    memory = numpy.asarray(_Memory(array))
    writable = numpy.ndarray(array.shape, array.dtype, memory, order="C" if flags.c_contiguous else "F")
    return writable.__reduce_ex__(5)


_KINDS = "?biufc"
"""Element types whose memory numpy exports as a buffer, as `numpy.dtype.kind`."""


def is_array_class(cls: type) -> bool:
    """Return whether a class is `numpy.ndarray` or a subclass."""
    ndarray: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
    return ndarray is not None and issubclass(cls, ndarray)


def reduce_of_subclass(array: Any) -> Any:
    """Reduce an array of a subclass that does not customize pickling, so that its memory is pickled out of band."""
    own: Any = sys.modules["numpy"].ndarray
    cls = type(array)
    if any(getattr(cls, name) is not getattr(own, name) for name in ("__reduce__", "__reduce_ex__", "__setstate__")):
        return NotImplemented
    plain = own.view(array, own)
    if plain.nbytes < APART or plain.dtype.kind not in _KINDS:
        return NotImplemented
    return (rebuild, (cls, plain)) if plain.flags.c_contiguous or plain.flags.f_contiguous else NotImplemented


def rebuild(cls: Any, array: Any) -> Any:
    """Create an array of a subclass as unpickling does: ``__array_finalize__`` is given None."""
    order = "C" if array.flags.c_contiguous else "F"
    return sys.modules["numpy"].ndarray.__new__(cls, array.shape, array.dtype, array, 0, None, order)


class _Memory:
    """The memory of an array, declared writable to numpy.  Nothing writes to it: it is only read."""

    def __init__(self, array: Any) -> None:
        self.array = array  # keeps the memory alive
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (array.nbytes,),
            "data": (array.__array_interface__["data"][0], False),
        }
