"""
What an executor in another process sends around its functions: the code that they need, and its initializer.

Such an executor sends its functions wrapped.  Unpickling one makes the code importable and runs the initializer, unless
that has been done in this worker.  The tasks that such a function submits are wrapped in the same, wherever they go.
"""

from __future__ import annotations

import threading

from woolexec.wire.payload import Parts
from woolexec.wire.pickling import dumps_inline, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Setup:
    """
    What is sent around functions.

    :param code: of each archive the name of its module, and its digest
    :param initializer: pickled, with its arguments: body and buffers; none: there is no initializer
    :param key: of the executor whose initializer it is
    :param timeout: seconds that the initializer may take; None: as long as it likes
    """

    __slots__ = ("code", "initializer", "key", "timeout")

    def __init__(
        self,
        code: Sequence[tuple[str, str]],
        initializer: Sequence[Any] = (),
        key: bytes = b"",
        timeout: float | None = None,
    ) -> None:
        self.code = tuple(code)
        self.initializer = tuple(bytes(part) for part in initializer)
        self.key = key
        self.timeout = timeout

    def __reduce__(self) -> tuple[Any, ...]:
        return Setup, (self.code, self.initializer, self.key, self.timeout)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the archives that whoever unpickles this must have."""
        return tuple(digest for _, digest in self.code)

    def wrap(self, function: Sequence[Any]) -> bytes:
        """
        Wrap this around a function.

        :param function: pickled: body and buffers
        """
        return dumps_inline(_Wrapped(self, [bytes(part) for part in function]))


class _Wrapped:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _unwrap, self._parts


class _Loading(threading.local):
    fail: Callable[[BaseException], object] | None = None
    found: Setup | None = None


_loading = _Loading()


def load(
    payload: Any, fail: Callable[[BaseException], object], needs: Sequence[Any] = ()
) -> tuple[Callable[..., Any], Setup | None]:
    """
    Unpickle a function.

    :param needs: the payloads of the large globals that it names

    :param fail: says that the call cannot be run, from another thread, before this process ends
    :return: it, and what was around it
    :raises Exception: what unpickling it raised
    """
    _loading.fail, _loading.found = fail, None
    try:
        if needs:
            from woolexec.wire import main_module

            return main_module.load(payload, needs), _loading.found
        return loads(payload), _loading.found
    finally:
        _loading.fail = _loading.found = None


def _unwrap(setup: Setup, function: list[bytes]) -> Any:
    """
    Make the code importable, run the initializer, and return the function.

    :raises ModuleNotFoundError: if an archive has not come to this host
    :raises InitializerError: if the initializer raised, now or before
    """
    if setup.code:
        from woolexec.worker import code_import

        code_import.use(setup.code)
    if setup.initializer:
        from woolexec.worker import initializer as initialized

        initialized.run(setup, _loading.fail)
    loaded = loads(Parts(function))
    _loading.found = setup
    return loaded
