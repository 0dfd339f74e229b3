"""The parts of every run: a pool, its calls, and the harmless actions."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NoReturn, Self

from tests.chaos import tasks
from tests.chaos.consumers import Consumers
from tests.chaos.isolation import FOLDERS, is_small
from tests.chaos.kinds import KINDS, Maker
from tests.chaos.ledger import Ledger
from tests.chaos.plan import action
from woolexec import PeerPoolExecutor
from woolexec.futures.call_future import CallFuture

OUTSTANDING = 300
"""Number of calls that have not ended, above which no more are submitted."""

REMEMBERED = 60
"""Number of futures among which one is chosen to be cancelled."""


class World:
    """
    A pool under load.

    :param folder: for its files; tasks note their starts there
    :param can_fill: /tmp and /dev/shm belong to this run, and may be filled
    """

    bound = 180.0
    """Seconds within which each call must end, whatever happens to it and however busy the machine is."""

    def __init__(self, folder: Path, *, can_fill: bool = False) -> None:
        self._can_fill = can_fill
        self.ledger = Ledger(time.monotonic)
        self.folder = folder
        self.journal = str(folder / "starts")
        self.pool: PeerPoolExecutor
        self._consumers = Consumers()
        self._recent: deque[tuple[int, Future[Any]]] = deque(maxlen=REMEMBERED)
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def __enter__(self) -> Self:
        tasks.open_journal(self.journal)
        self.pool = self.make_pool()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._consumers.__exit__(kind, exc, tb)
        self.pool.shutdown(wait=exc is None, cancel_futures=exc is not None)
        self.do_what_is_due(everything=True)
        self._recent.clear()
        tasks.close_journal()

    def make_pool(self) -> PeerPoolExecutor:
        """Make the pool, whose workers must open the journal first."""
        raise NotImplementedError

    def pids(self) -> dict[str, int]:
        """Return the processes that must not grow, by names."""
        raise NotImplementedError

    def starts(self) -> Any:
        """Return how often each call has started."""
        return tasks.starts_in(self.journal)

    # -- later --------------------------------------------------------------------------------------------------

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something after this time, between two steps."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), act))

    def do_what_is_due(self, *, everything: bool = False) -> None:
        """Do what was put off until now or, at the end, all of it."""
        while self._later and (everything or self._later[0][0] <= time.monotonic()):
            heapq.heappop(self._later)[2]()

    # -- actions that do no harm --------------------------------------------------------------------------------

    @action(100)
    def submit(self, dice: Random) -> str:
        """Submit some calls of one kind."""
        [kind] = dice.choices(KINDS, [kind.weight for kind in KINDS])
        count = dice.choice([1, 3, 12] if kind.expected.starts else [1, 2])
        for _ in range(count):
            number = self.ledger.accept(kind.expected)
            try:
                future = kind.make(Maker(self.pool, self._consumers, dice), number)
            except OSError as exc:  # permitted at once as well as later, while descriptors are missing
                self.ledger.end(number, partial(_raise, exc))
                continue
            self._recent.append((number, future))
            future.add_done_callback(lambda future, number=number: self.ledger.end(number, future.result))
        return f"{count} x {kind.expected.kind}"

    @action(6)
    def cancel(self, dice: Random) -> str:
        """Cancel some of the last calls."""
        chosen = dice.sample(self._recent, min(len(self._recent), dice.choice([1, 1, 5])))
        return f"{sum(self._cancel(*one) for one in chosen)} of {len(chosen)}"

    @action(2)
    def cancel_by_force(self, dice: Random) -> str | None:
        """Cancel one of the last calls even if it runs."""
        if not self._recent:
            return None
        number, future = dice.choice(self._recent)
        return f"call {number}: {self._cancel(number, future, force=True)}"

    # -- what any run can do to any pool -------------------------------------------------------------------------

    @action(0.7)
    def fill_the_disk(self, dice: Random) -> str:
        """Leave no byte in /tmp and /dev/shm for a while, if they are this run's own, whatever we were told."""
        if not (self._can_fill and all(map(is_small, FOLDERS))):
            return "not here: it takes a mount namespace"
        for folder in FOLDERS:
            _fill(Path(folder, "filler"))
            self.later(dice.random() * 3.0, partial(Path(folder, "filler").unlink, missing_ok=True))
        return "/tmp and /dev/shm"

    def _cancel(self, number: int, future: Future[Any], *, force: bool = False) -> bool:
        if force or not isinstance(future, CallFuture):  # a coroutine of ours is cancelled with what it waits for
            self.ledger.forced(number)
        return future.cancel(force=force) if isinstance(future, CallFuture) else future.cancel()


def _fill(path: Path) -> None:
    """Write to a file until there is no room."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def _raise(exc: BaseException) -> NoReturn:
    raise exc
