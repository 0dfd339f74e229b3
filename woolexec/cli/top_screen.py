"""The screen of ``woolexec top`` as lines of text made from statistics, and its keys; without a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from woolexec.printable import printable
from woolexec.tables import aligned, functions, head_of, peers, workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from woolexec.core.task_stack import Stacks, TaskStack
    from woolexec.statistics import Statistics, WorkerStatistics
    from woolexec.tables import Table

UP, DOWN, ENTER, TAB, ESCAPE = "up", "down", "enter", "tab", "escape"
CANCEL, YES = "k", "y"
_NAMES = {
    "\x1b[A": UP,
    "\x1bOA": UP,
    "\x1b[B": DOWN,
    "\x1bOB": DOWN,
    "\r": ENTER,
    "\n": ENTER,
    "\t": TAB,
    "\x1b": ESCAPE,
}
_HELP = "q quit  ↑↓ worker  enter stack  k cancel  sort: f m c d, functions: t n p x"
_HELP_MORE = "q quit  tab pool  ↑↓ worker  enter stack  k cancel  sort: f m c d, t n p x"
_HELP_STACK = "q quit  escape back"
_HELP_CANCEL = "y cancel it  k the next task of this worker  escape back"
_WHAT_ENDS = "Its worker ends with it, unless it is a coroutine or a stream."


class Sort(NamedTuple):
    """
    An order of rows, the largest first.

    :ivar name: the name of the compared value
    :ivar key: returns the value to compare
    """

    name: str
    key: Callable[[Any], float]


WORKERS = {
    "f": Sort("for", lambda worker: worker.seconds or 0.0),
    "m": Sort("memory", lambda worker: worker.memory or 0),
    "c": Sort("cpu", lambda worker: worker.cpu or 0.0),
    "d": Sort("done", lambda worker: worker.done),
}
FUNCTIONS = {
    "t": Sort("total", lambda function: function.run.total),
    "n": Sort("tasks", lambda function: function.count),
    "p": Sort("p95", lambda function: function.run.p95),
    "x": Sort("failed", lambda function: function.failures),
}
"""By the key that chooses it."""


class Line(NamedTuple):
    """
    One line of the screen.

    :ivar state: the state of the worker on this line, for its colour
    """

    text: str
    is_heading: bool = False
    is_chosen: bool = False
    state: str = ""


class Screen:
    """
    The state of the screen: what is selected and shown.

    :ivar worker: the process id of the chosen worker; 0: none
    :ivar asked_about: the task that is cancelled if the user confirms
    """

    def __init__(self) -> None:
        self.worker = 0
        self._pool = 0
        self._workers = WORKERS["f"]
        self._functions = FUNCTIONS["t"]
        self._stack: list[str] | None = None
        self.asked_about: TaskStack | None = None

    def pool(self, found: Sequence[Statistics]) -> int:
        """Return which of the pools is shown."""
        return self._pool % len(found)

    def show_stacks(self, stacks: Stacks) -> None:
        """Show the stacks of what runs in the chosen worker until another key is pressed."""
        lines: list[str] = []
        for each in self._tasks_in(stacks):
            lines += ["", *_text_of(each)]
        self._stack = lines[1:] or self._no_task()

    def ask_to_cancel(self, stacks: Stacks, before: TaskStack | None = None) -> None:
        """
        Ask whether to cancel a task of the selected worker.

        :param before: the task that was asked about before; now the next one is
        """
        found = self._tasks_in(stacks)
        if not found:
            self._stack = self._no_task()
            return
        numbers = [each.task for each in found]
        place = numbers.index(before.task) + 1 if before is not None and before.task in numbers else 0
        self.asked_about = found[place % len(found)]
        self._stack = [f"Cancel this task by force?  {_WHAT_ENDS}", "", *_text_of(self.asked_about)]

    def say(self, text: str) -> None:
        """Show a text until another key is pressed."""
        self._stack = [printable(text)]

    def _no_task(self) -> list[str]:
        return [f"worker {self.worker} runs no task"]

    def _tasks_in(self, stacks: Stacks) -> list[TaskStack]:
        return [each for each in stacks if each.pid == self.worker and not each.peer]

    def press(self, key: str, found: Sequence[Statistics]) -> None:
        """Handle a key, except for those that quit or that send a request to the pool."""
        self._stack = self.asked_about = None
        self._workers = WORKERS.get(key, self._workers)
        self._functions = FUNCTIONS.get(key, self._functions)
        if key == TAB:
            self._pool, self.worker = (self.pool(found) + 1) % len(found), 0
        elif key in (UP, DOWN):
            pids = [each.pid for each in self._sorted(found)]
            if self.worker in pids:
                place = pids.index(self.worker) + (1 if key == DOWN else -1)
                self.worker = pids[min(max(place, 0), len(pids) - 1)]
            else:
                self.worker = pids[0] if pids else 0

    def lines(self, found: Sequence[Statistics], width: int, height: int, heading: str = "") -> list[Line]:
        """Return the lines for a terminal of this size, at most `height`."""
        shown = found[self.pool(found)]
        several = f" ({self.pool(found) + 1} of {len(found)})" if len(found) > 1 else ""
        lines = [Line(heading + several, is_heading=True)]
        if self._stack is not None:
            room = max(1, height - 3)
            shown_lines = self._stack[:room] if self.asked_about else self._stack[-room:]
            lines += [Line(""), *map(Line, shown_lines)]
            help_line = _HELP_CANCEL if self.asked_about else _HELP_STACK
        else:
            lines += [Line(f"{name:<8}{text}") for name, text in head_of(shown)]
            lines += self._tables(found, width, height - len(lines) - 1)
            help_line = _HELP_MORE if several else _HELP
        lines = lines[: max(0, height - 1)]
        lines += [Line("")] * (height - 1 - len(lines))
        return [line._replace(text=line.text[:width]) for line in (*lines, Line(help_line))]

    def _sorted(self, found: Sequence[Statistics]) -> list[WorkerStatistics]:
        order = self._workers.key
        workers = found[self.pool(found)].workers
        return sorted(workers, key=lambda each: (not each.lost, order(each)), reverse=True)

    def _tables(self, found: Sequence[Statistics], width: int, height: int) -> Iterator[Line]:
        shown = found[self.pool(found)]
        chosen = self._sorted(found)
        by_time = sorted(shown.functions, key=self._functions.key, reverse=True)
        shown = replace(shown, functions=tuple(by_time), workers=tuple(chosen))
        room = max(1, height // 3 - 3)
        first = functions(shown)
        yield from _headed(first._replace(title=f"function, by {self._functions.name}"), width, room)
        taken = min(len(first.rows), room + 1) + 2 if first.rows else 0
        others = peers(shown)
        taken += min(len(others.rows), room + 1) + 2 if others.rows else 0
        room = max(1, height - taken - 3)
        place = next((number for number, each in enumerate(chosen) if each.pid == self.worker), 0)
        start = max(0, min(place - room // 2, len(chosen) - room))
        table = workers(shown)._replace(title=f"worker's task, by {self._workers.name}")
        table = table._replace(rows=table.rows[start:])
        for number, line in enumerate(_headed(table, width, room), start - 2):
            if start <= number < start + min(room, len(table.rows)):
                worker = chosen[number]
                yield line._replace(is_chosen=worker.pid == self.worker != 0, state=worker.state)
            else:
                yield line
        yield from _headed(others, width, max(1, height // 3 - 3))


def _text_of(task: TaskStack) -> list[str]:
    safe = replace(task, function=printable(task.function), note=printable(task.note), client="")
    return [printable(line) for line in str(safe).splitlines()]


def _headed(table: Table, width: int, most: int) -> Iterator[Line]:
    """Yield an empty line, the heading and the rows; nothing if there are no rows."""
    if table.rows:
        heading, *rows = aligned(table, width, most)
        yield from (Line(""), Line(heading, is_heading=True), *map(Line, rows))


def keys_of(typed: str) -> Iterator[str]:
    """Yield the keys that were pressed, by the names of those that have one."""
    while typed:
        length = 3 if typed[:3] in _NAMES else 1
        yield _NAMES.get(typed[:length], typed[:length])
        typed = typed[length:]
