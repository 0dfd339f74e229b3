"""Pickle many numbers without a look at each of them: what the pickler has memoized says whether there is more."""

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
    """Pickles no object that says itself how it is pickled."""

    def reducer_override(self, obj: object) -> NoReturn:
        """Refuse an object that is neither a number, a text nor a container."""
        raise pickle.PicklingError


def dumps_numbers(values: Sequence[Any], within: object, containers: int) -> bytes | File | Parts | None:
    """
    Pickle an object that contains some values if they all are numbers or None; return None if there is another.

    The pickler memoizes all others but the empty tuple: so nobody need look at the type of each value, which takes
    longer than to pickle it.

    :param within: the object; what else is in it are numbers
    :param containers: how many containers it consists of, itself and the list of values among them
    """
    for value in (values[0], values[len(values) // 2], values[-1]):  # usually they are of one kind
        if type(value) not in _NUMBERS:
            return None
    file = BytesIO()
    pickler: Any = _NumbersPickler(file, 5)
    try:
        pickler.dump(within)
    except Exception:
        return None
    return pack(file.getvalue(), []) if len(pickler.memo.copy()) == containers else None
