import signal
import threading
import time

from woolexec.futures.latch import Gate


def test_open_gate_lets_through_at_once():
    gate = Gate()
    gate.open()
    gate.open()

    assert gate.wait()
    assert gate.is_open


def test_closed_gate_lets_nobody_through_in_time():
    gate = Gate()

    assert not gate.wait(0.0)
    assert not gate.wait(0.01)
    assert not gate.wait(-1.0)
    assert not gate._sleepers


def test_everybody_who_waits_is_let_through():
    gate, through = Gate(), []
    threads = [threading.Thread(target=lambda: through.append(gate.wait(30))) for _ in range(5)]
    for thread in threads:
        thread.start()

    gate.open()
    for thread in threads:
        thread.join()

    assert through == [True] * 5


def test_opening_races_with_waiting():
    for _ in range(500):
        gate, barrier, through = Gate(), threading.Barrier(2), []

        def wait(gate=gate, barrier=barrier, through=through):
            barrier.wait()
            through.append(gate.wait(30))

        thread = threading.Thread(target=wait)
        thread.start()
        barrier.wait()
        gate.open()
        thread.join()
        assert through == [True]


def test_signal_handler_opens_it_under_the_waiting_thread():
    gate = Gate()
    previous = signal.signal(signal.SIGALRM, lambda *_: gate.open())
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        assert gate.wait(30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_signal_handler_that_raises_leaves_the_gate_usable():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    gate = Gate()
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    started = time.monotonic()
    try:
        gate.wait(30)
    except Stop:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < 25

    gate.open()
    assert gate.wait(0)
