"""The terminal itself is tested with tasks that use it: `tests/worker/test_debugging.py`."""

import contextlib
import os
import sys

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
