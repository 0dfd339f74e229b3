"""
The running calls of this worker, with their stacks; imported at the first request.

The reporting thread takes the GIL like any other thread, so no call is stopped.  While C code holds the GIL, the
reporting thread waits, and the engine uses the dump of `faulthandler` instead.  It imports little and opens no file: if
another thread computes, it would wait for the GIL after each of these steps.  The stack of a plain call is that of its
thread, from the call on.  The stack of a coroutine is the chain of objects that it awaits; the tasks and nurseries that
it waits for follow.
"""

from __future__ import annotations

import gc
import sys
import threading
from itertools import islice
from time import monotonic

from woolexec.core.stack_text import SIZE, is_ours, line_of, text_of, within
from woolexec.platform.stack_dump import dump_again_from
from woolexec.wire.frames import Inspected
from woolexec.wire.shared_page import DUMPS
from woolexec.worker.awaited import tasks_of
from woolexec.worker.lane import NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import FrameType
    from typing import Any

    from woolexec.wire.stack_area import StackArea
    from woolexec.worker.awaited import AsyncioTasks, TrioTasks
    from woolexec.worker.lane import Lane

    Step = tuple[FrameType, int]
    """A frame, and its current line."""

    Entry = tuple[int, float, str]
    """The number of a call, for how many seconds it has run, and its stack."""

_MOST = 500
"""Maximum number of calls in a report."""

_DEEPEST = 2000
"""Maximum number of frames of a stack that are visited."""

_CHILDREN, _GENERATIONS = 8, 3
"""Maximum number of tasks that a coroutine waits for and whose stacks are added, and how far down."""

_RUNS = {"_run_call", "_run_span"}

_OURS_TOO = {type(NOTHING).__enter__.__code__, type(NOTHING).__exit__.__code__}
"""Functions of the standard library that lanes call between two items of a stream."""


def answer(area: StackArea, lanes: Mapping[int, Lane]) -> None:
    """Answer requests for the running calls; in a separate thread."""
    while number := area.asked:
        try:
            report = _fitting(list(islice(_entries(tuple(lanes.values())), _MOST)), area.limit)
        except Exception as exc:  # a bug in woolexec must not leave a request unanswered
            report = Inspected(refused=repr(exc)[:1000])
        dump_again_from(DUMPS)
        area.answer(number, report)


def _fitting(entries: list[Entry], limit: int) -> Inspected:
    """Make a report of as many of the first entries as fit."""
    kept, size = list[tuple[int, float, str]](), 100
    for number, seconds, stack in entries:
        cut = stack[:SIZE]
        size += len(cut.encode("utf-8", "backslashreplace")) + 24
        if size > limit:
            break
        kept.append((number, seconds, cut))
    report = Inspected(left_out=len(entries) - len(kept))
    if kept:
        report.call, report.seconds, report.stack = zip(*kept, strict=True)
    return report


def _entries(lanes: Sequence[Lane]) -> Iterator[Entry]:
    """Yield what is known of each call that runs."""
    threads = sys._current_frames()
    coroutines = {entry[0]: entry for entry in _coroutines(lanes, threads)}
    for number, seconds, steps in _plain(threads.get(threading.main_thread().ident or 0)):
        waiting = coroutines.pop(-number, None)  # its coroutine, if it waits for one: `run_for`
        yield number, seconds, (waiting and waiting[2]) or _text(steps)
    yield from coroutines.values()
    for lane in lanes:
        for number, commands in tuple(lane.streams.items()):
            if commands.thread and commands.running:
                whole = _steps(threads.get(commands.thread))
                steps = _after(whole, "thread_lane.py")
                if _has_code_of_user(steps):
                    yield number, _seconds(whole), _text(steps)


# -- threads -----------------------------------------------------------------------------------------------------------


def _steps(frame: FrameType | None) -> list[Step]:
    """Return the frames of a thread, outermost first."""
    steps: list[Step] = []
    while frame is not None and len(steps) < _DEEPEST:
        steps.append((frame, frame.f_lineno or frame.f_code.co_firstlineno))
        frame = frame.f_back
    return steps[::-1]


def _plain(top: FrameType | None) -> Iterator[tuple[int, float, list[Step]]]:
    """Yield each call in the main thread: one that waits for nested tasks may have another one on top of it."""
    number, seconds = 0, 0.0
    found: list[Step] = []
    for step in _steps(top):
        code = step[0].f_code
        if code.co_name in _RUNS and is_ours(code.co_filename):
            if number:
                yield number, seconds, found
            number, seconds, found = step[0].f_locals["job"].number, _seconds([step]), []
        elif number:
            found.append(step)
    if number:
        yield number, seconds, found


def _seconds(steps: Iterable[Step]) -> float:
    """Return for how many seconds a call has run: the first of our functions that has a `started` knows since when."""
    ours = (frame.f_locals for frame, _ in steps if is_ours(frame.f_code.co_filename))
    started: float | None = next((each["started"] for each in ours if "started" in each), None)
    return 0.0 if started is None else monotonic() - started


def _after(steps: list[Step], file: str) -> list[Step]:
    """Return the frames that follow the last one of this file of the package."""
    for index in range(len(steps) - 1, -1, -1):
        name = steps[index][0].f_code.co_filename
        if is_ours(name) and name.endswith(file):
            return steps[index + 1 :]
    return steps


def _has_code_of_user(steps: Iterable[Step]) -> bool:
    """Return whether some frames are not ours: a stream whose code has yielded an item may still be sending it."""
    return not all(is_ours(frame.f_code.co_filename) or frame.f_code in _OURS_TOO for frame, _ in steps)


def _text(steps: Iterable[Step]) -> str:
    frames = [(frame.f_code.co_filename, "", (frame, line)) for frame, line in steps]
    return text_of([_line(*step) for step in within(frames)])


def _line(frame: FrameType, line: int) -> str:
    code = frame.f_code
    return line_of(code.co_filename, line, code.co_qualname)


# -- coroutines --------------------------------------------------------------------------------------------------------


def _coroutines(lanes: Sequence[Lane], threads: dict[int, FrameType]) -> Iterator[Entry]:
    for lane in lanes:
        if not lane.ident:
            continue
        tasks = tasks_of(lane)
        inside = _steps(threads.get(lane.ident))
        for number in tuple(lane.tasks):
            stream = lane.streams.get(number)
            if stream is not None and not stream.running:  # its next item was not requested
                continue
            task = tasks.task_of(number)
            if task is None:
                continue
            steps = list(_chain(tasks.coroutine_of(task), inside))
            if stream is None or _has_code_of_user(steps):
                yield number, _seconds(steps), _with_children(tasks, task, inside, 0)


def _with_children(tasks: AsyncioTasks | TrioTasks, task: Any, inside: list[Step], generation: int) -> str:
    """Return the stack of a task of an event loop, and of the tasks that it waits for."""
    steps = list(_chain(tasks.coroutine_of(task), inside))
    text = _text(steps)
    if generation == _GENERATIONS:
        return text
    children = list(islice(tasks.awaited_by(task, [frame for frame, _ in steps]), _CHILDREN + 1))
    for child in children[:_CHILDREN]:
        stack = _with_children(tasks, child, inside, generation + 1)
        text += f"\n  waits for {tasks.name_of(child)}:\n" + "\n".join("  " + line for line in stack.split("\n"))
    return text + ("\n  waits for more tasks" if len(children) > _CHILDREN else "")


def _chain(awaited: Any, inside: list[Step]) -> Iterator[Step]:
    """
    Yield the frames of a coroutine, outermost first, down to the one that waits or runs.

    :param inside: the frames of the thread of its loop
    """
    seen = 0
    while awaited is not None and seen < _DEEPEST:
        seen += 1
        kind = next((kind for kind in _KINDS if hasattr(awaited, kind + "_frame")), None)
        if kind is None:
            awaited = _hidden(awaited)
            continue
        frame = getattr(awaited, kind + "_frame")
        if frame is None:  # it has ended
            return
        running = [index for index, (each, _) in enumerate(inside) if each is frame]
        if running:
            yield from inside[running[0] :]
            return
        yield frame, frame.f_lineno or frame.f_code.co_firstlineno
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else kind + "_await", None)


_KINDS = ("cr", "ag", "gi")
"""Prefixes of the attributes of coroutines, asynchronous generators and generators."""

_WRAPPERS = {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}


def _hidden(awaited: Any) -> Any:
    """Return the object that an interpreter's wrapper, such as that of `anext`, awaits; None for other awaitables."""
    if type(awaited).__name__ not in _WRAPPERS:
        return None
    for each in gc.get_referents(awaited):
        if type(each).__name__ in _WRAPPERS or any(hasattr(each, kind + "_frame") for kind in _KINDS):
            return each
    return None
