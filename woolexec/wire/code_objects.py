"""
Code objects that travel by value, with their file name, line numbers and source.

So tracebacks, log records, warnings and `inspect` show the same in a worker as where the function was defined.  The
source lines of a function travel with it, taken from `linecache`: the worker may not have the file (a peer), and there
is no file for code that was typed (a notebook, a REPL).  If the worker has the same file, judged by its size and
modification time, it reads that.
"""

from __future__ import annotations

import dis
import linecache
import os
import threading
import zlib
from functools import partial
from types import CodeType
from weakref import WeakKeyDictionary, ref

from woolexec.platform.posix import renewed_at_fork
from woolexec.wire import unpickling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Stat = tuple[int, float]
    Segment = tuple[int, str | bytes, Stat | None, bool]
    """First line number, source lines, size and time of the file, and whether the lines belong to this code alone."""

_PLAIN = 1 << 10
"""Source up to this size, in characters, is not compressed."""

_LONGEST = 10_000
"""Maximum number of lines that travel with one function."""

_segments: dict[int, tuple[ref[CodeType], Segment | None]] = {}
"""Segments found in `linecache`, by the `id` of the code object: equal code may come from several files."""

_arrived: dict[str, dict[int, str | bytes]] = {}
"""The source lines received, by file and first line."""

_arriving = renewed_at_fork(threading.Lock())
"""Guards merging lines into `linecache.cache`."""


def reduce(code: CodeType, sent: dict[str, list[range]]) -> tuple[Any, ...]:
    """
    Reduce a code object.

    :param sent: the lines that this pickle already contains, by file
    """
    segment = find(code, None)
    if segment is not None and not segment[3]:
        ranges = sent.setdefault(code.co_filename, [])
        if any(code.co_firstlineno in lines for lines in ranges):  # sent with the enclosing code
            segment = None
        else:
            ranges.append(range(segment[0], _end(code) + 1))
    return make, (
        segment,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_nlocals,
        code.co_stacksize,
        code.co_flags,
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_filename,
        code.co_name,
        code.co_qualname,
        code.co_firstlineno,
        code.co_linetable,
        code.co_exceptiontable,
        code.co_freevars,
        code.co_cellvars,
    )


def make(segment: Segment | None, *parts: Any) -> CodeType:
    """Create a code object from its parts, and register its source lines."""
    code = CodeType(*parts)
    if segment is not None:
        start, text, stat, alone = segment
        if alone:
            _keep_alone(code, text)
        elif _arrived.get(code.co_filename, {}).get(start) != text:
            _keep(code.co_filename, start, text, stat)
    return code


_class_names: WeakKeyDictionary[CodeType, tuple[str, ...]] = WeakKeyDictionary()


def names_in_classes(code: CodeType) -> tuple[str, ...]:
    """Return the names that class bodies in this code load; they may be globals, which cloudpickle misses."""
    names = _class_names.get(code)
    if names is None:
        inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        found = {name for each in inner for name in names_in_classes(each)}
        for each in inner:
            found.update(op.argval for op in dis.get_instructions(each) if op.opname in _LOADS)
        names = _class_names[code] = tuple(sorted(found))
    return names


_LOADS = ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


# -- in the sender ----------------------------------------------------------------------------------------------------


def find(code: CodeType, namespace: dict[str, Any] | None) -> Segment | None:
    """
    Find the source of a code object in `linecache`.

    :param namespace: the function's globals, whose loader may provide the source
    """
    key = id(code)
    known = _segments.get(key)
    if known is None or known[0]() is not code:
        try:
            segment = _find(code, namespace)
        except Exception:  # raised by a loader, or by a replacement for a part of `linecache`
            segment = None
        known = _segments[key] = ref(code, partial(_forget, key)), segment
    return known[1]


def _forget(key: int, _: object, pop: Any = _segments.pop) -> None:
    pop(key, None)


def _find(code: CodeType, namespace: dict[str, Any] | None) -> Segment | None:
    filename, start = code.co_filename, code.co_firstlineno
    if not filename.startswith("<frozen "):
        lines = linecache.getlines(filename) or linecache.getlines(filename, namespace)
    alone = False
    if not lines:  # code that was typed or given with -c, on Python 3.14 and later
        of_code: dict[Any, Any] = getattr(linecache, "_interactive_cache", {})
        entry = of_code.get((filename, code.co_qualname, start), (0, None, [], ""))
        lines, alone = entry[2], True
    end = min(_end(code), start + _LONGEST, len(lines))
    if not 1 <= start <= end:
        return None
    text = "".join(lines[start - 1 : end])
    cached: Any = linecache.cache.get(filename, ())
    stat = (cached[0], cached[1]) if len(cached) > 1 and cached[1] is not None else None
    if len(text) > _PLAIN:
        return start, zlib.compress(text.encode(errors="surrogatepass"), 1), stat, alone
    return start, text, stat, alone


def _end(code: CodeType) -> int:
    """Return the number of the last line of code."""
    end = code.co_firstlineno
    for _, last, _, _ in code.co_positions():
        if last is not None and last > end:
            end = last
    for _, _, line in code.co_lines():  # the only source of lines under -X no_debug_ranges
        if line is not None and line > end:
            end = line
    return max([end, *(_end(constant) for constant in code.co_consts if isinstance(constant, CodeType))])


# -- in the receiver --------------------------------------------------------------------------------------------------


def _keep(filename: str, start: int, text: str | bytes, stat: Stat | None) -> None:
    """Add lines to `linecache`, unless Python would find them without it."""
    with _arriving:
        cached = filename in linecache.cache and filename not in _arrived
        try:
            here = os.stat(filename)
        except (OSError, ValueError):
            here = None
        if (here is not None and stat == (here.st_size, here.st_mtime)) or (
            not unpickling.is_worker and (cached or here is not None)
        ):
            lines = None  # the file is available here
        else:
            lines = [*linecache.getlines(filename)]
        of_file = _arrived.setdefault(filename, {})
        of_file[start] = text
        if lines is None:
            return
        segment = _lines(text)
        lines += ["\n"] * (start + len(segment) - 1 - len(lines))
        lines[start - 1 : start - 1 + len(segment)] = segment
        # An entry without a time stays valid, regardless of the file on disk.
        linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)


def _keep_alone(code: CodeType, text: str | bytes) -> None:
    """Add lines to the cache for this code object alone: other code has the same file name."""
    of_code: dict[Any, Any] | None = getattr(linecache, "_interactive_cache", None)
    if of_code is None:
        return
    lines = ["\n"] * (code.co_firstlineno - 1) + _lines(text)
    entry = (sum(map(len, lines)), None, lines, code.co_filename)
    pending = [code]
    while pending:
        one = pending.pop()
        of_code[one.co_filename, one.co_qualname, one.co_firstlineno] = entry
        pending += [constant for constant in one.co_consts if isinstance(constant, CodeType)]


def _lines(text: str | bytes) -> list[str]:
    if isinstance(text, bytes):
        text = zlib.decompress(text).decode(errors="surrogatepass")
    return text.splitlines(keepends=True)
