"""The live view of ``woolexec top``, drawn with rich: it updates once a second and reacts to keys."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli.top_screen import CANCEL, ENTER, YES, Line, Screen, keys_of
from woolexec.observe.palette import STATES
from woolexec.platform.terminal import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.cli.top_sources import Shown

_EVERY = 1.0
"""Seconds between two updates."""


def show(answers: Sequence[Shown], ask: Callable[[], Sequence[Shown]]) -> None:
    """
    Show what pools do until q is pressed, the terminal is closed, or they have ended.

    :param answers: the first answers of the pools and the peers
    :param ask: asks again, and returns those that answer
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
        while answers:
            found = [each.statistics for each in answers]
            until = monotonic() + _EVERY
            while (rest := until - monotonic()) > 0:
                heading = answers[screen.pool(found)].heading
                live.update(_drawn(screen.lines(found, *console.size, heading)), refresh=True)
                typed = read(rest)
                for key in keys_of(typed or ""):
                    if key == "q":
                        return
                    _press(screen, key, answers)
                if typed is None:
                    return
            answers = ask()


def _press(screen: Screen, key: str, answers: Sequence[Shown]) -> None:
    """Do what a key does."""
    found = [each.statistics for each in answers]
    asked_about = screen.asked_about
    screen.press(key, found)
    shown = answers[screen.pool(found)]
    if key == ENTER and screen.worker:
        screen.show_stacks(shown.stacks())
    elif key == CANCEL and screen.worker:
        screen.ask_to_cancel(shown.stacks(), asked_about)
    elif key == YES and asked_about is not None:
        name = f"{asked_about.function} (task {asked_about.task})"
        screen.say(f"{name} was cancelled" if shown.cancel(asked_about) else f"{name} does not run any more")


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
