"""Statistics of a pool: immutable snapshots of what it is doing and what it has done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Durations:
    """
    Durations in seconds, from a histogram of fixed size: quantiles are accurate to 4.5 %.

    `bins` has, for each bin that is not empty, its upper bound and the number of durations in it.
    """

    count: int = 0
    total: float = 0.0
    min: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0
    bins: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """
    The tasks of a pool by state; the items of `map` count as tasks.

    Four numbers describe the present: `held` tasks wait for the values of futures among their arguments, `queued` tasks
    wait for a worker or a peer, `sent` tasks are on their way to or from a worker or a peer, or wait there, and
    `running` tasks have been started.  The others count the tasks that have ended since the pool was created:
    `returned` a value, `failed` with an exception or a timeout, `lost` with a worker or a peer, or `cancelled`.
    `retried` is how often a task was started again.
    """

    held: int = 0
    queued: int = 0
    sent: int = 0
    running: int = 0
    returned: int = 0
    failed: int = 0
    lost: int = 0
    cancelled: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """
    The tasks of one function that have ended.

    `count` is the number of tasks that returned or raised; `failures` of them raised or exceeded their timeout.  `run`
    is how long they ran; `wait` is the rest of the time from `submit` until the outcome arrived.  `bytes_in` is the
    size of their arguments, `bytes_out` that of their outcomes.

    The count is exact, and so is the total run time of tasks on this machine; the run time of a task at a peer is the
    moving average of its function there.  Measured are the first tasks of a function, all tasks that run for longer
    than a millisecond, and one in 64 of the shorter ones, which represents the others.
    """

    name: str
    count: int = 0
    failures: int = 0
    lost: int = 0
    cancelled: int = 0
    retries: int = 0
    run: Durations = Durations()
    wait: Durations = Durations()
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """
    One worker process on this machine.

    `state` is ``"starting"``, ``"idle"``, ``"running"``, ``"waiting"`` (its task waits for nested tasks),
    ``"ending"`` or ``"lost"``.  `task` is the name of the task in its main thread, which has run for `seconds`;
    `progress` is the last report of that task with `woolexec.progress`: how much is done, of how much, and a text.
    `coroutines` is the number of coroutines and streams that the worker runs besides.  `done` is the number of calls
    that have ended there; a call is one task, or the items of a `map` that were sent together.  `memory` is the
    proportional set size on Linux, elsewhere the resident set size, in bytes, and `cpu` the processor time in seconds;
    None where the system does not tell.  `started` and `ended` are in seconds since 1970.  `lost` says why a worker was
    lost.
    """

    pid: int
    host: str
    state: str
    task: str = ""
    seconds: float | None = None
    coroutines: int = 0
    actor: str = ""
    done: int = 0
    memory: int | None = None
    cpu: float | None = None
    started: float = 0.0
    ended: float | None = None
    lost: str = ""
    progress: tuple[float, float | None, str] | None = None


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """
    A connected peer.

    `workers` is how many tasks it runs at once, `outstanding` the number of this pool's tasks there, and `refused` how
    often it refused a task for lack of a free place.  `is_full` says that it has no free place now, `trouble` why it
    cannot run any task.  `round_trip` is the round-trip time in seconds, measured when the link was made.  `bytes_sent`
    and `bytes_received` count the bytes that went over the link.
    """

    address: str
    name: str
    host: str
    workers: int = 0
    outstanding: int = 0
    refused: int = 0
    is_full: bool = False
    trouble: str = ""
    round_trip: float | None = None
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class ValueStatistics:
    """
    The values that are held for tasks.

    `count` and `bytes` are those that were `put` and are in memory, `spilled` and `spilled_bytes` those in
    `spill_dir`; `kept` and `kept_bytes` are outcomes that peers keep.
    """

    count: int = 0
    bytes: int = 0
    spilled: int = 0
    spilled_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Statistics:
    """
    What a pool is doing, and what it has done.

    ``print`` shows it as tables that fit a terminal; a notebook shows it as tables too.

    `time` is when it was made, in seconds since 1970; `pid` and `host` name the process of the pool.  `functions` are
    ordered by total run time, `workers` by the time of their start; the most recently lost workers are at the end.
    `workers_lost` counts lost workers by reason: ``"ended"`` to stop a task, ``"memory"``, ``"exit"`` or a signal.
    `stall` is the longest time in seconds that the engine's thread has taken to answer so far.
    """

    time: float
    pid: int
    host: str
    tasks: TaskStatistics = TaskStatistics()
    functions: tuple[FunctionStatistics, ...] = ()
    workers: tuple[WorkerStatistics, ...] = ()
    peers: tuple[PeerStatistics, ...] = ()
    values: ValueStatistics = ValueStatistics()
    workers_lost: dict[str, int] = field(default_factory=dict)
    stall: float = 0.0

    def with_usage(self) -> Self:
        """Return a copy with the memory and the processor time of the workers, which are processes on this host."""
        from woolexec.platform.usage import usage

        found = usage(each.pid for each in self.workers if each.pid and not each.lost)
        workers = []
        for each in self.workers:
            memory, cpu = found.get(each.pid, (None, None))
            workers.append(each if each.lost else replace(each, memory=memory, cpu=cpu))
        return replace(self, workers=tuple(workers))

    def with_values(self, count: int, size: int, spilled: int, spilled_size: int) -> Self:
        """Return a copy with the statistics of the values that were put."""
        values = replace(self.values, count=count, bytes=size, spilled=spilled, spilled_bytes=spilled_size)
        return replace(self, values=values)

    def with_stall(self, seconds: float) -> Self:
        """Return a copy with the longest time that the engine's thread took to answer."""
        return replace(self, stall=seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as dictionaries, lists, texts and numbers, ready for JSON."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Create statistics from the result of `as_dict`, possibly of another version; unknown entries are ignored.

        :raises TypeError: if something is missing
        """
        made: dict[str, Any] = dict(data)
        made["tasks"] = _known(TaskStatistics, data.get("tasks", {}))
        made["values"] = _known(ValueStatistics, data.get("values", {}))
        made["peers"] = tuple(_known(PeerStatistics, each) for each in data.get("peers", ()))
        made["workers"] = tuple(_worker(each) for each in data.get("workers", ()))
        made["functions"] = tuple(_function(each) for each in data.get("functions", ()))
        found: Self = _known(cls, made)
        return found

    def __str__(self) -> str:
        from woolexec.tables import text

        return text(self)

    def _repr_html_(self) -> str:
        from woolexec.tables import html

        return html(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _known(kind: Any, data: Any) -> Any:
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in dict(data).items() if name in names})


def _worker(data: dict[str, Any]) -> WorkerStatistics:
    made = dict(data)
    if made.get("progress") is not None:
        made["progress"] = tuple(made["progress"])
    found: WorkerStatistics = _known(WorkerStatistics, made)
    return found


def _function(data: dict[str, Any]) -> FunctionStatistics:
    made = dict(data)
    for name in ("run", "wait"):
        durations = dict(data.get(name, {}))
        durations["bins"] = tuple((float(bound), int(count)) for bound, count in durations.get("bins", ()))
        made[name] = _known(Durations, durations)
    found: FunctionStatistics = _known(FunctionStatistics, made)
    return found
