"""Finds tasks that no worker could ever run, because none offers what they require."""

from __future__ import annotations

from woolexec.core.call import fail
from woolexec.errors import UnsatisfiableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.core.offer import Offer
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.core.workforce import Workforce
    from woolexec.resources import Requirement

SEEN = 1.0
"""A task whose requirement no worker meets fails when two checks, this many seconds apart, have found this."""


class Unmet:
    """
    Checks the requirements of waiting tasks, as long as any have some.

    :param queues: the queues in which they wait
    :param offer: what the local workers offer
    :param links: the peers
    :param after: calls a function later
    """

    def __init__(
        self,
        queues: Sequence[ReadyQueue],
        offer: Offer,
        workforce: Workforce,
        links: Sequence[Any],
        after: Callable[[float, Callable[[], object]], None],
    ) -> None:
        self.expects_peers = False
        self.queues = list(queues)
        self._offer = offer
        self._workforce = workforce
        self._links = links
        self._after = after
        self._checking = False
        self._found: set[Requirement] = set()

    def check(self) -> None:
        """Schedule a check."""
        if not self._checking:
            self._checking = True
            self._after(SEEN, self._check)

    def forget(self) -> None:
        """Start over: a peer was found, and others may follow."""
        self.expects_peers = False
        self._found = set()

    def _check(self) -> None:
        self._checking = False
        offers = [self._offer, *(link.offer for link in self._links)]
        waiting = {requirement for queue in self.queues for requirement in queue.requirements()}
        unmet = {requirement for requirement in waiting if not any(offer.meets(requirement) for offer in offers)}
        if not self._links and (self.expects_peers or not self._workforce.full):
            unmet = set()  # `peers_timeout` limits the wait for the first peer
        gone = unmet & self._found
        for queue in self.queues if gone else ():
            for entry in queue.clear(gone):
                assert entry.line is not None
                assert entry.line.requirement is not None
                fail(entry, UnsatisfiableError(_message(entry.line.requirement, self._offer, self._links)))
        self._found = unmet
        if waiting:
            self.check()


def _message(requirement: Requirement, here: Offer, links: Sequence[Any]) -> str:
    """Return the message for a requirement that no worker meets, with what was seen."""
    seen = [f"{link.name}: {str(link.offer) or 'nothing'}" for link in links[:10]]
    if len(links) > 10:
        seen.append(f"{len(links) - 10} more")
    if str(here):
        seen.append(f"here: {here}")
    hints = [f"--resource {name}={amount:g}" for name, amount in requirement.resources]
    hints += [f"--tag {tag}" for tag in sorted(requirement.tags)]
    what = f"no peer offers {requirement}" + (f" (seen: {'; '.join(seen)})" if seen else " (no peers seen)")
    if not hints:
        return what
    return f"{what}; start one with: woolexec serve {' '.join(hints)}"
