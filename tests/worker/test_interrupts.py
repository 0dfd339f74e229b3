import os
import random
import signal
import threading
import time
from concurrent.futures import wait
from contextlib import suppress

import pytest

from tests.mesh.conftest import PATIENCE, eventually
from woolexec import PeerPoolExecutor, current_executor


def interrupt(pid):
    os.kill(pid, signal.SIGINT)


@pytest.fixture
def pool():
    with PeerPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def pid(pool):
    return pool.submit(os.getpid).result(PATIENCE)


def test_interrupts_between_calls_and_while_frames_arrive_cost_neither_calls_nor_the_worker(pool, pid):
    ended = threading.Event()
    pauses = random.Random(1)

    def interrupt_often():
        while not ended.wait(pauses.uniform(0, 0.003)):
            interrupt(pid)

    often = threading.Thread(target=interrupt_often)
    often.start()
    try:
        for _ in range(1500):
            future = pool.submit(os.getpid)
            with suppress(KeyboardInterrupt):  # meant for this call, which then raises it
                assert future.result(PATIENCE) == pid
    finally:
        ended.set()
        often.join()


def test_running_call_is_interrupted(pool, pid):
    future = pool.submit(time.sleep, PATIENCE)
    eventually(future.running)
    while not future.done():  # it may only just have been started
        interrupt(pid)
        wait([future], 0.05)
    assert isinstance(future.exception(), KeyboardInterrupt)
    assert pool.submit(os.getpid).result(PATIENCE) == pid


def pass_on(path):
    future = current_executor().submit(time.sleep, PATIENCE)
    open(path, "x").close()
    return future.result()


def test_call_that_waits_for_its_own_task_is_interrupted(tmp_path):
    with PeerPoolExecutor(2) as pool:
        future = pool.submit(pass_on, tmp_path / "waits")
        eventually((tmp_path / "waits").exists)
        while not future.done():  # the first ones may come before it waits
            for pid in pool._processes:
                interrupt(pid)
            wait([future], 0.05)
        assert isinstance(future.exception(), KeyboardInterrupt)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def own_handler():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    interrupt(os.getpid())
    signal.signal(signal.SIGINT, before)
    return heard


def test_task_may_have_a_handler_of_its_own(pool):
    assert pool.submit(own_handler).result(PATIENCE) == [True]
