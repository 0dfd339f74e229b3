"""
All frames, in the protobuf encoding of ``protos/woolexec/v1/wire.proto``.

The encoder is our own because of start-up time: importing the protobuf runtime takes 22-34 ms, in the caller and again
in the fork server, which is more than a pool may take until its first result.  ``tests/wire/test_frames.py`` compares
the two implementations.
"""

from __future__ import annotations

from woolexec.wire.protobuf import (
    BLOB,
    BOOL,
    BYTES,
    DOUBLE,
    FIXED32S,
    FIXED64,
    FIXED64S,
    FLOAT,
    FLOATS,
    SINT,
    STRING,
    STRINGS,
    UINT,
    Kind,
    Message,
    define,
    sized,
    varint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 6 ms of a worker's start
    from typing import Any

    # The value of a field; the field's Kind determines its type.
    Value = Any


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


define(
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
define(
    Return,
    (1, "call", FIXED64S, ()),
    (2, "seconds", FLOATS, ()),
    (3, "size", FIXED32S, ()),
    (4, "payload", BYTES, b""),
    (5, "extent", FIXED64S, ()),
    (6, "arena", FIXED64, 0),
    (7, "context", BLOB, b""),
)
define(
    Raise,
    (1, "call", FIXED64, 0),
    (2, "seconds", FLOAT, 0.0),
    (3, "payload", BYTES, b""),
    (4, "type", STRINGS, ()),
    (5, "extent", FIXED64S, ()),
)
define(
    Define,
    (1, "function", UINT, 0),
    (2, "payload", BYTES, b""),
    (3, "extent", FIXED64S, ()),
    (4, "name", STRING, ""),
    (5, "needs", FIXED32S, ()),
)
define(Recall, (1, "call", FIXED64, 0), (2, "waiting", FIXED64, 0), (3, "loop", BOOL, False))
define(Recalled, (1, "call", FIXED64S, ()), (2, "loop", BOOL, False))
define(
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
define(
    Submit,
    (1, "task", FIXED64, 0),
    (2, "parent", FIXED64, 0),
    (3, "function", BLOB, b""),
    (4, "payload", BYTES, b""),
    (5, "extent", FIXED64S, ()),
    (6, "options", Kind(2, sized, lambda data: Options.parse(data, 0, len(data))), None),
    (7, "lane", UINT, 0),
    (8, "context", BLOB, b""),
    (9, "name", STRING, ""),
    (11, "code", STRINGS, ()),
)
define(Wait, (1, "call", FIXED64, 0), (2, "serial", FIXED64, 0), (3, "stays", BOOL, False))
define(Resume, (1, "call", FIXED64, 0))
define(Cancel, (1, "call", FIXED64, 0))
define(Log, (1, "record", BLOB, b""), (2, "text", STRING, ""), (3, "call", FIXED64, 0))
define(Initialize, (1, "payload", BYTES, b""), (2, "extent", FIXED64S, ()))
define(Broken, (1, "payload", BYTES, b""))
define(Started, (1, "call", FIXED64S, ()), (2, "open", BOOL, False))
define(
    Yield,
    (1, "call", FIXED64, 0),
    (2, "payload", BYTES, b""),
    (3, "extent", FIXED64S, ()),
    (4, "count", UINT, 0),
    (5, "context", BLOB, b""),
)
define(Next, (1, "call", FIXED64, 0), (2, "credits", UINT, 0))
define(Send, (1, "call", FIXED64, 0), (2, "payload", BYTES, b""), (3, "extent", FIXED64S, ()))
define(Throw, (1, "call", FIXED64, 0), (2, "payload", BYTES, b""))
define(Close, (1, "call", FIXED64, 0), (2, "shutdown", BOOL, False))
define(Load, (1, "free", UINT, 0), (4, "refused", FIXED64S, ()))
define(Code, (1, "digest", STRING, ""), (2, "data", BLOB, b""), (3, "last", BOOL, False))
define(Handed, (1, "call", FIXED64, 0), (2, "file", FIXED64, 0))
define(Part, (1, "call", FIXED64, 0), (2, "data", BYTES, b""))

COMMANDS = (Next, Send, Throw, Close)
"""The commands for a stream."""

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
TAGS = {cls: varint(number << 3 | 2) for number, cls in KINDS.items()}


def encode(frame: Message) -> bytes:
    """Encode one frame as a separate batch; batches may be concatenated."""
    body = frame.body()
    inner = TAGS[type(frame)] + varint(len(body)) + body
    return b"\n" + varint(len(inner)) + inner
