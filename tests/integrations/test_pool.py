"""`as_pool`: the methods of multiprocessing.Pool.  CPython's own tests of these run in tests/conformance."""

import operator
import os
import pickle
import threading
import time
from concurrent.futures import CancelledError

import pytest

from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, as_pool, current_executor
from woolexec.testing import Peer

SOON = 20.0


pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def executor():
    with shared(2) as made:
        yield made


@pytest.fixture
def own():
    """An executor of the test's own: a worker that is ended is replaced, which would look like a leak."""
    with PeerPoolExecutor(2) as made:
        yield made


@pytest.fixture
def pool(executor):
    return as_pool(executor)


def fail_if_odd(number):
    if number % 2:
        raise ValueError(number)
    return number


def test_all_items_of_a_map_run_even_if_one_fails(pool, tmp_path):
    def write(number):
        if number == 0:
            raise ValueError
        (tmp_path / str(number)).touch()

    with pytest.raises(ValueError):
        pool.map(write, range(20))
    assert len(list(tmp_path.iterdir())) == 19


def test_map_raises_the_exception_of_the_first_item_that_failed(pool):
    with pytest.raises(ValueError) as raised:
        pool.map(fail_if_odd, range(100), chunksize=3)
    assert raised.value.args == (1,)
    assert raised.value.__notes__[0] == "item 1 of the map"


def test_exceptions_that_items_return_are_results(pool):
    assert [type(each) for each in pool.map(ValueError, range(3))] == [ValueError] * 3


def test_function_that_cannot_be_pickled_fails_in_the_result(pool):
    bad = operator.methodcaller("x", threading.Lock())
    for result in (pool.map_async(bad, [1, 2]), pool.apply_async(bad, (1,))):
        with pytest.raises(TypeError, match="lock"):
            result.get(SOON)
    with pytest.raises(TypeError, match="lock"):
        next(pool.imap(bad, [1, 2]))


def _read(path):
    with open(path) as file:
        return file.read()


def test_imap_reads_an_endless_iterator_only_so_far_ahead(own):
    pool, taken = as_pool(own), []

    def source():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = pool.imap(abs, source())
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 1_005
    pool.terminate()
    pool.join()


def test_results_of_imap_unordered_come_as_they_arrive(executor, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pool = as_pool(executor)
    results = pool.imap_unordered(_read_or_return, iter([str(fifo), "a", "b"]))
    assert sorted([results.next(SOON), results.next(SOON)]) == ["a", "b"]
    fifo.write_text("text")
    assert results.next(SOON) == "text"


def _read_or_return(path):
    return _read(path) if len(path) > 1 else path


def test_join_reads_the_rest_of_an_iterator_that_nobody_consumes(pool, tmp_path):
    def source():
        for number in range(3_000):
            yield str(tmp_path / str(number)) if number % 100 == 0 else ""

    pool.imap_unordered(_touch, source())
    pool.close()
    pool.join()
    assert len(list(tmp_path.iterdir())) == 30


def _touch(path):
    if path:
        with open(path, "x"):
            pass


def test_closed_pool_takes_no_tasks_and_its_executor_does(executor):
    pool = as_pool(executor)
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    pool.close()
    for refused in (pool.map, pool.imap, pool.starmap_async):
        with pytest.raises(ValueError, match="Pool not running"):
            refused(abs, [1])
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass
    pool.join()
    assert executor.submit(abs, -1).result(SOON) == 1


def test_terminate_ends_the_tasks_of_this_pool_and_no_others(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with PeerPoolExecutor(3) as executor:
        pool, other = as_pool(executor), as_pool(executor)
        kept = other.apply_async(_read, (str(fifo),))
        results = [pool.apply_async(time.sleep, (3600,)), pool.map_async(time.sleep, [3600] * 100, chunksize=1)]
        items = pool.imap(time.sleep, [3600] * 3)
        while len(executor._processes) < 3:
            executor.submit(abs, 1).cancel()
        pool.terminate()
        pool.join()
        for result in results:
            with pytest.raises(CancelledError):
                result.get(SOON)
        with pytest.raises((StopIteration, CancelledError)):
            next(items)
        fifo.write_text("text")
        assert kept.get(SOON) == "text"


def test_end_of_a_block_terminates(own):
    with as_pool(own) as pool:
        result = pool.apply_async(time.sleep, (3600,))
    pool.join()
    with pytest.raises(CancelledError):
        result.get(SOON)


def test_maps_of_coroutine_functions_and_views_work(own):
    async def double(number):
        return 2 * number

    assert as_pool(own).map(double, range(5)) == [0, 2, 4, 6, 8]
    with pytest.raises(TimeoutError):
        as_pool(own.with_options(timeout=0.05)).map(time.sleep, [3600])


def test_pool_over_a_peer(credentials):
    with (
        Peer(2, credentials=credentials) as peer,
        PeerPoolExecutor(peers=peer.address, credentials=credentials) as executor,
        as_pool(executor) as pool,
    ):
        assert pool.map(abs, range(-500, 0)) == list(range(500, 0, -1))
        assert sorted(pool.imap_unordered(abs, iter(range(-50, 0)))) == list(range(1, 51))
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        stopped = pool.map_async(time.sleep, [3600] * 4)
        pool.terminate()
        pool.join()
        with pytest.raises(CancelledError):
            stopped.get(SOON)
        assert executor.submit(abs, -1).result(SOON) == 1


def test_only_an_executor_of_ours_becomes_a_pool(executor):
    with pytest.raises(TypeError, match="executor must be a PeerPoolExecutor or a view of one, not NoneType"):
        as_pool(None)
    with pytest.raises(TypeError):
        executor.submit(_pool_in_a_task).result(SOON)


def _pool_in_a_task():
    as_pool(current_executor())


def test_pool_cannot_be_pickled(pool):
    with pytest.raises(NotImplementedError, match="pool objects cannot be passed between processes"):
        pickle.dumps(pool)


def test_a_forked_child_is_told_that_no_result_will_come(own):
    pool = as_pool(own)
    result = pool.apply_async(time.sleep, (3600,))
    child = os.fork()
    if not child:
        try:
            result.get(SOON)
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    pool.terminate()
    pool.join()
