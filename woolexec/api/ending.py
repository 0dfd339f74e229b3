"""How an executor ends: by `shutdown`, with its block, or by force."""

from __future__ import annotations

import contextlib

from woolexec.api.options_view import EngineExecutor
from woolexec.api.pool_executor import ambient
from woolexec.checks import seconds
from woolexec.platform.posix import SIGKILL, SIGTERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    import weakref
    from contextvars import Token
    from typing import Any, Self

    from woolexec.engine.engine import Engine
    from woolexec.engine.process import WorkerProcess
    from woolexec.observe.dashboard import Dashboard


class EndingExecutor(EngineExecutor):
    """An executor that owns its engine."""

    _engine: Engine
    _finalizer: weakref.finalize[Any, Any]
    """Shuts the engine down when the executor is collected."""
    _page: Dashboard | None
    _outer: list[Token[Any]]
    """What was the current executor before each of its blocks."""

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002  # PEP 3148
        *,
        cancel_futures: bool = False,
        timeout: float | None = None,
    ) -> None:
        """
        Accept no more tasks, and end the workers when the accepted ones are done.

        :param wait: return when all tasks are done and every worker has ended; not in a done-callback, for which the
            executor itself waits
        :param cancel_futures: cancel every task that has not been started
        :param timeout: seconds to wait; then running tasks are ended by force, and waiting ones cancelled; None: no
            limit
        :raises TimeoutError: if tasks had to be ended by force
        :raises ValueError: if there is a timeout, and `wait` is false
        """
        timeout = seconds("timeout", timeout)
        if timeout is not None and not wait:
            raise ValueError("timeout needs wait=True")
        self._close(cancel=cancel_futures, wait=wait and timeout is None)
        if timeout is not None:
            self._engine.join(timeout)

    async def shutdown_async(self, *, cancel_futures: bool = False, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as `shutdown` has it
        """
        Like `shutdown`, without blocking the event loop; if the wait is cancelled, running tasks are interrupted.

        :param cancel_futures: cancel every task that has not been started
        :param timeout: seconds to wait; then running tasks are ended by force, and waiting ones cancelled; None: no
            limit
        :raises TimeoutError: if tasks had to be ended by force
        """
        from woolexec.futures.loop_waiters import join

        timeout = seconds("timeout", timeout)
        self._close(cancel=cancel_futures, wait=False)
        failed: list[TimeoutError] = []

        def wait() -> None:
            try:
                self._engine.join(timeout)
            except TimeoutError as exc:
                failed.append(exc)

        await join(wait, self._engine.interrupt)
        if failed:
            raise failed[0]

    def _close(self, *, cancel: bool, wait: bool) -> None:
        self._submission.close()
        self._finalizer.detach()
        self._engine.shutdown(wait=wait, cancel=cancel)
        self._submission.functions.clear()
        self._close_page()

    def _close_page(self) -> None:
        if self._page is not None:
            self._page.close()

    def __enter__(self) -> Self:
        self._outer.append(ambient.set(self))
        return self

    def _leave(self) -> None:
        """Stop being the block's current executor."""
        if self._outer:
            with contextlib.suppress(ValueError):  # the block was entered in another context
                ambient.reset(self._outer.pop())

    def _interrupt(self, error: object) -> None:
        """Cancel waiting tasks and interrupt running ones; after Ctrl-C note where these were."""
        try:
            self._engine.shutdown(wait=False, cancel=True)  # first: no task must start while stacks are read
            if isinstance(error, KeyboardInterrupt):
                from woolexec.api.stacks import note_what_runs

                note_what_runs(self._engine, error)
        finally:
            self._engine.interrupt()

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """
        Wait for all tasks, then shut down.

        After Ctrl-C tasks that have not been started are cancelled, and running tasks get a KeyboardInterrupt, as they
        do when workers belong to the terminal's process group.
        """
        self._leave()
        interrupted = exc_type is not None and issubclass(exc_type, KeyboardInterrupt)
        if interrupted:
            self._interrupt(exc_info[0])
        self.shutdown(wait=True)  # like the standard library: a subclass may take no other parameters

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """
        Wait for all tasks, then shut down, without blocking the event loop.

        If the block is left because of a cancellation or Ctrl-C, or if this wait is cancelled, tasks that have not been
        started are cancelled and running tasks are interrupted.
        """
        from woolexec.futures.loop_waiters import is_cancellation, join

        self._leave()
        interrupted = exc_type is not None and (issubclass(exc_type, KeyboardInterrupt) or is_cancellation(exc_type))
        if interrupted:
            self._interrupt(exc_info[0])
        self.shutdown(wait=False)
        await join(self._engine.join, self._engine.interrupt)

    def terminate_workers(self) -> None:
        """End the workers with SIGTERM: running tasks raise a `BrokenProcessPool`, waiting tasks are cancelled."""
        self._end_workers(SIGTERM)

    def kill_workers(self) -> None:
        """End the workers with SIGKILL: running tasks raise a `BrokenProcessPool`, waiting tasks are cancelled."""
        self._end_workers(SIGKILL)

    @property
    def _processes(self) -> dict[int, WorkerProcess] | None:
        """The running workers by process id, as in the standard library's executor; None after shutdown."""
        return None if self._submission.is_closed else self._engine.processes

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        """The thread that manages the workers, as in the standard library's executor."""
        return self._engine.thread

    def _end_workers(self, number: int) -> None:
        self._submission.close()
        self._finalizer.detach()
        self._engine.end_workers(number)
        self._close_page()
