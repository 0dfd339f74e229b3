"""
The key that signs what peers announce of themselves.

It is made from the token, so that peers and clients with the same token need nothing else.  The token cannot be found
from the key, nor by trying: it is 32 random bytes (see `tokens`).
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
        """Return what shows that this content is from someone who has the token."""
        return hmac.digest(self._key, content, "sha256").hex()

    def is_right(self, content: bytes, mac: str) -> bool:
        """Whether this is the MAC of this content; compared in constant time."""
        return hmac.compare_digest(self.mac(content).encode(), mac.encode(errors="replace"))
