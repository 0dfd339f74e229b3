"""The cgroups of this process, and their quota of processor time, on Linux."""

from __future__ import annotations

import os


def cgroup_quota(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> float | None:
    """Return the quota of this process's cgroup and its parents, in processors; None if there is no limit."""
    quotas: list[float] = []
    for folder in folders(root, membership, "cpu"):
        quota = _read_v2(folder) or _read_v1(folder)
        if quota is not None:
            quotas.append(quota)
    return min(quotas, default=None)


def folders(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup", kind: str = "cpu") -> list[str]:
    """
    Return the folders of this process's cgroups and their parents, of both versions.

    :param kind: the controller, which has separate folders in version 1
    """
    found = {root, os.path.join(root, kind)}
    try:
        with open(membership) as lines:
            for line in lines:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                base = root if not controllers else os.path.join(root, kind)
                if controllers and kind not in controllers.split(","):
                    continue
                parts = [part for part in path.split("/") if part]
                found.update(os.path.join(base, *parts[:depth]) for depth in range(len(parts) + 1))
    except (OSError, ValueError):
        pass
    return sorted(found)


def _read_v2(folder: str) -> float | None:
    try:
        with open(os.path.join(folder, "cpu.max")) as file:
            quota, period = file.read().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read_v1(folder: str) -> float | None:
    try:
        with open(os.path.join(folder, "cpu.cfs_quota_us")) as file:
            quota = int(file.read())
        with open(os.path.join(folder, "cpu.cfs_period_us")) as file:
            period = int(file.read())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
