"""One call in a worker: what to run, and how its outcome is sent to the engine."""

from __future__ import annotations

import os
from functools import partial

from woolexec.wire import unpickling
from woolexec.wire.atoms import is_safe
from woolexec.wire.exceptions import add_note, dump_failure, get, here, put, types_of
from woolexec.wire.fast_frames import encode_apart, encode_return, encode_return_in_arena
from woolexec.wire.frames import Raise, Return, Start, encode
from woolexec.wire.payload import APART, File, Parts, attach
from woolexec.wire.pickling import Pickled, dumps, is_for_all, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from woolexec.wire.ring_buffer import RingBuffer
    from woolexec.worker.setup import Setup

    class SocketTransport(Protocol):
        """An object that sends frames."""

        def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
            """Send encoded frames."""


bind: Callable[[Any], Callable[..., Any]] | None = None
"""Binds functions to the object of this worker's actor; set once, by `woolexec.worker.actor_lane`."""


before_outcome: Callable[[int], object] | None = None
"""Called with the number of a call before its outcome is sent; set once, by `woolexec.worker.output`."""

_SETUP = b"woolexec.worker.setup"
"""Bytes that occur in the pickle of a function that was sent with a setup."""

_BUNDLE = b"woolexec.wire.main_module"
"""Bytes that occur in the pickle of a function that comes with globals, or refers to some."""


_DEFINITIONS = (type(lambda: None), type)
"""Types of callables that have no state; for others, `has_state` decides, whose module takes time to import."""


class Slot:
    """A function as it was received; it is unpickled at its first call, or at each call if calls may change it."""

    __slots__ = ("_bundle", "_changes", "_needs", "_payload", "function", "setup")

    def __init__(self, payload: Any, needs: Sequence[Slot] = ()) -> None:
        self._payload: Any = payload
        self._needs = needs  # slots of the large globals that the function names
        self.function: Callable[..., Any] | None = None
        self.setup: Setup | None = None
        self._bundle: Any = None  # its payload, if globals are in it
        self._changes = 0  # value of `unpickling.changes` when the globals were last stored

    def prepare(self) -> None:
        """Import the modules that unpickling needs, so that the import does not count as run time of the first call."""
        prepare(self._payload)

    def get(self, job: Job, transport: SocketTransport) -> Callable[..., Any]:
        """
        Return the function.

        :param job: the call that needs it, and that fails if the initializer takes too long
        :raises Exception: what unpickling it raised; after an error it is unpickled again each time
        """
        payload = self._payload
        if payload is None:  # two lanes may do the rest at the same time, each with its own result
            if self._bundle is not None and self._changes != unpickling.changes:
                self._renew()
            return self.function  # type: ignore[return-value]  # None if the user submitted None
        is_plain = payload.__class__ is bytes and not self._needs and _SETUP not in payload
        if is_plain:
            function = unpickling.loads(payload)
            unpickling.check_function(function)
        else:  # imported only here: the import takes as long as the rest of a worker's first call
            from woolexec.worker import setup

            fail = partial(job.fail, transport, 0.0, doing=UNPICKLING)
            function, self.setup = setup.load(payload, fail, [need._payload for need in self._needs])
        if bind is not None:
            function = bind(function)
        elif function.__class__ not in _DEFINITIONS and not (is_plain and payload.endswith(unpickling.NAMED)):
            from woolexec.wire.own_copies import has_state

            if has_state(function):
                self.function = _without_state(function)  # for the name of the task
                return function  # type: ignore[no-any-return]  # pickle has no types
        self.function = function
        if payload.__class__ is not bytes or self._needs or _BUNDLE in payload:
            self._bundle, self._changes = payload, unpickling.changes
        self._payload = None
        return function  # type: ignore[no-any-return]  # as above

    def _renew(self) -> None:
        """Store the function's globals again: another function may have brought other values for them."""
        if self._needs:
            from woolexec.wire import main_module

            main_module.load(self._bundle, [need._payload for need in self._needs])
        else:
            unpickling.loads(self._bundle)
        self._changes = unpickling.changes


def _without_state(function: Any) -> Any:
    """Return the function or class that a callable takes its name from, without the objects that the callable holds."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    return function if hasattr(function, "__qualname__") else type(function)


class Job:
    """
    A call and its arguments.

    :param after: the call whose outcome is the one input that the arguments lack; 0: they lack none
    """

    __slots__ = ("after", "ended", "frame", "held", "number", "payload", "slot", "stays")

    def __init__(self, number: int, slot: Slot, payload: Any, frame: Start, after: int = 0) -> None:
        self.after = after
        self.number = number
        self.slot = slot
        self.payload = payload
        self.frame = frame
        self.ended = False
        self.held: Any = None  # dropping it may run user code, so it is kept until the outcome has been sent
        self.stays = False  # it has waited for nested tasks in a way that occupies the main thread

    @property
    def goes_home(self) -> bool:
        """Whether its outcome is sent to the caller's process, not to a task that submitted it."""
        return not self.frame.parent

    @property
    def name(self) -> str:
        """The name of the task."""
        function: Any = self.slot.function
        while not self.frame.name and isinstance(function, partial):
            function = function.func
        return self.frame.name or getattr(function, "__qualname__", type(function).__qualname__)

    def bind(self, number: int, value: bytes | None) -> bool:
        """
        Complete the arguments with the value of the call that has returned last, if it is the input.

        :param number: that of this call
        :param value: its pickle; None if it is not small
        :return: whether it is, and can be unpickled here
        """
        if number != self.after or value is None or not is_for_all(value):
            return False
        from woolexec.wire.inputs import bind_small

        self.payload = bind_small(self.payload, [value])
        return True

    def end(self) -> None:
        """Note that the outcome is sent next, after the output of the call."""
        if before_outcome is not None:
            before_outcome(self.number)
        self.ended = True

    def succeed(
        self,
        transport: SocketTransport,
        seconds: float,
        payload: Any,
        arena: RingBuffer | None = None,
        context: bytes = b"",
        raised: int = 0,
    ) -> None:
        """
        Send the encoded value to the engine.

        :param arena: ring buffer for medium-sized payloads; it has one writer, the main thread
        :param raised: the number of items of a map that raised
        """
        self.end()
        number = self.number
        if payload.__class__ is bytes and len(payload) < APART and not (context or raised):
            transport.send(encode_return(number, seconds, payload))
            return
        if payload.__class__ is Parts and len(payload.parts) == 2 and arena is not None and not (context or raised):
            mark = arena.put(payload.parts, len(payload))
            if mark:
                transport.send(encode_return_in_arena(number, seconds, payload.extent, mark))
                return
        frame = Return(call=(number,), seconds=(seconds,), raised=raised)
        if context:
            frame.context = context
        file = attach(frame, payload, arena)
        transport.send(encode_apart(frame), file, frame.payload)

    def fail(self, transport: SocketTransport, seconds: float, exc: BaseException, *, doing: str = "") -> None:
        """
        Send an exception to the engine.

        :param doing: what woolexec, not the task, was doing when the exception was raised
        """
        if doing:
            add_note(exc, f"while {doing} in {here()}")
            if isinstance(exc, ModuleNotFoundError):
                from woolexec.worker.code_import import FOLDER

                if FOLDER in os.environ:  # this is a peer's worker
                    add_note(exc, f"install it there, or send it with PeerPoolExecutor(ship=[{exc.name!r}])")
        self.end()
        types = types_of(exc)
        payload = dump_failure(exc, skip=0 if doing else 1, goes_home=self.goes_home)
        transport.send(encode(Raise(call=self.number, seconds=seconds, payload=payload, type=types)))
        self.held = self.held, get(exc, "__traceback__")  # with its frames and everything that these refer to
        put(exc, "__traceback__", None)  # its frames may refer to the exception


def jobs_of(frame: Start, slot: Slot, chunk: Any) -> list[Job]:
    """
    Return the jobs of a Start frame.

    :param chunk: the payload of the last chunk received; the frame may refer to another span of it
    """
    payload = chunk if frame.again else frame.payload
    frame.payload = b""  # the jobs keep the frame
    after = frame.after
    if len(frame.call) == 1 and not after:
        return [Job(frame.call[0], slot, payload, frame)]
    jobs, pos = [], 0
    for number, size in zip(frame.call, frame.size, strict=True):
        jobs.append(Job(number, slot, payload[pos : pos + size], frame, after))
        pos += size
        after = after and number
    return jobs


def spread(chunk: tuple[Any, ...]) -> tuple[bool, list[Any], bool, bool, bool]:
    """
    Return the parts of a chunk of a map.

    :return: whether each item is a tuple of arguments; the items; whether the function is unpickled for each item;
        whether each item is the pickle of one; whether the results are pickled together
    """
    star, items, *how = chunk
    anew, alone, together = how or (False, False, False)
    return star, items, anew, alone, together


GIVEN: Any = object()
"""Placeholder for an item of a chunk that has been given to a call: another attempt does not get the same objects."""

UNPICKLING = "unpickling the function and its arguments"
PICKLING = "pickling the result"


def dumps_item(value: Any, *, goes_home: bool) -> bytes | File | Parts:
    """
    Pickle the result of one item of a map; if that fails, the exception is its result.

    :param goes_home: see `pickling.dumps`
    """
    try:
        return dumps_results([value if is_safe(value) else pickled_alone(value, goes_home=goes_home)], {})
    except BaseException as exc:
        return dumps_results([None], {0: dump_failure(exc, goes_home=goes_home)})


def pickled_alone(value: Any, *, goes_home: bool) -> Pickled:
    """
    Pickle a value.

    :raises Exception: any exception raised by pickling, with a note about the failed step
    """
    try:
        return Pickled.of(value, goes_home=goes_home)
    except BaseException as exc:
        add_note(exc, f"while {PICKLING} in {here()}")
        raise


def dumps_results(
    values: list[Any], errors: dict[int, bytes], *marks: bool, goes_home: bool = False
) -> bytes | File | Parts:
    """
    Pickle the results of some items of a map; some of them may be `Pickled`.

    :param marks: True if some of the other results are not constants
    """
    is_plain = Pickled not in set(map(type, values))
    return dumps((values if is_plain else tuple(values), errors, *marks), is_outcome=True, goes_home=goes_home)


def dumps_together(values: list[Any], errors: dict[int, bytes], *, goes_home: bool) -> bytes | File | Parts:
    """
    Pickle the results of some items of a map together, and mark them so; those that are `Pickled` stay separate.  A
    result that cannot be pickled does not make the others fail.

    :param errors: the encoded exceptions of the items that failed, by index
    :param goes_home: see `pickling.dumps`
    """
    try:
        return dumps_results(values, errors, True, goes_home=goes_home)
    except BaseException:  # pickling runs user code
        pass
    alone: list[Any] = []
    for index, value in enumerate(values):
        try:
            is_done = is_safe(value) or value.__class__ is Pickled
            alone.append(value if is_done else pickled_alone(value, goes_home=goes_home))
        except BaseException as exc:
            errors[index] = dump_failure(exc, goes_home=goes_home)
            alone.append(None)
    return dumps_results(alone, errors)
