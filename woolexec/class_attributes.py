"""Whether a class has an attribute, without asking its metaclass."""

from __future__ import annotations


def defines(cls: type, *names: str) -> bool:
    """
    Return whether a class, or one that it inherits from, defines one of these names.

    `hasattr` also calls ``__getattr__`` of the metaclass, which may return something for every name, or take long.
    """
    for base in cls.__mro__:
        attributes = base.__dict__
        for name in names:
            if name in attributes:
                return True
    return False
