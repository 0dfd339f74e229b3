"""`propagate`: context variables that are sent with tasks."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeVar

from woolexec.wire import context_vars

T = TypeVar("T")


def propagate(var: ContextVar[T], name: str | None = None) -> ContextVar[T]:
    """
    Send the value of a context variable with every task that is submitted, including nested tasks.

    The value is pickled at `submit` and set in the context in which the task runs.  With
    ``with_options(context_back=True)`` changes that a coroutine or a generator makes are copied back to the task that
    awaits or pulls it.

    :param name: a name that is the same in all processes; default: the variable's own name
    :return: the variable
    :raises TypeError: if it is not a context variable
    """
    if not isinstance(var, ContextVar):
        raise TypeError(f"propagate needs a context variable, not {var!r}")
    context_vars.register(var, name or var.name)
    return var
