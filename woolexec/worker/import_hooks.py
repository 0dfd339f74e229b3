"""
Run functions when a module is imported.

A worker uses this to set up modules that most tasks never use: importing them only to set them up would delay the
start of every worker (`logging` 10 ms, `multiprocessing` 15 ms).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module: now if it is imported, otherwise right after it was executed."""
    if name in sys.modules:
        act(_finished(name))
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _acts.setdefault(name, []).append(act)


def _finished(name: str) -> Any:
    """Return a module; if another thread is still importing it, wait until the import is done."""
    from importlib import import_module

    return import_module(name)


_acts: dict[str, list[Callable[[ModuleType], None]]] = {}
"""The functions to call, by name of the module."""


class _Finder:
    """
    Finds the modules in `_acts` with the other finders, and loads them with a `_Loader`.

    It stays in `sys.meta_path`: removing an entry from that list while another thread iterates over it would make that
    thread skip an entry and not find its module.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module if it is in `_acts`."""
        if name not in _acts:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


_finder: Any = _Finder()


class _Loader:
    """Loads a module with its own loader, then calls the functions; restores the module's own loader."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        """Create the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Execute the module, then call the functions that were registered for it."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for act in _acts.pop(module.__spec__.name, ()):
            act(module)
