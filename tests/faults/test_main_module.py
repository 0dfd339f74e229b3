"""What only a program's own module can show: its classes and functions travel by value."""

import pytest

CASES = {
    "attribute that the initializer sets": """
class Config:
    value = None
def init():
    Config.value = 42
def read(_):
    return Config.value
with PeerPoolExecutor(1, initializer=init) as pool:
    assert list(pool.map(read, range(3))) == [42] * 3
""",
    "attribute that a task counts up": """
class Counter:
    total = 0
    def add(self):
        Counter.total += 1
        return Counter.total
with PeerPoolExecutor(1) as pool:
    assert [pool.submit(Counter.add, Counter()).result() for _ in range(3)] == [1, 2, 3]
    Counter.total = 10  # the caller's new value is seen
    assert pool.submit(Counter.add, Counter()).result() == 11
""",
    "NamedTuple": """
from typing import NamedTuple
class Point(NamedTuple):
    x: int
    y: int = 2
def move(point):
    return point._replace(x=Point(9).x)
with PeerPoolExecutor(1) as pool:
    assert pool.submit(move, Point(1)).result() == Point(9, 2)
    assert type(pool.submit(move, Point(1)).result()) is Point
""",
    "cached property": """
from functools import cached_property
class Square:
    def __init__(self, n):
        self.n = n
    @cached_property
    def area(self):
        return self.n ** 2
def area(square):
    return square.area
with PeerPoolExecutor(1) as pool:
    assert pool.submit(area, Square(3)).result() == 9
""",
    "locks of its own": """
import threading
lock, event, local = threading.Lock(), threading.Event(), threading.local()
class Guarded:
    lock = threading.RLock()
def work(guarded):
    with lock, guarded.lock:
        local.x = event.is_set()
        return id(lock)
with PeerPoolExecutor(1) as pool:
    assert len({pool.submit(work, Guarded()).result() for _ in range(3)}) == 1
    assert isinstance(pool.submit(abs, lock).exception(), TypeError)  # as data it is refused, as by the stdlib
""",
    "NewType": """
from typing import NewType
UserId = NewType("UserId", int)
def make(x: UserId) -> UserId:
    return UserId(x)
with PeerPoolExecutor(1) as pool:
    assert pool.submit(make, 3).result() == 3
""",
    "pickled by a task": """
import pickle
class Outer:
    class Inner:
        pass
def there_and_back(outer):
    return type(pickle.loads(pickle.dumps(outer))).__qualname__, Outer.Inner.__qualname__
with PeerPoolExecutor(1) as pool:
    assert pool.submit(there_and_back, Outer()).result() == ("Outer", "Outer.Inner")
""",
    "nothing to call": """
with PeerPoolExecutor(1) as pool:
    assert str(pool.submit(None).exception()) == "'NoneType' object is not callable"
""",
    "tagged future": """
import time
with PeerPoolExecutor(1) as pool:
    future = pool.submit(time.sleep, 60)
    future.call = "mine"
    while not future.running():
        pass
    assert future.cancel(force=True)
    assert pool.submit(abs, -1).result() == 1
    assert future.call == "mine"
""",
    "timeout of items that travel together": """
import time
def work(x):
    if x >= 500:
        time.sleep(0.05)
    return x
with PeerPoolExecutor(1) as pool:
    assert list(pool.with_options(timeout=2).map(work, range(560))) == list(range(560))
""",
    "logging set up in the initializer": """
import logging, tempfile
def init(path):
    logging.basicConfig(filename=path, level=logging.INFO, format="%(message)s")
def work():
    logging.info("it is done")
with tempfile.NamedTemporaryFile("r") as file:
    with PeerPoolExecutor(1, initializer=init, initargs=(file.name,)) as pool:
        pool.submit(work).result()
    assert file.read() == "it is done\\n"
""",
    "thread that outlives its task": """
import sys, threading, time
def work():
    def run():
        time.sleep(0.3)
        print("ended", flush=True)
    threading.Thread(target=run).start()
with PeerPoolExecutor(1) as pool:
    pool.submit(work).result()
""",
}


@pytest.mark.parametrize("case", CASES)
def test_program_works_as_with_the_standard_library(run, case):
    code, out, err = run("from woolexec import PeerPoolExecutor\n" + CASES[case]).end()
    assert (code, err) == (0, "")
    assert out == ("ended\n" if case.startswith("thread") else "")
