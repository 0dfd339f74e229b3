"""The terminal itself is tested with tasks that use it: `tests/worker/test_debugging.py`."""

import contextlib
import os
import sys
import termios

import pytest

from woolexec.platform import terminal


def test_terminal_of_the_program_is_the_one_of_its_standard_input(monkeypatch):
    ours, theirs = os.openpty()
    try:
        with open(theirs, closefd=False) as stdin:
            monkeypatch.setattr(sys, "__stdin__", stdin)
            assert terminal.of_stdin() == os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("name", [None, os.devnull])
def test_program_without_a_terminal_has_none(monkeypatch, name):
    with contextlib.nullcontext() if name is None else open(name) as stdin:
        monkeypatch.setattr(sys, "__stdin__", stdin)
        assert terminal.of_stdin() == ""


def test_terminal_of_another_session_cannot_be_taken():
    ours, theirs = os.openpty()
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl"), terminal.taken(os.ttyname(theirs)):
            pass
        terminal.give_back(os.ttyname(theirs), 1)
        terminal.give_back("/nowhere", 1)
    finally:
        os.close(ours)
        os.close(theirs)


def test_keys_come_at_once_and_are_not_shown(monkeypatch):
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    with open(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with terminal.keys() as read:
            assert read(0) == ""
            os.write(ours, b"a\x1b[A")
            assert read(10) == "a\x1b[A"
        assert termios.tcgetattr(theirs) == before
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 100)
        with terminal.keys() as read:
            os.close(ours)
            assert read(10) is None
