"""The engine's ends of the pipes of a worker."""

import errno
import os

import pytest

from woolexec.engine import worker_pipes
from woolexec.engine.worker_pipes import WorkerPipes
from woolexec.wire.printed import STDERR, STDOUT, record


@pytest.fixture
def pipes():
    pipes = WorkerPipes()
    theirs = pipes.open()
    yield pipes, theirs
    pipes.close()
    for fd in theirs:
        os.close(fd)


def read(pipes, at_end=None):
    return [(each.call, each.stream, each.text) for each in pipes.read(at_end)]


def test_what_is_written_is_read_and_nothing_waits(pipes):
    ours, (out, err) = pipes
    assert read(ours) == []
    os.write(out, record(7, 1, STDERR, b"record\n"))
    os.write(err, b"descriptor\nbegun")
    assert read(ours) == [(7, STDERR, b"record\n"), (None, STDERR, b"descriptor\n")]
    assert [each.text for each in ours.end_lines()] == [b"begun\n"]


def test_pipe_that_nobody_writes_to_any_more_is_told_of_once(pipes):
    ours, (out, _) = pipes
    ended = []
    copy = os.dup(out)
    os.dup2(pipes[1][1], out)
    os.write(copy, b"rest")
    os.close(copy)
    assert read(ours, ended.append) == []
    assert read(ours, ended.append) == []
    assert ended == [ours.descriptors[0]]
    assert [(each.stream, each.text) for each in ours.end()] == [(STDOUT, b"rest\n")]


def test_without_descriptors_a_worker_starts_without_pipes(monkeypatch):
    made = []

    def wide_pipe(size):
        if made:
            raise OSError(errno.EMFILE, "too many")
        made.extend(os.pipe())
        return tuple(made)

    monkeypatch.setattr(worker_pipes, "wide_pipe", wide_pipe)
    pipes = WorkerPipes()
    assert pipes.open() == ()
    assert pipes.descriptors == ()
    assert read(pipes) == []
    for fd in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_pipes_that_were_closed_are_not_read_nor_what_has_their_numbers_now(pipes):
    ours, (out, _) = pipes
    os.write(out, b"line\n")
    closed = ours.descriptors
    ours.close()
    assert read(ours) == []
    others = os.pipe()
    try:
        assert others[0] in closed
        os.write(others[1], b"of others")
        assert read(ours) == []
        assert os.read(others[0], 100) == b"of others"
    finally:
        for fd in others:
            os.close(fd)
