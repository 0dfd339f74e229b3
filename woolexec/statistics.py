"""What a pool is doing, and what it has done: values that a pool makes when it is asked, and that do not change."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Durations:
    """
    Durations in seconds, from a histogram of fixed size: the quantiles are right to 4.5 %.

    `bins` has the upper bound of each bin that is not empty, and how many durations are in it.
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

    Four states are those of now: `held` tasks wait for the values of futures among their arguments, `queued` ones for a
    worker or a peer, `sent` ones are with a worker or a peer that has not started them, as far as is known, and
    `running` ones have been started.  The others count the tasks that have ended since the pool was made: `returned` a
    value, `failed` with an exception or a timeout, `lost` with a worker or a peer, or `cancelled`.  `retried` is how
    often a task was started again.
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

    `count` is the number of those that returned or raised, of which `failures` raised or exceeded their timeout.  `run`
    is how long they ran, `wait` how long they were on their way otherwise: from `submit` until their outcome was here.
    `bytes_in` is the size of their arguments, `bytes_out` that of their outcomes.

    The count is exact, and so is the total run time of tasks on this machine; that of a task at a peer is the moving
    average of its function there.  The first tasks of a function are measured, and all that run for longer than a
    millisecond; of shorter ones one in 64 is, and stands for the others.
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

    `state` is ``"starting"``, ``"idle"``, ``"running"``, ``"waiting"`` (its task waits for tasks of its own),
    ``"ending"`` or ``"lost"``.  `task` is the name of the task in its main thread, which has run for `seconds`;
    `progress` is what that has said with `woolexec.progress`: how much is done, of how much, and a text.
    `coroutines` is the number of coroutines and streams that it runs beside that.  `done` is the number of calls that
    have ended there: one task, or items of a `map` that were sent together.  `memory` is the part of the memory that is
    its own (the proportional set size, on Linux; elsewhere the resident set size) in bytes, and `cpu` its processor
    time in seconds; None where the system does not tell.  `started` and `ended` are in seconds since 1970.  `lost` says
    why a worker was lost.
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
    A peer that is connected.

    `workers` is how many tasks it runs at once, `outstanding` the number of our tasks there, `refused` how often it had
    no free place for one; `is_full`: it has none now, `trouble`: why it cannot run any.  `round_trip` is how long an
    answer took when the link was made, in seconds.  `bytes_sent` and `bytes_received` count what went over the link.
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
    `spill_dir`; `kept` and `kept_bytes` are outcomes that have stayed with peers.
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

    Printed it is a table that fits a terminal; in a notebook it is a table too.

    `time` is when it was made, in seconds since 1970; `pid` and `host` name the process of the pool.  `functions` are
    in the order of their total run time, `workers` in that of their start; the workers that were lost last come at the
    end.  `workers_lost` counts those by reason: ``"ended"`` to stop a task, ``"memory"``, ``"exit"`` or a signal.
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
        """Return it with the memory and the processor time of the workers, which are processes on this host."""
        from woolexec.platform.usage import usage

        found = usage(each.pid for each in self.workers if each.pid and not each.lost)
        workers = []
        for each in self.workers:
            memory, cpu = found.get(each.pid, (None, None))
            workers.append(each if each.lost else replace(each, memory=memory, cpu=cpu))
        return replace(self, workers=tuple(workers))

    def with_values(self, count: int, size: int, spilled: int, spilled_size: int) -> Self:
        """Return it with what is known of the values that were put."""
        values = replace(self.values, count=count, bytes=size, spilled=spilled, spilled_bytes=spilled_size)
        return replace(self, values=values)

    def with_stall(self, seconds: float) -> Self:
        """Return it with the longest time that the engine's thread took to answer."""
        return replace(self, stall=seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return it as dictionaries, lists, texts and numbers, which JSON can hold."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Make it of what `as_dict` returned, maybe in another version: what is not known here is left out.

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
