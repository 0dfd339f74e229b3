"""Calls whose arguments contain futures: they wait for these, and are handed on with the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from woolexec.futures.call_future import CallFuture
from woolexec.futures.delivery import Quick
from woolexec.wire.exceptions import InputFailed
from woolexec.wire.inputs import Unbound, bind
from woolexec.wire.payload import File, Parts
from woolexec.wire.pickling import dumps_arguments, is_for_all

if TYPE_CHECKING:
    from concurrent.futures import Future

    from woolexec.core.call import Call, Chunk

_AT_ONCE = 1 << 20
"""Maximum size, in bytes, of values that are copied in the thread that delivers outcomes."""

_LAST, _OTHER = True, False


class Holder(Protocol):
    """Holds calls and chunks until they have their values."""

    def hold(self, entry: Any) -> None:
        """Hold one; it may be cancelled meanwhile."""

    def release(self, entry: Any, payload: Any) -> None:
        """Hand it on with its payload, unless it was cancelled."""

    def drop(self, entry: Any, payload: Any) -> None:
        """End it with the failure of an input; None: the input was cancelled."""


def hold(entry: Call | Chunk | _Arguments, holder: Holder, name: str) -> None:
    """
    Hold a call or a chunk with an `Unbound` payload until all its inputs are done.

    :param name: the name of its task
    :raises RuntimeError: if tasks are not accepted any more
    """
    inputs = entry.payload.inputs
    holder.hold(entry)
    waiting = Waiting(entry, entry.payload, holder, name)
    for each in inputs:
        _watch(each, waiting)


def bound(payload: Any) -> CallFuture[Any]:
    """Return a future that resolves to pickled arguments, with the values of the futures among them."""
    gate: CallFuture[Any] = CallFuture()
    if payload.__class__ is Unbound:
        hold(_Arguments(payload), _Gate(gate), "the task")
    else:
        gate.deliver_ready(payload)
    return gate


class _Arguments:
    """Pickled arguments without a call."""

    def __init__(self, payload: Unbound) -> None:
        self.payload = payload


class _Gate:
    """Resolves a future to the arguments."""

    def __init__(self, future: CallFuture[Any]) -> None:
        self._future = future

    def hold(self, entry: Any) -> None:
        """Do nothing."""

    def release(self, entry: Any, payload: Any) -> None:
        """Resolve the future."""
        self._future.deliver_ready(payload)

    def drop(self, entry: Any, payload: Any) -> None:
        """End the future."""
        self._future.deliver_failure(None, payload)


def _watch(future: Any, waiting: Waiting) -> None:
    get_loop = getattr(future, "get_loop", None)  # of an asyncio future, which is used in its loop's thread only
    if get_loop is None:
        add = CallFuture.add_done_callback if isinstance(future, CallFuture) else type(future).add_done_callback
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

    __slots__ = ("_entry", "_holder", "_left", "_name", "_unbound")

    def __init__(self, entry: Call | Chunk | _Arguments, unbound: Unbound, holder: Holder, name: str) -> None:
        self._entry = entry
        self._unbound: Unbound | None = unbound
        self._holder = holder
        self._name = name
        self._left = [_LAST, *[_OTHER] * (len(unbound.inputs) - 1)]  # `pop` is atomic: one thread gets the last

    def at_once(self, future: Future[Any]) -> bool:
        """Count an input that is done; return False if going on needs user code, or takes long."""
        unbound = self._after(future)
        if unbound is None:
            return True
        values = [_encoded(each) for each in unbound.inputs]
        if None in values or sum(map(len, values)) > _AT_ONCE or not all(map(_is_for_all, values)):
            self._left.append(_LAST)
            return False
        self._release(unbound, values)
        return True

    def __call__(self, future: Future[Any]) -> None:
        """Count an input that is done; go on if it was the last."""
        unbound = self._after(future)
        if unbound is None:
            return
        try:
            values = [_value_of(each) for each in unbound.inputs]
        except BaseException as exc:  # pickling and unpickling run user code
            self._drop(exc)
        else:
            self._release(unbound, values)

    def _after(self, future: Future[Any]) -> Unbound | None:
        """Count an input that is done; return the arguments if it was the last one, and none has failed."""
        return None if self._has_failed(future) or not self._left.pop() else self._unbound

    def _release(self, unbound: Unbound, values: list[Any]) -> None:
        try:
            payload = bind(unbound, values)
        except OSError as exc:  # no memory file can be made
            self._drop(exc)
        else:
            self._unbound = None
            self._holder.release(self._entry, payload)

    def _has_failed(self, future: Any) -> bool:
        """End the call if this input has failed or was cancelled."""
        if future.cancelled():
            self._drop(None)
            return True
        is_ours = isinstance(future, CallFuture)
        payload = future.failure if is_ours else future.exception()
        if payload is None:
            return False
        self._drop(InputFailed(payload, (is_ours and future.task) or repr(future), self._name))
        return True

    def fail(self, error: BaseException, future: Any) -> None:
        """End the call because an input will never be done."""
        self._drop(InputFailed(error, repr(future), self._name))

    def _drop(self, payload: Any) -> None:
        self._unbound = None
        self._holder.drop(self._entry, payload)


def _encoded(future: Any) -> Any:
    """Return the pickled value of an input, as it arrived; None if there is none that workers can unpickle."""
    payload = future.encoded if isinstance(future, CallFuture) else None
    return payload if isinstance(payload, bytes | File | Parts) else None


def _is_for_all(payload: bytes | File | Parts) -> bool:
    try:
        return is_for_all(payload)
    except (OSError, ValueError):  # a file that cannot be read: reading it again elsewhere says why
        return False


def _value_of(future: Any) -> bytes | File | Parts:
    """
    Return the pickled value of an input that is done.

    :raises Exception: whatever unpickling and pickling it raises
    """
    payload: Any = _encoded(future)
    if payload is None or not is_for_all(payload):
        payload = dumps_arguments(future.result(), ("the value of a future",))
    if isinstance(payload, Unbound):
        raise TypeError("the value of a future in the arguments of a task contains futures itself")
    return payload  # type: ignore[no-any-return]  # what is left of the two
