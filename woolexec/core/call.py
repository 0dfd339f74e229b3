"""
A call: one attempt of a task on one worker, and the table of its states.

::

            send              finish
    QUEUED ------> SENT --------------------> DONE
       ^   recall   |  \\  doubt      finish    ^
       |<-----------+   `---> UNCERTAIN -------'
       |   retry    |              |  recall
       `------------+--------------'

`SENT` covers both "waiting in the worker" and "running".  Only the worker's shared page knows which of them it is; the
page is read when it matters.  `UNCERTAIN` is the one ambiguous case: the worker marked the call as started while it was
being recalled.  The worker's next frame (the call's outcome, or Recalled) decides; until then the page says whether it
runs, so that it can be ended.
"""

from __future__ import annotations

from time import monotonic

from woolexec.errors import ProtocolError
from woolexec.resources import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Protocol

    from woolexec.options import TaskOptions

    class Receiver(Protocol):
        """Receives an outcome.  It is called in the engine's thread, and must not block or run user code."""

        def deliver(self, call: Call, payload: Any) -> None:
            """Receive the encoded value."""

        def deliver_failure(self, call: Call, payload: Any) -> None:
            """Receive an encoded exception, or one that the engine raised; None: the call was cancelled."""


class Pulled:
    """
    A receiver from which a consumer pulls the items of a stream.

    When the pool shuts down, the engine sets `shut`, then checks whether a consumer is waiting for an item.  A consumer
    sets `is_awaited`, then checks whether the stream is shut.  At least one of the two sees the other.
    """

    is_open = False
    """Whether the stream can be pulled."""

    is_awaited = False
    """A pull that began before the pool was shut down is waiting for its item."""

    shut = ""
    """How the pool's shutdown closes it: `GENTLY`, after the pull in progress has its item, or `AT_ONCE`."""


class Relayed:
    """A receiver that passes failures on; the classes of an exception are set before the exception is delivered."""

    types: tuple[str, ...] = ()
    raised = 0
    """The number of items of a map that raised, among those of the call; set before they are delivered."""
    takes_logs = True
    """Log records of the call go to this receiver instead of the handlers of this process."""

    def deliver_log(self, frame: Any) -> None:
        """Pass on a logging record."""
        raise NotImplementedError

    def deliver_progress(self, frame: Any) -> None:
        """Pass on the progress of the call."""
        raise NotImplementedError

    def deliver_output(self, frame: Any) -> None:
        """Pass on output of the call."""
        raise NotImplementedError

    def refuse(self, reason: str) -> bool:
        """Give a call that cannot run here back to its sender; return False if it must not be placed elsewhere."""
        return False


GENTLY, AT_ONCE = "gently", "at once"

QUEUED, SENT, UNCERTAIN, DONE = "queued", "sent", "uncertain", "done"

TABLE: dict[str, dict[str, str]] = {
    QUEUED: {"send": SENT, "cancel": DONE, "fail": DONE},
    SENT: {"finish": DONE, "recall": QUEUED, "doubt": UNCERTAIN, "retry": QUEUED, "fail": DONE, "cancel": DONE},
    UNCERTAIN: {"finish": DONE, "start": SENT, "recall": QUEUED, "retry": QUEUED, "fail": DONE, "cancel": DONE},
    DONE: {},
}


MAIN, ASYNCIO, TRIO, THREAD = LANES = range(4)
"""Lanes: where in a worker a call runs.  In the main thread, one call at a time; on an event loop, concurrently with
others; or in a separate thread."""

LIFE = 4
"""The lane of a call that makes an object, in the main thread, and ends with it: see `woolexec.core.actor`."""


class Function:
    """
    The pickled function of a call, its lane in a worker, and an estimate of its run time.

    `seconds` is the moving average of one item's run time, None until the first has finished.  `outcome_size` is the
    size, in bytes, of the last outcome of a call with a rank that was not small.  `code` names the code
    archives that hold the modules it needs, on any machine.  `needs` lists the large globals that it refers to, which
    are pickled like functions.  All versions of one large object have the same `family`: a place keeps only the last.
    Run times of short calls are added to `recent`, once it exists: see `woolexec.core.tallies`.
    """

    __slots__ = (
        "__weakref__",
        "code",
        "family",
        "is_stream",
        "lane",
        "name",
        "needs",
        "outcome_size",
        "payload",
        "recent",
        "seconds",
    )

    calls_first: ClassVar[bool] = False
    """Whether it calls its first argument, the task's function, because that has different values in each call."""

    def __init__(self, payload: Any, name: str, lane: int = MAIN) -> None:
        self.payload = payload
        self.name = name
        self.lane = lane
        self.is_stream = False
        self.code: tuple[str, ...] = ()
        self.needs: tuple[Function, ...] = ()
        self.family: object = None
        self.seconds: float | None = None
        self.outcome_size = 0
        self.recent: list[float] | None = None

    def observe(self, seconds: float) -> None:
        """Include the run time of one item in the average, unless it is invalid: another process reported it."""
        if not 0.0 <= seconds <= LONGEST:
            return
        mean = self.seconds
        self.seconds = seconds if mean is None else mean + LEARN * (seconds - mean)


LONGEST = 1e9
"""Seconds; no call runs as long."""

LEARN = 0.25
"""The weight of the last run time in the average of a function."""


def run_time(seconds: float) -> float:
    """Return a run time that another process reported; 0.0 if it is invalid, such as NaN."""
    return seconds if 0.0 <= seconds <= LONGEST else 0.0


RANKED = Line(ranked=True)
"""The line of calls that have a rank and no other requirement."""


class CallsFirst(Function):
    """A function that calls its first argument."""

    __slots__ = ()

    calls_first: ClassVar[bool] = True


class Call:
    """
    What to run, and its state.  It uses plain slots because a hundred thousand calls may exist at once.

    `parent` is the call that submitted this one.  `ancestor` is the nearest call above it that holds a worker's main
    thread and waits there for this one, directly or indirectly.  `is_plain` means that a worker needs nothing but the
    function and the payload.  `recalls` counts how often a peer gave it back because it had not started it.  `since` is
    when it was made, in monotonic seconds; it is only for statistics.  `follows` is set while it
    is outstanding behind the call whose outcome it takes: see `woolexec.core.following`.
    """

    __slots__ = (
        "ancestor",
        "attempts",
        "chunk",
        "context",
        "cost",
        "count",
        "first",
        "follows",
        "function",
        "is_plain",
        "line",
        "number",
        "options",
        "parent",
        "payload",
        "pin",
        "place",
        "progress",
        "rank",
        "recalls",
        "receiver",
        "since",
        "state",
    )

    def __init__(
        self,
        function: Function,
        payload: Any,
        receiver: Receiver,
        options: TaskOptions | None = None,
        parent: int = 0,
        chunk: Chunk | None = None,
        first: int = 0,
        count: int = 0,
        context: bytes = b"",
        rank: int = 0,
    ) -> None:
        self.is_plain = options is None and not (context or count or parent)
        self.context = context
        self.ancestor = parent
        self.function = function
        self.payload = payload
        self.receiver: Any = receiver  # the receiver of a stream also takes its start and its items
        self.options = options
        self.line: Line | None = None if options is None else options.line
        self.rank = rank  # > 0: of the waiting calls, the one with the lowest rank is next
        if rank:
            self.line = RANKED if self.line is None else self.line._replace(ranked=True)
        self.parent = parent
        self.chunk = chunk
        self.first = first
        self.count = count
        self.state = QUEUED
        self.number = 0
        self.place: Any = None
        self.attempts = self.recalls = 0
        self.cost = 0.0
        self.since = monotonic()
        self.follows: Any = None
        self.pin = 0  # > 0: it waits for one place; behind a link, for the worker with this number

    @property
    def name(self) -> str:
        """The name of the task, for messages."""
        if self.options is not None and self.options.name is not None:
            return self.options.name
        return self.function.name

    def anew(self, receiver: Receiver) -> Call:
        """Create a call for another attempt before this one has ended."""
        again = Call(
            self.function,
            self.payload,
            receiver,
            self.options,
            self.parent,
            self.chunk,
            self.first,
            self.count,
            self.context,
            self.rank,
        )
        again.ancestor, again.attempts, again.line = self.ancestor, self.attempts, self.line
        again.since = self.since
        return again

    def move(self, event: str) -> None:
        """
        Change the state as the table says for this event.

        :raises ProtocolError: if the table has no such transition
        """
        try:
            self.state = TABLE[self.state][event]
        except KeyError:
            raise ProtocolError(f"call {self.number}: {event} is not allowed while it is {self.state}") from None


class Chunk:
    """
    Items of a map that were pickled together and are sent in spans.

    The number of items in a span is chosen when a worker is free for it, from the run time measured so far.  If the
    options say when a call is ended or retried, each span has one item, so that none is ended or retried because of
    another.  `mark` identifies the chunk for objects that must not keep it alive.
    """

    __slots__ = (
        "alone",
        "cancelled",
        "context",
        "count",
        "fixed",
        "function",
        "line",
        "mark",
        "next",
        "options",
        "payload",
        "receiver",
        "since",
    )
    ancestor = 0

    def __init__(
        self,
        function: Function,
        payload: Any,
        count: int,
        receiver: Receiver,
        options: TaskOptions | None = None,
        *,
        fixed: bool = False,
        context: bytes = b"",
    ) -> None:
        self.function = function
        self.payload = payload
        self.count = count
        self.receiver = receiver
        self.options = options
        self.line: Line | None = None if options is None else options.line
        self.context = context
        self.fixed = fixed
        self.alone = not fixed and options is not None and options.is_about_calls
        self.next = 0
        self.mark = object()
        self.since = monotonic()
        self.cancelled = False

    def cut(self, count: int) -> Call:
        """Take the next `count` items as one call."""
        call = Call(self.function, self.payload, self.receiver, self.options, 0, self, self.next, count, self.context)
        call.since = self.since
        self.next += count
        return call


def fail(entry: Call | Chunk, error: Any) -> None:
    """
    End a call, or the rest of a chunk, that was taken from its queue.

    :param error: an exception, also an encoded one; None: it was cancelled
    """
    call = _rest_of(entry)
    call.move("cancel" if error is None else "fail")
    call.receiver.deliver_failure(call, error)


def give_back(entry: Call | Chunk, error: BaseException) -> None:
    """Return a call that was taken from its queue to its sender; fail it if that is not possible."""
    call = _rest_of(entry)
    if isinstance(call.receiver, Relayed) and call.receiver.refuse(str(error)):
        call.move("cancel")
    else:
        fail(call, error)


def _rest_of(entry: Call | Chunk) -> Call:
    return entry.cut(entry.count - entry.next) if isinstance(entry, Chunk) else entry
