"""The code that clients have shipped to a peer: code archives in a private folder, named by their digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from typing import IO

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

    def begin(self) -> IO[bytes]:
        """
        Return a new file in the folder.

        :raises OSError: if it cannot be made, or another user has made the folder
        """
        os.makedirs(self.folder, 0o700, exist_ok=True)
        check(self.folder)
        self._is_made = True
        return open(os.path.join(self.folder, f"{secrets.token_hex(8)}.part"), "wb")

    def add(self, digest: str, path: str) -> None:
        """
        Store a code archive, which has been written to a file of `begin`.

        :raises ProtocolError: if all archives together are too large
        """
        archive = os.path.join(self.folder, f"{digest}.zip")
        if os.path.exists(archive):
            os.unlink(path)
            return
        size = os.path.getsize(path)
        if self._size + size > LIMIT_OF_ALL:
            raise ProtocolError("too much code: the archives of all clients exceed the limit of this peer")
        os.replace(path, archive)
        self._size += size

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
    Receives the code archives of one client, piece by piece: they are written to a file, and never kept in memory.

    :param code_store: where to store them; None: drop them, because only listed functions run here, which need none
    """

    def __init__(self, code_store: CodeStore | None) -> None:
        self._code_store = code_store
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()

    def take(self, frame: Code) -> None:
        """
        Add a piece.

        :raises OSError: if it cannot be written
        :raises ProtocolError: if the archive is too large, or its digest does not match
        """
        if self._code_store is None:
            return
        if self._file is None:
            self._file, self._digest = self._code_store.begin(), hashlib.sha256()
        if self._file.tell() + len(frame.data) > LIMIT:
            self.close()
            raise ProtocolError("too much code: an archive exceeds the limit")
        self._file.write(frame.data)
        self._digest.update(frame.data)
        if not frame.last:
            return
        self._file.close()
        try:
            if self._digest.hexdigest() != frame.digest:
                raise ProtocolError("the digest of a code archive does not match its contents")
            self._code_store.add(frame.digest, self._file.name)
        finally:
            self.close()

    def close(self) -> None:
        """Drop what has arrived of an archive."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # the disk may be full, and the folder gone
                file.close()
            with contextlib.suppress(OSError):
                os.unlink(file.name)
