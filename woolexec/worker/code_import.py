"""
Import code that an executor in another process has shipped: code archives on this host, which its functions name.

Using an archive puts it first on the import path.  If another version of its module was imported before, that one is
removed from `sys.modules`, so the next import finds the new one.
"""

from __future__ import annotations

import os
import sys
import threading

from woolexec.platform.files import is_closed_to_others, is_ours
from woolexec.platform.posix import host_name, renewed_at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "WOOLEXEC_CODE"
"""The environment variable that names the folder of the code archives; set only for workers of peers."""

_used: dict[str, str] = {}
_using = renewed_at_fork(threading.RLock())  # guards `_used` and the import path


def use(code: Sequence[tuple[str, str]]) -> None:
    """
    Make code importable.

    :param code: for each code archive the name of its module and its digest
    :raises ModuleNotFoundError: if an archive was not sent to this host
    """
    with _using:
        for name, digest in code:
            _use(name, digest)


def _use(name: str, digest: str) -> None:
    if _used.get(name) == digest:
        return
    folder = os.environ.get(FOLDER, "")
    path = os.path.join(folder, f"{digest}.zip")
    if not (is_digest(digest) and os.path.exists(path)):
        raise ModuleNotFoundError(f"module {name!r} was not shipped to {host_name()}", name=name)
    check(folder)
    before = os.path.join(folder, f"{_used.get(name)}.zip")
    sys.path[:] = [path, *(entry for entry in sys.path if entry != before)]
    for module in list(sys.modules):  # a copy: other threads may be importing
        if module.partition(".")[0] == name:
            sys.modules.pop(module, None)
    _used[name] = digest


def is_digest(text: str) -> bool:
    """Return whether this is the digest of an archive, and not a path to another place."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def check(folder: str) -> None:
    """
    Check that no other user can write to a folder: some systems remove old ones in /tmp, and others may recreate them.

    :raises PermissionError: if another user owns it or has access to it
    """
    about = os.lstat(folder)
    if not (is_ours(about) and is_closed_to_others(about)):
        raise PermissionError(f"cannot import code from {folder}: it must belong to this user, with mode 0700")
