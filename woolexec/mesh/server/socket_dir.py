"""
The folder of a peer's Unix socket.

gRPC creates the socket with permissions according to the umask, so its folder, which only its user may access, protects
it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from woolexec.errors import PeerStartError
from woolexec.platform.files import is_closed_to_others, is_ours
from woolexec.platform.ipc import unix_socket

_LONGEST = 100
"""Maximum length of the path in bytes: fits into a socket address on every platform, with some margin."""


def fits(path: str) -> bool:
    """Return whether a Unix socket can have this path, or address."""
    return len(os.fsencode(path.removeprefix("unix:"))) <= _LONGEST


class SocketDir:
    """
    The address that a peer listens on, and the folder of its Unix socket.

    :param bind: ``host:port`` or ``unix:/path``; None: a Unix socket in a new folder
    :raises PeerStartError: if others can access the folder, or the path exists and is not an abandoned socket
    """

    def __init__(self, bind: str | None) -> None:
        self._made: str | None = None
        if bind is None:
            self._made = tempfile.mkdtemp(prefix="woolexec-")  # 0700
            bind = f"unix:{os.path.join(self._made, 'peer')}"
        self.bind = bind
        if self._made is None and bind.startswith("unix:"):
            self._enter(bind.removeprefix("unix:"))

    def _enter(self, path: str) -> None:
        folder = os.path.dirname(path)
        if not folder or not fits(path):
            raise PeerStartError(f"{path}: a Unix socket needs an absolute path of at most {_LONGEST} bytes")
        try:
            os.mkdir(folder, 0o700)
            self._made = folder
        except FileExistsError:
            pass
        except OSError as exc:
            raise PeerStartError(f"{folder}: {exc.strerror}") from exc
        about = os.lstat(folder)
        if not stat.S_ISDIR(about.st_mode) or not (is_ours(about) and is_closed_to_others(about)):
            raise PeerStartError(f"{folder} must be a folder of this user that others cannot access: chmod 700 it")
        try:
            about = os.lstat(path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(about.st_mode):
            raise PeerStartError(f"{path} is in the way and is not a socket: remove it")
        with unix_socket() as probe:
            if probe.connect_ex(path) == 0:
                raise PeerStartError(f"another peer listens on unix:{path}")
        os.unlink(path)

    def leave(self) -> None:
        """Remove the folder if this object created it."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
