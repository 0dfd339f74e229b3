"""Calls whose arguments contain futures: they wait for these, and are then handed on with the values."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from woolexec.core.held import line_up
from woolexec.futures.call_future import CallFuture
from woolexec.futures.delivery import Deferred, Quick
from woolexec.wire.exceptions import NotStarted
from woolexec.wire.inputs import Unbound, bind
from woolexec.wire.payload import APART, LARGE, File, Parts
from woolexec.wire.pickling import dumps_arguments, is_for_all
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from woolexec.core.call import Call, Chunk

_AT_ONCE = 1 << 20
"""Maximum size, in bytes, of values that are copied in the thread that delivers outcomes."""

_LAST, _OTHER = True, False


class Holder(Protocol):
    """Holds calls and chunks until they have their values."""

    shares: ClassVar[bool]
    """Whether large values can be sent separately from the calls that need them, so that these share one copy."""

    def takes(self, value: Value) -> bool:
        """Return whether calls may refer to this value under its number, even if it is away."""

    def hold(self, entry: Any) -> None:
        """Hold a call or a chunk; it may be cancelled meanwhile."""

    def release(self, entry: Any, payload: Any) -> None:
        """Hand on a call or a chunk with its payload, unless it was cancelled."""

    def drop(self, entry: Any, payload: Any) -> None:
        """End a call or a chunk with the failure of an input; None: the input was cancelled."""


def hold(entry: Call | Chunk | _Arguments, holder: Holder, name: str) -> bool:
    """
    Hold a call or a chunk with an `Unbound` payload until all its inputs are done.

    :param name: the name of its task
    :return: False if all inputs are done: it has their values now, and the caller must hand it on
    :raises RuntimeError: if tasks are no longer accepted
    """
    unbound = entry.payload
    note = getattr(holder, "note", None)  # only an engine's holder has one, while a trace runs
    if note is not None:
        note(entry)
    for each in unbound.inputs:
        if isinstance(each, CallFuture):
            each.retain()
    values = _ready_values(unbound.inputs, holder)
    if values is not None and _are_done(unbound):
        with contextlib.suppress(OSError):  # no memory file can be made: reported like any other failure
            _complete(entry, bind(unbound, values))
            return False
    holder.hold(entry)
    waiting = Waiting(entry, unbound, holder, name)
    for each in unbound.inputs:
        _watch(each, waiting, holder)
    for each in (*unbound.beside, *unbound.wishes):
        CallFuture.add_done_callback(each, waiting)
    return True


def bound(payload: Any) -> CallFuture[Any]:
    """Return a future that resolves to pickled arguments, with the values of the futures among them."""
    gate: CallFuture[Any] = CallFuture()
    if payload.__class__ is Unbound:
        arguments = _Arguments(payload)
        if hold(arguments, _Gate(gate), "the task"):
            return gate
        payload = arguments.payload
    gate.deliver_ready(payload)
    return gate


class _Arguments:
    """Pickled arguments without a call."""

    def __init__(self, payload: Any) -> None:
        self.payload = payload


class _Gate:
    """Resolves a future to the arguments, which go to every worker."""

    shares: ClassVar[bool] = True

    def __init__(self, future: CallFuture[Any]) -> None:
        self._future = future

    def takes(self, value: Value) -> bool:
        """Return False for a value that may be at a peer: workers here need it too."""
        return not value.is_kept

    def hold(self, entry: Any) -> None:
        """Do nothing."""

    def release(self, entry: Any, payload: Any) -> None:
        """Resolve the future."""
        self._future.deliver_ready(payload)

    def drop(self, entry: Any, payload: Any) -> None:
        """End the future."""
        self._future.deliver_failure(None, payload)


def _watch(future: Any, waiting: Waiting, holder: Holder) -> None:
    is_ours = isinstance(future, CallFuture)
    # An asyncio future may only be used in the thread of its loop.
    get_loop = None if is_ours else getattr(future, "get_loop", None)
    if get_loop is None:
        kept = future.kept if is_ours else None
        try:
            if kept is not None and not holder.takes(kept):  # it must be fetched first
                go_on = partial(future.run_elsewhere, partial(waiting, future))
                if kept.fetch().add(Deferred(go_on)):
                    return
        except RuntimeError as exc:  # in a forked child
            waiting.fail(exc, future)
            return
        add = CallFuture.add_done_callback if is_ours else type(future).add_done_callback
        add(future, waiting)  # not that of a nested future, which tells the engine that this thread waits
        return
    try:
        get_loop().call_soon_threadsafe(future.add_done_callback, waiting)
    except RuntimeError as exc:  # the loop is closed
        waiting.fail(exc, future)


class Waiting(Quick):
    """
    A call, or a chunk of a map, that waits for its inputs; a done-callback of each.

    :param unbound: its arguments
    :param name: the name of its task
    """

    __slots__ = ("_holder", "_left", "_name", "_unbound", "after", "entry")

    is_of_call = True

    def __init__(self, entry: Call | Chunk | _Arguments, unbound: Unbound, holder: Holder, name: str) -> None:
        self.entry: Any = entry  # None while it is sent already: see `woolexec.core.following`
        self.after = 0
        self._unbound: Unbound | None = unbound
        self._holder = holder
        self._name = name
        count = len(unbound.inputs) + len(unbound.beside) + len(unbound.wishes)
        self._left = [_LAST, *[_OTHER] * (count - 1)]  # `pop` is atomic: one thread gets the last

    @property
    def lacks_one(self) -> bool:
        """Whether only the outcome of one call is missing, so that the call may follow that one."""
        unbound = self._unbound
        if unbound is None or len(unbound.inputs) != 1 or unbound.beside or unbound.wishes:
            return False
        return unbound.payload.__class__ is bytes and len(unbound.payload) < APART

    def again(self, entry: Call) -> None:
        """Wait for the one input again: see `woolexec.core.following`."""
        unbound, self.entry = self._unbound, entry
        if unbound is None:  # the program has ended the future itself, just when the call was taken
            self._holder.drop(entry, None)
            return
        [future] = unbound.inputs
        if future.done() and not self.at_once(future):  # if it is not, this is called when it is
            future.run_elsewhere(partial(self, future))

    def at_once(self, future: Future[Any]) -> bool:
        """Count an input that is done; return False if continuing needs user code, or takes long."""
        unbound = self._after(future)
        if unbound is None:
            return True
        values = _ready_values(unbound.inputs, self._holder)
        if values is None or _copied(values) > _AT_ONCE:
            self._left.append(_LAST)
            return False
        self._release(unbound, values)
        return True

    def __call__(self, future: Future[Any]) -> None:
        """Count an input that is done; continue if it was the last."""
        try:
            if len(self._left) > 1:
                self._take(future)
            unbound = self._after(future)
            if unbound is None:
                return
            values = [_value_of(each, self._holder) for each in unbound.inputs]
        except BaseException as exc:  # pickling and unpickling run user code
            self._drop(exc)
        else:
            self._release(unbound, values)

    def _take(self, future: Any) -> None:
        """Pickle a value that only the program has now: it may change the object while other inputs are missing."""
        unbound = self._unbound
        if unbound is None or not _is_among(future, unbound.inputs) or not _is_at_hand(future):
            return
        taken: CallFuture[Any] = CallFuture()
        taken.deliver(None, _value_of(future, self._holder))
        inputs: Any = unbound.inputs
        inputs[next(number for number, each in enumerate(inputs) if each is future)] = taken

    def _after(self, future: Future[Any]) -> Unbound | None:
        """Count an input that is done; return the arguments if it was the last one, and none has failed."""
        if self.entry is None or self._has_failed(future):
            return None
        try:
            return self._unbound if self._left.pop() else None
        except IndexError:  # the future ended while `again` looked at it
            return None

    def _release(self, unbound: Unbound, values: list[Any]) -> None:
        try:
            payload = bind(unbound, values)
        except OSError as exc:  # no memory file can be made
            self._drop(exc)
        else:
            self._unbound = None
            self._holder.release(self.entry, payload)

    def _has_failed(self, future: Any) -> bool:
        """End the call if this input has failed or was cancelled."""
        unbound = self._unbound
        if unbound is not None and unbound.wishes and not _is_among(future, (*unbound.inputs, *unbound.beside)):
            return False
        if future.cancelled():
            self._drop(None)
            return True
        is_ours = isinstance(future, CallFuture)
        payload = future.failure if is_ours else future.exception()
        if payload is None:
            return False
        self._drop(NotStarted(payload, f"its input {(is_ours and future.task) or repr(future)}", self._name))
        return True

    def fail(self, error: BaseException, future: Any) -> None:
        """End the call because an input will never be done."""
        self._drop(NotStarted(error, f"its input {future!r}", self._name))

    def _drop(self, payload: Any) -> None:
        self._unbound = None
        self._holder.drop(self.entry, payload)


def _is_among(future: Any, futures: Iterable[Any]) -> bool:
    return any(each is future for each in futures)


def _is_at_hand(future: Any) -> bool:
    """Return whether a future that is done has its value only as an object, which the program can change."""
    if future.cancelled():
        return False
    if isinstance(future, CallFuture):
        return future.encoded is None and future.value is None and future.failure is None
    return future.exception() is None


def _are_done(unbound: Unbound) -> bool:
    """Return whether the futures that are not inputs need not be waited for, and none has failed."""
    return all(each.done() for each in unbound.wishes) and all(
        each.done() and not each.cancelled() and each.failure is None for each in unbound.beside
    )


def _complete(entry: Any, payload: Any) -> None:
    """Give a call or a chunk its payload before it is queued."""
    entry.payload = payload
    if not isinstance(entry, _Arguments):
        line_up(entry)


def wait_for_values(entry: Call, holder: Holder) -> None:
    """
    Wait for the inputs of a call that has an `Unbound` payload, and give it their values.

    :raises Exception: that of an input that has failed, or whatever pickling raises
    """
    unbound = entry.payload
    for each in (*unbound.inputs, *unbound.beside):
        each.result()
    for each in unbound.wishes:
        with contextlib.suppress(Exception):
            each.exception()
    entry.payload = bind(unbound, [_value_of(each, holder) for each in unbound.inputs])


def _copied(values: list[Any]) -> int:
    """Return how many bytes are copied to join these values to the arguments."""
    return sum([len(each) for each in values if not isinstance(each, Value)])


def _ready_values(futures: Iterable[Any], holder: Holder) -> list[Any] | None:
    """Return the pickled values of all inputs; None if one is not ready: see `_ready_value`."""
    values = []
    for each in futures:
        value = _ready_value(each, holder)
        if value is None:
            return None
        values.append(value)
    return values


def _ready_value(future: Any, holder: Holder) -> bytes | File | Parts | Value | None:
    """
    Return the pickled value of an input, as it arrived; None if there is none that all workers can unpickle.

    If the holder shares values, all calls that need a large one share it; it may then be at a peer.
    """
    if not isinstance(future, CallFuture):
        return None
    value: Value | None = future.value
    if value is not None:
        value.use()
        if value.is_away and future.failure is not None:
            return None  # it is lost
        if not holder.shares or not holder.takes(value):
            if value.is_away:
                return None
            value = value.copy()
        return value if value.is_away or (holder.shares and value.size >= LARGE) else value.payload
    payload = future.encoded
    if not isinstance(payload, bytes | File | Parts) or not _is_for_all(payload):
        return None
    if not holder.shares or len(payload) < LARGE:
        return payload
    future.value = value = Value(payload)
    return value


def _is_for_all(payload: bytes | File | Parts) -> bool:
    try:
        return is_for_all(payload)
    except (OSError, ValueError):  # a file that cannot be read: reading it again elsewhere says why
        return False


def _value_of(future: Any, holder: Holder) -> bytes | File | Parts | Value:
    """
    Return the pickled value of an input that is done; see `_ready_value`.

    :raises Exception: whatever unpickling and pickling it raises
    """
    payload = _ready_value(future, holder)
    if payload is None:
        as_it_arrived = future.encoded if isinstance(future, CallFuture) else None
        # Not the object of `result`, which the program may have changed.
        value = future.result() if as_it_arrived is None else loads(as_it_arrived, again=True)
        payload = dumps_arguments(value, ("the value of a future",))  # type: ignore[assignment]
    if isinstance(payload, Unbound):
        raise TypeError("the value of a future in the arguments of a task contains futures itself")
    return payload  # type: ignore[return-value]  # the other kinds of payload are excluded
