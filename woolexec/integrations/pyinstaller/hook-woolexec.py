"""Read by PyInstaller when a program imports woolexec."""

from PyInstaller.utils.hooks import collect_submodules

_DOORS = (
    "woolexec.integrations",
    "woolexec.joblib",
    "woolexec.eventkit",
    "woolexec.launchers.dask",
    "woolexec.launchers.kubernetes",
    "woolexec.launchers.ray",
)
"""Modules that import other libraries: a program that uses one of them names it."""

hiddenimports = ["cloudpickle", *collect_submodules("woolexec", filter=lambda name: not name.startswith(_DOORS))]

excludedimports = ["dask", "distributed", "kubernetes", "ray"]
"""Large libraries that only these modules import; they are included if the program imports them itself."""
