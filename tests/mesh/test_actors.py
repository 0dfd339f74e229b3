"""Actors that live at peers."""

import asyncio
import os
import resource
import signal
import threading

import pytest

from tests.faults.actors import Counter, Dying, Hanging, Refusing
from tests.faults.tasks import eventually, is_gone
from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import ActorLostError, UnsatisfiableError
from woolexec.core.actor import ENDED, STARTING
from woolexec.mesh.server import client_actors
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def pool(peer):
    with joined(peer) as pool:
        yield pool


def where(actor):
    return actor._submission.handle.actor.target


def test_methods_are_called_with_the_object(pool):
    with pool.actor(Counter, 10) as counter:
        assert counter.submit(Counter.add, 5).result(PATIENCE) == 15
        assert counter.submit(Counter.add, pool.submit(pow, 2, 5)).result(PATIENCE) == 47
        assert list(counter.map(Counter.add, range(200)))[-1] == 47 + 199 * 100
        assert counter.submit(Counter.add_later, 1).result(PATIENCE) == 47 + 199 * 100 + 1
        for method in (Counter.count_up, Counter.count_up_later):
            with counter.stream(method, 3) as items:
                assert len(list(items)) == 3
        assert counter.submit(Counter.nested, 5).result(PATIENCE) == 25


def test_it_is_used_from_coroutines(pool):
    async def main():
        async with pool.actor(Counter, 1) as counter:
            assert await counter.run(Counter.add, 1) == 2
            assert await asyncio.gather(*(counter.run(Counter.add_later, 1) for _ in range(3))) == [3, 4, 5]

    asyncio.run(main())


def test_actors_are_spread_over_peers_and_take_none_of_their_places(tmp_path):
    with (
        Peer(1, credentials=CREDENTIALS) as one,
        Peer(1, credentials=CREDENTIALS) as other,
        joined(one, other) as pool,
    ):
        actors = [pool.actor(Counter) for _ in range(4)]
        held = [each.submit(Counter.hold, tmp_path / "began", tmp_path / "until") for each in actors]
        assert eventually(lambda: (tmp_path / "began").exists() and len((tmp_path / "began").read_text().split()) == 4)
        places = [where(actor) for actor in actors]

        assert sorted(map(places.count, set(places))) == [2, 2]
        assert pool.submit(pow, 2, 5).result(PATIENCE) == 32
        (tmp_path / "until").touch()
        assert [future.result(PATIENCE) for future in held] == [0] * 4


def test_at_and_require_say_where_an_actor_is_made_and_it_holds_what_it_requires():
    with (
        Peer(1, credentials=CREDENTIALS, tags=["zone=a"], resources={"gpu": 1}) as one,
        Peer(1, credentials=CREDENTIALS, tags=["zone=b"]) as other,
        joined(one, other) as pool,
    ):
        there = pool.with_options(at="zone=b").actor(Counter)
        assert there.submit(Counter.add, 1).result(PATIENCE) == 1
        assert "zone=b" in where(there).offer.tags
        holder = pool.with_options(require={"gpu": 1}).actor(Counter)
        assert holder.submit(Counter.add, 1).result(PATIENCE) == 1
        task = pool.with_options(require={"gpu": 1}).submit(pow, 2, 5)
        second = pool.with_options(require={"gpu": 1}).actor(Counter)
        waiting = second.submit(Counter.add, 7)
        assert not waiting.done()
        holder.shutdown()

        assert task.result(PATIENCE) == 32
        assert waiting.result(PATIENCE) == 7
        nowhere = pool.with_options(require={"tpu": 1}).actor(Counter)
        assert isinstance(nowhere.submit(Counter.add, 1).exception(PATIENCE), UnsatisfiableError)


def test_actor_is_made_where_a_kept_value_is():
    with (
        Peer(1, credentials=CREDENTIALS) as one,
        Peer(1, credentials=CREDENTIALS) as other,
        joined(one, other) as pool,
    ):
        for _ in range(3):
            kept = pool.with_options(keep=True).submit(bytes, 1 << 20)
            kept.exception(PATIENCE)
            for options in ({"at": kept}, {"near": kept}):
                actor = pool.with_options(**options).actor(Counter)
                actor.submit(Counter.add, 1).result(PATIENCE)
                assert where(actor).name == kept.value.home


def test_order_is_kept_whatever_the_arguments_are_and_however_many_call(pool):
    count, sizes = 60, (10, 3_000, 50_000, 400_000, 1_500_000)
    with pool.actor(Counter) as counter:

        def call(caller):
            for number in range(count):
                counter.submit(_see, caller, number, b"x" * sizes[(number * 7 + caller) % len(sizes)])

        callers = [threading.Thread(target=call, args=(caller,)) for caller in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seen = counter.submit(Counter.what_was_seen).result(PATIENCE)

        for caller in range(8):
            assert [number for who, number in seen if who == caller] == list(range(count))


def test_order_is_kept_when_payloads_travel_in_parts(apart, pool):
    with pool.actor(Counter) as counter:
        shared = pool.put(b"y" * 2_000_000)
        for number in range(30):
            counter.submit(_see, 0, number, shared if number % 3 else b"x" * 900_000)
            counter.submit(_see, 1, number, b"")
        seen = counter.submit(Counter.what_was_seen).result(PATIENCE)

        assert seen == [(caller, number) for number in range(30) for caller in (0, 1)]


def test_calls_that_had_not_started_go_to_the_next_incarnation_and_nothing_restarts_unasked(pool):
    with pool.actor(Counter) as counter:
        assert isinstance(counter.submit(Counter.die).exception(PATIENCE), ActorLostError)
        assert isinstance(counter.submit(Counter.add, 1).exception(PATIENCE), ActorLostError)
    with pool.with_options(restarts=1).actor(Counter, 10) as counter:
        dying = counter.submit(Counter.die)
        after = [counter.submit(Counter.add, 1) for _ in range(200)]

        assert isinstance(dying.exception(PATIENCE), ActorLostError)
        assert [future.result(PATIENCE) for future in after] == list(range(11, 211))


def test_idempotent_call_is_run_again(pool, tmp_path):
    with pool.with_options(restarts=1).actor(Counter) as counter:
        held = counter.with_options(idempotent=True).submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        assert eventually((tmp_path / "began").exists)
        (tmp_path / "until").touch()
        assert eventually(lambda: (tmp_path / "began").read_text())
        os.kill(int((tmp_path / "began").read_text()), signal.SIGKILL)

        assert held.result(PATIENCE) == 0


def test_death_within_a_stream_ends_the_stream(pool):
    with pool.actor(Counter) as counter, counter.stream(Counter.count_then_die) as items:
        assert next(items) == 1
        with pytest.raises(ActorLostError):
            next(items)


def test_constructor_that_raises_dies_or_hangs(pool, tmp_path):
    refusing = pool.actor(Refusing)
    assert isinstance(refusing.submit(Refusing.method).exception(PATIENCE), LookupError)
    dying = pool.with_options(restarts=1).actor(Dying, tmp_path / "dying")
    assert isinstance(dying.submit(Dying.method).exception(PATIENCE), ActorLostError)
    assert len((tmp_path / "dying").read_text().split()) == 2
    hanging = pool.with_options(timeout=0.5).actor(Hanging, tmp_path / "hanging")
    assert isinstance(hanging.submit(Hanging.method).exception(PATIENCE), TimeoutError)


def test_timeout_and_force_end_the_object_and_a_coroutine_alone(pool, tmp_path):
    with pool.with_options(restarts=2).actor(Counter, 5) as counter:
        counter.submit(Counter.add, 1).result(PATIENCE)
        slow = counter.with_options(timeout=0.2).submit(Counter.meet, tmp_path / "met", 2)
        assert isinstance(slow.exception(PATIENCE), TimeoutError)
        assert counter.submit(Counter.add, 1).result(PATIENCE) == 7
        slow = counter.with_options(timeout=0.2).submit(Counter.hold, tmp_path / "one", tmp_path / "never")
        assert isinstance(slow.exception(PATIENCE), TimeoutError)
        assert counter.submit(Counter.add, 1).result(PATIENCE) == 6
        held = counter.submit(Counter.hold, tmp_path / "two", tmp_path / "never")
        assert eventually((tmp_path / "two").exists)
        assert held.cancel(force=True)
        assert counter.submit(Counter.add, 2).result(PATIENCE) == 7


def test_call_that_was_not_started_is_cancelled(pool, tmp_path):
    with pool.actor(Counter, 7) as counter:
        held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        waiting = [counter.submit(Counter.add, 10**number) for number in range(5)]
        assert eventually((tmp_path / "began").exists)
        assert waiting[1].cancel()
        assert waiting[3].cancel()
        (tmp_path / "until").touch()

        assert held.result(PATIENCE) == 7
        assert [waiting[number].result(PATIENCE) for number in (0, 2, 4)] == [8, 108, 10108]


def test_shutdown_ends_the_process_at_the_peer(pool):
    counter = pool.actor(Counter)
    pid, _ = counter.submit(Counter.where).result(PATIENCE)
    futures = [counter.submit(Counter.add, 1) for _ in range(100)]
    counter.shutdown()

    assert [future.result(0) for future in futures] == list(range(1, 101))
    assert is_gone(pid)


def test_shutdown_cancels_what_was_not_started(pool, tmp_path):
    counter = pool.actor(Counter, 7)
    held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
    waiting = [counter.submit(Counter.add, 1) for _ in range(100)]
    assert eventually((tmp_path / "began").exists)
    counter.shutdown(wait=False, cancel_futures=True)
    assert eventually(lambda: sum(future.cancelled() for future in waiting) >= 98)
    (tmp_path / "until").touch()

    assert held.result(PATIENCE) == 7


def test_actors_end_with_their_client(peer):
    pool = joined(peer)
    counter = pool.actor(Counter)
    pid, _ = counter.submit(Counter.where).result(PATIENCE)
    pool.shutdown()

    assert eventually(lambda: is_gone(pid))
    assert "ended" in repr(counter)


def test_peer_that_is_lost_loses_its_actors_and_they_are_made_again_elsewhere():
    with Peer(1, credentials=CREDENTIALS) as other:
        one = Peer(1, credentials=CREDENTIALS)
        try:
            with joined(one, other) as pool:
                actors = [pool.with_options(restarts=each).actor(Counter, 10) for each in (0, 0, 1, 1)]
                for actor in actors:
                    actor.submit(Counter.add, 1).result(PATIENCE)
                are_there = [where(actor).candidate.address == one.address for actor in actors]
                one.close()
                errors = [actor.submit(Counter.add, 1).exception(PATIENCE) for actor in actors]

                assert sorted(are_there) == [False, False, True, True]
                for is_there, actor, error, restarts in zip(are_there, actors, errors, (0, 0, 1, 1), strict=True):
                    if is_there and not restarts:
                        assert isinstance(error, ActorLostError)
                    else:  # it was made again, or is where it was
                        assert error is None or isinstance(error, ActorLostError)
                        assert actor.submit(Counter.add, 1).result(PATIENCE) in (11, 12, 13)
        finally:
            one.close()


def test_peer_that_drains_waits_for_an_actor():
    one = Peer(1, credentials=CREDENTIALS)
    try:
        with joined(one) as pool:
            counter = pool.actor(Counter, 5)
            assert counter.submit(Counter.add, 1).result(PATIENCE) == 6
            one.drain()
            assert eventually(lambda: not where(counter).ready)
            assert [counter.submit(Counter.add, 1).result(PATIENCE) for _ in range(20)] == list(range(7, 27))
            counter.shutdown()
            assert eventually(lambda: one.engine.stopped)
    finally:
        one.close()


def test_peer_that_drains_has_an_actor_moved_that_may_be_made_again(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as other, joined(one, other) as pool:
        home = next(link for link in pool._engine.scheduler.links if link.candidate.address == one.address)
        counter = pool.with_options(restarts=1, near=home.name).actor(Counter, 5)
        assert counter.submit(Counter.add, 10).result(PATIENCE) == 15
        assert where(counter) is home
        held = counter.submit(Counter.hold, tmp_path / "began", tmp_path / "until")
        assert eventually((tmp_path / "began").exists)
        one.drain()
        assert eventually(lambda: not home.ready)
        after = [counter.submit(Counter.add, 1) for _ in range(3)]
        (tmp_path / "until").touch()

        assert held.result(PATIENCE) == 15  # it ran where it had begun
        assert [future.result(PATIENCE) for future in after] == [6, 7, 8]  # of the next life
        assert where(counter).candidate.address == other.address
        assert eventually(lambda: one.engine.stopped)


def test_one_client_has_a_limited_number_of_actors_at_a_peer(pool, monkeypatch):
    monkeypatch.setattr(client_actors, "MOST", 2)
    actors = [pool.actor(Counter) for _ in range(3)]
    assert [actor.submit(Counter.add, 1).result(PATIENCE) for actor in actors[:2]] == [1, 1]
    third = actors[2].submit(Counter.add, 1)
    assert not third.done()
    actors[0].shutdown()

    assert third.result(PATIENCE) == 1


def test_peer_that_is_short_of_descriptors_takes_no_more_actors_and_runs_tasks(pool, monkeypatch):
    monkeypatch.setattr("woolexec.core.actors.PAUSE", 0.01)
    first = pool.actor(Counter)
    assert first.submit(Counter.add, 1).result(PATIENCE) == 1
    asked = []
    monkeypatch.setattr(client_actors, "are_scarce", lambda: not asked.append(1))
    second = pool.actor(Counter)
    waits = second.submit(Counter.add, 1)
    assert eventually(lambda: len(asked) > 3)
    assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert first.submit(Counter.add, 1).result(PATIENCE) == 2
    assert not waits.done()
    monkeypatch.setattr(client_actors, "are_scarce", lambda: False)

    assert waits.result(PATIENCE) == 1


def test_call_of_an_actor_that_a_peer_does_not_know_is_given_back(pool):
    with pool.with_options(restarts=1).actor(Counter) as counter:
        counter.submit(Counter.add, 1).result(PATIENCE)
        actor = counter._submission.handle.actor
        number, actor.life.number = actor.life.number, 10**6  # as if it named an incarnation that is gone
        refused = pool._engine.scheduler.actors.refused
        given_back = []

        def note(link, numbers):
            given_back.extend(numbers)
            actor.life.number = number
            return refused(link, numbers)

        pool._engine.scheduler.actors.refused = note
        assert counter.submit(Counter.add, 1).result(PATIENCE) == 2
        assert len(given_back) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)  # a thousand processes, on a machine with much else to do
def test_thousand_actors_live_at_two_peers():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= before[1] < 4000:
        pytest.skip(f"not enough descriptors: the hard limit is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))  # three descriptors for each, in this process
    try:
        with (
            Peer(1, credentials=CREDENTIALS) as one,
            Peer(1, credentials=CREDENTIALS) as other,
            joined(one, other) as pool,
        ):
            actors = [pool.actor(Counter, number) for number in range(1000)]
            first = [actor.submit(Counter.add, 1) for actor in actors]
            assert [future.result(500) for future in first] == list(range(1, 1001))
            later = [actor.submit(Counter.add, 1) for _ in range(3) for actor in actors]
            assert [future.result(500) for future in later[-1000:]] == list(range(4, 1004))
            places = [where(actor) for actor in actors]
            assert sorted(map(places.count, set(places))) == [500, 500]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _see(counter, caller, number, data):
    counter.see(caller, number)
    return len(data)


def test_actor_that_ends_while_it_is_being_made_is_not_made_again():
    for _ in range(5):  # its peer has no worker yet: the first life is sent to one that starts
        with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
            pool.wait_for_peers(1, PATIENCE)
            counter = pool.actor(Counter)
            assert eventually(lambda: counter._submission.handle.actor.state == STARTING)  # noqa: B023  # it is called at once
            counter.shutdown(wait=False)
            assert eventually(lambda: counter._submission.handle.actor.state == ENDED)  # noqa: B023
