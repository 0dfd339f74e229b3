"""
A worker: reads frames, keeps the functions it was sent, hands calls to its lanes.

It ends when the engine says Stop and all calls are done, or when the engine is gone.
"""

from __future__ import annotations

import os
import sys
import threading

from woolexec.wire import pickling
from woolexec.wire.codec import Broken, Cancel, Define, Initialize, Raise, Recall, Return, Start, Stop, encode
from woolexec.wire.failures import dump_failure
from woolexec.wire.pickling import loads
from woolexec.worker import context
from woolexec.worker.page import Page
from woolexec.worker.road import Road
from woolexec.worker.sync_lane import Slot, SyncLane

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any


class Worker:
    """The state of a worker process."""

    def __init__(self, sock: socket.socket, page_fd: int) -> None:
        self.page = Page(page_fd, sock.fileno())
        self.road = Road(sock, self.page.down)
        self.lane = SyncLane(self.road, self.page, self.receive)
        self._slots: dict[int, Slot] = {}
        self._stopping = False
        self._reading = threading.Lock()  # guards reading from the socket

    def run(self) -> None:
        """Serve until told to stop, or until the engine is gone."""
        context.worker = self
        pickling.is_worker = True
        while True:
            try:
                self.lane.run()
            except EOFError:
                return
            except KeyboardInterrupt:  # between two calls: there is nothing to interrupt
                continue

    def receive(self, wait: bool) -> None:  # noqa: FBT001  # called once for every idle look; keywords cost
        """
        Read frames and act on them.

        :raises EOFError: if there will be no more
        :raises BlockingIOError: if there are none and `wait` is false
        """
        if self._stopping:
            raise EOFError
        with self._reading:
            for frame in self.road.receive(wait=wait):
                self._take(frame)

    def read_aside(self, timeout: float) -> None:
        """Read frames in another thread than the main one, which runs user code; wait at most `timeout` seconds."""
        if self._reading.acquire(timeout=timeout):
            try:
                if not self._stopping and self.page.wait_readable(timeout):
                    for frame in self.road.receive():
                        self._take(frame)
            finally:
                self._reading.release()

    def _take(self, frame: Any) -> None:
        cls = frame.__class__
        if cls is Start:
            self.lane.start(frame, self._slots[frame.function])
        elif cls is Define:
            self._slots[frame.function] = Slot(frame.payload)
        elif cls is Recall:
            self.lane.recall(frame)
        elif cls is Stop:
            self._stopping = True
        elif cls is Initialize:
            self._initialize(frame.payload)
        elif cls is Return or cls is Raise:
            context.resolve(frame)
        elif cls is Cancel:
            pass  # a running sync call cannot be stopped from within; the engine ends the process if it must
        else:
            os._exit(1)

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
        Worker(sock, page_fd).run()
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
