"""`propagate`: context variables that go with tasks."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeVar

from woolexec.wire import context_vars

T = TypeVar("T")


def propagate(var: ContextVar[T], name: str | None = None) -> ContextVar[T]:
    """
    Let the value of a context variable go with every task that is submitted, into nested ones too.

    Its value is pickled at `submit`, and set in the context in which the task runs.  With
    ``with_options(context_back=True)`` what a coroutine or a generator changes comes back to who awaits or pulls it.

    :param name: the same in all processes; default: the variable's own
    :return: the variable
    :raises TypeError: if it is not a context variable
    """
    if not isinstance(var, ContextVar):
        raise TypeError(f"not a context variable: {var!r}")
    context_vars.register(var, name or var.name)
    return var
