"""
The running tasks of an engine's workers, with their stacks; imported on first use.

::

    ask, SIGURG --> the worker's interpreter reports all of its calls     (`woolexec.worker.stacks`)
         | no answer: C code runs, with or without the GIL
         v
    DUMP_SIGNAL --> `faulthandler` dumps the stack of one thread after the other, without the interpreter
         | nothing
         v
    the worker is named, with the system's information about it

Everything is written to memory that engine and worker share (`woolexec.wire.stack_area`), which timers check.
A worker that has not answered is not asked again until it has, and not dumped again within a second.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from woolexec.core.call import LIFE
from woolexec.core.stack_text import ENDED as HAS_ENDED
from woolexec.core.stack_text import HELD, IN_C, IN_C_ALONE, NO_ANSWER, OF_LOOP, SILENT, of_dump, outermost, safe
from woolexec.core.stack_text import STOPPED as IS_STOPPED
from woolexec.core.task_stack import TaskStack
from woolexec.engine.stack_frames import stacks_of
from woolexec.platform.posix import SIGURG, host_name
from woolexec.platform.stack_dump import ENDED, STOPPED, state_of
from woolexec.printable import printable
from woolexec.wire.frames import Inspect, Inspected, encode
from woolexec.wire.stack_area import A_LOOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from woolexec.core.call import Call
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.forks import Forks
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker

    Found = dict[int, tuple[str, str]]
    """Stack and note of calls, by number."""

TIMEOUT = 2.0
"""Seconds after which workers and peers that have not answered are reported as silent."""

_FIRST_LOOK, _LATER = 0.002, 0.02
"""Seconds until the first check for an answer of a worker; each further pause is twice as long, up to the second."""

PATIENCE = 0.25
"""Seconds that the interpreter of a worker has to report before its threads are dumped."""

_SETTLED = 0.01
"""Seconds without a change after which a dump is complete: nothing marks its end."""

_FRESH = 1.0
"""Seconds for which a dump is used again while the worker does not answer."""

_SHARE = 0.8
"""The fraction of the time that a peer gets; the rest is for the transfer of its answer."""

_REQUESTS = 64
"""Number of requests that are remembered."""

_NEEDED = 16 << 10
"""Bytes that must be free for one more dump."""


class Inspection:
    """Asks workers for their running tasks, in the engine's thread."""

    def __init__(self, loop: Loop, forks: Forks) -> None:
        self._loop, self._forks = loop, forks
        self._looks: dict[int, _Look] = {}
        self._asked: dict[tuple[int, Remote], Callable[[list[TaskStack]], object]] = {}
        self._requests: deque[int] = deque(maxlen=_REQUESTS)

    def everywhere(
        self,
        workers: Sequence[Worker],
        links: Sequence[Remote],
        then: Callable[[list[TaskStack]], object],
        timeout: float,
        request: int,
    ) -> None:
        """
        Find out what several workers and peers run.

        :param request: a random number; peers that ask each other on behalf of the same client answer it once
        """
        if request in self._requests:
            then([])
            return
        self._requests.append(request)
        found: list[TaskStack] = []
        left = [len(workers) + len(links) + 1]

        def add(stacks: list[TaskStack]) -> None:
            found.extend(stacks)
            left[0] -= 1
            if not left[0]:
                then(found)

        for worker in workers:
            self.look(worker, add, timeout)
        for link in links:
            self._asked[request, link] = add
            link.send(encode(Inspect(request=request, seconds=timeout * _SHARE)))
            self._loop.after(timeout, partial(self._give_up, request, link))
        add([])

    def answered(self, link: Remote, frame: Inspected) -> None:
        """Take the answer of a peer."""
        add = self._asked.pop((frame.request, link), None)
        if add is not None:
            add(list(stacks_of(frame, link.candidate.address)))

    def _give_up(self, request: int, link: Remote) -> None:
        """Name the tasks of a peer that has not answered."""
        add = self._asked.pop((request, link), None)
        if add is None:
            return
        host, address = printable(link.candidate.host, 200), printable(link.candidate.address, 200)
        add(
            [
                TaskStack(number, printable(call.name, 200), 0.0, host, 0, note=NO_ANSWER, peer=address)
                for place in (link, link.lane_place)
                for number, call in place.outstanding.items()
                if place.has_started(call)
            ]
        )

    def look(self, worker: Worker, then: Callable[[list[TaskStack]], object], timeout: float = TIMEOUT) -> None:
        """
        Find out what a worker runs.

        :param then: called with the result, in the engine's thread; at once if the worker runs nothing
        """
        if worker.is_closed or not any(True for _ in running(worker, 0.0)):
            then([])
            return
        look = self._looks.get(worker.id)
        if look is None or look.worker is not worker:
            self._looks = {number: each for number, each in self._looks.items() if not each.worker.is_closed}
            look = self._looks[worker.id] = _Look(worker, self._loop, self._forks)
        look.begin(timeout, then)


def running(worker: Worker, now: float) -> Iterator[tuple[Call, float]]:
    """Yield the calls that a worker runs, as far as the engine knows, and for how many seconds each has run."""
    for number, call in tuple(worker.outstanding.items()):
        began = worker.began(number)
        if began is not None:
            yield call, max(0.0, now - began)
    lane = worker.lane_place
    for number, call in tuple(lane.outstanding.items()):
        is_made = call.function.lane == LIFE and worker.actor.worker is worker  # the object exists and is idle
        if number <= lane.page.started and not is_made:
            yield call, max(0.0, now - call.cost)  # that is when it was sent


class _Look:
    """One request to one worker, shared by all callers that ask meanwhile."""

    def __init__(self, worker: Worker, loop: Loop, forks: Forks) -> None:
        self.worker = worker
        self._loop, self._forks = loop, forks
        self._area = worker.page.stacks
        self._waiting: list[Callable[[list[TaskStack]], object]] = []
        self._question = 0  # the number of the last request
        self._until = self._patience = 0.0
        self._pause = _FIRST_LOOK
        self._dumps: dict[int, str] = {}  # by call; 0: of the main thread, `A_LOOP`: of an event loop
        self._dumped_at = -_FRESH
        self._left: list[tuple[int, int]] = []  # calls and threads that are still to be dumped
        self._dumping: tuple[int, int, bytes, float] | None = None  # call, offset, text so far, when it last changed

    def begin(self, timeout: float, then: Callable[[list[TaskStack]], object]) -> None:
        """Ask, unless an earlier request was not answered yet."""
        now = self._loop.clock()
        self._waiting.append(then)
        if len(self._waiting) > 1:
            return
        self._until, self._patience = now + timeout, now + min(PATIENCE, timeout / 2)
        self._pause, self._left, self._dumping = _FIRST_LOOK, [], None
        if self._reason():
            self._end({}, self._reason())
            return
        if not self._question or self._area.is_answered(self._question):
            self._question = self._area.ask()
        else:
            self._patience = now + _FIRST_LOOK
        self._forks.kill(self.worker.id, SIGURG)
        self._later()

    def _later(self) -> None:
        self._loop.after(self._pause, self._go_on)
        self._pause = min(_LATER, 2 * self._pause)

    def _reason(self) -> str:
        """Return why the worker cannot answer; empty if no reason is known."""
        worker = self.worker
        if worker.is_closed or worker.is_dead:
            return HAS_ENDED
        if not worker.page.is_ready:
            return SILENT
        return {STOPPED: IS_STOPPED, ENDED: HAS_ENDED}.get(state_of(worker.known_pid), "")

    def _go_on(self) -> None:
        now, reason = self._loop.clock(), self._reason()
        if reason:
            self._end({}, reason)
        elif self._area.is_answered(self._question):
            report = self._area.report()
            if report is not None:
                found = zip(report.call, report.stack, strict=False)
                self._end({number: (stack, "" if stack else IN_C_ALONE) for number, stack in found}, "")
            elif now > self._until:
                self._end({}, SILENT)
            else:
                self._later()
        elif now < self._patience:
            self._later()
        else:
            self._dump(now)

    # -- without the interpreter --------------------------------------------------------------------------------

    def _dump(self, now: float) -> None:
        if self._dumping is None and not self._left:
            if now - self._dumped_at < _FRESH or self._area.room < _NEEDED:
                self._end_with_dumps()
                return
            self._dumps, self._dumped_at, self._pause = {}, now, _FIRST_LOOK
            self._left = [(0, 0), *self._area.threads.items()][::-1]
        if self._dumping is not None:
            self._read_dump(now)
        if self._dumping is None:
            if not self._left or now > self._until:
                self._end_with_dumps()
                return
            number, thread = self._left.pop()
            offset = self._area.dump_start + len(self._area.dumped(self._area.dump_start))
            self._dumping = number, offset, b"", now
            self._forks.dump(self.worker.id, thread)
        self._loop.after(_FIRST_LOOK, self._go_on)

    def _read_dump(self, now: float) -> None:
        assert self._dumping is not None
        number, offset, before, since = self._dumping
        text = self._area.dumped(offset)
        if text != before:
            self._dumping = number, offset, text, now
        elif now - since > (_SETTLED if text.endswith(b"\n") else PATIENCE / 2):
            self._dumps[number] = of_dump(text.decode(errors="replace"))
            self._dumping = None

    def _end_with_dumps(self) -> None:
        found: Found = {}
        started = self.worker.page.started
        if self._dumps.get(0):
            found[started] = self._dumps[0], IN_C
        for number, text in self._dumps.items():
            if text and number not in (0, A_LOOP):
                found[number] = text, HELD
        stack = self._dumps.get(A_LOOP)
        if stack:
            in_loop = [call for call, _ in running(self.worker, 0.0) if call.place.is_lane and call.number not in found]
            named = [call for call in in_loop if call.name.rpartition(".")[2] == outermost(stack)] or in_loop
            for call in named:
                found[call.number] = stack, HELD if len(named) == 1 else OF_LOOP
        if not found and self._patience < self._until:  # no thread runs a task: it will answer
            self._patience = self._until
            self._later()
        else:
            self._end(found, HELD if found else SILENT)

    # -- the answer ---------------------------------------------------------------------------------------------

    def _end(self, found: Found, why_not: str) -> None:
        """
        Pass the result to all waiting callers.

        :param why_not: why calls are not among those that were found; empty: they do not run
        """
        worker, host = self.worker, host_name()
        stacks = []
        for call, seconds in () if worker.is_closed else running(worker, self._loop.clock()):
            stack, note = found.get(call.number, ("", why_not))
            if call.number in found or why_not:
                name = printable(call.name, 200)
                stacks.append(TaskStack(call.number, name, seconds, host, worker.known_pid, safe(stack), note))
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(stacks)
