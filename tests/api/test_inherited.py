"""Objects that `multiprocessing` shares by inheritance: in `initargs`, in arguments, and in globals of functions."""

import multiprocessing
import os
import queue
import threading
import time
from functools import partial

import pytest

from woolexec import PeerPoolExecutor, current_executor
from woolexec.wire import lending

SOON = 30
CONTEXTS = ["fork", "spawn"]


@pytest.fixture(scope="module", params=CONTEXTS)
def context(request):
    made = multiprocessing.get_context(request.param)
    made.Lock()  # the tracker of multiprocessing is no test's leak
    return made


@pytest.fixture(scope="module", autouse=True)
def pool(context):
    lending.ticket_of(context.Lock())  # its thread and its socket are no test's leak
    with PeerPoolExecutor(2) as made:
        wait_for_all(made)
        yield made


def wait_for_all(pool):
    """Wait until all workers run."""
    for future in [pool.submit(time.sleep, 0.05) for _ in range(2)]:
        future.result(SOON)


pytestmark = pytest.mark.leaks("connections of workers to the thread that lends, until the workers end")


def eventually(is_so):
    deadline = time.monotonic() + SOON
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


def add(lock, value, times=1):
    for _ in range(times):
        with lock:
            value.value += 1
    return os.getpid()


def start(*shared):
    global lock, value, done, writer
    lock, value, done, writer = shared


def work(number):
    add(lock, value)
    done.put(number)
    writer.send(number)


def test_lock_and_value(pool, context):
    lock, value = context.Lock(), context.Value("i", 0)
    for future in [pool.submit(add, lock, value=value, times=20) for _ in range(6)]:
        future.result(SOON)
    list(pool.map(partial(add, lock, value), [5] * 4))
    assert value.value == 140


def test_lock_that_is_held(pool, context):
    lock = context.Lock()
    with lock:
        assert pool.submit(lambda: (lock.acquire(block=False), lock.acquire(timeout=0.01))).result(SOON) == (
            False,
            False,
        )
    assert pool.submit(lambda: (lock.acquire(timeout=0.01), lock.release())).result(SOON) == (True, None)


def test_recursive_lock_belongs_to_a_thread(pool, context):
    lock = context.RLock()

    def twice():
        with lock, lock:
            held = []
            other = threading.Thread(target=lambda: held.append(lock.acquire(block=False)))
            other.start()
            other.join()
            return held

    assert pool.submit(twice).result(SOON) == [False]
    assert lock.acquire(timeout=SOON)
    lock.release()
    with pytest.raises(AssertionError, match="not owned"):
        pool.submit(lambda: lock.release()).result(SOON)


def test_semaphore_that_is_released_too_often(pool, context):
    with pytest.raises(ValueError, match="too many times"):
        pool.submit(lambda semaphore: semaphore.release(), context.BoundedSemaphore(1)).result(SOON)


def test_condition_event_and_barrier(pool, context):
    condition, ready, barrier = context.Condition(), context.Event(), context.Barrier(2)

    def wait():
        with condition:
            ready.set()
            return condition.wait(SOON)

    future = pool.submit(wait)
    assert ready.wait(SOON)
    with condition:
        condition.notify_all()
    assert future.result(SOON) is True
    assert sorted(pool.map(lambda _: barrier.wait(SOON), range(2), chunksize=1)) == [0, 1]


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_queues(pool, context, kind):
    shared = getattr(context, kind)()
    for future in [pool.submit(shared.put, n) for n in range(10)]:
        future.result(SOON)
    assert sorted(shared.get() for _ in range(10)) == list(range(10))
    if kind == "JoinableQueue":
        for _ in range(10):
            shared.task_done()
        shared.join()


@pytest.mark.parametrize("kind", ["Array", "RawArray"])
def test_arrays(pool, context, kind):
    shared = getattr(context, kind)("d", 4)

    def fill(position):
        shared[position] = position + 0.5

    list(pool.map(fill, range(4)))
    assert list(shared) == [0.5, 1.5, 2.5, 3.5]


def test_coroutines_streams_actors_and_nested_tasks(pool, context):
    lock, value = context.Lock(), context.Value("i", 0)

    async def coroutine():
        add(lock, value)

    def stream():
        yield add(lock, value)

    class Actor:
        def __init__(self, *shared):
            self.shared = shared

        def add(self):
            add(*self.shared)

    pool.submit(coroutine).result(SOON)
    with pool.stream(stream) as items:
        assert len(list(items)) == 1
    with pool.actor(Actor, lock, value) as actor:
        actor.submit(Actor.add).result(SOON)
    pool.submit(lambda: current_executor().submit(add, lock, value).result()).result(SOON)
    assert value.value == 4


def test_arguments_of_the_initializer_reach_every_worker(context):
    lock, value, done = context.Lock(), context.Value("i", 0), context.Queue()
    reader, writer = context.Pipe(duplex=False)

    with PeerPoolExecutor(2, initializer=start, initargs=(lock, value, done, writer)) as pool:
        list(pool.map(work, range(20), chunksize=1))
        assert sorted(reader.recv() for _ in range(20)) == list(range(20))
    assert value.value == 20
    assert sorted(done.get(timeout=SOON) for _ in range(20)) == list(range(20))  # what is put is sent at a worker's end
    with pytest.raises(queue.Empty):
        done.get(block=False)


class Sender:
    def __init__(self, writer):
        self.writer = writer

    def send(self, barrier):
        barrier.wait(SOON)  # both workers are here, so each has the connection
        send(self.writer)


def send(to, barrier=None):
    if barrier is not None:
        barrier.wait(SOON)
    to.send(os.getpid())


def test_connection_in_a_function_reaches_every_worker(pool, context):
    reader, writer = context.Pipe(duplex=False)
    barrier, shared = context.Barrier(2), pool.put([writer])

    def captures(barrier):
        send(writer, barrier)

    for fn in (captures, partial(send, writer), Sender(writer).send):
        list(pool.map(fn, [barrier, barrier], chunksize=1))
        assert reader.recv() != reader.recv()
    for future in [pool.submit(lambda to, barrier: send(to[0], barrier), shared, barrier) for _ in range(2)]:
        future.result(SOON)
    assert reader.recv() != reader.recv()
    pool.submit(lambda: list(current_executor().map(partial(send, writer), [barrier, barrier]))).result(SOON)
    assert reader.recv() != reader.recv()


def test_each_worker_has_locks_of_its_own_for_those_of_threads_in_initargs():
    class Locks:  # tqdm passes such an object to its workers
        def __init__(self):
            self.locks = [threading.RLock(), threading.Lock()]

    shared = Locks(), threading.Condition(), threading.Event(), multiprocessing.get_context("fork").Event()
    with shared[0].locks[0], PeerPoolExecutor(1, initializer=start, initargs=shared) as pool:
        assert pool.submit(use_locks).result(SOON) == (False, False)


def use_locks():
    for each in lock.locks:
        with each, value:
            value.notify()
    return done.is_set(), writer.is_set()


def test_worker_that_is_killed_while_it_waits_leaves_the_lock(pool, context):
    lock, pid = context.Lock(), context.Value("i", 0, lock=False)

    def wait():
        pid.value = os.getpid()
        lock.acquire()

    with lock:
        future = pool.submit(wait)
        assert eventually(lambda: pid.value)
        assert future.cancel(force=True)
        assert eventually(lambda: pid.value not in pool._processes)
    assert lock.acquire(timeout=SOON)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_lock_of_a_worker_that_is_killed_is_released(pool, kind):
    fork = multiprocessing.get_context("fork")
    lock, holds = getattr(fork, kind)(), fork.Event()

    def hold():
        lock.acquire()
        holds.set()
        time.sleep(SOON)

    future = pool.submit(hold)
    assert holds.wait(SOON)
    assert future.cancel(force=True)
    assert lock.acquire(timeout=SOON)


def test_lock_stays_with_the_process_whose_thread_has_ended(pool):
    fork = multiprocessing.get_context("fork")
    lock = fork.Lock()

    def acquire_in_a_thread():
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join()

    pool.submit(acquire_in_a_thread).result(SOON)
    assert not lock.acquire(timeout=0.1)
    lock.release()


def test_processes_that_a_task_forks(pool, context):
    lock, value = context.Lock(), context.Value("i", 0)

    def fork():
        children = [multiprocessing.get_context("fork").Process(target=add, args=(lock, value, 10)) for _ in range(2)]
        for child in children:
            child.start()
        add(lock, value, 10)
        for child in children:
            child.join()

    pool.submit(fork).result(SOON)
    assert value.value == 30


def test_results_are_not_shared(pool, context):
    with pytest.raises(RuntimeError, match="through inheritance"):
        pool.submit(multiprocessing.get_context("spawn").Lock).result(SOON)


def test_object_whose_process_has_ended():
    lock = multiprocessing.get_context("fork").Lock()
    kept = []
    with lending.lending(kept):
        cls, (kind, ticket, *rest) = lending.reducers()[type(lock)](lock)
    made = cls(kind, (ticket[0] + "-not-there", *ticket[1:]), *rest)
    with pytest.raises(FileNotFoundError, match="only where the process that made them runs"):
        made.acquire()
