"""The code that clients have shipped to a peer: archives in a folder of its own, by their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile

from woolexec.errors import ProtocolError
from woolexec.wire.codec import Code
from woolexec.worker.code_import import check

LIMIT, LIMIT_OF_ALL = 256 << 20, 4 << 30
"""Bytes that one archive may have, and all."""


class CodeStore:
    """The folder; it is made when the first one comes, and goes with the peer.  Nothing in it is opened here."""

    def __init__(self) -> None:
        self.folder = os.path.join(tempfile.gettempdir(), f"woolexec-code-{secrets.token_hex(16)}")
        self._is_made = False
        self._size = 0

    def add(self, digest: str, data: bytes) -> None:
        """
        Keep an archive.

        :raises OSError: if it cannot be written, or somebody else has made the folder
        :raises ProtocolError: if it is not what its digest says
        """
        if hashlib.sha256(data).hexdigest() != digest:
            raise ProtocolError("an archive is not what its digest says")
        os.makedirs(self.folder, 0o700, exist_ok=True)
        check(self.folder)
        self._is_made = True
        path = os.path.join(self.folder, f"{digest}.zip")
        if os.path.exists(path):
            return
        self._size += len(data)
        if self._size > LIMIT_OF_ALL:
            raise ProtocolError("too much code of all clients")
        with open(f"{path}.part", "wb") as file:
            file.write(data)
        os.replace(f"{path}.part", path)

    def get(self, digest: str) -> bytes | None:
        """Return an archive; None if it has not come here."""
        try:
            with open(os.path.join(self.folder, f"{digest}.zip"), "rb") as file:
                return file.read()
        except OSError:
            return None

    def close(self) -> None:
        """Remove it."""
        if self._is_made:
            shutil.rmtree(self.folder, ignore_errors=True)


class Incoming:
    """
    The archives that one client sends, piece by piece.

    :param archives: where they go; None: nowhere, for only functions are run here that need none
    """

    def __init__(self, code_store: CodeStore | None) -> None:
        self._code_store = code_store
        self._data = bytearray()

    def take(self, frame: Code) -> None:
        """
        Take a piece.

        :raises ProtocolError: if it is too much
        """
        if self._code_store is None:
            return
        self._data += frame.data
        if len(self._data) > LIMIT:
            raise ProtocolError("too much code")
        if frame.last:
            data, self._data = bytes(self._data), bytearray()
            self._code_store.add(frame.digest, data)
