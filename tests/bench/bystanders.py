"""What else the machine does meanwhile: a figure taken beside other programs' work says little."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Above this share of all processors a round is taken again.  Undisturbed, most rows show 0.00-0.02, and `start` 0.08:
# a helper process that nobody waits for, such as the fork server, counts as a stranger.
DISTURBED = 0.1


class Bystanders:
    """The kernel's count of busy processors, less what our own finished processes have used."""

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.monotonic(), busy_seconds(), own_seconds()

    def share(self) -> float | None:
        """Return the share of all processors that others took since the start; `None` where no kernel tells."""
        busy = busy_seconds()
        if busy is None or self._busy is None:
            return None
        theirs = (busy - self._busy) - (own_seconds() - self._own)
        return max(0.0, theirs) / ((time.monotonic() - self._begun) * (os.cpu_count() or 1))


def busy_seconds() -> float | None:
    """Return the seconds in which processors were not idle, summed over all; what the host stole counts too."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, stat.read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
