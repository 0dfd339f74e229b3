"""
Code that an executor in another process has shipped: archives on this host, which its functions name.

Such an executor sends its functions wrapped.  Unpickling one puts the archives first on the import path; where another
version of a module was loaded before, it is forgotten, so the next import finds the new one.
"""

from __future__ import annotations

import os
import sys
import threading

from woolexec.wire.payload import Parts
from woolexec.wire.pickling import dumps_inline, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FOLDER = "WOOLEXEC_CODE"
"""The variable that names the folder of the archives; set for workers of peers alone."""

_used: dict[str, str] = {}
_using = threading.RLock()  # guards `_used` and the import path


def wrap(code: Sequence[tuple[str, str]], function: Sequence[Any]) -> bytes:
    """
    Wrap the code that a function needs around it.

    :param code: of each archive the name of its module, and its digest
    :param function: pickled: body and buffers
    """
    return dumps_inline(_Wrapped(tuple(code), [bytes(part) for part in function]))


def wrap_nested(function: bytes) -> bytes:
    """Wrap what this worker uses around the function of a task that runs in another one."""
    return wrap(tuple(_used.items()), [function]) if _used else function


class _Wrapped:
    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return _unwrap, self._parts


def _unwrap(code: tuple[tuple[str, str], ...], function: list[bytes]) -> Any:
    """
    Make the code importable; return the function.

    :raises ModuleNotFoundError: if an archive has not come to this host
    """
    with _using:
        for name, digest in code:
            _use(name, digest)
    return loads(Parts(function))


def _use(name: str, digest: str) -> None:
    if _used.get(name) == digest:
        return
    folder = os.environ.get(FOLDER, "")
    path = os.path.join(folder, f"{digest}.zip")
    if not os.path.exists(path):
        raise ModuleNotFoundError(f"module {name!r} was not shipped to {os.uname().nodename}", name=name)
    check(folder)
    before = os.path.join(folder, f"{_used.get(name)}.zip")
    sys.path[:] = [path, *(entry for entry in sys.path if entry != before)]
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]
    _used[name] = digest


def check(folder: str) -> None:
    """
    See that nobody else can have put something into a folder: old ones in /tmp are removed by some systems.

    :raises PermissionError: if somebody can
    """
    about = os.lstat(folder)
    if about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
