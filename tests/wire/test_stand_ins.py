"""Values that cannot be sent with functions and classes: recreated, taken from a module, or replaced by a stand-in."""

import asyncio
import ctypes
import logging.handlers
import operator
import os
import pickle
import queue
import socket
import sqlite3
import sys
import threading
from contextvars import ContextVar

import pytest

from woolexec.wire import reducers, stand_ins
from woolexec.wire.pickling import dumps
from woolexec.wire.stand_ins import StandIn
from woolexec.wire.unpickling import loads

USES = {
    "attribute": lambda x: x.name,
    "missing attribute": lambda x: hasattr(x, "name"),
    "attribute with a default": lambda x: getattr(x, "name", None),
    "setting": lambda x: setattr(x, "name", 1),
    "deleting": lambda x: delattr(x, "name"),
    "call": lambda x: x(1),
    "iteration": iter,
    "next": next,
    "item": lambda x: x[0],
    "setting an item": lambda x: operator.setitem(x, 0, 1),
    "deleting an item": lambda x: operator.delitem(x, 0),
    "membership": lambda x: 1 in x,
    "truth": bool,
    "length": len,
    "reversed": reversed,
    "text": str,
    "format": lambda x: f"{x:>3}",
    "number": int,
    "index": operator.index,
    "sum": lambda x: x + 1,
    "sum from the right": lambda x: 1 + x,
    "sum in place": lambda x: operator.iadd(x, 1),
    "matrix product": lambda x: x @ x,
    "union": lambda x: x | {},
    "minus": operator.neg,
    "comparison": lambda x: x < 1,
    "equality": lambda x: x == 1,
    "inequality": lambda x: x != 1,
    "hash": hash,
    "path": os.fspath,
    "with": lambda x: x.__enter__(),
    "with statement": lambda x: exec("with x: pass", {"x": x}),
    "async with": lambda x: asyncio.run(_async_with(x)),
    "await": lambda x: asyncio.run(_await(x)),
    "async for": lambda x: asyncio.run(_async_for(x)),
    "star": lambda x: [*x],
    "double star": lambda x: dict(**x),
    "decorator": lambda x: x(lambda: None),
    "base class": lambda x: type("Sub", (x,), {}),
    "isinstance of it": lambda x: isinstance(1, x),
}


async def _await(x):
    return await x


async def _async_with(x):
    async with x:
        pass


async def _async_for(x):
    async for _ in x:
        pass


@pytest.mark.parametrize("use", USES)
def test_any_use_raises_and_says_why(use):
    with pytest.raises(pickle.PicklingError, match="'console' of work is not in this process"):
        USES[use](StandIn("'console' of work is not in this process"))


def test_stand_in_can_be_passed_on_shown_and_compared_by_identity():
    stand_in = StandIn("because")

    for copy in (pickle.loads(pickle.dumps([stand_in, stand_in])), loads(dumps([stand_in, stand_in]))):
        assert copy[0] is copy[1]
        assert repr(copy[0]) == "<stand-in: because>"
        assert isinstance(copy[0], StandIn)
        assert copy[0] is not None


REFUSED = {
    "socket": socket.socket,
    "database": lambda: sqlite3.connect(":memory:"),
    "queue": queue.Queue,
    "simple queue": queue.SimpleQueue,
    "thread": lambda: threading.Thread(target=print),
    "barrier": lambda: threading.Barrier(2),
    "generator": lambda: (n for n in ()),
    "semaphore that is not free": lambda: threading.Semaphore(0),
    "list of what fails": lambda: [1, {"deep": socket.socket()}],
    "queue handler": lambda: logging.handlers.QueueHandler(queue.Queue()),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_global_that_does_not_pickle_fails_where_it_is_used_only(program, kind, monkeypatch):
    monkeypatch.setattr(reducers, "registered", dict)  # multiprocessing lets sockets be sent
    it = REFUSED[kind]()
    main = program("def work(use):\n    return it.anything if use else 7", it=it)

    work = loads(dumps(main.work))

    assert work(use=False) == 7
    with pytest.raises(pickle.PicklingError, match=r"'it' of work is not in this process, because this .* cannot be"):
        work(use=True)
    for each in [it, *(it[1].values() if isinstance(it, list) else ())]:
        getattr(each, "close", lambda: None)()


def test_stand_in_names_function_global_reason_and_path(program):
    class Client:
        def __init__(self):
            self.connections = [len, (n for n in ())]

    main = program("def work(): return client.get()\ndef outer(): return work()", client=Client())

    with pytest.raises(pickle.PicklingError) as raised:
        loads(dumps(main.outer))()

    text = str(raised.value)
    assert "'client' of work is not in this process" in text
    assert "TypeError: cannot pickle 'generator' object: client.connections[1], a generator" in text
    assert "Client cannot be pickled" in text
    assert "create it in the task, or in the pool's initializer" in text


def test_what_is_fine_beside_it_arrives(program):
    main = program(
        "def helper(): return DATA\ndef work(): return helper(), other(2)\nother = lambda x: x * FACTOR\ndef bad(): it",
        DATA=[1, 2],
        FACTOR=21,
        it=(n for n in ()),
    )
    main.work.bad = main.bad

    assert loads(dumps(main.work))() == ([1, 2], 42)


def test_functions_that_name_each_other_and_what_fails_arrive(program):
    main = program("def f(n): return g(n)\ndef g(n): return n if n else (it, f)", it=(n for n in ()))

    f = loads(dumps(main.f))

    assert f(1) == 1
    assert type(f(0)[0]) is StandIn


def test_captured_variables_defaults_and_arguments_that_do_not_pickle_fail_at_once():
    it = (n for n in ())

    def captures():
        return it

    def default(x=it):
        return x

    for value in (captures, default, [it]):
        with pytest.raises(TypeError, match="cannot pickle 'generator' object"):
            dumps(value)


def test_what_a_module_holds_is_taken_from_there(program):
    main = program(
        "from asyncio.log import logger\nfrom tests.wire.test_stand_ins import HELD\ndef work(): return HELD"
    )

    assert loads(dumps(main.work))() is HELD


HELD = threading.Thread(target=print)


def test_what_the_module_there_does_not_hold_is_a_stand_in(program, monkeypatch):
    main = program("from tests.wire.test_stand_ins import HELD\ndef work(): return HELD")
    payload = dumps(main.work)
    monkeypatch.delattr(sys.modules[__name__], "HELD")

    with pytest.raises(pickle.PicklingError, match=r"'HELD' of work .*test_stand_ins.HELD is not available here"):
        loads(payload)().start()


def test_locks_are_made_anew(program):
    main = program(
        "import threading\n"
        "lock, again, local = threading.Lock(), threading.RLock(), threading.local()\n"
        "condition, plain = threading.Condition(again), threading.Semaphore(3)\n"
        "bounded = threading.BoundedSemaphore(2)\n"
        "ready, not_ready = threading.Event(), threading.Event()\n"
        "ready.set(); lock.acquire(); bounded.acquire()\n"
        "def work(): return lock, again, local, condition, plain, bounded, ready, not_ready"
    )

    lock, again, local, condition, plain, bounded, ready, not_ready = loads(dumps(main.work))()

    assert lock is not main.lock
    assert not lock.locked()
    assert condition._lock is again
    assert type(local) is threading.local
    assert plain._value == 3
    assert [bounded.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    assert (ready.is_set(), not_ready.is_set()) == (True, False)


def test_object_of_the_program_has_its_locks_made_anew_where_a_function_names_it(program):
    main = program(
        "import threading\n"
        "class Cache:\n"
        "    def __init__(self): self.lock, self.data, self.event = threading.RLock(), {1: 2}, threading.Event()\n"
        "cache = Cache()\n"
        "def work():\n"
        "    with cache.lock: return cache.data\n"
    )

    assert loads(dumps(main.work))() == {1: 2}
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.RLock'"):
        dumps([main.cache])  # as data it is refused, as by the stdlib


def test_context_variable_is_made_anew_once(program):
    variable, bare = ContextVar("variable", default=5), ContextVar("bare")
    main = program("def one(): return variable, bare\ndef two(): return variable, bare", variable=variable, bare=bare)

    one, two = loads(dumps(main.one)), loads(dumps(main.two))

    assert one()[0] is two()[0] is not variable
    assert one()[1] is two()[1]
    assert one()[0].get() == 5
    with pytest.raises(LookupError):
        one()[1].get()


def test_log_handlers_are_made_anew(program, tmp_path):
    file = logging.FileHandler(tmp_path / "log", mode="w")
    file.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    file.setLevel(logging.INFO)
    main = program("def work(): return file, null", file=file, null=logging.NullHandler())
    file.emit(logging.makeLogRecord({"msg": "first", "levelname": "INFO"}))

    copy, null = loads(dumps(main.work))()
    copy.handle(logging.makeLogRecord({"msg": "second", "levelname": "INFO"}))
    copy.close()
    file.close()

    assert copy is not file
    assert copy.level == logging.INFO
    assert (tmp_path / "log").read_text() == "INFO first\nINFO second\n"
    assert type(null) is logging.NullHandler


def test_shared_library_is_loaded_anew(program):
    library = ctypes.CDLL(None)
    library.strlen.argtypes, library.strlen.restype = [ctypes.c_char_p], ctypes.c_size_t
    main = program("def work(text): return library.strlen(text)", library=library)

    assert loads(dumps(main.work))(b"four") == 4


def test_many_calls_pay_for_the_search_once_and_what_is_mended_is_seen(program, monkeypatch):
    class Client:
        def __reduce__(self):
            tried.append(1)
            if broken:
                raise LookupError("not now")
            return int, ()

    tried, broken = [], [1]
    now = [100.0]
    monkeypatch.setattr(stand_ins, "monotonic", lambda: now[0])
    main = program("def work(): return client", client=Client())

    for _ in range(20):
        assert type(loads(dumps(main.work))()) is StandIn
    assert len(tried) <= 3

    broken.clear()
    now[0] += 2
    assert loads(dumps(main.work))() == 0
