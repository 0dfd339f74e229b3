import os
import signal
import subprocess
import sys
import time

import pytest

from woolexec.platform.stack_dump import DUMP_SIGNAL, ENDED, STOPPED, send_dump_signal, state_of

pytestmark = pytest.mark.linux

DUMPS = """
import os, sys, tempfile, threading, time
from woolexec.platform import stack_dump

file = tempfile.TemporaryFile()
file.write(b"before")
file.flush()
assert stack_dump.dump_on_signal(file.fileno(), 6)
ends = threading.Event()

def beside():
    print(threading.get_native_id(), flush=True)
    ends.wait()

threading.Thread(target=beside).start()
for command in sys.stdin:
    if command == "again\\n":
        stack_dump.dump_again_from(6)
        os.ftruncate(file.fileno(), 6)
        print(repr(b""), flush=True)
        continue
    deadline = time.monotonic() + 20
    outermost = b"in <module>\\n", b"in _bootstrap\\n"
    while not os.pread(file.fileno(), 10000, 0).endswith(outermost) and time.monotonic() < deadline:
        time.sleep(0.001)
    print(repr(os.pread(file.fileno(), 10000, 0)), flush=True)
ends.set()
"""


@pytest.fixture
def child():
    with subprocess.Popen(
        [sys.executable, "-c", DUMPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        thread = int(process.stdout.readline())

        def ask(command="look"):
            process.stdin.write(command + "\n")
            process.stdin.flush()
            return eval(process.stdout.readline())

        yield process.pid, thread, ask
        process.stdin.close()
        assert process.wait() == 0


def test_main_thread_dumps_its_stack_behind_what_is_there(child):
    pid, _, ask = child
    send_dump_signal(pid)
    dump = ask()

    assert dump.startswith(b"before")
    assert b"in <module>" in dump
    assert b"in beside" not in dump


def test_other_thread_dumps_its_own_stack(child):
    pid, thread, ask = child
    send_dump_signal(pid, thread)

    assert b"in beside" in ask()


def test_dumps_begin_where_they_are_told_to(child):
    pid, thread, ask = child
    send_dump_signal(pid, thread)
    ask()
    ask("again")
    send_dump_signal(pid)
    dump = ask()

    assert dump.startswith(b"before")
    assert b"in <module>" in dump
    assert b"\0" not in dump


def test_process_without_a_handler_is_not_signalled():
    with subprocess.Popen(["sleep", "60"]) as process:
        send_dump_signal(process.pid)
        try:
            assert state_of(process.pid) not in (STOPPED, ENDED)
            process.send_signal(signal.SIGSTOP)
            deadline = time.monotonic() + 20
            while state_of(process.pid) != STOPPED and time.monotonic() < deadline:
                pass
            assert state_of(process.pid) == STOPPED
        finally:
            process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert state_of(process.pid) == ENDED
        assert process.wait() == -signal.SIGKILL
    assert state_of(process.pid) == ENDED
    send_dump_signal(process.pid)


def test_signal_is_the_one_that_the_documentation_names():
    assert DUMP_SIGNAL == 62 == signal.SIGRTMAX - 2
