"""Handles of actors in tasks at peers: their calls go through the process that created the actor."""

import os
import signal

import pytest

from tests.faults import actors
from tests.faults.actors import Counter, Refusing, Talker
from tests.faults.tasks import note
from tests.mesh import handle_tasks as tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import ActorLostError, PeerPoolExecutor, WorkerLostError
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def pool():
    """A pool of two peers."""
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as other, joined(one, other) as pool:
        yield pool


@pytest.fixture
def everywhere(pool):
    """An actor at each peer."""
    actors = [pool.actor(Counter) for _ in range(2)]
    for actor in actors:
        actor.submit(Counter.add, 0).result(PATIENCE)
    assert len({actor._submission.handle.actor.target for actor in actors}) == 2
    return actors


def test_tasks_call_actors_of_any_peer_in_every_way(pool, everywhere):
    for counter in everywhere:
        assert pool.submit(actors.use, counter, 3).result(PATIENCE) == [1, 2, 3]
        assert pool.submit(actors.use_later, counter, 2).result(PATIENCE) == [4, 5]
        assert pool.submit(actors.use_as_stream, counter, 3).result(PATIENCE) == [6, 7, 8]
        assert pool.submit(actors.pass_on, counter, 1).result(PATIENCE) == [9]
        assert pool.submit(actors.give_back, counter).result(PATIENCE).submit(Counter.add, 1).result(PATIENCE) == 10


def test_actors_call_actors_of_any_peer(pool, everywhere):
    talkers = [pool.actor(Talker) for _ in range(2)]
    for times, (talker, counter) in enumerate(
        zip(talkers * 2, [everywhere[0], *everywhere, everywhere[1]], strict=True), 1
    ):
        assert len(talker.submit(Talker.ask_for, counter, times).result(PATIENCE)) == times


@pytest.mark.parametrize("method", [Talker.ask, Talker.ask_later])
def test_calls_that_go_in_a_circle_between_peers_finish(pool, method):
    one, other = pool.actor(Talker), pool.actor(Talker)
    one.submit(Talker.meet, other).result(PATIENCE)
    other.submit(Talker.meet, one).result(PATIENCE)

    assert one.submit(method, 9).result(PATIENCE) == 5


def test_task_of_an_actor_for_which_a_task_waits_runs_in_the_only_worker_of_their_peer(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        talker, other, path = pool.actor(Talker), pool.actor(Talker), tmp_path / "waits"
        waiting = [pool.submit(actors.use_pool_of, talker, number) for number in range(5)]
        waiting += [pool.submit(actors.use_pool_below, talker, number) for number in range(5, 10)]
        assert [future.result(PATIENCE) for future in waiting] == [number**2 for number in range(10)]

        assert pool.submit(actors.use_pool_through, talker, other, tmp_path, 5).result(PATIENCE) == 25
        assert pool.submit(actors.use_pool_behind_own, talker, path, 5).result(PATIENCE) == (25, 25)


def test_task_of_an_actor_that_is_called_from_another_peer_runs_in_a_worker_that_waits_for_the_actor(pool, tmp_path):
    here, there = [link.name for link in pool._engine.scheduler.links]
    talker = pool.with_options(at=there).actor(Talker)
    path = tmp_path / "waits"
    first = pool.with_options(at=here).submit(actors.use_pool_after_in, talker, path, 3)
    behind = pool.with_options(at=there).submit(actors.after, path, actors.use_pool_of, talker, 5)
    assert [first.result(PATIENCE), behind.result(PATIENCE)] == [9, 25]


def test_task_of_an_actor_runs_in_the_worker_of_a_task_that_waits_for_it_through_another_peer(pool, tmp_path):
    here, there = [link.name for link in pool._engine.scheduler.links]
    one, other = pool.with_options(at=there).actor(Talker), pool.with_options(at=here).actor(Talker)
    task = pool.with_options(at=here).submit(actors.use_pool_through, one, other, tmp_path, 5)
    assert task.result(PATIENCE) == 25


def test_actor_here_is_called_by_tasks_at_a_peer_and_by_tasks_here(peer):
    with joined(peer, local=1) as pool:
        counter = pool.actor(Counter)
        counter.submit(Counter.add, 0).result(PATIENCE)
        name = next(iter(pool._engine.scheduler.links)).name
        there = pool.with_options(at=name)

        assert there.submit(actors.use, counter, 3).result(PATIENCE) == [1, 2, 3]
        assert sorted(pool.map(tasks.use_once, [counter] * 10)) == list(range(4, 14))


def test_each_task_keeps_the_order_of_its_calls(pool, everywhere):
    for future in [pool.submit(actors.see_all, everywhere[0], caller, 100) for caller in range(4)]:
        future.result(PATIENCE)
    seen = everywhere[0].submit(Counter.what_was_seen).result(PATIENCE)

    for caller in range(4):
        assert [number for who, number in seen if who == caller] == list(range(100))


def test_large_calls_of_tasks_and_actors_are_not_overtaken(apart, pool, everywhere):
    sizes, talker = [1_500_000 if number % 3 == 0 else 10 for number in range(12)], pool.actor(Talker)
    for counter in everywhere:
        calls = [pool.submit(actors.see_sizes, counter, caller, sizes) for caller in range(2)]
        calls.append(talker.submit(tasks.see_sizes_of, counter, 2, sizes))
        for call in calls:
            call.result(PATIENCE)
        seen = counter.submit(Counter.what_was_seen).result(PATIENCE)

        for caller in range(3):
            assert [number for who, number in seen if who == caller] == list(range(len(sizes)))


def test_calls_of_a_task_keep_their_order_whatever_futures_are_among_the_arguments(peer, tmp_path):
    with joined(peer) as pool, pool.actor(Counter) as counter:  # its task has two places for tasks of its own
        assert pool.submit(actors.see_futures, counter, 0, tmp_path / "go").result(PATIENCE) == (True, ValueError)

        assert counter.submit(Counter.what_was_seen).result(PATIENCE) == [(0, number) for number in [*range(9), 10]]


def test_calls_do_not_overtake_the_one_that_makes_their_actor(apart, pool):
    assert pool.submit(actors.make_large, 1_500_000).result(PATIENCE) == 1_500_000


def test_large_arguments_and_results_of_a_task_s_call(apart, pool, everywhere):
    for counter in everywhere:
        assert pool.submit(tasks.exchange, counter, 1_500_000).result(PATIENCE) == 1_500_000


def test_failures_arrive_in_the_task(pool, everywhere):
    assert isinstance(pool.submit(tasks.fail, everywhere[0]).exception(PATIENCE), LookupError)
    assert isinstance(pool.submit(tasks.die, everywhere[0]).exception(PATIENCE), ActorLostError)
    assert isinstance(pool.submit(tasks.use_once, everywhere[0]).exception(PATIENCE), ActorLostError)
    assert isinstance(pool.submit(tasks.use_refusing, pool.actor(Refusing)).exception(PATIENCE), LookupError)


def test_handle_of_an_actor_that_has_ended_says_so(pool):
    counter, talker = pool.actor(Counter), pool.actor(Talker)
    talker.submit(Talker.meet, counter).result(PATIENCE)
    counter.shutdown()
    error = talker.submit(tasks.ask_the_other).exception(PATIENCE)

    assert isinstance(error, ActorLostError)
    assert "has ended" in str(error)


def test_peer_that_is_not_trusted_cannot_call_actors(peer):
    with PeerPoolExecutor(peers=[peer.address], credentials=CREDENTIALS, results="plain", peers_timeout=5.0) as pool:
        counter = pool.actor(Counter)
        counter.submit(Counter.add, 1).result(PATIENCE)

        assert "cannot call actors" in str(pool.submit(actors.use, counter, 1).exception(PATIENCE))
        assert counter.submit(Counter.add, 1).result(PATIENCE) == 2


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_death_of_a_task_that_waits_for_an_actor_harms_nobody(pool, everywhere, tmp_path, kind):
    mine, began, until = tmp_path / "pid", tmp_path / "began", tmp_path / "until"
    method = (Counter.hold, began, until) if kind == "plain" else (Counter.meet, began, 2)
    future = pool.submit(tasks.wait_for_method, everywhere[0], mine, *method)
    eventually(began.exists)
    os.kill(int(mine.read_text()), signal.SIGKILL)
    assert isinstance(future.exception(PATIENCE), WorkerLostError)
    for path in (began, until):
        note(path, "go on")
    assert [counter.submit(Counter.add, 1).result(PATIENCE) for counter in everywhere] == [1, 1]
    assert pool.submit(actors.use, everywhere[0], 2).result(PATIENCE) == [2, 3]
    assert len(pool._peers.links) == 2


def test_retries_of_a_task_s_call_are_the_owner_s_matter(pool, everywhere, tmp_path):
    assert pool.submit(tasks.add_with_retries, everywhere[1], tmp_path / "tries").result(PATIENCE) == "third"


def test_actors_and_tasks_at_peers_make_actors_which_live_at_peers(peer):
    with joined(peer, local=1) as pool:
        name = next(iter(pool._engine.scheduler.links)).name
        assert pool.with_options(at=name).submit(tasks.count, 5).result(PATIENCE) == [6, 7, 8]
        with pool.with_options(at=name).actor(tasks.Boss) as boss, pool.actor(Counter) as counter:
            assert boss.submit(tasks.Boss.use, counter).result(PATIENCE) == (1, 1)
            made = [each for each in pool._engine.scheduler.actors.all if each.name == "Counter"]
            assert {each.target and each.target.candidate is None for each in made} == {True, False}  # ours, and Boss's
            assert pool.submit(actors.use, boss.submit(tasks.Boss.give), 2).result(PATIENCE) == [2, 3]
        eventually(lambda: not pool._engine.scheduler.actors.all)


def test_no_actor_of_a_task_at_a_peer_is_on_this_machine_however_many_are_there(peer):
    with joined(peer, local=1) as pool:
        name = next(iter(pool._engine.scheduler.links)).name
        with pool.with_options(at=name).actor(tasks.Boss) as one, pool.with_options(at=name).actor(tasks.Boss) as two:
            for boss in (one, two):
                boss.submit(tasks.Boss.give).result(PATIENCE)
            own = [each for each in pool._engine.scheduler.actors.all if each.name == "Counter"]
            assert len(own) == 2
            assert not any(each.target.candidate is None for each in own)


def test_actor_of_a_task_ends_with_the_peer_of_the_task():
    with Peer(1, credentials=CREDENTIALS) as home, joined(home) as pool:
        assert pool._engine.scheduler.links
        with Peer(1, credentials=CREDENTIALS) as one, joined(home, one) as pool:
            there = next(link for link in pool._engine.scheduler.links if link.candidate.address == one.address)
            with pool.with_options(at=there.name).actor(tasks.Boss) as boss:
                boss.submit(tasks.Boss.give).result(PATIENCE)
                own = next(each for each in pool._engine.scheduler.actors.all if each.name == "Counter")
                assert own.target is not there  # where there are the fewest
                one.close()
                eventually(lambda: own.state == "ended")


def test_peer_that_is_not_trusted_makes_no_actors(peer):
    with PeerPoolExecutor(peers=[peer.address], credentials=CREDENTIALS, results="plain", peers_timeout=5.0) as pool:
        assert "cannot call actors" in str(pool.submit(tasks.count, 1).exception(PATIENCE))
        actors = pool._engine.scheduler.actors
        assert actors is None or not actors.all
