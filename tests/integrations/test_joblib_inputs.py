import gc
import weakref

import pytest

from woolexec import PeerPoolExecutor
from woolexec.integrations.joblib_inputs import LargeArguments, size_of

from . import joblib_tasks as tasks

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.leaks(reason="joblib keeps a pool for the next call")


def test_what_was_put_is_freed_with_the_argument():
    with PeerPoolExecutor(1) as executor:
        inputs, array = LargeArguments(executor, 1_000, None), np.zeros(1_000)
        future = weakref.ref(inputs.replace(array))
        assert inputs.replace(array) is future()
        del array
        gc.collect()
        assert future() is None
        assert inputs._known == {}


def test_without_room_an_argument_goes_with_each_task(registered):
    with PeerPoolExecutor(1, store_limit=10) as executor:
        array = np.zeros(1_000)
        assert LargeArguments(executor, 1_000, None).replace(array) is array
        from joblib import Parallel, delayed, parallel_config

        with parallel_config("woolexec", executor=executor, n_jobs=2):
            big = np.zeros(200_000)
            assert Parallel()(delayed(tasks.total)(big) for _ in range(3)) == [0.0] * 3


def test_sizes_of_arguments():
    assert size_of(np.zeros(10)) == 80
    assert size_of(b"abc") == size_of(bytearray(b"abc")) == 3
    assert size_of(object()) == size_of(int) == 0
    pandas = pytest.importorskip("pandas")
    assert size_of(pandas.DataFrame({"a": np.zeros(10)})) >= 80
    sparse = pytest.importorskip("scipy.sparse")
    assert size_of(sparse.csr_matrix(np.eye(10))) >= 80


def test_batch_of_small_arguments_is_sent_as_it_is():
    items = [(abs, (-1,), {}), (pow, (2, 3), {})]
    assert LargeArguments(None, 1_000, None).replace_in(items) is items
    array = np.zeros(10)
    [(_, args, kwargs)] = LargeArguments(None, 1_000, None).replace_in([(max, (array,), {"default": array})])
    assert args[0] is kwargs["default"] is array
