"""
Ctrl-C in a worker: it interrupts only the call that runs in the main thread.

Python's own handler raises KeyboardInterrupt between any two bytecodes.  Where a frame has just been read, that frame
would be lost, and its call would never end.
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

    While the main thread reads, or any thread writes, the interrupt is noted, and raised again at the end of that; the
    same holds while a call that waits for its own tasks takes the next entry from the queue.  Between calls it is
    dropped: there is nothing to interrupt.
    """

    def __init__(self, lane: SyncLane, reading: Reading, transport: SocketTransport) -> None:
        self._lane, self._reading, self._transport = lane, reading, transport

    def install(self) -> None:
        """Take the place of Python's own handler; leave any other one, such as that of a program without Ctrl-C."""
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
        self._transport.is_interrupted = True  # first: who ends writing now looks at it after that
        if not (self._reading.is_busy_here or self._transport.is_writing or self._lane.is_between):
            self._transport.is_interrupted = False
            raise KeyboardInterrupt
