"""The base class of everything that makes actors: a pool, its views, and the pool as a task sees it."""

from __future__ import annotations

from contextvars import ContextVar

from woolexec.api.base_executor import BaseExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from woolexec.api.actor import Actor
    from woolexec.options import TaskOptions

    P = ParamSpec("P")
    T = TypeVar("T")


class PoolExecutor(BaseExecutor):
    """
    A pool, a view of one, or the pool that a task runs in.

    This is the type that `current_executor` returns.
    """

    def actor(self, cls: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Actor[T]:
        """
        Create an object in its own worker process; return a view of this executor that calls its methods.

        The constructor is called as ``cls(*args, **kwargs)``.  If it raises, so do the calls of the methods.
        Of the options given by `with_options`, `restarts`, `max_concurrency`, `require`, `near`, `at`, `priority` and
        `name` apply to the object, `timeout` to the constructor and to each call, and the others to each call.

        The object ends when the returned view is collected, by `Actor.shutdown`, or with this executor, each time after
        the calls that were submitted.  An actor that a task made also ends with the worker of that task.

        :raises RuntimeError: after `shutdown`, at the interpreter's end, or in a forked child
        :raises Exception: any exception raised by pickling the class and the arguments
        """
        from woolexec.api.task_actors import make_actor

        return make_actor(self._new_actor(self._options, cls), self._options, cls, args, kwargs)

    def _new_actor(self, options: TaskOptions | None, cls: Any) -> Any:
        """Return what makes the calls of a new actor; their types are not known here."""
        raise NotImplementedError


ambient: ContextVar[PoolExecutor | None] = ContextVar("woolexec_ambient", default=None)
"""The pool of the innermost ``with`` or ``async with`` block around the running code."""
