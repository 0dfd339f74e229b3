"""The base class of the exceptions in `woolexec.errors` and `woolexec.broken_pool`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    E = TypeVar("E", bound=BaseException)


class WoolexecError(Exception):
    """Base class of the exceptions that woolexec defines."""


WoolexecError.__module__ = "woolexec.errors"  # where users and pickles find it


def rebuild(cls: type[E], args: tuple[object, ...], state: dict[str, object]) -> E:
    """Create an exception with its attributes; called by unpickling."""
    error = cls(*args)
    error.__dict__.update(state)
    return error
