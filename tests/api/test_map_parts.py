import pickle
import signal

import pytest

from woolexec.api.map_parts import FailedItem, as_raised, opened, part_in, raise_for_item, with_item
from woolexec.futures.call_future import CallFuture
from woolexec.wire.exceptions import dump_failure


def part(values, errors=None):
    return pickle.dumps((values, errors or {}))


def test_values_of_a_part_are_a_list():
    assert part_in(part([1, 2]), 2) == ([1, 2], {}, False)
    assert opened(7, 2, part([1, 2]), failed=False) == [1, 2]


def test_item_that_failed_stands_in_a_tuple_with_its_index():
    first, second = opened(7, 2, part([1, None], {1: dump_failure(KeyError("a"))}), failed=False)
    assert first == 1
    assert isinstance(second, FailedItem)
    error = second.exception(is_raised=True)
    assert isinstance(error, KeyError)
    assert error.__notes__ == ["item 8 of the map"]


def test_items_that_failed_together_share_the_exception():
    failed = opened(7, 3, ValueError("together"), failed=True)
    assert len(failed) == 3
    assert failed[0].exception(is_raised=False).__notes__ == ["items 7 to 9 of the map"]


def test_part_that_cannot_be_unpickled_fails_as_a_whole():
    failed = opened(0, 2, b"no pickle", failed=False)
    assert [type(each) for each in failed] == [FailedItem] * 2


class Interrupting:
    """Ctrl-C comes while it is unpickled."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGINT,)


def call(values):
    """Return the future of a call that is the only one of its part."""
    future = CallFuture()
    future.deliver(None, pickle.dumps(values))
    return future


@pytest.mark.parametrize("wrap", [part, call])
def test_ctrl_c_while_results_are_unpickled_is_no_failure_of_an_item(wrap):
    payload = wrap([Interrupting()])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            opened(0, 1, payload, failed=False)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_exception_of_a_single_call_is_the_failure_of_its_item(error):
    future = CallFuture()
    future.deliver_failure(None, dump_failure(error))

    (failed,) = opened(0, 1, future, failed=False)

    assert type(failed.exception(is_raised=False)) is type(error)


def test_exception_that_would_end_an_iteration_becomes_the_cause_of_another():
    error = as_raised(StopIteration(3))
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, StopIteration)
    with pytest.raises(RuntimeError, match="the task raised StopIteration"):
        raise_for_item(StopIteration(), 2)


def test_note_is_added_once():
    error = ValueError()
    with_item(with_item(error, 2), 2)
    assert error.__notes__ == ["item 2 of the map"]
