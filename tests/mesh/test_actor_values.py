"""Actors whose arguments are values kept by peers, which are sent to the actor directly from there."""

import pytest

from tests.mesh.array_tasks import LONG, Totals, note_and_make, ones, total, total_async
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_keep import fetched, links_of, made, made_at, pulled, two, unanswered  # noqa: F401  # fixtures
from woolexec import PeerPoolExecutor, ValueLostError
from woolexec.mesh.server.peer import Peer

pytestmark = pytest.mark.slow


def where(actor):
    return actor._submission.handle.actor.target


def peer_of(link, peers):
    return next(peer for peer in peers if peer.address == link.candidate.address)


def test_constructor_gets_it_where_it_is(two, made_at, fetched, pulled):  # noqa: F811
    with joined(*two) as pool:
        for _ in range(3):
            array, home, _ = made_at(pool, ones)
            with pool.actor(Totals, array) as actor:
                assert actor.submit(Totals.all).result(PATIENCE) == [LONG]
                assert where(actor) is home
        assert (len(pulled), len(fetched)) == (0, 0)


@pytest.mark.parametrize("method", [Totals.add, Totals.add_later, Totals.add_each])
def test_methods_get_it_there_and_elsewhere(two, made_at, fetched, pulled, method):  # noqa: F811
    with joined(*two) as pool:
        array, home, other = made_at(pool, ones)
        for link in (home, other):
            with pool.with_options(at=link.name).actor(Totals) as actor:
                for _ in range(3):
                    outcome = actor.submit(method, array).result(PATIENCE)
                    if method is Totals.add_each:
                        outcome = next(iter(outcome))
                    assert outcome == LONG
        assert (len(pulled), len(fetched)) == (1, 0)


def test_order_is_kept_whatever_is_among_the_arguments(two, made_at, fetched):  # noqa: F811
    with joined(*two) as pool:
        array, _, other = made_at(pool, ones)
        with pool.with_options(at=other.name).actor(Totals) as actor:
            for number in range(30):
                actor.submit(Totals.add, array if number % 3 else number)
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG if n % 3 else n for n in range(30)]
        assert not fetched


def test_actor_here_gets_it_once(peer, fetched):  # noqa: F811
    with joined(peer, local=1) as pool:
        name = links_of(pool)[0].name
        array = made(pool.with_options(keep=True, at=name))
        with pool.actor(Totals) as actor, pool.actor(Totals) as second:  # one is here; calls come before the object
            futures = []
            for number in range(12):
                futures += [each.submit(Totals.add, array if number % 3 else number) for each in (actor, second)]
                futures += [each.submit(Totals.add_later, array) for each in (actor, second)]
            for future in futures:
                future.result(PATIENCE)
            assert {where(actor), where(second)} >= set(links_of(pool))
            for each in (actor, second):
                seen = each.submit(Totals.all).result(PATIENCE)
                assert [number for number in seen if number < 100] == [0, 3, 6, 9]
                assert len(seen) == 24
        assert len(fetched) == 1


def test_what_is_lost_fails_its_call_alone(two, made_at, unanswered, tmp_path):  # noqa: F811
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, ones)
        with pool.with_options(at=other.name).actor(Totals) as actor:
            later = actor.submit(Totals.add_later, array)
            futures = [actor.submit(Totals.add, each) for each in (1, array, 2, array, 3)]
            eventually(lambda: unanswered and len(other.lane_place.outstanding) >= 3)
            pool._engine._loop.tell(home.close)
            assert [future.result(PATIENCE) for future in futures[::2]] == [1, 2, 3]
            for future in (*futures[1::2], later):
                assert isinstance(future.exception(PATIENCE), ValueLostError)
            assert isinstance(actor.submit(Totals.add, array).exception(PATIENCE), ValueLostError)
            assert actor.submit(Totals.all).result(PATIENCE) == [1, 2, 3]


def test_what_is_lost_and_made_again_keeps_its_place(two, made_at, unanswered, tmp_path):  # noqa: F811
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, note_and_make, tmp_path / "starts", idempotent=True)
        with pool.with_options(at=other.name).actor(Totals) as actor:
            later = actor.submit(Totals.add_later, array)
            futures = [actor.submit(Totals.add, each) for each in (1, array, 2, array, 3)]
            eventually(lambda: unanswered and len(other.lane_place.outstanding) >= 3)
            peer_of(home, two).close()
            for future in (*futures, later):
                future.result(PATIENCE)
            seen = actor.submit(Totals.all).result(PATIENCE)
            assert [number for number in seen if number < 100] == [1, 2, 3]
            assert [number for number in seen if number < 100 or number == LONG].count(LONG) == 3
        assert (tmp_path / "starts").read_text() == "xx"


@pytest.mark.parametrize("options", [{}, {"idempotent": True}])
def test_constructor_whose_argument_is_lost_fails_or_waits(two, made_at, unanswered, tmp_path, options):  # noqa: F811
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, note_and_make, tmp_path / "starts", **options)
        with pool.with_options(at=other.name).actor(Totals, array) as actor:
            future = actor.submit(Totals.all)
            eventually(lambda: unanswered and other.lane_place.outstanding)
            peer_of(home, two).close()
            if options:
                assert future.result(PATIENCE) == [LONG]
            else:
                assert isinstance(future.exception(PATIENCE), ValueLostError)


def test_restart_gets_it_again_where_it_is_left(two, made_at, fetched, tmp_path):  # noqa: F811
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, note_and_make, tmp_path / "starts", idempotent=True)
        with pool.with_options(near=other.name, restarts=2).actor(Totals, array) as actor:
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG]
            assert where(actor) is other
            peer_of(other, two).close()  # the value is with the first peer
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG]
            assert where(actor) is home
        assert not fetched


def test_restart_waits_for_what_was_lost_with_its_peer(two, made_at, tmp_path):  # noqa: F811
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, _ = made_at(pool, note_and_make, tmp_path / "starts", idempotent=True)
        with pool.with_options(restarts=1).actor(Totals, array) as actor:
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG]
            peer_of(home, two).close()
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG]
        assert (tmp_path / "starts").read_text() == "xx"


def test_value_comes_to_the_only_workers_that_meet_a_requirement(fetched):  # noqa: F811
    with (
        Peer(1, credentials=CREDENTIALS) as peer,
        PeerPoolExecutor(2, peers=[peer.address], credentials=CREDENTIALS, resources={"here": 4}) as pool,
    ):
        pool.wait_for_peers(1, PATIENCE)
        array = made(pool.with_options(keep=True, at=links_of(pool)[0].name))
        here = pool.with_options(require={"here": 1})
        with here.actor(Totals, array) as actor:
            futures = [here.submit(total, array), here.submit(total_async, array), actor.submit(Totals.add, array)]
            assert [future.result(PATIENCE) for future in futures] == [LONG] * 3
            assert list(here.map(total, [array] * 3, timeout=PATIENCE)) == [LONG] * 3
            assert actor.submit(Totals.all).result(PATIENCE) == [LONG] * 2
        assert len(fetched) == 1


def test_arguments_of_the_constructor_are_let_go_unless_it_may_run_again(peer):
    with joined(peer, local=1) as pool:
        client = next(iter(peer._acceptor.served))
        before = client.byte_quota.size
        actors = [pool.with_options(restarts=times).actor(Totals, ones()) for times in (0, 0, 1, 1)]
        for actor in actors:
            actor.submit(Totals.all).result(PATIENCE)
        kept = [len(actor._submission.handle.actor.life.payload) for actor in actors]
        assert [size > 8 * LONG for size in kept] == [False, False, True, True]
        assert all(place.size < 25 * LONG for link in links_of(pool) for place in (link, link.lane_place))
        assert client.byte_quota.size - before < 8 * LONG
        for actor in actors:
            actor.shutdown()
