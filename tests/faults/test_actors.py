"""Actors that are lost, in each possible way, in workers on this machine."""

import os
import signal
import subprocess
import sys

import pytest

from tests.faults.actors import Counter, Dying, Hanging, Refusing
from tests.faults.tasks import SOON, eventually, is_gone
from tests.shared_pools import shared
from woolexec import ActorLostError, PeerPoolExecutor, WorkerLostError

pytestmark = pytest.mark.usefixtures("shared_pools")


def test_calls_of_an_actor_that_dies_are_lost_and_nothing_restarts():
    with shared(1) as pool, pool.actor(Counter) as counter:
        running, waiting = counter.submit(Counter.die), counter.submit(Counter.add, 1)

        for future in (running, waiting, counter.submit(Counter.add, 1)):
            assert isinstance(future.exception(SOON), ActorLostError)
        assert running.exception().exitcode == waiting.exception().exitcode == 3
        assert isinstance(counter.submit(Counter.add, 1).exception(SOON), WorkerLostError)
        assert "Counter has ended" in str(counter.submit(Counter.add, 1).exception(SOON))


def test_actor_that_may_restart_is_made_again_and_runs_what_was_not_started():
    with shared(1) as pool, pool.with_options(restarts=1).actor(Counter, 10) as counter:
        before, dying = counter.submit(Counter.add, 1), counter.submit(Counter.die)
        after = [counter.submit(Counter.add, 1) for _ in range(20)]

        assert before.result(SOON) == 11
        assert isinstance(dying.exception(SOON), ActorLostError)
        assert [future.result(SOON) for future in after] == list(range(11, 31))
        assert isinstance(counter.submit(Counter.die).exception(SOON), ActorLostError)
        assert isinstance(counter.submit(Counter.add, 1).exception(SOON), ActorLostError)


def test_idempotent_call_is_run_again_by_the_next_incarnation(tmp_path):
    with shared(1) as pool, pool.with_options(restarts=2).actor(Counter) as counter:
        held = counter.with_options(idempotent=True).submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        other = counter.submit(Counter.add, 1)
        assert eventually(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text())
        (tmp_path / "until").touch()
        os.kill(int((tmp_path / "began").read_text().split()[0]), signal.SIGKILL)

        assert held.result(SOON) in (0, 1)
        assert other.result(SOON) == 1


def test_idempotent_call_is_lost_with_an_actor_that_is_not_made_again(tmp_path):
    with shared(1) as pool, pool.actor(Counter) as counter:
        held = counter.with_options(idempotent=True).submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        assert eventually(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text())
        os.kill(int((tmp_path / "began").read_text()), signal.SIGKILL)

        assert isinstance(held.exception(SOON), ActorLostError)


def test_death_within_a_stream_ends_the_stream():
    with shared(1) as pool, pool.actor(Counter) as counter:
        with counter.stream(Counter.count_then_die) as items:
            assert next(items) == 1
            with pytest.raises(ActorLostError):
                next(items)
        assert isinstance(counter.submit(Counter.add, 1).exception(SOON), ActorLostError)


def test_constructor_that_dies_is_run_again_as_often_as_there_are_restarts(tmp_path):
    with shared(1) as pool:
        counter = pool.with_options(restarts=2).actor(Dying, tmp_path / "made")
        assert isinstance(counter.submit(Dying.method).exception(SOON), ActorLostError)
        assert len((tmp_path / "made").read_text().split()) == 3

        other = pool.with_options(restarts=2).actor(Dying, tmp_path / "again", 2)
        assert other.submit(Dying.method).result(SOON) == "alive"


def test_constructor_that_raises_is_not_run_again(tmp_path):
    with shared(1) as pool:
        counter = pool.with_options(restarts=2).actor(Refusing, tmp_path / "made")

        assert isinstance(counter.submit(Refusing.method).exception(SOON), LookupError)
        assert (tmp_path / "made").read_text().split() == ["made"]


def test_constructor_that_hangs_is_ended_by_its_timeout(tmp_path):
    with shared(1) as pool:
        counter = pool.with_options(timeout=0.3).actor(Hanging, tmp_path / "made")

        assert isinstance(counter.submit(Hanging.method).exception(SOON), TimeoutError)
        assert eventually(lambda: len(pool._processes) <= 1)


def test_constructor_that_hangs_is_ended_with_its_actor(tmp_path):
    with shared(1) as pool:
        counter = pool.actor(Hanging, tmp_path / "made")
        assert eventually(lambda: (tmp_path / "made").exists() and (tmp_path / "made").read_text().endswith("\n"))
        counter.shutdown()

        assert is_gone(int((tmp_path / "made").read_text()))


def test_timeout_of_a_plain_method_ends_the_object(tmp_path):
    with shared(1) as pool, pool.with_options(restarts=1).actor(Counter, 5) as counter:
        slow = counter.with_options(timeout=0.2).submit(Counter.hold, tmp_path / "began", tmp_path / "never")
        after = counter.submit(Counter.add, 1)

        assert isinstance(slow.exception(SOON), TimeoutError)
        assert after.result(SOON) == 6


def test_timeout_of_a_coroutine_method_ends_that_call_only(tmp_path):
    with shared(1) as pool, pool.actor(Counter, 5) as counter:
        slow = counter.with_options(timeout=0.2).submit(Counter.meet, tmp_path / "met", 2)

        assert isinstance(slow.exception(SOON), TimeoutError)
        assert counter.submit(Counter.add, 1).result(SOON) == 6


def test_call_that_is_cancelled_by_force_takes_the_object_along(tmp_path):
    with shared(1) as pool, pool.with_options(restarts=1).actor(Counter, 5) as counter:
        held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "never")
        assert eventually((tmp_path / "began").exists)

        assert held.cancel(force=True)
        assert counter.submit(Counter.add, 1).result(SOON) == 6


def test_kill_workers_ends_actors_too(tmp_path):
    pool = PeerPoolExecutor(1)
    counter = pool.with_options(restarts=5).actor(Counter)
    held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "never")
    assert eventually((tmp_path / "began").exists)
    pool.kill_workers()
    pool.shutdown()

    assert isinstance(held.exception(SOON), WorkerLostError)


def test_shutdown_with_cancel_ends_actors_after_what_runs(tmp_path):
    pool = PeerPoolExecutor(1)
    counter = pool.actor(Counter, 3)
    held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
    waiting = [counter.submit(Counter.add, 1) for _ in range(5)]
    assert eventually((tmp_path / "began").exists)
    pool.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "until").touch()
    pool.shutdown()

    assert held.result(SOON) == 3
    assert waiting[-1].cancelled()


def test_actors_end_with_a_caller_that_is_killed():
    program = (
        "import os, signal\n"
        "from tests.faults.actors import Counter\n"
        "from woolexec import PeerPoolExecutor\n"
        "counter = PeerPoolExecutor(1).actor(Counter)\n"
        "print(counter.submit(Counter.where).result()[0], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON, check=False)

    assert told.returncode == -signal.SIGKILL
    assert eventually(lambda: is_gone(int(told.stdout)))
