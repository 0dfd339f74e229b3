import pytest

from woolexec.errors import ProtocolError
from woolexec.mesh.server.held import Held


def test_arguments_have_room_up_to_the_limit_and_again_when_a_call_has_ended():
    held = Held(100)
    held.add(60)
    assert held.has_room(40)
    assert not held.has_room(41)
    held.remove(60)
    assert held.has_room(100)


def test_functions_beyond_the_limit_are_refused():
    held = Held(100)
    held.keep(1, 60)
    held.keep(2, 40)
    with pytest.raises(ProtocolError, match="exceed the limit of 100 bytes"):
        held.keep(3, 1)


def test_what_takes_the_place_of_another_counts_instead_of_it():
    held = Held(100)
    for size in (90, 80, 100):
        held.keep("slot", size)
        assert held.size == size
    held.drop("slot")
    assert held.size == 0


def test_nothing_is_left_of_a_client_that_is_gone():
    held = Held(100)
    held.keep(1, 60)
    held.add(10)
    held.clear()
    assert held.size == 0
