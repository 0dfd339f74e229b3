"""How the constructor of an actor and the calls of its methods are submitted."""

import os

import pytest

from tests.faults.actors import Counter
from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec.api.actor_submission import handles

pytestmark = pytest.mark.usefixtures("shared_pools")


def test_view_keeps_the_pool_that_it_is_of():
    from woolexec import PeerPoolExecutor

    counter = PeerPoolExecutor(1).actor(Counter)
    assert counter.submit(Counter.add, 1).result(SOON) == 1
    counter._submission.handle._executor.shutdown()


def test_put_and_large_values_reach_the_methods():
    with shared(1) as pool, pool.actor(Counter, b"") as counter:
        data = counter.put(b"x" * 500_000)

        assert len(counter.submit(Counter.add, data).result(SOON)) == 500_000
        assert len(counter.submit(Counter.add, b"y" * 500_000).result(SOON)) == 1_000_000


def test_child_of_a_fork_is_told_that_the_actor_is_not_its_own():
    with shared(1) as pool, pool.actor(Counter) as counter:
        counter.submit(Counter.add, 1).result(SOON)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                counter.shutdown()
                counter.submit(Counter.add, 1)
            except RuntimeError as exc:
                code = 0 if "after a fork" in str(exc) else 2
            finally:
                os._exit(code)

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert counter.submit(Counter.add, 1).result(SOON) == 2


def test_key_of_an_actor_is_made_when_it_travels_and_not_when_it_is_shown():
    with shared(1) as pool, pool.actor(Counter) as counter:
        submission = counter._submission
        assert repr(counter).startswith("<Actor Counter: ")
        assert submission.handle not in handles.values()

        assert len(submission.key()) == 16
        assert handles[submission.key()] is submission.handle
