"""
The engine: owns the queue, the workers and every call until its outcome is delivered.

One thread, which never blocks and never runs user code, does everything here; other threads reach it in three ways:

1. `submit` puts a call in the inbox and wakes the thread only if a worker could take the call now.  When all are
   busy, the next outcome wakes it anyway.
2. A licence lets a submitting thread write to an idle worker by itself (`workers`): then nothing wakes at all.
3. `ask` runs a piece of the engine's own code in its thread and waits for the answer (cancel, shutdown).

A round of the thread: take the inbox; give workers what they have room for; sleep until a socket or a timer is due;
read the outcomes; deliver them.

What a dead worker costs is decided in `_bury`: the page says what it had started.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from woolexec.core.call import SENT, Call, Chunk, Function
from woolexec.core.dispatch import Dispatch
from woolexec.core.retry import LOST, retries_left
from woolexec.core.window import Place
from woolexec.engine.callbacks import PATIENCE, Relay
from woolexec.engine.template import Template
from woolexec.engine.workers import Worker, describe_exit, oom_kills
from woolexec.errors import InitializerError, ProtocolError, WorkerLostError, WorkerStartError
from woolexec.options import TaskOptions
from woolexec.wire.codec import Broken, Cancel, Log, Raise, Recalled, Resume, Return, Submit, Wait, encode
from woolexec.wire.failures import load_failure, types_of
from woolexec.wire.futures import CallFuture
from woolexec.wire.payload import File, Parts
from woolexec.worker.template import EXITED, FAILED, FORKED

GRACE = 2.0
"""Seconds that a worker has between SIGTERM and SIGKILL."""

_REST = 0.002
"""While work waits behind a running call and a worker is idle, the engine looks this often (seconds) whether to move it."""

_STATUS_PATIENCE = 1.0
"""Seconds to wait for the exit code of a worker whose stream has ended."""

_START_BUDGET = 5
"""So many workers in a row may die before their first call; then the executor is broken."""

_RECORDS_LIMIT = 10_000
"""Logging records of workers that wait for the handlers here; what is over it is counted and dropped."""

AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
FORKED_CHILD = "this PeerPoolExecutor belongs to the parent process: make another one after a fork"

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """
    Run calls on worker processes.

    :param limit: workers, at most
    :param initializer: pickled ``(function, arguments)`` for each worker to run first
    :param initializer_timeout: seconds that it may take; None for as long as it takes
    :param calls_limit: calls that one worker runs, at most
    :param threads: what thread-pool variables are set to in workers
    """

    def __init__(
        self, limit: int, *, initializer: bytes | File | None, initializer_timeout: float | None, calls_limit: int | None, threads: int
    ) -> None:
        self._limit = limit
        self._initializer = initializer
        self._initializer_timeout = initializer_timeout
        self._calls_limit = calls_limit
        self._threads = threads
        self._numbers = itertools.count(1)
        self._core = Dispatch(self._numbers.__next__)
        self._inbox: deque[Any] = deque()
        self._licensed: dict[int, Worker] = {}
        self._workers: dict[int, Worker] = {}
        self._worker_ids = itertools.count(1)
        self._functions: dict[bytes, Function] = {}
        self._template: Template | None = None
        self._timers: list[tuple[float, int, tuple[int, int] | None, Callable[[], None]]] = []
        self._timers_limit = 64
        self._hungry = True
        self._due: set[Worker] = set()
        self._early_deaths = 0
        self._relay = Relay()
        self._records = Relay(limit=_RECORDS_LIMIT)
        self._state = "open"  # then "draining", then "stopped"
        self.broken: BaseException | None = None
        self.forked = False
        self._rest_armed = False
        self._relay_watched = False
        self._nested: dict[tuple[int, int], NestedReceiver] = {}
        self._woken, self._wake_fd = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake_fd, False)
        self._watched = Watched()
        self._watched.add(self._woken, self._drain_wakes)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="woolexec-engine", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had
            self._watched.close()
            os.close(self._woken)
            os.close(self._wake_fd)
            raise
        _engines.add(self)

    # -- from any thread ----------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Take a call over."""
        if call.options is None:
            for worker in tuple(self._licensed.values()):
                if worker.send_directly(call):
                    return
        self._core.queue.offer(call)
        self._inbox.append(call)
        if self._hungry:
            self._hungry = False
            self._wake()
        if self._stopped.is_set() and self._core.queue.claim(call):
            raise RuntimeError(AFTER_SHUTDOWN)

    def submit_chunk(self, chunk: Chunk) -> None:
        """Take the items of a map over."""
        self._inbox.append(chunk)
        if self._hungry:
            self._hungry = False
            self._wake()
        if self._stopped.is_set():
            raise RuntimeError(AFTER_SHUTDOWN)

    def ask(self, question: Callable[[], Any], default: Any = None) -> Any:
        """
        Run a piece of the engine's code in its thread; return its answer.

        :param default: the answer when the engine has stopped, or when its own thread asks (a destructor may run anywhere)
        """
        if threading.current_thread() is self._thread or self._stopped.is_set() or self.forked:
            return default
        answer: list[Any] = []
        answered = threading.Event()

        def respond() -> None:
            try:
                answer.append(question())
            finally:
                answered.set()

        self._inbox.append(respond)
        self._wake()
        while not answered.wait(0.5):
            if self._stopped.is_set() or self.forked:
                break
        return answer[0] if answer else default

    def tell(self, piece: Callable[[], Any]) -> None:
        """Run a piece of the engine's code in its thread, some time soon."""
        self._inbox.append(piece)
        self._wake()

    def cancel(self, future: CallFuture, *, force: bool) -> bool:
        """Keep the call of a future from running; with `force`, end it if it runs."""
        call = future.call
        if call is None or self.forked:
            return False
        if self._core.queue.claim(call):
            call.move("cancel")
            call.payload = b""
            return True
        return bool(self.ask(partial(self._cancel_sent, call, force=force), default=False))

    def is_running(self, future: CallFuture) -> bool:
        """Say whether the call of a future has been started."""
        call = future.call
        place = None if call is None else call.place
        if place is None:
            for worker in tuple(self._workers.values()):
                if call is not None and call in worker._published:
                    return worker.page.started >= worker._licence_number
            return False
        return isinstance(place, Worker) and call.number <= place.page.started

    def wait(self, future: CallFuture, timeout: float | None) -> bool:
        """
        Leave it to the future: outcomes come from another thread.

        :raises RuntimeError: in a forked child, where none will come
        """
        if self.forked:
            raise RuntimeError(FORKED_CHILD)
        return False

    def run_callbacks(self, future: CallFuture) -> None:
        """Run the done-callbacks of a future in a thread of their own; only the engine's thread calls this."""
        self._run_user_code(future.run_callbacks)

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Take no more calls; end the workers when what was taken is done, or cancelled."""
        if self.forked:
            return
        self.tell(partial(self._shut, cancel=cancel))
        if wait and threading.current_thread() is not self._thread:
            self.join()

    def join(self) -> None:
        """Wait until everything has ended."""
        if self._relay.running_here or self._records.running_here:
            return
        while not self._stopped.wait(1.0):
            if not self._thread.is_alive():
                break
        self._thread.join()
        self._relay.join()
        self._records.join()

    def end_workers(self, number: int) -> None:
        """Send a signal to all workers, and be broken."""
        self.ask(partial(self._end_workers, number))

    def forget(self) -> None:
        """Close everything in a forked child, which has no engine thread."""
        self.forked = True
        self._licensed.clear()
        with contextlib.suppress(Exception):
            if self._template is not None:
                self._template.forget()
            for worker in self._workers.values():
                worker.sock.close()
            self._watched.close()
            os.close(self._woken)
            os.close(self._wake_fd)

    @property
    def statistics(self) -> dict[str, int]:
        """Count what is queued, outstanding, and how many workers there are."""
        return {
            "queued": len(self._core.queue) + len(self._inbox),
            "outstanding": sum(len(worker.outstanding) for worker in tuple(self._workers.values())),
            "workers": len(self._workers),
        }

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in tuple(self._workers.values()) if worker.pid is not None]

    def _run_user_code(self, piece: Callable[[], object]) -> None:
        self._relay.put(piece)
        if not self._relay_watched:
            self._relay_watched = True
            self._after(PATIENCE, self._check_relay)

    def _take_record(self, record: bytes) -> None:
        if self._records.dropped:
            dropped, self._records.dropped = self._records.dropped, 0
            if self._records.put(partial(_warn_dropped, dropped)):
                self._records.put(partial(_handle_record, record))
            else:
                self._records.dropped += dropped
        else:
            self._records.put(partial(_handle_record, record))

    def _check_relay(self) -> None:
        left = self._relay.check()
        self._relay_watched = left is not None
        if left is not None:
            self._after(left, self._check_relay)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has stopped
            os.write(self._wake_fd, b"\0")

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._state != "stopped":
                self._round()
        except BaseException as exc:  # a bug of ours: nobody may wait for ever because of it
            self._fail_everything(exc)
            raise
        finally:
            self._close()

    def _round(self) -> None:
        if self._inbox:
            self._take_inbox()
        if self._state == "draining":
            self._check_drained()
            if self._state == "stopped":
                return
        if self._core.queue.head() is not None:
            self._feed()
        self._balance()
        if self._due:
            self._flush()
        self._hungry = self._has_appetite()
        for act in self._watched.wait(0.0 if self._inbox else self._sleep_time()):
            act()
        if self._timers:
            self._run_timers()

    def _take_inbox(self) -> None:
        inbox, add = self._inbox, self._core.queue.add
        while inbox:
            entry = inbox.popleft()
            if entry.__class__ is Call or entry.__class__ is Chunk:
                add(entry)
            else:
                entry()

    def _feed(self) -> None:
        """Give every worker what it has room for, idle ones first; start workers if there is more."""
        core, queue = self._core, self._core.queue
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.is_licensed:
                    self._end_licence(worker)
                self._send(worker, core.assign(worker))
        for worker in self._workers.values():
            if queue.head() is None:
                break
            self._send(worker, core.assign(worker))
        self._start_workers()

    def _flush(self) -> None:
        for worker in self._due:
            if not worker.flush():
                self._watch_writing(worker)
        self._due.clear()

    def _send(self, worker: Place, calls: Sequence[Call]) -> None:
        if not calls:
            return
        assert isinstance(worker, Worker)
        worker.send_calls(calls)
        for call in calls:
            if call.options is not None and call.options.timeout is not None:
                self._watch_time(worker, call, call.options.timeout)
        self._due.add(worker)

    def _has_appetite(self) -> bool:
        """Say whether a new call could be sent at once: then whoever brings one wakes us."""
        if len(self._workers) < self._limit:
            return True
        for worker in self._workers.values():  # noqa: SIM110  # in every round: a generator costs more than the loop
            if not worker.outstanding:
                return True
        return False

    def _sleep_time(self) -> float | None:
        if self._timers:
            return max(0.0, self._timers[0][0] - monotonic())
        return None

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= monotonic():
            heapq.heappop(self._timers)[3]()

    def _after(self, seconds: float, piece: Callable[[], None], call: tuple[int, int] | None = None) -> None:
        """Do something later; `call` is the worker and number of the call that it is about: with that it is dropped."""
        if len(self._timers) > self._timers_limit:
            self._timers = [timer for timer in self._timers if timer[2] is None or self._is_outstanding(*timer[2])]
            heapq.heapify(self._timers)
            self._timers_limit = max(64, 2 * len(self._timers))
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._numbers), call, piece))

    def _is_outstanding(self, worker_id: int, number: int) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and number in worker.outstanding

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._woken, 4096)) == 4096:
                pass

    # -- licences and balance -----------------------------------------------------------------------------------

    def _end_licence(self, worker: Worker) -> None:
        self._licensed.pop(worker.id, None)
        used = worker.take_back_licence()
        if used is not None:
            call, number = used
            worker.sent(call, number, call.function.seconds or 0.0, len(call.payload))

    def _balance(self) -> None:
        """Lay out licences for idle workers; move work to them that waits behind a running call elsewhere."""
        idle = prefetched = False
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.idle:
                    idle = True
                    if not worker.is_licensed and worker.remaining is None and self._state == "open":
                        worker.lay_out_licence(next(self._numbers))
                        self._licensed[worker.id] = worker
            elif len(worker.outstanding) > 1 and not worker.recalling:
                prefetched = True
            if worker.waiting and not worker.above and not worker.recalling:
                idle = idle or self._has_children_elsewhere(worker.waiting[-1])
        if not prefetched or not (idle or len(self._workers) < self._limit):
            return
        core, now = self._core, monotonic()
        victim = core.victim(
            lambda place: place.page.started,  # type: ignore[attr-defined]  # all places are workers here
            lambda place: now - place.page.since > max(_REST, 2 * place.load),  # type: ignore[attr-defined]
        )
        if victim is not None:
            assert isinstance(victim, Worker)
            self._recall(victim)
            self._feed()
        elif not self._rest_armed:
            self._rest_armed = True
            self._after(_REST, self._rest)

    def _has_children_elsewhere(self, parent: int) -> bool:
        return any(call.parent == parent for worker in self._workers.values() for call in worker.outstanding.values())

    def _rest(self) -> None:
        self._rest_armed = False

    def _recall(self, worker: Worker, since: int = 0, waiting: int = 0) -> None:
        """Take back what a worker has not started, from call `since` on (default: all), and mark the end."""
        worker.send_recall(self._core.recall(worker, worker.page, since), waiting)
        self._due.add(worker)

    # -- workers ------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        queue = self._core.queue
        while queue.head() is not None and len(self._workers) < self._limit and self.broken is None:
            idle = sum(1 for worker in self._workers.values() if not worker.outstanding and worker.ready)
            if idle >= len(queue) and idle:
                return
            worker = self._start_worker()
            if worker is None:
                return
            self._send(worker, self._core.assign(worker))

    def _start_worker(self) -> Worker | None:
        worker = Worker(next(self._worker_ids), self._calls_limit)
        try:
            if self._template is None:
                self._template = Template(self._threads)
                self._watched.add(self._template.socket.fileno(), self._hear_template)
            *fds, theirs = worker.open()
            try:
                self._template.spawn(worker.id, fds)
            finally:
                theirs.close()
                os.close(fds[1])
        except OSError as exc:
            self._start_failed(exc)
            return None
        self._watched.add(worker.sock.fileno(), partial(self._hear, worker))
        self._workers[worker.id] = worker
        self._core.places.append(worker)
        if self._initializer is not None:
            worker.initialize(self._initializer)
            self._due.add(worker)
        return worker

    def _start_failed(self, exc: OSError) -> None:
        if self._workers:  # go on with those there are; try again when one ends
            return
        error = WorkerStartError(f"no worker could be started with {sys.executable}: {exc}")
        error.__cause__ = exc
        self._fail_waiting(error)

    def _hear_template(self) -> None:
        assert self._template is not None
        try:
            for operation, number, value in self._template.reports():
                worker = self._workers.get(number)
                if worker is None:
                    continue
                if operation == FORKED:
                    worker.pid = value
                    if self._initializer is not None and self._initializer_timeout is not None:
                        self._after(self._initializer_timeout, partial(self._check_initializer, worker))
                elif operation == EXITED:
                    worker.exitcode = value
                    self._bury(worker)
                elif operation == FAILED:
                    worker.exitcode = None
                    self._bury(worker)
                    self._start_failed(OSError(value, os.strerror(value)))
        except EOFError:
            self._template_died()

    def _template_died(self) -> None:
        """Its workers die with it, by their lifeline; the next call starts another."""
        template, self._template = self._template, None
        if template is not None:
            self._watched.remove(template.socket.fileno())
            template.close()
        for worker in list(self._workers.values()):
            self._bury(worker)

    def _hear(self, worker: Worker) -> bool:
        """Read outcomes of a worker and deliver them; False if there was nothing."""
        if worker.is_licensed:
            self._take_inbox()
            self._end_licence(worker)
        returns: list[tuple[int, float, bytes]] = []
        try:
            frames = worker.receive(returns)
        except EOFError:
            self._lost_stream(worker)
            return False
        except ProtocolError as exc:
            worker.log.append(str(exc))
            self._kill(worker, signal.SIGKILL)
            return False
        finish = self._core.finish
        for number, seconds, payload in returns:
            call = finish(worker, number, seconds)
            if call is not None:
                call.receiver.deliver(call, payload)
        if returns:
            self._early_deaths = 0
        for frame in frames:
            self._take(worker, frame)
        if worker.remaining is not None and worker.is_used_up and not worker.outstanding and not worker.stopping:
            worker.send_stop()
            self._due.add(worker)
        elif self._core.queue.head() is not None:
            self._send(worker, self._core.assign(worker))
        return bool(returns or frames)

    def _take(self, worker: Worker, frame: Any) -> None:
        cls = frame.__class__
        if cls is Return:
            call = self._core.finish(worker, frame.call[0], frame.seconds[0])
            if call is not None:
                self._early_deaths = 0
                if isinstance(frame.payload, OSError):
                    call.receiver.deliver_failure(call, frame.payload)
                else:
                    call.receiver.deliver(call, frame.payload)
        elif cls is Raise:
            self._raised(worker, frame)
        elif cls is Recalled:
            self._core.recalled(worker, worker.page, frame.call)
        elif cls is Submit:
            self._submit_nested(worker, frame)
        elif cls is Wait:
            worker.note_waiting(frame.call)
            self._core.wait(worker, frame.call)
            if worker.recalling or worker.unstarted(worker.page.started):
                self._recall(worker, waiting=frame.serial)
            else:
                worker.send_recall(0, waiting=frame.serial)
                self._due.add(worker)
        elif cls is Resume:
            self._core.resume(worker, frame.call)
        elif cls is Cancel:
            self._cancel_nested(worker, frame.call)
        elif cls is Log:
            worker.log.append(frame.text)
            self._take_record(frame.record)
        elif cls is Broken:
            worker.stopping = True
            worker.ready = False
            self._run_user_code(partial(self._decode_initializer_failure, worker, frame.payload))

    def _raised(self, worker: Worker, frame: Raise) -> None:
        call = worker.outstanding.get(frame.call)
        if call is None:
            return
        self._early_deaths = 0
        if retries_left(call.options, call.attempts, frame.type) and not self._cancelled(call):
            self._core.again(worker, call)
            return
        self._core.finish(worker, frame.call, frame.seconds)
        call.receiver.deliver_failure(call, frame.payload)

    def _cancelled(self, call: Call) -> bool:
        return isinstance(call.receiver, CallFuture) and call.receiver.done()

    def _lost_stream(self, worker: Worker) -> None:
        """A worker's stream has ended: its exit code is on the way."""
        if not worker.doomed:
            worker.doomed = True
            worker.ready = False
            self._watched.remove(worker.sock.fileno())
            self._kill(worker, signal.SIGKILL)
            self._after(_STATUS_PATIENCE, lambda: self._bury(worker))

    def _kill(self, worker: Worker, number: int) -> None:
        if self._template is not None:
            self._template.kill(worker.id, number)

    def _bury(self, worker: Worker) -> None:
        """A worker is dead: deliver what it still said, place again what it had not started, report what is lost."""
        if self._workers.get(worker.id) is not worker:
            return
        self._end_licence(worker)
        if not worker.doomed:
            worker.doomed = True
            self._watched.remove(worker.sock.fileno())
        self._read_last_words(worker)
        del self._workers[worker.id]
        started = worker.page.started
        lost = self._core.leave(worker, started)
        self._due.discard(worker)
        error = None
        for call in lost:
            error = self._lost_error(worker, call)
            if not self._cancelled(call) and retries_left(call.options, call.attempts, (LOST,)):
                self._core.retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, error)
        self._orphan_nested(worker)
        worker.close()
        if not lost and not worker.stopping and started == 0:
            self._died_early(worker)

    def _read_last_words(self, worker: Worker) -> None:
        returns: list[tuple[int, float, bytes]] = []
        with contextlib.suppress(EOFError, ProtocolError):
            for _ in range(1000):
                before = len(returns)
                frames = worker.receive(returns)
                for number, seconds, payload in returns[before:]:
                    call = self._core.finish(worker, number, seconds)
                    if call is not None:
                        call.receiver.deliver(call, payload)
                for frame in frames:
                    if frame.__class__ in (Return, Raise, Recalled, Broken, Log):
                        self._take(worker, frame)
                if not frames and len(returns) == before:
                    break

    def _lost_error(self, worker: Worker, call: Call) -> WorkerLostError:
        name = task_name(call)
        seconds = monotonic() - (worker.began(call.number) or monotonic())
        if call.options is not None and getattr(call, "attempts", 1) > 1:
            tries = f" (attempt {call.attempts})"
        else:
            tries = ""
        host = os.uname().nodename
        text = f"worker {worker.pid} on {host} {describe_exit(worker.exitcode)} while running {name}{tries}, after {seconds:.3f} s"
        if worker.exitcode == -signal.SIGKILL and not worker.stopping and oom_kills() > worker.oom_kills:
            text += "; the kernel's out-of-memory killer ended it: use fewer workers or smaller tasks"
        report = worker.crash_report()
        if report:
            text += "\n" + report.rstrip()
        if worker.log:
            text += "\nlast log records:\n  " + "\n  ".join(worker.log)
        error = WorkerLostError(text)
        error.task, error.pid, error.host = name, worker.pid, host
        error.exitcode, error.seconds, error.attempts = worker.exitcode, seconds, call.attempts
        return error

    def _died_early(self, worker: Worker) -> None:
        self._early_deaths += 1
        if self._early_deaths < _START_BUDGET:
            return
        text = f"{self._early_deaths} workers in a row ended before their first call; the last {describe_exit(worker.exitcode)}"
        if self._initializer is not None:
            self._break(InitializerError(f"{text}, in the initializer"))
        else:
            self._break(WorkerStartError(f"{text}. Does {sys.executable} run, and can it import woolexec?"))

    def _check_initializer(self, worker: Worker) -> None:
        if self._workers.get(worker.id) is worker and worker.page.since == 0.0:
            text = f"the initializer ran longer than {self._initializer_timeout:g} s in worker {worker.pid}"
            self._kill(worker, signal.SIGKILL)
            self._break(InitializerError(text))

    def _decode_initializer_failure(self, worker: Worker, payload: bytes) -> None:
        try:
            exc = load_failure(payload)
        except BaseException as error:  # unpickling runs user code
            exc = error
        self.tell(partial(self._initializer_failed, worker, exc))

    def _initializer_failed(self, worker: Worker, exc: BaseException) -> None:
        error = InitializerError(f"the initializer raised {type(exc).__name__} in worker {worker.pid}: {exc}")
        error.__cause__ = exc
        self._break(error)

    def _break(self, error: BaseException, *, quietly: bool = False) -> None:
        """Fail everything that waits, and whatever comes."""
        if self.broken is None:
            self.broken = error
            if not quietly:
                self._run_user_code(partial(_log_broken, error))
        self._take_inbox()
        self._fail_waiting(error)
        for worker in list(self._workers.values()):
            for call in list(worker.outstanding.values()):
                worker.gone(call.number, len(call.payload))
                call.move("fail")
                call.receiver.deliver_failure(call, error)
            self._kill(worker, signal.SIGTERM)

    def _fail_waiting(self, error: BaseException) -> None:
        for entry in self._core.queue.clear():
            if isinstance(entry, Chunk):
                entry = entry.cut(entry.count - entry.next)
            entry.move("fail")
            entry.receiver.deliver_failure(entry, error)

    def _watch_writing(self, worker: Worker) -> None:
        """Go on writing when the socket has room again."""

        def go_on() -> None:
            if worker.doomed:
                return
            if worker.flush():
                self._watched.change(worker.sock.fileno(), partial(self._hear, worker))
            self._hear(worker)

        if not worker.doomed:
            self._watched.change(worker.sock.fileno(), go_on, writing=True)

    # -- timeouts and cancelling --------------------------------------------------------------------------------

    def _watch_time(self, worker: Worker, call: Call, seconds: float) -> None:
        self._after(seconds, partial(self._check_time, worker.id, call.number), (worker.id, call.number))

    def _check_time(self, worker_id: int, number: int) -> None:
        """End a call whose time is over; if it was started later than it was sent, look again when it is due."""
        worker = self._workers.get(worker_id)
        call = None if worker is None else worker.outstanding.get(number)
        if worker is None or call is None or call.options is None or call.options.timeout is None:
            return
        seconds = call.options.timeout
        since = worker.began(number)
        left = seconds if since is None else since + seconds - monotonic()
        if left > 0:
            self._watch_time(worker, call, left)
            return
        if not self._end_call(worker, call):
            if worker.outstanding.get(number) is call:  # whether it was started is not known yet
                self._watch_time(worker, call, _REST)
        else:
            error = TimeoutError(f"{task_name(call)} ran longer than its timeout of {seconds:g} s; its worker was ended")
            if retries_left(call.options, call.attempts, types_of(error)):
                self._core.retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, error)

    def _end_call(self, worker: Worker, call: Call) -> bool:
        """
        End a running call by ending its worker; False if it has ended by itself.

        What runs on top of it in the same worker ends with it; those are its own tasks.  Its outcome is ours from here on.
        """
        ready, worker.ready = worker.ready, False
        self._recall(worker, since=call.number + 1)
        while not worker.doomed and self._hear(worker):
            pass
        if worker.doomed or not self._core.is_running(worker, worker.page, call):
            worker.ready = ready and not worker.doomed
            return False
        worker.gone(call.number, len(call.payload))
        self._core.queue.forget_parent(call.number)
        worker.send_stop()  # if it answers SIGTERM with an exception it leaves at once
        self._due.add(worker)
        self._kill(worker, signal.SIGTERM)
        self._after(GRACE, partial(self._kill_for_good, worker))
        return True

    def _kill_for_good(self, worker: Worker) -> None:
        if self._workers.get(worker.id) is worker:
            self._kill(worker, signal.SIGKILL)

    def _cancel_sent(self, call: Call, *, force: bool) -> bool:
        """Cancel a call that is not in the queue: take it back from its worker, or end it there."""
        self._take_inbox()
        for worker in self._workers.values():
            if worker.is_licensed:
                self._end_licence(worker)
        if self._core.queue.claim(call):
            call.move("cancel")
            return True
        worker = call.place
        if call.state != SENT or not isinstance(worker, Worker):
            return False
        if call.number > worker.page.started:
            self._recall(worker, since=call.number)
            if self._core.queue.claim(call):
                call.move("cancel")
                return True
        if force and call.state == SENT and call.number <= worker.page.started and self._end_call(worker, call):
            call.move("cancel")
            return True
        return False

    # -- nested tasks -------------------------------------------------------------------------------------------

    def _submit_nested(self, worker: Worker, frame: Submit) -> None:
        function = self.intern(frame.function, "a nested task")
        options = None
        if frame.options is not None:
            asked = frame.options
            options = TaskOptions.restore(
                asked.timeout or None, asked.retries, asked.retry_on, idempotent=asked.idempotent, name=asked.name or None
            )
        receiver = NestedReceiver(self, worker, frame.task)
        call = Call(function, frame.payload, receiver, options, frame.parent)
        receiver.call = call
        self._nested[worker.id, frame.task] = receiver
        if self.broken is not None:
            receiver.deliver_failure(call, self.broken)
            return
        self._core.queue.offer(call)
        self._core.queue.add(call)

    def _cancel_nested(self, worker: Worker, task: int) -> None:
        receiver = self._nested.get((worker.id, task))
        if receiver is not None and receiver.call is not None and self._core.queue.claim(receiver.call):
            receiver.call.move("cancel")
            del self._nested[worker.id, task]

    def _orphan_nested(self, worker: Worker) -> None:
        """Nobody waits for the tasks of a dead worker's calls: drop those that were not started."""
        for key, receiver in list(self._nested.items()):
            if key[0] == worker.id:
                del self._nested[key]
                if receiver.call is not None and self._core.queue.claim(receiver.call):
                    receiver.call.move("cancel")

    def finish_nested(self, receiver: NestedReceiver, frames: bytes, file: File | None) -> None:
        """Send the outcome of a nested task to the worker that submitted it."""
        worker = receiver.worker
        self._nested.pop((worker.id, receiver.task), None)
        if not worker.doomed:
            worker.send(frames, file)
            self._due.add(worker)

    def intern(self, payload: bytes | File, name: str) -> Function:
        """Return the function with this pickle, so that each worker is sent it once."""
        if not isinstance(payload, bytes):
            return Function(payload, name)
        function = self._functions.get(payload)
        if function is None:
            if len(self._functions) >= 1024:
                self._functions.pop(next(iter(self._functions)), None)
            function = self._functions[payload] = Function(payload, name)
        return function

    # -- the end ------------------------------------------------------------------------------------------------

    def _shut(self, *, cancel: bool) -> None:
        if self._state == "open":
            self._state = "draining"
        if cancel:
            self._cancel_waiting()

    def _cancel_waiting(self) -> None:
        self._take_inbox()
        for worker in list(self._workers.values()):
            self._end_licence(worker)
            if worker.unstarted(worker.page.started):
                self._recall(worker)
        for entry in self._core.queue.clear():
            if isinstance(entry, Chunk):
                entry.cancelled = True
                entry.receiver.deliver_failure(entry.cut(entry.count - entry.next), None)
                continue
            entry.move("cancel")
            receiver = entry.receiver
            if isinstance(receiver, CallFuture):
                if receiver.set_cancelled():
                    self._run_user_code(receiver.run_callbacks)
            else:
                receiver.deliver_failure(entry, None)

    def cancel_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Drop what is left of these chunks; spans that run are left alone.  From any thread."""
        for chunk in chunks:
            chunk.cancelled = True
        self.tell(partial(self._recall_chunks, frozenset(map(id, chunks))))

    def _recall_chunks(self, chunks: frozenset[int]) -> None:
        for worker in self._workers.values():
            if any(id(call.chunk) in chunks for call in worker.unstarted(worker.page.started)):
                self._recall(worker)

    def _check_drained(self) -> None:
        """When nothing is left to do, let the workers leave."""
        self._take_inbox()
        for worker in list(self._workers.values()):
            self._end_licence(worker)
        busy = self._core.queue.head() is not None or any(worker.outstanding for worker in self._workers.values())
        if not busy:
            for worker in self._workers.values():
                if not worker.stopping:
                    worker.send_stop()
                    self._due.add(worker)
                    self._after(GRACE, partial(self._kill_for_good, worker))
            if not self._workers:
                self._state = "stopped"

    def _end_workers(self, number: int) -> None:
        if self._state == "open":
            self._state = "draining"
        self._cancel_waiting()
        for worker in self._workers.values():
            worker.stopping = True
            self._kill(worker, number)
        self._break(WorkerLostError("the workers were ended by terminate_workers or kill_workers"), quietly=True)

    def _fail_everything(self, exc: BaseException) -> None:
        error = WorkerLostError(f"the engine failed: {exc!r}")
        error.__cause__ = exc
        self.broken = error
        with contextlib.suppress(BaseException):
            self._take_inbox()
        with contextlib.suppress(BaseException):
            self._fail_waiting(error)
        for worker in self._workers.values():
            for call in worker.outstanding.values():
                with contextlib.suppress(BaseException):
                    call.receiver.deliver_failure(call, error)

    def _close(self) -> None:
        self._state = "stopped"
        _engines.discard(self)
        self._licensed.clear()
        for worker in list(self._workers.values()):
            self._kill(worker, signal.SIGKILL)
        if self._template is not None:
            self._template.close()
        for worker in list(self._workers.values()):
            worker.close()
        self._workers.clear()
        self._timers.clear()
        self._functions.clear()
        self._watched.close()
        os.close(self._woken)
        os.close(self._wake_fd)
        for relay in (self._relay, self._records):
            relay.close()
        self._stopped.set()
        # Somebody may have passed the executor's check before it was shut down.  `submit` appends, then looks whether
        # we have stopped; we have stopped, then look what was appended.
        error = RuntimeError(AFTER_SHUTDOWN)
        while self._inbox:
            entry = self._inbox.popleft()
            if entry.__class__ is Call:
                if self._core.queue.claim(entry):
                    entry.move("fail")
                    entry.receiver.deliver_failure(entry, error)
            elif entry.__class__ is Chunk:
                entry.receiver.deliver_failure(entry.cut(entry.count - entry.next), error)
            else:
                entry()


class Watched:
    """
    The descriptors that the engine sleeps on, and what it does when they are ready.

    `select.epoll` where there is one, else `select.poll`: `selectors` takes 2-3 µs more in each round.
    """

    def __init__(self) -> None:
        self._poll: Any
        if hasattr(select, "epoll"):
            self._poll, self._unit = select.epoll(), 1.0
        else:
            self._poll, self._unit = select.poll(), 1000.0
        self._acts: dict[int, Callable[[], None]] = {}

    def add(self, fd: int, act: Callable[[], None]) -> None:
        """Do this when the descriptor can be read."""
        self._acts[fd] = act
        self._poll.register(fd, select.POLLIN)

    def change(self, fd: int, act: Callable[[], None], *, writing: bool = False) -> None:
        """Do something else, also when the descriptor can be written, if asked."""
        self._acts[fd] = act
        self._poll.modify(fd, select.POLLIN | select.POLLOUT if writing else select.POLLIN)

    def remove(self, fd: int) -> None:
        """Forget the descriptor, if it is known."""
        if self._acts.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[Callable[[], None]]:
        """Sleep until something is ready, or for `timeout` seconds; return what to do."""
        ready = self._poll.poll(None if timeout is None else timeout * self._unit)
        acts = self._acts
        return [acts[fd] for fd, _ in ready if fd in acts]

    def close(self) -> None:
        """Release what the kernel holds."""
        if hasattr(self._poll, "close"):
            self._poll.close()


class NestedReceiver:
    """Takes the outcome of a nested task to the worker that submitted it."""

    __slots__ = ("call", "engine", "task", "worker")

    def __init__(self, engine: Engine, worker: Worker, task: int) -> None:
        self.engine = engine
        self.worker = worker
        self.task = task
        self.call: Call | None = None

    def deliver(self, call: Call, payload: Any) -> None:
        """Send the encoded value down."""
        frame = Return(call=(self.task,), seconds=(0.0,))
        if isinstance(payload, File):
            frame.extent = payload.extent
            self.engine.finish_nested(self, encode(frame), payload)
            return
        if isinstance(payload, Parts):
            frame.extent = payload.extent
            payload = b"".join(payload.parts)
        frame.size = (len(payload),)
        frame.payload = payload
        self.engine.finish_nested(self, encode(frame), None)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Send the exception down."""
        if payload is None:
            from concurrent.futures import CancelledError

            payload = CancelledError()
        if isinstance(payload, BaseException):
            from woolexec.wire.failures import dump_failure

            payload = dump_failure(payload)
        self.engine.finish_nested(self, encode(Raise(call=self.task, payload=payload)), None)


def task_name(call: Call) -> str:
    """Name a call's task for messages."""
    if call.options is not None and call.options.name is not None:
        return call.options.name
    return call.function.name


def _warn_dropped(count: int) -> None:
    import logging

    logging.getLogger("woolexec").warning("%d log records of workers were dropped: a handler is too slow", count)


def _log_broken(error: BaseException) -> None:
    import logging

    logging.getLogger("woolexec").critical("%s", error, exc_info=error.__cause__)


def _handle_record(data: bytes) -> None:
    """Give a worker's logging record to the handlers here."""
    import logging
    import pickle

    try:
        record = logging.makeLogRecord(pickle.loads(data))
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:  # handlers and filters are user code
        logging.getLogger("woolexec").exception("a handler failed on a record of a worker")


def _forget_all() -> None:
    for engine in list(_engines):
        engine.forget()


def _finish_all() -> None:
    """At the interpreter's end: as the standard library's executors, finish what was submitted."""
    engines = [engine for engine in _engines if not engine.forked]
    for engine in engines:
        engine.shutdown(wait=False, cancel=False)
    for engine in engines:
        engine.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
# Before threads are joined, as concurrent.futures does it; atexit would run after that.
getattr(threading, "_register_atexit", __import__("atexit").register)(_finish_all)
