"""One call in a worker: what to run, and how its outcome goes up."""

from __future__ import annotations

import os
from functools import partial

from woolexec.wire.codec import Raise, Return, Start, encode, encode_apart, encode_return, encode_return_in_arena
from woolexec.wire.exceptions import dump_failure, get, put, types_of
from woolexec.wire.payload import APART, File, Parts
from woolexec.wire.pickling import ATOMS, Pickled, dumps, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from woolexec.wire.ring_buffer import RingBuffer
    from woolexec.worker.setup import Setup

    class SocketTransport(Protocol):
        """What frames are given to."""

        def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
            """Send encoded frames."""


class Slot:
    """A function as it came, unpickled at its first call."""

    __slots__ = ("_needs", "_payload", "function", "setup")

    def __init__(self, payload: Any, needs: Sequence[Slot] = ()) -> None:
        self._payload: Any = payload
        self._needs = needs  # those of the large globals that it names
        self.function: Callable[..., Any] | None = None
        self.setup: Setup | None = None

    def prepare(self) -> None:
        """Import what it travels by, which takes longer than many a call, and is not to count as its time."""
        prepare(self._payload)

    def get(self, job: Job, transport: SocketTransport) -> Callable[..., Any]:
        """
        Return the function.

        :param job: for which it is wanted, and fails if that takes too long
        :raises Exception: what unpickling it raised, every time anew
        """
        payload = self._payload
        if payload is not None:  # two lanes may do this at once, and get one each
            from woolexec.worker import setup

            fail = partial(job.fail, transport, 0.0, doing=UNPICKLING)
            self.function, self.setup = setup.load(payload, fail, [need._payload for need in self._needs])
            self._payload, self._needs = None, ()
        return self.function  # type: ignore[return-value]  # None if that is what the user has us call


class Job:
    """A call, and where its arguments are."""

    __slots__ = ("ended", "frame", "held", "number", "payload", "slot", "stays")

    def __init__(self, number: int, slot: Slot, payload: Any, frame: Start) -> None:
        self.number = number
        self.slot = slot
        self.payload = payload
        self.frame = frame
        self.ended = False
        self.held: Any = None  # what may run user code when it is dropped, so not before the outcome has been sent
        self.stays = False  # it has waited for tasks of its own in a way that keeps the main thread

    @property
    def goes_home(self) -> bool:
        """Whether its outcome goes to the caller's process, and not to a task that has submitted it."""
        return not self.frame.parent

    @property
    def name(self) -> str:
        """What the task is called."""
        function: Any = self.slot.function
        while not self.frame.name and isinstance(function, partial):
            function = function.func
        return self.frame.name or getattr(function, "__qualname__", type(function).__qualname__)

    def succeed(
        self,
        transport: SocketTransport,
        seconds: float,
        payload: Any,
        arena: RingBuffer | None = None,
        context: bytes = b"",
    ) -> None:
        """
        Send the encoded value up.

        :param arena: where a payload of middle size may go; it has one writer, the main thread
        """
        self.ended = True
        number = self.number
        if payload.__class__ is bytes and len(payload) < APART and not context:
            transport.send(encode_return(number, seconds, payload))
            return
        if payload.__class__ is Parts and len(payload.parts) == 2 and arena is not None and not context:
            mark = arena.put(payload.parts, len(payload))
            if mark:
                transport.send(encode_return_in_arena(number, seconds, payload.extent, mark))
                return
        frame = Return(call=(number,), seconds=(seconds,))
        if context:
            frame.context = context
        if isinstance(payload, File):
            frame.extent = payload.extent
            transport.send(encode(frame), payload)
            return
        parts: list[Any] = [payload]
        if isinstance(payload, Parts):
            frame.extent = payload.extent
            parts = payload.parts
        frame.size = (len(payload),)
        if arena is not None and len(payload) >= APART:
            frame.arena = arena.put(parts, len(payload))
        if frame.arena:
            transport.send(encode(frame))
        else:
            frame.payload = payload
            transport.send(encode_apart(frame), payload=payload)

    def fail(self, transport: SocketTransport, seconds: float, exc: BaseException, *, doing: str = "") -> None:
        """
        Send an exception up.

        :param doing: what we did, not the task, when it came
        """
        if doing:
            add_note(exc, f"while {doing} in {here()}")
            if isinstance(exc, ModuleNotFoundError):
                from woolexec.worker.code_import import FOLDER

                if FOLDER in os.environ:  # it is a peer's worker
                    add_note(exc, f"install it there, or send it with PeerPoolExecutor(ship=[{exc.name!r}])")
        self.ended = True
        types = types_of(exc)
        payload = dump_failure(exc, skip=0 if doing else 1, goes_home=self.goes_home)
        transport.send(encode(Raise(call=self.number, seconds=seconds, payload=payload, type=types)))
        self.held = self.held, get(exc, "__traceback__")  # with the frames and all that they name
        put(exc, "__traceback__", None)  # they may name it


def jobs_of(frame: Start, slot: Slot, chunk: Any) -> list[Job]:
    """
    Make the jobs of a Start.

    :param chunk: the payload of the chunk that came last, of which the frame may want another span
    """
    payload = chunk if frame.again else frame.payload
    if len(frame.call) == 1:
        return [Job(frame.call[0], slot, payload, frame)]
    jobs, pos = [], 0
    for number, size in zip(frame.call, frame.size, strict=True):
        jobs.append(Job(number, slot, payload[pos : pos + size], frame))
        pos += size
    return jobs


UNPICKLING = "unpickling the function and its arguments"
PICKLING = "pickling the result"

SHUT = "this stream was closed by the shutdown of its pool"

SAFE = ATOMS | {bytes}
"""Values of these types can always be loaded; others may run code then, and fail."""


def dumps_span(
    values: list[Any], errors: dict[int, bytes], kinds: set[type], *, goes_home: bool
) -> bytes | File | Parts:
    """
    Pickle the results of some items of a map: a list of them, or a tuple of `Pickled`; one that does not pickle fails
    alone.

    :param errors: the encoded exceptions of those that raised, by index
    :param kinds: the types of the values
    :param goes_home: see `pickling.dumps`
    """
    try:
        if kinds <= SAFE:
            return dumps((values, errors), is_outcome=True)
    except BaseException:  # one of the values does not pickle, or may not load: find out which
        pass
    return dumps((_pickled_alone(values, errors, goes_home=goes_home), errors), is_outcome=True)


def _pickled_alone(values: list[Any], errors: dict[int, bytes], *, goes_home: bool) -> tuple[Any, ...]:
    """Return a tuple: so whoever takes it need not look at each value."""
    alone: list[Any] = []
    for index, value in enumerate(values):
        try:
            alone.append(value if type(value) in SAFE else Pickled.of(value, goes_home=goes_home))
        except BaseException as exc:
            add_note(exc, f"while {PICKLING} in {here()}")
            errors[index] = dump_failure(exc, goes_home=goes_home)
            alone.append(None)
    return tuple(alone)


def here() -> str:
    """Say which worker this is, for messages."""
    return f"worker {os.getpid()} on {os.uname().nodename}"


def add_note(exc: BaseException, note: str) -> None:
    """Add a note, if the exception's class lets us."""
    try:
        BaseException.add_note(exc, note)
    except BaseException:  # it sets __notes__ through the class's own code
        pass
