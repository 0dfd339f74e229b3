"""Find the modules that a worker cannot import, whose functions and classes therefore travel by value."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import ModuleType
    from typing import Any

MAIN = "__main__"
_MAINS = (MAIN, "__mp_main__")
"""Names of a script's module, in the process that runs it and in children of multiprocessing."""

_MARK = "__woolexec_namespace__"

_looked_at = (0, "")
_importable: dict[str, tuple[ModuleType, bool]] = {}
by_path: dict[str, bytes] = {}
"""Modules that were made by hand, or loaded by path, from directories that are not on the import path, with the
encoding of each name in a pickle."""


def space_of(namespace: dict[str, Any]) -> str | None:
    """
    Return the name of a function's namespace, if it travels by value.

    :return: a module's name, or a unique name for another namespace whose ``__name__`` is ``__main__``
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
    """Return whether classes of the module with this name travel by value."""
    return module in _MAINS or module in by_path


def travels(module: Any) -> bool:
    """Return whether a module itself travels by value, with all its names."""
    return module.__name__ in by_path and sys.modules.get(module.__name__) is module


def is_named(obj: Any) -> bool:
    """Return whether this function or class is pickled by its module and qualified name; see `look`."""
    name = getattr(obj, "__module__", None) or ""
    found: Any = sys.modules.get(name)
    if found is None or comes_by_value(name):
        return False
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def look() -> None:
    """Check the modules that were loaded since the last call."""
    global _looked_at  # a cache: this is called for every pickle
    # Not the number alone: one module may have been removed and another added.
    now = len(sys.modules), next(reversed(sys.modules), "")
    if now == _looked_at:
        return
    _looked_at = now
    roots = _roots()
    for name, module in list(sys.modules.items()):
        known = _importable.get(name)
        if (known is None or known[0] is not module) and not (known is None and name in by_path):
            _importable[name] = (
                module,
                not _has_own_loader(module) and (_is_below(name, module, roots) or _is_importable(name, module, roots)),
            )
            by_path.pop(name, None)
            if not _importable[name][1]:
                note_by_path(name)


def note_by_path(name: str) -> None:
    """Make the functions and classes of this module travel by value."""
    encoded = name.encode()
    by_path[name] = b"\x8c" + bytes([len(encoded)]) + encoded if len(encoded) < 256 else encoded


def _roots() -> set[str]:
    """Return the directories and archives in which modules are searched."""
    roots = set()
    for entry in sys.path:
        if type(entry) is str:
            try:
                roots.add(os.path.abspath(entry).rstrip(os.sep))
            except OSError:  # a relative path, and the working directory has been removed
                continue
    return roots


def _is_below(name: str, module: Any, roots: Container[str]) -> bool:
    """Return whether a module's file is where its name says, relative to the import path: a quick check."""
    file = getattr(module, "__dict__", {}).get("__file__")
    if type(file) is not str:
        return False
    inner = os.sep + name.replace(".", os.sep)
    at = file.rfind(inner)
    return file[:at] in roots and file.startswith((".", os.sep + "__init__."), at + len(inner))


def _is_importable(name: str, module: Any, roots: Container[str]) -> bool:
    """Return whether importing this name in a new interpreter with our import path gives this module."""
    place = _place_of(name, module)
    if place is None:
        return not _is_made_by_hand(name, module)
    inner = os.sep + os.path.join(*name.split("."))
    if place.endswith(inner) and place.removesuffix(inner).rstrip(os.sep) in roots:
        return True
    return _is_found(name, place, roots)


def _has_own_loader(module: Any) -> bool:
    """Return whether a loader has made a module of a class that a new interpreter cannot import either."""
    loader: Any = getattr(getattr(module, "__dict__", {}).get("__spec__"), "loader", None)
    cls = loader if isinstance(loader, type) else type(loader)
    return comes_by_value(cls.__module__)


def _is_made_by_hand(name: str, module: Any) -> bool:
    """Return whether the program made a module of `types.ModuleType` and ran code in it, and nothing can find it."""
    names = getattr(module, "__dict__", {})
    if name in _MAINS or names.get("__spec__") is not None or "__builtins__" not in names:
        return False
    parent = name.rpartition(".")[0]
    return parent in by_path if parent else next(_specs(name, None), None) is None


def _place_of(name: str, module: Any) -> str | None:
    """Return the path of a module's file without its suffix, or of a package's directory; None if there is neither."""
    try:
        spec, file = module.__spec__, getattr(module, "__file__", None)
        if name in _MAINS or spec.name != name:
            return None
        return _place(spec if file is None else file, spec)
    except Exception:  # not an ordinary module: it may raise anything
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
    """Return whether the finders on `sys.meta_path` find this module, as an import would."""
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        package = sys.modules.get(parent)
        if package is None or not _is_importable(parent, package, roots):
            return False
        path = getattr(package, "__path__", None)
    for spec in _specs(name, path):
        try:
            found = _place(spec.origin, spec)
            return found is None or os.path.realpath(found) == os.path.realpath(place)
        except Exception:  # a finder may return anything
            continue
    return False


def _specs(name: str, path: Any) -> Iterator[Any]:
    """Yield the specs that the finders on `sys.meta_path` return for this module, in their order."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder is user code
            continue
        if spec is not None:
            yield spec
