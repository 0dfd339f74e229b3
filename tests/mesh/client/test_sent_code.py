"""What a link sends before a function, and how often."""

import pytest

from woolexec.core.call import Function
from woolexec.mesh.client.sent_code import SentCode
from woolexec.mesh.link.outbox import Outbox
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Code, Define, Settings
from woolexec.wire.pickling import dumps_inline

ARCHIVES = {"digest": b"x" * (3 << 18)}


@pytest.fixture
def outbox():
    return Outbox(set())


def frames(outbox):
    return [frame for data in outbox._frames for frame in decode(data)]


def function(**code):
    return Function(dumps_inline(abs), "abs", **code)


def test_settings_are_sent_once_before_the_first_function(outbox):
    sent = SentCode(ARCHIVES.get, None, lambda: Settings(settings=b"settings"), outbox)
    (first,), (second,) = (list(decode(sent.definition(slot, function()))) for slot in (1, 2))
    assert [type(frame) for frame in frames(outbox)] == [Settings]
    assert (first.__class__, first.function, second.function, first.name) == (Define, 1, 2, "abs")


def test_program_without_settings_sends_none(outbox):
    SentCode(ARCHIVES.get, None, Settings, outbox).definition(1, function())
    assert frames(outbox) == []


def test_program_that_wants_what_is_printed_says_so_although_it_has_no_settings(outbox):
    SentCode(ARCHIVES.get, None, lambda: Settings(output=True), outbox).definition(1, function())
    assert frames(outbox) == [Settings(output=True)]


def test_archive_is_sent_once_in_pieces(outbox):
    sent = SentCode(ARCHIVES.get, None, Settings, outbox)
    needy = function()
    needy.code = ("digest", "unknown")
    for slot in (1, 2):
        sent.definition(slot, needy)
    pieces = frames(outbox)
    assert [type(frame) for frame in pieces] == [Code, Code]
    assert b"".join(frame.data for frame in pieces) == ARCHIVES["digest"]
    assert [frame.last for frame in pieces] == [False, True]
