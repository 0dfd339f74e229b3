"""
The initializer of an executor in another process, for workers that run tasks of several executors.

Such an executor sends its functions with its initializer wrapped around them.  The first of them that a worker
unpickles runs it; if it fails there, so does every call of that executor there.
"""

from __future__ import annotations

import os
import threading

from woolexec.errors import InitializerError
from woolexec.wire.payload import Parts
from woolexec.wire.pickling import dumps_inline, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_run: dict[bytes, InitializerError | None] = {}
_running = threading.RLock()  # guards `_run`; an initializer may itself load what is wrapped


def wrap(key: bytes, initializer: Sequence[Any], function: Sequence[Any]) -> bytes:
    """
    Wrap an initializer around a function.

    :param key: of the executor
    :param initializer: pickled, with its arguments: body and buffers
    :param function: the same of the function
    """
    return dumps_inline(_Wrapped(key, [bytes(part) for part in initializer], [bytes(part) for part in function]))


class _Wrapped:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _unwrap, self._parts


def _unwrap(key: bytes, initializer: list[bytes], function: list[bytes]) -> Any:
    """
    Run the initializer, unless that has been done; return the function.

    :raises InitializerError: if the initializer raised, now or before
    """
    with _running:
        if key not in _run:
            _run[key] = None  # also while it runs: for what it loads itself
            try:
                call, arguments = loads(Parts(initializer))
                call(*arguments)
            except (KeyboardInterrupt, SystemExit):  # of the call that happened to come first
                del _run[key]
                raise
            except BaseException as exc:  # user code
                where = f"worker {os.getpid()} on {os.uname().nodename}"
                failure = InitializerError(f"the initializer raised {type(exc).__name__} in {where}: {exc}")
                failure.__cause__ = exc
                _run[key] = failure
        failure = _run[key]  # type: ignore[assignment]  # None, if all went well
        if failure is not None:
            raise failure
    return loads(Parts(function))
