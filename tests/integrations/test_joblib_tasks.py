import os
import pickle
import sys

import pytest

from woolexec import PeerPoolExecutor
from woolexec.integrations.joblib_tasks import limit_threads, run_batch

from . import joblib_tasks as tasks

pytestmark = pytest.mark.leaks(reason="joblib keeps a pool for the next call")


def test_batch_runs_without_joblib_where_nothing_imports_it():
    with PeerPoolExecutor(1) as executor:
        items = [(abs, (-1,), {}), (max, (1, 2), {"key": abs}), (tasks.has_joblib, (), {})]
        assert executor.submit(run_batch, items, b"not unpickled").result() == [1, 2, False]


def test_what_surrounds_the_tasks_is_entered_where_joblib_is_imported(registered):
    from woolexec.integrations.joblib_backend import nested

    def backend():
        import joblib

        return type(joblib.parallel.get_active_backend()[0]).__name__

    context = pickle.dumps(tasks.context_of(nested))
    with PeerPoolExecutor(1) as executor:
        for _ in range(2):  # it imports joblib; it has imported it
            assert executor.submit(run_batch, [(backend, (), {})], context).result() == ["NestedBackend"]


def test_threads_are_limited_and_the_other_function_runs(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    seen = []
    limit_threads({"OMP_NUM_THREADS": "3"}, lambda: seen.append(dict(os.environ)))
    assert seen == [{"OMP_NUM_THREADS": "3"}]


def test_worker_imports_joblib_only_if_a_task_does(registered):
    from joblib import Parallel, delayed, parallel_config

    with PeerPoolExecutor(2) as executor, parallel_config("woolexec", executor=executor):
        assert Parallel()(delayed(tasks.has_joblib)() for _ in range(4)) == [False] * 4


def test_number_of_threads_of_numerical_libraries_is_limited(registered):
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("woolexec", n_jobs=2, inner_max_num_threads=3):
        assert set(Parallel()(delayed(tasks.variable)("OMP_NUM_THREADS") for _ in range(4))) == {"3"}
    with parallel_config("woolexec", n_jobs=2, inner_max_num_threads=1, max_workers=2):
        assert set(Parallel()(delayed(tasks.variable)("OMP_NUM_THREADS") for _ in range(4))) == {"1"}
