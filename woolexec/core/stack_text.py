"""Stacks as text: which frames of them are shown, cut and made printable."""

from __future__ import annotations

import os

from woolexec.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""The folder of this package, whose frames are left out if they only lead to the task."""

IN_C = "in C code: the interpreter did not answer"
HELD = "GIL held: other code in its worker keeps the interpreter"
STOPPED = "its worker is stopped by a signal"
ENDED = "its worker has just ended"
OF_LOOP = "GIL held: this is the stack of its event loop, which may run another task"
IN_C_ALONE = "it runs a function in C, or woolexec's code before or after it"
NO_ANSWER = "its peer did not answer in time"
SILENT = "its worker did not answer in time"

_LINES, _FIRST = 60, 20
"""Maximum number of frames of a stack, and how many of them are outermost ones."""

LONGEST = 400
"""Maximum length of a line, in characters."""

SIZE = 12_000
"""Maximum length of a stack, in characters."""


def line_of(file: str, line: int | str, function: str) -> str:
    """Return the text of a frame, as in a traceback without the sources."""
    return f'  File "{printable(file, LONGEST)}", line {line}, in {printable(function, LONGEST)}'


def parts_of(line: str) -> tuple[str, str, str] | None:
    """Return the file, the line and the function of the text of a frame; None if it is something else."""
    head, found, rest = line.strip().rpartition('", line ')
    number, _, function = rest.replace(", in ", " in ", 1).partition(" in ")
    if not found:
        return None
    return head.removeprefix('File "'), number, function


def text_of(frames: Sequence[str]) -> str:
    """Join the texts of frames; leave some out in the middle of a very long stack."""
    if len(frames) > _LINES:
        left_out = f"  ... {len(frames) - _LINES} frames ..."
        frames = [*frames[:_FIRST], left_out, *frames[len(frames) - _LINES + _FIRST :]]
    return "\n".join(frames)


def safe(text: str) -> str:
    """Return a stack from another process, shortened and made printable line by line."""
    kept = [printable(line, LONGEST * 3) for line in text[:SIZE].split("\n")]
    return "\n".join(kept) + ("\n  ..." if len(text) > SIZE else "")


def of_dump(dump: str) -> str:
    """
    Return the stack of a task from the dump of its thread by `faulthandler`, which has the most recent call first.

    :return: empty if the thread runs no task
    """
    parts = [found for line in dump.splitlines() if (found := parts_of(line)) is not None]
    frames = [(file, function, (file, line, function)) for file, line, function in reversed(parts)]
    return text_of([line_of(*frame) for frame in of_task(frames)])


_RUNS = {"_run_call", "_run_span", "_call", "_obey"}
"""The functions of lanes that call a task."""


def of_task(frames: Sequence[tuple[str, str, Any]]) -> list[Any]:
    """
    Return the frames of the innermost task of a stack, outermost first.

    :param frames: file, function and the rest of each frame, outermost first
    :return: the rest of each remaining frame
    """
    first = 0
    for index, (file, function, _) in enumerate(frames):
        if is_ours(file) and function in _RUNS:
            first = index + 1
    if not first:
        return []
    return within(frames[first:])


_IMPORTING = "<frozen importlib"


def within(frames: Sequence[tuple[str, str, Any]]) -> list[Any]:
    """
    Return the frames without those that say nothing about the task.

    These are frames of this package that lead to the task, or that it has called last, and those of the import system,
    four or five for each module, which tracebacks leave out too.
    """
    rest = [each for each in frames if not each[0].startswith(_IMPORTING)] or list(frames)
    while len(rest) > 1 and is_ours(rest[0][0]):
        rest.pop(0)
    while len(rest) > 1 and is_ours(rest[-1][0]) and is_ours(rest[-2][0]):
        rest.pop()
    return [each[2] for each in rest]


def outermost(stack: str) -> str:
    """Return the name of the function that a stack begins with."""
    parts = parts_of(stack.partition("\n")[0])
    return "" if parts is None else parts[2].rpartition(".")[2]


def is_ours(file: str) -> bool:
    """Return whether a file is one of this package."""
    return file.startswith(PACKAGE)
