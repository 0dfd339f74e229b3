from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("frames", "piece", "last")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    piece: bytes
    last: bytes
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ..., piece: _Optional[bytes] = ..., last: _Optional[bytes] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("start", "define", "recall", "recalled", "submit", "wait", "resume", "cancel", "stop", "log", "initialize", "broken", "started", "next", "send", "throw", "close", "load", "part", "code", "handed", "settings", "keep", "drop", "fetch", "pull", "inspect", "inspected", "output", "trace", "clock", "ran", "status", "stated", "cancel_task", "task_cancelled", "progress")
    START_FIELD_NUMBER: _ClassVar[int]
    RETURN_FIELD_NUMBER: _ClassVar[int]
    RAISE_FIELD_NUMBER: _ClassVar[int]
    DEFINE_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FIELD_NUMBER: _ClassVar[int]
    BROKEN_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    YIELD_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    THROW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    HANDED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    PULL_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    INSPECTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    RAN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    start: Start
    define: Define
    recall: Recall
    recalled: Recalled
    submit: Submit
    wait: Wait
    resume: Resume
    cancel: Cancel
    stop: Stop
    log: Log
    initialize: Initialize
    broken: Broken
    started: Started
    next: Next
    send: Send
    throw: Throw
    close: Close
    load: Load
    part: Part
    code: Code
    handed: Handed
    settings: Settings
    keep: Keep
    drop: Drop
    fetch: Fetch
    pull: Pull
    inspect: Inspect
    inspected: Inspected
    output: Output
    trace: Trace
    clock: Clock
    ran: Ran
    status: Status
    stated: Stated
    cancel_task: CancelTask
    task_cancelled: TaskCancelled
    progress: Progress
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., define: _Optional[_Union[Define, _Mapping]] = ..., recall: _Optional[_Union[Recall, _Mapping]] = ..., recalled: _Optional[_Union[Recalled, _Mapping]] = ..., submit: _Optional[_Union[Submit, _Mapping]] = ..., wait: _Optional[_Union[Wait, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., log: _Optional[_Union[Log, _Mapping]] = ..., initialize: _Optional[_Union[Initialize, _Mapping]] = ..., broken: _Optional[_Union[Broken, _Mapping]] = ..., started: _Optional[_Union[Started, _Mapping]] = ..., next: _Optional[_Union[Next, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., throw: _Optional[_Union[Throw, _Mapping]] = ..., close: _Optional[_Union[Close, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., handed: _Optional[_Union[Handed, _Mapping]] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., keep: _Optional[_Union[Keep, _Mapping]] = ..., drop: _Optional[_Union[Drop, _Mapping]] = ..., fetch: _Optional[_Union[Fetch, _Mapping]] = ..., pull: _Optional[_Union[Pull, _Mapping]] = ..., inspect: _Optional[_Union[Inspect, _Mapping]] = ..., inspected: _Optional[_Union[Inspected, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., trace: _Optional[_Union[Trace, _Mapping]] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ..., ran: _Optional[_Union[Ran, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., stated: _Optional[_Union[Stated, _Mapping]] = ..., cancel_task: _Optional[_Union[CancelTask, _Mapping]] = ..., task_cancelled: _Optional[_Union[TaskCancelled, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., **kwargs) -> None: ...

class Start(_message.Message):
    __slots__ = ("function", "call", "size", "payload", "count", "first", "again", "extent", "attempt", "name", "arena", "lane", "context", "context_back", "parent", "timeout", "worker", "offer", "priority", "require", "values", "keep", "actor", "max_concurrency", "after")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARENA_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_BACK_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    function: int
    call: _containers.RepeatedScalarFieldContainer[int]
    size: _containers.RepeatedScalarFieldContainer[int]
    payload: bytes
    count: int
    first: int
    again: bool
    extent: _containers.RepeatedScalarFieldContainer[int]
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
    require: _containers.RepeatedScalarFieldContainer[str]
    values: _containers.RepeatedScalarFieldContainer[int]
    keep: bool
    actor: int
    max_concurrency: int
    after: int
    def __init__(self, function: _Optional[int] = ..., call: _Optional[_Iterable[int]] = ..., size: _Optional[_Iterable[int]] = ..., payload: _Optional[bytes] = ..., count: _Optional[int] = ..., first: _Optional[int] = ..., again: _Optional[bool] = ..., extent: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ..., name: _Optional[str] = ..., arena: _Optional[int] = ..., lane: _Optional[int] = ..., context: _Optional[bytes] = ..., context_back: _Optional[bool] = ..., parent: _Optional[int] = ..., timeout: _Optional[float] = ..., worker: _Optional[int] = ..., offer: _Optional[bool] = ..., priority: _Optional[int] = ..., require: _Optional[_Iterable[str]] = ..., values: _Optional[_Iterable[int]] = ..., keep: _Optional[bool] = ..., actor: _Optional[int] = ..., max_concurrency: _Optional[int] = ..., after: _Optional[int] = ...) -> None: ...

class Return(_message.Message):
    __slots__ = ("call", "seconds", "size", "payload", "extent", "arena", "context", "kept", "key", "full", "raised")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    ARENA_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    call: _containers.RepeatedScalarFieldContainer[int]
    seconds: _containers.RepeatedScalarFieldContainer[float]
    size: _containers.RepeatedScalarFieldContainer[int]
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    arena: int
    context: bytes
    kept: int
    key: bytes
    full: bool
    raised: int
    def __init__(self, call: _Optional[_Iterable[int]] = ..., seconds: _Optional[_Iterable[float]] = ..., size: _Optional[_Iterable[int]] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ..., arena: _Optional[int] = ..., context: _Optional[bytes] = ..., kept: _Optional[int] = ..., key: _Optional[bytes] = ..., full: _Optional[bool] = ..., raised: _Optional[int] = ...) -> None: ...

class Raise(_message.Message):
    __slots__ = ("call", "seconds", "payload", "type", "extent")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    call: int
    seconds: float
    payload: bytes
    type: _containers.RepeatedScalarFieldContainer[str]
    extent: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call: _Optional[int] = ..., seconds: _Optional[float] = ..., payload: _Optional[bytes] = ..., type: _Optional[_Iterable[str]] = ..., extent: _Optional[_Iterable[int]] = ...) -> None: ...

class Define(_message.Message):
    __slots__ = ("function", "payload", "extent", "name", "needs")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    function: int
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    name: str
    needs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, function: _Optional[int] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ..., name: _Optional[str] = ..., needs: _Optional[_Iterable[int]] = ...) -> None: ...

class Recall(_message.Message):
    __slots__ = ("call", "waiting", "loop")
    CALL_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    call: int
    waiting: int
    loop: bool
    def __init__(self, call: _Optional[int] = ..., waiting: _Optional[int] = ..., loop: _Optional[bool] = ...) -> None: ...

class Recalled(_message.Message):
    __slots__ = ("call", "loop")
    CALL_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    call: _containers.RepeatedScalarFieldContainer[int]
    loop: bool
    def __init__(self, call: _Optional[_Iterable[int]] = ..., loop: _Optional[bool] = ...) -> None: ...

class Submit(_message.Message):
    __slots__ = ("task", "parent", "function", "payload", "extent", "options", "lane", "context", "name", "code", "values", "actor", "main_name")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    MAIN_NAME_FIELD_NUMBER: _ClassVar[int]
    task: int
    parent: int
    function: bytes
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    options: Options
    lane: int
    context: bytes
    name: str
    code: _containers.RepeatedScalarFieldContainer[str]
    values: _containers.RepeatedScalarFieldContainer[int]
    actor: bytes
    main_name: str
    def __init__(self, task: _Optional[int] = ..., parent: _Optional[int] = ..., function: _Optional[bytes] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ..., options: _Optional[_Union[Options, _Mapping]] = ..., lane: _Optional[int] = ..., context: _Optional[bytes] = ..., name: _Optional[str] = ..., code: _Optional[_Iterable[str]] = ..., values: _Optional[_Iterable[int]] = ..., actor: _Optional[bytes] = ..., main_name: _Optional[str] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("timeout", "retries", "idempotent", "name", "retry_on", "context_back", "priority", "require", "near", "at", "restarts", "max_concurrency")
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_BACK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    timeout: float
    retries: int
    idempotent: bool
    name: str
    retry_on: _containers.RepeatedScalarFieldContainer[str]
    context_back: bool
    priority: int
    require: _containers.RepeatedScalarFieldContainer[str]
    near: str
    at: str
    restarts: int
    max_concurrency: int
    def __init__(self, timeout: _Optional[float] = ..., retries: _Optional[int] = ..., idempotent: _Optional[bool] = ..., name: _Optional[str] = ..., retry_on: _Optional[_Iterable[str]] = ..., context_back: _Optional[bool] = ..., priority: _Optional[int] = ..., require: _Optional[_Iterable[str]] = ..., near: _Optional[str] = ..., at: _Optional[str] = ..., restarts: _Optional[int] = ..., max_concurrency: _Optional[int] = ...) -> None: ...

class Wait(_message.Message):
    __slots__ = ("call", "serial", "stays")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    STAYS_FIELD_NUMBER: _ClassVar[int]
    call: int
    serial: int
    stays: bool
    def __init__(self, call: _Optional[int] = ..., serial: _Optional[int] = ..., stays: _Optional[bool] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: int
    def __init__(self, call: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: int
    def __init__(self, call: _Optional[int] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("payload", "extent")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("record", "text", "call")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    record: bytes
    text: str
    call: int
    def __init__(self, record: _Optional[bytes] = ..., text: _Optional[str] = ..., call: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("call", "stream", "text", "lost", "name", "task", "host", "pid")
    CALL_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    call: int
    stream: int
    text: bytes
    lost: int
    name: str
    task: int
    host: str
    pid: int
    def __init__(self, call: _Optional[int] = ..., stream: _Optional[int] = ..., text: _Optional[bytes] = ..., lost: _Optional[int] = ..., name: _Optional[str] = ..., task: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("call", "done", "total", "has_total", "text", "task")
    CALL_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    HAS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    call: int
    done: float
    total: float
    has_total: bool
    text: str
    task: int
    def __init__(self, call: _Optional[int] = ..., done: _Optional[float] = ..., total: _Optional[float] = ..., has_total: _Optional[bool] = ..., text: _Optional[str] = ..., task: _Optional[int] = ...) -> None: ...

class Initialize(_message.Message):
    __slots__ = ("payload", "extent")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ...) -> None: ...

class Broken(_message.Message):
    __slots__ = ("payload",)
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    def __init__(self, payload: _Optional[bytes] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("call", "open")
    CALL_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    call: _containers.RepeatedScalarFieldContainer[int]
    open: bool
    def __init__(self, call: _Optional[_Iterable[int]] = ..., open: _Optional[bool] = ...) -> None: ...

class Yield(_message.Message):
    __slots__ = ("call", "payload", "extent", "count", "context")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    call: int
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    count: int
    context: bytes
    def __init__(self, call: _Optional[int] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., context: _Optional[bytes] = ...) -> None: ...

class Next(_message.Message):
    __slots__ = ("call", "credits")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    call: int
    credits: int
    def __init__(self, call: _Optional[int] = ..., credits: _Optional[int] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("call", "payload", "extent")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    call: int
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call: _Optional[int] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ...) -> None: ...

class Throw(_message.Message):
    __slots__ = ("call", "payload")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    call: int
    payload: bytes
    def __init__(self, call: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("call", "shutdown")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SHUTDOWN_FIELD_NUMBER: _ClassVar[int]
    call: int
    shutdown: bool
    def __init__(self, call: _Optional[int] = ..., shutdown: _Optional[bool] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("free", "refused", "reason")
    FREE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    free: int
    refused: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, free: _Optional[int] = ..., refused: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("call", "data", "size", "compression")
    CALL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    call: int
    data: bytes
    size: int
    compression: int
    def __init__(self, call: _Optional[int] = ..., data: _Optional[bytes] = ..., size: _Optional[int] = ..., compression: _Optional[int] = ...) -> None: ...

class Handed(_message.Message):
    __slots__ = ("call", "file")
    CALL_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    call: int
    file: int
    def __init__(self, call: _Optional[int] = ..., file: _Optional[int] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("digest", "data", "last")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    data: bytes
    last: bool
    def __init__(self, digest: _Optional[str] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class Settings(_message.Message):
    __slots__ = ("settings", "output", "environment", "max_memory_per_child", "memory_limit", "idle_timeout", "min_workers", "finalizer")
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_PER_CHILD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MIN_WORKERS_FIELD_NUMBER: _ClassVar[int]
    FINALIZER_FIELD_NUMBER: _ClassVar[int]
    settings: bytes
    output: bool
    environment: _containers.RepeatedScalarFieldContainer[str]
    max_memory_per_child: int
    memory_limit: int
    idle_timeout: float
    min_workers: int
    finalizer: bytes
    def __init__(self, settings: _Optional[bytes] = ..., output: _Optional[bool] = ..., environment: _Optional[_Iterable[str]] = ..., max_memory_per_child: _Optional[int] = ..., memory_limit: _Optional[int] = ..., idle_timeout: _Optional[float] = ..., min_workers: _Optional[int] = ..., finalizer: _Optional[bytes] = ...) -> None: ...

class Keep(_message.Message):
    __slots__ = ("value", "payload", "extent", "key", "share")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    value: int
    payload: bytes
    extent: _containers.RepeatedScalarFieldContainer[int]
    key: bytes
    share: bool
    def __init__(self, value: _Optional[int] = ..., payload: _Optional[bytes] = ..., extent: _Optional[_Iterable[int]] = ..., key: _Optional[bytes] = ..., share: _Optional[bool] = ...) -> None: ...

class Drop(_message.Message):
    __slots__ = ("value", "reason")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    value: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, value: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class Fetch(_message.Message):
    __slots__ = ("value", "key")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    value: _containers.RepeatedScalarFieldContainer[int]
    key: bytes
    def __init__(self, value: _Optional[_Iterable[int]] = ..., key: _Optional[bytes] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("on", "asked")
    ON_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    on: bool
    asked: float
    def __init__(self, on: _Optional[bool] = ..., asked: _Optional[float] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ("asked", "now")
    ASKED_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    asked: float
    now: float
    def __init__(self, asked: _Optional[float] = ..., now: _Optional[float] = ...) -> None: ...

class Ran(_message.Message):
    __slots__ = ("call", "name", "outcome", "count", "host", "pid", "row", "parent_pid", "parent_row", "submitted", "sent", "began", "ended")
    CALL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ROW_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    call: int
    name: str
    outcome: str
    count: int
    host: str
    pid: int
    row: int
    parent_pid: int
    parent_row: int
    submitted: float
    sent: float
    began: float
    ended: float
    def __init__(self, call: _Optional[int] = ..., name: _Optional[str] = ..., outcome: _Optional[str] = ..., count: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., row: _Optional[int] = ..., parent_pid: _Optional[int] = ..., parent_row: _Optional[int] = ..., submitted: _Optional[float] = ..., sent: _Optional[float] = ..., began: _Optional[float] = ..., ended: _Optional[float] = ...) -> None: ...

class Pull(_message.Message):
    __slots__ = ("value", "key", "address", "identity")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    value: int
    key: bytes
    address: str
    identity: str
    def __init__(self, value: _Optional[int] = ..., key: _Optional[bytes] = ..., address: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class Inspect(_message.Message):
    __slots__ = ("request", "seconds", "all")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    request: int
    seconds: float
    all: bool
    def __init__(self, request: _Optional[int] = ..., seconds: _Optional[float] = ..., all: _Optional[bool] = ...) -> None: ...

class Inspected(_message.Message):
    __slots__ = ("request", "call", "seconds", "name", "stack", "note", "pid", "host", "client", "left_out", "refused")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    request: int
    call: _containers.RepeatedScalarFieldContainer[int]
    seconds: _containers.RepeatedScalarFieldContainer[float]
    name: _containers.RepeatedScalarFieldContainer[str]
    stack: _containers.RepeatedScalarFieldContainer[str]
    note: _containers.RepeatedScalarFieldContainer[str]
    pid: _containers.RepeatedScalarFieldContainer[int]
    host: _containers.RepeatedScalarFieldContainer[str]
    client: _containers.RepeatedScalarFieldContainer[str]
    left_out: int
    refused: str
    def __init__(self, request: _Optional[int] = ..., call: _Optional[_Iterable[int]] = ..., seconds: _Optional[_Iterable[float]] = ..., name: _Optional[_Iterable[str]] = ..., stack: _Optional[_Iterable[str]] = ..., note: _Optional[_Iterable[str]] = ..., pid: _Optional[_Iterable[int]] = ..., host: _Optional[_Iterable[str]] = ..., client: _Optional[_Iterable[str]] = ..., left_out: _Optional[int] = ..., refused: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...

class Stated(_message.Message):
    __slots__ = ("request", "statistics", "client", "left_out", "refused")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    request: int
    statistics: _containers.RepeatedScalarFieldContainer[str]
    client: _containers.RepeatedScalarFieldContainer[str]
    left_out: int
    refused: str
    def __init__(self, request: _Optional[int] = ..., statistics: _Optional[_Iterable[str]] = ..., client: _Optional[_Iterable[str]] = ..., left_out: _Optional[int] = ..., refused: _Optional[str] = ...) -> None: ...

class CancelTask(_message.Message):
    __slots__ = ("request", "task", "pid")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    request: int
    task: int
    pid: int
    def __init__(self, request: _Optional[int] = ..., task: _Optional[int] = ..., pid: _Optional[int] = ...) -> None: ...

class TaskCancelled(_message.Message):
    __slots__ = ("request", "done", "refused")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    request: int
    done: bool
    refused: str
    def __init__(self, request: _Optional[int] = ..., done: _Optional[bool] = ..., refused: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "python", "woolexec", "cloudpickle", "pool", "nonce", "proof", "host", "pid", "first", "session", "client", "hops", "compression")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    WOOLEXEC_FIELD_NUMBER: _ClassVar[int]
    CLOUDPICKLE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    python: str
    woolexec: str
    cloudpickle: str
    pool: str
    nonce: bytes
    proof: bytes
    host: str
    pid: int
    first: bytes
    session: bytes
    client: str
    hops: int
    compression: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., python: _Optional[str] = ..., woolexec: _Optional[str] = ..., cloudpickle: _Optional[str] = ..., pool: _Optional[str] = ..., nonce: _Optional[bytes] = ..., proof: _Optional[bytes] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., first: _Optional[bytes] = ..., session: _Optional[bytes] = ..., client: _Optional[str] = ..., hops: _Optional[int] = ..., compression: _Optional[_Iterable[str]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "python", "woolexec", "cloudpickle", "pool", "nonce", "proof", "host", "pid", "identity", "workers", "coroutines", "tag", "clock", "resource", "passage", "room", "shares", "trouble", "failures", "compression")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    WOOLEXEC_FIELD_NUMBER: _ClassVar[int]
    CLOUDPICKLE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    COROUTINES_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    python: str
    woolexec: str
    cloudpickle: str
    pool: str
    nonce: bytes
    proof: bytes
    host: str
    pid: int
    identity: str
    workers: int
    coroutines: int
    tag: _containers.RepeatedScalarFieldContainer[str]
    clock: float
    resource: _containers.RepeatedScalarFieldContainer[str]
    passage: bytes
    room: int
    shares: bool
    trouble: str
    failures: int
    compression: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., python: _Optional[str] = ..., woolexec: _Optional[str] = ..., cloudpickle: _Optional[str] = ..., pool: _Optional[str] = ..., nonce: _Optional[bytes] = ..., proof: _Optional[bytes] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., identity: _Optional[str] = ..., workers: _Optional[int] = ..., coroutines: _Optional[int] = ..., tag: _Optional[_Iterable[str]] = ..., clock: _Optional[float] = ..., resource: _Optional[_Iterable[str]] = ..., passage: _Optional[bytes] = ..., room: _Optional[int] = ..., shares: _Optional[bool] = ..., trouble: _Optional[str] = ..., failures: _Optional[int] = ..., compression: _Optional[_Iterable[str]] = ...) -> None: ...

class Passage(_message.Message):
    __slots__ = ("boot", "name", "key")
    BOOT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    boot: str
    name: str
    key: bytes
    def __init__(self, boot: _Optional[str] = ..., name: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...
