"""
The shipped engine, with a clock, workers and other threads that a seed controls.

Scheduler, dispatcher, cancellation, supervisor and all between them are the real ones.  Replaced are the event loop,
which has no thread and no descriptors, and what starts and kills processes.
"""

from collections import deque
from contextlib import contextmanager
from types import SimpleNamespace

from tests.core.simulated_worker import SimWorker
from woolexec.core.call import Call
from woolexec.core.memory_limits import MemoryLimits
from woolexec.core.ready_queue import ReadyQueue
from woolexec.core.window import BYTES, DEPTH, HORIZON
from woolexec.engine.dispatcher import Dispatcher
from woolexec.engine.engine import Engine
from woolexec.engine.lifetimes import running
from woolexec.engine.memory_watch import MemoryWatch
from woolexec.engine.rounds import Rounds
from woolexec.engine.supervisor import Supervisor


class Queue(ReadyQueue):
    """Another thread may cancel a call between the look at the queue's head and the taking of it."""

    world = None

    def take(self, call):
        self.world.breathe(None)
        return super().take(call)


class SimLoop:
    """The inbox and the timers of an engine; its thread is the simulation itself."""

    world = None  # set by the engine

    def __init__(self, is_current):
        self.inbox = deque()
        self.timers = []
        self.stopped = self.forked = False
        self.has_begun = True
        self.thread = None
        self.watched = SimpleNamespace(add=_nothing, remove=_nothing, change=_nothing)

    def clock(self):
        return self.world.clock

    def prepare(self, run, on_first):
        """Nothing runs by itself."""

    def begin(self):
        """It runs when the world says so."""

    wake = begin

    def retire(self):
        return False

    def tell(self, piece):
        self.inbox.append(piece)

    def drop(self, held):
        held.clear()

    def ask(self, question, default=None):
        return question()

    def after(self, seconds, piece, about=None):
        self.timers.append((self.clock() + seconds, piece))

    def run_timers(self):
        due = [timer for timer in self.timers if timer[0] <= self.clock()]
        self.timers = [timer for timer in self.timers if timer[0] > self.clock()]
        for _, piece in due:
            piece()


class SimSupervisor(Supervisor):
    """Starts simulated workers, and signals that arrive a few steps later."""

    world = None

    def start(self, actor=None, devices=None):
        worker = SimWorker(self.world, self._forks.number(), self._calls_limit)
        self.world.check(
            len(self.workers) < self._scheduler.workforce.most, f"I7: {len(self.workers)} workers, and one more"
        )
        self._dispatcher.joined(worker)
        return worker

    def _load_errors(self):
        """Do nothing: the spare descriptor of a world would never be closed."""

    def kill(self, worker, number):
        self.world.killed.append([worker, self.world.random.randint(0, 12)])

    def end(self, worker):
        worker.ended_number = worker.dropped
        super().end(worker)

    def reap(self, worker, *, by_itself=True):
        if self.workers.get(worker.id) is worker and worker.ended_number is not None:
            worker.batch = len(worker.up)
            for number, call in worker.outstanding.items():
                if number <= worker.page.words[0]:
                    own = getattr(call.receiver, "submitter", None) is worker
                    heard = any(frame[1] == number for frame in worker.up if frame[0] in ("return", "raise"))
                    text = f"row 4: a kill aimed at {worker.ended_number} hit {number}"
                    self.world.check(number <= worker.ended_number or own or heard, text)
        super().reap(worker, by_itself=by_itself)


class SimNested:
    """The tasks that simulated tasks submit: their outcomes are known to their worker at once."""

    def __init__(self, engine, world):
        self.engine = engine
        self.world = world

    def hear(self, worker, frame, broken):
        task = self.world.tasks[frame.task]
        task.call = Call(self.world.function(task.plan), b"", task, task.plan.options(), frame.parent)
        self.engine.scheduler.add(task.call)

    def end_children(self, call):
        """The worker that would wait for them is ended too."""

    def orphan(self, worker):
        for task in self.world.tasks:
            if task.submitter is worker and not task.settled:
                if task.call is None:  # its Submit was never heard
                    task.cancelled = True
                elif self.engine.scheduler.main.queue.claim(task.call):
                    task.call.move("cancel")
                    task.cancel_succeeded()


class SimDispatcher(Dispatcher):
    """Checks the windows of what it sends."""

    world = None

    def send(self, place, calls):
        super().send(place, calls)
        check, ahead = self.world.check, place.outstanding.values()
        check(len(ahead) <= DEPTH, f"I7: {place} has {len(ahead)} calls outstanding")
        if len(ahead) > 2 and not place.waiting:
            check(sum(call.cost for call in ahead) <= HORIZON + 1e-9, f"I7: {place} has too much work ahead")
            check(sum(len(call.payload) for call in ahead) <= BYTES, f"I7: {place} has too many bytes ahead")


class SimEngine(Engine):
    """The engine of a world."""

    def __init__(self, world, limit, calls_limit):
        kinds = {"loop_type": SimLoop, "supervisor_type": SimSupervisor, "dispatcher_type": SimDispatcher}
        of_world = {name: type(kind.__name__, (kind,), {"world": world}) for name, kind in kinds.items()}
        self.rounds_type = type("Rounds", (Rounds,), of_world)
        super().__init__(limit, calls_limit=calls_limit)
        running.discard(self)
        self.scheduler.balancing.grants_permits = False
        self.scheduler.main.queue.__class__ = Queue
        self.scheduler.main.queue.world = world
        nested = SimNested(self, world)
        self._dispatcher.nested = self._dispatcher.outcomes._nested = self._supervisor.nested = nested
        self.world = world
        self.has_ended = False
        parts = self._loop, self.scheduler, self._dispatcher, self._supervisor
        self._memory = MemoryWatch(MemoryLimits(1, 2), *parts)

    @property
    def workers(self):
        return self._supervisor.workers

    @property
    def timers(self):
        return self._loop.timers

    @property
    def has_requests(self):
        return bool(self._loop.inbox)

    def cancel_task(self, task, *, force):
        if task.settled:
            return
        if self.world.breathing:  # another thread, in the middle of a step of the engine's
            if self.scheduler.main.queue.claim(task.call):
                task.call.move("cancel")
                task.cancel_succeeded()
        elif self.cancel(task, _nothing, force=force):
            task.cancel_succeeded()

    def close_map(self, parts):
        parts.closed = True
        self.cancel_chunks([parts.chunk])

    def act(self):
        """One round, with the timers that are due before it."""
        self._loop.run_timers()
        if not self._rounds.step():
            self.has_ended = True

    def grow(self, worker, *, too_large):
        """Note that a worker is to be replaced because of its memory or, if it is too large, ended."""
        if worker.is_dead or worker.stopping or worker.excess:
            return
        if too_large:
            self._memory.end(worker, "it is too large")
        else:
            self._memory.replace(worker)

    def hear(self, worker, count):
        worker.batch = count
        self._dispatcher.hear(worker)
        worker.batch = None

    def reap(self, worker):
        self._supervisor.reap(worker)


@contextmanager
def planted(owner, name, flawed):
    """
    Put a flaw into the shipped code.

    :param owner: the class or module where it stands
    :param flawed: replaces the function; takes that function, then its arguments
    """
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: flawed(original, *args, **kwargs))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _nothing(*_, **__):
    pass
