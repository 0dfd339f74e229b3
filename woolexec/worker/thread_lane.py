"""The lane of plain generators: each runs in its own thread."""

from __future__ import annotations

import threading
from time import monotonic

from woolexec.wire import context_vars
from woolexec.wire.exceptions import load_failure
from woolexec.wire.frames import Cancel, Close, Send, Throw
from woolexec.wire.unpickling import loads
from woolexec.worker.job import UNPICKLING, Job
from woolexec.worker.lane import NOTHING, Commands, Lane, Outlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.socket_transport import SocketTransport


class ThreadLane(Lane):
    """Runs each plain generator in its own thread, so that a slow one does not block others."""

    def __init__(self, transport: SocketTransport, reading: Reading) -> None:
        super().__init__(transport, reading)
        self._ends = threading.Condition()  # guards removal from `streams`

    def start(self, job: Job) -> None:
        """Start a stream."""
        self.streams[job.number] = Commands()
        threading.Thread(target=self._run, args=(job,), name=f"woolexec-stream-{job.number}", daemon=True).start()

    def control(self, frame: Any) -> None:
        """Pass a command to a stream."""
        commands = self.streams.get(frame.call)
        if commands is None:
            return
        commands.line.append(frame)
        try:
            commands.arrived.release()
        except RuntimeError:  # the thread has not acquired it since the last command
            pass

    def finish(self, timeout: float | None) -> None:
        """Wait until all streams have ended; with a timeout (seconds), close them and wait no longer than that."""
        if timeout is not None:
            for number in tuple(self.streams):
                self.control(Close(call=number))
        with self._ends:
            self._ends.wait_for(lambda: not self.streams, timeout)

    def _run(self, job: Job) -> None:
        area = self.reading.page.stacks
        place = area.note_thread(job.number, threading.get_native_id())
        commands = self.streams[job.number]
        commands.thread, commands.running = threading.get_ident(), True
        try:
            started = monotonic()
            try:
                function, args, kwargs, ctx = self.prepare(job)
            except BaseException as exc:
                job.fail(self.transport, 0.0, exc, doing=UNPICKLING)
                return
            ctx.run(self._serve, job, function, args, kwargs, started)
        finally:
            area.forget_thread(place)
            job.held = None
            with self._ends:
                self.streams.pop(job.number, None)
                self._ends.notify_all()

    def _serve(self, job: Job, function: Any, args: Any, kwargs: Any, started: float) -> None:
        commands, outlet = self.streams[job.number], Outlet(self, job, _never)
        try:
            generator = iter(function(*args, **kwargs))
        except BaseException as exc:
            self.failed(job, started, exc)
            return
        self.ready(job)
        try:
            while True:
                frame = self._next_command(commands)
                if frame.__class__ is Close or frame.__class__ is Cancel:
                    close = getattr(generator, "close", None)
                    if close is not None:
                        close()
                    self.closed(job, started, frame)
                    return
                with context_vars.span(job.frame.context, job.name) if job.frame.context else NOTHING:
                    self._obey(generator, frame, outlet, commands)
        except StopIteration as stop:
            self.returned(job, started, stop.value)
        except BaseException as exc:
            self.failed(job, started, exc)

    @staticmethod
    def _obey(generator: Any, frame: Any, outlet: Outlet, commands: Commands) -> None:
        if frame.__class__ is Send:
            outlet.give(generator.send(loads(frame.payload)))
        elif frame.__class__ is Throw:
            outlet.give(generator.throw(load_failure(frame.payload)))
        else:  # one by one: no thread could send collected items while the generator's code runs
            for _ in range(frame.credits or 1):
                outlet.give(next(generator))
                if commands.is_closing():
                    break

    def _next_command(self, commands: Commands) -> Any:
        commands.running = False
        while not commands.line:
            commands.arrived.acquire()
        commands.running = True
        return commands.line.popleft()


def _never(piece: Callable[[], None]) -> None:
    """Do nothing: a stream in a thread collects no items."""
