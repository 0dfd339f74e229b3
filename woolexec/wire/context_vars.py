"""
Context variables that travel with tasks: those that were registered with `propagate`.

Their values go from the submitter to the task, under a name that is the same in all processes.  On request, values that
a coroutine or a stream has changed are sent back.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context

from woolexec.wire import reducers, tracing
from woolexec.wire.pickling import dumps_inline
from woolexec.wire.unpickling import Untrusted, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pickle import dumps as pickle_small
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    from _pickle import dumps as pickle_small

known: dict[str, ContextVar[Any]] = {}
_names: dict[ContextVar[Any], str] = {}
MOST_CONTEXT = 4 << 20
"""Maximum size, in bytes, of the values that travel with a task: they are copied more often than arguments."""

_bare: set[str] = set()
"""Names of variables that arrived with a value only; their default arrives with the first function that names them."""


def register(var: ContextVar[Any], name: str) -> None:
    """Register a variable under this name; it replaces an earlier one with the same name."""
    other = known.setdefault(name, var)
    if other is not var and _names.pop(other, None) is not None:
        # A module was reloaded, or the variable arrived by name before its module was imported.
        known[name] = var
    _names[var] = name


def by_name(name: str, *default: Any) -> ContextVar[Any]:
    """Return the variable with this name; if it does not exist here, create it, with the default if one is given."""
    if name not in known or (default and name in _bare):
        register(ContextVar(name, default=default[0]) if default else ContextVar(name), name)
        (_bare.discard if default else _bare.add)(name)
    return known[name]


def reduce(var: ContextVar[Any]) -> tuple[Any, ...] | None:
    """Reduce a variable to its registered name; return None if it has none."""
    name = _names.get(var)
    if name is None:
        return None
    try:
        return by_name, (name, Context().run(var.get))  # in an empty context, this is the default
    except LookupError:
        return by_name, (name,)


reducers.own[ContextVar] = reduce


def capture(task: str) -> bytes:
    """
    Encode the current values of the registered variables, for a task with this name; empty if there are none.

    :raises ValueError: if they are too large
    """
    if not known and not tracing.is_on():
        return b""
    values = _values()
    carrier = tracing.submitting(task) if tracing.is_on() else None
    if carrier:  # it is empty without an SDK, where a library has imported OpenTelemetry for programs that use it
        values[tracing.KEY] = dumps_inline(carrier)
    encoded = pickle_small(values, 5) if values else b""
    if len(encoded) > MOST_CONTEXT:
        text = f"propagated variables have {len(encoded)} bytes, more than the limit of {MOST_CONTEXT}"
        raise ValueError(f"{text}; pass large values as arguments: {', '.join(values)}")
    return encoded


def _values() -> dict[str, bytes]:
    values = {name: var.get(_UNSET) for name, var in known.items()}
    return {name: dumps_inline(value) for name, value in values.items() if value is not _UNSET}


def restore(encoded: bytes | Untrusted) -> None:
    """Set the variables in the current context; if the sender is not trusted, only variables that exist here."""
    for name, value in loads(encoded).items():
        if isinstance(encoded, Untrusted):
            if name in known:
                known[name].set(loads(encoded.part(value)))
        elif name != tracing.KEY:
            by_name(name).set(loads(value))


def span(encoded: bytes, task: str) -> AbstractContextManager[Any]:
    """Return the span of a running task, if its submission was traced; enter it where the variables are set."""
    carrier = loads(encoded).get(tracing.KEY) if encoded else None
    return tracing.running(None if carrier is None else loads(carrier), task)


def changed(before: bytes) -> bytes:
    """Encode the values that differ from those that arrived; empty if there are none."""
    if not known:
        return b""
    came: dict[str, bytes] = loads(before) if before else {}
    news = {name: value for name, value in _values().items() if came.get(name) != value}
    return pickle_small(news, 5) if news else b""


def bind(encoded: bytes, function: Callable[..., Any], task: str) -> Callable[..., Any]:
    """Return a function that runs in its own context, with these variables."""
    ctx = copy_context()
    ctx.run(restore, encoded)

    def inside(*args: Any, **kwargs: Any) -> Any:
        with span(encoded, task):
            return function(*args, **kwargs)

    def run(*args: Any, **kwargs: Any) -> Any:
        return ctx.run(inside, *args, **kwargs)

    return run


_UNSET = object()
