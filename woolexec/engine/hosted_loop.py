"""The loop of an engine that shares its thread with others; it uses the loop of the host."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from woolexec.engine.event_loop import Loop
    from woolexec.engine.rounds import Rounds

    class Engine(Protocol):
        """The engine of one client."""

        def fail(self, exc: BaseException) -> None:
            """Fail all of its calls."""

    class Host(Protocol):
        """What runs the engines."""

        loop: Loop

        @property
        def tell(self) -> Callable[[Callable[[], object]], None]:
            """Run a function in the thread of the engines soon."""

        def mark(self, engine: Any) -> None:
            """Mark an engine to act in the next round."""


class HostedLoop:
    """The `Loop` interface for the parts of one engine; uses the host's loop, which then runs the engine."""

    def __init__(self, host: Host, rounds: Rounds) -> None:
        self.inbox: deque[Any] = deque()
        self.engine: Engine
        self.watched = self
        self.clock = host.loop.clock
        self.run_user_code = host.loop.run_user_code
        self.handle_record = host.loop.handle_record
        self.unwatch_output = host.loop.unwatch_output
        self.stopped = self.forked = False
        self._host = host
        self._rounds = rounds
        self._acts: dict[int, tuple[Callable[[], object], bool]] = {}
        self._holders: set[object] = set()  # while there are any, nothing is read

    def wake(self) -> None:
        """Wake the engine."""
        self._host.mark(self.engine)

    def tell(self, piece: Callable[[], object]) -> None:
        """Run a function in the host's thread soon; from any thread."""
        self._host.tell(partial(self.run, piece))

    def run(self, piece: Callable[[], object]) -> None:
        """Run a piece of the engine now; if it raises, this engine fails, and the others continue."""
        try:
            piece()
        except Exception as exc:
            self.engine.fail(exc)
        self.wake()

    def after(self, seconds: float, piece: Callable[[], object], about: Any = None) -> None:
        """Run `piece` after this many seconds, unless its subject `about` is gone by then."""
        subject = None if about is None else (self._rounds.is_outstanding, about)
        self._host.loop.after(seconds, partial(self.run, piece), subject)

    # -- the selector -------------------------------------------------------------------------------------------

    def add(self, fd: int, act: Callable[[], object]) -> None:
        """Call `act` when there is something to read."""
        self._acts[fd] = act, False
        if not self._holders:
            self._host.loop.watched.add(fd, partial(self.run, act))

    def change(self, fd: int, act: Callable[[], object], *, writing: bool = False) -> None:
        """Call `act` when there is something to read or, with `writing`, something can be written."""
        self._acts[fd] = act, writing
        if not self._holders:
            self._host.loop.watched.change(fd, partial(self.run, act), writing=writing)

    def remove(self, fd: int) -> None:
        """Stop watching."""
        self._acts.pop(fd, None)
        self._host.loop.watched.remove(fd)

    def watch_output(self, fd: int, act: Callable[[], object]) -> None:
        """Call `act` when a worker has written output, even while nothing else is read: C code would block."""
        self._host.loop.watch_output(fd, partial(self.run, act))

    def hold(self, who: object) -> bool:
        """
        Watch nothing until all holders have called `go_on`; meanwhile a worker whose socket is full waits.

        :return: whether it was not held before
        """
        is_first = not self._holders
        self._holders.add(who)
        for fd in self._acts if is_first else ():
            self._host.loop.watched.remove(fd)
        return is_first

    def go_on(self, who: object) -> bool:
        """Watch again, unless another holder holds it; return whether it watches now."""
        if self._holders != {who}:
            self._holders.discard(who)
            return False
        self._holders.clear()
        watched = self._host.loop.watched
        for fd, (act, writing) in self._acts.items():
            watched.add(fd, partial(self.run, act))
            if writing:
                watched.change(fd, partial(self.run, act), writing=True)
        return True
