"""What a task knows of itself.  A file of its own: making a named tuple's class takes a millisecond of every start."""

from __future__ import annotations

from typing import NamedTuple

from woolexec.worker import nested_tasks


class TaskInfo(NamedTuple):
    """
    What a task knows of itself.

    `id` is another one for each attempt; `attempt` counts from 1; `parent` is the id of the task that submitted this
    one, None if it was not a task.
    """

    id: int
    name: str
    attempt: int
    parent: int | None


def current_task() -> TaskInfo | None:
    """Return what is known of the task that runs here; None outside of a task."""
    job = nested_tasks.current_job()
    if job is None:
        return None
    return TaskInfo(job.number, job.name, job.frame.attempt + 1, job.frame.parent or None)
