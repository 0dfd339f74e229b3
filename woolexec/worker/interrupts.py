"""
Ctrl-C in a worker: it interrupts only the call that runs in the main thread.

Python's own handler may raise KeyboardInterrupt between any two bytecodes.  If a frame had just been read, it would be
lost, and its call would never end.
"""

from __future__ import annotations

from woolexec.platform.posix import SIGINT, default_interrupt, handler_of, on_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.socket_transport import SocketTransport
    from woolexec.worker.sync_lane import SyncLane


class Interrupts:
    """
    The handler of SIGINT.

    An interrupt is deferred while the main thread reads, while any thread writes, and while a call that waits for its
    own tasks takes the next entry from the queue.  Between calls it is ignored: there is nothing to interrupt.
    """

    def __init__(self, lane: SyncLane, reading: Reading, transport: SocketTransport) -> None:
        self._lane, self._reading, self._transport = lane, reading, transport

    def install(self) -> None:
        """Replace Python's own handler; keep any other, such as SIG_IGN in a program that ignores Ctrl-C."""
        if handler_of(SIGINT) is default_interrupt:
            on_signal(SIGINT, self.arrived)

    def arrived(self, *_: object) -> None:
        """
        Handle the signal, in the main thread.

        :raises KeyboardInterrupt: in the call that runs
        """
        job = self._lane.current
        if job is None or job.ended:
            return
        self._transport.is_interrupted = True  # first: a thread that finishes writing now checks this afterwards
        if not (self._reading.is_busy_here or self._transport.is_writing or self._lane.is_between):
            self._transport.is_interrupted = False
            raise KeyboardInterrupt
