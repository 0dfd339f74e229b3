"""Submissions that pass through a gate: those of a pool with `max_outstanding`, and of its actors."""

from __future__ import annotations

from functools import partial
from typing import Any

from woolexec.api.actor_submission import ActorSubmission
from woolexec.api.engine_submission import EngineSubmission
from woolexec.api.gate import Gate
from woolexec.api.gated_map import GatedSender
from woolexec.api.submission import Submission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.api.actor_submission import Handle
    from woolexec.engine.engine import Engine
    from woolexec.futures.call_future import CallFuture


class _Gated(Submission):
    gate: Gate

    def submit(self, *args: Any, **how: Any) -> CallFuture[Any]:
        """
        Submit a call once few enough tasks are unfinished: see `Submission.submit`.

        :raises PoolFullError: instead of waiting, if an event loop runs in this thread
        """
        self.gate.enter()
        try:
            future = super().submit(*args, **how)
        except BaseException:
            self.gate.leave()
            raise
        future.add_done_callback(self.gate.leaver)
        return future


class GatedEngineSubmission(_Gated, EngineSubmission):
    """Makes calls for an engine; waits while too many are unfinished."""

    def close(self) -> None:
        """Accept no more tasks; waiting submissions raise."""
        super().close()
        self.gate.close()

    def chunk_sender(self, *args: Any, **how: Any) -> Any:
        """Return the sender of the items of a map: see `EngineSubmission.chunk_sender`."""
        return GatedSender(super().chunk_sender(*args, **how), self.gate, counts=True)


class GatedActorSubmission(_Gated, ActorSubmission):
    """Makes the calls of one actor; waits while too many tasks of its pool are unfinished."""


def gated(max_outstanding: int, engine: Engine, *how: Any) -> GatedEngineSubmission:
    """
    Return what makes the calls of an executor.

    :param max_outstanding: maximum number of unfinished ones
    :param how: see `EngineSubmission`
    """
    made = GatedEngineSubmission(engine, *how)
    made.gate = Gate(max_outstanding, partial(getattr, engine, "forked"))
    return made


def gated_of_actor(handle: Handle, gate: Gate) -> GatedActorSubmission:
    """Return what makes the calls of an actor."""
    made = GatedActorSubmission(handle)
    made.gate = gate
    return made
