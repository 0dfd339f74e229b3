"""
A worker: it reads frames, stores the functions that it receives, and passes calls to its lanes.

It ends when the engine has sent Stop and all calls are done, or when the engine is gone.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import start_new_thread

from woolexec.platform.posix import SIGURG, on_signal
from woolexec.platform.stack_dump import dump_on_signal
from woolexec.wire import unpickling
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import (
    COMMANDS,
    Broken,
    Cancel,
    Define,
    Drop,
    Initialize,
    Keep,
    Recall,
    Recalled,
    Start,
    Stop,
    encode,
)
from woolexec.wire.handlers import Handlers
from woolexec.wire.shared_page import CRASH, DUMPS, SharedPage
from woolexec.wire.unpickling import loads, restrict
from woolexec.wire.values import WithValues
from woolexec.worker import debugging, forked, missing_names, nested_tasks
from woolexec.worker.frame_reader import Reading
from woolexec.worker.import_path import follow_path
from woolexec.worker.interrupts import Interrupts
from woolexec.worker.job import Job, Slot, jobs_of
from woolexec.worker.socket_transport import SocketTransport
from woolexec.worker.sync_lane import SyncLane

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from woolexec.worker.lane import Lane

_PROMPTLY = 0.0005
"""Switch interval of the GIL, in seconds, while a thread reports the running calls."""

LEAVING = 0.5
"""Seconds for coroutines and streams to end after the engine is gone."""


def make_lane(number: int, transport: SocketTransport, reading: Reading, main: SyncLane) -> Lane:
    """Create the lane with this number (see `woolexec.core.call`)."""
    from woolexec.core.call import ASYNCIO, LIFE, THREAD, TRIO

    if number == ASYNCIO:
        from woolexec.worker.asyncio_lane import AsyncioLane

        return AsyncioLane(transport, reading)
    if number == TRIO:
        from woolexec.worker.trio_lane import TrioLane

        return TrioLane(transport, reading)
    if number == LIFE:
        from woolexec.worker.actor_lane import ActorLane

        return ActorLane(transport, reading, main)
    assert number == THREAD
    from woolexec.worker.thread_lane import ThreadLane

    return ThreadLane(transport, reading)


class Worker:
    """The state of a worker process."""

    def __init__(self, sock: socket.socket, descriptors: socket.socket, page_fd: int) -> None:
        self.page = SharedPage(page_fd)
        self.page.set_pid(os.getpid())
        self.transport = SocketTransport(sock, self.page.down, Descriptors(descriptors, Reserve()))
        self.reading = Reading(self.transport, self.page, self._handlers(), self._finish_lanes)
        self.lane = SyncLane(self.transport, self.page, self.reading.receive, self._run_coroutine)
        self.lanes: dict[int, Lane] = {}
        self.interrupts = Interrupts(self.lane, self.reading, self.transport)
        self.reading.urged = self.urged
        self._may_report = [True]  # popped by the code that starts the reporting thread
        self.reading.runs_call = lambda: self.lane.current is not None
        self._slots: dict[int, Slot] = {}
        self._values: dict[int, Any] = {}
        self._making = threading.Lock()  # guards adding to `lanes`
        self._chunk: Any = None
        self._declined: list[int] = []
        self._finalizer: Any = None

    def run(self) -> None:
        """Serve until told to stop, or until the engine is gone."""
        nested_tasks.worker = self
        unpickling.is_worker = True
        while True:
            try:
                self.lane.run()
            except EOFError:
                break
            except KeyboardInterrupt:  # between two calls: nothing to interrupt
                continue
        self._finish_lanes()
        if self._finalizer is not None and not self.reading.gone:
            from woolexec.worker import finalizer

            finalizer.run(self._finalizer)

    def _finish_lanes(self) -> None:
        for lane in tuple(self.lanes.values()):
            lane.finish(LEAVING if self.reading.gone else None)

    def urged(self, *_: object) -> None:
        """Let the reader thread read, and report running tasks if requested; also the handler of SIGURG."""
        self.reading.open()
        self._report_if_asked()

    def _report_if_asked(self) -> None:
        if self.page.is_asked:
            try:
                self._may_report.pop()
            except IndexError:
                return
            start_new_thread(self._report, ())  # not `Thread.start`, whose locks this thread may hold

    def _report(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(_PROMPTLY)
        try:
            from woolexec.worker import stacks

            stacks.answer(self.page.stacks, self.lanes)
        finally:
            sys.setswitchinterval(usual)
            self._may_report.append(True)
        self._report_if_asked()  # again: a request may have come before the line above

    def _run_coroutine(self, job: Job, coroutine: Any) -> Any:
        """Run a coroutine for the main thread, which waits for it."""
        from woolexec.core.call import ASYNCIO

        return self._lane(ASYNCIO).run_for(job, coroutine)

    def _lane(self, number: int) -> Lane:
        with self._making:
            lane = self.lanes.get(number)
            if lane is None:
                self.reading.open()
                lane = self.lanes[number] = make_lane(number, self.transport, self.reading, self.lane)
        return lane

    # -- frames -------------------------------------------------------------------------------------------------

    def _handlers(self) -> Handlers:
        """Each returns the event loop that the frame was for, if that can read the socket as well."""
        return Handlers(
            "a worker",
            {
                Start: self._start,
                Define: self._define,
                Keep: self._keep,
                Drop: self._drop,
                Recall: self._recall,
                **dict.fromkeys((*COMMANDS, Cancel), self._control),
                Initialize: self._initialize,
                Stop: self._stop,
                **nested_tasks.HANDLERS,
            },
        )

    def _start(self, frame: Start) -> Lane | None:
        slot = self._slots[frame.function]
        if frame.values:
            frame.payload = WithValues(frame.payload, [self._values[number] for number in frame.values])
        if frame.lane:
            return self._start_in_lane(frame, slot)
        self.lane.start(frame, slot)
        return None

    def _define(self, frame: Define) -> None:
        slot = Slot(frame.payload, [self._slots[need] for need in frame.needs])
        self._slots[frame.function] = slot
        slot.prepare()

    def _keep(self, frame: Keep) -> None:
        self._values[frame.value] = frame.payload

    def _drop(self, frame: Drop) -> None:
        for number in frame.value:
            self._values.pop(number, None)

    def _recall(self, frame: Recall) -> None:
        if frame.loop:
            self._give_back()
        else:
            self.lane.recall(frame)

    def _stop(self, frame: Stop) -> None:
        if len(frame.payload):
            self._finalizer = frame.payload
        self.reading.stopping = True

    def _control(self, frame: Any) -> Lane | None:
        known = None
        for lane in tuple(self.lanes.values()):  # including those that have not started the call and do not know it
            if lane.can_borrow and frame.call in lane.tasks:
                known = lane
            lane.control(frame)
        return known

    def _start_in_lane(self, frame: Start, slot: Slot) -> Lane | None:
        if frame.count and not (frame.again or frame.values):
            self._chunk = frame.payload
        lane = self._lane(frame.lane)  # first: making it takes a while, which is not part of the calls
        for job in jobs_of(frame, slot, self._chunk):
            if self.page.loop.start(job.number):
                lane.start(job)
            else:
                self._declined.append(job.number)
        return lane if lane.can_borrow else None

    def _give_back(self) -> None:
        """Report which calls of the lanes were recalled before they started."""
        self.transport.send(encode(Recalled(call=self._declined, loop=True)))
        self._declined = []

    def _initialize(self, frame: Initialize) -> None:
        try:
            initializer, initargs = loads(frame.payload)
            initializer(*initargs)
            if initializer is not follow_path:
                self.page.initialized()
        except BaseException as exc:  # user code
            self.transport.send(encode(Broken(payload=dump_failure(exc, skip=1))))
            self.reading.stopping = True
            raise EOFError from None


def main(sock: socket.socket, descriptors: socket.socket, page_fd: int) -> None:
    """
    Run a worker in this process, to its end.

    :param descriptors: the socket on which memory files are received and sent
    :param page_fd: descriptor of the shared page
    """
    import faulthandler

    os.set_blocking(sock.fileno(), True)  # the parameter is positional-only
    os.lseek(page_fd, CRASH, os.SEEK_SET)
    faulthandler.enable(page_fd, all_threads=False)
    code = 0
    if "WOOLEXEC_WORKER_ALLOWS" in os.environ:
        from woolexec.wire.restricted import ALLOW, AllowList

        allowed = AllowList(os.environ[ALLOW].split())
        restrict(allowed.load, allowed.check)
    else:  # here objects that were pickled by value may be unpickled
        missing_names.watch_main()
    if "WOOLEXEC_WORKER_RESULTS" in os.environ:
        from woolexec.wire.plain_results import untrusted

        nested_tasks.mark = untrusted
    debugging.install()
    try:
        worker = Worker(sock, descriptors, page_fd)
        on_signal(SIGURG, worker.urged)
        dump_on_signal(page_fd, DUMPS)
        worker.page.set_ready()
        worker.interrupts.install()
        forked.watch()
        worker.run()
    except SystemExit:
        pass
    except BaseException:  # a bug in woolexec: print it where the user sees it
        import traceback

        traceback.print_exc()
        code = 1
    forked.leave(code)
