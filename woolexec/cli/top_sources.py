"""The sources of ``woolexec top``: pools on this machine, asked through their pages, and peers, each over one link."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from woolexec.core.task_stack import Stacks
from woolexec.errors import PeerRefusedError
from woolexec.printable import printable
from woolexec.statistics import TaskStatistics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self, TypeVar

    from woolexec.core.task_stack import TaskStack
    from woolexec.mesh.client.inspection import Questions
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.observe.pool_records import PoolRecord
    from woolexec.statistics import Statistics

    Told = TypeVar("Told")

    class Shown(Protocol):
        """One table: that of a pool here, or of a client of a peer."""

        @property
        def heading(self) -> str:
            """The line above its tables."""

        @property
        def statistics(self) -> Statistics:
            """The statistics in the last answer."""

        def stacks(self) -> Stacks:
            """Return the stacks of its tasks; none if there is no answer."""

        def cancel(self, task: TaskStack) -> bool:
            """Cancel a task by force; return whether it was still running."""


class PoolHere(NamedTuple):
    """A pool on this machine, and its last answer."""

    record: PoolRecord
    statistics: Statistics
    timeout: float

    @property
    def heading(self) -> str:
        """The line above its tables."""
        return f"pool of process {self.statistics.pid} on {printable(self.statistics.host)}"

    def stacks(self) -> Stacks:
        """Return the stacks of its tasks; none if it does not answer."""
        from woolexec.observe.page_client import stacks_of

        return stacks_of(self.record, self.timeout)

    def cancel(self, task: TaskStack) -> bool:
        """Cancel a task by force; return whether it ran until now."""
        from woolexec.observe.page_client import cancel

        return cancel(self.record, task.task, task.pid, self.timeout)


def pools_here(records: Sequence[PoolRecord], timeout: float) -> list[PoolHere]:
    """Return the pools that answer."""
    from woolexec.observe.page_client import statistics_of

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda record: statistics_of(record, timeout), records))
    return [PoolHere(pool, each, timeout) for pool, each in zip(records, found, strict=True) if each is not None]


class ClientThere(NamedTuple):
    """What a peer does for one of its clients."""

    peer: PeerThere
    client: str
    statistics: Statistics

    @property
    def heading(self) -> str:
        """The line above its tables."""
        return f"{self.client} at {printable(self.peer.address, 200)}"

    def stacks(self) -> Stacks:
        """Return the stacks of its tasks; none if the peer does not answer."""
        return Stacks(each for each in self.peer.stacks() if each.client == self.client)

    def cancel(self, task: TaskStack) -> bool:
        """Cancel a task by force; return whether it ran until now."""
        return self.peer.cancel(task)


class PeerThere:
    """
    A peer that is asked repeatedly over one link; use it in a ``with`` statement.

    :param timeout: seconds that an answer may take
    """

    def __init__(self, address: str, credentials: Credentials, timeout: float) -> None:
        self.address, self._timeout = address, timeout
        self._credentials = credentials
        self._runner = asyncio.Runner()
        self._questions: Questions | None = None
        self._link = AsyncExitStack()
        self.left_out = 0
        """Number of clients that did not fit into the last answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._runner.run(self._forget())
        self._runner.close()

    def clients(self) -> list[ClientThere]:
        """
        Return what the peer does for each client that has sent something; if none has, for one client, if any.

        :raises PeerRefusedError: if it cannot be reached, does not answer, or does not permit this
        :raises CredentialsError: if a certificate file cannot be read
        """
        found, self.left_out = self._ask(lambda questions: questions.status(self._timeout))
        busy = [each for each in found if each[1].functions or each[1].workers or each[1].tasks != TaskStatistics()]
        return [ClientThere(self, client, each) for client, each in busy or found[:1]]  # this process is a client too

    def stacks(self) -> Stacks:
        """Return the stacks of the tasks of its workers; none if it does not answer."""
        try:
            found, _ = self._ask(lambda questions: questions.stacks(self._timeout))
        except PeerRefusedError:
            return Stacks()
        return Stacks(replace(each, peer="") for each in found)

    def cancel(self, task: TaskStack) -> bool:
        """Cancel a task by force; return whether it ran until now."""
        try:
            return self._ask(lambda questions: questions.cancel(task.task, task.pid, self._timeout))
        except PeerRefusedError:
            return False

    def _ask(self, question: Callable[[Questions], Awaitable[Told]]) -> Told:
        return self._runner.run(self._asked(question))

    async def _asked(self, question: Callable[[Questions], Awaitable[Told]]) -> Told:
        from woolexec.mesh.client.inspection import open_questions

        if self._questions is None:
            self._questions, self._link = await open_questions(self.address, self._credentials)
        try:
            return await question(self._questions)
        except BaseException:  # another link next time
            await self._forget()
            raise

    async def _forget(self) -> None:
        self._questions = None
        await self._link.aclose()
