"""
Functions that are composed of the calls of several nodes, or of one node whose arguments contain calls.

The code of such a function is a tuple of steps for a stack::

    None                        push the next argument of the call
    (fn, n)                     replace the n topmost values by the outcome of `fn` for them
    (fn, n, names)              as above; the last values are keyword arguments with these names
    (LIST, n), (DICT, n), ...   replace the n topmost values by a container of them; for a dictionary, key and value
                                alternate
    (CALL, n)                   as (fn, n), where the function lies below the n values
    (NODE, n)                   call an object with a dictionary of values: the object, the keys, the n values
    (SPREAD, n)                 replace the topmost value, a tuple, by its n items

Everything that differs from node to node is an argument, so nodes of the same shape share one function, which is
pickled once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Code = tuple[Any, ...]

LIST, TUPLE, SET, FROZENSET, DICT, CALL, NODE, SPREAD = range(8)

CONTAINERS = {list: LIST, tuple: TUPLE, set: SET, frozenset: FROZENSET, dict: DICT}

_MAKERS: dict[int, Any] = {
    LIST: list,
    TUPLE: tuple,
    SET: set,
    FROZENSET: frozenset,
    DICT: lambda values: dict(zip(values[::2], values[1::2], strict=True)),
}


class Composed:
    """
    A function that runs a code.

    :param code: its steps; it is hashable
    """

    __slots__ = ("__qualname__", "code")

    def __init__(self, code: Code) -> None:
        self.code = code
        self.__qualname__ = name_of(code)

    def __reduce__(self) -> tuple[Any, ...]:
        return Composed, (self.code,)

    def __call__(self, *arguments: Any) -> Any:
        """
        Run the code.

        :raises Exception: whatever the functions raise
        """
        stack: list[Any] = []
        following = iter(arguments).__next__
        for step in self.code:
            if step is None:
                stack.append(following())
            else:
                _run(stack, step)
        return stack.pop()


def _run(stack: list[Any], step: tuple[Any, ...]) -> None:
    what, count = step[0], step[1]
    if what == SPREAD:
        stack.extend(stack.pop())
        return
    values: Sequence[Any] = ()
    if count:
        values = stack[-count:]
        del stack[-count:]
    if what.__class__ is not int:
        if len(step) == 2:
            stack.append(what(*values))
        else:
            first = count - len(step[2])
            stack.append(what(*values[:first], **dict(zip(step[2], values[first:], strict=True))))
    elif what == CALL:
        stack.append(stack.pop()(*values))
    elif what == NODE:
        keys = stack.pop()
        stack.append(stack.pop()(dict(zip(keys, values, strict=True))))
    else:
        stack.append(_MAKERS[what](values))


def function_of(code: Code) -> Any:
    """Return a function that runs a code: the function itself if the code is only one call."""
    last = code[-1]
    is_call = last is not None and len(last) == 2 and last[0].__class__ is not int
    if is_call and last[1] == len(code) - 1 and code.count(None) == last[1]:
        return last[0]
    return Composed(code)


def functions_of(code: Code) -> Iterator[Any]:
    """Return the functions in a code, in the order in which they are called."""
    return (step[0] for step in code if step is not None and step[0].__class__ is not int)


def name_of(code: Code) -> str:
    """Return the name of a code for messages: the names of its functions, the last one first."""
    names = [getattr(fn, "__qualname__", type(fn).__qualname__) for fn in functions_of(code)]
    names = [name for at, name in enumerate(names) if not at or name != names[at - 1]][::-1]
    return "+".join(names[:_NAMED]) + ("+..." if len(names) > _NAMED else "") or "a node"


_NAMED = 3
"""Maximum number of functions that a name mentions."""
