"""
Inputs that an attacker might send: frames with extreme fields, mutated batches, odd messages.

They are made from the classes of frames, so they know of each new frame and field by themselves.
"""

import pickle
from random import Random
from typing import Any

from woolexec.mesh.link.messages import LIMIT
from woolexec.wire import protobuf
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import COMMANDS, KINDS, Cancel, Define, Next, Part, Recall, Start, encode
from woolexec.wire.protobuf import Message, varint

INTEGERS = [0, 1, 2, 3, 127, 128, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
"""Values at which encodings, counters and indices change."""

SIZES = [0, 1, 7, 8, 95, 96, 127, 128, 4095, 4096, 20_000]

TEXTS = [
    "",
    "a",
    "a" * 5000,
    "\x00",
    "\x1b[2J",
    "\n" * 50,
    "é☃\U0001f40d",
    "../../etc/passwd",
    "%s%n",
    "gpu>=1",
    ">=",
    "a=b",
]

PICKLES = [pickle.dumps(value) for value in (None, ((), {}), ((1,), {}), abs, len, ([1] * 100, {}))]
PICKLES += [dump_failure(KeyError("x")), b"", b"\x80", b"\x80\x05.", b"." * 200]


def value(random: Random, kind: protobuf.Kind) -> Any:
    """Return a value for a field."""
    if kind is protobuf.STRING:
        return random.choice(TEXTS)
    if kind is protobuf.STRINGS:
        count = random.choice((0, 1, 3, 3, 3, 3, 3, 999, 1001))
        return tuple(random.choice(TEXTS) for _ in range(count)) if count < 10 else ("x",) * count
    if kind in (protobuf.BYTES, protobuf.BLOB):
        return random.choice([*PICKLES, random.randbytes(random.choice(SIZES))])
    if kind is protobuf.BOOL:
        return random.random() < 0.5
    if kind is protobuf.SINT:
        return random.choice(INTEGERS[:10]) * random.choice((1, -1))
    if kind is protobuf.UINT:
        return random.choice(INTEGERS)
    if kind in (protobuf.DOUBLE, protobuf.FLOAT):
        return random.choice((0.0, -1.0, 1e-9, 0.001, 1e30, float("inf"), float("-inf"), float("nan")))
    if kind is protobuf.FIXED64:
        return random.choice([*range(6), *INTEGERS])
    if kind is protobuf.FIXED64S:
        return tuple(random.choice([*range(6), *INTEGERS]) for _ in range(random.choice((0, 1, 1, 1, 2, 5, 1025))))
    if kind is protobuf.FIXED32S:
        return tuple(random.choice(INTEGERS[:11]) for _ in range(random.choice((0, 1, 1, 1, 2, 5, 1025))))
    if kind is protobuf.FLOATS:
        return tuple(random.choice((0.0, -1.0, 1.5, float("nan"))) for _ in range(random.choice((0, 1, 1, 2))))
    return None


def fields(random: Random, cls: type[Message], share: float = 0.6) -> dict[str, Any]:
    """Return values for some of the fields of a message."""
    found = {name: value(random, kind) for name, (_, kind) in cls.FIELDS.items() if random.random() < share}
    return {name: each for name, each in found.items() if each is not None}


def frame(random: Random) -> bytes:
    """Return a frame of any kind, with extreme fields."""
    cls = random.choice(list(KINDS.values()))
    return encode(cls(**fields(random, cls)))


def likely(random: Random, calls: list[int]) -> bytes:
    """Return a frame that makes sense, more or less, for calls that there are."""
    call = random.choice(calls)
    kind = random.choice((Define, Start, Start, Start, Recall, Cancel, Part, Next, *COMMANDS))
    if kind is Define:
        return encode(Define(function=random.choice((1, 2, 300)), payload=random.choice(PICKLES), name="f"))
    if kind is Start:
        payload = random.choice(PICKLES)
        more = fields(random, Start, 0.15)
        more |= {"function": random.choice((1, 2)), "call": (call,), "size": (len(payload),), "payload": payload}
        more.setdefault("lane", random.choice((0, 0, 1, 2, 3)))
        return encode(Start(**more))
    if kind is Part:
        return encode(Part(call=call, data=bytes(random.choice(SIZES))))
    return encode(kind(**(fields(random, kind) | {"call": call})))


def mutated(random: Random, data: bytes) -> bytes:
    """Return data with a few bytes changed, removed, repeated or added."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(out) + 1)
        how = random.randrange(5)
        if how == 0 and out:
            out[at % len(out)] ^= 1 << random.randrange(8)
        elif how == 1:
            del out[at : at + random.choice((1, 4, 50))]
        elif how == 2:
            out[at:at] = out[at : at + random.choice((1, 9, 50))]
        elif how == 3:
            out[at:at] = varint(random.choice(INTEGERS))
        else:
            out[at : at + 1] = random.randbytes(random.choice((1, 8)))
    return bytes(out)


def message(random: Random, calls: list[int]) -> bytes:
    """Return a message of a link."""
    how = random.random()
    if how < 0.05:
        return random.randbytes(random.choice(SIZES))
    if how < 0.1:  # a piece of a batch, with a length that is right or is not
        data = random.randbytes(random.choice(SIZES))
        return random.choice((b"\x12", b"\x1a")) + varint(random.choice((len(data), len(data) + 1, 2**63))) + data
    if how < 0.11:
        return bytes(LIMIT + 1)
    batch = b"".join(
        likely(random, calls) if random.random() < 0.8 else frame(random) for _ in range(random.choice((1, 1, 3, 20)))
    )
    return mutated(random, batch) if random.random() < 0.3 else batch
