"""Nested tasks, which running calls submit: they are queued like other calls, and outcomes go to that worker."""

from __future__ import annotations

import weakref
from collections import deque

from woolexec.core.call import LANES, LIFE, Call, Function
from woolexec.engine.elsewhere import Elsewhere, LifeReceiver
from woolexec.engine.nested_receiver import Receiver
from woolexec.engine.submission import submit
from woolexec.engine.worker_process import unread_by
from woolexec.options import TaskOptions
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import COMMANDS, Cancel, Close, Drop, Keep, Raise, Submit
from woolexec.wire.payload import File, attach
from woolexec.wire.values import Value, WithValues

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.protobuf import Message

    class Dispatcher(Protocol):
        """What nested tasks need of the dispatcher."""

        due: set[Any]

        def intern(self, payload: Any, name: str, lane: int) -> Function:
            """Return the one function with this pickle and lane."""

        def command(self, call: Call, frame: Message, file: File | None = None) -> None:
            """Send a command to the place where a call is outstanding."""

        def interrupt_reader(self, worker: Worker) -> None:
            """Signal a worker to read its frames although a call keeps its main thread busy."""


_TASK = 1024
"""Bytes that a task or a value takes, beside its arguments or contents."""

_VALUES = 1 << 16
"""Maximum number of values of all workers."""

NESTED = frozenset({Submit, Keep, Drop, Cancel, *COMMANDS})
"""Frames that a call sends about the tasks that it submits, and about the values that they share."""


class NestedTasks:
    """
    The nested tasks of all workers that have not ended yet.

    :param end: ends a call by force where it runs, and returns whether that was possible
    :param limit: maximum total size of their arguments, functions and values, in bytes; a single one may exceed it
    """

    def __init__(
        self,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        end: Callable[[Call, Callable[[bool], object]], object],
        limit: int,
    ) -> None:
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._end = end
        self._tasks: dict[tuple[int, int], Receiver] = {}
        self._limit = limit
        self._size = 0  # see `size`
        self._freed: deque[int] = deque()  # bytes of values that are gone; the finalizers must not refer to this object
        self._functions: dict[Function, int] = {}  # the number of tasks of each
        self._told = 0  # the maximum of the bytes of outcomes and items that workers have not read
        self._values: dict[tuple[int, int], Value | BaseException] = {}  # or why a value is missing
        self.elsewhere = Elsewhere(scheduler)
        self.on_first: Callable[[], object] | None = None
        """Called once, when the first task is submitted."""

    def hear(self, worker: Worker, frame: Any, broken: BaseException | None) -> None:
        """Handle a frame that a worker's call sent about its tasks."""
        cls = frame.__class__
        if cls is Submit:
            self.submit(worker, frame, broken)
        elif cls is Keep:
            self._keep(worker, frame)
        elif cls is Drop:
            for number in frame.value:
                self._values.pop((worker.id, number), None)  # tasks that need it have it
        elif cls not in (Cancel, Close) or self._is_stream(worker, frame.call):
            self.command(worker, frame)
        else:
            self.end(worker, frame.call, force=cls is Close)

    def _is_stream(self, worker: Worker, task: int) -> bool:
        receiver = self._tasks.get((worker.id, task))
        return receiver is not None and receiver.has_started

    def submit(self, worker: Worker, frame: Submit, broken: BaseException | None) -> None:
        """
        Queue a task that a worker's call submits.

        :raises ValueError: if its lane does not exist, or its number is that of another task
        """
        if frame.lane not in LANES and not (frame.lane == LIFE and frame.actor):
            raise ValueError(f"there is no lane {frame.lane}")
        if (worker.id, frame.task) in self._tasks:
            raise ValueError(f"task {frame.task} is already outstanding")
        if self.on_first is not None and not frame.main_name:
            on_first, self.on_first = self.on_first, None
            on_first()
        dispatcher = self._dispatcher
        function = dispatcher.intern(frame.function, frame.name or "a nested task", frame.lane)
        function.code = frame.code
        options = None
        try:
            options = TaskOptions.from_submit(frame.options)
        except (ValueError, TypeError) as exc:
            broken = exc
        size = _TASK + len(frame.context) + (0 if isinstance(frame.payload, OSError) else len(frame.payload))
        added = size + (0 if function in self._functions else len(frame.function))
        if lack := self._lack("arguments", added):
            broken, frame.payload, frame.context, size, added = lack, b"", b"", 0, 0
            function = Function(b"", function.name, function.lane)
        elif frame.values and not isinstance(frame.payload, OSError):
            values = [self._values[worker.id, number] for number in frame.values]
            broken = next((each for each in values if isinstance(each, BaseException)), broken)
            frame.payload = WithValues(frame.payload, values)
        receiver = (LifeReceiver if frame.lane == LIFE else Receiver)(self, worker, frame.parent, frame.task, size)
        call = Call(function, frame.payload, receiver, options, frame.parent, context=frame.context)
        parent = worker.lane_place.outstanding.get(frame.parent)
        add: Callable[[Call], object] = self._scheduler.add
        if frame.main_name or frame.actor:
            add = self.elsewhere.way_of(worker, call, frame)
        elif parent is not None:  # the parent runs in a lane; its ancestor holds a main thread
            call.ancestor = receiver.waiter
        self._tasks[worker.id, frame.task] = receiver
        self._functions[function] = self._functions.get(function, 0) + 1
        self._size += added
        submit(call, broken, add)

    def _lack(self, what: str, size: int) -> MemoryError | None:
        """Return an error if there is no room for this in addition to the others."""
        if not self.size or self.size + size <= self._limit:
            return None
        return MemoryError(
            f"{what} of {size} bytes and {self.size} bytes of other nested tasks together exceed the limit of "
            f"{self._limit} bytes for one client"
        )

    def _keep(self, worker: Worker, frame: Keep) -> None:
        """
        Store a value that tasks of a worker's calls share.

        :raises ValueError: if there are too many
        """
        if len(self._values) >= _VALUES:
            raise ValueError(f"tasks have put more than {_VALUES} values")
        payload, key = frame.payload, (worker.id, frame.value)
        size = 0 if isinstance(payload, OSError) else _TASK + len(payload)
        lack = payload if isinstance(payload, OSError) else self._lack("values", size)
        if lack is not None:
            self._values[key] = lack
            return
        value = self._values[key] = Value(payload)
        self._size += size
        weakref.finalize(value, self._freed.append, size).atexit = False  # tasks may need it when it has been dropped

    @property
    def size(self) -> int:
        """Bytes of the arguments and values, and of each function once."""
        while self._freed:
            self._size -= self._freed.popleft()
        return self._size

    def end(self, worker: Worker, task: int, *, force: bool = True) -> None:
        """Cancel a task or, with `force`, end it where it runs; inform the call that submitted it."""
        receiver = self._tasks.get((worker.id, task))
        if receiver is None:
            return
        if isinstance(receiver, LifeReceiver):
            receiver.end(cancel=force)
            return
        call = receiver.outstanding_call
        place = call.place
        is_of_actor = call.line is not None and call.line.actor is not None
        force = force and not (is_of_actor and not call.function.lane)  # other calls need the object
        if self._scheduler.main.queue.cancel(call):
            receiver.deliver_failure(call, None)
        elif force and place is not None and place.is_lane and place.candidate is None:
            self.cancel(call)
        elif force:
            self._end(call, lambda ended: receiver.deliver_failure(call, None) if ended else None)

    def command(self, worker: Worker, frame: Any) -> None:
        """Pass on a command to a stream."""
        receiver = self._tasks.get((worker.id, frame.call))
        if receiver is None:
            return
        if isinstance(getattr(frame, "payload", None), OSError):
            receiver.give_up(receiver.outstanding_call, frame.payload)
            return
        frame.call = receiver.outstanding_call.number
        file = attach(frame, frame.payload) if getattr(frame, "extent", ()) else None
        self._dispatcher.command(receiver.outstanding_call, frame, file)

    def cancel(self, call: Call) -> None:
        """Cancel a coroutine or a stream where it runs; it ends after its clean-up."""
        self._dispatcher.command(call, Cancel(call=call.number))

    def has_ended(self, parent: int) -> bool:
        """Return whether the task of this number, which has submitted others, has ended."""
        return self._scheduler.outstanding(parent) is None

    def end_children(self, parent: Call) -> None:
        """End the tasks of a call that was ended."""
        for (_, task), receiver in [item for item in self._tasks.items() if item[1].parent == parent.number]:
            self.end(receiver.worker, task)

    def orphan(self, worker: Worker) -> None:
        """End the tasks of a dead worker's calls, because nothing waits for them any more."""
        for worker_id, task in [key for key in self._tasks if key[0] == worker.id]:
            self.end(worker, task)
            self.remove((worker_id, task))
        for key in [key for key in self._values if key[0] == worker.id]:
            del self._values[key]

    def remove(self, key: tuple[int, int]) -> bool:
        """Forget a task; return False if it is not known."""
        receiver = self._tasks.pop(key, None)
        if receiver is None:
            return False
        self._size -= receiver.size
        function = receiver.outstanding_call.function
        self._functions[function] -= 1
        if not self._functions[function]:
            del self._functions[function]
            self._size -= len(function.payload)
        del receiver.outstanding_call
        return True

    def finish(self, receiver: Receiver, frame: Message, payload: Any = None) -> None:
        """Send the outcome of a task to the worker that submitted it."""
        if not self.remove((receiver.worker.id, receiver.task)):
            return
        size = len(frame.payload if payload is None else payload)  # type: ignore[attr-defined]  # outcomes have one
        if self.is_too_much(receiver.worker, size):
            frame, payload = Raise(call=receiver.task, payload=dump_failure(self.unread_error)), None
        self.tell(receiver, frame, payload)

    @property
    def unread_error(self) -> MemoryError:
        """The error for an outcome or an item that there is no room for."""
        return MemoryError(
            f"tasks have left {self._limit} bytes of results of their nested tasks unread: take results as they "
            "arrive, or submit fewer tasks at once"
        )

    def is_too_much(self, worker: Worker, size: int) -> bool:
        """Return whether there is no room for an outcome or an item besides those that workers have not read."""
        if worker.candidate is not None:  # a peer that has submitted it
            return False
        self._told += size
        if self._told > self._limit:  # they may have read most of that
            self._told = size + sum(map(unread_by, self._scheduler.all_workers.values()))
        return self._told > self._limit and self._told > size

    def tell(self, receiver: Receiver, frame: Message, payload: Any = None) -> None:
        """Send a frame, which may have a payload, to the worker that submitted a task."""
        worker: Any = receiver.worker
        if not worker.is_dead:
            worker.answer(receiver.task, frame, payload)
            self._dispatcher.due.add(worker)
            if worker.candidate is None and receiver.parent in worker.lane_place.outstanding:
                self._dispatcher.interrupt_reader(worker)
