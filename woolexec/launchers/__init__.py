"""Launchers for `peers=`: each starts peers on machines of a batch system or a cluster when tasks wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec.discovery.launcher import Handle, Launcher

if TYPE_CHECKING:
    from woolexec.launchers.batch import Batch, State
    from woolexec.launchers.dask_nodes import dask
    from woolexec.launchers.kubernetes import Kubernetes
    from woolexec.launchers.ray_nodes import ray
    from woolexec.launchers.slurm import Slurm

__all__ = ["Batch", "Handle", "Kubernetes", "Launcher", "Slurm", "State", "dask", "ray"]

_MODULES = {
    "Batch": "batch",
    "State": "batch",
    "Kubernetes": "kubernetes",
    "Slurm": "slurm",
    "dask": "dask_nodes",
    "ray": "ray_nodes",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
