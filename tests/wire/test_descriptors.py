"""Descriptors that arrive when few are left."""

import errno
import os
import socket
import sys
import threading

import pytest

from tests.limits import all_descriptors_taken
from woolexec.wire import descriptors
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.payload import LARGE, store


@pytest.fixture
def ends():
    made = [Descriptors(sock, Reserve()) for sock in socket.socketpair()]
    yield made
    for end in made:
        end.close()
        end.reserve.lend()


def test_payload_that_is_made_while_one_is_received_does_not_keep_the_number():
    with all_descriptors_taken() as taken:
        os.close(taken.pop())  # a low one: what was let go of
        with pytest.raises(OSError, match="few descriptors"):
            store([b"x" * LARGE])
        taken.append(os.dup(2))


def test_file_is_not_given_while_what_counts_those_on_the_way_cannot_be_loaded(ends, monkeypatch):
    here, there = ends
    read, write = os.pipe()
    monkeypatch.setitem(sys.modules, "termios", None)
    assert not there.give(read)
    monkeypatch.undo()
    assert there.give(read)
    os.close(here.take())
    for fd in (read, write):
        os.close(fd)


def test_descriptor_stays_where_it_is_until_there_is_a_number_for_it(ends):
    here, there = ends
    read, write = os.pipe()
    assert there.give(read)
    os.close(read)
    with all_descriptors_taken() as taken:
        here.reserve.lend()
        taken.append(os.dup(2))
        threading.Timer(0.02, os.close, [taken.pop(0)]).start()
        got = here.take()
        os.write(write, b"x")
        assert os.read(got, 1) == b"x"
        os.close(got)
    os.close(write)


def test_descriptor_for_which_there_is_no_number_is_an_error_and_the_next_one_arrives(ends):
    here, there = ends
    read, write = os.pipe()
    assert there.give(read)
    assert there.give(write)
    with all_descriptors_taken() as taken:
        here.reserve.lend()
        taken.append(os.dup(2))
        with pytest.raises(OSError, match="no descriptor was left") as caught:
            here.take()
        assert caught.value.errno == errno.EMFILE
        os.close(taken.pop())
        got = here.take()
    os.write(got, b"x")
    assert os.read(read, 1) == b"x"
    for fd in (got, read, write):
        os.close(fd)


def test_descriptor_that_was_not_sent_is_missing(ends):
    here, there = ends
    with pytest.raises(ValueError, match="missing"):
        here.take()
    there.close()
    with pytest.raises(ValueError, match="missing"):
        here.take()


def test_files_that_nobody_receives_are_bounded_in_bytes(ends):
    here, there = ends
    here._on_the_way._limit = 250
    file = store([b"x"])
    assert [here.give(file.fd, 100) for _ in range(4)] == [True, True, False, False]
    os.close(there.take())
    assert [here.give(file.fd, 100) for _ in range(2)] == [True, False]


def test_file_of_any_size_is_sent_where_none_is_on_the_way(ends):
    here, there = ends
    here._on_the_way._limit = 1
    file = store([b"x"])
    for _ in range(3):
        assert here.give(file.fd, 100)
        os.close(there.take())


@pytest.mark.parametrize(("limit", "scarce"), [(1 << 20, False), (10, True)])
def test_descriptors_are_scarce_above_half_of_their_limit(monkeypatch, limit, scarce):
    monkeypatch.setattr(descriptors, "descriptor_limit", lambda: limit)
    assert descriptors.are_scarce() is scarce
