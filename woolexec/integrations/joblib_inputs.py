"""Large arguments of joblib's tasks: each is `put` once, instead of being written to a file that is mapped."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from woolexec.errors import StoreFullError
from woolexec.imported import imported

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from woolexec.api.base_executor import BaseExecutor
    from woolexec.integrations.joblib_tasks import Item


class LargeArguments:
    """
    The large arguments of one call of `Parallel`.

    A value is put in its state at its first use, and freed when it is collected here and no task needs it.

    :param least: size in bytes from which an argument is large; None: no argument is
    :param as_file: returns a substitute for an array that is mapped from a file, None for any other value
    :param is_read_only: arrays arrive read-only, like those that joblib maps, because tasks of one batch share them
    """

    def __init__(
        self,
        executor: BaseExecutor,
        least: int | None,
        as_file: Callable[[Any], object | None] | None,
        *,
        is_read_only: bool = False,
    ) -> None:
        self._executor = executor
        self._least = least
        self._as_file = as_file
        self._is_read_only = is_read_only
        self._known: dict[int, tuple[weakref.ref[Any], Future[Any]]] = {}

    def replace_in(self, items: list[Item]) -> list[Item]:
        """Return a batch with its large arguments replaced; the batch itself if all arguments are small."""
        for _, args, kwargs in items:
            if kwargs or not _SMALL.issuperset(map(type, args)):
                break
        else:
            return items
        put = self.replace
        return [
            (fn, [put(each) for each in args], {name: put(kwargs[name]) for name in kwargs})
            for fn, args, kwargs in items
        ]

    def replace(self, value: Any) -> Any:
        """Return the substitute of an argument, or the argument itself."""
        if type(value) in _SMALL:
            return value
        mapped = None if self._as_file is None else self._as_file(value)
        if mapped is not None:
            return mapped
        if self._least is None or size_of(value) < self._least:
            return value
        known = self._known.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        try:
            reference = weakref.ref(value, self._forget)
            future = self._executor.put(_read_only(value) if self._is_read_only else value)
        except (TypeError, StoreFullError):  # no weak reference possible, or no room: it is sent with each task
            return value
        self._known[id(value)] = reference, future
        return future

    def _forget(self, reference: weakref.ref[Any]) -> None:
        for key, known in list(self._known.items()):
            if known[0] is reference:
                self._known.pop(key, None)


def _read_only(value: Any) -> Any:
    """Return a read-only view of an array; any other value unchanged."""
    if not (hasattr(value, "setflags") and hasattr(value, "view")):
        return value
    view = value.view()
    view.setflags(write=False)
    return view


_SMALL = frozenset({bool, int, float, complex, str, type(None), list, tuple, dict, set})


def size_of(value: Any) -> int:
    """Return the size in bytes of an array, a table, a sparse matrix or bytes, as far as it is known at once."""
    if isinstance(value, bytes | bytearray):
        return len(value)
    pandas = imported("pandas")
    try:
        if pandas is not None and isinstance(value, pandas.DataFrame):
            return int(value.memory_usage().sum())
        for each in (value, getattr(value, "data", None)):  # that of a sparse matrix is an array
            size = getattr(each, "nbytes", None)
            if isinstance(size, int):
                return size
        estimate = getattr(value, "estimated_size", None)  # of polars
        return int(estimate()) if callable(estimate) and not isinstance(value, type) else 0
    except Exception:  # user code
        return 0
