"""A guard for the placement policies of users: an error in a policy does not fail a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from woolexec.core.policies import IdleFirst

if TYPE_CHECKING:
    from woolexec.core.candidate import Candidate
    from woolexec.core.policies import Placement


def guarded(policy: Placement | None) -> Placement:
    """Return a policy that the engine can rely on: a built-in one, or a guard around any other."""
    if policy is None:
        return IdleFirst()
    return policy if type(policy).__module__ == IdleFirst.__module__ else _Guarded(policy)


class _Guarded:
    """Asks a policy, and uses the default when it fails; the first failure is logged."""

    def __init__(self, policy: Placement) -> None:
        self._policy = policy
        self._instead = IdleFirst()
        self._said = False

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose the candidate for the next task."""
        try:
            chosen = self._policy.choose(tuple(candidates), task)  # a copy, which the policy may keep
            if any(chosen is candidate for candidate in candidates):
                return chosen
            raise ValueError(f"{chosen!r} is not one of the candidates")
        except Exception as exc:
            self._complain(exc)
        return self._instead.choose(candidates, task)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Note that a task has ended there after running for `seconds`."""
        try:
            self._policy.done(candidate, seconds)
        except Exception as exc:
            self._complain(exc)

    def _complain(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            import logging
            import traceback

            # As text: a stored record would keep alive what the traceback refers to, which is the whole engine.
            text = "".join(traceback.format_exception(error)).rstrip()
            logging.getLogger("woolexec").error("a placement policy failed: %s", text)
