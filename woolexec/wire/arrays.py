"""numpy's arrays in pickles: those that are not writable here arrive writable, as from protocol 4."""

from __future__ import annotations

import sys

from woolexec.wire.payload import APART

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_array(obj: object) -> bool:
    """Say whether this is one of numpy's arrays."""
    cls = type(obj)  # objects may say anything of their class
    return cls.__name__ == "ndarray" and cls.__module__ == "numpy"


def reduce(array: Any) -> Any:
    """Reduce an array; as one that is writable."""
    flags = array.flags
    if flags.writeable or array.dtype.hasobject or not array.nbytes or not (flags.c_contiguous or flags.f_contiguous):
        return array.__reduce_ex__(5)  # writable there by itself
    numpy = sys.modules["numpy"]
    memory = numpy.asarray(_Memory(array))
    writable = numpy.ndarray(array.shape, array.dtype, memory, order="C" if flags.c_contiguous else "F")
    return writable.__reduce_ex__(5)


_KINDS = "?biufc"
"""Kinds of elements, as `numpy.dtype.kind`, whose memory numpy exports."""


def is_array_class(cls: type) -> bool:
    """Say whether instances of this class are numpy's arrays."""
    ndarray: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
    return ndarray is not None and issubclass(cls, ndarray)


def reduce_of_subclass(array: Any) -> Any:
    """Reduce an array of a subclass that leaves pickling to numpy, so that its memory leaves the pickle."""
    own: Any = sys.modules["numpy"].ndarray
    cls = type(array)
    if any(getattr(cls, name) is not getattr(own, name) for name in ("__reduce__", "__reduce_ex__", "__setstate__")):
        return NotImplemented
    plain = own.view(array, own)
    if plain.nbytes < APART or plain.dtype.kind not in _KINDS:
        return NotImplemented
    return (rebuild, (cls, plain)) if plain.flags.c_contiguous or plain.flags.f_contiguous else NotImplemented


def rebuild(cls: Any, array: Any) -> Any:
    """Make an array of a subclass as unpickling makes it: ``__array_finalize__`` is given None."""
    order = "C" if array.flags.c_contiguous else "F"
    return sys.modules["numpy"].ndarray.__new__(cls, array.shape, array.dtype, array, 0, None, order)


class _Memory:
    """The memory of an array, for numpy, which is told that one may write there.  Nobody does: it is only read."""

    def __init__(self, array: Any) -> None:
        self.array = array  # it is to live as long as this
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (array.nbytes,),
            "data": (array.__array_interface__["data"][0], False),
        }
