"""Decodes the parts of a map's results, as they arrive, into values and failed items."""

from __future__ import annotations

from concurrent.futures import CancelledError

from woolexec.wire.exceptions import add_note, as_exception
from woolexec.wire.pickling import Pickled
from woolexec.wire.unpickling import Untrusted, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def part_in(payload: Any, count: int) -> tuple[Any, dict[int, Any], bool]:
    """
    Decode a part: its values, the encoded exceptions of its items by index, and whether it contains objects.

    :param count: number of its items
    :raises Exception: whatever unpickling raises
    """
    values, errors, *objects = loads(payload)
    if isinstance(payload, Untrusted):
        if type(values) not in (list, tuple) or type(errors) is not dict or len(values) != count:
            from pickle import UnpicklingError

            raise UnpicklingError(f"the peer sent something other than the results of {count} items")
        errors = {number: payload.part(error) for number, error in errors.items()}
    return values, errors, bool(objects)


class Failed:
    """Placeholder for the value of an item that failed."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def value_of(value: Any, error: Any) -> Any:
    """Decode one value of a part that has exceptions or whose values were pickled one by one."""
    try:
        if error is not None:
            return Failed(as_exception(error))
        return value.load() if value.__class__ is Pickled else value
    except KeyboardInterrupt:  # the user's Ctrl-C
        raise
    except BaseException as exc:  # unpickling runs user code
        return Failed(exc)


def raise_for_item(error: BaseException, first: int, count: int = 1, *, is_shared: bool = False) -> NoReturn:
    """Raise the exception of an item, with a note that says which item it was."""
    try:
        raise with_item(as_raised(error), first, count, is_shared=is_shared)
    finally:
        del error  # break the cycle with the exception's traceback


def with_item(exc: BaseException, first: int, count: int = 1, *, is_shared: bool = False) -> BaseException:
    """
    Add a note to an exception that says which item of a map raised it.

    :param is_shared: the same exception may be added for several items: only the first note is added
    """
    note = f"item {first} of the map" if count == 1 else f"items {first} to {first + count - 1} of the map"
    notes = getattr(exc, "__notes__", None)
    if not (isinstance(notes, list) and (note in notes or (is_shared and any(map(_is_about_item, notes))))):
        add_note(exc, note)
    return exc


def _is_about_item(note: object) -> bool:
    return isinstance(note, str) and note.startswith("item") and note.endswith(" of the map")


def as_raised(exc: BaseException, silent: tuple[type[BaseException], ...] = (StopIteration,)) -> BaseException:
    """
    Return what an iterator raises for an exception.

    :param silent: exceptions that would silently end the iteration: they become the cause of a RuntimeError
    """
    if isinstance(exc, silent):
        error = RuntimeError(f"the task raised {type(exc).__name__}")
        error.__cause__ = exc
        return error
    return exc


class FailedItem:
    """Placeholder among values for an item that failed, or for each of several that failed together."""

    __slots__ = ("_count", "_error", "_index", "_is_shared")

    def __init__(self, error: Any, index: int, count: int = 1) -> None:
        self._error = error
        self._index = index
        self._count = count
        self._is_shared = isinstance(error, BaseException)

    def exception(self, *, is_raised: bool) -> BaseException:
        """Decode the exception and add a note that says which item raised it."""
        error = self._error = as_exception(self._error)
        if is_raised:  # raised by `__anext__`, these would silently end the iteration
            error = as_raised(error, (StopAsyncIteration, StopIteration))
        return with_item(error, self._index, self._count, is_shared=self._is_shared)


def opened(index: int, count: int, payload: Any, *, failed: bool) -> list[Any] | tuple[Any, ...]:
    """
    Decode a part whose first item has this index in the map.

    :return: a list of values, or a tuple in which each item that failed is a `FailedItem`
    """
    if failed:
        return (FailedItem(payload, index, count),) * count
    if not isinstance(payload, bytes) and hasattr(payload, "add_done_callback"):
        try:
            error = payload.exception()
            return [payload.result()] if error is None else (FailedItem(error, index),)
        except CancelledError as exc:
            return (FailedItem(exc, index),)
    try:
        values, errors, _ = part_in(payload, count)
    except KeyboardInterrupt:  # the user's Ctrl-C
        raise
    except BaseException as exc:  # unpickling runs user code
        return (FailedItem(exc, index, count),) * count
    if errors or values.__class__ is tuple:
        decoded = (value_of(value, errors.get(number)) for number, value in enumerate(values))
        return tuple(
            FailedItem(value.error, number) if value.__class__ is Failed else value
            for number, value in enumerate(decoded, index)
        )
    return values  # type: ignore[no-any-return]  # pickle has no types
