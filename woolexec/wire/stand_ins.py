"""What does not travel with a function that names it, and what the worker has in its place."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANEW: dict[type, Callable[[], Any]] = {
    type(threading.Lock()): threading.Lock,
    type(threading.RLock()): threading.RLock,
    threading.local: threading.local,
    threading.Event: threading.Event,
    threading.Condition: threading.Condition,
}
"""What each process has for itself, where a global of a function or an attribute of a class is one: where these are
imported there is a new one as well."""


class Anew:
    """Stands for one of those in a pickle."""

    __slots__ = ("kind",)

    def __init__(self, value: object) -> None:
        self.kind = type(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return ANEW[self.kind], ()


def replace(values: dict[str, Any]) -> None:
    """Replace, among a function's globals or a class's attributes, what each process has for itself."""
    values.update({name: Anew(value) for name, value in values.items() if type(value) in ANEW})
