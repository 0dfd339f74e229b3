"""
The tasks of an event loop, for reports of what runs: their coroutines, and the tasks that they wait for.

Since Python 3.14, asyncio records which tasks await which others.  Before, the tasks that a task waits for are found
among the variables of the asyncio functions in which it waits.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType
    from typing import Any

    from woolexec.worker.lane import Lane


class AsyncioTasks:
    """The tasks of asyncio."""

    def __init__(self, lane: Lane) -> None:
        self._tasks = lane.tasks

    def task_of(self, number: int) -> Any:
        """Return the task that runs a call; None if it has just ended."""
        entry = self._tasks.get(number)
        return None if entry is None or entry[1].done() else entry[1]

    @staticmethod
    def coroutine_of(task: Any) -> Any:
        """Return its coroutine."""
        return task.get_coro()

    @staticmethod
    def name_of(task: Any) -> str:
        """Return its name."""
        return str(task.get_name())

    @staticmethod
    def awaited_by(task: Any, frames: Sequence[FrameType]) -> Iterator[Any]:
        """
        Yield the tasks that a task waits for.

        :param frames: the frames of its coroutine, outermost first
        """
        import asyncio

        if sys.version_info >= (3, 14):
            for other in asyncio.all_tasks(task.get_loop()):
                graph = None if other is task else asyncio.capture_call_graph(other, limit=1)
                if graph is not None and any(each.future is task for each in graph.awaited_by):
                    yield other
            return
        folder = os.path.dirname(asyncio.__file__) + os.sep
        seen = {task}
        waits = [getattr(task, "_fut_waiter", None)]
        waits += [value for frame in frames for value in _variables(frame, folder)]
        for value in waits:
            for each in (value, *getattr(value, "_children", ())):
                if isinstance(each, asyncio.Task) and not each.done() and each not in seen:
                    seen.add(each)
                    yield each


def _variables(frame: FrameType, folder: str) -> Iterator[Any]:
    """Yield the variables of a function of asyncio, and the elements of collections and of a task group."""
    if not frame.f_code.co_filename.startswith(folder):
        return
    for value in tuple(frame.f_locals.values()):
        if isinstance(value, set | list | tuple):
            yield from tuple(value)
        yield value
        if type(value).__name__ == "TaskGroup":
            yield from tuple(value._tasks)


class TrioTasks:
    """The tasks of trio."""

    def __init__(self, lane: Any) -> None:
        self._nursery = lane.nursery

    def task_of(self, number: int) -> Any:
        """Return the task that runs a call; None if it has just ended."""
        for task in tuple(self._nursery.child_tasks):
            frame = getattr(task.coro, "cr_frame", None)
            if frame is not None and frame.f_locals.get("number") == number:
                return task
        return None

    @staticmethod
    def coroutine_of(task: Any) -> Any:
        """Return its coroutine."""
        return task.coro

    @staticmethod
    def name_of(task: Any) -> str:
        """Return its name."""
        return str(task.name)

    @staticmethod
    def awaited_by(task: Any, _frames: Sequence[FrameType]) -> Iterator[Any]:
        """Yield the tasks in its nurseries."""
        for nursery in tuple(task.child_nurseries):
            yield from tuple(nursery.child_tasks)


def tasks_of(lane: Lane) -> AsyncioTasks | TrioTasks:
    """Return the tasks of a lane."""
    return TrioTasks(lane) if lane.name == "trio" else AsyncioTasks(lane)
