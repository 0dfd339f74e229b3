"""Shared objects of `multiprocessing`, in their own process; `tests/api/test_inherited.py` uses them in workers."""

import errno
import gc
import multiprocessing
import socket

import pytest

from woolexec.wire import borrowing, lending

pytestmark = pytest.mark.leaks("the thread that lends, which lives as long as the process")


def test_objects_are_reduced_within_a_block_alone():
    lock = multiprocessing.Lock()
    assert lending.reducers() == {}
    with lending.lending():
        with lending.lending():
            assert type(lock) in lending.reducers()
        assert type(lock) in lending.reducers()
    assert lending.reducers() == {}


def test_object_has_one_ticket_and_another_object_another():
    lock, other = multiprocessing.Lock(), multiprocessing.Lock()
    assert lending.ticket_of(lock) == lending.ticket_of(lock) != lending.ticket_of(other)


def test_ticket_of_an_object_that_was_collected_is_refused():
    lock = multiprocessing.Lock()
    borrowed = borrowing.Borrowed(lending.ticket_of(lock), lock._semlock.kind, 1)
    del lock
    gc.collect()
    with pytest.raises(FileNotFoundError, match="has removed it"):
        borrowed.acquire()


def test_connection_or_socket_that_was_closed_is_refused():
    for one, other in (multiprocessing.Pipe(), socket.socketpair()):
        with lending.lending(None, lending.SHARED):
            open_it, arguments = lending.reducers()[type(one)](one)
        one.close()
        with pytest.raises(OSError, match="has been closed"):
            open_it(*arguments)
        with pytest.raises(OSError, match="has been closed"):
            lending.SHARED[type(one)](one)
        other.close()


def test_pause_is_made_before_each_try_to_accept_while_there_is_no_descriptor(monkeypatch):
    class OverError(Exception):
        pass

    class Listener:
        def __init__(self):
            self.answers = iter([OSError(errno.EMFILE, "too many"), EOFError(), OSError(errno.EMFILE, "too many")])

        def accept(self):
            raise next(self.answers, OverError())

    pauses = []
    monkeypatch.setattr(lending, "sleep", pauses.append)
    lender = object.__new__(lending.Lender)
    lender._listener = Listener()
    with pytest.raises(OverError):
        lender._accept()
    assert pauses == [lending._REST] * 2
