import multiprocessing
import os
import threading

import pytest

from tests.shared_pools import shared
from woolexec import as_pool

from .test_pool import SOON, _read, fail_if_odd

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def pool():
    with shared(2) as executor:
        yield as_pool(executor)


def test_a_result_is_ready_when_its_callback_has_returned(pool):
    go_on, seen = threading.Event(), []

    def keep(values):
        go_on.wait(SOON)
        seen.append(values)

    result = pool.map_async(abs, [-1, -2], callback=keep)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    go_on.set()
    result.wait(SOON)
    assert seen == [[1, 2]]
    assert result.successful()
    assert result.get() == [1, 2]


def test_callbacks_of_one_task_get_its_value_or_its_exception(pool):
    seen = []
    pool.apply_async(abs, (-1,), callback=seen.append, error_callback=seen.append).wait(SOON)
    pool.apply_async(int, ("a",), callback=seen.append, error_callback=seen.append).wait(SOON)
    value, error = seen
    assert value == 1
    assert isinstance(error, ValueError)


def test_callback_that_raises_does_not_keep_a_result_from_being_ready(pool, caplog):
    result = pool.apply_async(abs, (-1,), callback=lambda _: 1 / 0)
    result.wait(SOON)
    assert result.get(0) == 1
    result = pool.map_async(abs, [-1], callback=lambda _: 1 / 0)
    result.wait(SOON)
    assert result.get(0) == [1]
    assert "ZeroDivisionError" in caplog.text


def test_callback_of_a_map_that_failed_in_the_submitting_thread_is_called(pool):
    seen = []
    pool.map_async(abs, [threading.Lock()], error_callback=seen.append).wait(SOON)
    assert "lock" in str(seen[0])


def test_timeout_is_that_of_multiprocessing_and_the_result_comes_later(pool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    result, results = pool.apply_async(_read, (str(fifo),)), pool.imap(len, ["abc"])
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    assert next(results) == 3
    fifo.write_text("text")
    assert result.get(SOON) == "text"


def test_result_of_imap_that_was_late_comes_with_the_next_call(pool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    results = pool.imap(_read, [str(fifo)])
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.01)
    fifo.write_text("text")
    assert results.next(SOON) == "text"
    with pytest.raises(StopIteration):
        results.next()


def test_imap_goes_on_after_an_item_that_failed(pool):
    results = pool.imap(fail_if_odd, range(4))
    assert next(results) == 0
    with pytest.raises(ValueError):
        next(results)
    assert next(results) == 2


def test_results_are_not_kept_after_they_were_given_out(pool):
    results = [pool.apply_async(abs, (1,)), pool.map_async(abs, [1])]
    for result in results:
        result.get(SOON)
    list(pool.imap(abs, [1]))
    assert not pool._unfinished
