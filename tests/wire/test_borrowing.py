"""Objects of `multiprocessing` in another process; here this process lends to itself."""

import multiprocessing

import pytest

from woolexec.wire import borrowing, lending

pytestmark = pytest.mark.leaks("the thread that lends and its connections, which live as long as the process")


@pytest.fixture
def lock():
    return multiprocessing.Lock()


@pytest.fixture
def borrowed(lock):
    return borrowing.semaphore(type(lock), lending.ticket_of(lock), lock._semlock.kind, 1)


def test_lock_is_that_of_its_process(lock, borrowed):
    with borrowed:
        assert not lock.acquire(block=False)
        assert not borrowed.acquire(timeout=0.01)
    assert lock.acquire(block=False)
    lock.release()


def test_error_of_its_process_is_raised_here(borrowed):
    with pytest.raises(ValueError, match="released too many times"):
        borrowed.release()


def test_process_that_is_not_there_is_said_not_to_be(tmp_path):
    ticket = str(tmp_path / "nobody"), b"key", 1
    with pytest.raises(OSError, match="can be used only where the process that made them runs"):
        borrowing.Borrowed(ticket, 0, 1).acquire()


def test_lock_that_was_acquired_while_its_answer_was_interrupted_is_free(lock, borrowed, monkeypatch):
    class Interrupted(KeyboardInterrupt):
        pass

    real = borrowing._Link.ask

    def ask(self, *arguments, **options):
        real(self, *arguments, **options)
        raise Interrupted

    monkeypatch.setattr(borrowing._Link, "ask", ask)
    with pytest.raises(Interrupted):
        borrowed.acquire()
    monkeypatch.undo()
    assert lock.acquire(timeout=30)
    lock.release()
