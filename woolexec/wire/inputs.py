"""
The inputs of a call: futures among its arguments; the function receives their values instead.

::

    submit                the arguments --pickle--> Unbound: a pickle in which each future is a number, and the futures
    the last one is done  Unbound and the pickles of the values --bind--> an ordinary payload
    worker                that payload --unpickle--> the arguments, with the values in them

Where possible, a value's pickle is passed on as it arrived, without unpickling it.  Each value is unpickled once for
each call, even if its future occurs several times in the arguments, so no two calls share an object.
"""

from __future__ import annotations

from _thread import _local

from woolexec.class_attributes import defines
from woolexec.imported import imported
from woolexec.wire.payload import APART, File, Parts, pack
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Value, WithValues, here

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Sequence
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle


class FutureMetError(TypeError):
    """A future was found where it cannot stand for its value."""

    def __init__(self) -> None:
        super().__init__("a future stands for its value in the arguments of a task only: use its result() here")


class Unbound:
    """
    Pickled arguments that lack the values of futures.

    :param payload: the pickle
    :param inputs: the futures, in the order of their numbers
    :ivar beside: further futures that must be done, whose values are not used
    :ivar wishes: futures that must be done, but may have failed or been cancelled
    """

    __slots__ = ("beside", "inputs", "payload", "wishes")

    def __init__(self, payload: bytes | File | Parts, inputs: Sequence[Any] = ()) -> None:
        self.payload = payload
        self.inputs = inputs
        self.beside: Sequence[Any] = ()
        self.wishes: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.payload)


def call_first(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that is itself an argument, because it holds futures, for instance in its closure."""
    return fn(*args, **kwargs)


def is_future_class(cls: type) -> bool:
    """Return whether this is a class of futures: of `concurrent.futures` or of asyncio."""
    if defines(cls, "deliver_kept", "_asyncio_future_blocking"):  # ours, or one that `asyncio.isfuture` accepts
        return True
    base = imported("concurrent.futures._base")
    return base is not None and issubclass(cls, base.Future)


class Input:
    """
    Stands for a future in arguments that are pickled.

    :param number: its number among the inputs
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return value_of, (self._number,)


def reduce_future(future: Any, inputs: list[Any]) -> tuple[Any, ...]:
    """Reduce a future to its number among the inputs."""
    inputs.append(future)
    return value_of, (len(inputs) - 1,)


def bind(unbound: Unbound, values: Sequence[bytes | File | Parts | Value]) -> bytes | File | Parts | WithValues:
    """
    Join arguments and the pickled values of their inputs into the payload of a call.

    :param values: a `Value` is not copied; the payload refers to it
    :raises OSError: if it needs a memory file, and none can be created
    """
    if not values:
        return unbound.payload
    buffers: list[Any] = []

    def is_inline(buffer: pickle.PickleBuffer) -> bool:
        buffers.append(buffer.raw())
        return False

    if unbound.payload.__class__ is bytes and all(value.__class__ is bytes for value in values):
        return bind_small(unbound.payload, values)  # the usual case, in a third of the time
    shared: list[Value] = []
    contents: list[Any] = []
    for value in values:
        if isinstance(value, Value):
            contents.append(len(shared))
            shared.append(value)
        else:
            contents.append(_parts_of(value))
    bound = _Bound(_parts_of(unbound.payload), contents)
    payload = pack(pickle.dumps(bound, 5, buffer_callback=is_inline), buffers)
    return WithValues(payload, shared) if shared else payload


_PUSH = b"\x80\x05\x8c%c%s\x8c%cload_bound\x93" % (len(__name__), __name__.encode(), len("load_bound"))
"""Opcodes that push `load_bound` onto the stack of an unpickler: PROTO, two SHORT_BINUNICODE, STACK_GLOBAL."""


def bind_small(arguments: bytes, values: Sequence[Any]) -> bytes:
    """Join arguments and values as `bind` does: write the pickle of a `_Bound` whose parts are bytes."""
    pieces = [_PUSH, b"]", *_item(arguments), b"]"]
    for value in values:
        pieces += b"]", *_item(value), b"a"
    pieces.append(b"\x86R.")  # TUPLE2, REDUCE, STOP
    return b"".join(pieces)


def _item(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the opcodes that append bytes to the list on the stack."""
    return b"\x8e" + len(data).to_bytes(8, "little"), data, b"a"  # BINBYTES8, APPEND


def _parts_of(payload: bytes | File | Parts) -> list[Any]:
    parts = [payload] if isinstance(payload, bytes) else payload.load()
    return [pickle.PickleBuffer(part) if len(part) >= APART else bytes(part) for part in parts]


class _Bound:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return load_bound, self._parts


class _Here(_local):
    """The values of the call whose arguments this thread is unpickling."""

    values: _Values | None = None


_here = _Here()


class _Values:
    """The values of one call, unpickled when they are first needed."""

    def __init__(self, payloads: Sequence[Sequence[Any] | int]) -> None:
        self._payloads = payloads
        self._loaded: dict[int, Any] = {}

    def get(self, number: int) -> Any:
        if number not in self._loaded:
            try:
                payload = self._payloads[number]
                if isinstance(payload, int):
                    self._loaded[number] = loads(here.payloads[payload], again=True)
                else:
                    self._loaded[number] = _loads_parts(payload)
            except Exception as exc:  # it may run any code
                _say_where(exc, number)
                raise
        return self._loaded[number]


def _loads_parts(parts: Sequence[Any]) -> Any:
    return loads(parts[0]) if len(parts) == 1 and parts[0].__class__ is bytes else loads(Parts(parts))


def _say_where(exc: BaseException, number: int) -> None:
    try:
        BaseException.add_note(exc, f"in the value of a future among the arguments: number {number + 1}")
    except Exception:  # its notes are user code too
        pass


def load_bound(arguments: Sequence[Any], values: Sequence[Sequence[Any] | int]) -> Any:
    """
    Unpickle arguments with the values of their inputs.

    :param values: body and buffers of each, or its number among the values that the call refers to
    :raises Exception: any exception raised by unpickling, which may run any code
    """
    outer, _here.values = _here.values, _Values(values)
    try:
        return _loads_parts(arguments)
    finally:
        _here.values = outer


def value_of(number: int) -> Any:
    """
    Return the value of an input of the call whose arguments are being unpickled.

    :raises UnpicklingError: if there is no such call
    """
    if _here.values is None:
        raise pickle.UnpicklingError("the value of a future is needed outside of the arguments of a task")
    return _here.values.get(number)
