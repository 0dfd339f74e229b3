from woolexec.core.upkeep import Upkeep


def test_nothing_is_limited_unless_it_is_said():
    upkeep = Upkeep()
    assert not upkeep.memory
    assert (upkeep.idle_timeout, upkeep.min_workers, upkeep.finalizer) == (None, 0, None)
