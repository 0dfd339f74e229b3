"""The live view of ``woolexec top``, with rich: it asks once a second, and does what is typed."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli.top_screen import ENTER, Line, Screen, keys_of
from woolexec.observe.page_client import stacks_of
from woolexec.observe.palette import STATES
from woolexec.platform.terminal import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.observe.pool_records import PoolRecord
    from woolexec.statistics import Statistics

_EVERY = 1.0
"""Seconds between two questions."""


def show(ask: Callable[[], Sequence[tuple[PoolRecord, Statistics]]], timeout: float) -> None:
    """
    Show what pools do until q is pressed, the terminal is closed, or they have ended.

    :param ask: returns the pools that answer, and their answers
    :param timeout: seconds to wait for stacks
    :raises ImportError: if rich is missing
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError as exc:
        raise ImportError("the live view needs rich: pip install 'woolexec[top]'; --once does not") from exc
    console = Console(highlight=False)
    screen = Screen()
    with keys() as read, Live(console=console, screen=True, auto_refresh=False) as live:
        while answers := ask():
            found = [statistics for _, statistics in answers]
            until = monotonic() + _EVERY
            while (rest := until - monotonic()) > 0:
                live.update(_drawn(screen.lines(found, *console.size)), refresh=True)
                typed = read(rest)
                for key in keys_of(typed or ""):
                    if key == "q":
                        return
                    screen.press(key, found)
                    if key == ENTER and screen.worker:
                        screen.show_stacks(stacks_of(answers[screen.pool(found)][0], timeout))
                if typed is None:
                    return


def _drawn(lines: Sequence[Line]) -> Any:
    from rich.text import Text

    drawn = Text("\n", no_wrap=True, overflow="crop", end="").join(map(_styled, lines))
    drawn.no_wrap, drawn.overflow = True, "crop"
    return drawn


def _styled(line: Line) -> Any:
    from rich.text import Text

    text = Text(line.text, style="bold" if line.is_heading else "")
    if line.is_chosen:
        text.stylize("reverse")
    elif line.state in STATES and (place := line.text.rfind(line.state)) >= 0:
        text.stylize(f"color({STATES[line.state].terminal})", place, place + len(line.state))
    return text
