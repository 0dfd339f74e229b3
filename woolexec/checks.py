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
        raise ValueError(f"{name} must be a number of seconds that a float can hold") from None
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


_UNITS = {"": 1, "B": 1} | {
    unit: base**power
    for power, letter in enumerate("KMGT", 1)
    for unit, base in ((letter, 1000), (f"{letter}B", 1000), (f"{letter}I", 1024), (f"{letter}IB", 1024))
}
"""The units of sizes, in capitals: KB is 1000 bytes, KiB is 1024."""


def size(name: str, value: Any) -> int | None:
    """
    Return a size in bytes, given as a number or as a text such as ``"2 GiB"``, ``"1.5GB"`` or ``"300 MiB"``.

    :raises TypeError: if it is neither a number nor a text, or None
    :raises ValueError: if the text is not a size, or the size is below one byte
    """
    if value is None:
        return None
    if not isinstance(value, str):
        number = integer(name, value, 'a number of bytes, a size such as "2 GiB", or None')
    else:
        digits = value.strip()
        unit = digits.lstrip("0123456789._")
        try:
            number = int(float(digits.removesuffix(unit)) * _UNITS[unit.strip().upper()])
        except (KeyError, ValueError, OverflowError):
            raise ValueError(f'{name}: {shown(value)} is not a size such as "2 GiB" or "500 MB"') from None
    if number < 1:
        raise ValueError(f"{name} must be at least one byte, not {shown(value)}")
    return number


def size_text(number: float) -> str:
    """Return a size for a message: ``2.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} TiB"


def check_map(
    chunksize: int | None, buffersize: int | None, timeout: float | None = None
) -> tuple[int | None, int | None, float | None]:
    """
    Check the arguments of a map, as the standard library does; return them as plain numbers.

    :raises ValueError: for a size below 1, or a time that is NaN
    :raises TypeError: for a size that is not an integer, or a time that is not a number
    """
    if chunksize is not None:
        chunksize = count("chunksize", chunksize, "an integer or None")
    if buffersize is not None:
        buffersize = integer("buffersize", buffersize, "an integer or None")
        if buffersize < 1:
            raise ValueError(f"buffersize must be None or > 0, not {buffersize}")
    return chunksize, buffersize, seconds("timeout", timeout)
