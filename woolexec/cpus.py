"""The number of processors that this process may use."""

from __future__ import annotations

import math
import os

from woolexec.platform.cgroup import cgroup_quota
from woolexec.platform.posix import affinity


def usable_cpus() -> int:
    """Count the processors in this process's affinity mask, limited by the quota of its cgroup (version 1 or 2)."""
    mask = affinity()
    count = (os.cpu_count() or 1) if mask is None else len(mask)
    quota = cgroup_quota()
    if quota is not None:
        count = min(count, max(1, math.ceil(quota)))
    return count
