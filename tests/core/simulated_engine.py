"""The engine without its I/O: mirrors the dispatcher, cancellation and supervisor, over the real `Scheduler`."""

import itertools
from collections import deque
from functools import partial

from tests.core.simulated_task import FLAW, Task
from tests.core.simulated_worker import SimWorker
from woolexec.core.call import SENT, Call, Chunk
from woolexec.core.ready_queue import ReadyQueue
from woolexec.core.retry import LOST, retries_left
from woolexec.core.window import BYTES, DEPTH, HORIZON

REST = 0.002


def has_prefetched(core):
    """Tell whether some place has more than one call outstanding."""
    return any(len(place.outstanding) > 1 and not place.recalling for place in core.places)


class Queue(ReadyQueue):
    """Another thread may cancel a call between the look at the queue's head and the taking of it."""

    world = None

    def take(self, call):
        self.world.breathe(None)
        return super().take(call)


class Conductor:
    """What the engine does around `Scheduler`, step by step."""

    def __init__(self, world, dispatch, limit, calls_limit):
        self.world = world
        self.numbers = itertools.count(1)
        self.core = dispatch(self.numbers.__next__)
        self.core.queue.__class__ = Queue
        self.core.queue.world = world
        self.limit = limit
        self.calls_limit = calls_limit
        self.workers = {}
        self.ids = []
        self.inbox = deque()
        self.timers = []
        self.state = "open"

    # -- from any thread ----------------------------------------------------------------------------------------------

    def submit(self, call):
        self.core.queue.offer(call)
        self.inbox.append(call)

    def cancel(self, task, *, force):
        if task.settled:
            return
        if self.core.queue.claim(task.call):
            task.call.move("cancel")
            task.cancel_succeeded()
        elif not self.world.breathing and self.cancel_sent(task.call, force=force):
            task.cancel_succeeded()

    # -- a round ------------------------------------------------------------------------------------------------------

    def round(self):
        self.take_inbox()
        if self.state == "draining":
            self.check_drained()
        self.feed()

    def take_inbox(self):
        while self.inbox:
            self.core.queue.add(self.inbox.popleft())

    def feed(self):
        core, queue = self.core, self.core.queue
        if queue.head() is not None:
            for worker in [worker for worker in self.workers.values() if not worker.outstanding]:
                self.send(worker, core.assign(worker))
            for worker in self.workers.values():
                if queue.head() is None:
                    break
                self.send(worker, core.assign(worker))
            while queue.head() is not None and len(self.workers) < self.limit:
                idle = sum(1 for worker in self.workers.values() if not worker.outstanding and worker.ready)
                if idle and idle >= len(queue):
                    break
                worker = SimWorker(self.world, self.calls_limit)
                self.workers[worker.id] = worker
                self.ids.append(worker.id)
                core.join(worker)
                self.send(worker, core.assign(worker))
        if queue.head() is None:
            self.balance()

    def send(self, worker, calls):
        for call in calls:
            worker.down.append(("start", call.number, call.receiver, call.first, call.count))
            if call.options is not None and call.options.timeout is not None:
                self.after(call.options.timeout, partial(self.check_time, worker, call, call.number))
        if calls:
            self.check_window(worker)

    def send_stop(self, worker):
        worker.stopping = True
        worker.ready = False
        worker.down.append(("stop",))

    def check_window(self, worker):
        check, calls = self.world.check, worker.outstanding.values()
        check(len(calls) <= DEPTH, f"I7: {worker} has {len(calls)} calls outstanding")
        if len(calls) > 2 and not worker.waiting:
            check(sum(call.cost for call in calls) <= HORIZON + 1e-9, f"I7: {worker} has too much work ahead")
            check(sum(len(call.payload) for call in calls) <= BYTES, f"I7: {worker} has too many bytes ahead")
        check(len(self.workers) <= self.limit, f"I7: {len(self.workers)} workers")

    def balance(self):
        core, now = self.core, self.world.clock
        if not has_prefetched(core):
            return
        if not any(worker.idle for worker in self.workers.values()) and len(self.workers) >= self.limit:
            return
        victim = core.victim(
            lambda place: place.page.started, lambda place: now - place.page.since > max(REST, 2 * place.load)
        )
        if victim is not None:
            self.recall(victim)
            if core.queue.head() is not None:
                self.feed()

    def recall(self, worker, since=0, waiting=0):
        worker.down.append(("recall", self.core.recall(worker, worker.page, since), waiting))

    def after(self, seconds, piece):
        self.timers.append((self.world.clock + seconds, piece))

    def run_timers(self):
        due = [timer for timer in self.timers if timer[0] <= self.world.clock]
        self.timers = [timer for timer in self.timers if timer[0] > self.world.clock]
        for _, piece in due:
            piece()

    # -- what is heard ------------------------------------------------------------------------------------------------

    def hear(self, worker, count):
        for _ in range(count):
            self.take(worker, worker.up.popleft())
        if worker.is_used_up and not worker.outstanding and not worker.stopping:
            self.send_stop(worker)
        elif self.core.queue.head() is not None:
            self.send(worker, self.core.assign(worker))

    def take(self, worker, frame):
        kind, what, *rest = frame
        if kind == "return":
            call = self.core.finish(worker, what, rest[0])
            if call is not None:
                call.receiver.deliver(call, rest[1])
        elif kind == "raise":
            self.raised(worker, what, *rest)
        elif kind == "recalled":
            self.core.recalled(worker, worker.page, what)
        elif kind == "submit":
            self.submit_nested(rest[0], what)
        elif kind == "wait":
            self.core.wait(worker, what)
            if worker.recalling or worker.unstarted(worker.page.started):
                self.recall(worker, waiting=rest[0])
            else:
                worker.down.append(("recall", 0, rest[0]))
        elif kind == "resume":
            self.core.resume(worker, what)

    def raised(self, worker, number, seconds, payload):
        call = worker.outstanding.get(number)
        if call is None:
            return
        if retries_left(call.options, call.attempts, [FLAW]):
            self.core.again(worker, call)
            return
        self.core.finish(worker, number, seconds)
        call.receiver.deliver_failure(call, payload)

    def reap(self, worker):
        if self.workers.get(worker.id) is not worker:
            return
        while worker.up:
            frame = worker.up.popleft()
            if frame[0] in ("return", "raise", "recalled"):
                self.take(worker, frame)
        del self.workers[worker.id]
        lost = self.core.leave(worker, worker.page.started)
        for call in lost:
            number = call.number
            below = worker.ended_for is None or number <= worker.ended_for
            own = getattr(call.receiver, "submitter", None) is worker
            self.world.check(below or own, f"row 4: a kill aimed at {worker.ended_for} hit {number}")
            if retries_left(call.options, call.attempts, (LOST,)):
                self.core.retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, "lost")
        self.orphan_nested(worker)

    def kill(self, worker):
        """SIGTERM: it ends a few steps later."""
        self.world.killed.append([worker, self.world.random.randint(0, 12)])

    # -- timeouts and cancelling --------------------------------------------------------------------------------------

    def check_time(self, worker, call, number):
        if worker.outstanding.get(number) is not call:
            return
        since = worker.page.since if number <= worker.page.started else None
        left = call.options.timeout if since is None else since + call.options.timeout - self.world.clock
        if left > 0:
            self.after(left, partial(self.check_time, worker, call, number))
            return
        if not self.end_call(worker, call):
            if worker.outstanding.get(number) is call:  # whether it was started is not known yet
                self.after(REST, partial(self.check_time, worker, call, number))
        elif retries_left(call.options, call.attempts, ("builtins:TimeoutError",)):
            self.core.retry(call)
        else:
            call.move("fail")
            call.receiver.deliver_failure(call, "timeout")

    def end_call(self, worker, call):
        ready, worker.ready = worker.ready, False
        self.recall(worker, since=call.number + 1)
        while worker.up:
            self.hear(worker, 1)
        if not self.core.is_running(worker, worker.page, call):
            worker.ready = ready
            return False
        worker.gone(call.number, len(call.payload))
        self.core.queue.forget_parent(call.number)
        self.send_stop(worker)
        worker.ended_for = call.number
        self.kill(worker)
        return True

    def cancel_sent(self, call, *, force):
        self.take_inbox()
        worker = call.place
        if call.state == SENT and worker is not None:
            if call.number > worker.page.started:
                self.recall(worker, since=call.number)
            if force and call.state == SENT and call.number <= worker.page.started and self.end_call(worker, call):
                call.move("cancel")
                return True
        if self.core.queue.claim(call):
            call.move("cancel")
            return True
        return False

    # -- nested tasks -------------------------------------------------------------------------------------------------

    def submit_nested(self, task, parent):
        call = Call(self.world.function(task.plan), b"", task, task.plan.options(), parent)
        task.call = call
        self.core.queue.offer(call)
        self.core.queue.add(call)

    def finish_nested(self, task):
        if not task.submitter.is_dead:
            task.submitter.down.append(("outcome", task))

    def orphan_nested(self, worker):
        worker.is_dead = True
        for task in self.world.tasks:
            if task.submitter is worker and not task.settled:
                if task.call is None:  # its Submit was never heard
                    task.cancelled = True
                elif self.core.queue.claim(task.call):
                    task.call.move("cancel")
                    task.cancel_succeeded()

    # -- the end ------------------------------------------------------------------------------------------------------

    def shut(self, *, cancel):
        self.state = "draining"
        if cancel:
            self.cancel_waiting()

    def cancel_waiting(self):
        self.take_inbox()
        for worker in self.workers.values():
            if worker.unstarted(worker.page.started):
                self.recall(worker)
        for entry in self.core.queue.clear():
            if isinstance(entry, Chunk):
                entry.cancelled = True
                entry.receiver.deliver_failure(entry.cut(entry.count - entry.next), None)
                continue
            entry.move("cancel")
            if isinstance(entry.receiver, Task) and entry.receiver.submitter is None:
                entry.receiver.cancel_succeeded()
            else:
                entry.receiver.deliver_failure(entry, None)

    def close_map(self, parts):
        parts.closed = True
        parts.chunk.cancelled = True
        for worker in self.workers.values():
            if any(call.chunk is parts.chunk for call in worker.unstarted(worker.page.started)):
                self.recall(worker)

    def check_drained(self):
        if self.core.queue.head() is None and not any(worker.outstanding for worker in self.workers.values()):
            for worker in self.workers.values():
                if not worker.stopping:
                    self.send_stop(worker)
