"""`bar`: a progress bar, drawn by rich, over any iterable."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable
from concurrent.futures import Future, as_completed
from importlib.util import find_spec
from operator import length_hint
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from woolexec.checks import wrong_type
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from rich.console import Console

T = TypeVar("T")

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class _Display(Protocol):
    """Shows the progress."""

    def begin(self) -> None:
        """Show the beginning."""

    def note(self, done: int) -> None:
        """Note how many items there were."""

    def end(self, *, is_complete: bool) -> None:
        """Show the end."""


@overload
def bar(source: AsyncIterable[T], total: int | None = None, text: str = "") -> AsyncGenerator[T, None]: ...
@overload
def bar(source: Iterable[T], total: int | None = None, text: str = "") -> Generator[T, None, None]: ...
def bar(source: Any, total: int | None = None, text: str = "") -> Any:
    """
    Yield the items of `source`, and show a progress bar on standard error meanwhile.

    If that is not a terminal, a line is written every ten seconds and at the end.

    :param source: an iterable, such as the results of `map`, or an asynchronous iterable, such as those of `map_async`.
        If it is a list or another collection of futures, each is yielded when it is done
    :param total: number of items; None: the length of the source, if it has one
    :param text: the text before the bar
    :return: a generator, or for an asynchronous iterable an asynchronous generator
    :raises ImportError: if rich is not installed
    :raises TypeError: if `source` is neither an iterable nor an asynchronous iterable
    """
    try:
        import rich  # noqa: F401  # it is asked for here, and not at the first item
    except ImportError as exc:
        raise ImportError("woolexec.bar needs rich: pip install 'woolexec[top]'") from exc
    if total is None:
        total = length_hint(source, -1)
    display = _display(printable(text), None if total < 0 else total)
    if isinstance(source, AsyncIterable):
        return _iterate_asynchronously(source, display)
    if not isinstance(source, Iterable):
        raise wrong_type("source", "an iterable or an asynchronous iterable", source)
    if isinstance(source, Collection) and all(isinstance(each, Future) for each in source):
        source = as_completed(source)
    return _iterate(source, display)


def _iterate(source: Iterable[T], display: _Display) -> Generator[T, None, None]:
    done, is_complete = 0, False
    display.begin()
    try:
        for item in source:
            yield item
            done += 1
            display.note(done)
        is_complete = True
    finally:
        display.end(is_complete=is_complete)


async def _iterate_asynchronously(source: AsyncIterable[T], display: _Display) -> AsyncGenerator[T, None]:
    done, is_complete = 0, False
    display.begin()
    try:
        async for item in source:
            yield item
            done += 1
            display.note(done)
        is_complete = True
    finally:
        display.end(is_complete=is_complete)


def _display(text: str, total: int | None) -> _Display:
    from rich.console import Console

    console = Console(stderr=True)
    can_draw = console.is_jupyter and find_spec("ipywidgets") is not None
    if can_draw or (console.is_terminal and not console.is_dumb_terminal):
        return _Drawing(console, text, total)
    return _Lines(console, text, total)


class _Lines:
    """Writes a line every `EVERY` seconds."""

    def __init__(self, console: Console, text: str, total: int | None) -> None:
        self._console, self._total = console, total
        self._head = f"{text}: " if text else ""
        self._of = "" if total is None else f"/{total}"
        self._done = 0

    def begin(self) -> None:
        """Note the time."""
        self._since = self._last = monotonic()

    def note(self, done: int) -> None:
        """Write a line if the last one was written long ago."""
        self._done = done
        now = monotonic()
        if now - self._last >= EVERY:
            self._last = now
            self._say(now, "")

    def end(self, *, is_complete: bool) -> None:
        """Write a line."""
        self._say(monotonic(), "" if is_complete else ", ended early")

    def _say(self, now: float, how: str) -> None:
        seconds = now - self._since
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        rate = f", {self._done / seconds:.3g}/s" if seconds and self._done else ""
        line = f"{self._head}{self._done}{self._of}{share} in {seconds:.1f} s{rate}{how}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Drawing:
    """Draws a bar; rich reads the progress in its own thread, so an item costs nothing."""

    def __init__(self, console: Console, text: str, total: int | None) -> None:
        from rich import progress
        from rich.markup import escape

        counted = progress.MofNCompleteColumn()
        columns = progress.BarColumn(), counted, progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
        self._progress = progress.Progress("{task.description}", *columns, console=console)
        self._progress.get_renderables = self._renderables  # type: ignore[method-assign]  # called at each refresh
        self._task = self._progress.add_task(escape(text), total=total, start=False)
        self._lines = _Lines(console, text, total)
        self._is_drawing = False
        self._done = 0

    def begin(self) -> None:
        """Draw the bar; if rich is already drawing something else, write lines instead."""
        from rich.errors import LiveError

        self._lines.begin()
        self._progress.start_task(self._task)
        try:
            self._progress.start()
            self._is_drawing = True
        except LiveError:
            self._is_drawing = False

    def note(self, done: int) -> None:
        """Note the number of items."""
        self._done = done
        if not self._is_drawing:
            self._lines.note(done)

    def end(self, *, is_complete: bool) -> None:
        """Stop drawing; the bar stays on the screen."""
        if not self._is_drawing:
            self._lines.end(is_complete=is_complete)
            return
        if is_complete:
            self._progress.update(self._task, total=self._done)
        self._progress.stop()

    def _renderables(self) -> Any:
        self._progress.update(self._task, completed=self._done)
        yield self._progress.make_tasks_table(self._progress.tasks)
