"""What is known of an object before it is pickled, by a look at the first objects in it."""

from __future__ import annotations

from functools import partial
from itertools import islice
from types import FunctionType, MethodType

from woolexec.wire import modules
from woolexec.wire.arrays import is_array, is_array_class
from woolexec.wire.tensors import is_tensor_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WALKED = 1 << 16
"""Minimum size, in bytes, of a pickle that has more than one frame."""

BULKY = 1
"""Large `bytes`, texts or data of arrays are part of its pickle: that is written in pieces, others faster in one."""

WITH_REDUCERS = 2
"""Its own reducer would copy its data, and ours does not."""

BY_VALUE = 4
"""It is of a module that travels by value."""


_OF_POLARS = "polars."
"""What the modules of classes begin with that make one `bytes` of all their data when they are pickled."""


def nature_of(obj: Any, depth: int = 4) -> int:
    """Return what is known of an object, and of the first objects in it, as a sum of the constants above."""
    cls: Any = type(obj)
    if cls is tuple or cls is list:
        found = 0
        for each in obj[: 3 if cls is tuple else 1] if depth else ():
            found |= nature_of(each, depth - 1)
        return found
    if cls is dict:
        for value in islice(obj.values(), 1) if depth else ():
            return nature_of(value, depth - 1)
        return 0
    if cls is str or cls is bytes or cls is bytearray:
        return BULKY if len(obj) >= WALKED else 0
    if cls is partial or cls is MethodType:
        return nature_of(obj.func if cls is partial else obj.__self__, depth - 1) if depth else 0
    module: Any = (obj if cls is FunctionType else cls).__module__
    if type(module) is str and modules.comes_by_value(module):
        return BY_VALUE
    if is_array_class(cls):
        return BULKY if not is_array(obj) and obj.nbytes >= WALKED else 0
    if type(module) is str and module.startswith(_OF_POLARS):
        return BULKY
    return WITH_REDUCERS if is_tensor_class(cls) else 0
