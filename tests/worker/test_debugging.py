"""`breakpoint()` in tasks, in programs with a separate terminal."""

import os
import re
import select
import subprocess
import sys
import termios
import time

import pytest

from tests.marks import slow
from woolexec import PeerPoolExecutor
from woolexec.worker.debugging import NO_TERMINAL

pytestmark = pytest.mark.linux

PROGRAM = """
import os, pdb, signal, sys, time
from woolexec import PeerPoolExecutor

def work(number):
    local = number * 100
    breakpoint()
    return local

def work_by_name(number):
    local = number * 100
    pdb.set_trace(header="by name")
    return local

async def work_async(number):
    local = number * 100
    breakpoint()
    return local
"""


class Program:
    """A program with a terminal, at which the test sits."""

    def __init__(self, code):
        self._fd, theirs = os.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM + code], preexec_fn=lambda: os.login_tty(theirs), close_fds=False
        )
        os.close(theirs)
        self.said = ""

    def until(self, pattern, seconds=40.0):
        """Read until something matches; return the match, and forget what was before its end."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.said)) is None:
            assert time.monotonic() < deadline, self.said
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self._fd, 4096).decode()
                except OSError:  # nobody has the other end open
                    assert re.search(pattern, self.said), self.said
        self.said = self.said[found.end() :]
        return found

    def type(self, text):
        os.write(self._fd, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def start():
    started = []

    def start(code):
        started.append(Program(code))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("function", ["work", *slow("work_by_name", "work_async")])
def test_task_can_be_looked_at_and_goes_on(start, function):
    program = start(f"""
with PeerPoolExecutor(1, debug=True) as pool:
    print("result", pool.submit({function}, 7).result())
print("typed", input())
""")
    if function == "work_by_name":
        program.until("by name\r\n")
    program.until(r"\(Pdb\) ")
    program.type("p local + 1\n")
    program.until(r"701\r\n\(Pdb\) ")
    program.type("c\n")
    program.until("result 700")
    program.type("to the program\n")
    program.until("typed to the program")
    assert program.process.wait(20) == 0


@pytest.mark.slow
def test_one_task_at_a_time_has_the_terminal(start):
    program = start("""
with PeerPoolExecutor(2, debug=True) as pool:
    print("results", list(pool.map(work, [1, 2], chunksize=1)))
""")
    seen = set()
    for _ in range(2):
        program.until(r"\(Pdb\) ")
        program.type("p local\n")
        seen.add(program.until(r"(\d+)\r\n\(Pdb\) ").group(1))
        program.type("c\n")
    program.until(r"results \[100, 200\]")
    assert seen == {"100", "200"}
    assert program.process.wait(20) == 0


@pytest.mark.slow
def test_terminal_comes_back_when_the_task_runs_into_its_timeout(start):
    program = start("""
with PeerPoolExecutor(1, debug=True) as pool:
    try:
        pool.with_options(timeout=3).submit(work, 7).result()
    except TimeoutError as error:
        print("timeout")
    while os.tcgetpgrp(0) != os.getpgrp():
        time.sleep(0.01)
    print("it is back")
    print("typed", input())
    print("next", pool.submit(abs, -3).result())
""")
    program.until(r"\(Pdb\) ")
    program.until("timeout")
    program.until("it is back")
    program.type("to the program\n")
    program.until("typed to the program")
    program.until("next 3")
    assert program.process.wait(20) == 0


@pytest.mark.slow
def test_interrupt_is_for_the_debugger_and_then_for_the_program_again(start):
    program = start("""
with PeerPoolExecutor(1, debug=True) as pool:
    print("result", pool.submit(work, 7).result())
    try:
        print("waits")
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")
""")
    program.until(r"\(Pdb\) ")
    program.type("\x03")
    program.until(r"\(Pdb\) ")
    program.type("c\n")
    program.until("result 700")
    program.until("waits")
    program.type("\x03")
    program.until("interrupted")
    assert program.process.wait(20) == 0


@pytest.mark.slow
def test_debugger_can_end_the_task(start):
    program = start("""
with PeerPoolExecutor(1, debug=True) as pool:
    print("error", type(pool.submit(work, 7).exception()).__name__)
    print("next", pool.submit(abs, -3).result())
""")
    program.until(r"\(Pdb\) ")
    program.type("q\n")
    program.until("error BdbQuit")
    program.until("next 3")
    assert program.process.wait(20) == 0


def stop_here():
    breakpoint()  # noqa: T100


def stop_here_by_name():
    import pdb  # noqa: T100

    pdb.set_trace()  # noqa: T100


@pytest.mark.parametrize("function", [stop_here, stop_here_by_name])
@pytest.mark.parametrize("debug", [False, True])
def test_task_without_a_terminal_says_what_to_do(function, debug, monkeypatch):
    with open(os.devnull) as nothing, monkeypatch.context() as patch:
        patch.setattr(sys, "__stdin__", nothing)
        with PeerPoolExecutor(1, debug=debug) as pool, pytest.raises(RuntimeError) as caught:
            pool.submit(function).result()

    assert str(caught.value) == NO_TERMINAL


def test_breakpoint_of_another_debugger_is_left_alone():
    with PeerPoolExecutor(1, environment={"PYTHONBREAKPOINT": "0"}) as pool:
        assert pool.submit(stop_here).result() is None
