"""
All frames, in the protobuf encoding of ``protos/woolexec/v1/wire.proto``.

woolexec has its own encoder because of the start-up time: importing the protobuf runtime takes 22-34 ms, in the caller
and again in the fork server, which is more than a pool may take until its first result.  ``tests/wire/test_frames.py``
compares the declarations with the schema, and the two implementations.
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
    Message,
    nested,
    varint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 6 ms of a worker's start
    from typing import Any


KINDS: dict[int, type[Frame]] = {}
"""All frames, by number."""

TAGS: dict[type[Message], bytes] = {}


class Frame(Message):
    """
    The base class of all frames.

    :param number: that of the frame in the schema's ``Frame``
    """

    def __init_subclass__(cls, *, number: int) -> None:
        super().__init_subclass__()
        assert number not in KINDS
        KINDS[number] = cls
        TAGS[cls] = varint(number << 3 | 2)


class Start(Frame, number=1):
    """Run these calls of one function."""

    function: int = UINT(1)
    call: tuple[int, ...] = FIXED64S(2)
    size: tuple[int, ...] = FIXED32S(3)
    payload: Any = BYTES(4)
    count: int = UINT(5)
    first: int = UINT(6)
    again: bool = BOOL(7)
    extent: tuple[int, ...] = FIXED64S(8)
    attempt: int = UINT(9)
    name: str = STRING(10)
    arena: int = FIXED64(11)
    lane: int = UINT(12)
    context: bytes = BLOB(13)
    context_back: bool = BOOL(14)
    parent: int = FIXED64(15)
    timeout: float = DOUBLE(16)
    worker: int = UINT(17)
    offer: bool = BOOL(18)
    priority: int = SINT(19)
    require: tuple[str, ...] = STRINGS(20)
    values: tuple[int, ...] = FIXED64S(21)
    keep: bool = BOOL(22)
    actor: int = FIXED64(23)
    max_concurrency: int = UINT(24)
    after: int = FIXED64(25)


class Return(Frame, number=2):
    """These calls returned."""

    call: tuple[int, ...] = FIXED64S(1)
    seconds: tuple[float, ...] = FLOATS(2)
    size: tuple[int, ...] = FIXED32S(3)
    payload: Any = BYTES(4)
    extent: tuple[int, ...] = FIXED64S(5)
    arena: int = FIXED64(6)
    context: bytes = BLOB(7)
    kept: int = FIXED64(8)
    key: bytes = BLOB(9)
    full: bool = BOOL(10)
    raised: int = UINT(11)


class Raise(Frame, number=3):
    """This call raised."""

    call: int = FIXED64(1)
    seconds: float = FLOAT(2)
    payload: Any = BYTES(3)
    type: tuple[str, ...] = STRINGS(4)
    extent: tuple[int, ...] = FIXED64S(5)


class Define(Frame, number=4):
    """Store this function, or this large global of functions, in a slot."""

    function: int = UINT(1)
    payload: Any = BYTES(2)
    extent: tuple[int, ...] = FIXED64S(3)
    name: str = STRING(4)
    needs: tuple[int, ...] = FIXED32S(5)


class Recall(Frame, number=5):
    """Give back this call and all later ones that have not been started."""

    call: int = FIXED64(1)
    waiting: int = FIXED64(2)
    loop: bool = BOOL(3)


class Recalled(Frame, number=6):
    """These calls were given back."""

    call: tuple[int, ...] = FIXED64S(1)
    loop: bool = BOOL(2)


class Options(Message):
    """The options of a nested task."""

    timeout: float = DOUBLE(1)
    retries: int = UINT(2)
    idempotent: bool = BOOL(3)
    name: str = STRING(4)
    retry_on: tuple[str, ...] = STRINGS(5)
    context_back: bool = BOOL(6)
    priority: int = SINT(7)
    require: tuple[str, ...] = STRINGS(8)
    near: str = STRING(9)
    at: str = STRING(10)
    restarts: int = UINT(11)
    max_concurrency: int = UINT(12)


class Submit(Frame, number=7):
    """A running call submits a task."""

    task: int = FIXED64(1)
    parent: int = FIXED64(2)
    function: bytes = BLOB(3)
    payload: Any = BYTES(4)
    extent: tuple[int, ...] = FIXED64S(5)
    options: Options | None = nested(Options)(6)
    lane: int = UINT(7)
    context: bytes = BLOB(8)
    name: str = STRING(9)
    code: tuple[str, ...] = STRINGS(11)
    values: tuple[int, ...] = FIXED64S(12)
    actor: bytes = BLOB(13)
    main_name: str = STRING(14)


class Wait(Frame, number=8):
    """A running call waits for its own tasks."""

    call: int = FIXED64(1)
    serial: int = FIXED64(2)
    stays: bool = BOOL(3)


class Resume(Frame, number=9):
    """The call that was waiting continues."""

    call: int = FIXED64(1)


class Cancel(Frame, number=10):
    """Drop this submitted task."""

    call: int = FIXED64(1)


class Stop(Frame, number=11):
    """Finish the calls that were sent, then run the finalizer, if there is one, and exit."""

    payload: Any = BYTES(1)
    extent: tuple[int, ...] = FIXED64S(2)


class Load(Frame, number=21):
    """The number of free places, and the calls that were refused, with the reason if no call can run; links only."""

    free: int = UINT(1)
    refused: tuple[int, ...] = FIXED64S(4)
    reason: str = STRING(5)


class Part(Frame, number=22):
    """The next bytes of a large payload; links only."""

    call: int = FIXED64(1)
    data: Any = BYTES(2)
    size: int = UINT(3)
    compression: int = UINT(4)


class Handed(Frame, number=24):
    """A large payload was passed as a file descriptor, outside the link; its frame comes next."""

    call: int = FIXED64(1)
    file: int = FIXED64(2)


class Code(Frame, number=23):
    """The next bytes of a code archive; links only."""

    digest: str = STRING(1)
    data: bytes = BLOB(2)
    last: bool = BOOL(3)


class Settings(Frame, number=25):
    """The client's settings, for workers that start from now on; links only."""

    settings: bytes = BLOB(1)
    output: bool = BOOL(2)
    environment: tuple[str, ...] = STRINGS(3)
    max_memory_per_child: int = FIXED64(4)
    memory_limit: int = FIXED64(5)
    idle_timeout: float = DOUBLE(6)
    min_workers: int = UINT(7)
    finalizer: bytes = BLOB(8)


class Keep(Frame, number=26):
    """Store this value, which calls need."""

    value: int = FIXED64(1)
    payload: Any = BYTES(2)
    extent: tuple[int, ...] = FIXED64S(3)
    key: bytes = BLOB(4)
    share: bool = BOOL(5)


class Drop(Frame, number=27):
    """No more calls need these values."""

    value: tuple[int, ...] = FIXED64S(1)
    reason: str = STRING(2)


class Fetch(Frame, number=28):
    """Send these values."""

    value: tuple[int, ...] = FIXED64S(1)
    key: bytes = BLOB(2)


class Pull(Frame, number=29):
    """Fetch this value from another peer."""

    value: int = FIXED64(1)
    key: bytes = BLOB(2)
    address: str = STRING(3)
    identity: str = STRING(4)


class Inspect(Frame, number=36):
    """Report the running tasks, with all stacks; links only."""

    request: int = FIXED64(1)
    seconds: float = FLOAT(2)
    all: bool = BOOL(3)


class Inspected(Frame, number=37):
    """The running tasks: one entry for each task in each column."""

    request: int = FIXED64(1)
    call: tuple[int, ...] = FIXED64S(2)
    seconds: tuple[float, ...] = FLOATS(3)
    name: tuple[str, ...] = STRINGS(4)
    stack: tuple[str, ...] = STRINGS(5)
    note: tuple[str, ...] = STRINGS(6)
    pid: tuple[int, ...] = FIXED64S(7)
    host: tuple[str, ...] = STRINGS(8)
    client: tuple[str, ...] = STRINGS(9)
    left_out: int = UINT(10)
    refused: str = STRING(11)


class Log(Frame, number=12):
    """A logging record."""

    record: bytes = BLOB(1)
    text: str = STRING(2)
    call: int = FIXED64(3)


class Output(Frame, number=40):
    """What tasks have printed: whole lines; links only."""

    call: int = FIXED64(1)
    stream: int = UINT(2)
    text: bytes = BLOB(3)
    lost: int = FIXED64(4)
    name: str = STRING(5)
    task: int = FIXED64(6)
    host: str = STRING(7)
    pid: int = UINT(8)


class Progress(Frame, number=41):
    """The progress of a task."""

    call: int = FIXED64(1)
    done: float = DOUBLE(2)
    total: float = DOUBLE(3)
    has_total: bool = BOOL(4)
    text: str = STRING(5)
    task: int = FIXED64(6)


class Initialize(Frame, number=13):
    """Run this before the first call."""

    payload: Any = BYTES(1)
    extent: tuple[int, ...] = FIXED64S(2)


class Broken(Frame, number=14):
    """The initializer raised."""

    payload: bytes = BYTES(1)


class Started(Frame, number=15):
    """These calls were started; on one machine sent for streams only, since the shared page shows the others."""

    call: tuple[int, ...] = FIXED64S(1)
    open: bool = BOOL(2)


class Yield(Frame, number=16):
    """The next item of a stream, or several items."""

    call: int = FIXED64(1)
    payload: Any = BYTES(2)
    extent: tuple[int, ...] = FIXED64S(3)
    count: int = UINT(4)
    context: bytes = BLOB(5)


class Next(Frame, number=17):
    """Pull the next item, or several items."""

    call: int = FIXED64(1)
    credits: int = UINT(2)


class Send(Frame, number=18):
    """Send a value into a stream, and pull the next item."""

    call: int = FIXED64(1)
    payload: Any = BYTES(2)
    extent: tuple[int, ...] = FIXED64S(3)


class Throw(Frame, number=19):
    """Raise an exception in a stream, and pull the next item."""

    call: int = FIXED64(1)
    payload: bytes = BYTES(2)


class Close(Frame, number=20):
    """Close a stream; if the pool is shutting down, a pull in progress gets its item first."""

    call: int = FIXED64(1)
    shutdown: bool = BOOL(2)


COMMANDS = (Next, Send, Throw, Close)
"""The commands for a stream."""


def encode(frame: Message) -> bytes:
    """Encode one frame as a separate batch; batches may be concatenated."""
    body = frame.body()
    inner = TAGS[type(frame)] + varint(len(body)) + body
    return b"\n" + varint(len(inner)) + inner
