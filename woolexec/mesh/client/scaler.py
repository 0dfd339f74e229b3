"""
The peers of a launcher: started when tasks wait, stopped when they have been idle.

::

    waiting work, idle peers -> core/scaling.py --> launcher.start(n), launcher.stop(handle)
                                      ^                      |
                                      '-- Joined, Left <-----'--> links, as with any discovery
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.core.scaling import Scaling
from woolexec.discovery.base import Discovery, Event, Left
from woolexec.discovery.launcher import Launcher
from woolexec.errors import DiscoveryError
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
    from typing import Any

    from woolexec.discovery.launcher import Handle
    from woolexec.engine.links import Links
    from woolexec.mesh.client.candidates import Candidates
    from woolexec.mesh.client.link import Link

_LOOK = 0.25
"""Maximum seconds between two checks of the work; the first waiting task causes one at once."""

_USER = "_user"
"""The attribute of a launcher that names its user; the threads of two engines may try to set it at once."""

LONG = 30.0
"""Seconds that tasks wait for peers before it is logged why."""

_TIDYING = 5.0
"""Seconds for requests to start and to stop peers to finish when the client ends."""


class Scaler(Discovery):
    """
    A client's use of a launcher; only in the engine's thread.

    :param links_of: returns the links to peers that this discovery has found, by the keys of their records
    :param hear: called with events in addition to those of `watch`
    :param on_final: called when waiting for more of its peers is pointless
    """

    def __init__(
        self,
        launcher: Launcher,
        links_of: Callable[[Discovery], Mapping[str, Link]],
        hear: Callable[[Discovery, Event], object],
        on_final: Callable[[], object],
    ) -> None:
        self._launcher, self._links_of, self._hear, self._on_final = launcher, links_of, hear, on_final
        self.signs, self.most = launcher.signs, launcher.max
        self._policy = Scaling(launcher.min, launcher.max, launcher.idle_timeout)
        self._handles: dict[str, Handle] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._heads: dict[Any, tuple[int, float]] = {}  # by link: the oldest call there, and since when
        self._known: Link | None = None  # the last link, as an example of what its peers offer
        self._trouble = ""
        self._refused_at: float | None = None  # when a start was refused permanently

    def __str__(self) -> str:
        return str(self._launcher)

    @property
    def is_starting(self) -> bool:
        """Whether peers are being started."""
        return self._policy.is_starting(monotonic())

    def possible(self, since: float) -> float:
        """Return the maximum number of its peers: the present ones if starts were refused permanently since then."""
        refused_at = self._refused_at
        return len(self._handles) if refused_at is not None and refused_at >= since else inf

    def hasten(self, since: float) -> None:
        """Try again to start peers now if that was refused permanently before then: the cause may be gone."""
        if self._refused_at is not None and self._refused_at < since:
            self._refused_at = None
            self._policy.retry()

    @property
    def trouble(self) -> str:
        """Why there may be fewer peers than were requested; empty: no known problem."""
        return self._trouble or self._launcher.trouble

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield the events of the launcher; the peers that it has started end when this is closed.

        :raises DiscoveryError: if another executor uses it
        """
        if vars(self._launcher).setdefault(_USER, self) is not self:
            raise DiscoveryError(f"{self} is in use by another executor")
        try:
            async with contextlib.aclosing(self._launcher.watch()) as events:
                async for event in events:
                    if isinstance(event, Left):
                        self._left(event)
                    else:
                        self._policy.found(event.record.key, monotonic())
                    yield event
        finally:
            for request in self._requests:
                request.cancel()
            if self._requests:
                await asyncio.wait(self._requests, timeout=_TIDYING)
            self._policy = Scaling(self._launcher.min, self._launcher.max, self._launcher.idle_timeout)
            self._handles = {}
            del vars(self._launcher)[_USER]

    def _left(self, event: Left) -> None:
        if event.reason:
            self._trouble = event.reason  # logged by the code that follows the events
        self._handles.pop(event.key, None)
        self._policy.gone(event.key, monotonic())

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            logging.getLogger("woolexec").warning("%s: %s", self._launcher, printable(trouble))

    # -- what to do ---------------------------------------------------------------------------------------------

    def look(self, links: Links, awaited: int) -> None:
        """
        Start and stop peers according to the work.

        :param awaited: the number of peers that a thread waits for
        """
        if vars(self._launcher).get(_USER) is not self:
            return
        now = monotonic()
        self._policy.least = max(self._launcher.min, min(awaited, self._launcher.max))
        mine = self._links_of(self)
        for key, link in mine.items():
            self._known = link
            self._policy.ready(key, now)
            self._policy.busy(key, now, is_busy=bool(link.outstanding or link.lane_place.outstanding))
            self._trouble = ""
        width = self._launcher.workers or 1 if self._known is None else self._known.width
        offer = None if self._known is None else self._known.offer
        lines, seconds = links.demand(list(mine.values()), offer, width)
        more, stopping = self._policy.step(lines, seconds, self._oldest(list(mine.values()), now), now)
        if more:
            self._request(self._start(more))
        for key in stopping:
            self._hear(self, Left(key))  # its link is kept, but not made again after its end
            self._request(self._stop(key))

    def _oldest(self, links: list[Link], now: float) -> float:
        """Return how long the oldest call has been at one of these peers, as far as was seen."""
        heads = {}
        for link in links:
            number = next(iter(link.outstanding), 0)
            if number:
                before = self._heads.get(link)
                heads[link] = before if before is not None and before[0] == number else (number, now)
        self._heads = heads
        return max((now - since for _, since in heads.values()), default=0.0)

    def _request(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _start(self, count: int) -> None:
        handles: list[Handle] = []
        try:
            handles = list(await self._launcher.start(count))
        except DiscoveryError as exc:
            self._complain(str(exc))
            if exc.is_final:
                self._refused_at = monotonic()
                self._on_final()
        except Exception as exc:  # a third-party launcher: it is tried again, later and later
            self._complain(f"{type(self._launcher).__name__}.start: {exc!r}")
        else:
            self._refused_at = None
        finally:
            self._handles.update((handle.key, handle) for handle in handles)
            self._policy.started([handle.key for handle in handles], count, monotonic())

    async def _stop(self, key: str) -> None:
        """Stop a peer; try again while that fails, because running peers have a cost."""
        while (handle := self._handles.get(key)) is not None:
            try:
                await self._launcher.stop(handle)
            except DiscoveryError as exc:
                self._complain(str(exc))
            except Exception as exc:  # as above
                self._complain(f"{type(self._launcher).__name__}.stop: {exc!r}")
            else:
                return
            await asyncio.sleep(_TIDYING)


class Scalers:
    """
    The scalers of one client.

    :param candidates: the records that the client knows
    :param hear: called with events of these discoveries, in addition to those that they yield
    :param on_final: called when waiting for more peers of one of them is pointless
    """

    def __init__(
        self, candidates: Candidates, hear: Callable[[Discovery, Event], object], on_final: Callable[[], object]
    ) -> None:
        self._candidates, self._hear, self._on_final = candidates, hear, on_final
        self._all: list[Scaler] = []
        self._waits_since: float | None = None  # since when tasks wait without a peer; infinity: it was logged

    def wrap(self, discoveries: Iterable[Discovery]) -> Iterator[Discovery]:
        """Yield the discoveries to use, with launchers replaced by scalers."""
        for each in discoveries:
            if isinstance(each, Launcher):
                self._all.append(Scaler(each, self._links_of, self._hear, self._on_final))
                yield self._all[-1]
            else:
                yield each

    def _links_of(self, scaler: Discovery) -> dict[str, Link]:
        return {
            each.place[1]: each.link for each in self._candidates if each.place[0] is scaler and each.link is not None
        }

    @property
    def are_starting(self) -> bool:
        """Whether peers are being started, so that tasks wait for them regardless of `peers_timeout`."""
        return any(scaler.is_starting for scaler in self._all)

    def troubles(self, known: Collection[str] = ()) -> list[str]:
        """Return why there may be fewer peers than were requested, apart from reasons in events."""
        return [f"{scaler}: {scaler.trouble}" for scaler in self._all if scaler.trouble and scaler.trouble not in known]

    def _tell(self, *, is_waiting: bool) -> None:
        """Log once why tasks wait, if they have waited for long: starting peers may never become ready."""
        if not is_waiting or self._waits_since is None:
            self._waits_since = monotonic() if is_waiting else None
        elif monotonic() - self._waits_since > LONG:
            self._waits_since = inf
            for trouble in self.troubles():
                logging.getLogger("woolexec").warning("tasks wait for peers: %s", printable(trouble))

    async def run(self, links: Links, awaited: Callable[[], int]) -> None:
        """
        Start and stop peers until cancelled.

        :param awaited: returns the number of peers that a thread waits for
        """
        waiting = asyncio.Event()  # set when a task waits, after a time in which none did
        while self._all:
            for scaler in self._all:
                scaler.look(links, awaited())
            self._tell(is_waiting=links.waits_for_peers)
            waiting.clear()
            links.when_waiting(waiting.set)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await waiting.wait()
