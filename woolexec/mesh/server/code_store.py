"""The code that clients have shipped to a peer: code archives in a private folder, named by their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile

from woolexec.errors import ProtocolError
from woolexec.wire.frames import Code
from woolexec.worker.code_import import check, is_digest

LIMIT, LIMIT_OF_ALL = 256 << 20, 4 << 30
"""Maximum size of one code archive and of all together, in bytes."""


class CodeStore:
    """The folder; it is made for the first archive and removed with the peer.  The peer process opens none of them."""

    def __init__(self) -> None:
        self.folder = os.path.join(tempfile.gettempdir(), f"woolexec-code-{secrets.token_hex(16)}")
        self._is_made = False
        self._size = 0

    def add(self, digest: str, data: bytes) -> None:
        """
        Store a code archive.

        :raises OSError: if it cannot be written, or another user has made the folder
        :raises ProtocolError: if its digest does not match, or all archives together are too large
        """
        if hashlib.sha256(data).hexdigest() != digest:
            raise ProtocolError("the digest of a code archive does not match its contents")
        os.makedirs(self.folder, 0o700, exist_ok=True)
        check(self.folder)
        self._is_made = True
        path = os.path.join(self.folder, f"{digest}.zip")
        if os.path.exists(path):
            return
        self._size += len(data)
        if self._size > LIMIT_OF_ALL:
            raise ProtocolError("too much code: the archives of all clients exceed the limit of this peer")
        with open(f"{path}.part", "wb") as file:
            file.write(data)
        os.replace(f"{path}.part", path)

    def get(self, digest: str) -> bytes | None:
        """Return a code archive; None if it is not here."""
        if not is_digest(digest):
            return None
        try:
            with open(os.path.join(self.folder, f"{digest}.zip"), "rb") as file:
                return file.read()
        except OSError:
            return None

    def close(self) -> None:
        """Remove the folder."""
        if self._is_made:
            shutil.rmtree(self.folder, ignore_errors=True)


class Incoming:
    """
    Receives the code archives of one client, piece by piece.

    :param code_store: where to store them; None: drop them, because only listed functions run here, which need none
    """

    def __init__(self, code_store: CodeStore | None) -> None:
        self._code_store = code_store
        self._data = bytearray()

    def take(self, frame: Code) -> None:
        """
        Add a piece.

        :raises ProtocolError: if the archive is too large, or its digest does not match
        """
        if self._code_store is None:
            return
        self._data += frame.data
        if len(self._data) > LIMIT:
            raise ProtocolError("too much code: an archive exceeds the limit")
        if frame.last:
            data, self._data = bytes(self._data), bytearray()
            self._code_store.add(frame.digest, data)
