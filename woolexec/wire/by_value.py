"""
Pickle by value, with cloudpickle: functions, classes and their instances that the receiver cannot import.

1. Everything is pickled unchanged, except for the objects that each process recreates for itself.
2. If that fails, the values that functions and classes name are tried one by one, and those that fail are replaced by
   stand-ins: see `stand_ins`.
3. If it still fails, the exception has a note that says what could not be pickled: see `culprit`.

This module is imported only when the C pickler is not enough, so that programs that do not need it start faster.
"""

from __future__ import annotations

import io

from woolexec.wire import stand_ins
from woolexec.wire.by_value_pickler import Pickler
from woolexec.wire.inputs import is_future_class
from woolexec.wire.stand_ins import StandIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable
    from typing import Any


def dumps_by_value(
    obj: object,
    is_inline: Callable[[pickle.PickleBuffer], bool] | None = None,
    buffers: list[Any] | None = None,
    names: tuple[str, ...] | str = (),
    make_pickler: Callable[..., Any] | None = None,
    *,
    goes_home: bool = False,
) -> bytes:
    """
    Pickle with cloudpickle, and with the reducers registered with multiprocessing, as the standard library's pool does.

    :param is_inline: returns whether a buffer stays in the pickle
    :param buffers: the list that `is_inline` appends buffers to
    :param names: names of the elements of `obj`, or the name of `obj`, for messages
    :param make_pickler: creates the pickler, of a subclass of `Pickler`; see `bundle`
    :param goes_home: the pickle goes to the process that this worker's globals came from
    :raises Exception: any exception raised by pickling, with a note; `obj` may run any code
    """
    make = make_pickler or (_go_home if goes_home else Pickler)
    pickler, data, error = _try(make, obj, is_inline, buffers, None)
    if data is None and pickler.named:
        pickler, data, error = _try(make, obj, is_inline, buffers, Verdicts())
    if data is not None:
        return data
    if isinstance(error.__cause__, RecursionError):  # cloudpickle raises a PicklingError from it
        error = error.__cause__
    from woolexec.wire import culprit

    culprit.annotate(error, obj, names, reversed(pickler.met))
    pickler.met.clear()  # the exception refers to the pickler
    pickler.clear_memo()
    try:
        raise error
    finally:
        del error, pickler  # they refer to each other


def _go_home(*arguments: Any) -> Any:
    pickler = Pickler(*arguments)
    pickler.goes_home = True
    return pickler


def _try(
    make: Callable[..., Any],
    obj: object,
    is_inline: Callable[[pickle.PickleBuffer], bool] | None,
    buffers: list[Any] | None,
    verdicts: Verdicts | None,
) -> tuple[Any, bytes | None, Any]:
    if buffers is not None:
        buffers.clear()
    file = io.BytesIO()
    pickler = make(file, is_inline, verdicts)
    try:
        pickler.dump(obj)
    except Exception as exc:  # user code
        return pickler, None, exc
    return pickler, file.getvalue(), None


class _Nowhere:
    """A file that discards all data."""

    def write(self, data: Any) -> int:
        return len(data)


class Verdicts(dict):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """The replacement for each value in a pickle, by the value's `id`: the value itself if it can be pickled."""

    def __init__(self) -> None:
        self.anew: set[int] = set()  # locks in objects that functions name

    def find(self, owner: str, name: str, value: Any) -> Any:
        """Return what to pickle in place of a value that a function or class names."""
        key = id(value)
        if key not in self:
            self[key] = value  # while it is being tried: functions may name each other
            self[key] = substitute(owner, name, value, self)
        return self[key]


def substitute(owner: str, name: str, value: Any, verdicts: Verdicts | None = None) -> Any:
    """
    Try to pickle a value that a function or class names; return the value if that succeeds, or its replacement.

    :param owner: the function or class, for messages
    :param verdicts: known replacements of other values that go into the same pickle
    """
    if is_future_class(type(value)):  # it may stand for its value: the pickler decides when it reaches the future
        return value
    verdicts = Verdicts() if verdicts is None else verdicts
    pickler = Pickler(_Nowhere(), lambda _: False, verdicts)
    pickler.is_named = pickler.is_global = True
    try:
        pickler.dump(pickler.replace(value))
    except Exception as error:  # user code
        from woolexec.wire import culprit

        culprit.annotate(error, value, name, reversed(pickler.met))
        why = stand_ins.explain(owner, name, value, error, culprit.where(error))
        error.__traceback__ = None
        replaced = stand_ins.imported(name, value, why) or StandIn(why)
        stand_ins.remember(value, replaced)
        return replaced
    return value
