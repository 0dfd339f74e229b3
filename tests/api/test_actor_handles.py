"""Handles of actors in the arguments of tasks and of other actors, on this machine."""

import asyncio
import gc

import pytest

from tests.faults import actors
from tests.faults.actors import Counter, Refusing, Talker
from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import ActorLostError, PeerPoolExecutor, WorkerLostError

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def pool():
    with shared(1) as pool:
        yield pool


@pytest.fixture
def talkers(pool):
    with pool.actor(Talker) as one, pool.actor(Talker) as other:
        one.submit(Talker.meet, other).result(SOON)
        other.submit(Talker.meet, one).result(SOON)
        yield one, other


def test_tasks_call_actors(pool):
    with pool.actor(Counter) as counter:
        assert pool.submit(actors.use, counter, 3).result(SOON) == [1, 2, 3]
        assert pool.submit(actors.use_later, counter, 2).result(SOON) == [4, 5]
        assert pool.submit(actors.use_as_stream, counter, 2).result(SOON) == [6, 7]
        assert pool.submit(actors.pass_on, [counter][0], 1).result(SOON) == [8]


def test_actors_call_actors(pool):
    with pool.actor(Counter) as counter, pool.actor(Talker) as talker:
        assert talker.submit(Talker.ask_for, counter, 3).result(SOON) == [1, 2, 3]


def test_handle_that_comes_back_is_a_view_of_the_same_actor(pool):
    with pool.actor(Counter) as counter:
        again = pool.submit(actors.give_back, counter).result(SOON)

        assert again.submit(Counter.add, 1).result(SOON) == 1
        assert again._submission.handle is counter._submission.handle
        assert {again, again.with_options(timeout=SOON), counter} == {counter}
        with pool.actor(Counter) as other:
            names = {counter: "one", other: "other", "none": None}
            assert pool.submit(actors.names_of, names, (other, counter)).result(SOON) == ["other", "one"]
            assert pool.submit(actors.own_are_told_apart).result(SOON)
            assert counter != other


def test_task_cannot_end_an_actor(pool):
    with pool.actor(Counter) as counter:
        assert pool.submit(actors.end, counter).result(SOON) == "<Actor Counter: of another process>"
        assert counter.submit(Counter.add, 1).result(SOON) == 1


@pytest.mark.parametrize("method", [Talker.ask, Talker.ask_later])
def test_calls_that_go_in_a_circle_finish(talkers, method):
    one, other = talkers

    assert one.submit(method, 9).result(SOON) == 5
    assert other.submit(method, 0).result(SOON) == 6


def test_only_what_a_method_waits_for_runs_on_top_of_it(pool, talkers, tmp_path):
    one, _ = talkers
    with pool.actor(Counter) as counter:
        asked = [one.submit(Talker.ask, 4) for _ in range(20)]
        assert [future.result(SOON) for future in asked] == list(range(3, 63, 3))
        assert counter.submit(Counter.add, 1).result(SOON) == 1


def test_task_of_an_actor_for_which_a_task_waits_runs_on_the_only_worker(pool):
    with pool.actor(Talker) as talker:
        assert pool.submit(actors.use_pool_of, talker, 5).result(SOON) == 25


@pytest.mark.parametrize("task", [actors.use_pool_of, actors.use_pool_below])
def test_only_worker_whose_task_waits_behind_a_call_of_an_actor_runs_what_that_call_waits_for(
    talkers, pool, tmp_path, task
):
    one, other = talkers
    path = tmp_path / "waits"
    first = one.submit(Talker.use_pool_after, path, 3)
    assert pool.submit(actors.after, path, task, one, 5).result(SOON) == 25
    assert first.result(SOON) == 9

    path.unlink()
    first = one.submit(Talker.have_pool_used_after, other, path, 3)
    behind = [pool.submit(actors.after, path, task, each, 5) for each in (one, other)]
    assert [each.result(SOON) for each in (first, *behind)] == [9, 25, 25]


def test_task_that_waits_for_an_actor_on_top_of_the_one_whose_call_is_before_its_own(talkers, pool, tmp_path):
    one, other = talkers
    assert pool.submit(actors.use_pool_behind_own, one, tmp_path / "waits", 5).result(SOON) == (25, 25)
    assert pool.submit(actors.use_pool_through, one, other, tmp_path, 5).result(SOON) == 25


def test_tasks_of_a_method_that_it_runs_are_not_run_on_top_of_each_other(pool):
    with pool.actor(Talker) as talker:
        assert talker.submit(Talker.spread, talker, 20).result(SOON) == [1] * 20


def test_each_task_keeps_the_order_of_its_calls():
    with shared(2) as pool, pool.actor(Counter) as counter:
        for future in [pool.submit(actors.see_all, counter, caller, 100) for caller in range(4)]:
            future.result(SOON)
        seen = counter.submit(Counter.what_was_seen).result(SOON)

        for caller in range(4):
            assert [number for who, number in seen if who == caller] == list(range(100))


def test_calls_of_a_task_keep_their_order_whatever_futures_are_among_the_arguments(tmp_path):
    with shared(2) as pool, pool.actor(Counter) as counter:
        assert pool.submit(actors.see_futures, counter, 0, tmp_path / "go").result(SOON) == (True, ValueError)

        assert counter.submit(Counter.what_was_seen).result(SOON) == [(0, number) for number in [*range(9), 10]]


def test_handle_of_an_actor_that_has_ended_says_so(pool):
    counter = pool.actor(Counter)
    counter.submit(Counter.add, 1).result(SOON)
    keep = pool.actor(Talker)
    taken = keep.submit(Talker.meet, counter)
    taken.result(SOON)
    counter.shutdown()
    del counter
    gc.collect()
    error = keep.submit(_ask_the_other).exception(SOON)

    assert isinstance(error, ActorLostError)
    assert "has ended" in str(error)
    keep.shutdown()


def test_exception_of_the_constructor_is_raised_in_tasks(pool):
    refusing = pool.actor(Refusing)

    assert isinstance(pool.submit(_use_refusing, refusing).exception(SOON), LookupError)


def test_actor_survives_a_caller_that_dies(tmp_path):
    with PeerPoolExecutor(1) as pool, pool.actor(Counter, 7) as counter:
        dying = pool.submit(actors.call_and_die, counter, tmp_path / "began", tmp_path / "until")
        assert isinstance(dying.exception(SOON), WorkerLostError)
        (tmp_path / "until").touch()

        assert counter.submit(Counter.add, 1).result(SOON) == 8


def test_coroutines_use_a_handle(pool):
    async def main(counter):
        return await asyncio.gather(*(pool.run(actors.use_later, counter, 5) for _ in range(4)))

    with pool.actor(Counter) as counter:
        assert sorted(number for each in asyncio.run(main(counter)) for number in each) == list(range(1, 21))


def test_future_among_the_arguments_of_a_task_s_call():
    with PeerPoolExecutor(1) as pool, pool.actor(Counter) as counter:
        assert pool.submit(_add_futures, counter).result(SOON) == 32
        assert eventually(lambda: counter.submit(Counter.add, 0).result(SOON) == 32)


def _add_futures(counter):
    from woolexec import current_executor

    return counter.submit(Counter.add, current_executor().submit(pow, 2, 5)).result()


def _ask_the_other(talker):
    return talker.other.submit(Counter.add, 1).result()


def _use_refusing(refusing):
    refusing.submit(Refusing.method).result()
