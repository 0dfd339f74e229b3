"""Which modules a worker cannot import, so that what is of them travels by value."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from types import ModuleType
    from typing import Any

MAIN = "__main__"
_MAINS = (MAIN, "__mp_main__")
"""What the module of a script is called, in the process that runs it and in children of multiprocessing."""

_MARK = "__woolexec_namespace__"

_looked_at = 0
_importable: dict[str, tuple[ModuleType, bool]] = {}
by_path: dict[str, bytes] = {}
"""Modules that were loaded from their files, in directories that are not on the import path: of each, how a pickle
names it."""


def space_of(namespace: dict[str, Any]) -> str | None:
    """
    Name the namespace of a function, if it travels by value.

    :return: a module's name, or, of another namespace that calls itself ``__main__``, a name that nothing else has
    """
    name: Any = namespace.get("__name__")
    is_module = getattr(sys.modules.get(name), "__dict__", None) is namespace
    if name in _MAINS:
        if is_module:
            return MAIN
        mark: str = namespace.setdefault(_MARK, os.urandom(8).hex())
        return f"{MAIN}#{mark}"
    return name if is_module and name in by_path else None


def comes_by_value(module: object) -> bool:
    """Say whether classes of the module with this name travel by value."""
    return module in _MAINS or module in by_path


def look() -> None:
    """Look at the modules that were loaded since the last time."""
    global _looked_at  # a cache: this is asked for every pickle
    if len(sys.modules) == _looked_at:
        return
    _looked_at = len(sys.modules)
    roots = _roots()
    for name, module in list(sys.modules.items()):
        known = _importable.get(name)
        if (known is None or known[0] is not module) and not (known is None and name in by_path):
            _importable[name] = module, _is_below(name, module, roots) or _is_importable(name, module, roots)
            by_path.pop(name, None)
            if not _importable[name][1]:
                note_by_path(name)


def note_by_path(name: str) -> None:
    """Have what is of this module travel by value."""
    encoded = name.encode()
    by_path[name] = b"\x8c" + bytes([len(encoded)]) + encoded if len(encoded) < 256 else encoded


def _roots() -> set[str]:
    """Return the folders and archives in which modules are searched."""
    roots = set()
    for entry in sys.path:
        if type(entry) is str:
            try:
                roots.add(os.path.abspath(entry).rstrip(os.sep))
            except OSError:  # the working directory is gone, and what is relative to it
                continue
    return roots


def _is_below(name: str, module: Any, roots: Container[str]) -> bool:
    """Say whether a module's file lies where its name says, seen from the import path: a quick look."""
    file = getattr(module, "__dict__", {}).get("__file__")
    if type(file) is not str:
        return False
    inner = os.sep + name.replace(".", os.sep)
    at = file.rfind(inner)
    return file[:at] in roots and file.startswith((".", os.sep + "__init__."), at + len(inner))


def _is_importable(name: str, module: Any, roots: Container[str]) -> bool:
    """Say whether importing this name in a new interpreter with our import path gives this module."""
    place = _place_of(name, module)
    if place is None:
        return True
    inner = os.sep + os.path.join(*name.split("."))
    if place.endswith(inner) and place.removesuffix(inner).rstrip(os.sep) in roots:
        return True
    return _is_found(name, place, roots)


def _place_of(name: str, module: Any) -> str | None:
    """Return the path of a module's file without what follows its name, or of its folder; None: it has neither."""
    try:
        spec, file = module.__spec__, getattr(module, "__file__", None)
        if name in _MAINS or spec.name != name:
            return None
        return _place(spec if file is None else file, spec)
    except Exception:  # it is no ordinary module, and may raise anything
        return None


def _place(file: Any, spec: Any) -> str | None:
    if type(file) is not str:
        for path in spec.submodule_search_locations or ():  # a namespace package
            return str(path)
        return None
    if type(spec.origin) is not str or spec.origin != file:  # part of the interpreter
        return None
    folder, base = os.path.split(file)
    return folder if base.startswith("__init__.") else os.path.join(folder, base.partition(".")[0])


def _is_found(name: str, place: str, roots: Container[str]) -> bool:
    """Ask who finds modules, as an import would."""
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        package = sys.modules.get(parent)
        if package is None or not _is_importable(parent, package, roots):
            return False
        path = getattr(package, "__path__", None)
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
            if spec is not None:
                found = _place(spec.origin, spec)
                return found is None or os.path.realpath(found) == os.path.realpath(place)
        except Exception:  # a finder is user code
            continue
    return False
