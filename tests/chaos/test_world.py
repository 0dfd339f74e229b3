"""The effects of a run on its machine."""

from random import Random
from types import SimpleNamespace

from tests.chaos import isolation, world
from tests.chaos.world import World


def test_folders_that_were_not_made_for_a_run_are_not_filled_whatever_it_was_told(monkeypatch, tmp_path):
    monkeypatch.setattr(world, "FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(isolation, "SMALL", 0)
    told = SimpleNamespace(_can_fill=True)
    assert "not here" in World.fill_the_disk(told, Random(1))
    assert list(tmp_path.iterdir()) == []
