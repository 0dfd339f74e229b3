"""
A worker: reads frames, keeps the functions it was sent, hands calls to its lanes.

The main thread reads for itself between its calls, which saves a hop.  When it is busy, and something comes for a call
that does not run there, a coroutine or a stream, the engine sends SIGURG, which Python handles between two bytecodes
and which ends no system call for good.  Then a thread of its own reads, until the main thread waits for more to do.

It ends when the engine says Stop and all calls are done, or when the engine is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from _thread import start_new_thread

from woolexec.wire import pickling
from woolexec.wire.codec import (
    Broken,
    Cancel,
    Close,
    Define,
    Initialize,
    Next,
    Raise,
    Recall,
    Recalled,
    Return,
    Send,
    Start,
    Started,
    Stop,
    Throw,
    Yield,
    encode,
)
from woolexec.wire.failures import dump_failure
from woolexec.wire.pickling import loads
from woolexec.worker import context
from woolexec.worker.job import Job, Slot, jobs_of
from woolexec.worker.page import Page
from woolexec.worker.road import Road
from woolexec.worker.sync_lane import SyncLane

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from woolexec.worker.lanes import Lane

LEAVING = 0.5
"""Seconds that coroutines and streams have to end when the engine is gone."""


_COMMANDS = frozenset({Next, Send, Throw, Close, Cancel})
_NEWS = frozenset({Return, Raise, Yield, Started})
"""What a call is told to do, and what becomes of a task that a call has submitted."""


class Worker:
    """The state of a worker process."""

    def __init__(self, sock: socket.socket, page_fd: int) -> None:
        self.page = Page(page_fd, sock.fileno())
        self.page.set_pid(os.getpid())
        self.road = Road(sock, self.page.down)
        self.lane = SyncLane(self.road, self.page, self.receive, self._run_coroutine)
        self.lanes: dict[int, Lane] = {}
        self._slots: dict[int, Slot] = {}
        self._chunk: Any = None
        self._stopping = False
        self._gone = False
        self._reading = threading.Lock()  # guards reading from the socket
        self._idle_reader = [True]  # taken by whoever lets the other thread read
        self._reader: int | None = None
        self._duty = threading.Lock()  # held while the other thread has nothing to read
        self._duty.acquire()
        self.is_open = False  # the other thread reads
        self._waits = False
        self._arrived = threading.Lock()  # held while there is nothing new for the main thread
        self._arrived.acquire()
        self._declined: list[int] = []

    def run(self) -> None:
        """Serve until told to stop, or until the engine is gone."""
        context.worker = self
        pickling.is_worker = True
        while True:
            try:
                self.lane.run()
            except EOFError:
                break
            except KeyboardInterrupt:  # between two calls: there is nothing to interrupt
                continue
        self._finish_lanes()

    def _finish_lanes(self) -> None:
        for lane in tuple(self.lanes.values()):
            lane.finish(LEAVING if self._gone else None)

    def receive(self, wait: bool, timeout: float | None = None) -> None:  # noqa: FBT001  # keywords cost
        """
        Let frames come in, and act on them.

        :raises EOFError: if there will be no more
        :raises BlockingIOError: if there are none and `wait` is false, or the time (seconds) has passed
        """
        if not self.is_open:
            if self._stopping:
                raise EOFError
            if timeout is not None and not self.page.wait_readable(timeout):
                raise BlockingIOError
            with self._reading:
                if not self.is_open:
                    self._read(wait)
                    return
        self._waits = True
        arrived = self._arrived.acquire(wait, -1 if timeout is None or not wait else timeout)
        self._waits = False
        if self._stopping:
            if arrived:
                self._announce()
            raise EOFError
        if not arrived:
            raise BlockingIOError

    def _read(self, wait: bool) -> None:  # noqa: FBT001  # as above
        try:
            frames = self.road.receive(wait=wait)
        except EOFError:
            self._gone = True
            raise
        for frame in frames:
            self._take(frame)

    # -- a thread that reads ------------------------------------------------------------------------------------

    def open(self, *_: object) -> None:
        """Let the other thread read, until the main thread waits; from any thread, and a signal handler."""
        try:
            self._idle_reader.pop()
        except IndexError:
            return
        self.is_open = True
        if self._reader is None:
            self._reader = start_new_thread(self._read_aside, ())  # not `Thread.start`, whose locks we may hold
        self._duty.release()

    def _read_aside(self) -> None:
        try:
            while not self._stopping:
                self._duty.acquire()
                self._keep_reading()
        except EOFError:
            self._stopping = True
            self._announce()
            self._finish_lanes()  # the main thread may be busy
        except BaseException:  # a bug of ours: say so where the user sees it
            import traceback

            traceback.print_exc()
            os._exit(1)

    def _keep_reading(self) -> None:
        self.page.set_open(1)
        while not self._stopping:
            with self._reading:
                self._read(wait=True)
            if self._waits and not self._stopping:  # it reads the next by itself
                self.is_open = False
                self.page.set_open(0)
                self._idle_reader.append(True)
                self._announce()
                return
            self._announce()

    def _announce(self) -> None:
        """Let the main thread look."""
        try:
            self._arrived.release()
        except RuntimeError:  # it has not looked since the last time
            pass

    def _run_coroutine(self, job: Job, coroutine: Any) -> Any:
        """Run a coroutine for the main thread, which waits for it."""
        from woolexec.core.call import ASYNCIO

        return self._lane(ASYNCIO).run_for(job, coroutine)

    def _lane(self, number: int) -> Lane:
        lane = self.lanes.get(number)
        if lane is None:
            from woolexec.worker.lanes import make_lane

            self.open()
            lane = self.lanes[number] = make_lane(number, self)
        return lane

    # -- frames -------------------------------------------------------------------------------------------------

    def _take(self, frame: Any) -> None:
        cls = frame.__class__
        if cls is Start:
            start = self._start_aside if frame.lane else self.lane.start
            start(frame, self._slots[frame.function])
        elif cls is Define:
            self._slots[frame.function] = Slot(frame.payload)
        elif cls is Recall:
            if frame.loop:
                self._give_back()
            else:
                self.lane.recall(frame)
        elif cls in _COMMANDS:
            for lane in tuple(self.lanes.values()):
                lane.control(frame)
        elif cls is Stop:
            self._stopping = True
        elif cls is Initialize:
            self._initialize(frame.payload)
        elif cls in _NEWS:
            context.resolve(frame)
        else:
            os._exit(1)

    def _start_aside(self, frame: Start, slot: Slot) -> None:
        if frame.count and not frame.again:
            self._chunk = frame.payload
        lane = self._lane(frame.lane)  # making it takes its time, which is not the calls'
        for job in jobs_of(frame, slot, self._chunk):
            if self.page.loop.start(job.number):
                lane.start(job)
            else:
                self._declined.append(job.number)

    def _give_back(self) -> None:
        """Say which calls that do not run in the main thread were recalled in time."""
        self.road.send(encode(Recalled(call=self._declined, loop=True)))
        self._declined = []

    def _initialize(self, payload: Any) -> None:
        try:
            initializer, initargs = loads(payload)
            initializer(*initargs)
            self.page.initialized()
        except BaseException as exc:  # user code
            self.road.send(encode(Broken(payload=dump_failure(exc, skip=1))))
            self._stopping = True
            raise EOFError from None


def main(sock: socket.socket, page_fd: int, crash_fd: int) -> None:
    """Run a worker in this process, to its end."""
    import atexit
    import faulthandler

    os.set_blocking(sock.fileno(), True)  # its signature
    if crash_fd >= 0:
        faulthandler.enable(crash_fd, all_threads=False)
    code = 0
    try:
        worker = Worker(sock, page_fd)
        signal.signal(signal.SIGURG, worker.open)
        worker.run()
    except SystemExit:
        pass
    except BaseException:  # a bug of ours: say so where the user sees it
        import traceback

        traceback.print_exc()
        code = 1
    try:
        atexit._run_exitfuncs()
    except BaseException:  # user code
        pass
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed, or replaced by the user
            pass
    os._exit(code)
