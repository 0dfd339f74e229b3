"""Classes and functions of a program's own module travel by value."""

import pytest

pytestmark = pytest.mark.matrix

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
    "globals and attributes of classes that cannot be pickled": """
import pickle, socket, sqlite3, threading
connection, thread = sqlite3.connect(":memory:"), threading.Thread(target=print)
class Config:
    source = (n for n in ())
    size = 3
def work(use):
    return connection.execute("select 1") if use else 7
def started():
    thread.start()
def source(config):
    return next(config.source) if config.size == 3 else None
with PeerPoolExecutor(1) as pool:
    assert pool.submit(work, False).result() == 7
    assert list(pool.map(work, [False] * 3)) == [7] * 3
    for fn, arg, name in ((work, True, "'connection' of work"), (source, Config(), "'source' of Config")):
        error = pool.submit(fn, arg).exception()
        assert type(error) is pickle.PicklingError and name in str(error), error
        assert "cannot pickle" in str(error) and "create it in the task" in str(error)
    assert isinstance(pool.submit(started).exception(), pickle.PicklingError)
    connection = 5  # now it can be
    def work(): return connection
    assert pool.submit(work).result() == 5
""",
    "what cannot be pickled is named": """
import asyncio, threading
class Client:
    def __init__(self):
        self.lock = threading.Lock()
client = Client()
def use(*args, **kwargs): pass
def make(n): return [Client(), n]
def capture(value): return lambda: value
async def run():
    try:
        await pool.run(use, client)
    except TypeError as exc:
        return exc
with PeerPoolExecutor(1) as pool:
    notes = lambda error: " / ".join(error.__notes__)
    assert "args[1][0].lock, a _thread.lock" in notes(pool.submit(use, 1, [client]).exception())
    assert "kwargs['key'].lock" in notes(pool.submit(use, key=client).exception())
    assert "value is a captured variable of capture.<locals>" in notes(pool.submit(capture(Client())).exception())
    assert "cannot be pickled: value[0].lock, a _thread.lock" in notes(pool.submit(make, 1).exception())
    for fn, items, text in ((use, [client], "item.lock"), (make, [1], "value[0].lock")):
        try:
            list(pool.map(fn, items))
        except TypeError as exc:
            assert text in notes(exc), notes(exc)
    assert "args[0].lock" in notes(asyncio.run(run()))
    def outer(pool):
        return notes(pool.submit(use, Client()).exception())
    assert "args[0].lock" in pool.submit(outer, pool).result()
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
