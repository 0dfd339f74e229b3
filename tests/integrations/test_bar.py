"""`bar` yields the items of its source, and shows its progress."""

import asyncio
import sys
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import numpy as np
import pytest
from rich.console import Console

from tests.shared_pools import shared
from woolexec import bar
from woolexec.integrations import bar as bars

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def lines(capsys):
    """Returns the lines that were written to standard error."""
    return lambda: capsys.readouterr().err.splitlines()


@pytest.fixture
def terminal(monkeypatch):
    """Standard error is a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Console, "is_terminal", True)


def test_results_of_a_map_are_yielded_in_their_order(lines):
    with shared(1) as pool:
        assert list(bar(pool.map(abs, range(-3, 0)), 3, "squares")) == [3, 2, 1]
    (line,) = lines()
    assert line.startswith("squares: 3/3 (100%) in ")


def test_futures_are_yielded_when_they_are_done():
    first, second = Future(), Future()
    second.set_result(2)
    each = bar([first, second])
    assert next(each) is second
    first.set_result(1)
    assert next(each) is first
    with pytest.raises(StopIteration):
        next(each)


def test_what_has_no_length_has_no_total(lines):
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(abs, -1)]
        assert [future.result() for future in bar(as_completed(futures))] == [1]
    (line,) = lines()
    assert line.startswith("1 in ")


def test_asynchronous_source_has_an_asynchronous_bar(lines):
    async def main():
        with shared(1) as pool:
            return [value async for value in bar(pool.map_async(abs, range(-3, 0)), total=3)]

    assert asyncio.run(main()) == [3, 2, 1]
    assert lines()[0].startswith("3/3 (100%) in ")


def test_loop_that_is_left_ends_the_bar_and_says_so(lines):
    for item in bar(range(100)):
        if item == 5:
            break
    assert lines()[0].endswith(", ended early")


def test_exception_of_the_source_passes(lines):
    def fail():
        yield 1
        raise ValueError

    with pytest.raises(ValueError):  # it has no text
        list(bar(fail()))
    assert lines()[0].endswith(", ended early")


def test_lines_are_some_time_apart(monkeypatch, lines):
    now = 0.0

    def clock():
        nonlocal now
        now += bars.EVERY / 4
        return now

    monkeypatch.setattr(bars, "monotonic", clock)
    list(bar(range(12)))
    assert [line.partition(" ")[0] for line in lines()] == ["4/12", "8/12", "12/12", "12/12"]


def test_terminal_shows_a_bar(terminal, capsys):
    assert list(bar(range(3), text="[bold]three\x1b[2J")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert "3/3" in err
    assert "[bold]three\\x1b[2J" in err
    assert out == ""


def test_bar_of_what_has_no_length_ends_complete(terminal, capsys):
    assert list(bar(iter("ab"))) == ["a", "b"]
    assert "2/2" in capsys.readouterr().err


def test_bars_in_bars_yield_all(terminal, capsys):
    assert [(x, y) for x in bar(range(2)) for y in bar(range(2))] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_array_is_a_source_and_an_empty_collection_yields_nothing():
    assert list(bar(np.arange(3))) == [0, 1, 2]
    assert list(bar([])) == []


def test_without_rich_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"woolexec.bar needs rich: pip install 'woolexec\[top\]'"):
        bar([])


def test_source_must_be_iterable():
    with pytest.raises(TypeError, match="source must be an iterable"):
        bar(3)
