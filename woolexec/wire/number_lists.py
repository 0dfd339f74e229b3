"""Pickle many numbers without checking each: the pickler's memo shows whether there were other objects."""

from __future__ import annotations

from io import BytesIO

from woolexec.wire.payload import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from woolexec.wire.payload import File, Parts
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle

_NUMBERS = frozenset({type(None), bool, int, float})


class _NumbersPickler(pickle.Pickler):
    """Refuses objects that define how they are pickled."""

    def reducer_override(self, obj: object) -> NoReturn:
        """Refuse an object that is neither a number, a string nor a container."""
        raise pickle.PicklingError


def dumps_numbers(values: Sequence[Any], within: object, containers: int) -> bytes | File | Parts | None:
    """
    Pickle an object that contains these values if all of them are numbers or None; otherwise return None.

    The pickler memoizes all other objects except the empty tuple, so the types of the values need not be checked, which
    would take longer than pickling them.

    :param within: the object; its other contents are numbers
    :param containers: number of containers in it, including itself and the list of values
    """
    for value in (values[0], values[len(values) // 2], values[-1]):  # usually all are of one type
        if type(value) not in _NUMBERS:
            return None
    file = BytesIO()
    pickler: Any = _NumbersPickler(file, 5)
    try:
        pickler.dump(within)
    except Exception:
        return None
    return pack(file.getvalue(), []) if len(pickler.memo.copy()) == containers else None
