"""The code archives that one link has sent to its peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.wire.frames import Code, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.mesh.link.outbox import Outbox

_PIECE = 1 << 19
"""Bytes of code per frame."""


class SentCode:
    """
    Sends each archive once.

    :param archive: returns the archive with this digest, or None
    :param outbox: the link's
    """

    def __init__(self, archive: Callable[[str], bytes | None], outbox: Outbox) -> None:
        self._archive, self._outbox = archive, outbox
        self._sent: set[str] = set()

    def send(self, digests: Sequence[str]) -> None:
        """Send those of the archives that the peer does not have."""
        for digest in digests:
            data = None if digest in self._sent else self._archive(digest)
            if data is None:
                continue
            self._sent.add(digest)
            for start in range(0, len(data), _PIECE):
                last = start + _PIECE >= len(data)
                self._outbox.put(encode(Code(digest=digest, data=data[start : start + _PIECE], last=last)))
