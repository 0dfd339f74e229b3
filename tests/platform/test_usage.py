import os
import subprocess
import sys

import pytest

from woolexec.platform import usage
from woolexec.platform.usage import _by_ps, _seconds


@pytest.mark.parametrize("find", [usage.usage, lambda pids: _by_ps(set(pids))])
def test_process_has_memory_and_processor_time(find):
    found = find([os.getpid()])
    memory, seconds = found[os.getpid()]
    assert 1 << 20 < memory < 1 << 40
    assert seconds >= 0


@pytest.mark.parametrize("find", [usage.usage, lambda pids: _by_ps(set(pids))])
def test_process_that_has_ended_has_none(find):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert find([ended.pid]) == {ended.pid: (None, None)}


def test_nothing_is_asked_for_no_process():
    assert _by_ps(set()) == {}


def test_missing_ps_tells_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert _by_ps({1}) == {1: (None, None)}


@pytest.mark.parametrize(("text", "seconds"), [("00:00", 0), ("01:02.50", 62.5), ("1-02:03:04", 93784)])
def test_times_of_ps_are_read(text, seconds):
    assert _seconds(text) == seconds
