"""Actors, as their caller sees them, in workers on this machine."""

import asyncio
import gc
import os
import threading
from concurrent.futures import Future, wait

import pytest

from tests.faults.actors import Counter, Refusing, Room
from tests.faults.tasks import SOON, eventually, is_gone
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor

pytestmark = pytest.mark.usefixtures("shared_pools")


def test_methods_are_called_with_the_object():
    with shared(2) as pool, pool.actor(Counter, 10) as counter:
        assert counter.submit(Counter.add, 5).result(SOON) == 15
        assert counter.submit(Counter.add, number=1).result(SOON) == 16
        assert counter.submit(getattr, "value").result(SOON) == 16
        assert counter.submit(lambda self: self.value + 1).result(SOON) == 17


def test_object_is_in_a_process_of_its_own_and_plain_methods_run_in_its_main_thread():
    with shared(1) as pool, pool.actor(Counter) as one, pool.actor(Counter) as other:
        plain = pool.submit(os.getpid).result(SOON)
        pid, is_main = one.submit(Counter.where).result(SOON)

        assert is_main
        assert len({plain, pid, other.submit(Counter.where).result(SOON)[0], os.getpid()}) == 4


def test_map_gives_the_results_in_order():
    with shared(2) as pool, pool.actor(Counter) as counter:
        assert list(counter.map(Counter.add, range(5))) == [0, 1, 3, 6, 10]


def test_coroutine_methods_run_concurrently(tmp_path):
    with shared(2) as pool, pool.actor(Counter) as counter:
        futures = [counter.submit(Counter.meet, tmp_path / "met", 20) for _ in range(20)]

        assert {future.result(SOON) for future in futures} == {"woolexec-asyncio"}


def test_coroutine_methods_run_at_most_max_concurrency_at_once(tmp_path):
    with shared(2) as pool, pool.with_options(max_concurrency=2).actor(Counter) as counter:
        met = [counter.submit(Counter.meet, tmp_path / "two", 2) for _ in range(2)]
        assert all(future.result(SOON) for future in met)
        alone = [counter.submit(Counter.meet, tmp_path / "three", 3) for _ in range(2)]
        third = counter.submit(Counter.meet, tmp_path / "other", 1)
        assert eventually(lambda: (tmp_path / "three").exists() and len((tmp_path / "three").read_text()) == 10)
        assert not third.running()
        assert not third.done()
        with (tmp_path / "three").open("a") as file:
            file.write("here\n")
        assert all(future.result(SOON) for future in [*alone, third])


def test_a_thousand_coroutine_methods_run_at_once_by_default():
    with shared(2) as pool, pool.actor(Room) as room:
        wait([room.submit(Room.enter, 1000) for _ in range(1100)], SOON)
        assert room.submit(getattr, "most").result(SOON) == 1000
        assert room.submit(getattr, "inside").result(SOON) == 0


@pytest.mark.parametrize("method", [Counter.count_up, Counter.count_up_later])
def test_generator_methods_stream(method):
    with shared(2) as pool, pool.actor(Counter) as counter:
        with counter.stream(method, 3) as items:
            assert list(items) == [1, 2, 3]
        assert counter.submit(Counter.add, 0).result(SOON) == 3


def test_it_is_used_from_coroutines():
    async def main():
        async with PeerPoolExecutor(1) as pool, pool.actor(Counter, 1) as counter:
            assert await counter.run(Counter.add, 1) == 2
            assert await counter.run(Counter.add_later, 1) == 3
            assert [number async for number in counter.map_async(Counter.add, [1, 2])] == [4, 6]
            async with counter.stream(Counter.count_up_later, 2) as items:
                assert [item async for item in items] == [7, 8]

    asyncio.run(main())


def test_cancelled_wait_does_not_end_the_object(tmp_path):
    async def main(counter):
        waiting = asyncio.create_task(counter.run(Counter.hold, tmp_path / "began", tmp_path / "until"))
        while not (tmp_path / "began").exists():  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait([waiting])
        (tmp_path / "until").touch()
        return await counter.run(Counter.add, 1)

    with shared(1) as pool, pool.actor(Counter, 1) as counter:
        assert asyncio.run(main(counter)) == 2


def test_calls_keep_the_order_of_each_caller_under_load_from_eight():
    count = 300
    with shared(2) as pool, pool.actor(Counter) as counter:

        def call(caller):
            for number in range(count):
                counter.submit(Counter.see, caller, number)

        callers = [threading.Thread(target=call, args=(caller,)) for caller in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seen = counter.submit(Counter.what_was_seen).result(SOON)

        for caller in range(8):
            assert [number for who, number in seen if who == caller] == list(range(count))


def test_future_among_the_arguments_keeps_its_place_in_the_order(tmp_path):
    with shared(2) as pool, pool.actor(Counter) as counter:
        late = pool.submit(_wait_for, tmp_path / "go", 5)
        first, second = counter.submit(Counter.add, late), counter.submit(Counter.add, 1)
        (tmp_path / "go").touch()

        assert (first.result(SOON), second.result(SOON)) == (5, 6)


def test_future_among_the_arguments_may_need_calls_of_the_same_actor():
    with shared(2) as pool, pool.actor(Counter) as counter:
        calls = [counter.submit(Counter.add, pool.submit(_add_one, counter)) for _ in range(5)]

        # Least if the calls of all tasks come first, which return 1 to 5.
        assert sum(call.result(SOON) for call in calls) >= 6 + 8 + 11 + 15 + 20
        assert [call.result(SOON) for call in calls] == sorted(call.result(SOON) for call in calls)


def test_failed_future_among_the_arguments_fails_its_call_only():
    with shared(2) as pool, pool.actor(Counter) as counter:
        first = counter.submit(Counter.add, pool.submit(_raise))
        second = counter.submit(Counter.add, 1)

        assert isinstance(first.exception(SOON), LookupError)
        assert second.result(SOON) == 1


def test_constructor_gets_the_values_of_futures():
    with shared(2) as pool, pool.actor(Counter, pool.submit(pow, 2, 5)) as counter:
        assert counter.submit(Counter.add, pool.put(1)).result(SOON) == 33


def test_exception_of_the_constructor_is_raised_by_the_calls():
    with shared(2) as pool:
        counter = pool.actor(Refusing)
        error = counter.submit(Refusing.method).exception(SOON)

        assert isinstance(error, LookupError)
        assert "Refusing.method was not started" in error.__notes__[0]
        assert isinstance(counter.submit(Refusing.method).exception(SOON), LookupError)


def test_failure_or_cancel_of_an_argument_of_the_constructor_is_that_of_the_calls():
    with shared(2) as pool:
        failing, waiting = pool.actor(Counter, pool.submit(int, "x")), Future()
        error = failing.submit(Counter.add, 1).exception(SOON)
        assert isinstance(error, ValueError)
        assert "Counter.add was not started" in " ".join(error.__notes__)
        assert isinstance(failing.submit(Counter.add, 1).exception(SOON), ValueError)

        cancelled = pool.actor(Counter, waiting)
        call = cancelled.submit(Counter.add, 1)
        waiting.cancel()
        assert wait([call], SOON).done
        assert call.cancelled()
        assert wait([late := cancelled.submit(Counter.add, 1)], SOON).done
        assert late.cancelled()


def test_shutdown_cancels_calls_of_an_actor_whose_constructor_waits_for_an_argument():
    waiting = Future()
    with PeerPoolExecutor(1) as pool:
        call = pool.actor(Counter, waiting).submit(Counter.add, 1)
        pool.shutdown(cancel_futures=True)
        assert call.cancelled()
    waiting.cancel()


def test_exception_of_a_method_ends_nothing():
    with shared(2) as pool, pool.actor(Counter, 3) as counter:
        assert isinstance(counter.submit(Counter.fail).exception(SOON), LookupError)
        assert counter.submit(Counter.add, 1).result(SOON) == 4


def test_method_submits_tasks_of_its_own():
    with shared(1) as pool, pool.actor(Counter) as counter:
        assert counter.submit(Counter.nested, 5).result(SOON) == 25


def test_waiting_call_is_cancelled_and_a_running_one_is_not(tmp_path):
    with shared(1) as pool, pool.actor(Counter, 7) as counter:
        running = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        waiting = counter.submit(Counter.add, 100)
        assert eventually((tmp_path / "began").exists)

        assert not running.cancel()
        assert waiting.cancel()
        (tmp_path / "until").touch()
        assert running.result(SOON) == 7
        assert counter.submit(Counter.add, 1).result(SOON) == 8


def test_shutdown_waits_for_the_calls_and_for_the_end_of_the_process(tmp_path):
    with shared(1) as pool:
        counter = pool.actor(Counter)
        pid, _ = counter.submit(Counter.where).result(SOON)
        futures = [counter.submit(Counter.add, 1) for _ in range(50)]
        counter.shutdown()

        assert [future.result(0) for future in futures] == list(range(1, 51))
        assert is_gone(pid)
        with pytest.raises(RuntimeError, match="after shutdown"):
            counter.submit(Counter.add, 1)


def test_shutdown_cancels_what_was_not_started(tmp_path):
    with shared(1) as pool:
        counter = pool.actor(Counter, 7)
        running = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        waiting = [counter.submit(Counter.add, 1) for _ in range(5)]
        assert eventually((tmp_path / "began").exists)
        counter.shutdown(wait=False, cancel_futures=True)
        assert eventually(lambda: sum(future.cancelled() for future in waiting) >= 4)
        (tmp_path / "until").touch()

        assert running.result(SOON) == 7


def test_object_that_is_dropped_ends_after_its_calls():
    with shared(1) as pool:
        counter = pool.actor(Counter)
        view = counter.with_options(name="seen")
        pid, _ = counter.submit(Counter.where).result(SOON)
        del counter
        gc.collect()
        assert view.submit(Counter.add, 1).result(SOON) == 1
        futures = [view.submit(Counter.add, 1) for _ in range(50)]
        del view
        gc.collect()

        assert futures[-1].result(SOON) == 51
        assert eventually(lambda: is_gone(pid))


def test_pool_that_is_shut_down_ends_its_actors_after_their_calls():
    pool = PeerPoolExecutor(1)
    counter = pool.actor(Counter)
    futures = [counter.submit(Counter.add, 1) for _ in range(50)]
    pid = counter.submit(Counter.where)
    pool.shutdown()

    assert [future.result(0) for future in futures] == list(range(1, 51))
    assert is_gone(pid.result(0)[0])
    counter.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        counter.submit(Counter.add, 1)


def test_actor_that_is_never_called_keeps_no_pool_from_its_end():
    with PeerPoolExecutor(1) as pool:
        counter = pool.actor(Counter)
        unused = pool.actor(Counter)
        del unused
    assert "ended" in repr(counter)


def test_options_about_the_object_are_refused_for_its_calls():
    with shared(1) as pool, pool.with_options(timeout=9.0, restarts=1).actor(Counter) as counter:
        assert counter.with_options(timeout=5.0, name="five").submit(Counter.add, 1).result(SOON) == 1
        with pytest.raises(ValueError, match="restarts applies to the object"):
            counter.with_options(restarts=2)


def test_constructor_that_is_a_coroutine_function_is_an_error():
    with shared(1) as pool, pytest.raises(TypeError, match="cannot make an actor"):
        pool.actor(_later)


def test_constructor_that_cannot_be_pickled_is_an_error_at_once():
    with shared(1) as pool, pytest.raises(TypeError, match="pickle"):
        pool.actor(Counter, threading.Lock())


def test_actors_take_no_workers_from_tasks(tmp_path):
    with shared(1) as pool, pool.actor(Counter) as one, pool.actor(Counter) as other:
        held = [each.submit(Counter.hold, tmp_path / "began", tmp_path / "until") for each in (one, other)]
        assert eventually(lambda: (tmp_path / "began").exists() and len((tmp_path / "began").read_text().split()) == 2)
        assert pool.submit(pow, 2, 5).result(SOON) == 32
        (tmp_path / "until").touch()
        assert [future.result(SOON) for future in held] == [0, 0]


async def _later():
    return Counter()


def _add_one(counter):
    return counter.submit(Counter.add, 1).result()


def _wait_for(path, value):
    eventually(path.exists)
    return value


def _raise():
    raise LookupError("an input")
