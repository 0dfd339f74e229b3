"""Resources that a run must not leave behind, and that must not grow while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import dropwhile
from pathlib import Path
from statistics import median

from tests import leaks
from tests.chaos.processes import Size, size_of

EVERY = 1.0
"""Seconds between two looks."""

GROWTH = 50
"""MiB by which the resident memory of a process may grow from the second fifth of its life to the last: what a client
takes in its first minutes.  400 links one after the other take 7, all of them in the first 250; a soak through a peer
ends at 78 in all."""

MORE_DESCRIPTORS = 40
MORE_THREADS = 15
LOOKS = 60
"""Number of looks before growth means anything."""


class Sizes:
    """The sizes of processes over time; of each, those of a long life."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._looks: dict[tuple[str, int], list[Size]] = {}
        self._next = 0.0

    def look(self) -> None:
        """Note the sizes, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        for name, pid in self._pids().items():
            size = size_of(pid)
            if size is not None:
                self._looks.setdefault((name, pid), []).append(size)

    def faults(self) -> list[str]:
        """Name each process that has grown."""
        return [f"{name} has grown: {text}" for (name, _), looks in self._looks.items() if (text := grown(looks))]

    def __str__(self) -> str:
        lives = {name: looks for (name, _), looks in self._looks.items()}
        return "\n".join(f"  {name}: {looks[0]} at first, {looks[-1]} at last" for name, looks in lives.items())


def grown(looks: list[Size]) -> str | None:
    """
    Say by how much a process has grown from its second fifth to its last; None if it has not, or lived briefly.

    Its life begins with its second thread: before that it imports modules, for as long as it was stopped meanwhile.
    """
    looks = list(dropwhile(lambda look: look.threads == 1, looks))
    if len(looks) < LOOKS:
        return None
    fifth = len(looks) // 5
    early, late = looks[fifth : 2 * fifth], looks[-fifth:]

    def more(part: str) -> float:
        return median(getattr(look, part) for look in late) - median(getattr(look, part) for look in early)

    limits = {"memory": GROWTH, "descriptors": MORE_DESCRIPTORS, "threads": MORE_THREADS}
    found = [f"{part} by {more(part):.0f}" for part, limit in limits.items() if more(part) > limit]
    return ", ".join(found) or None


def cgroups() -> set[str]:
    """Return the control groups that carry our name."""
    return {str(path) for path in Path("/sys/fs/cgroup").glob("**/*woolexec*")}


class Before:
    """What was there before a run."""

    def __init__(self) -> None:
        leaks.mark_this_run()
        self._cgroups = cgroups()
        self._rest = leaks.Snapshot.take()

    def left(self) -> list[str]:
        """Name what is there now and was not before, once it has had time to go."""
        found = [f"left behind: {text}" for text in leaks.left_behind(self._rest)]
        return found + [f"left behind: control group {path}" for path in sorted(cgroups() - self._cgroups)]
