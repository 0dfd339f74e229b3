"""Futures as arguments of tasks: the function gets their values, and a task waits for them without a worker."""

import asyncio
import concurrent.futures
import functools
import threading
from types import SimpleNamespace

import pytest

from tests.faults.tasks import SOON, eventually
from tests.marks import slow
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, current_executor
from woolexec.api.inputs import Waiting, bound
from woolexec.futures.call_future import CallFuture
from woolexec.wire.inputs import Unbound
from woolexec.wire.pickling import dumps_call
from woolexec.wire.unpickling import loads

pytestmark = pytest.mark.usefixtures("shared_pools")


def add(a, b=0):
    return a + b


def same(*values):
    return [value is values[0] for value in values]


def fail(text):
    raise LookupError(text)


def touch(path, *_):
    path.touch()


def wait_for(path, value=None):
    assert eventually(path.exists)
    return value


class Thing:
    def __init__(self, value):
        self.value = value


class Unloadable:
    def __reduce__(self):
        return fail, ("does not unpickle",)


class Undumpable:
    def __reduce__(self):
        raise LookupError("does not pickle")


def make_unloadable():
    return Unloadable()


async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


def count(number):
    yield from range(number)


async def count_async(number):
    for each in range(number):
        yield each


@pytest.fixture
def gate(tmp_path):
    """A file for which `wait_for` waits."""
    path = tmp_path / "go on"
    yield path
    path.touch()


def test_future_is_its_value_wherever_it_is_among_the_arguments(gate):
    with shared(2) as pool:
        one = pool.submit(wait_for, gate, 1)
        results = [
            pool.submit(add, one, one),
            pool.submit(add, one, b=one),
            pool.submit(sum, [one, 2, one]),
            pool.submit(functools.partial(add, one), 5),
            pool.submit(lambda: one),
        ]
        assert not any(result.done() for result in results)
        gate.touch()
        assert [result.result(SOON) for result in results] == [2, 2, 4, 6, 1]


def test_value_of_a_future_that_occurs_twice_is_one_object_in_the_task():
    with shared(2) as pool:
        value = pool.submit(list, "abc")
        assert pool.submit(same, value, value).result(SOON) == [True, True]


def test_calls_share_no_value():
    with shared(1) as pool:
        value = pool.submit(list, "abc")
        value.result(SOON)
        assert pool.submit(list.append, value, "d").result(SOON) is None
        assert pool.submit(len, value).result(SOON) == 3
        assert value.result() == ["a", "b", "c"]


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_value_of_a_class_of_the_tests_arrives_whether_its_result_was_asked_for_or_not(is_asked_for):
    with shared(2) as pool:
        thing = pool.submit(Thing, [1, 2])
        if is_asked_for:
            assert thing.result(SOON).value == [1, 2]
        assert pool.submit(getattr, thing, "value").result(SOON) == [1, 2]


def test_tasks_that_wait_for_values_take_no_worker(gate):
    with shared(1) as pool, PeerPoolExecutor(1) as other:
        slow = other.submit(wait_for, gate, 1)
        waiting = [pool.submit(add, slow, number) for number in range(100)]
        assert pool.submit(add, 1, 1).result(SOON) == 2
        assert not any(each.running() or each.done() for each in waiting)
        gate.touch()
        assert [each.result(SOON) for each in waiting] == list(range(1, 101))


def test_futures_of_other_executors_and_of_event_loops_are_values_too():
    async def main(pool):
        loop = asyncio.get_running_loop()
        futures = [
            loop.create_future(),
            loop.run_in_executor(None, add, 2, 0),
            asyncio.ensure_future(add_async(3, 0)),
            threads.submit(add, 4),
            concurrent.futures.Future(),
        ]
        result = pool.submit(sum, futures)
        futures[0].set_result(1)
        futures[-1].set_result(5)
        return await asyncio.wrap_future(result)

    with shared(2) as pool, concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert asyncio.run(main(pool)) == 15


def test_future_of_a_loop_that_was_closed_fails_the_task():
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    with shared(1) as pool, pytest.raises(RuntimeError, match="closed"):
        pool.submit(add, future).result(SOON)


def test_failure_of_an_input_is_that_of_all_that_depend_on_it(gate):
    with shared(2) as pool:
        failing = pool.submit(fail, pool.submit(wait_for, gate, "no"))
        first = pool.with_options(name="first").submit(add, failing)
        second = pool.with_options(name="second").submit(add, 1, b=[first])
        gate.touch()
        for future, name in ((first, "first"), (second, "second")):
            with pytest.raises(LookupError, match="no") as caught:
                future.result(SOON)
            assert caught.value.__notes__ == [f"{name} was not started, because its input fail has raised this"]
        assert not hasattr(failing.exception(), "__notes__")


def test_failure_does_not_wait_for_other_inputs(gate):
    with shared(2) as pool:
        slow = pool.submit(wait_for, gate)
        with pytest.raises(LookupError):
            pool.submit(add, slow, pool.submit(fail, "no")).result(SOON)
        assert not slow.done()


def test_task_whose_input_has_failed_is_never_started(tmp_path):
    with shared(2) as pool:
        dependent = pool.submit(touch, tmp_path / "ran", pool.submit(fail, "no"))
        assert dependent.exception(SOON)
        pool.submit(add, 1).result(SOON)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("make", [concurrent.futures.Future, None])
def test_cancelling_an_input_cancels_what_depends_on_it(gate, make):
    with shared(1) as pool:
        running = pool.submit(wait_for, gate)
        waiting = pool.submit(add, 1) if make is None else make()
        dependents = [pool.submit(add, waiting)]
        dependents.append(pool.submit(add, dependents[0]))
        assert waiting.cancel()
        assert eventually(lambda: all(each.cancelled() for each in dependents))
        assert not running.done()


def test_cancelling_a_task_that_waits_for_values_touches_no_input(gate):
    with shared(1) as pool:
        slow = pool.submit(wait_for, gate, 1)
        dependent, other = pool.submit(add, slow), pool.submit(add, slow)
        assert dependent.cancel()
        assert dependent.cancelled()
        gate.touch()
        assert (slow.result(SOON), other.result(SOON)) == (1, 1)


@pytest.mark.parametrize("which", ["the input", "the dependent"])
def test_cancel_by_force_ends_an_input_with_all_that_depend_on_it_and_a_dependent_alone(gate, which):
    with PeerPoolExecutor(1) as pool:
        slow = pool.submit(wait_for, gate, 1)
        assert eventually(slow.running)
        dependents = [pool.submit(add, slow)]
        dependents.append(pool.submit(add, dependents[0]))
        if which == "the input":
            assert slow.cancel(force=True)
            assert eventually(lambda: all(each.cancelled() for each in [slow, *dependents]))
            return
        assert dependents[0].cancel(force=True)
        assert eventually(lambda: all(each.cancelled() for each in dependents))
        gate.touch()
        assert slow.result(SOON) == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [(Undumpable, "does not pickle"), (Unloadable, "does not unpickle"), (make_unloadable, "unpickle")],
)
def test_value_that_does_not_travel_fails_the_tasks_that_need_it_alone(make, match):
    value = concurrent.futures.Future()
    with shared(1) as pool:
        if make is make_unloadable:
            value = pool.submit(make)
        else:
            value.set_result(make())
        dependent = pool.submit(add, value)
        with pytest.raises(LookupError, match=match):
            dependent.result(SOON)
        assert pool.submit(add, 1).result(SOON) == 1


@pytest.mark.parametrize("length", [2_000, *slow(10_000)])
def test_long_chain_of_tasks_needs_no_recursion(length):
    with shared(2) as pool:
        future = pool.submit(add, 0)
        for _ in range(length):
            future = pool.submit(add, future, 1)
        assert future.result(SOON) == length


@pytest.mark.parametrize("length", [2_000, *slow(10_000)])
def test_failure_and_cancellation_go_down_a_long_chain_without_recursion(gate, length):
    with shared(1) as pool:
        failing, running, cancelled = pool.submit(fail, "no"), pool.submit(wait_for, gate), pool.submit(add, 1)
        last = [failing, cancelled]
        for _ in range(length):
            last = [pool.submit(add, each, 1) for each in last]
        assert cancelled.cancel()
        assert str(last[0].exception(SOON)) == "no"
        assert eventually(last[1].cancelled)
        assert not running.done()


def test_items_of_a_map_may_be_futures_and_none_waits_for_another(gate):
    with shared(2) as pool:
        slow = pool.submit(wait_for, gate, 1)
        results = pool.map(add, [slow, 2, slow], [10, pool.submit(add, 20), 30], ordered=False)
        assert next(results) == 22
        gate.touch()
        assert sorted(results) == [11, 31]


def test_item_of_a_map_whose_input_fails_raises_in_its_turn():
    with shared(2) as pool:
        results = pool.map(add, [1, pool.submit(fail, "no"), 3], return_exceptions=True)
        assert [getattr(each, "args", each) for each in results] == [1, ("no",), 3]


def test_function_of_a_map_may_hold_a_future():
    with shared(2) as pool:
        value = pool.submit(add, 10)
        assert list(pool.map(lambda x: add(value, x), range(3))) == [10, 11, 12]


def test_closed_map_leaves_nothing_that_waits(gate):
    with PeerPoolExecutor(2) as pool:
        results = pool.map(add, [1, pool.submit(wait_for, gate, 2)])
        assert next(results) == 1
        results.close()
        gate.touch()


def test_coroutines_and_streams_get_values_too():
    with shared(2) as pool:
        three = pool.submit(add, 3)
        assert pool.submit(add_async, three, three).result(SOON) == 6
        for generator in (count, count_async):
            with pool.stream(generator, three) as stream:
                assert list(stream) == [0, 1, 2]
        with pytest.raises(LookupError, match="no"), pool.stream(count, pool.submit(fail, "no")) as stream:
            list(stream)


def test_async_face_takes_futures():
    async def main(pool):
        three = pool.submit(add, 3)
        async with pool.map_async(add, [three, 4, pool.submit(add, 5)]) as results:
            items = [item async for item in results]
        on_all = await pool.run_on_all_async(add, three, 1)
        return await pool.run(add_async, three, 1), items, {each.result() for each in on_all.values()}

    with shared(2) as pool:
        assert asyncio.run(main(pool)) == (4, [3, 4, 5], {4})


def test_run_on_all_takes_futures():
    with shared(2) as pool:
        three = pool.submit(add, 3)
        assert {each.result() for each in pool.run_on_all(add, three, 1).values()} == {4}
        assert {each.result() for each in pool.run_on_all(lambda: three).values()} == {3}
        with pytest.raises(LookupError, match="no"):
            pool.run_on_all(add, pool.submit(fail, "no"))


def test_global_of_a_function_that_travels_by_value_may_be_a_future():
    source = "def use():\n    return value + 1\n"
    space = {"__name__": "__main__"}
    exec(source, space)
    with shared(1) as pool:
        for expected in (1, 2):
            space["value"] = pool.submit(add, expected)
            assert pool.submit(space["use"]).result(SOON) == expected + 1
        space["value"] = 10
        assert pool.submit(space["use"]).result(SOON) == 11


def test_no_task_can_wait_for_itself():
    arguments = []
    space = {"__name__": "__main__"}
    exec("def number_of_names():\n    return len([name for name in ('future',) if name in globals()])\n", space)
    with shared(1) as pool:
        arguments.append(pool.submit(len, arguments))  # its arguments were pickled before there was a future
        assert arguments[0].result(SOON) == 0
        assert pool.submit(len, arguments).result(SOON) == 1
        space["future"] = pool.submit(space["number_of_names"])
        assert space["future"].result(SOON) == 0


# -- tasks within tasks ------------------------------------------------------------------------------------------------


def depend_on_tasks():
    pool = current_executor()
    one = pool.submit(add, 1)
    failing = pool.submit(add, pool.submit(fail, "no"))
    future = one
    for _ in range(20):
        future = pool.submit(add, future, 1)
    return future.result(SOON), str(failing.exception(SOON)), list(pool.map(add, [one, future], [one, 1]))


def depend_on_what_does_not_pickle():
    value = concurrent.futures.Future()
    dependent = current_executor().submit(add, current_executor().submit(add, value))
    threading.Timer(0.05, value.set_result, [Undumpable()]).start()
    return str(dependent.exception(SOON))


def cancel_what_waits(path):
    pool = current_executor()
    slow = pool.submit(wait_for, path, 1)
    dependent, other = pool.submit(add, slow), pool.submit(add, slow)
    answer = dependent.cancel(), dependent.cancelled()
    path.touch()
    return answer, other.result(SOON)


async def depend_async():
    pool = current_executor()
    return await pool.run(add_async, pool.submit(add, 1), pool.submit(add, 2))


def hand_over(value):
    return current_executor().submit(hand_over, value - 1) if value else current_executor().submit(add, 7)


async def hand_over_async(value):
    return current_executor().submit(add_async, value, 1)


def hand_over_what_was_put(value):
    return current_executor().put([value])


async def hand_over_what_was_put_async(value):
    return current_executor().put([value])


def hand_over_a_failure(text):
    return current_executor().submit(fail, text)


@pytest.mark.parametrize("workers", [1, 2])
def test_task_that_returns_the_future_of_a_task_of_its_own_resolves_to_its_value(workers):
    with shared(workers) as pool:
        assert pool.submit(hand_over, 3).result(SOON) == 7
        assert pool.submit(hand_over_async, 3).result(SOON) == 4
        assert list(pool.map(hand_over, range(3))) == [7] * 3
        assert list(pool.map(hand_over_async, range(3))) == [1, 2, 3]
        for put in (hand_over_what_was_put, hand_over_what_was_put_async):
            assert pool.submit(put, 3).result(SOON) == [3]
            assert list(pool.map(put, range(3))) == [[0], [1], [2]]
        with pytest.raises(LookupError, match="no"):
            pool.submit(hand_over_a_failure, "no").result(SOON)


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_within_tasks_take_futures(workers, gate):
    with shared(workers) as pool:
        assert pool.submit(depend_on_tasks).result(SOON) == (21, "no", [2, 22])
        assert pool.submit(depend_on_what_does_not_pickle).result(SOON) == "does not pickle"
        assert pool.submit(cancel_what_waits, gate).result(SOON) == ((True, True), 1)
        assert pool.submit(depend_async).result(SOON) == 3


# -- the end of the pool -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_waits_for_tasks_that_wait_for_values(gate, wait):
    pool = PeerPoolExecutor(1)
    slow = pool.submit(wait_for, gate, 1)
    last = pool.submit(add, pool.submit(add, slow), 1)
    threading.Timer(0.05, gate.touch).start()
    pool.shutdown(wait=wait)
    assert last.result(SOON) == 2


def test_shutdown_that_cancels_cancels_what_waits_for_values(gate):
    pool = PeerPoolExecutor(1)
    slow = pool.submit(wait_for, gate, 1)
    assert eventually(slow.running)
    last = pool.submit(add, pool.submit(add, slow), 1)
    threading.Timer(0.05, gate.touch).start()
    pool.shutdown(cancel_futures=True)
    assert last.cancelled()
    assert slow.result(SOON) == 1


def test_pool_ends_when_the_last_task_that_waits_for_values_is_cancelled():
    pool = PeerPoolExecutor(1)
    never = concurrent.futures.Future()
    dependents = [pool.submit(add, never), pool.submit(add, never)]
    pool.shutdown(wait=False)
    for each in dependents:
        assert each.cancel()
    pool.shutdown(wait=True)


def test_ending_the_workers_cancels_what_waits_for_values():
    with PeerPoolExecutor(1) as pool:
        dependent = pool.submit(add, concurrent.futures.Future())
        pool.submit(add, 1).result(SOON)
        pool.kill_workers()
        assert eventually(dependent.cancelled)


def test_no_task_is_taken_after_shutdown():
    pool = PeerPoolExecutor(1)
    done = pool.submit(add, 1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(add, done)


# -- counting ----------------------------------------------------------------------------------------------------------


def test_inputs_that_are_done_at_the_same_time_in_many_threads_are_counted_once():
    for _ in range(50):
        inputs = [concurrent.futures.Future() for _ in range(8)]
        arguments = bound(dumps_call((inputs,), {}))
        barrier = threading.Barrier(len(inputs))

        def finish(future, value, barrier=barrier):
            barrier.wait(SOON)
            future.set_result(value)

        threads = [threading.Thread(target=finish, args=each) for each in zip(inputs, range(8), strict=True)]
        for thread in threads:
            thread.start()
        assert loads(arguments.result(SOON)) == ((list(range(8)),), {})
        for thread in threads:
            thread.join()


def test_large_value_is_passed_on_each_time():
    with shared(2) as pool:
        large = pool.submit(bytes, 5_000_000)
        assert [pool.submit(len, large).result(SOON) for _ in range(2)] == [5_000_000] * 2
        assert len(large.result()) == 5_000_000
        assert pool.submit(len, large).result(SOON) == 5_000_000


def test_call_that_comes_back_when_the_program_has_ended_its_input_itself_is_cancelled():
    dropped, input_, entry = [], CallFuture(), object()
    holder = SimpleNamespace(drop=lambda *about: dropped.append(about))
    waiting = Waiting(entry, Unbound(b"", [input_]), holder, "task")
    waiting._drop(None)
    dropped.clear()
    waiting.again(entry)
    assert dropped == [(entry, None)]
