"""
Several engines in one thread: a peer has one for each client, so that no client sees another client's workers.

::

    Host: thread, event loop, fork server, seats
      |-- Hosted: the engine of one client: its scheduler, its workers, its links to other peers
      `-- Hosted: the engine of another client

A hosted engine acts only when there is something for it to do; the others sleep.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import woolexec.broken_pool  # now, because there may be no descriptor left later
import woolexec.engine.said  # noqa: F401
from woolexec.core.seats import Seats, Share
from woolexec.engine import asyncio_driver
from woolexec.engine.event_loop import Loop
from woolexec.engine.forks import Forks
from woolexec.engine.hosted_loop import HostedLoop
from woolexec.engine.lifetimes import running
from woolexec.engine.links import Links
from woolexec.engine.peer_upkeep import Rules
from woolexec.engine.rounds import Rounds
from woolexec.engine.supervisor import FINALIZING, GRACE
from woolexec.engine.worker_process import pids_of, unsent_to
from woolexec.platform.memory import usable_memory
from woolexec.platform.posix import SIGKILL, SIGTERM
from woolexec.wire.socket_stream import LIMIT, HugeBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from woolexec.core.offer import Offer
    from woolexec.statistics import Statistics


_SHARE = 8
"""The fraction, 1 / this, of the memory that arriving batches of one client's workers may take."""


class Host:
    """
    Runs engines in a separate thread, which is also an asyncio event loop.

    :param seats: maximum number of calls of all engines that run at once in main threads
    :param threads: value of the thread-pool variables in workers
    :param coroutines: maximum number of coroutines and streams that one worker runs at once
    :param variables: environment variables for the workers, in addition to those of this process
    :param offer: what calls may require of the workers
    :param guest: a coroutine function that runs in the thread until the host ends; its argument is the host
    :param on_worker_death: called for each worker that ended without being told to, with `is_early` if it ran nothing
    :param rules: limits and checks for the workers of all clients
    """

    serves_others: ClassVar[bool] = True

    def __init__(
        self,
        seats: int,
        *,
        threads: int,
        coroutines: int,
        variables: Mapping[str, str],
        offer: Offer,
        guest: Callable[[Host], Coroutine[Any, Any, None]],
        on_worker_death: Callable[..., object],
        rules: Rules | None = None,
    ) -> None:
        self._rules = rules or Rules()
        self.loop = Loop(_is_current)
        self.tell = self.loop.tell
        self.forks = Forks(self.loop, threads, variables, is_peer=True)
        self.seats = Seats(seats, self.loop.clock, self.loop.after)
        self.engines: list[Hosted] = []
        self.wake: Callable[[], None] = _nothing
        """Wakes the engines that have something to do; set by the thread."""
        self.on_engine_end: Callable[[Hosted], object] = _nothing_of
        """Called with each engine that has finished."""
        self._due: dict[Hosted, None] = {}
        self._coroutines, self._offer, self._on_worker_death = coroutines, offer, on_worker_death
        self._guest = guest
        self._is_draining = False
        self.loop.prepare(self._run, _nothing)
        running.add(self)
        self.loop.begin()

    # -- from any thread ----------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """The thread has ended."""
        return self.loop.stopped

    @property
    def pids(self) -> list[int]:
        """Process ids of all workers."""
        return [pid for engine in tuple(self.engines) for pid in engine.pids]

    @property
    def forked(self) -> bool:
        """This is the copy of a host in a forked child."""
        return self.loop.forked

    @property
    def has_begun(self) -> bool:
        """The thread has been started."""
        return self.loop.has_begun

    def interrupt(self) -> None:
        """Cancel calls that have not been started and interrupt those that run, after the user's Ctrl-C."""
        self.loop.ask(self._interrupt)

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """End when the calls of all engines are done or, with `cancel`, end them and all workers."""
        if self.forked:
            return
        self.tell(self._end if cancel else self._drain)
        if wait:
            self.join()

    def join(self) -> None:
        """Wait until the thread has ended; return at once in that thread."""
        if threading.current_thread() is not self.loop.thread:
            self.loop.join()

    def forget(self) -> None:
        """Close all descriptors in a forked child, which has no such thread."""
        for engine in self.engines:
            engine.forget()
        with contextlib.suppress(OSError):
            self.forks.forget()
        self.loop.forget()

    # -- the thread ---------------------------------------------------------------------------------------------

    def engine(self, settings: Mapping[str, Any]) -> Hosted:
        """
        Make the engine of a client.

        :param settings: applied in its workers
        """
        engine = Hosted(self, self._coroutines, self._offer, self._on_worker_death, settings)
        engine.links.upkeep.obey(self._rules)
        self.engines.append(engine)
        if self._is_draining:
            engine.drain()
        return engine

    def room_for_nested(self) -> int:
        """Return half of the memory, which is the limit for the tasks of one client."""
        return usable_memory() // 2

    def loop_for(self, rounds: Rounds) -> Loop:
        """Create the `HostedLoop` of a new engine."""
        return cast("Loop", HostedLoop(self, rounds))  # it has what the parts of an engine use

    def forks_for(self, _loop: Loop) -> Forks:
        """Return what starts the workers of all engines."""
        return self.forks

    def share_for(self, loop: Loop) -> Share:
        """Create a new engine's share of the seats."""
        return Share(self.seats, loop.wake)

    def mark(self, engine: Hosted) -> None:
        """Mark an engine to act in the next round."""
        self._due[engine] = None

    def _run(self) -> None:
        try:
            asyncio_driver.run(self._step, self.loop, self._be_host)
        finally:
            for engine in self.engines:  # after a failure: none is left otherwise
                engine.fail(RuntimeError("the peer has failed"))
            self.forks.close()
            for engine in list(self.engines):
                engine.ended()
            running.discard(self)
            self.loop.close()
            self.loop.ended()

    async def _be_host(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        await self._guest(self)

    def _step(self) -> bool:
        """Run the engines that are due; return False when nothing is left to do."""
        inbox = self.loop.inbox
        while inbox:
            inbox.popleft()()
        due, self._due = self._due, {}
        for engine in due:
            if engine in self.engines and not engine.step():
                self.engines.remove(engine)
                self.on_engine_end(engine)
                engine.ended()
        if self._due:  # made due by these: frames of others come first
            inbox.append(_nothing)
        return bool(self.engines) or not self._is_draining

    def _drain(self) -> None:
        self._is_draining = True
        for engine in self.engines:
            engine.drain()

    def _interrupt(self) -> None:
        for engine in self.engines:
            engine.interrupt()

    def _end(self) -> None:
        self._is_draining = True
        for engine in self.engines:
            engine.end()


class Hosted:
    """The engine of one client; all of it runs in the host's thread."""

    def __init__(
        self,
        host: Host,
        coroutines: int,
        offer: Offer,
        on_worker_death: Callable[..., object],
        settings: Mapping[str, Any],
    ) -> None:
        self._host = host
        self._when_ended: Callable[[], object] = _nothing
        self._rounds = Rounds(
            0,
            initializer=None,
            initializer_timeout=None,
            calls_limit=None,
            coroutines=coroutines,
            guest=None,
            policy=None,
            offer=offer.for_engine(partial(host.mark, self)),
            on_worker_death=on_worker_death,
            on_end=_nothing,
            host=host,
        )
        self._offer = offer
        self._loop = cast("HostedLoop", self._rounds.loop)
        self._loop.engine = self
        self._rounds.supervisor.settings_of_user = dict(settings)
        self._rounds.supervisor.huge_batches = HugeBatches(min(LIMIT, usable_memory() // _SHARE))
        self.scheduler = self._rounds.scheduler
        self.links = Links(self._rounds)
        """The interface for sessions and links."""

    @property
    def broken(self) -> BaseException | None:
        """The reason why no more calls are accepted, if the engine is broken."""
        return self._rounds.supervisor.broken

    @property
    def cannot_work(self) -> str:
        """Why no call can be run; empty if no reason is known."""
        return self._rounds.supervisor.starts.why_not

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return pids_of(self._rounds.supervisor.workers)

    def mark(self) -> None:
        """Mark this engine to act in the next round."""
        self._host.mark(self)

    def hold(self, who: object) -> None:
        """Read nothing from the workers until all holders have called `go_on`; other engines get their seats."""
        if self._loop.hold(who) and self._rounds.share is not None:
            self._rounds.share.hold()

    def go_on(self, who: object) -> None:
        """Read from the workers again, unless another holder holds them."""
        if self._loop.go_on(who) and self._rounds.share is not None:
            self._rounds.share.go_on()

    @property
    def unsent(self) -> int:
        """Bytes that wait to be written to workers."""
        return unsent_to(self._rounds.supervisor.workers)

    def wake(self) -> None:
        """Run this engine now; the caller is a task of the event loop."""
        self.mark()
        self._host.wake()

    def step(self) -> bool:
        """Do all work that is due; return False when it has ended."""
        try:
            return self._rounds.step()
        except Exception as exc:
            self.fail(exc)
            return True

    def statistics(self) -> Statistics:
        """Return its statistics."""
        from woolexec.engine.snapshot import snapshot

        return snapshot(self._rounds)

    def drain(self) -> None:
        """End when its calls are done."""
        self._rounds.shut(cancel=False)
        self.mark()

    def interrupt(self) -> None:
        """Cancel calls that have not been started and interrupt those that run."""
        self._rounds.interrupt()
        self.mark()

    def retire(self, when_ended: Callable[[], object]) -> None:
        """
        End its calls, because no client waits for them any more, and then its workers.

        :param when_ended: called when no worker is left
        """
        self._when_ended = when_ended
        self._rounds.shut(cancel=True)
        self.mark()
        finalizing = 0.0 if self._rounds.supervisor.finalizer is None else FINALIZING
        self._host.loop.after(GRACE + finalizing, self._end_for_good)

    def end(self, number: int = SIGTERM) -> None:
        """End its calls and its workers."""
        self._rounds.end_workers(number)
        self.mark()

    def _end_for_good(self) -> None:
        if self in self._host.engines:
            self.end(SIGKILL)

    def fail(self, exc: BaseException) -> None:
        """Fail all its calls because of a bug in woolexec; other engines continue."""
        logging.getLogger("woolexec").error("an engine failed", exc_info=exc)
        with contextlib.suppress(Exception):
            self._rounds.fail_everything(exc)

    def ended(self) -> None:
        """Release what it holds."""
        assert self._rounds.share is not None
        self._rounds.share.close()
        self._offer.leave(self.scheduler.offer)
        self._rounds.release()
        self._rounds.dispatcher.refuse_late()
        self._when_ended()

    def forget(self) -> None:
        """Close all descriptors in a forked child."""
        self._rounds.dispatcher.close()
        with contextlib.suppress(OSError):
            self._rounds.supervisor.forget()

    def on_first_nested(self, act: Callable[[], object]) -> None:
        """Call a function when a task submits the first nested task."""
        self._rounds.dispatcher.nested.on_first = act


def _is_current(about: tuple[Callable[[Any], bool], Any]) -> bool:
    is_current, subject = about
    return is_current(subject)


def _nothing() -> None:
    """Do nothing."""


def _nothing_of(_: Hosted) -> None:
    """Do nothing."""
