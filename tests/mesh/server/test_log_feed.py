"""How log records are sent to a client."""

from woolexec.mesh.server.log_feed import LogFeed
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Log
from woolexec.wire.unpickling import loads


class Outbox(list):
    """Frames that wait for the stream."""

    put = list.append
    unsent = 0


def test_record_is_sent_without_the_number_that_its_call_has_at_the_peer():
    outbox = Outbox()
    LogFeed(outbox).send(Log(record=b"record", text="text", call=7))
    ((frame,),) = [list(decode(each)) for each in outbox]
    assert (frame.record, frame.text, frame.call) == (b"record", "text", 0)


def test_records_above_the_limit_are_dropped_and_counted():
    outbox = Outbox([b""] * 1001)
    feed = LogFeed(outbox)
    for _ in range(3):
        feed.send(Log(record=b"record", text="text"))
    assert len(outbox) == 1001
    outbox.clear()
    feed.send(Log(record=b"record", text="text"))
    told, record = (frame for each in outbox for frame in decode(each))
    assert told.text == loads(told.record)["msg"] == "3 log records were dropped: the link is too slow for them"
    assert record.record == b"record"


def test_large_records_are_dropped_before_they_are_many():
    outbox = Outbox([b""])
    outbox.unsent = 9 << 20
    LogFeed(outbox).send(Log(record=b"record", text="text"))
    assert outbox == [b""]
