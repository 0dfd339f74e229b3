"""How actors and their calls reach the scheduler."""

import threading

import pytest

from tests.faults import tasks
from tests.faults.actors import Counter
from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec import errors
from woolexec.core.actor import Actor
from woolexec.engine.actors import error_of
from woolexec.wire.exceptions import NotStarted

pytestmark = pytest.mark.usefixtures("shared_pools")


class Table:
    """What an actor needs of the others."""

    def new_group(self):
        return None


class Task:
    name = "a call"


def ended(failure):
    actor = Actor(Table(), "the actor")
    actor.failure = failure
    return error_of(actor, Task())


def test_calls_of_an_actor_that_was_shut_down_are_told_so():
    error = ended(None)

    assert isinstance(error, errors.ActorLostError)
    assert str(error) == "a call was not run, because the actor the actor has ended"
    assert error.task == "a call"


def test_calls_of_a_lost_actor_are_told_how_its_process_ended():
    loss = errors.WorkerLostError("worker 7 was killed")
    loss.pid, loss.exitcode = 7, -9
    error = ended(loss)

    assert "worker 7 was killed" in str(error)
    assert (error.pid, error.exitcode) == (7, -9)


def test_calls_of_an_actor_whose_constructor_raised_get_that_exception():
    error = ended(LookupError("no"))

    assert isinstance(error, NotStarted)
    assert isinstance(error.load(), LookupError)


def test_threads_that_make_the_first_actors_share_one_table():
    with shared(1) as pool:
        tables = []
        threads = [threading.Thread(target=lambda: tables.append(pool._engine.actors().table)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({id(table) for table in tables}) == 1
        assert tables[0] is pool._engine.scheduler.actors


def test_call_is_sent_to_an_idle_actor_without_the_engine_thread():
    with shared(1) as pool, pool.actor(Counter) as counter:
        counter.submit(Counter.add, 1).result(SOON)
        actor = counter._submission.handle.actor
        for _ in range(1000):
            if tasks.has_unused_permit(actor.worker):
                break
            counter.submit(Counter.add, 1).result(SOON)
        taken = []
        tell = pool._engine._loop.tell
        pool._engine._loop.tell = taken.append
        try:
            counter.submit(Counter.add, 1).result(SOON)
        finally:
            pool._engine._loop.tell = tell

        assert taken == []
