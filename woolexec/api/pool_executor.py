"""What a pool, its views and the pool as a task sees it have in common beyond what actors have: they make actors."""

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
        Make an object in a worker process of its own; return a view of this executor for the calls of its methods.

        The constructor is called as ``cls(*args, **kwargs)``.  What it raises is raised by the calls of the methods.
        With `with_options` before this, `restarts`, `max_concurrency`, `require`, `near`, `at`, `priority` and `name`
        are about the object, `timeout` about the constructor and each call, and the others about each call.

        The object ends with the returned view, by `Actor.shutdown`, or with this executor, after the calls that were
        submitted.  That of a task ends with the worker of the task as well.

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
