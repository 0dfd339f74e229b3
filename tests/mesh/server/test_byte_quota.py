import pytest

from woolexec.errors import ProtocolError
from woolexec.mesh.server.byte_quota import ByteQuota


def test_arguments_have_room_up_to_the_limit_and_again_when_a_call_has_ended():
    quota = ByteQuota(100)
    quota.add(60)
    assert quota.has_room(40)
    assert not quota.has_room(41)
    quota.remove(60)
    assert quota.has_room(100)


def test_functions_beyond_the_limit_are_refused():
    quota = ByteQuota(100)
    quota.keep(1, 60)
    quota.keep(2, 40)
    with pytest.raises(ProtocolError, match="exceed the limit of 100 bytes"):
        quota.keep(3, 1)


def test_what_takes_the_place_of_another_counts_instead_of_it():
    quota = ByteQuota(100)
    for size in (90, 80, 100):
        quota.keep("slot", size)
        assert quota.size == size
    quota.drop("slot")
    assert quota.size == 0


def test_outcome_that_stays_counts_instead_of_one_of_the_same_name():
    quota = ByteQuota(100)
    quota.keep("value", 10)
    for size in (90, 80):
        quota.stay("value", size)
        assert quota.size == size
    quota.drop("value")
    assert quota.size == 0
    assert quota.may_stay(50)


def test_nothing_is_left_of_a_client_that_is_gone():
    quota = ByteQuota(100)
    quota.keep(1, 60)
    quota.add(10)
    quota.clear()
    assert quota.size == 0
