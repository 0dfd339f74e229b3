"""
Turn frames into bytes and back, in the protobuf encoding of ``protos/woolexec/v1/wire.proto``.

The encoder is our own because of start-up time: importing the protobuf runtime takes 22-34 ms, in the caller and again
in the fork server, which is more than a pool may take until its first result.  Frames for a run of calls keep the
calls' numbers and sizes in packed fixed-width columns, so that one ``struct`` call reads or writes a whole run (0.1 µs
per call, as fast as upb), and the two frames of a single call have a layout known in advance.
``tests/wire/test_codec.py`` compares the two implementations.
"""

from __future__ import annotations

import struct

from woolexec.wire.payload import APART

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 6 ms of a worker's start
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar

    # The value of a field; the field's Kind determines its type.
    Value = Any


def varint(value: int) -> bytes:
    """Encode an unsigned integer of at most 64 bits."""
    if value < 128:
        return _BYTES[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_BYTES = [bytes((n,)) for n in range(256)]


def read_varint(data: bytes | bytearray, pos: int) -> tuple[int, int]:
    """Read an unsigned integer at `pos`; return it and the position after it."""
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, pos
        shift += 7
        if shift > 63:
            raise IndexError("varint too long")


class Kind:
    """How a type of field is read, and written after its tag."""

    __slots__ = ("read", "wire", "write")

    def __init__(self, wire: int, write: Callable[[Value], bytes], read: Callable[[Any], Value]) -> None:
        self.wire = wire
        self.write = write
        self.read = read


def _sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def _packed(letter: str) -> Kind:
    single = struct.Struct("<" + letter)
    width = single.size
    length, pack = varint(width), single.pack

    def write(values: Sequence[Any]) -> bytes:
        if len(values) == 1:
            return length + pack(values[0])
        return varint(width * len(values)) + struct.pack(f"<{len(values)}{letter}", *values)

    def read(data: bytes) -> tuple[Any, ...]:
        if len(data) == width:
            return single.unpack(data)
        return struct.unpack(f"<{len(data) // width}{letter}", data)

    return Kind(2, write, read)


def _fixed(letter: str, wire: int) -> Kind:
    form = struct.Struct("<" + letter)
    return Kind(wire, form.pack, lambda data: form.unpack(data)[0])


UINT = Kind(0, varint, int)
BOOL = Kind(0, varint, bool)
SINT = Kind(0, lambda value: varint(value << 1 ^ value >> 31), lambda value: value >> 1 ^ -(value & 1))
FIXED64 = _fixed("Q", 1)
DOUBLE = _fixed("d", 1)
FLOAT = _fixed("f", 5)
# A large payload stays a view until its frame is complete: then it is copied once, as a whole or in parts.
BYTES = Kind(2, _sized, lambda data: data if data.__class__ is memoryview else bytes(data))
BLOB = Kind(2, _sized, bytes)  # bytes that are not a payload
STRING = Kind(2, lambda text: _sized(text.encode("utf-8", "backslashreplace")), lambda data: bytes(data).decode())
FIXED64S = _packed("Q")
FIXED32S = _packed("I")
FLOATS = _packed("f")
# Each element has its own tag, unlike in the packed columns.
STRINGS = Kind(2, STRING.write, STRING.read)


_WIDTHS = {1: 8, 5: 4}
"""Sizes of fixed-width fields in bytes, by wire type."""


class Message:
    """The base class of all frames.  A field that is not set is a class attribute, its proto3 default."""

    FIELDS: ClassVar[dict[str, tuple[bytes, Kind]]] = {}
    DEFAULTS: ClassVar[dict[str, Value]] = {}
    BY_TAG: ClassVar[dict[int, tuple[str, Kind]]] = {}
    NUMBERS: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, **values: Value) -> None:
        if not self.DEFAULTS.keys() >= values.keys():
            raise TypeError(f"{type(self).__name__} has no field {', '.join(values.keys() - self.DEFAULTS.keys())}")
        self.__dict__ = values

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={getattr(self, name)!r:.60}"
            for name, default in self.DEFAULTS.items()
            if getattr(self, name) != default
        )
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, name) == getattr(other, name) for name in self.DEFAULTS)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def body(self) -> bytes:
        """Encode the fields that differ from their defaults."""
        parts: list[bytes] = []
        fields = self.FIELDS
        for name, value in self.__dict__.items():
            if not value:
                continue
            tag, kind = fields[name]
            if kind is STRINGS:
                for element in value:
                    parts += (tag, kind.write(element))
            elif isinstance(value, Message):
                parts += (tag, _sized(value.body()))
            else:
                parts += (tag, kind.write(value))
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes | bytearray, pos: int, end: int) -> Message:
        """Decode the fields in ``data[pos:end]``; unknown ones are skipped."""
        message = cls()
        by_tag = cls.BY_TAG
        while pos < end:
            tag = data[pos]
            pos += 1
            if tag > 127:  # here and below: for one byte, the call of `read_varint` would cost more than its work
                tag, pos = read_varint(data, pos - 1)
            wire = tag & 7
            if wire == 2:
                size = data[pos]
                pos += 1
                if size > 127:
                    size, pos = read_varint(data, pos - 1)
                raw: Any = data[pos : pos + size] if size < APART else memoryview(data)[pos : pos + size]
                pos += size
            elif wire == 0:
                raw, pos = read_varint(data, pos)
            else:
                width = _WIDTHS.get(wire)
                if width is None:
                    raise ValueError(f"unknown wire type {wire}")
                raw = data[pos : pos + width]
                pos += width
            if pos > end:
                raise IndexError("a field extends past the end of its frame")
            field = by_tag.get(tag)
            if field is None:
                if tag >> 3 in cls.NUMBERS:
                    raise ValueError(f"{cls.__name__}: field {tag >> 3} has the wrong wire type {wire}")
                continue
            name, kind = field
            value = kind.read(raw)
            if kind is STRINGS:
                value = _one_more(getattr(message, name), value)
            setattr(message, name, value)
        payload = getattr(message, "payload", None)
        if payload.__class__ is memoryview and not getattr(message, "extent", ()):
            message.payload = bytes(payload)  # type: ignore[attr-defined]
        return message


_TEXTS = 1000
"""Maximum number of strings in a field: no frame of ours has as many, and adding one copies those before it."""


def _one_more(texts: tuple[str, ...], text: str) -> tuple[str, ...]:
    if len(texts) == _TEXTS:
        raise ValueError(f"more than {_TEXTS} strings in one field")
    return (*texts, text)


def _define(cls: type[Message], *fields: tuple[int, str, Kind, Value]) -> None:
    cls.FIELDS = {name: (varint(number << 3 | kind.wire), kind) for number, name, kind, _ in fields}
    cls.DEFAULTS = {name: default for _, name, _, default in fields}
    for name, default in cls.DEFAULTS.items():
        setattr(cls, name, default)
    cls.BY_TAG = {number << 3 | kind.wire: (name, kind) for number, name, kind, _ in fields}
    cls.NUMBERS = frozenset(number for number, _, _, _ in fields)


class Start(Message):
    """Run these calls of one function."""

    function: int
    call: tuple[int, ...]
    size: tuple[int, ...]
    payload: Any
    count: int
    first: int
    again: bool
    extent: tuple[int, ...]
    attempt: int
    name: str
    arena: int
    lane: int
    context: bytes
    context_back: bool
    parent: int
    timeout: float
    worker: int
    offer: bool
    priority: int
    require: tuple[str, ...]


class Return(Message):
    """These calls returned."""

    call: tuple[int, ...]
    seconds: tuple[float, ...]
    size: tuple[int, ...]
    payload: Any
    extent: tuple[int, ...]
    arena: int
    context: bytes


class Raise(Message):
    """This call raised."""

    call: int
    seconds: float
    payload: Any
    type: tuple[str, ...]
    extent: tuple[int, ...]


class Define(Message):
    """Store this function, or this large global of functions, in a slot."""

    function: int
    payload: Any
    extent: tuple[int, ...]
    name: str
    needs: tuple[int, ...]


class Recall(Message):
    """Give back this call and all later ones that have not been started."""

    call: int
    waiting: int
    loop: bool


class Recalled(Message):
    """These calls were given back."""

    call: tuple[int, ...]
    loop: bool


class Options(Message):
    """The options of a nested task."""

    timeout: float
    retries: int
    idempotent: bool
    name: str
    retry_on: tuple[str, ...]
    context_back: bool
    priority: int
    require: tuple[str, ...]
    near: str


class Submit(Message):
    """A running call submits a task."""

    task: int
    parent: int
    function: bytes
    payload: Any
    extent: tuple[int, ...]
    options: Options | None
    lane: int
    context: bytes
    name: str
    code: tuple[str, ...]


class Wait(Message):
    """A running call waits for its own tasks."""

    call: int
    serial: int
    stays: bool


class Resume(Message):
    """The call that was waiting continues."""

    call: int


class Cancel(Message):
    """Drop this submitted task."""

    call: int


class Stop(Message):
    """Finish the calls that were sent, then exit."""


class Load(Message):
    """The number of free places, and the calls that were refused; links only."""

    free: int
    refused: tuple[int, ...]


class Part(Message):
    """The next bytes of a large payload; links only."""

    call: int
    data: Any


class Handed(Message):
    """A large payload was passed as a file descriptor, outside the link; its frame comes next."""

    call: int
    file: int


class Code(Message):
    """The next bytes of a code archive; links only."""

    digest: str
    data: Any
    last: bool


class Log(Message):
    """A logging record."""

    record: bytes
    text: str
    call: int


class Initialize(Message):
    """Run this before the first call."""

    payload: Any
    extent: tuple[int, ...]


class Broken(Message):
    """The initializer raised."""

    payload: bytes


class Started(Message):
    """These calls were started; on one machine sent for streams only, since the shared page shows the others."""

    call: tuple[int, ...]
    open: bool


class Yield(Message):
    """The next item of a stream, or several items."""

    call: int
    payload: Any
    extent: tuple[int, ...]
    count: int
    context: bytes


class Next(Message):
    """Pull the next item, or several items."""

    call: int
    credits: int


class Send(Message):
    """Send a value into a stream, and pull the next item."""

    call: int
    payload: Any
    extent: tuple[int, ...]


class Throw(Message):
    """Raise an exception in a stream, and pull the next item."""

    call: int
    payload: bytes


class Close(Message):
    """Close a stream; if the pool is shutting down, a pull in progress gets its item first."""

    call: int
    shutdown: bool


_define(
    Start,
    (1, "function", UINT, 0),
    (2, "call", FIXED64S, ()),
    (3, "size", FIXED32S, ()),
    (4, "payload", BYTES, b""),
    (5, "count", UINT, 0),
    (6, "first", UINT, 0),
    (7, "again", BOOL, False),
    (8, "extent", FIXED64S, ()),
    (9, "attempt", UINT, 0),
    (10, "name", STRING, ""),
    (11, "arena", FIXED64, 0),
    (12, "lane", UINT, 0),
    (13, "context", BLOB, b""),
    (14, "context_back", BOOL, False),
    (15, "parent", FIXED64, 0),
    (16, "timeout", DOUBLE, 0.0),
    (17, "worker", UINT, 0),
    (18, "offer", BOOL, False),
    (19, "priority", SINT, 0),
    (20, "require", STRINGS, ()),
)
_define(
    Return,
    (1, "call", FIXED64S, ()),
    (2, "seconds", FLOATS, ()),
    (3, "size", FIXED32S, ()),
    (4, "payload", BYTES, b""),
    (5, "extent", FIXED64S, ()),
    (6, "arena", FIXED64, 0),
    (7, "context", BLOB, b""),
)
_define(
    Raise,
    (1, "call", FIXED64, 0),
    (2, "seconds", FLOAT, 0.0),
    (3, "payload", BYTES, b""),
    (4, "type", STRINGS, ()),
    (5, "extent", FIXED64S, ()),
)
_define(
    Define,
    (1, "function", UINT, 0),
    (2, "payload", BYTES, b""),
    (3, "extent", FIXED64S, ()),
    (4, "name", STRING, ""),
    (5, "needs", FIXED32S, ()),
)
_define(Recall, (1, "call", FIXED64, 0), (2, "waiting", FIXED64, 0), (3, "loop", BOOL, False))
_define(Recalled, (1, "call", FIXED64S, ()), (2, "loop", BOOL, False))
_define(
    Options,
    (1, "timeout", DOUBLE, 0.0),
    (2, "retries", UINT, 0),
    (3, "idempotent", BOOL, False),
    (4, "name", STRING, ""),
    (5, "retry_on", STRINGS, ()),
    (6, "context_back", BOOL, False),
    (7, "priority", SINT, 0),
    (8, "require", STRINGS, ()),
    (9, "near", STRING, ""),
)
_define(
    Submit,
    (1, "task", FIXED64, 0),
    (2, "parent", FIXED64, 0),
    (3, "function", BLOB, b""),
    (4, "payload", BYTES, b""),
    (5, "extent", FIXED64S, ()),
    (6, "options", Kind(2, _sized, lambda data: Options.parse(data, 0, len(data))), None),
    (7, "lane", UINT, 0),
    (8, "context", BLOB, b""),
    (9, "name", STRING, ""),
    (11, "code", STRINGS, ()),
)
_define(Wait, (1, "call", FIXED64, 0), (2, "serial", FIXED64, 0), (3, "stays", BOOL, False))
_define(Resume, (1, "call", FIXED64, 0))
_define(Cancel, (1, "call", FIXED64, 0))
_define(Log, (1, "record", BLOB, b""), (2, "text", STRING, ""), (3, "call", FIXED64, 0))
_define(Initialize, (1, "payload", BYTES, b""), (2, "extent", FIXED64S, ()))
_define(Broken, (1, "payload", BYTES, b""))
_define(Started, (1, "call", FIXED64S, ()), (2, "open", BOOL, False))
_define(
    Yield,
    (1, "call", FIXED64, 0),
    (2, "payload", BYTES, b""),
    (3, "extent", FIXED64S, ()),
    (4, "count", UINT, 0),
    (5, "context", BLOB, b""),
)
_define(Next, (1, "call", FIXED64, 0), (2, "credits", UINT, 0))
_define(Send, (1, "call", FIXED64, 0), (2, "payload", BYTES, b""), (3, "extent", FIXED64S, ()))
_define(Throw, (1, "call", FIXED64, 0), (2, "payload", BYTES, b""))
_define(Close, (1, "call", FIXED64, 0), (2, "shutdown", BOOL, False))
_define(Load, (1, "free", UINT, 0), (4, "refused", FIXED64S, ()))
_define(Code, (1, "digest", STRING, ""), (2, "data", BLOB, b""), (3, "last", BOOL, False))
_define(Handed, (1, "call", FIXED64, 0), (2, "file", FIXED64, 0))
_define(Part, (1, "call", FIXED64, 0), (2, "data", BYTES, b""))

KINDS: dict[int, type[Message]] = {
    1: Start,
    2: Return,
    3: Raise,
    4: Define,
    5: Recall,
    6: Recalled,
    7: Submit,
    8: Wait,
    9: Resume,
    10: Cancel,
    11: Stop,
    12: Log,
    13: Initialize,
    14: Broken,
    15: Started,
    16: Yield,
    17: Next,
    18: Send,
    19: Throw,
    20: Close,
    21: Load,
    22: Part,
    23: Code,
    24: Handed,
}
_TAGS = {cls: varint(number << 3 | 2) for number, cls in KINDS.items()}


def encode(frame: Message) -> bytes:
    """Encode one frame as a separate batch; batches may be concatenated."""
    body = frame.body()
    inner = _TAGS[type(frame)] + varint(len(body)) + body
    return b"\n" + varint(len(inner)) + inner


def encode_apart(frame: Any) -> bytes:
    """Encode a frame up to its payload, which must be written after it."""
    assert isinstance(frame, Start | Return | Submit)  # their payload is field 4
    payload, frame.payload = frame.payload, b""
    body = frame.body() + b"\x22" + varint(len(payload))
    frame.payload = payload
    size = len(body) + len(payload)
    inner = _TAGS[type(frame)] + varint(size) + body
    return b"\n" + varint(len(inner) + len(payload)) + inner


def encode_part(call: int, data: bytes) -> bytes:
    """Encode a Part, copying its bytes once; `encode` would copy them four times."""
    head = b"\x09" + FIXED64.write(call) + b"\x12" + varint(len(data))
    inner = _TAGS[Part] + varint(len(head) + len(data)) + head
    return b"".join((b"\n", varint(len(inner) + len(data)), inner, data))


# In a single-call Return or Start whose payload is shorter than this, each length takes one byte.
_SHORT = 96
_COLUMNS = struct.Struct("<BBQBBfBBIB")
RETURN = struct.Struct("<BBBBBBQBBfBBIBB")
SIZED_RETURN = struct.Struct("<IBBBBBBQBBfBBIBB")
_START = struct.Struct("<BBBBBBBBQBBIBB")


def encode_return(call: int, seconds: float, payload: bytes) -> bytes:
    """Encode the Return of one call."""
    size = len(payload)
    if size >= _SHORT:
        columns = _COLUMNS.pack(10, 8, call, 18, 4, seconds, 26, 4, size, 34)
        body = columns + varint(size) + payload
        length = varint(len(body))
        return b"\n" + varint(1 + len(length) + len(body)) + b"\x12" + length + body
    return RETURN.pack(10, 26 + size, 18, 24 + size, 10, 8, call, 18, 4, seconds, 26, 4, size, 34, size) + payload


def encode_start(slot: int, calls: Sequence[int], payloads: Sequence[bytes], lane: int = 0) -> bytes:
    """Encode the Start of a run of plain calls, in a third of the time that `encode` takes."""
    count, payload = len(calls), b"".join(payloads)
    size = len(payload)
    if count == 1 and size < _SHORT and slot < 128 and not lane:
        return _START.pack(10, 22 + size, 10, 20 + size, 8, slot, 18, 8, calls[0], 26, 4, size, 34, size) + payload
    numbers, sizes = struct.pack(f"<{count}Q", *calls), struct.pack(f"<{count}I", *map(len, payloads))
    columns = b"\x12" + varint(8 * count) + numbers + b"\x1a" + varint(4 * count) + sizes
    where = b"\x60" + varint(lane) if lane else b""
    body = b"".join((encode_slot(slot), columns, b'"', varint(size), payload, where))
    length = varint(len(body))
    return b"\n" + varint(1 + len(length) + len(body)) + b"\n" + length + body


_TICKET = struct.Struct("<BBQ")


def encode_slot(slot: int) -> bytes:
    """Encode the function slot of a single-call Start: two bytes for a slot below 128."""
    return b"\x08" + varint(slot)


def encode_ticket(call: int) -> bytes:
    """Encode the call number of a single-call Start, its ticket."""
    return _TICKET.pack(18, 8, call)


def split_start(payload: bytes) -> tuple[bytes, bytes]:
    """
    Encode a single-call Start, preceded by its size, without its slot and ticket.

    :return: the bytes before the slot and the bytes after the ticket
    """
    size = len(payload)
    behind = b"\x1a\x04" + size.to_bytes(4, "little") + b'"' + varint(size) + payload
    inner = 2 + _TICKET.size + len(behind)
    length = varint(inner)
    frame = b"\n" + varint(inner + 1 + len(length))
    total = len(frame) + 1 + len(length) + inner
    return total.to_bytes(4, "little") + frame + b"\n" + length, behind


_ARENA_START = struct.Struct("<4sBBHQHIHQQBQ")
_ARENA_RETURN = struct.Struct("<4sHQHfHIHQQBQ")
# The first bytes of each frame, up to its first field; then those before the other fields, as little-endian numbers.
_ARENA_START_HEAD, _ARENA_RETURN_HEAD = b"\x0a\x2f\x0a\x2d", b"\x0a\x33\x12\x31"
_IN_ARENA = (0x2F, 0x33)
_START_TAGS, _RETURN_TAGS = (0x0812, 0x041A, 0x1042, 0x59), (0x080A, 0x0412, 0x041A, 0x102A, 0x31)


def encode_start_in_arena(slot: int, call: int, extent: Sequence[int], arena: int) -> bytes:
    """
    Encode the Start of one plain call whose payload, of two parts, is in the ring buffer.

    :param slot: below 128
    """
    body, buffer = extent
    numbers, sizes, extents, mark = _START_TAGS
    return _ARENA_START.pack(
        _ARENA_START_HEAD, 8, slot, numbers, call, sizes, body + buffer, extents, body, buffer, mark, arena
    )


def encode_return_in_arena(call: int, seconds: float, extent: Sequence[int], arena: int) -> bytes:
    """Encode the Return of one call whose payload, of two parts, is in the ring buffer."""
    body, buffer = extent
    numbers, times, sizes, extents, mark = _RETURN_TAGS
    return _ARENA_RETURN.pack(
        _ARENA_RETURN_HEAD, numbers, call, times, seconds, sizes, body + buffer, extents, body, buffer, mark, arena
    )


def _in_arena(data: bytes | bytearray, pos: int, end: int) -> Start | Return | None:
    """Decode a frame of one of these two forms; return None for any other."""
    head = data[pos : pos + 4]
    if head == _ARENA_START_HEAD and end - pos >= _ARENA_START.size:
        _, t0, slot, t1, call, t2, size, t3, body, buffer, t4, arena = _ARENA_START.unpack_from(data, pos)
        if t0 != 8 or slot > 127 or (t1, t2, t3, t4) != _START_TAGS:
            return None
        start = Start()
        start.function, start.call, start.size, start.extent, start.arena = (
            slot,
            (call,),
            (size,),
            (body, buffer),
            arena,
        )
        return start
    if head == _ARENA_RETURN_HEAD and end - pos >= _ARENA_RETURN.size:
        _, t0, call, t1, seconds, t2, size, t3, body, buffer, t4, arena = _ARENA_RETURN.unpack_from(data, pos)
        if (t0, t1, t2, t3, t4) != _RETURN_TAGS:
            return None
        back = Return()
        back.call, back.seconds, back.size, back.extent, back.arena = (
            (call,),
            (seconds,),
            (size,),
            (body, buffer),
            arena,
        )
        return back
    return None


_NEXT = struct.Struct("<BBBBBBQ")


def encode_next(call: int) -> bytes:
    """Encode the Next that pulls one item of a stream."""
    return _NEXT.pack(10, 12, 0x8A, 1, 9, 9, call)


def encode_yield(call: int, payload: bytes) -> bytes:
    """Encode the Yield of one item of a stream."""
    body = b"".join((b"\t", call.to_bytes(8, "little"), b"\x12", varint(len(payload)), payload))
    length = varint(len(body))
    return b"\n" + varint(2 + len(length) + len(body)) + b"\x82\x01" + length + body


def decode(data: bytes | bytearray, pos: int = 0, end: int | None = None) -> list[Message]:
    """
    Decode a batch.

    Nothing in the frames refers to `data` afterwards, except for large payloads that have an extent: these are views,
    and must be copied before `data` changes.

    :raises ValueError: if `data` is not a valid batch
    """
    frames: list[Message] = []
    if end is None:
        end = len(data)
    try:
        while pos < end:
            if data[pos] != 10:
                raise ValueError(f"unexpected tag {data[pos]}")
            length = data[pos + 1]
            if length in _IN_ARENA and (frame := _in_arena(data, pos, end)) is not None:
                frames.append(frame)
                pos += 2 + length
                continue
            if data[pos + 2] == 10 and (start := _short_start(data, pos, end)) is not None:
                frames.append(start)
                pos += _START.size + start.size[0]
                continue
            size, pos = read_varint(data, pos + 1)
            stop = pos + size
            tag, pos = read_varint(data, pos)
            size, pos = read_varint(data, pos)
            if pos + size != stop or stop > end:
                raise ValueError("the size of a frame does not match its batch")
            cls = KINDS.get(tag >> 3)
            if tag & 7 != 2 or cls is None:
                raise ValueError(f"unknown frame kind {tag >> 3}")
            frames.append(cls.parse(data, pos, stop))
            pos = stop
    except (IndexError, struct.error, UnicodeDecodeError) as exc:
        raise ValueError(f"bad batch: {exc}") from exc
    return frames


def _short_start(data: bytes | bytearray, pos: int, end: int) -> Start | None:
    """Decode a short Start of one plain call, in a third of the time that `parse` takes; None for any other frame."""
    if end - pos < _START.size:
        return None
    t0, inner, t1, body, t2, slot, t3, t4, call, t5, t6, size, t7, short = _START.unpack_from(data, pos)
    if t0 != 10 or t1 != 10 or t2 != 8 or t3 != 18 or t4 != 8 or t5 != 26 or t6 != 4 or t7 != 34 or slot > 127:
        return None
    pos += _START.size
    if size != short or size >= _SHORT or inner != 22 + size or body != 20 + size or pos + size > end:
        return None
    frame = Start()
    frame.function, frame.call, frame.size, frame.payload = slot, (call,), (size,), bytes(data[pos : pos + size])
    return frame


def decode_returns(
    data: bytes | bytearray,
    pos: int,
    end: int,
    out: list[tuple[int, float, bytes]],
    layout: struct.Struct = SIZED_RETURN,
) -> int:
    """
    Decode the short single-call Returns from `pos` on.

    :param out: (call, seconds, payload) of each is appended here
    :param layout: `SIZED_RETURN`: each is a batch, preceded by its size; `RETURN`: they are frames of one batch
    :return: the position of the first batch (or frame) that has another form or is incomplete
    """
    unpack = layout.unpack_from
    last = end - layout.size
    while pos <= last:
        *total, t0, inner, t1, body, t2, t3, call, t4, t5, seconds, t6, t7, size, t8, short = unpack(data, pos)
        if t0 != 10 or t1 != 18 or t2 != 10 or t3 != 8 or t4 != 18 or t5 != 4 or t6 != 26 or t7 != 4 or t8 != 34:
            break
        if size != short or size >= _SHORT or inner != 26 + size or body != 24 + size:
            break
        if total and total[0] != 28 + size:
            break
        start = pos + layout.size
        stop = start + size
        if stop > end:
            break
        out.append((call, seconds, bytes(data[start:stop])))
        pos = stop
    return pos
