"""The behaviour that all discoveries share."""

import pytest

from tests.tokens import token_for
from woolexec import Credentials, Discovery, DiscoveryError
from woolexec.discovery.base import Joined, Known, Left, Record, Updated


class Mine(Discovery):
    """A discovery that implements nothing."""


ONE, OTHER = Record("one", ("h:1",)), Record("other", ("h:2",))


def test_discovery_is_named_by_its_class():
    assert str(Mine()) == "Mine"


def test_discovery_without_watch_finds_nothing():
    with pytest.raises(NotImplementedError):
        Mine().watch()


def test_discovery_without_announce_says_that_it_cannot():
    with pytest.raises(DiscoveryError, match="Mine can find peers, but cannot announce them"):
        Mine().announce(ONE)


def test_number_of_peers_is_not_known_beforehand():
    assert Mine().count is None


def test_credentials_of_a_record_are_neither_shown_nor_compared():
    record = Record("one", ("h:1",), credentials=Credentials(token_for("records")))
    assert token_for("records").decode() not in repr(record)
    assert "credentials" not in repr(record)
    assert record == ONE


def test_first_listing_brings_all_peers():
    assert Known().changes({"one": ONE, "other": OTHER}) == [Joined(ONE), Joined(OTHER)]


def test_listing_that_is_the_same_brings_nothing():
    known = Known()
    known.changes({"one": ONE})
    assert known.changes({"one": Record("one", ("h:1",))}) == []


def test_each_change_of_a_listing_is_one_event_and_those_who_leave_come_first():
    known = Known()
    known.changes({"one": ONE, "other": OTHER})
    third, moved = Record("third", ("h:3",)), Record("other", ("h:9",))
    assert known.changes({"third": third, "other": moved}) == [Left("one"), Joined(third), Updated(moved)]


def test_peer_that_comes_back_joins_again():
    known = Known()
    known.changes({"one": ONE})
    assert known.changes({}) == [Left("one")]
    assert known.changes({"one": ONE}) == [Joined(ONE)]
