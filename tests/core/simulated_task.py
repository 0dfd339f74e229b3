"""A task of a simulated user, and a record of all that happened to it."""

from collections import Counter

from woolexec.errors import WorkerLostError
from woolexec.options import ClassNames, TaskOptions

FLAW = "tests:Flaw"
NO_INPUT = object()
"""The failure of a task whose input has failed."""


class Violation(AssertionError):
    """The world saw something that must not be."""


class Task:
    """What a user submits, and all that happened to it; it is its call's receiver."""

    def __init__(self, world, plan, submitter=None, before=None):
        self.world = world
        self.plan = plan
        self.submitter = submitter
        self.before = before  # the task whose outcome it takes
        self.waits = None if before is None else Waits(self)
        self.waiting = []  # what waits for its outcome
        self.number = next(world.task_numbers)
        self.call = None  # as the engine's `cancel` finds it on a future
        self.starts = []
        self.marked = 0
        self.outcomes = []
        self.cancelled = False
        self.marked_at_cancel = self.marked_at_end = 0
        self.returned = 0  # the call whose value its worker has sent
        self.known = False  # a nested task: its submitter has the outcome
        world.tasks.append(self)

    def __repr__(self):
        return f"task {self.number}"

    def start(self, number, first, count):
        world, before = self.world, self.before
        world.check(before is None or before.returned, f"I9: {self} started without its input")
        self.starts.append(number)
        count = len(self.starts)
        world.check(count <= 1 + self.plan.retries, f"I2/I3: {self} started {count} times, as calls {self.starts}")
        world.check(not self.cancelled or count <= self.marked_at_cancel, f"I5: {self} started after it was cancelled")
        world.check(not self.outcomes or count <= self.marked_at_end, f"I3: {self} started after its outcome")

    def end(self, outcome):
        self.outcomes.append(outcome)
        self.marked_at_end = self.marked
        self.world.check(len(self.outcomes) == 1, f"I1: {self} ended twice: {self.outcomes}")
        self.world.check(not self.cancelled, f"I1: {self} ended as {outcome} after it was cancelled")
        if self.submitter is not None:
            self.world.finish_nested(self)
        self.tell()

    def tell(self):
        """Tell those that wait for the outcome."""
        while self.waiting:
            self.waiting.pop().told()

    @property
    def follower(self):
        return self.waiting[0] if len(self.waiting) == 1 else None

    def deliver(self, call, payload):
        receiver, number = payload
        own = receiver is self and number == self.starts[-1]
        self.world.check(own, f"I4: {self} was given the outcome of {payload}")
        self.end("value")

    def deliver_failure(self, call, payload):
        if payload is None:
            self.end("cancelled")
        elif isinstance(payload, tuple):
            self.world.check(payload[0] is self, f"I4: {self} was given the failure of {payload}")
            self.end("raised")
        elif payload is NO_INPUT:
            self.world.check(not self.starts, f"{self} started, and its input is said to have failed")
            self.end("no input")
        else:
            outcome = "lost" if isinstance(payload, WorkerLostError) else "timeout"
            self.world.check(self.marked, f"{self} is {outcome}, and was never marked as started")
            self.world.check(
                outcome != "lost" or self.returned != call.number, f"I3: {self} is {outcome}, and had sent its value"
            )
            is_final = outcome != "lost" or self.marked > self.plan.retries
            self.world.check(is_final, f"row 7: {self} was lost, and not tried again")
            self.end(outcome)

    @property
    def outstanding_call(self):
        """Its call, where the engine finds that of a future."""
        return self.call

    def cancel_succeeded(self):
        self.world.check(not self.cancelled and not self.outcomes, f"I5: {self} was cancelled after its end")
        self.cancelled = True
        self.marked_at_cancel = self.marked
        self.tell()

    @property
    def settled(self):
        return bool(self.outcomes) or self.cancelled


class Waits:
    """Waits for the outcome of the task before another one, like `woolexec.api.inputs.Waiting`."""

    lacks_one = True

    def __init__(self, task):
        self.task = task
        self.entry = None
        self.after = 0
        self.is_told = False

    def begin(self, call):
        """Hold the call until its input is there."""
        self.entry = call
        self.task.world.engine.inputs().hold(call)
        self.task.before.waiting.append(self)
        if self.task.before.settled:
            self.task.before.tell()

    def again(self, call):
        self.entry = call
        if self.task.before.settled:
            self.told()

    def told(self):
        before, inputs = self.task.before, self.task.world.engine.inputs()
        if self.entry is None:
            return
        self.task.world.check(not self.is_told, f"{self.task} got its input twice")
        self.is_told = True
        if before.outcomes == ["value"]:
            inputs.release(self.entry, b"x" * 20)
        else:
            inputs.drop(self.entry, None if before.cancelled else NO_INPUT)


class Parts:
    """The receiver of a chunk: which of its items started and ended."""

    def __init__(self, world, plan, count):
        self.world = world
        self.plan = plan
        self.count = count
        self.number = next(world.task_numbers)
        self.starts = Counter()
        self.ends = {}
        self.marked = self.returned = 0
        self.closed = False
        self.chunk = None
        world.parts.append(self)

    def __repr__(self):
        return f"chunk {self.number}"

    def start(self, number, first, count):
        for item in range(first, first + count):
            self.starts[item] += 1
            self.world.check(self.starts[item] <= 1 + self.plan.retries, f"I2/I3: {self} item {item} started again")
            self.world.check(item not in self.ends, f"I3: {self} item {item} started after its outcome")

    def _end(self, call, outcome):
        for item in range(call.first, call.first + call.count):
            self.world.check(item not in self.ends, f"I1: {self} item {item} ended twice")
            self.world.check(item < self.count, f"I8: {self} has no item {item}")
            self.ends[item] = outcome

    def deliver(self, call, payload):
        receiver, number = payload
        self.world.check(receiver is self and number == call.number, f"I4: {self} was given the outcome of {payload}")
        self.world.check(self.starts[call.first], f"I4: {self} has results of items that never started")
        self._end(call, "value")

    def deliver_failure(self, call, payload):
        self._end(call, "cancelled" if payload is None else payload)

    @property
    def settled(self):
        return self.closed or len(self.ends) == self.count


class Plan:
    """What a task does when it runs."""

    def __init__(self, seconds, *, retries=0, flawed=False, timeout=None, children=(), patience=None):
        self.seconds = seconds
        self.retries = retries
        self.flawed = flawed  # its first run raises an exception that is tried again
        self.timeout = timeout
        self.children = children
        self.patience = patience  # it asks for its children's results with a timeout, again and again

    def options(self):
        if not self.retries and self.timeout is None:
            return None
        return TaskOptions(retry_on=ClassNames([FLAW]), timeout=self.timeout, retries=self.retries)
