"""Choose how to pickle an object, from its class and the first objects in it."""

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
"""Its pickle contains large `bytes`, strings or array data, so it is written in pieces; others are faster in one."""

WITH_REDUCERS = 2
"""Its own reducer would copy its data; ours does not."""

BY_VALUE = 4
"""It belongs to a module that travels by value."""


_OF_POLARS = "polars."
"""Prefix of the modules whose classes are pickled with all their data as one `bytes`."""


def nature_of(obj: Any, depth: int = 4) -> int:
    """Return which constants above apply to an object, or to the first objects in it, as their sum."""
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
