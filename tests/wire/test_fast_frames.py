"""The fast encoders and decoders, compared with the general ones; and the decoding of invalid batches."""

from random import Random

import pytest

from tests.wire.frames import batch, random_batch, twin
from woolexec.wire import fast_frames, frames
from woolexec.wire import wire_pb2 as pb
from woolexec.wire.fast_frames import (
    RETURN,
    decode,
    decode_returns,
    encode_apart,
    encode_next,
    encode_part,
    encode_return,
    encode_return_in_arena,
    encode_slot,
    encode_start,
    encode_start_in_arena,
    encode_ticket,
    encode_yield,
    split_start,
)
from woolexec.wire.frames import KINDS, Part, Recall, Return, Start, encode
from woolexec.wire.protobuf import Message

ROUNDS = 60


@pytest.mark.parametrize("size", [0, 1, 95, 96, 97, 127, 128, 200, 70_000])
def test_return_of_one_call_has_the_same_bytes_by_either_way(size):
    payload = b"p" * size
    frame = Return(call=(7,), seconds=(0.5,), size=(size,), payload=payload)

    data = encode_return(7, 0.5, payload)

    assert decode(data) == [frame]
    assert list(pb.Batch.FromString(data).frames) == [twin(frame)]


def test_short_returns_are_decoded_in_a_run():
    random = Random(3)
    sent = [(random.getrandbits(64), 0.25, random.randbytes(random.randint(0, 95))) for _ in range(50)]
    data = b"".join(sized(encode_return(*each)) for each in sent)
    returns = []

    pos = decode_returns(data, 0, len(data), returns)

    assert pos == len(data)
    assert returns == sent


def test_run_of_short_returns_ends_at_another_frame():
    head = sized(encode_return(1, 0.5, b"x"))
    data = head + sized(encode(Recall(call=3))) + head
    returns = []

    assert decode_returns(data, 0, len(data), returns) == len(head)
    assert returns == [(1, 0.5, b"x")]


def test_run_of_short_returns_ends_at_an_incomplete_one():
    whole = sized(encode_return(1, 0.5, b"xyz"))
    for cut in range(1, len(whole)):
        returns = []
        assert decode_returns(whole + whole[:cut], 0, len(whole) + cut, returns) == len(whole)
        assert len(returns) == 1


def sized(data):
    return len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("slot", [0, 1, 127])
@pytest.mark.parametrize("size", [0, 3, 95, 96, 127, 128, 20_000])
def test_lone_start_put_together_from_its_parts_is_one(slot, size):
    payload = b"a" * size

    before, behind = split_start(payload)
    data = before + encode_slot(slot) + encode_ticket(2**40) + behind

    assert int.from_bytes(data[:4], "little") == len(data) - 4
    assert decode(data[4:]) == [Start(function=slot, call=(2**40,), size=(size,), payload=payload)]
    assert len(pb.Batch.FromString(data[4:]).frames) == 1


def test_run_of_calls_is_one_start():
    [frame] = decode(encode_start(5, [10, 11], [b"one", b"three"]))

    assert frame == Start(function=5, call=(10, 11), size=(3, 5), payload=b"onethree")


@pytest.mark.parametrize("lane", [0, 2])
@pytest.mark.parametrize("slot", [0, 127, 128])
@pytest.mark.parametrize("size", [0, 95, 96])
@pytest.mark.parametrize("after", [0, 2**40])
def test_start_of_one_call_has_the_same_bytes_by_either_way(size, slot, lane, after):
    payload = b"p" * size
    frame = Start(function=slot, call=(7,), size=(size,), payload=payload, lane=lane, after=after)

    data = encode_start(slot, [7], [payload], lane, after)

    assert decode(data) == [frame]
    assert list(pb.Batch.FromString(data).frames) == [twin(frame)]


def damaged(random, frames):
    """Change a few bytes at the front of a batch, or cut it, or leave it alone."""
    data = bytearray(frames)
    for _ in range(random.randrange(3)):
        data[random.randrange(min(len(data), 36))] = random.randrange(256)
    return bytes(data[: random.randrange(len(data))] if random.random() < 0.2 else data)


def decoded(data):
    try:
        return decode(data)
    except ValueError:
        return None


def test_short_starts_are_what_the_general_way_makes_of_them(monkeypatch):
    random = Random(4)
    batches = []
    for _ in range(5_000):
        frame = encode_start(random.randrange(128), [random.getrandbits(64)], [random.randbytes(random.randrange(100))])
        batches.append(damaged(random, frame * random.randint(1, 2)))
    short = [decoded(data) for data in batches]

    monkeypatch.setattr(fast_frames, "_short_start", lambda *_: None)

    assert short == [decoded(data) for data in batches]
    assert 1_000 < short.count(None) < 4_000


def test_short_returns_of_one_batch_are_what_the_general_way_makes_of_them():
    random = Random(5)
    count = 0
    for _ in range(5_000):
        frame = encode_return(random.getrandbits(64), 0.5, random.randbytes(random.randrange(100)))
        data = damaged(random, frame * random.randint(1, 2))
        returns = []
        pos = decode_returns(data, 0, len(data), returns, RETURN)
        frames = [
            Return(call=(call,), seconds=(seconds,), size=(len(payload),), payload=payload)
            for call, seconds, payload in returns
        ]
        assert repr(decode(data[:pos])) == repr(frames)  # a damaged time may be no number, which equals nothing
        count += len(frames)
    assert count > 1_000


@pytest.mark.parametrize("size", [0, 5000])
@pytest.mark.parametrize("cls", [cls for cls in KINDS.values() if "payload" in cls.DEFAULTS])
def test_payload_written_apart_makes_the_same_frame(cls, size):
    payload = b"z" * size
    frame = cls(payload=payload)

    assert decode(encode_apart(frame) + payload) == [frame]
    assert frame.payload is payload


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\x0b\x00",
        b"\n\x01",
        b"\n\x00",
        b"\n\x02\x0a\x05",
        b"\n" + b"\xff" * 12,
        b"\n\x02\x82\x06",  # a kind of frame that does not exist
        b"\n\x04\x0a\x02\x0d\x00",  # a field cut short
        b"\n\x05\x0a\x03\x12\x01\x00",  # a column that is not a multiple of its width
        b"\n\x04\x62\x02\x12\xff",
        b"\n\x05\x62\x03\x12\x01\xff",  # text that is not UTF-8
        b"\n\x04\x2a\x02\x0b\x00",  # a group
        b"\n\x04\x2a\x02\x08\x01",  # a field of another wire type
    ],
)
def test_what_is_no_batch_is_a_value_error(data):
    with pytest.raises(ValueError):
        decode(data)


def test_truncated_batch_is_a_value_error_or_fewer_frames():
    random = Random(4)
    for _ in range(ROUNDS):
        frames = random_batch(random)
        data = batch(frames)
        cut = random.randrange(len(data))
        try:
            got = decode(data[:cut])
        except ValueError:
            continue
        assert got == frames[: len(got)]
        assert len(got) < len(frames)


def test_damaged_batch_is_decoded_or_a_value_error():
    random = Random(5)
    for _ in range(4000):
        data = bytearray(batch(random_batch(random)))
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] = random.getrandbits(8)
        try:
            frames = decode(bytes(data))
        except ValueError:
            continue
        assert all(isinstance(frame, Message) for frame in frames)


def test_garbage_is_a_value_error():
    random = Random(6)
    for _ in range(4000):
        data = random.randbytes(random.randint(1, 60))
        if random.random() < 0.5:
            data = b"\n" + data
        try:
            decode(data)
        except ValueError:
            continue
        assert data == b"" or data[0] == 10


@pytest.mark.parametrize("size", [0, 5, 100, 120, 130, 20_000])
def test_quick_encoders_of_streams_say_what_the_general_one_says(size):
    payload = b"x" * size
    assert decode(encode_next(2**40)) == [frames.Next(call=2**40)]
    assert decode(encode_yield(2**40, payload)) == [frames.Yield(call=2**40, payload=payload)]
    assert pb.Batch.FromString(encode_yield(7, payload)).frames[0] == twin(frames.Yield(call=7, payload=payload))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_part_is_encoded_as_any_other_frame(size):
    data = bytes(range(256)) * (size // 256 + 1)
    frame = Part(call=1 << 40, data=data[:size])
    assert decode(encode_part(frame.call, frame.data)) == [frame] == decode(encode(frame))


@pytest.mark.parametrize("call", [1, 2**64 - 1])
@pytest.mark.parametrize("slot", [0, 127])
def test_frames_of_payloads_in_the_arena_are_what_the_schema_says(slot, call):
    extent, mark = (34, 100_000), 2**40
    start = Start(function=slot, call=(call,), size=(sum(extent),), extent=extent, arena=mark)
    back = Return(call=(call,), seconds=(0.5,), size=(sum(extent),), extent=extent, arena=mark)

    for frame, data in (
        (start, encode_start_in_arena(slot, call, extent, mark)),
        (back, encode_return_in_arena(call, 0.5, extent, mark)),
    ):
        assert decode(data) == [frame]
        assert decode(data + encode(Recall(call=3)) + data) == [frame, Recall(call=3), frame]
        assert type(frame).parse(data, 4, len(data)) == frame  # field by field
        for stop in range(1, len(data)):
            with pytest.raises(ValueError):
                decode(data[:stop])
