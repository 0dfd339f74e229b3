"""
The upkeep of a client's workers at a peer: as the client requests it, within the operator's rules.

The client sends its settings in the Settings frame of a link, for all its workers there; the peer passes them on with
nested tasks that it submits to other peers.

The client's environment variables are set in a worker after its start.  Variables that the loader or the interpreter
reads at a start would only affect processes that tasks start, so they are not taken.  Nor are those of woolexec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec.core.memory_limits import MemoryLimits
from woolexec.core.upkeep import Upkeep
from woolexec.wire.frames import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from woolexec.engine.rounds import Rounds

_NOT_TAKEN = ("WOOLEXEC_", "LD_", "DYLD_", "PYTHON")
"""Prefixes of variables that a peer accepts from no client."""


class Rules:
    """
    The rules of a peer's operator for the workers of all clients.

    :param memory: the memory limits of each worker, which a client may lower
    :param takes_environment: clients may set environment variables in their workers
    """

    def __init__(self, memory: MemoryLimits | None = None, *, takes_environment: bool = True) -> None:
        self.memory = memory or MemoryLimits()
        self.takes_environment = takes_environment


class PeerUpkeep:
    """Both ends of the upkeep: the settings that an engine sends to peers, and those of the client that it serves."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds, self._supervisor = rounds, rounds.supervisor
        self._told: dict[str, Any] = {}
        self._rules = Rules()

    def tell(self, upkeep: Upkeep | None, environment: Mapping[str, str], finalizer: bytes) -> None:
        """Set the upkeep that peers are asked for; `finalizer` is pickled for them."""
        upkeep = upkeep or Upkeep()
        self._told = {
            "environment": tuple(f"{name}={value}" for name, value in environment.items()),
            "max_memory_per_child": upkeep.memory.replace_above or 0,
            "memory_limit": upkeep.memory.end_above or 0,
            "idle_timeout": upkeep.idle_timeout or 0.0,
            "min_workers": upkeep.min_workers,
            "finalizer": finalizer,
        }

    def settings(self) -> Settings:
        """Return the settings that a link sends to a peer."""
        return Settings(settings=self._supervisor.settings_for_peers(), **self._told)

    # -- at a peer ----------------------------------------------------------------------------------------------

    def obey(self, rules: Rules) -> None:
        """Apply the operator's rules to the workers of a client."""
        self._rules = rules
        if rules.memory:
            self._rounds.look_after(Upkeep(rules.memory))

    def use(self, frame: Settings) -> None:
        """Apply the client's settings to its workers that start from now on; nothing is unpickled."""
        settings = {**self._supervisor.settings_of_user, "client": frame.settings}
        self._told = {name: getattr(frame, name) for name in _TOLD}
        if self._rules.takes_environment:
            settings["environment"] = {**taken(frame.environment), **settings.get("environment", {})}
        self._supervisor.settings_of_user = settings
        limits = MemoryLimits(frame.max_memory_per_child or None, frame.memory_limit or None).within(self._rules.memory)
        timeout = frame.idle_timeout if frame.idle_timeout > 0 else None
        self._rounds.look_after(Upkeep(limits, timeout, frame.min_workers, frame.finalizer or None))


_TOLD = ("environment", "max_memory_per_child", "memory_limit", "idle_timeout", "min_workers", "finalizer")


def taken(environment: Iterable[str]) -> dict[str, str]:
    """Return the variables of a client that may be set in its workers."""
    pairs = (text.partition("=") for text in environment)
    return {
        name: value
        for name, sign, value in pairs
        if name and sign and not name.startswith(_NOT_TAKEN) and "\0" not in name + value
    }
