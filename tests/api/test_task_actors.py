"""Actors that tasks and other actors create, on this machine."""

import asyncio
import gc
import os

import pytest

from tests.faults import actors
from tests.faults.actors import Counter, Dying, Refusing, Talker
from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import ActorLostError, PeerPoolExecutor, WorkerLostError, current_executor

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def pool():
    with shared(1) as pool:
        yield pool


def count_in_task(start, numbers):
    with current_executor().actor(Counter, start) as counter:
        futures = [counter.submit(Counter.add, number) for number in numbers]
        return [future.result() for future in futures]


def test_task_makes_an_actor_and_calls_it(pool):
    assert pool.submit(count_in_task, 10, range(5)).result(SOON) == [10, 11, 13, 16, 20]


async def count_in_coroutine(start):
    async with current_executor().actor(Counter, start) as counter:
        first = await counter.run(Counter.add, 1)
        second = await counter.run(Counter.add_later, 1)
        async with counter.stream(Counter.count_up, 2) as stream:
            return [first, second, *[number async for number in stream]]


def test_coroutine_makes_an_actor(pool):
    async def main():
        return await asyncio.gather(*(pool.run(count_in_coroutine, start) for start in range(3)))

    assert asyncio.run(main()) == [[start + n for n in range(1, 5)] for start in range(3)]


class Parent:
    def __init__(self):
        self.child = current_executor().with_options(name="child").actor(Counter, 5)

    def ask(self, number):
        return self.child.submit(Counter.add, number).result()

    def give(self):
        return self.child

    def name(self):
        return repr(self.child)


def test_actor_makes_an_actor_in_its_constructor_and_keeps_it(pool):
    with pool.actor(Parent) as parent:
        assert [parent.submit(Parent.ask, 1).result(SOON) for _ in range(3)] == [6, 7, 8]
        assert parent.submit(Parent.name).result(SOON) == "<Actor child: made by a task>"


def test_handle_of_an_actor_of_a_task_travels_to_other_tasks_and_not_to_the_program(pool):
    with pool.actor(Parent) as parent:
        child = parent.submit(Parent.give).result(SOON)
        assert pool.submit(actors.use, child, 2).result(SOON) == [6, 7]
        assert pool.submit(actors.use, parent.submit(Parent.give), 1).result(SOON) == [8]
        assert parent.submit(Parent.ask, 1).result(SOON) == 9
        with pytest.raises(RuntimeError, match="only tasks and actors can call the actor child"):
            child.submit(Counter.add, 1)


def leave(kind, path):
    counter = current_executor().actor(Counter)
    counter.submit(Counter.hold, path, path.with_name("until"))
    if kind == "keep":
        kept.append(counter)
    if kind == "raise":
        raise LookupError
    if kind == "die":
        eventually(path.exists)
        os._exit(3)


kept = []


@pytest.mark.parametrize("kind", ["drop", "raise", "die"])
def test_actor_of_a_task_ends_with_its_handle_after_its_calls(tmp_path, kind):
    with PeerPoolExecutor(1) as pool:
        done = pool.submit(leave, kind, tmp_path / "began")
        done.exception(SOON)
        assert eventually((tmp_path / "began").exists)
        if kind == "die":
            assert isinstance(done.exception(), WorkerLostError)
        (tmp_path / "until").touch()
        del done
        gc.collect()
        assert eventually(lambda: len(pool._engine.scheduler.actors.all) == 0)
        assert eventually(lambda: not pool._engine._rounds.outcomes._nested._tasks)


def test_actor_that_a_worker_keeps_ends_with_its_pool(tmp_path):
    with PeerPoolExecutor(1) as pool:
        (tmp_path / "until").touch()
        pool.submit(leave, "keep", tmp_path / "began").result(SOON)
        assert len(pool._engine.scheduler.actors.all) == 1


def shut_down_then_call():
    pool = current_executor()
    counter = pool.actor(Counter)
    last = counter.submit(Counter.add, 1)
    counter.shutdown()
    state = repr(counter)
    try:
        counter.submit(Counter.add, 1)
    except RuntimeError as exc:
        return last.result(), state, str(exc)


def test_task_shuts_down_its_actor_after_its_calls(pool):
    last, state, error = pool.submit(shut_down_then_call).result(SOON)
    assert (last, state) == (1, "<Actor Counter: ended>")
    assert "after shutdown" in error


def shut_down_while_a_call_lacks_its_value():
    pool = current_executor()
    counter = pool.actor(Counter, pool.submit(pow, 2, 3))
    future = counter.submit(Counter.add, pool.submit(pow, 2, 4))
    counter.shutdown(wait=False)
    return future.result()


def test_futures_are_arguments_of_the_constructor_and_of_calls_that_are_made_before_the_end(pool):
    assert pool.submit(shut_down_while_a_call_lacks_its_value).result(SOON) == 24


def use_refusing():
    return current_executor().actor(Refusing).submit(Refusing.method).result()


def test_what_the_constructor_raises_is_raised_by_the_calls(pool):
    assert isinstance(pool.submit(use_refusing).exception(SOON), LookupError)


def make_of_a_failure():
    pool = current_executor()
    return pool.actor(Counter, pool.submit(int, "x"))


def test_failure_of_a_future_among_the_arguments_is_raised_at_once(pool):
    assert isinstance(pool.submit(make_of_a_failure).exception(SOON), ValueError)


def use_dying(path, restarts):
    dying = current_executor().with_options(restarts=restarts).actor(Dying, path, 1)
    return dying.submit(Dying.method).result()


def test_options_of_the_object_go_with_it(pool, tmp_path):
    assert pool.submit(use_dying, tmp_path / "made", 1).result(SOON)
    assert isinstance(pool.submit(use_dying, tmp_path / "again", 0).exception(SOON), ActorLostError)


def make_of_a_coroutine_function():
    current_executor().actor(count_in_coroutine)


def test_coroutine_function_makes_no_actor(pool):
    assert "cannot make an actor" in str(pool.submit(make_of_a_coroutine_function).exception(SOON))


def test_actors_of_a_task_call_each_other(pool):
    assert pool.submit(introduce, 9).result(SOON) == 5


def introduce(number):
    pool = current_executor()
    with pool.actor(Talker) as one, pool.actor(Talker) as other:
        one.submit(Talker.meet, other).result()
        other.submit(Talker.meet, one).result()
        return one.submit(Talker.ask, number).result()
