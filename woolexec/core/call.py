"""
A call: one attempt of a task on one worker, and the table of its life.

::

            send              finish
    QUEUED ------> SENT --------------------> DONE
       ^   recall   |  \\  doubt      finish    ^
       |<-----------+   `------> LIMBO --------'
       |   retry    |              |  recall
       `------------+--------------'

`SENT` covers "waiting in the worker" and "running": only the worker's page knows which, and it is asked when it
matters.  `LIMBO` is the one doubtful case: the worker marked the call as started at the very moment in which it
was recalled; the worker's next frame (its outcome, or Recalled) decides.
"""

from __future__ import annotations

from woolexec.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from woolexec.options import TaskOptions
    from woolexec.resources import Line

    class Receiver(Protocol):
        """Where an outcome goes; called in the engine's thread, must not block or run user code."""

        def deliver(self, call: Call, payload: Any) -> None:
            """Take the encoded value."""

        def deliver_failure(self, call: Call, payload: Any) -> None:
            """Take an encoded exception, or an exception of our own; None: the call was cancelled."""


class Pulled:
    """
    A receiver that somebody pulls the items of a stream from.

    At the pool's end the engine sets `shut`, then looks whether somebody waits for an item; who pulls sets
    `is_awaited`, then looks whether the stream is shut.  One of the two sees the other.
    """

    is_open = False
    """It can be pulled."""

    is_awaited = False
    """A pull that began before the pool was shut down waits for its item."""

    shut = ""
    """How the pool's end closes it: `GENTLY`, when the pull in progress has its item, or `AT_ONCE`."""


GENTLY, AT_ONCE = "gently", "at once"

QUEUED, SENT, UNCERTAIN, DONE = "queued", "sent", "limbo", "done"

TABLE: dict[str, dict[str, str]] = {
    QUEUED: {"send": SENT, "cancel": DONE, "fail": DONE},
    SENT: {"finish": DONE, "recall": QUEUED, "doubt": UNCERTAIN, "retry": QUEUED, "fail": DONE, "cancel": DONE},
    UNCERTAIN: {"finish": DONE, "start": SENT, "recall": QUEUED, "retry": QUEUED, "fail": DONE, "cancel": DONE},
    DONE: {},
}


MAIN, ASYNCIO, TRIO, THREAD = range(4)
"""Lanes, where in a worker a call runs: one after the other in its main thread, among others on an event loop, or in a
thread of its own."""


class Function:
    """
    What a call runs, pickled, where in a worker it runs, and what is known of how long it takes.

    `seconds` is the moving average of one item's run time, None until the first has finished.  `code` names archives of
    modules that it needs, wherever it goes.  `needs` are the large globals that it names, pickled like functions.
    Versions of what is large have the same `family`: a place keeps the last one.
    """

    __slots__ = ("code", "family", "is_stream", "lane", "name", "needs", "payload", "seconds")

    def __init__(self, payload: Any, name: str, lane: int = MAIN) -> None:
        self.payload = payload
        self.name = name
        self.lane = lane
        self.is_stream = False
        self.code: tuple[str, ...] = ()
        self.needs: tuple[Function, ...] = ()
        self.family: object = None
        self.seconds: float | None = None

    def observe(self, seconds: float) -> None:
        """Take the run time of one item into the average."""
        mean = self.seconds
        self.seconds = seconds if mean is None else mean + 0.25 * (seconds - mean)


class Call:
    """
    What to run, and where it stands.  Plain slots: a hundred thousand of them may be alive.

    `parent` is the call that submitted this one, `ancestor` the nearest one above it that holds a worker's main thread:
    it waits there for this one, directly or not.  `is_plain` says that a worker needs nothing but function and payload.
    """

    __slots__ = (
        "ancestor",
        "attempts",
        "chunk",
        "context",
        "cost",
        "count",
        "first",
        "function",
        "is_plain",
        "line",
        "number",
        "options",
        "parent",
        "payload",
        "pin",
        "place",
        "receiver",
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
    ) -> None:
        self.is_plain = options is None and not (context or count or parent)
        self.context = context
        self.ancestor = parent
        self.function = function
        self.payload = payload
        self.receiver: Any = receiver  # that of a stream takes its start and its items as well
        self.options = options
        self.line: Line | None = None if options is None else options.line
        self.parent = parent
        self.chunk = chunk
        self.first = first
        self.count = count
        self.state = QUEUED
        self.number = 0
        self.place: Any = None
        self.attempts = 0
        self.cost = 0.0
        self.pin = 0  # > 0: it waits for one place, and behind a link for the worker of this number

    def anew(self, receiver: Receiver) -> Call:
        """Make a call for the next attempt, while this one has not ended yet."""
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
        )
        again.ancestor, again.attempts, again.line = self.ancestor, self.attempts, self.line
        return again

    def move(self, event: str) -> None:
        """
        Take one step of the table.

        :raises ProtocolError: if the table does not have it
        """
        try:
            self.state = TABLE[self.state][event]
        except KeyError:
            raise ProtocolError(f"call {self.number}: {event} while {self.state}") from None


class Chunk:
    """
    Items of a map that were pickled together and are sent in spans.

    How many items a span takes is decided when a worker is free for it, from what is known of their run time by then;
    one, if the options say when a call is ended or started again, so that no item ends with its neighbour.
    """

    __slots__ = (
        "alone",
        "cancelled",
        "context",
        "count",
        "fixed",
        "function",
        "line",
        "next",
        "options",
        "payload",
        "receiver",
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
        self.cancelled = False

    def cut(self, count: int) -> Call:
        """Take the next `count` items as one call."""
        call = Call(self.function, self.payload, self.receiver, self.options, 0, self, self.next, count, self.context)
        self.next += count
        return call
