"""
Do something when a module is imported.

For what a worker has to set up in modules that most tasks never use: importing them for its sake would make every
worker start later (`logging` 10 ms, `multiprocessing` 15 ms).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module, now or right after it has been executed."""
    if name in sys.modules:
        act(_finished(name))
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _acts.setdefault(name, []).append(act)


def _finished(name: str) -> Any:
    """Return a module whose import may be going on in another thread, when that is over."""
    from importlib import import_module

    return import_module(name)


_acts: dict[str, list[Callable[[ModuleType], None]]] = {}
"""What is to be done, by module."""


class _Finder:
    """
    Finds the modules that somebody waits for as the others would, and has them loaded by a `_Loader`.

    It stays in `sys.meta_path`: whoever takes an entry out of that list while another thread goes through it lets that
    thread miss one, and fail to find its module.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module, if it is one of those."""
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
    """Loads a module as its own loader does, then acts; afterwards the module knows its own loader alone."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        """Make the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Execute the module, and do what is to be done."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for act in _acts.pop(module.__spec__.name, ()):
            act(module)
