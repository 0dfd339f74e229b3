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
        act(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Hook(name, act))


class _Hook:
    """Finds one module as usual, and acts when it has been executed."""

    def __init__(self, name: str, act: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._act = act

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        # The other finders are asked in turn, as the import system does: its own module of them loads `warnings`.
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._act(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
