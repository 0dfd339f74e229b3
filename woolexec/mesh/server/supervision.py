"""
Watches whether a peer can start workers: reports it, tries again while it cannot, and gives up after a while.

::

    SERVING --no worker can be started--> NOT_SERVING --a worker has been started--> SERVING
                                               `--- for too long --> gives up
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from woolexec.engine.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.engine.hosted import Host

_LOOK = 0.05
"""How often to check whether a worker has been started, in seconds."""


class Supervision:
    """
    Watches whether workers can be started.

    :param host: runs the engines of the clients
    :param give_up_after: seconds
    :param say: called with the reason when no worker can be started, and with an empty string when one was again
    :param give_up: called with the reason after `give_up_after` seconds
    :param invite: called when calls that were refused may be accepted again
    """

    def __init__(
        self,
        host: Host,
        give_up_after: float,
        *,
        say: Callable[[str], object],
        give_up: Callable[[str], object],
        invite: Callable[[], object],
    ) -> None:
        self._forks, self._loop = host.forks, host.loop
        self._give_up_after = give_up_after
        self._say, self._give_up, self._invite = say, give_up, invite
        self._failed = asyncio.Event()  # set after each failure
        self._forks.on_failure = self._failed.set

    async def run(self) -> None:
        """Watch until cancelled, or until it has given up."""
        breaker = self._forks.breaker
        while True:
            await self._failed.wait()
            if breaker.is_open:
                self._say(breaker.reason)
                if not await self._recover():
                    self._give_up(breaker.reason)
                    return
                self._say("")
            self._failed.clear()
            self._invite()

    async def _recover(self) -> bool:
        """Try repeatedly to start a worker; return whether one was started in time."""
        breaker = self._forks.breaker
        while breaker.is_open:
            if breaker.open_for >= self._give_up_after:
                return False
            if breaker.may_try():
                Probe(self._forks, self._loop)
            await asyncio.sleep(_LOOK)
        return True
