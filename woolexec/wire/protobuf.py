"""The protobuf encoding: integers, kinds of fields, and messages, which are classes that declare their fields."""

from __future__ import annotations

import struct
import sys

from woolexec.wire.payload import APART, Parts

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 6 ms of a worker's start
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, Literal

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

_SMALL = 4096
"""Maximum size, in bytes, of messages whose number of fields need not be limited."""

_FIELDS = 2048
"""Maximum number of fields in a larger message: each of ours occurs once, or is one of `_TEXTS` strings."""

_ELEMENTS = 1 << 20
"""Maximum number of elements of a packed field: sizes of that many buffers, each of 4 KiB or more, or numbers of
calls."""

_IS_LITTLE = sys.byteorder == "little"

_LONG = 4096
"""Number of elements above which they are decoded one by one as they are used: a million at once take 40 ms."""


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

    __slots__ = ("default", "read", "wire", "write")

    def __init__(
        self, wire: int, write: Callable[[Value], bytes], read: Callable[[Any], Value], default: Value
    ) -> None:
        self.wire = wire
        self.write = write
        self.read = read
        self.default = default

    def __call__(self, number: int) -> Value:
        """Declare a field of this kind, in the body of a message's class."""
        return _Field(number, self)


class _Field:
    """A field as it was declared."""

    __slots__ = ("kind", "number")

    def __init__(self, number: int, kind: Kind) -> None:
        self.number = number
        self.kind = kind


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def _joined(payload: bytes | Parts) -> bytes:
    return sized(b"".join(payload.parts) if isinstance(payload, Parts) else payload)


def _packed(letter: Literal["Q", "I", "f"]) -> Kind:
    single = struct.Struct("<" + letter)
    width = single.size
    length, pack = varint(width), single.pack

    def write(values: Sequence[Any]) -> bytes:
        if len(values) == 1:
            return length + pack(values[0])
        return varint(width * len(values)) + struct.pack(f"<{len(values)}{letter}", *values)

    def read(data: bytes) -> Sequence[Any]:
        if len(data) == width:
            return single.unpack(data)
        if len(data) > width * _ELEMENTS:
            raise ValueError(f"more than {_ELEMENTS} elements in one field")
        if len(data) > width * _LONG and not len(data) % width and _IS_LITTLE:
            return memoryview(bytes(data)).cast(letter)
        return struct.unpack(f"<{len(data) // width}{letter}", data)

    return Kind(2, write, read, ())


def _fixed(letter: str, wire: int, default: float) -> Kind:
    form = struct.Struct("<" + letter)
    return Kind(wire, form.pack, lambda data: form.unpack(data)[0], default)


UINT = Kind(0, varint, int, 0)
BOOL = Kind(0, varint, bool, default=False)
SINT = Kind(0, lambda value: varint(value << 1 ^ value >> 31), lambda value: value >> 1 ^ -(value & 1), 0)
FIXED64 = _fixed("Q", 1, 0)
DOUBLE = _fixed("d", 1, 0.0)
FLOAT = _fixed("f", 5, 0.0)
# A large payload stays a view until its frame is complete: then it is copied once, as a whole or in parts.
BYTES = Kind(2, _joined, lambda data: data if data.__class__ is memoryview else bytes(data), b"")
BLOB = Kind(2, sized, bytes, b"")  # bytes that are not a payload
STRING = Kind(2, lambda text: sized(text.encode("utf-8", "backslashreplace")), lambda data: bytes(data).decode(), "")
FIXED64S = _packed("Q")
FIXED32S = _packed("I")
FLOATS = _packed("f")
# Each element has its own tag, unlike in the packed columns.
STRINGS = Kind(2, STRING.write, STRING.read, ())


_WIDTHS = {1: 8, 5: 4}
"""Sizes of fixed-width fields in bytes, by wire type."""


class Message:
    """
    The base class of all messages.

    A subclass declares each field as an attribute: its kind, called with its number.  Afterwards the attribute is the
    field's proto3 default, which is its value in a message where it is not set.
    """

    FIELDS: ClassVar[dict[str, tuple[bytes, Kind]]] = {}
    DEFAULTS: ClassVar[dict[str, Value]] = {}
    BY_TAG: ClassVar[dict[int, tuple[str, Kind]]] = {}
    NUMBERS: ClassVar[frozenset[int]] = frozenset()

    def __init_subclass__(cls) -> None:
        # One pass, because this is a large part of the time that importing all frames takes, in each process.
        cls.FIELDS, cls.DEFAULTS, cls.BY_TAG, numbers = {}, {}, {}, []
        for name, field in [item for item in cls.__dict__.items() if item[1].__class__ is _Field]:
            kind, number = field.kind, field.number
            tag = number << 3 | kind.wire
            cls.FIELDS[name] = varint(tag), kind
            cls.BY_TAG[tag] = name, kind
            cls.DEFAULTS[name] = kind.default
            numbers.append(number)
            setattr(cls, name, kind.default)
        cls.NUMBERS = frozenset(numbers)

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
                parts += (tag, sized(value.body()))
            else:
                parts += (tag, kind.write(value))
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes | bytearray, pos: int, end: int) -> Message:  # noqa: PLR0912  # a call would cost more
        """
        Decode the fields in ``data[pos:end]``; unknown ones are skipped.

        :raises ValueError: if a field cannot be decoded, or there are more than in any message of ours
        """
        if end - pos > _SMALL:
            cls._check_fields(data, pos, end)
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

    @classmethod
    def _check_fields(cls, data: bytes | bytearray, pos: int, end: int) -> None:
        """Check that there are not too many fields, and that no expensive field occurs twice."""
        seen: set[int] = set()
        for _ in range(_FIELDS):
            if pos >= end:
                return
            tag, pos = read_varint(data, pos)
            size, wire = 0, tag & 7
            if wire == 2:
                size, pos = read_varint(data, pos)
            elif wire == 0:
                _, pos = read_varint(data, pos)
            else:
                size = _WIDTHS.get(wire, 0)  # 0: `parse` reports the error
            pos += size
            if tag in seen and tag in cls.BY_TAG and cls.BY_TAG[tag][1] is not STRINGS:
                raise ValueError(f"{cls.__name__}: field {tag >> 3} came twice")
            seen.add(tag)
        raise ValueError(f"{cls.__name__}: more than {_FIELDS} fields")


_TEXTS = 1000
"""Maximum number of strings in a field: no frame of ours has as many, and adding one copies those before it."""


def _one_more(texts: tuple[str, ...], text: str) -> tuple[str, ...]:
    if len(texts) == _TEXTS:
        raise ValueError(f"more than {_TEXTS} strings in one field")
    return (*texts, text)


def nested(message: type[Message]) -> Kind:
    """Return the kind of a field that is a message."""
    return Kind(2, sized, lambda data: message.parse(data, 0, len(data)), None)
