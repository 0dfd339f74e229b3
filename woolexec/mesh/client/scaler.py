"""
The peers of a launcher: started when tasks wait, stopped when they have been idle.

::

    what waits, who is idle --> core/scaling.py --> launcher.start(n), launcher.stop(handle)
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
"""Seconds between two looks at the work, at most: the first task that waits has one at once."""

_USER = "_user"
"""The attribute of a launcher that says whose it is; two engines' threads may try to set it at once."""

LONG = 30.0
"""Seconds that tasks wait for peers before it is logged why."""

_TIDYING = 5.0
"""Seconds that requests to start and to stop have to end when the client ends."""


class Scaler(Discovery):
    """
    A launcher, as a client uses it; in the engine's thread only.

    :param links_of: returns the links to peers that this discovery has found, by the keys of their records
    :param hear: called with events beside those of `watch`
    :param on_final: called when waiting for more of its peers makes no sense
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
        self._heads: dict[Any, tuple[int, float]] = {}  # by link: the oldest call there, and since when it is that
        self._known: Link | None = None  # the last one, as an example of what its peers have
        self._trouble = ""
        self._refused_at: float | None = None  # when a start was refused for good

    def __str__(self) -> str:
        return str(self._launcher)

    @property
    def is_starting(self) -> bool:
        """Peers are on their way."""
        return self._policy.is_starting(monotonic())

    def possible(self, since: float) -> float:
        """Return the maximum number of its peers: those that there are if others have been refused for good since."""
        refused_at = self._refused_at
        return len(self._handles) if refused_at is not None and refused_at >= since else inf

    def hasten(self, since: float) -> None:
        """Try again to start peers now if that was refused for good before then: what was wrong may be mended."""
        if self._refused_at is not None and self._refused_at < since:
            self._refused_at = None
            self._policy.retry()

    @property
    def trouble(self) -> str:
        """Why fewer peers may be there than were asked for; empty: nothing is known to be wrong."""
        return self._trouble or self._launcher.trouble

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield the events of the launcher; what it has started ends when this is closed.

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
            self._trouble = event.reason  # what follows the events logs it
        self._handles.pop(event.key, None)
        self._policy.gone(event.key, monotonic())

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            logging.getLogger("woolexec").warning("%s: %s", self._launcher, printable(trouble))

    # -- what to do ---------------------------------------------------------------------------------------------

    def look(self, links: Links, awaited: int) -> None:
        """
        Start and stop peers, as there is much or little to do.

        :param awaited: the number of peers for which a thread waits
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
            self._hear(self, Left(key))  # its link is kept, and not made again when it has ended
            self._request(self._stop(key))

    def _oldest(self, links: list[Link], now: float) -> float:
        """Return for how long the oldest call has been at one of these peers, as far as was seen."""
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
        """Stop a peer; try again while that fails, for it costs somebody something."""
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
    Those of one client.

    :param candidates: the records that the client knows
    :param hear: called with events of these discoveries, beside those that they yield
    :param on_final: called when waiting for more peers of one of them makes no sense
    """

    def __init__(
        self, candidates: Candidates, hear: Callable[[Discovery, Event], object], on_final: Callable[[], object]
    ) -> None:
        self._candidates, self._hear, self._on_final = candidates, hear, on_final
        self._all: list[Scaler] = []
        self._waits_since: float | None = None  # since when tasks wait while there is no peer; infinity: it was said

    def wrap(self, discoveries: Iterable[Discovery]) -> Iterator[Discovery]:
        """Yield the discoveries to use: those that there are, with scalers in place of launchers."""
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
        """Peers are on their way, so tasks wait for them, whatever `peers_timeout` is."""
        return any(scaler.is_starting for scaler in self._all)

    def troubles(self, known: Collection[str] = ()) -> list[str]:
        """Return why fewer peers may be there than were asked for, apart from what the events have said."""
        return [f"{scaler}: {scaler.trouble}" for scaler in self._all if scaler.trouble and scaler.trouble not in known]

    def _tell(self, *, is_waiting: bool) -> None:
        """Log once why tasks wait, if they have done so for long: peers that are on their way may never come."""
        if not is_waiting or self._waits_since is None:
            self._waits_since = monotonic() if is_waiting else None
        elif monotonic() - self._waits_since > LONG:
            self._waits_since = inf
            for trouble in self.troubles():
                logging.getLogger("woolexec").warning("tasks wait for peers: %s", printable(trouble))

    async def run(self, links: Links, awaited: Callable[[], int]) -> None:
        """
        Start and stop peers until cancelled.

        :param awaited: returns the number of peers for which a thread waits
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
