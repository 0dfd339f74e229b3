"""joblib's backend "woolexec", with the real joblib and scikit-learn."""

import multiprocessing
import os
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.testing import Peer

from . import joblib_tasks as tasks

joblib = pytest.importorskip("joblib")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_backend, parallel_config  # noqa: E402

from woolexec.integrations import joblib_backend  # noqa: E402

SOON = 20.0


# The workers of the pool are kept for the next call of Parallel: they are no leak of the first.
pytestmark = [pytest.mark.leaks(reason="the pool is kept for the next call"), pytest.mark.usefixtures("registered")]


def test_results_are_in_order_and_lambdas_work(two):
    assert Parallel()(delayed(lambda x: x * x)(n) for n in range(1_000)) == [n * n for n in range(1_000)]


def test_the_pool_is_kept_for_the_next_call(two):
    pids = [set(Parallel()(delayed(tasks.pid)() for _ in range(20))) for _ in range(2)]
    assert len(pids[0] | pids[1]) == 2
    assert os.getpid() not in pids[0]


def test_without_a_number_of_jobs_all_places_are_used():
    with parallel_config("woolexec", max_workers=3):
        assert joblib.effective_n_jobs(-1) == 3
        assert joblib.effective_n_jobs(None) == 3
        assert joblib.effective_n_jobs(-2) == 2
    with parallel_backend("woolexec", n_jobs=1):
        assert Parallel()(delayed(os.getpid)() for _ in range(2)) == [os.getpid()] * 2


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_come_one_by_one(two, return_as):
    results = Parallel(return_as=return_as)(delayed(abs)(-n) for n in range(50))
    assert sorted(results) == list(range(50))


def test_an_executor_of_the_caller_is_used_and_stays_open():
    with PeerPoolExecutor(2) as executor:
        with parallel_config("woolexec", executor=executor.with_options(timeout=0.1)):
            with pytest.raises(TimeoutError):
                Parallel()(delayed(tasks.fail_on)(n, -1) for n in range(2))
            assert joblib.effective_n_jobs(-1) == 2
        assert executor.submit(abs, -1).result(SOON) == 1
    with pytest.raises(ValueError, match="cannot be combined"):
        joblib_backend.WoolexecBackend(executor=executor, max_workers=2)
    with pytest.raises(TypeError, match="executor must be"):
        joblib_backend.WoolexecBackend(executor=3)


def test_exception_ends_the_tasks_that_run_and_the_pool_is_used_on(two):
    with pytest.raises(ValueError, match=r"^0$"):
        Parallel()(delayed(tasks.fail_on)(n, 0) for n in range(10))
    assert Parallel()(delayed(abs)(-n) for n in range(10)) == list(range(10))


def test_exception_within_a_managed_call_leaves_it_usable(two):
    with Parallel() as parallel:
        with pytest.raises(ValueError):
            parallel(delayed(tasks.fail_on)(n, 0) for n in range(4))
        assert parallel(delayed(abs)(-n) for n in range(10)) == list(range(10))


def test_task_that_takes_too_long_is_ended(two):
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.05)(delayed(tasks.fail_on)(n, -1) for n in range(4))
    assert Parallel()(delayed(abs)(-n) for n in range(10)) == list(range(10))


def test_worker_that_dies_costs_its_own_task(two):
    with pytest.raises(WorkerLostError):
        Parallel()(delayed(os._exit)(1) for _ in range(2))
    assert Parallel()(delayed(abs)(-n) for n in range(10)) == list(range(10))


def test_parallel_in_a_task_uses_the_same_pool_at_any_depth(two):
    assert Parallel()(delayed(tasks.nested_sum)(5, 2) for _ in range(4)) == [40] * 4


def test_one_worker_is_enough_for_nested_calls():
    with PeerPoolExecutor(1) as executor, parallel_config("woolexec", executor=executor, n_jobs=2):
        assert Parallel()(delayed(tasks.nested_sum)(5, 2) for _ in range(4)) == [40] * 4


@pytest.mark.parametrize("how", [{}, {"backend": "woolexec"}, {"return_as": "generator"}, {"timeout": SOON}])
def test_parallel_in_a_task_takes_what_it_takes_elsewhere(two, how):
    # The first task of a worker that has joblib not yet, and a later one.
    for name, results in Parallel(batch_size=1)(delayed(tasks.nested_backend)(how) for _ in range(4)):
        assert name in {"NestedBackend", "WoolexecBackend"}
        assert results == list(range(10))


def test_large_arguments_are_put_once_for_each_call(two, monkeypatch):
    put = []
    original = PeerPoolExecutor.put
    monkeypatch.setattr(PeerPoolExecutor, "put", lambda self, value: put.append(value) or original(self, value))
    array = np.zeros(200_000)
    for expected in (0.0, 200_000.0):
        assert Parallel()(delayed(tasks.total)(array) for _ in range(20)) == [expected] * 20
        array += 1  # the next call sees it
    assert len(put) == 2
    Parallel(max_nbytes=None)(delayed(tasks.total)(array) for _ in range(4))
    Parallel()(delayed(tasks.total)(np.zeros(10)) for _ in range(4))
    assert len(put) == 2


def test_large_arrays_are_read_only_as_with_joblib_unless_asked_for(two):
    array = np.zeros(200_000)
    with pytest.raises(ValueError, match="read-only"):
        Parallel()(delayed(tasks.add_one)(array) for _ in range(2))
    assert array.flags.writeable
    results = Parallel(mmap_mode="c", batch_size=1)(delayed(tasks.add_one)(array) for _ in range(20))
    assert results == [(200_000.0, "ndarray")] * 20  # each batch has a copy of its own


def test_array_that_is_mapped_from_a_file_is_mapped_by_workers_too(two, tmp_path):
    array = np.memmap(tmp_path / "file", dtype=np.int64, mode="w+", shape=(10,))
    Parallel()(delayed(tasks.write)(array, n) for n in range(10))
    assert list(array) == list(range(10))


def test_results_are_cached(two, tmp_path):
    cached = joblib.Memory(tmp_path, verbose=0).cache(tasks.cached)
    assert Parallel()(delayed(cached)(n) for n in range(10)) == list(range(1, 11))
    assert all(cached.check_call_in_cache(n) for n in range(10))


def test_batch_size_is_not_that_of_an_earlier_call():
    backend = joblib_backend.WoolexecBackend()
    future, told = Future(), []
    backend._executor = SimpleNamespace(submit=lambda _: future)
    backend.submit(abs, told.append)
    backend.terminate()
    future.set_result(1)
    assert told == []

    backend._executor = SimpleNamespace(submit=lambda _: future)
    backend.submit(abs, told.append)
    assert told == [future]


def test_calls_over_two_peers(credentials):
    with Peer(2, credentials=credentials) as first, Peer(2, credentials=credentials) as second:
        peers = [first.address, second.address]
        with parallel_config("woolexec", peers=peers, credentials=credentials):
            assert joblib.effective_n_jobs(-1) == 4
            array = np.zeros(200_000)
            assert Parallel()(delayed(tasks.total)(array) for _ in range(20)) == [0.0] * 20
            assert Parallel()(delayed(tasks.nested_sum)(5, 1) for _ in range(4)) == [20] * 4
            pids = set(Parallel(batch_size=1)(delayed(tasks.pid)() for _ in range(40)))
            assert len(pids) == 4
            with pytest.raises(ValueError):
                Parallel()(delayed(tasks.fail_on)(n, 0) for n in range(10))
            assert list(Parallel(return_as="generator")(delayed(abs)(-n) for n in range(10))) == list(range(10))


@pytest.fixture(scope="module")
def digits():
    datasets = pytest.importorskip("sklearn.datasets")
    inputs, targets = datasets.load_digits(return_X_y=True)
    return inputs[:300] / 16, targets[:300]


def scores(digits):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    search = GridSearchCV(SVC(), {"C": [1, 10], "gamma": [0.01, 0.1]}, cv=3, n_jobs=-1).fit(*digits)
    forest = RandomForestClassifier(20, random_state=0, n_jobs=-1)
    across = cross_val_score(forest, *digits, cv=3, n_jobs=-1)  # the forests are nested
    alone = forest.fit(*digits).predict(digits[0])
    return search.best_params_, search.cv_results_["mean_test_score"].tolist(), across.tolist(), alone.tolist()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_scikit_learn_finds_the_same_locally_and_over_two_peers(digits, credentials):
    with parallel_config("threading", n_jobs=1):
        expected = scores(digits)
    with parallel_config("woolexec", n_jobs=2):
        assert scores(digits) == expected
    with Peer(1, credentials=credentials) as first, Peer(1, credentials=credentials) as second:
        with parallel_config("woolexec", peers=[first.address, second.address], credentials=credentials):
            assert scores(digits) == expected
