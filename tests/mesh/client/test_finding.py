"""Which records of a discovery a client uses: where peers sign them, those that are signed with its token."""

import asyncio
import random
from dataclasses import replace

import pytest

from tests.mesh.conftest import CREDENTIALS
from tests.tokens import token_for
from woolexec import Credentials, Discovery
from woolexec.discovery import base
from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.mesh.client import finding
from woolexec.mesh.client.finding import Finder
from woolexec.mesh.security.record_key import RecordKey

KEY = RecordKey(CREDENTIALS.token)
RECORD = Record("one", ("h:1", "[fe80::1%25eth0]:1"), "team", ("a=b", "c=d"), "ab" * 32, signing=KEY)


class Told(Discovery):
    """Says what it is told to, and no more."""

    signs = True

    def __init__(self, *events):
        self.events = events

    def __str__(self):
        return "told"

    async def watch(self):
        for event in self.events:
            yield event
        await asyncio.Event().wait()


def found(discovery, credentials=CREDENTIALS):
    """Return the events that a client uses, and what it says of the others."""
    events = []

    async def main():
        about = {"on_event": lambda _, event: events.append(event), "on_final": lambda: None}
        finder = Finder(discovery, credentials, randomness=random.Random(1), **about)
        with_end = asyncio.create_task(finder.follow())
        for _ in range(10 + len(discovery.events) // 50):
            await asyncio.sleep(0)
        with_end.cancel()
        return str(finder.foreign)

    return events, asyncio.run(main())


def test_signed_record_is_used():
    joined = Joined(RECORD.signed())
    assert found(Told(joined)) == ([joined], "")


FORGERIES = {
    "key": {"key": "two"},
    "address": {"addresses": ("evil:1",)},
    "one more address": {"addresses": ("evil:1", *RECORD.addresses)},
    "pool": {"pool": "other"},
    "tag": {"tags": ("a=b",)},
    "authority": {"fingerprint": ""},
    "time": {"time": 1e9},
    "MAC": {"mac": "0" * 64},
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_record_with_a_field_that_was_not_signed_is_ignored_and_counted(change):
    events, text = found(Told(Joined(replace(RECORD.signed(), **change))))
    assert events == []
    assert "1 records at told are ignored (1 not signed with our token)" in text


@pytest.mark.parametrize("seconds", [-2 * base.LIFETIME, 2 * base.LIFETIME])
def test_record_of_another_time_is_ignored(monkeypatch, seconds):
    real = base.time.time
    with monkeypatch.context() as patch:
        patch.setattr(base.time, "time", lambda: real() + seconds)
        signed = RECORD.signed()
    events, text = found(Told(Joined(signed)))
    assert events == []
    assert "do the clocks agree?" in text


@pytest.mark.parametrize("record", [replace(RECORD, signing=None), replace(RECORD, signing=RecordKey(token_for("x")))])
def test_record_of_a_peer_without_our_token_is_ignored(record):
    assert found(Told(Joined(record.signed())))[0] == []


def test_record_that_was_not_signed_is_used_where_there_is_no_token_or_nobody_signs():
    joined = Joined(replace(RECORD, signing=None))
    assert found(Told(joined), Credentials()) == ([joined], "")
    unsigned = Told(joined)
    unsigned.signs = False
    assert found(unsigned) == ([joined], "")
    own = Joined(replace(RECORD, signing=None, credentials=Credentials(token_for("ssh"))))
    assert found(Told(own)) == ([own], "")


def test_false_signature_is_noticed_where_nobody_has_to_sign():
    unsigned = Told(Joined(replace(RECORD.signed(), pool="other")))
    unsigned.signs = False
    assert found(unsigned)[0] == []


def test_forged_change_does_not_replace_what_was_signed():
    joined = Joined(RECORD.signed())
    forged = Updated(replace(RECORD, addresses=("evil:1",)))
    assert found(Told(joined, forged))[0] == [joined]


def test_signature_does_not_depend_on_order_and_interface():
    signed = RECORD.signed()
    there = replace(signed, addresses=("[fe80::1%25wlan7]:1", "h:1"), tags=signed.tags[::-1])
    assert found(Told(Joined(there)))[0] == [Joined(there)]


def test_very_many_foreign_records_take_bounded_memory_and_hide_nobody(monkeypatch):
    monkeypatch.setattr(finding, "_FOREIGN", 100)
    flood = [Joined(Record(str(n), (f"h:{n}",))) for n in range(10_000)]
    joined = Joined(RECORD.signed())
    events, text = found(Told(*flood, joined))
    assert events == [joined]
    assert "more than 100 records at told are ignored" in text


def test_foreign_record_that_leaves_is_no_longer_counted():
    assert found(Told(Joined(Record("x", ("h:1",))), Left("x"))) == ([], "")
