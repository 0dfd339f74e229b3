"""
The folder of a peer's Unix socket.

Grpc makes the socket with whatever rights the umask leaves, so what protects it is its folder: nobody else may enter.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile

from woolexec.errors import PeerStartError

_LONGEST = 100
"""Bytes of a path that fit into a socket's address on every platform, with some room."""


class SocketDir:
    """
    A place for a peer to listen at.

    :param bind: ``host:port`` or ``unix:/path``; None: a Unix socket in a new folder
    :raises PeerStartError: if others can enter the folder, or something else than an abandoned socket is in the way
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
        if not folder or len(os.fsencode(path)) > _LONGEST:
            raise PeerStartError(f"{path}: a Unix socket takes a whole path of at most {_LONGEST} bytes")
        try:
            os.mkdir(folder, 0o700)
            self._made = folder
        except FileExistsError:
            pass
        except OSError as exc:
            raise PeerStartError(f"{folder}: {exc.strerror}") from exc
        about = os.lstat(folder)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise PeerStartError(f"{folder} must be a folder of this user, and closed to others: chmod 700 it")
        try:
            about = os.lstat(path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(about.st_mode):
            raise PeerStartError(f"{path} is in the way, and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise PeerStartError(f"another peer listens on unix:{path}")
        os.unlink(path)

    def leave(self) -> None:
        """Remove the folder, if it was made here."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
