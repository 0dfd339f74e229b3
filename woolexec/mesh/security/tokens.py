"""
The format of tokens::

    woolexec_<48 characters>        base64url of 32 random bytes and a checksum of 4 bytes
    <64 hexadecimal digits>         32 random bytes, as ``openssl rand -hex 32`` prints them

Only tokens in these formats are accepted, and only if their bytes look random.  So a word or the key of an example is
refused: anyone who takes part in a handshake could try such tokens afterwards.  The checksum detects tokens that were
cut off or mistyped; the prefix helps to find tokens that were published by mistake.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from itertools import pairwise

from woolexec.errors import CredentialsError

_PREFIX = b"woolexec_"
_SECRET, _CHECK = 32, 4
"""Random bytes in a token, and bytes of its checksum."""

_DIGITS = re.compile(rb"[0-9a-f]{64}|[0-9A-F]{64}")
_DISTINCT = 20
"""Minimum number of different values among 32 random bytes, and among the steps from one to the next; fewer occur once
in a billion tokens."""


def new_token() -> bytes:
    """Make a token."""
    return token_of(secrets.token_bytes(_SECRET))


def token_of(secret: bytes) -> bytes:
    """Encode 32 bytes as a token."""
    assert len(secret) == _SECRET
    return _PREFIX + base64.urlsafe_b64encode(secret + _checksum(secret))


def check_token(token: bytes, source: str) -> None:
    """
    Check that this is a token in one of these formats.

    :param source: where it comes from, for the message, which does not show the token
    :raises CredentialsError: if it is not
    """
    if not token.strip():
        raise CredentialsError(f"{source} is empty: it holds no token; make one with: woolexec certs token")
    if _DIGITS.fullmatch(token) and _looks_random(bytes.fromhex(token.decode())):
        return
    try:
        data = base64.b64decode(token.removeprefix(_PREFIX), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    secret = data[:_SECRET]
    is_ours = len(data) == _SECRET + _CHECK and token == _PREFIX + base64.urlsafe_b64encode(secret + _checksum(secret))
    if not (is_ours and _looks_random(secret)):
        raise CredentialsError(
            f"{source} holds no token made by woolexec: it is of another kind, cut off or mistyped; "
            "make one with: woolexec certs token"
        )


def _looks_random(secret: bytes) -> bool:
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return min(len(set(secret)), len(steps)) >= _DISTINCT


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"woolexec token" + secret).digest()[:_CHECK]
