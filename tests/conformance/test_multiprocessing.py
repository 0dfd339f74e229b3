"""Uses of the rest of multiprocessing with ProcessPoolExecutor, in tasks and in their arguments."""

import contextlib
import multiprocessing
import socket
from functools import partial
from multiprocessing import reduction, resource_sharer, shared_memory

import pytest

from . import tasks
from .subject import IS_OURS, SOON, Subject, run_script


@pytest.fixture
def pool():
    with Subject(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def manager():
    with multiprocessing.get_context("spawn").Manager() as made:
        yield made


# A manager serves more than one test: it is not a leak of the first.
pytestmark = pytest.mark.usefixtures("manager")


def test_workers_share_the_authentication_key(pool):
    assert pool.submit(tasks.authkey).result(SOON) == multiprocessing.current_process().authkey


def test_the_key_is_shared_by_a_program_that_loads_multiprocessing_after_the_pool():
    ran = run_script(
        """
        def key():
            from multiprocessing import current_process
            return bytes(current_process().authkey)

        if __name__ == "__main__":
            with Executor(1) as pool:
                theirs = pool.submit(key).result()
                print(theirs == key())
        """
    )
    assert ran.stdout == "True\n", ran.stderr


def test_queue_of_a_manager_reaches_the_parent(pool, manager):
    queue = manager.Queue()
    pool.submit(tasks.put, queue, 42).result(SOON)
    assert queue.get(timeout=SOON) == 42


def test_dict_of_a_manager_is_shared_by_workers(pool, manager):
    shared = manager.dict()
    list(pool.map(tasks.update, [shared] * 10, range(10), range(10)))
    assert dict(shared) == {n: n for n in range(10)}


def appended(values, value):
    values.append(value)
    return list(values)


class Holder:
    def __init__(self, values):
        self.values = values

    def appended(self, value):
        return appended(self.values, value)


# The manager drops an object when the last proxy of it has gone: nothing but the pool has one here.
NOWHERE_ELSE = {
    "argument": lambda pool, make: pool.submit(appended, make(), 1).result(SOON),
    "keyword": lambda pool, make: pool.submit(appended, values=make(), value=1).result(SOON),
    "attribute of an argument": lambda pool, make: pool.submit(Holder.appended, Holder(make()), 1).result(SOON),
    "bound argument": lambda pool, make: pool.submit(partial(appended, make()), 1).result(SOON),
    "object of a method": lambda pool, make: pool.submit(Holder(make()).appended, 1).result(SOON),
    "method of the proxy": lambda pool, make: pool.submit(make().append, 1).result(SOON) or [1],
    "large argument": lambda pool, make: pool.submit(appended, make(), bytes(1 << 20)).result(SOON) and [1],
    "item": lambda pool, make: next(pool.map(appended, (make() for _ in range(9)), [1] * 9, timeout=SOON)),
    "function of a map": lambda pool, make: next(pool.map(partial(appended, make()), [1], timeout=SOON)),
}


@pytest.mark.parametrize("way", NOWHERE_ELSE)
def test_proxy_lives_as_long_as_a_task_may_need_it(pool, manager, way):
    assert NOWHERE_ELSE[way](pool, manager.list) == [1]


def remember(values):
    global remembered
    remembered = values


def appended_to_remembered(value):
    return appended(remembered, value)


def test_proxy_lives_as_long_as_workers_are_initialized_with_it(manager):
    with Subject(1, initializer=remember, initargs=(manager.list(),)) as pool:
        assert pool.submit(appended_to_remembered, 1).result(SOON) == [1]


def test_shared_memory_survives_the_workers_that_opened_it():
    block = shared_memory.SharedMemory(create=True, size=16)
    try:
        with Subject(2) as pool:
            pool.submit(tasks.write_shared, block.name, b"from a worker").result(SOON)
        assert bytes(block.buf[:13]) == b"from a worker"
        again = shared_memory.SharedMemory(block.name)
        again.close()
    finally:
        block.close()
        block.unlink()


def test_shared_memory_survives_the_worker_that_made_it():
    with Subject(2) as pool:
        name = pool.submit(tasks.make_shared, b"from a worker").result(SOON)
    block = shared_memory.SharedMemory(name)
    try:
        assert bytes(block.buf[:13]) == b"from a worker"
    finally:
        block.close()
        block.unlink()


def test_shared_memory_is_unlinked_by_a_task_that_says_so(capfd):
    with Subject(1) as pool:
        name = pool.submit(tasks.make_shared, b"x").result(SOON)
        pool.submit(tasks.unlink_shared, name).result(SOON)
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name)
    assert capfd.readouterr().err == ""


def test_connection_travels_as_an_argument(pool):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with contextlib.closing(receiver), contextlib.closing(sender), contextlib.ExitStack() as stack:
        # The thread that hands out descriptors lives until it is told to stop.
        stack.callback(resource_sharer.stop)
        pool.submit(tasks.send, sender, "hello").result(SOON)
        assert receiver.poll(SOON)
        assert receiver.recv() == "hello"


def test_socket_travels_as_an_argument(pool):
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.ExitStack() as stack:
        stack.callback(resource_sharer.stop)
        pool.submit(tasks.send_bytes, theirs, b"hello").result(SOON)
        ours.settimeout(SOON)
        assert ours.recv(5) == b"hello"


def test_registered_reducer_is_used(pool):
    reduction.ForkingPickler.register(tasks.Registered, tasks.reduce_registered)
    try:
        assert pool.submit(tasks.value_of, tasks.Registered(42)).result(SOON) == 42
    finally:
        del reduction.ForkingPickler._extra_reducers[tasks.Registered]


@pytest.mark.skipif(IS_OURS, reason="it arrives: tests/api/test_inherited.py")
def test_lock_in_an_argument_is_refused_in_the_future(pool):
    future = pool.submit(id, multiprocessing.Lock())
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        future.result(SOON)


def test_task_runs_in_the_main_thread_of_its_process(pool):
    assert pool.submit(tasks.in_main_thread).result(SOON)


def test_task_may_start_a_subprocess(pool):
    assert pool.submit(tasks.run_subprocess).result(SOON).strip() == "42"


def test_task_may_start_a_process(pool):
    assert pool.submit(tasks.run_process, 42).result(SOON) == 42


@pytest.mark.skipif(not IS_OURS, reason="the stdlib's default forks a process that has threads")
def test_task_may_have_an_executor_of_its_own(pool):
    assert pool.submit(tasks.run_nested, Subject, 21).result(SOON) == 42
