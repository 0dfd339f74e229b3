"""
The output of tasks: passed from workers' pipes and from links to the client whose task wrote it, or to the caller.

::

    worker --pipes--> the engine --Output--> its client --Output--> ... --> the caller's `sys.stdout`

Like a logging record, it goes to the client whose call, or a descendant of it, has written it.
"""

from __future__ import annotations

from functools import partial

from woolexec.core.call import LIFE, Relayed
from woolexec.engine.worker_pipes import WorkerPipes
from woolexec.platform.posix import host_name
from woolexec.printable import printable
from woolexec.wire.frames import Output
from woolexec.wire.printed import STDERR, STDOUT, Printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker

_LONGEST = 200
"""Maximum length of names from a peer, in characters."""


class Said:
    """
    Passes on the output of tasks, in the engine's thread.

    :param note: called with a worker before its calls are looked up
    :param above: returns the call that submitted another one, if it is outstanding
    :ivar show: called with the output of this program's tasks, and with their outermost call, if known
    :ivar close: called at the end of the engine
    :ivar at_peers: whether peers must send the output of their tasks
    :ivar clients: the sessions of the client that this engine serves: one of them takes output that no call wrote
    """

    def __init__(self, loop: Loop, note: Callable[[Worker], object], above: Callable[[Call], Call | None]) -> None:
        self.show: Callable[[Output, Call | None], object] | None = None
        self.in_workers = self.at_peers = False
        self.clients: dict[Callable[[Output], object], None] = {}
        self._loop, self._note, self._above = loop, note, above
        self.close: Callable[[], object] = _nothing

    def prepare(self, worker: Worker) -> None:
        """Let a worker start with pipes, if its output is wanted."""
        if self.in_workers:
            worker.pipes = WorkerPipes()

    def watch(self, worker: Worker) -> None:
        """Start reading the output of a worker."""
        if worker.pipes is not None:
            for fd in worker.pipes.descriptors:
                self._loop.watch_output(fd, partial(self._heard, worker))

    def _heard(self, worker: Worker) -> None:
        self._note(worker)
        self.read(worker)

    def read(self, worker: Worker, *, is_end: bool = False) -> None:
        """
        Read the output of a worker.

        :param is_end: a call has ended: its output is complete, even without a newline at its end
        """
        pipes = worker.pipes
        for printed in pipes.read(self._loop.unwatch_output):
            self._take(worker, printed)
        if is_end:
            for printed in pipes.end_lines():
                self._take(worker, printed)

    def end(self, worker: Worker) -> None:
        """Take the output that a worker wrote before its end."""
        if worker.pipes is not None:
            self.read(worker)
            for printed in worker.pipes.end():
                self._take(worker, printed)
            self.leave(worker)

    def leave(self, worker: Worker) -> None:
        """Stop reading from a worker."""
        if worker.pipes is not None:
            for fd in worker.pipes.descriptors:
                self._loop.unwatch_output(fd)
            worker.pipes.close()

    def _take(self, worker: Worker, printed: Printed) -> None:
        number = printed.call
        call = _running(worker) if number is None else worker.place_of(number).outstanding.get(number)
        frame = Output(stream=printed.stream, text=printed.text, lost=printed.lost, host=host_name())
        frame.pid = worker.known_pid
        if call is not None:
            frame.name, frame.task = call.name, call.number
        self._pass_on(frame, call)

    def hear(self, link: Remote, frame: Output) -> None:
        """Take the output of a task at a peer; output that was not requested is dropped."""
        if not self.at_peers or frame.stream not in (STDOUT, STDERR):
            return
        frame.name, frame.host = printable(frame.name, _LONGEST), printable(frame.host, _LONGEST)
        self._pass_on(frame, link.place_of(frame.call).outstanding.get(frame.call))

    def _pass_on(self, frame: Output, call: Call | None) -> None:
        outermost = call
        while call is not None and not (isinstance(call.receiver, Relayed) and call.receiver.takes_logs):
            outermost, call = call, self._above(call)
        if call is not None:
            call.receiver.deliver_output(frame)
        elif self.show is not None:
            self.show(frame, outermost)
        elif self.clients:
            frame.call = 0
            next(iter(self.clients))(frame)


def _running(worker: Worker) -> Call | None:
    """Return the call that probably runs there."""
    for number, call in worker.outstanding.items():
        return call if number <= worker.page.started else None
    found: Any = [call for call in worker.lane_place.outstanding.values() if call.function.lane != LIFE]
    return found[0] if len(found) == 1 else None


def _nothing() -> None:
    """Do nothing."""
