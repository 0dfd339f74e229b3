"""
A simulated worker process: it reads, marks, runs, waits for its own tasks, and dies.

It mirrors `woolexec.worker.process`, `sync_lane` and `page`; each `yield` ends one atomic step.  To the engine it is
the real `Worker`, without the socket.
"""

import itertools
from collections import deque
from types import SimpleNamespace

from tests.core.simulated_task import FLAW, Task
from woolexec.engine.worker_process import Worker
from woolexec.wire.frames import Load, Raise, Recalled, Resume, Return, Submit, Wait


class SharedPage:
    """The shared page: each word is written by one side; others may act before any access of the engine's."""

    is_ready = was_asked = False
    pid = 0  # it is no process

    def __init__(self, worker):
        self._worker = worker
        self._world = worker.world
        self.words = [0, 0, 0]
        self.since_word = 0.0
        self.is_open = False
        self.crash_report = b""
        self.loop = SimpleNamespace(started=0)  # of its lane, which is not simulated

    @property
    def started(self):
        self._world.breathe(self._worker)
        return self.words[0]

    @property
    def runs(self):
        self._world.breathe(self._worker)
        return self.words[2]

    @property
    def since(self):
        self._world.breathe(self._worker)
        return self.since_word

    def recall(self, number):
        self._world.breathe(self._worker)
        self.words[1] = min(number, self.words[1] or number)
        self._world.breathe(self._worker)
        return self.words[0]

    def clear_recall(self):
        self._world.breathe(self._worker)
        self.words[1] = 0


class SimWorker(Worker):
    """A worker process and the engine's view of it."""

    def __init__(self, world, number, limit):
        super().__init__(number, limit)
        self.world = world
        world.ids.append(number)
        self.page = SharedPage(self)
        self.lane_place.page = self.page.loop
        self.sock = SimpleNamespace(fileno=lambda: -1)
        self.reader = SimpleNamespace(has_more=False)
        self.oom_kills = 0
        self.batch = None  # how many frames the next read finds; None: all
        self.dropped = self.ended_number = None
        self.down, self.up = deque(), deque()
        self.line = deque()
        self.marks = 0
        self.answered = set()
        self.serials = itertools.count(1)
        self.declined = []
        self.last = 0  # the call that returned last
        self.told = set()  # calls that a Recalled it wrote has named
        self.life = self._live()
        self.sleeps_until = None
        self.wants_input = False
        self.dead = False
        self.leaving = False  # the worker's own: it has read Stop
        self.slowness = world.random.choice((1, 1, 1, 3, 10))

    def __repr__(self):
        return f"worker {self.id}"

    # -- the engine's end of it ---------------------------------------------------------------------------------------

    def send_calls(self, calls):
        for call in calls:
            after = 0 if call.follows is None else call.follows.after
            self.down.append(("start", call.number, call.receiver, call.first, call.count, after))

    def send_recall(self, number, waiting, *, lane):
        self.down.append(("recall", number, waiting))

    def send_stop(self, finalizer=None):
        self.stopping = True
        self.ready = False
        self.down.append(("stop",))

    def flush(self):
        return True

    def receive(self, returns, *, only_rest=False):
        frames = []
        count = len(self.up) if self.batch is None else self.batch
        for _ in range(min(count, len(self.up))):
            kind, what, *rest = self.up.popleft()
            if kind == "return" and not frames:
                returns.append((what, *rest))
            elif kind == "return":
                frames.append(Return(call=(what,), seconds=(rest[0],), payload=rest[1]))
            elif kind == "raise":
                frames.append(Raise(call=what, seconds=rest[0], payload=rest[1], type=(FLAW,)))
            elif kind == "recalled":
                frames.append(Recalled(call=tuple(what)))
            elif kind == "refused":
                frames.append(Load(refused=(what,)))
            elif kind == "submit":
                frames.append(Submit(task=self.world.tasks.index(rest[0]), parent=what))
            elif kind == "wait":
                frames.append(Wait(call=what, serial=rest[0]))
            else:
                frames.append(Resume(call=what))
        return frames

    def gone(self, number, size):
        self.dropped = number
        return super().gone(number, size)

    def close(self):
        self.is_closed = True

    # -- the process ------------------------------------------------------------------------------------------------

    def _live(self):
        while True:
            while self.line:
                yield from self._step()
            if self.leaving:
                return
            yield from self._receive(None)

    def _receive(self, deadline):
        if not self.down:
            self.wants_input, self.sleeps_until = True, deadline
            yield
            self.wants_input, self.sleeps_until = False, None
        for _ in range(self.world.random.randint(1, len(self.down)) if self.down else 0):
            frame = self.down.popleft()
            if frame[0] == "stop":
                self.leaving = True
            elif frame[0] == "outcome":
                frame[1].known = True
            else:
                self.marks += frame[0] == "recall"
                self.line.append(frame)
        yield

    def _step(self, decline=False):
        kind, number, *rest = self.line.popleft()
        if kind == "recall":
            self.marks -= 1
            if rest[0]:
                self.answered.add(rest[0])
            if not number:
                return
            self.told.update(self.declined)
            self.up.append(("recalled", self.declined))
            self.declined = []
            yield
            return
        receiver, first, count, after = rest
        if after and after != self.last:
            self.up.append(("refused", number))
            yield
            return
        if decline:
            self.declined.append(number)
            return
        self.page.since_word = self.world.clock
        yield
        self.page.words[0] = number
        receiver.marked += 1
        yield
        recalled = self.page.words[1]
        if recalled and number >= recalled:
            self.declined.append(number)
            return
        yield
        self.page.words[2] = number
        receiver.start(number, first, count)
        yield from self._run(number, receiver, first, count)

    def _run(self, number, receiver, first, count):
        plan, begun = receiver.plan, self.world.clock
        yield from self._sleep(plan.seconds * (count or 1) * self.slowness)
        children = [Task(self.world, child, self) for child in plan.children]
        for child in children:
            self.up.append(("submit", number, child))
            yield
        for child in children:
            for _ in range(4 if plan.patience else 0):  # it asks again and again
                if not child.known:
                    yield from self._wait_for(number, child, plan.patience)
                    yield from self._sleep(1e-4)
            yield from self._wait_for(number, child, None)
        if plan.flawed and receiver.starts and len(receiver.starts) == 1 and not count:
            self.up.append(("raise", number, self.world.clock - begun, (receiver, number)))
        else:
            receiver.returned = self.last = number
            self.up.append(("return", number, self.world.clock - begun, (receiver, number)))
        yield

    def _wait_for(self, number, child, patience):
        if child.known:
            return
        deadline = None if patience is None else self.world.clock + patience
        serial = next(self.serials)
        self.up.append(("wait", number, serial))
        yield
        while not child.known:
            if self.line and (self.marks or serial in self.answered):
                yield from self._step(decline=serial not in self.answered)
                continue
            if serial not in self.answered:
                yield from self._receive(None)
            elif deadline is not None and self.world.clock >= deadline and not self.down:
                break
            else:
                yield from self._receive(deadline)
        self.answered.discard(serial)
        self.up.append(("resume", number))
        yield

    def _sleep(self, seconds):
        if seconds:
            self.sleeps_until = self.world.clock + seconds
            yield
            self.sleeps_until = None

    # -- how the world sees it ----------------------------------------------------------------------------------------

    @property
    def can_step(self):
        if self.dead:
            return False
        if self.wants_input and self.down:
            return True
        if self.sleeps_until is not None:
            return self.world.clock >= self.sleeps_until
        return not self.wants_input

    def step(self):
        try:
            next(self.life)
        except StopIteration:
            self.die()

    def die(self):
        if not self.dead:
            self.dead = True
            self.life = None
            self.world.exits.append(self)
