"""GPUs of a peer: which ones the workers of its clients see."""

import pytest

from tests.faults import resources, tasks
from tests.mesh.conftest import CREDENTIALS, joined
from woolexec.mesh.server.peer import Peer

PATIENCE = 30.0


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    with Peer(3, credentials=CREDENTIALS, resources={"gpu": 2}) as peer:
        yield peer


def on_gpu(pool, amount=1):
    return pool.with_options(require={"gpu": amount})


def test_clients_see_different_devices_and_before_anything_is_imported(peer, tmp_path):
    with joined(peer) as one, joined(peer) as other:
        held = [on_gpu(pool).submit(resources.hold_devices, tmp_path) for pool in (one, other)]
        assert tasks.eventually(lambda: all(future.running() for future in held))
        assert one.submit(resources.devices).result(PATIENCE) == ("3,5,7", "3,5,7")
        (tmp_path / "release").touch()
        assert sorted(future.result(PATIENCE) for future in held) == [("3", "3"), ("5", "5")]


def test_devices_of_idle_workers_go_to_the_client_that_needs_them(peer):
    with joined(peer) as one, joined(peer) as other:
        for pool in (one, other, one):
            assert on_gpu(pool, 2).submit(resources.devices).result(PATIENCE) == ("3,5", "3,5")
        workers = {on_gpu(one, 2).submit(resources.devices_and_process).result(PATIENCE) for _ in range(3)}
        assert len(workers) == 1


def test_actors_tasks_of_tasks_and_coroutines_see_their_devices(peer):
    with joined(peer) as pool:
        with on_gpu(pool).actor(resources.Seer) as actor:
            seen = actor.submit(resources.Seer.devices).result(PATIENCE)
            nested = pool.submit(resources.ask_for_device).result(PATIENCE)
            assert {seen, nested} == {"3", "5"}
        assert on_gpu(pool).submit(resources.devices_soon).result(PATIENCE) in ("3", "5")


def test_actor_gets_the_devices_of_workers_that_have_nothing_to_do(peer):
    with joined(peer) as one, joined(peer) as other:
        for pool in (one, other):
            assert on_gpu(one, 2).submit(resources.devices).result(PATIENCE)[0] == "3,5"
            with on_gpu(pool, 2).actor(resources.Seer) as actor:
                assert actor.submit(resources.Seer.devices).result(PATIENCE) == "3,5"


def test_device_of_a_worker_that_has_died_is_given_again(peer):
    with joined(peer) as pool:
        view = on_gpu(pool, 2)
        assert view.submit(tasks.die).exception(PATIENCE) is not None
        assert view.submit(resources.devices).result(PATIENCE) == ("3,5", "3,5")


def test_device_of_a_client_that_has_left_is_given_again(peer):
    with joined(peer) as one:
        assert on_gpu(one, 2).submit(resources.devices).result(PATIENCE)[0] == "3,5"
    with joined(peer) as other:
        assert on_gpu(other, 2).submit(resources.devices).result(PATIENCE)[0] == "3,5"


@pytest.mark.parametrize(("amount", "fault"), [(3.5, "must be a whole number"), (4, "leaves this process 3")])
def test_peer_does_not_offer_devices_that_it_has_not(monkeypatch, amount, fault):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    with pytest.raises(ValueError, match=fault):
        Peer(1, credentials=CREDENTIALS, resources={"gpu": amount})
