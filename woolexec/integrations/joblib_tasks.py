"""
The functions that joblib's backend runs in workers.

A worker imports joblib only if a task does: that takes longer than starting the worker.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

from woolexec.worker.import_hooks import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Item = tuple[Callable[..., Any], Iterable[Any], Mapping[str, Any]]
    """A function, its arguments, and its keyword arguments: the return value of `joblib.delayed`."""


def run_batch(items: list[Item], nested: bytes) -> list[Any]:
    """
    Run the tasks of a batch.

    :param nested: the pickle of a function that returns a context manager, in which `Parallel` uses the pool that the
        batch runs in.  Unpickling it imports joblib
    """
    with contextlib.ExitStack() as stack:
        _enter_when_imported(lambda: stack.enter_context(pickle.loads(nested)()))
        try:
            return [fn(*args, **kwargs) for fn, args, kwargs in items]
        finally:
            _enter_when_imported(None)


_enter: Callable[[], object] | None = None
_is_watched = False


def _enter_when_imported(enter: Callable[[], object] | None) -> None:
    """Call `enter` now if joblib is imported, otherwise when it is, unless it was replaced by then."""
    global _enter, _is_watched  # batches run one after the other, in the main thread
    if "joblib.parallel" in sys.modules:
        _enter = None
        if enter is not None:
            enter()
        return
    _enter = enter
    if not _is_watched:
        _is_watched = True
        when_imported("joblib.parallel", lambda _: _enter and _enter())  # type: ignore[arg-type]  # the result is not used


def limit_threads(variables: dict[str, str], then: Callable[[], object] | None) -> None:
    """
    Limit the threads of numerical libraries, whether they are loaded already or later.

    :param variables: environment variables that these libraries read when they are loaded
    :param then: another function that each worker runs first
    """
    import os

    os.environ.update(variables)
    if "threadpoolctl" in sys.modules or "numpy" in sys.modules:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            pass
        else:
            threadpool_limits(int(variables["OMP_NUM_THREADS"]))
    if then is not None:
        then()
