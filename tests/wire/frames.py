"""Random frames of every kind, and the same frames in protobuf."""

import struct

from woolexec.wire import frames, protobuf
from woolexec.wire import wire_pb2 as pb

NAMES = {number: field.name for number, field in pb.Frame.DESCRIPTOR.fields_by_number.items()}


def random_frame(random, number):
    cls = frames.KINDS[number]
    return cls(**random_values(random, cls))


def batch(several):
    return b"".join(map(frames.encode, several))


def random_batch(random):
    return [random_frame(random, random.choice(list(frames.KINDS))) for _ in range(random.randint(1, 6))]


def random_values(random, cls):
    return {name: random_value(random, kind) for name, kind in cls.BY_TAG.values() if random.random() < 0.7}


def random_value(random, kind):
    def integers(bits):
        return tuple(random.getrandbits(random.randint(1, bits)) for _ in range(random.randint(0, 5)))

    def floats():
        return struct.unpack("<f", struct.pack("<f", random.uniform(0.001, 1000)))[0]

    def text():
        return "".join(random.choice("aZ9_.é☃\U0001f40d") for _ in range(random.randint(0, 12)))

    if kind is protobuf.UINT:
        return random.getrandbits(random.choice((1, 7, 8, 14, 32)))
    if kind is protobuf.SINT:
        return random.choice((1, -1)) * random.getrandbits(random.choice((1, 6, 7, 13, 31)))
    if kind is protobuf.BOOL:
        return random.random() < 0.5
    if kind is protobuf.FIXED64:
        return random.getrandbits(64)
    if kind is protobuf.DOUBLE:
        return random.uniform(0.001, 1000)
    if kind is protobuf.FLOAT:
        return floats()
    if kind in (protobuf.BYTES, protobuf.BLOB):
        return random.randbytes(random.choice((0, 1, 60, 127, 128, 300, 5000)))
    if kind is protobuf.STRING:
        return text()
    if kind is protobuf.FIXED64S:
        return integers(64)
    if kind is protobuf.FIXED32S:
        return integers(32)
    if kind is protobuf.FLOATS:
        return tuple(floats() for _ in range(random.randint(0, 5)))
    if kind is protobuf.STRINGS:
        return tuple(text() for _ in range(random.randint(0, 3)))
    return frames.Options(**random_values(random, frames.Options))


def twin(frame):
    """Make the protobuf message that says the same."""
    number = next(number for number, cls in frames.KINDS.items() if cls is type(frame))
    outer = pb.Frame()
    inner = getattr(outer, NAMES[number])
    inner.SetInParent()
    fill(inner, frame)
    return outer


def fill(message, frame):
    for tag, (name, _) in frame.BY_TAG.items():
        value = getattr(frame, name)
        field = message.DESCRIPTOR.fields_by_number[tag >> 3]
        if isinstance(value, protobuf.Message):
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), value)
        elif isinstance(value, tuple):
            getattr(message, field.name).extend(value)
        elif value is not None:
            setattr(message, field.name, value)
