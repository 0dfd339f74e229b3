"""Calls that are cancelled one after the other while a peer has them."""

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import eventually


def occupied(pool, room):
    held = [pool.submit(tasks.hold_by_name, room, f"held-{number}") for number in range(2)]
    eventually(lambda: all((room / f"held-{number}").exists() for number in range(2)))
    return held


@pytest.mark.parametrize("force", [False, True])
def test_answer_does_not_wait_until_calls_are_sent_again(pool, tmp_path, monkeypatch, force):
    monkeypatch.setattr("woolexec.engine.engine._LINK_PATIENCE", None)
    held = occupied(pool, tmp_path)
    assert not held[0].cancel()
    monkeypatch.setattr("woolexec.mesh.client.taking_back._BURST", 3600.0)  # now the next ones come in a burst
    pool._engine.scheduler.links[0]._taking_back._burst_until = float("inf")
    for _ in range(3):
        assert [future.cancel(force=force) for future in held] == [force, force]
    (tmp_path / "release").touch()
