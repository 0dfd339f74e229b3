"""The output of tasks, in whole lines, into a pipe that may not be read."""

import os
import threading

import pytest

from woolexec.wire.printed import STDERR, STDOUT, Decoder
from woolexec.worker import nested_tasks, output
from woolexec.worker.output import Printer, Stream


class Job:
    def __init__(self, number):
        self.number = number


@pytest.fixture
def pipe():
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def printed(pipe):
    """Returns what has been printed since it was last called."""
    decoder = Decoder(STDOUT)

    def read():
        found = []
        try:
            while data := os.read(pipe[0], 1 << 20):
                found += decoder.feed(data)
        except BlockingIOError:
            pass
        return [(each.call, each.stream, each.text) for each in found if not each.lost], sum(e.lost for e in found)

    return read


@pytest.fixture
def printer(pipe):
    return Printer(pipe[1])


def as_job(number, act, *args):
    token = nested_tasks.current.set(Job(number))
    try:
        act(*args)
    finally:
        nested_tasks.current.reset(token)


def test_line_is_sent_when_it_ends(printer, printed):
    as_job(1, printer.write, STDOUT, b"be")
    assert printed() == ([], 0)
    as_job(1, printer.write, STDOUT, b"gun\nnext")
    assert printed() == ([(1, STDOUT, b"begun\n")], 0)


def test_lines_of_several_calls_and_streams_are_not_mixed(printer, printed):
    for number, stream in ((1, STDOUT), (2, STDOUT), (2, STDERR)):
        as_job(number, printer.write, stream, b"%d " % number)
    for number, stream in ((2, STDERR), (1, STDOUT), (2, STDOUT)):
        as_job(number, printer.write, stream, b"ends\n")
    assert printed()[0] == [(2, STDERR, b"2 ends\n"), (1, STDOUT, b"1 ends\n"), (2, STDOUT, b"2 ends\n")]


def test_lines_of_several_threads_of_a_call_are_not_mixed(printer, printed):
    as_job(1, printer.write, STDOUT, b"main ")
    thread = threading.Thread(target=as_job, args=(1, printer.write, STDOUT, b"thread\n"))
    thread.start()
    thread.join()
    as_job(1, printer.write, STDOUT, b"ends\n")
    assert printed()[0] == [(1, STDOUT, b"thread\nmain ends\n")]


def test_end_of_a_call_completes_its_lines_and_no_others(printer, printed):
    as_job(1, printer.write, STDOUT, b"one")
    as_job(2, printer.write, STDOUT, b"two")
    printer.end(1)
    assert printed()[0] == [(1, STDOUT, b"one\n")]
    printer.close()
    assert printed()[0] == [(2, STDOUT, b"two\n")]


def test_long_line_arrives_whole(printer, printed):
    line = bytes(range(32, 127)) * 300 + b"\n"
    as_job(1, printer.write, STDOUT, line)
    assert printed()[0] == [(1, STDOUT, line)]


def test_task_waits_once_for_a_pipe_that_nobody_reads_and_what_it_prints_then_is_counted(printer, printed, monkeypatch):
    waits = []

    def can_write(fd, timeout):
        if timeout:
            waits.append(timeout)
        return real(fd, 0)

    real = output.can_write
    monkeypatch.setattr(output, "can_write", can_write)
    line = b"x" * 99 + b"\n"
    for _ in range(3000):
        as_job(1, printer.write, STDOUT, line)
    assert len(waits) == 1
    lines, lost = printed()
    assert lost == 0  # there was no room to say so
    printer.end(1)
    more, lost = printed()
    assert more == []
    arrived = sum(len(text) for _, _, text in lines)
    assert arrived < 300_000 <= arrived + lost


def test_after_a_reader_that_is_back_lines_come_behind_the_number_of_lost_bytes(printer, printed, monkeypatch):
    monkeypatch.setattr(output, "_PATIENCE", 0)
    for _ in range(3000):
        as_job(1, printer.write, STDOUT, b"x" * 99 + b"\n")
    printed()
    as_job(1, printer.write, STDOUT, b"back\n")
    lines, lost = printed()
    assert lines == [(1, STDOUT, b"back\n")]
    assert lost > 0


def test_worker_that_ends_says_what_was_lost(printer, printed, monkeypatch):
    monkeypatch.setattr(output, "_PATIENCE", 0)
    for _ in range(3000):
        as_job(1, printer.write, STDOUT, b"x" * 99 + b"\n")
    printer.end(1)
    _, lost = printed()
    assert lost == 0  # there was no room to say so
    printer.close()
    assert printed()[1] > 0


def test_engine_that_is_gone_stops_nobody():
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        Printer(theirs).write(STDOUT, b"to nobody\n")
    finally:
        os.close(theirs)


def test_stream_is_a_file_without_end(printer, printed):
    stream = Stream(printer, STDERR)
    assert stream.write(memoryview(b"bytes\n")) == 6
    assert printed()[0] == [(None, STDERR, b"bytes\n")]
    assert (stream.fileno(), stream.writable(), stream.readable(), stream.isatty()) == (2, True, False, False)
