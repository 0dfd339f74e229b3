import queue
import select
import signal
import socket
import threading
from itertools import count

import pytest

from tests.faults.tasks import SOON, eventually
from woolexec.wire.frames import Next, Resume, encode
from woolexec.worker import frame_reader
from woolexec.worker.frame_reader import STREAK, Reading
from woolexec.worker.socket_transport import SocketTransport


class SharedPage:
    """As much of a page as reading needs."""

    def set_open(self, value):
        self.is_open = value


class LoopThread:
    """A loop that can borrow the duty, in a thread; `block` keeps it from running."""

    def __init__(self):
        self.heard = self.lent = 0
        self.reading = None
        self.is_gone = threading.Event()
        self._pieces = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self._fds = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def borrow(self, fd):
        self.lent += 1
        self.put(lambda: self._fds.append(fd))

    def give_back(self, fd):
        self.put(lambda: fd in self._fds and self._fds.remove(fd))

    def block(self):
        """Keep the loop from running until the event that is returned is set."""
        event = threading.Event()
        self.put(lambda: event.wait(SOON))
        return event

    def put(self, piece):
        self._pieces.put(piece)
        self._wake.send(b"\0")

    def stop(self):
        self.put(self.is_gone.set)
        self.thread.join(SOON)
        self._wake.close()
        self._woken.close()

    def _run(self):
        while not self.is_gone.is_set():
            ready, _, _ = select.select([self._woken, *self._fds], [], [])
            for fd in ready:
                if fd is self._woken:
                    self._woken.recv(1)
                    self._pieces.get()()
                elif fd in self._fds:
                    self.heard += 1
                    if not self.reading.read_borrowed(self):
                        self._fds.remove(fd)


def make_reading(sock, handlers):
    return Reading(SocketTransport(sock), SharedPage(), handlers, lambda: None)


class Worker:
    """A reading whose frames are noted, with the thread that read them: Next is the loop's, Resume is not."""

    def __init__(self):
        self.engine, self._sock = socket.socketpair()
        self.loop = LoopThread()
        self.taken = []
        self.ended = threading.Event()
        handlers = {Next: self._take, Resume: self._take}
        self.reading = Reading(SocketTransport(self._sock), SharedPage(), handlers, self.ended.set)
        self.loop.reading = self.reading
        self.raised = None
        self.receives = count()
        self.main = threading.Thread(target=self._run, daemon=True)
        self.main.start()

    def _take(self, frame):
        self.taken.append((frame.call, threading.get_ident()))
        return self.loop if frame.__class__ is Next else None

    def _run(self):
        try:
            while True:
                self.reading.receive(True)
                next(self.receives)
        except EOFError as exc:
            self.raised = exc

    def say(self, frame):
        """Let the engine send a frame; wait until it has been taken, and return in which thread."""
        SocketTransport(self.engine).send(encode(frame))
        assert eventually(lambda: self.taken and self.taken[-1][0] == frame.call)
        return self.taken[-1][1]

    def lend(self):
        """Send as many commands as it takes until the loop is lent the duty."""
        for number in range(1, STREAK + 2):
            assert self.say(Next(call=number)) == self.main.ident
        assert eventually(lambda: self.loop.lent)

    def close(self):
        self.engine.close()
        self.main.join(SOON)
        assert isinstance(self.raised, EOFError)
        self.loop.stop()
        self._sock.close()


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def patience(monkeypatch):
    """Let a loop keep the duty however long it has nothing to read, so that no test depends on how fast it is."""
    monkeypatch.setattr(frame_reader, "PAUSE", SOON)


def test_loop_reads_after_some_commands_for_it_and_nothing_else(patience, worker):
    worker.lend()
    assert {worker.say(Next(call=number)) for number in range(100, 110)} == {worker.loop.thread.ident}


def test_main_thread_reads_on_where_frames_are_for_various(patience, worker):
    for number in range(1, 20):
        assert worker.say(Next(call=number) if number % STREAK else Resume(call=number)) == worker.main.ident
    assert not worker.loop.lent


def test_main_thread_hears_of_a_frame_that_the_loop_read_for_it(patience, worker):
    worker.lend()
    before = next(worker.receives)

    assert worker.say(Resume(call=100)) == worker.loop.thread.ident

    assert eventually(lambda: next(worker.receives) > before + 1)
    assert worker.say(Resume(call=101)) == worker.main.ident


def test_loop_that_has_nothing_to_read_loses_the_duty(worker):
    worker.lend()
    assert eventually(lambda: worker.reading._borrower is None)
    assert worker.say(Resume(call=100)) == worker.main.ident


def test_loop_that_is_blocked_loses_the_duty(monkeypatch, worker):
    monkeypatch.setattr(frame_reader, "PAUSE", 0.1)
    worker.lend()
    blocked = worker.loop.block()

    assert worker.say(Resume(call=100)) == worker.main.ident
    blocked.set()


def test_thread_of_its_own_takes_over_from_a_loop(patience, worker):
    worker.lend()

    worker.reading.open(signal.SIGURG, None)

    numbers = count(100)
    assert eventually(lambda: worker.say(Next(call=next(numbers))) not in (worker.main.ident, worker.loop.thread.ident))


def test_end_is_found_while_a_loop_reads(patience, worker):
    worker.lend()
    worker.engine.shutdown(socket.SHUT_RDWR)
    assert eventually(lambda: worker.raised is not None)
    assert worker.reading.gone


def test_wait_with_a_timeout_ends_with_what_another_thread_reads():
    engine, sock = socket.socketpair()
    taken = []
    here = make_reading(sock, {Resume: lambda frame: taken.append(frame.call)})
    came_back = threading.Event()

    def receive():
        here.receive(True, SOON)
        came_back.set()

    with engine, sock:
        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        assert eventually(lambda: here._waits)
        here.open(signal.SIGURG, None)
        SocketTransport(engine).send(encode(Resume(call=1)))
        assert came_back.wait(SOON / 2)
        assert taken == [1]
        engine.close()
        thread.join()


def test_wait_with_a_timeout_ends_at_its_time():
    engine, sock = socket.socketpair()
    here = make_reading(sock, {})
    with engine, sock:
        with pytest.raises(BlockingIOError):
            here.receive(True, 0.01)
        engine.shutdown(socket.SHUT_RDWR)
        assert eventually(lambda: here.stopping)


def test_end_that_another_thread_has_found_is_found_by_every_wait():
    engine, sock = socket.socketpair()
    here = make_reading(sock, {})
    with engine, sock:
        here.open(signal.SIGURG, None)
        engine.shutdown(socket.SHUT_RDWR)
        assert eventually(lambda: here.stopping)
        here._arrived.acquire(timeout=SOON)  # as lending does
        for _ in range(2):
            with pytest.raises(EOFError):
                here.receive(True)
