"""Run the initializers of executors in other processes, in workers that run tasks of several executors."""

from __future__ import annotations

import os
import threading

from woolexec import errors
from woolexec.platform.posix import renewed_at_fork
from woolexec.wire.exceptions import add_note, here
from woolexec.wire.payload import Parts
from woolexec.wire.unpickling import loads
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Setup(Protocol):
        """The part of `woolexec.worker.setup.Setup` that this module uses."""

        initializer: tuple[bytes, ...]
        key: bytes
        timeout: float | None


_run: dict[bytes, errors.InitializerError | None] = {}
_running = renewed_at_fork(threading.RLock())  # guards `_run`; an initializer may itself unpickle wrapped functions


def run_both(
    on_worker_start: Callable[[], object], initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    """Run an executor's `on_worker_start`, then its initializer."""
    try:
        on_worker_start()
    except BaseException as exc:
        add_note(exc, "while on_worker_start ran")
        raise
    if initializer is not None:
        initializer(*initargs)


def run(setup: Setup, fail: Callable[[BaseException], object] | None) -> None:
    """
    Run an initializer, unless it has already run in this worker.

    :param fail: reports that the call cannot be run; called before the worker ends if the initializer takes too long
    :raises InitializerError: if the initializer raised, now or before
    """
    with _running:
        if setup.key not in _run:
            _run[setup.key] = None  # set while it runs, so that what it unpickles does not run it again
            try:
                _run_once(setup, fail)
            except (KeyboardInterrupt, SystemExit):  # meant for the call that happened to be first
                del _run[setup.key]
                raise
            except BaseException as exc:  # user code
                failure = errors.InitializerError(f"the initializer raised {type(exc).__name__} in {here()}: {exc}")
                failure.__cause__ = exc
                _run[setup.key] = failure
        known = _run[setup.key]
        if known is not None:  # each call gets its own exception, because notes are added to it
            raise errors.InitializerError(str(known)) from known.__cause__


def _run_once(setup: Setup, fail: Callable[[BaseException], object] | None) -> None:
    over = threading.Lock()  # acquired by the first of these events: the initializer's end or the timeout

    def give_up() -> None:
        if over.acquire(blocking=False):
            assert fail is not None
            fail(errors.InitializerError(f"the initializer ran longer than {setup.timeout:g} s in {here()}"))
            nested_tasks.flush()
            os._exit(1)

    function, arguments = loads(Parts(setup.initializer))
    if setup.timeout is None or fail is None:
        function(*arguments)
        return
    timer = threading.Timer(setup.timeout, give_up)
    timer.name = "woolexec-initializer-timeout"
    timer.daemon = True
    timer.start()
    try:
        function(*arguments)
    finally:
        over.acquire(blocking=False)
        timer.cancel()
