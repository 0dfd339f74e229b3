"""`PeerPoolExecutor.trace`: a block whose tasks are written to a trace file."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from woolexec.engine.peer_runs import report_runs
from woolexec.observe.trace_file import TraceFile

if TYPE_CHECKING:
    from woolexec.engine.recorder import Run

_AHEAD = 100_000
"""Maximum number of attempts that wait to be written, about 40 MB; further ones are dropped."""


class Trace:
    """
    Writes the attempts of tasks that end within its block to a file, as they end.

    :param engine: the pool's engine
    :ivar path: the file
    :ivar dropped: number of attempts that are missing, because they ended faster than they could be written
    """

    def __init__(self, engine: Any, path: str | os.PathLike[str]) -> None:
        self.path: str = os.fspath(path)
        self.dropped: int = 0
        self._since = monotonic()
        self._engine = engine
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._failed: OSError | None = None
        self._stop: Any = None
        self._clocks: dict[str, float] = {}

    def __enter__(self) -> Self:
        """
        Begin the block.

        :raises OSError: if the file cannot be created
        :raises RuntimeError: if the pool is traced already
        """
        stop = report_runs(self._engine, self._take)
        with contextlib.ExitStack() as undo:
            undo.callback(stop)
            file = undo.enter_context(open(self.path, "w", encoding="utf-8"))
            self._writer = threading.Thread(target=self._write, args=(file,), name="woolexec-trace")
            self._writer.start()
            undo.pop_all()  # the thread closes the file
        self._stop = stop
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """
        Complete the file; running tasks are included up to now.

        :raises OSError: if the file could not be written, unless the block was left by an exception
        """
        try:
            self._clocks = self._stop()
        finally:
            self._queue.put(None)
            self._writer.join()
        if self._failed is None:
            return
        if exc_type is None:
            raise self._failed
        logging.getLogger("woolexec").warning("the trace %s could not be written: %s", self.path, self._failed)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Complete the file without blocking the event loop."""
        from woolexec.futures.loop_waiters import join

        failed: list[OSError] = []

        def leave() -> None:
            try:
                self.__exit__(exc_type, *exc_info)
            except OSError as exc:
                failed.append(exc)

        await join(leave, lambda: None)
        if failed:
            raise failed[0]

    def _take(self, run: Run) -> None:
        """Take an attempt from the engine's thread, which never waits for the disk."""
        if self._queue.qsize() < _AHEAD:
            self._queue.put(run)
        else:
            self.dropped += 1

    def _write(self, file: Any) -> None:
        """Write the attempts until None arrives; if writing fails, take the others and drop them."""
        run: Run | None = None
        try:
            with file:
                trace = TraceFile(file.write, self._since)
                while (run := self._queue.get()) is not None:
                    trace.add(run)
                trace.close(self._clocks, self.dropped)
        except OSError as exc:
            self._failed = exc
            while run is not None:
                run = self._queue.get()
