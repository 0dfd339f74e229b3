"""Tasks get the results of other tasks as these returned them, whatever the program does with the results it has."""

import concurrent.futures
import pickle

import pytest

from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec.futures.call_future import CallFuture
from woolexec.wire.payload import LARGE, Parts
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Value

pytestmark = pytest.mark.usefixtures("shared_pools")


def make_when(path, make):
    assert eventually(path.exists)
    return make()


def one_of_a_class_that_other_workers_lack():
    class Here(list):
        pass

    return Here("abc")


def length(value, _=None):
    return len(value)


def empty(future):
    future.result().clear()


@pytest.fixture
def gate(tmp_path):
    """A file for which `make_when` waits."""
    path = tmp_path / "go on"
    yield path
    path.touch()


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: list("abc"), 3),
        (lambda: bytearray(LARGE), LARGE),
        (lambda: {number: [] for number in range(20_000)}, 20_000),
        (one_of_a_class_that_other_workers_lack, 3),
    ],
    ids=["small", "large", "many objects", "own class"],
)
def test_result_is_changed_before_the_task_that_waits_for_it_is_placed(gate, make, size):
    with shared(2) as pool:
        future = pool.submit(make_when, gate, make)
        future.add_done_callback(empty)  # called before the tasks below are released
        lengths = [pool.submit(length, future) for _ in range(2)]
        gate.touch()
        assert [each.result(SOON) for each in lengths] == [size, size]
        assert len(future.result()) == 0
        assert pool.submit(length, future).result(SOON) == size


def test_result_that_is_changed_while_another_input_is_missing(gate):
    with shared(2) as pool:
        returned = pool.submit(list, "abc")
        foreign = concurrent.futures.Future()
        foreign.set_result(list("abcd"))
        returned.result(SOON)  # from now on only the program has it
        late = pool.submit(make_when, gate, int)
        lengths = [pool.submit(length, each, late) for each in (returned, foreign)]
        returned.result().clear()
        foreign.result().clear()
        gate.touch()
        assert [each.result(SOON) for each in lengths] == [3, 4]


def test_failure_to_pickle_such_a_result_is_that_of_the_task(gate):
    with shared(2) as pool:
        late = pool.submit(make_when, gate, int)
        foreign = concurrent.futures.Future()
        foreign.set_result(number for number in range(3))
        with pytest.raises(TypeError, match="generator"):
            pool.submit(length, foreign, late).result(SOON)
        gate.touch()
        assert late.result(SOON) == 0


@pytest.mark.parametrize("is_shared", [False, True])
def test_memory_of_a_result_is_not_that_of_the_payload_that_tasks_get(is_shared):
    body = pickle.dumps(pickle.PickleBuffer(bytearray(b"abc")), 5, buffer_callback=lambda _: False)
    payload = Parts([body, bytearray(b"abc")])
    future = CallFuture()
    if is_shared:
        future.value = Value(payload)
    else:
        future.retain()
    future.deliver(None, payload)
    future.result().clear()
    assert loads(future.value.payload if is_shared else future.encoded) == b"abc"
