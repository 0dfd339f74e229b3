"""
Arrow arrays, batches and tables as plain data in pickles.

pyarrow's own unpickling functions accept any buffers, and might read past their ends.  Here an array is made by
``Array.from_buffers`` and fully validated, with its offsets and indices, before it is read.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


_MOST = 1 << 48
"""Upper bound of lengths and offsets, in elements: more than fits into memory, but too small to overflow in bytes."""


def _arrow() -> Any:
    return import_module("pyarrow")


def _array(data: Any) -> Any:
    kind, length, null_count, offset, buffers, children, dictionary = data
    if not all(type(number) is int for number in (length, null_count, offset)):
        raise pickle.UnpicklingError("an Arrow array has a length, offset or number of nulls that is no integer")
    if not (0 <= length < _MOST and 0 <= offset < _MOST and -1 <= null_count <= length):  # Arrow takes negative ones
        raise pickle.UnpicklingError("an Arrow array has an impossible length, offset or number of nulls")
    arrow = _arrow()
    if type(kind) is arrow.DictionaryType:
        indices = arrow.Array.from_buffers(kind.index_type, length, buffers, null_count, offset)
        indices.validate(full=True)
        made = arrow.DictionaryArray.from_arrays(indices, _array(dictionary), ordered=kind.ordered)
    else:
        parts = [_array(child) for child in children] or None
        made = arrow.Array.from_buffers(kind, length, buffers, null_count, offset, parts)
    return _validated(made)


def _validated(made: Any) -> Any:
    made.validate(full=True)
    return made


def _buffer(data: Any) -> Any:
    if not isinstance(data, bytes | bytearray | memoryview | pickle.PickleBuffer):
        raise pickle.UnpicklingError(f"a buffer made from {type(data).__name__} is not allowed")
    return _arrow().py_buffer(data)


def _chunked(chunks: Any, kind: Any) -> Any:
    return _validated(_arrow().chunked_array(_arrays(chunks), kind))


def _table(columns: Any, schema: Any) -> Any:
    return _validated(_arrow().Table.from_arrays(_arrays(columns), schema=schema))


def _batch(columns: Any, schema: Any, metadata: Any = None) -> Any:
    made = _validated(_arrow().RecordBatch.from_arrays(_arrays(columns), schema=schema))
    return made if metadata is None else made.replace_schema_metadata(metadata)


def _arrays(given: Any) -> list[Any]:
    arrow = _arrow()
    if not all(isinstance(each, arrow.Array | arrow.ChunkedArray) for each in given):
        raise pickle.UnpicklingError("a table consists of something other than arrays")
    return list(given)


def _named(name: str) -> Callable[..., Any]:
    def make(*args: Any) -> Any:
        return getattr(_arrow(), name)(*args)

    return make


_TYPES = (
    "binary",
    "decimal128",
    "decimal256",
    "dictionary",
    "duration",
    "field",
    "large_list",
    "list_",
    "map_",
    "schema",
    "struct",
    "time32",
    "time64",
    "timestamp",
    "type_for_alias",
)
"""Functions of pyarrow that make types from types, names and numbers."""

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "pyarrow.lib:_reconstruct_record_batch": _batch,
    "pyarrow.lib:_reconstruct_table": _table,
    "pyarrow.lib:_restore_array": _array,
    "pyarrow.lib:chunked_array": _chunked,
    "pyarrow.lib:py_buffer": _buffer,
    **{f"pyarrow.lib:{name}": _named(name) for name in _TYPES},
}
"""Replacements for pyarrow's functions, by their references in pickles."""
