"""How the program has told multiprocessing to pickle things, which the standard library's pool obeys."""

from __future__ import annotations

from woolexec.imported import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWN = ("multiprocessing", "functools", "builtins", "socket", "_socket", "array")
"""Modules whose classes multiprocessing, its managers and sockets bring reducers for."""

_reduction: Any = None
_seen = (0, False)


def registered() -> dict[type, Any]:
    """Return the reducers by class; empty while multiprocessing is not used."""
    global _reduction  # a cache: this is asked for every pickle that names a class
    if _reduction is None:
        _reduction = imported("multiprocessing.reduction")
        if _reduction is None:
            return {}
    return _reduction.ForkingPickler._extra_reducers  # type: ignore[no-any-return]  # it has no public name


def has_foreign(reducers: dict[type, Any]) -> bool:
    """Say whether there are others than those that multiprocessing and sockets bring."""
    global _seen  # a cache, as above
    if _seen[0] != len(reducers):
        # A copy: another thread may be registering more.
        _seen = len(reducers), any(cls.__module__.partition(".")[0] not in _OWN for cls in list(reducers))
    return _seen[1]
