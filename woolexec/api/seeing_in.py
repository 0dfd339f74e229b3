"""The methods of a pool by which one sees what it does; what they need is loaded when they are called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.task_stack import Stacks
    from woolexec.engine.engine import Engine


class SeeingIn:
    """A base class of `PeerPoolExecutor`."""

    _engine: Engine

    def stacks(self, timeout: float = 2.0) -> Stacks:
        """
        Return what runs in the workers and at the peers, each task with its stack, those that run longest first.

        Tasks are not stopped for it.  What does not answer is named, with the reason as far as it is known.

        :param timeout: seconds that workers and peers have to answer
        :raises ValueError: if `timeout` is not above 0
        :raises RuntimeError: in a forked child
        """
        from woolexec.api.stacks import stacks

        return stacks(self._engine, timeout)

    async def stacks_async(self, timeout: float = 2.0) -> Stacks:  # noqa: ASYNC109  # it ends with an answer
        """Do as `stacks` without blocking the event loop."""
        from woolexec.api.stacks import stacks_async

        return await stacks_async(self._engine, timeout)

    def _interrupt(self, error: object) -> None:
        """Interrupt the tasks; after Ctrl-C say where they were."""
        try:
            if isinstance(error, KeyboardInterrupt):
                from woolexec.api.stacks import note_what_runs

                self._engine.shutdown(wait=False, cancel=True)  # first: nothing must start while it looks
                note_what_runs(self._engine, error)
        finally:
            self._engine.interrupt()
