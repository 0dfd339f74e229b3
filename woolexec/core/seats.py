"""
How the clients of a peer share its workers: each worker serves one client, and seats bound the calls that run at once.

A client holds seats; each of its workers that has one may run calls in its main thread.  A worker without a seat is
parked: it is sent no calls for its main thread, but finishes the calls in its lane.  A client that wants one more seat
gets, in this order, a free one, that of the worker that has been idle longest, or one of the client that holds most, as
soon as one of its calls ends.  Clients that hold equally many take turns, short ones if the waiting one needs little.

A call that waits for nested tasks needs no seat, and continues without asking when these have ended.  If its worker was
parked meanwhile, it takes a seat even if none is free.  The number of free seats is then negative: no client is given
one, and the client among the others that holds most gives one back as soon as one of its calls ends.

An idle parked worker is kept for a while, so that its client need not start another one at its next turn: for all
clients together, as many as there are seats or clients, whichever is more.
"""

from __future__ import annotations

from math import inf

from woolexec.core.spares import Spares
from woolexec.core.workforce import is_occupied, may_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from woolexec.core.group import Group
    from woolexec.core.offer import Offer
    from woolexec.core.workforce import Workforce

    class Scheduler(Protocol):
        """What a share needs of the scheduler of its client."""

        main: Group
        offer: Offer
        workforce: Workforce

        def heard(self, worker: Any) -> None:
            """Send a worker the calls that it can take."""

        def recall(self, place: Any, since: int = 0) -> None:
            """Recall the calls that a place has not started, from this one on."""


TURN = 0.05
"""Seconds that a client keeps a seat that it uses before a client that holds fewer may get it."""


class Seats:
    """
    The seats of one peer.

    :param count: maximum number of calls that run at once in main threads of workers
    :param clock: returns monotonic seconds
    :param after: calls a function later, given the seconds until then
    """

    def __init__(
        self, count: int, clock: Callable[[], float], after: Callable[[float, Callable[[], object]], object]
    ) -> None:
        self.count = self.free = count
        self.clock = clock
        self._after = after
        self._shares: list[Share] = []
        self._line: dict[Share, None] = {}  # clients that want one more seat, in the order of their requests
        self._spares = Spares(clock, after)
        self._is_settling = False
        self._rouses_at = inf

    def join(self, share: Share) -> None:
        """Add a client, which holds no seats yet."""
        self._shares.append(share)

    def leave(self, share: Share) -> None:
        """Remove a client; the seats of its workers come back when these are gone."""
        if share in self._shares:
            self._shares.remove(share)
            self._line.pop(share, None)
            self.settle()

    def want(self, share: Share) -> None:
        """Put a client in line for one more seat."""
        if share not in self._line and share.held < self.count and share in self._shares:
            self._line[share] = None
            self.settle()

    def withdraw(self, share: Share) -> None:
        """Remove a client from the line."""
        self._line.pop(share, None)

    def could_give(self, share: Share) -> bool:
        """Return whether a client would get one more seat now, or as soon as a call of another one ends."""
        return share.held < self.count and (self.free > 0 or self._giver(share) is not None)

    def take_spare(self, share: Share) -> None:
        """Give a client a free seat, or that of a completely idle worker."""
        if self.free <= 0 < self.count - share.held:
            others = [each for each in self._shares if each is not share and each.rests_since is not None]
            if others:
                min(others, key=lambda each: each.rests_since or 0.0).give()
        if self.free > 0 and share.held < self.count and not self._line:
            self.free -= 1
            share.granted()

    @property
    def has_line(self) -> bool:
        """Whether clients wait for one more seat."""
        return bool(self._line)

    def freed(self, count: int = 1) -> None:
        """Take seats back."""
        self.free += count
        self.settle()

    def overdraw(self, share: Share) -> None:
        """Give a client a seat for a call that has continued, even if none is free."""
        self.free -= 1
        share.since = self.clock()
        if self.free + self._owed < 0:
            others = [each for each in self._shares if each is not share and each.held > each.owes]
            max(others or [share], key=lambda each: (each.held - each.owes, -each.since)).give()

    def keep(self, share: Share, worker: Any) -> None:
        """Keep an idle parked worker for a while."""
        self._spares.keep(worker, share.dismiss, max(self.count, len(self._shares)))

    def use(self, worker: Any) -> None:
        """Note that a worker is no longer idle, or is gone."""
        self._spares.use(worker)

    def settle(self) -> None:
        """Give free seats to waiting clients, and ask others for the missing ones."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            while self._line:
                if self.free > 0:
                    share = next(iter(self._line))
                    del self._line[share]
                    self.free -= 1
                    share.granted()
                elif not self._ask():
                    return
        finally:
            self._is_settling = False

    def _ask(self) -> bool:
        """Ask a client for a seat that no client was asked for yet; return whether one is free now."""
        for share in list(self._line)[max(0, self._owed + self.free) :]:
            giver = self._giver(share)
            if giver is not None:
                giver.give()
                if self.free > 0:
                    return True
        return False

    @property
    def _owed(self) -> int:
        """The number of seats that clients will give back as soon as their calls have ended."""
        return sum(share.owes for share in self._shares)

    def _giver(self, wanting: Share) -> Share | None:
        """Choose the client that gives a seat to another; None if none must give one now."""
        others = [share for share in self._shares if share is not wanting and share.held > share.owes]
        idle = [(since, at) for at, share in enumerate(others) if (since := share.idle_since) is not None]
        if idle:
            return others[min(idle)[1]]
        if not others:
            return None
        giver = max(others, key=lambda share: (share.held - share.owes, -share.since))
        more = giver.held - giver.owes - wanting.held
        left = giver.since + wanting.needs - self.clock()
        if more > 1 or (more == 1 and left <= 0.0):
            return giver
        if more == 1:
            self._settle_after(left)
        return None

    def _settle_after(self, seconds: float) -> None:
        at = self.clock() + seconds
        if at < self._rouses_at:
            self._rouses_at = at
            self._after(seconds, self._rouse)

    def _rouse(self) -> None:
        self._rouses_at = inf
        self.settle()


class Share:
    """
    The seats of one client.

    :param wake: wakes its engine
    """

    def __init__(self, seats: Seats, wake: Callable[[], object]) -> None:
        self.seats = seats
        self.wake = wake
        self.owes = 0
        """The number of seats that it gives back as soon as its calls have ended."""
        self.since = 0.0  # when it was given its last seat, in monotonic seconds
        self.needs = 0.0  # seconds for which it last used a seat until no call waited; at most a turn
        self._held_back: list[Any] = []  # sent no calls until a seat is given back
        self._is_held = False  # it gets no seats

    def bind(self, scheduler: Scheduler, dismiss: Callable[[Any], object]) -> None:
        """
        Set the scheduler that uses these seats.

        :param dismiss: lets an idle worker exit
        """
        self._scheduler, self.dismiss = scheduler, dismiss
        self._workforce = scheduler.workforce
        self.seats.join(self)

    @property
    def most(self) -> int:
        """The number of seats that it can ever hold."""
        return self.seats.count

    @property
    def held(self) -> int:
        """The number of seats, including those that it owes."""
        return self._workforce.limit

    @property
    def idle_since(self) -> float | None:
        """When the worker whose main thread has been idle longest started its last call; None if none is idle."""
        return self._since(is_occupied)

    @property
    def rests_since(self) -> float | None:
        """Like `idle_since`, for workers that run no coroutine or stream either."""
        return self._since(lambda worker: worker.is_busy)

    def _since(self, is_in_use: Callable[[Any], bool]) -> float | None:
        if self.owes:
            return None
        seated = self._workforce.seated
        if len(seated) < self.held:  # it was just given, unless no call waits
            return 0.0 if self._scheduler.main.queue.head() is None else None
        return min((worker.page.since for worker in seated if not is_in_use(worker)), default=None)

    @property
    def has_pinned(self) -> bool:
        """Whether calls are pinned to workers that have no seat."""
        return bool(self._workforce.parked) and any(worker.pinned for worker in self._workforce.parked)

    @property
    def could_grow(self) -> bool:
        """Whether it would get one more seat if it asked for one."""
        return not (self.owes or self._is_held) and self.seats.could_give(self)

    def want(self) -> bool:
        """Ask for one more seat; return whether there is one at once."""
        held = self.held
        if not (self.owes or self._is_held):
            self.seats.want(self)
        return self.held > held

    def take_spare(self) -> None:
        """Take an unused seat, if there is one."""
        if not (self.owes or self._is_held):
            self.seats.take_spare(self)

    def granted(self) -> None:
        """Take one more seat; a parked worker gets it first."""
        self._workforce.limit += 1
        self.since = self.seats.clock()
        parked = [worker for worker in self._workforce.parked if may_run(worker)]
        if parked:
            self.unpark(max(parked, key=lambda worker: (bool(worker.pinned), bool(worker.waiting), worker.id)))
        self.wake()

    def resumed(self, worker: Any) -> None:
        """Take a seat for a worker whose call continues after waiting for nested tasks, if it was parked meanwhile."""
        if worker in self._workforce.parked and worker.runs and not self._is_held:
            self._workforce.parked.pop(worker)
            self.seats.use(worker)
            worker.ready = may_run(worker)
            self._workforce.limit += 1
            self.seats.overdraw(self)

    def unpark(self, worker: Any) -> None:
        """Give a parked worker a seat that the client has and does not use."""
        self._workforce.parked.pop(worker)
        self.seats.use(worker)
        worker.ready = may_run(worker)
        self._scheduler.heard(worker)

    def give(self) -> None:
        """Give one seat back: at once if one is unused, otherwise as soon as a call ends."""
        self.wake()
        self.owes += 1
        self.check()
        if not self.owes:
            return
        for worker in self._workforce.seated:
            if worker.ready and may_run(worker):
                worker.ready = False
                self._held_back.append(worker)
                self._recall(worker)

    def _recall(self, worker: Any) -> None:
        """Recall all calls but the first: even one that a new worker has not started yet ends its client's turn."""
        if len(worker.outstanding) > 1 and not worker.recalling and not worker.waiting:
            self._scheduler.recall(worker, since=sorted(worker.outstanding)[1])

    def hold(self) -> None:
        """
        Give all seats back, and take none, until `go_on` is called: nothing is read from the workers meanwhile.

        The ends of their calls would not be noticed, so a client that reads no outcomes would keep its seats forever.
        """
        self._is_held = True
        self.seats.withdraw(self)
        for worker in list(self._workforce.seated):
            self.park(worker)
            if worker.outstanding and not worker.recalling and not worker.waiting:
                self._scheduler.recall(worker)
        count, self._workforce.limit, self.owes = self.held, 0, 0
        self._held_back.clear()
        self.seats.freed(count)

    def go_on(self) -> None:
        """Take seats again."""
        self._is_held = False
        if self._workforce.parked:
            self.want()
        self.wake()

    def joined(self, worker: Any) -> None:
        """Park a new worker if there is no seat for it."""
        if len(self._workforce.seated) > self._workforce.most:
            self.park(worker)

    def left(self, worker: Any) -> None:
        """Forget a worker that is gone."""
        self.seats.use(worker)
        if worker in self._held_back:
            self._held_back.remove(worker)
        self.check()

    def check(self) -> None:
        """Give back the seats that it owes and does not use, and check the parked workers."""
        workforce = self._workforce
        while self.owes:
            seated = workforce.seated
            if len(seated) >= self.held:
                free = [worker for worker in seated if not worker.runs]
                if not free:
                    break
                parked = min(free, key=lambda worker: (worker.is_busy, worker.page.since))
                has_more = self._scheduler.main.queue.head() is not None
                self.needs = TURN if has_more else min(TURN, max(0.0, parked.page.since - self.since))
                self.park(parked)
            workforce.limit -= 1
            self.owes -= 1
            if not self.owes:
                self._go_on()
            self.seats.freed()
        if self.seats.has_line and self.idle_since is not None:
            self.seats.settle()
        for worker in list(workforce.parked):
            if worker.is_busy or worker.recalling or worker.stopping:
                self.seats.use(worker)
            else:
                self.seats.keep(self, worker)

    def _go_on(self) -> None:
        held_back, self._held_back = self._held_back, []
        for worker in held_back:
            if worker not in self._workforce.parked and may_run(worker):
                worker.ready = True

    def park(self, worker: Any) -> None:
        """Take the seat of a worker, which is sent no more calls."""
        worker.ready = False
        self._workforce.parked[worker] = None
        if worker in self._held_back:
            self._held_back.remove(worker)

    def close(self) -> None:
        """Give all seats back: those in use when their workers are gone."""
        for worker in self._workforce.parked:
            self.seats.use(worker)
        self.seats.leave(self)
        unused = self.held - len(self._workforce.seated)
        self._workforce.limit -= max(0, unused)
        self.owes, self._is_held = self.held, True
        if unused > 0:
            self.seats.freed(unused)
