"""Modules as archives that can be sent to peers."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from woolexec.checks import wrong_type

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The timestamp of every file in an archive, so that equal contents have equal digests."""

Shippable = ModuleType | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class CodeArchive:
    """
    A module or package.

    :param name: the name under which it is imported
    :param digest: SHA-256 of the archive, in hex
    :param data: the zip archive
    """

    name: str
    digest: str
    data: bytes


def code_archive(what: Shippable) -> CodeArchive:
    """
    Pack a module, together with the package that it belongs to.

    :param what: the module, its name, or the path of its file or folder
    :raises TypeError: if it is none of these
    :raises ValueError: if it does not exist, does not consist of files, or is part of Python or woolexec
    """
    path = _path_of(what)
    name = path.name.removesuffix(".py")
    if name in sys.stdlib_module_names or name == "woolexec":
        raise ValueError(f"ship: peers already have {name!r}")
    if not name.isidentifier() or name == "__main__":  # functions of __main__ are pickled by value
        raise ValueError(f"ship: {str(path)!r} is not a module or package")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(_files(path)):
            entry = zipfile.ZipInfo(file.relative_to(path.parent).as_posix(), _EPOCH)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    return CodeArchive(name, hashlib.sha256(data).hexdigest(), data)


def _path_of(what: Shippable) -> Path:
    if isinstance(what, ModuleType):
        what = what.__name__
    elif not isinstance(what, str | os.PathLike):
        raise wrong_type("each of ship", "a module, its name, or the path of its file or folder", what)
    elif not isinstance(what, str) or os.sep in what or what.endswith(".py"):
        path = Path(what).resolve()
        if not (path.is_dir() or (path.suffix == ".py" and path.is_file())):
            raise ValueError(f"ship: there is no module or package at {str(path)!r}")
        return path
    top = what.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ may have no spec
        spec = None
    if spec is None:
        raise ValueError(f"ship: there is no module {top!r} here")
    for place in spec.submodule_search_locations or ():
        return Path(place).resolve()
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ValueError(f"ship: module {top!r} is not a file of Python source")
    return Path(spec.origin).resolve()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in path.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file
