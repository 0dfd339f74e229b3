"""What PyInstaller reads when a program imports woolexec."""

from PyInstaller.utils.hooks import collect_submodules

_DOORS = ("woolexec.integrations", "woolexec.joblib", "woolexec.eventkit")
"""Modules that import other libraries: a program that uses one of them names it."""

hiddenimports = ["cloudpickle", *collect_submodules("woolexec", filter=lambda name: not name.startswith(_DOORS))]
