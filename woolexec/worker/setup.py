"""
The setup that an executor in another process sends with its functions: the code that they need, and its initializer.

Such an executor sends each function wrapped in the setup.  Unpickling one makes the code importable and runs the
initializer, unless this worker has already done so.  The nested tasks of such a function are wrapped in the same setup,
wherever they run.
"""

from __future__ import annotations

import threading

from woolexec.wire import unpickling
from woolexec.wire.payload import Parts
from woolexec.wire.pickling import dumps_inline
from woolexec.wire.unpickling import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Setup:
    """
    The code and the initializer that are sent with functions.

    :param code: for each code archive the name of its module and its digest
    :param initializer: the pickled initializer and its arguments: body and buffers; empty: there is no initializer
    :param key: identifies the executor whose initializer it is
    :param timeout: seconds that the initializer may take; None: no limit
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
        """Digests of the archives that must be on the host where this is unpickled."""
        return tuple(digest for _, digest in self.code)

    def wrap(self, function: Sequence[Any]) -> bytes:
        """
        Wrap a function in this setup.

        :param function: the pickled function: body and buffers
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

    :param fail: reports that the call cannot be run; called in another thread, before this process ends
    :param needs: the payloads of the large globals that the function names
    :return: the function and the setup in which it was wrapped, None if there was none
    :raises Exception: what unpickling it raised
    """
    _loading.fail, _loading.found = fail, None
    try:
        if needs:
            from woolexec.wire import main_module

            function = main_module.load(payload, needs)
        else:
            function = loads(payload)
        unpickling.check_function(function)
        return function, _loading.found
    finally:
        _loading.fail = _loading.found = None


def _unwrap(setup: Setup, function: list[bytes]) -> Any:
    """
    Make the code importable, run the initializer, and return the function.

    :raises ModuleNotFoundError: if an archive was not sent to this host
    :raises InitializerError: if the initializer raised, now or before
    """
    if setup.code:
        from woolexec.worker import code_import

        code_import.use(setup.code)
    if setup.initializer:
        from woolexec.worker import initializer

        initializer.run(setup, _loading.fail)
    loaded = loads(Parts(function))
    _loading.found = setup
    return loaded
