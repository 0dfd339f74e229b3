"""
Peers of this user on this host: ``woolexec serve`` without an address, and ``peers="local://"``.

They listen on Unix sockets in a folder that no other user can access.  Their records are in the same folder, so no
address has to be given.  Each host has its own folder, because several hosts may share the users' home directories.
"""

from __future__ import annotations

import os
import secrets

from woolexec.discovery.directory import Directory
from woolexec.mesh.security.credentials import state_folder
from woolexec.platform.ipc import unix_socket
from woolexec.platform.posix import host_name

_SUFFIX = ".sock"


class Local(Directory):
    """
    The peers of this user on this host.

    :param pool: only peers of this pool; empty: all
    :raises CredentialsError: if other users can access their folder
    """

    def __init__(self, pool: str = "") -> None:
        super().__init__(state_folder("peers", host_name()), pool)

    def __str__(self) -> str:
        return f"local://{self.pool}"

    def new_address(self) -> str:
        """Return an address for a new peer, and remove the sockets of killed peers."""
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if name.endswith(_SUFFIX) and _is_abandoned(path):
                os.unlink(path)
        return f"unix:{os.path.join(self.path, secrets.token_hex(4))}{_SUFFIX}"


def _is_abandoned(path: str) -> bool:
    """Return whether no process listens at a socket any more."""
    with unix_socket() as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:  # it is busy, or gone
            return False
    return False
