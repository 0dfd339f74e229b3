import signal
import threading
import time

from woolexec.futures.latch import Latch


def test_open_gate_lets_through_at_once():
    latch = Latch()
    latch.open()
    latch.open()

    assert latch.wait()
    assert latch.is_open


def test_closed_gate_lets_nobody_through_in_time():
    latch = Latch()

    assert not latch.wait(0.0)
    assert not latch.wait(0.01)
    assert not latch.wait(-1.0)
    assert not latch._sleepers


def test_everybody_who_waits_is_let_through():
    latch, through = Latch(), []
    threads = [threading.Thread(target=lambda: through.append(latch.wait(30))) for _ in range(5)]
    for thread in threads:
        thread.start()

    latch.open()
    for thread in threads:
        thread.join()

    assert through == [True] * 5


def test_opening_races_with_waiting():
    for _ in range(500):
        latch, barrier, through = Latch(), threading.Barrier(2), []

        def wait(latch=latch, barrier=barrier, through=through):
            barrier.wait()
            through.append(latch.wait(30))

        thread = threading.Thread(target=wait)
        thread.start()
        barrier.wait()
        latch.open()
        thread.join()
        assert through == [True]


def test_signal_handler_opens_it_under_the_waiting_thread():
    latch = Latch()
    previous = signal.signal(signal.SIGALRM, lambda *_: latch.open())
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        assert latch.wait(30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_signal_handler_that_raises_leaves_the_gate_usable():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    latch = Latch()
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    started = time.monotonic()
    try:
        latch.wait(30)
    except Stop:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < 25

    latch.open()
    assert latch.wait(0)


def test_waits_with_the_locks_that_threads_use_now(monkeypatch):
    waited = []

    class Lock:
        """A lock of a library that replaces those of threading when the program calls it, as gevent does."""

        def acquire(self, timeout=-1):
            waited.append(timeout)
            return len(waited) == 1

    latch = Latch()
    monkeypatch.setattr(threading, "Lock", Lock)

    assert not latch.wait(3)
    assert waited == [-1, 3]
