"""
Checks of arguments: each kind of check is written once.

A message says what was expected and what was given.  As in Python, a wrong type is a TypeError and a wrong value of
the right type is a ValueError; the integer and float types of numpy and other libraries are accepted.
"""

from __future__ import annotations

from math import isnan
from operator import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wrong_type(name: str, expected: str, value: object) -> TypeError:
    """Return the TypeError for an argument of the wrong type."""
    if isinstance(value, type):
        return TypeError(f"{name} must be {expected}, not the class {value.__qualname__}")
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}: {shown(value)}")


def shown(value: object) -> str:
    """Return the repr of a value for a message, shortened; the repr is user code and may raise."""
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def integer(name: str, value: Any, expected: str = "an integer") -> int:
    """
    Return an integer argument as `int`; a `bool` is refused.

    :raises TypeError: if it is not an integer
    """
    if value.__class__ is int:
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise wrong_type(name, expected, value) from None


def count(name: str, value: Any, expected: str = "an integer") -> int:
    """
    Return an argument that is a count of at least 1.

    :raises TypeError: if it is not an integer
    :raises ValueError: if it is below 1
    """
    number = integer(name, value, expected)
    if number < 1:
        raise ValueError(f"{name} must be >= 1, not {number}")
    return number


def seconds(name: str, value: Any) -> float | None:
    """
    Return a number of seconds, or None for no limit; infinity also means no limit.

    :raises TypeError: if it is not a number
    :raises ValueError: if it is NaN, or too large for a float
    """
    if value is None:
        return None
    if value.__class__ is not float and value.__class__ is not int:
        if isinstance(value, bool | str | bytes | bytearray) or not hasattr(value, "__float__"):
            raise wrong_type(name, "a number of seconds or None", value)
        value = float(value)
    try:
        is_number = not isnan(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number of seconds, and not one that is too large for a float") from None
    if not is_number:
        raise ValueError(f"{name} must be a number of seconds, not NaN")
    return None if value == float("inf") else value


def positive_seconds(name: str, value: Any) -> float | None:
    """
    Like `seconds`, for a time that must be above 0.

    :raises ValueError: if it is not above 0
    """
    number = seconds(name, value)
    if number is not None and number <= 0:
        raise ValueError(f"{name} must be above 0 seconds, or None for no limit, not {number:g}")
    return number
