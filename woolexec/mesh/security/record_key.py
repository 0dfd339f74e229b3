"""
The key that signs the records that peers announce.

It is derived from the token, so that peers and clients with the same token need nothing else.  The token cannot be
computed from the key, or guessed: it is 32 random bytes (see `tokens`).
"""

from __future__ import annotations

import hmac

_LABEL = b"woolexec discovery record 1"


class RecordKey:
    """
    Signs records, and checks them.

    :param token: the secret that peers and clients share
    """

    def __init__(self, token: bytes) -> None:
        self._key = hmac.digest(token, _LABEL, "sha256")

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    def mac(self, content: bytes) -> str:
        """Return the MAC that proves that this content is from a process that has the token."""
        return hmac.digest(self._key, content, "sha256").hex()

    def is_right(self, content: bytes, mac: str) -> bool:
        """Return whether this is the MAC of this content; compared in constant time."""
        return hmac.compare_digest(self.mac(content).encode(), mac.encode(errors="replace"))
