"""The progress of a task: what it reports, and how often reports are passed on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Progress(Protocol):
        """A frame with the progress of a task."""

        task: int
        done: float
        total: float
        has_total: bool
        text: str


INTERVAL = 0.1
"""Minimum seconds between two reports of one task; the report that all is done is sent at once."""

LONGEST = 200
"""Maximum length of the text, in characters."""

_MOST = 1000
"""Maximum number of tasks whose last report is remembered."""


class TaskProgress(NamedTuple):
    """
    The progress of a task, as it reported it with `woolexec.progress`.

    `id` and `name` are those of the task, as in `TaskInfo`; `total` is None if it is not known.
    """

    id: int
    name: str
    done: float
    total: float | None
    text: str


class Throttle:
    """
    Decides which reports of tasks are passed on.

    :param interval: minimum seconds between two reports of one task
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._last: dict[int, tuple[float, bool]] = {}

    def lets_pass(self, task: int, now: float, *, is_last: bool) -> bool:
        """
        Return whether a report is passed on.

        :param now: the monotonic time, in seconds
        :param is_last: the report says that all is done
        """
        last = self._last.get(task)
        if last is not None and now - last[0] < self._interval and (last[1] or not is_last):
            return False
        if len(self._last) >= _MOST:
            self._last.clear()
        self._last[task] = now, is_last
        return True


class Reports:
    """
    Calls callbacks, in another thread, with the progress of tasks.

    A callback gets the latest report, and the next one after it has returned: it never runs twice at once for one call.
    There is no lock.  No report is missed, because each of these steps is atomic and each thread takes them in this
    order::

        reporting thread:   1. sets the latest report   2. starts a fetch, unless one is under way
        fetching thread:    1. takes the latest report and calls the callback   2. marks the fetch as finished
                            3. looks for another report; if there is one, fetches again, unless a fetch is under way

    A report that is set before step 3 is found by it.  When one is set later, no fetch is under way any more, or only
    one that has not reached its step 3.

    :param elsewhere: runs user code in another thread
    """

    def __init__(self, elsewhere: Callable[[Callable[[], object]], object]) -> None:
        self._elsewhere = elsewhere
        self._latest: dict[Any, TaskProgress] = {}  # by call
        self._on_way: dict[Any, object] = {}  # by call: a mark of the fetch that is under way

    def tell(self, call: Any, progress: TaskProgress) -> None:
        """Schedule the progress callback of a call, if it has one."""
        on_progress = None if call.options is None else call.options.on_progress
        if on_progress is None:
            return
        self._latest[call] = progress
        if self._goes(call):
            self._elsewhere(partial(self._report, call, on_progress))

    def _goes(self, call: Any) -> bool:
        """Mark a fetch as under way for a call; return False if there is one already."""
        mark = object()
        return self._on_way.setdefault(call, mark) is mark

    def _report(self, call: Any, on_progress: Callable[[TaskProgress], object]) -> None:
        while True:
            progress = self._latest.pop(call, None)
            if progress is not None:
                _call(on_progress, progress)
            del self._on_way[call]
            if call not in self._latest or not self._goes(call):
                return


def _call(on_progress: Callable[[TaskProgress], object], progress: TaskProgress) -> None:
    try:
        on_progress(progress)
    except BaseException:  # user code
        import logging

        logging.getLogger("woolexec").exception("on_progress of %s raised an exception", progress.name)


def progress_of(frame: Progress, name: str) -> TaskProgress:
    """Return the progress in a frame, for a task with this name; the frame may come from a peer."""
    total = _simple(frame.total) if frame.has_total else None
    return TaskProgress(frame.task, name, _simple(frame.done), total, printable(frame.text[:LONGEST]))


def _simple(number: float) -> float:
    """Return a whole number as an int: frames have floats."""
    return int(number) if number.is_integer() else number
