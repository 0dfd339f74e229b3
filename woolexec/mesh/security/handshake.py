"""
How the two ends of a link authenticate each other before the first frame.

::

    client                                                     peer
      -- Hello    versions, nonce c -------------------------->
      <- Welcome  versions, identity, nonce s, proof(peer) -----     proves that it has the token
      -- Link     versions, nonces c and s, proof(client) ----->     frames follow

Guarantees:
1. The token is never sent: each end proves that it has it by an HMAC of both nonces.
2. The peer proves itself first: an impostor receives no byte of a task, and no proof.
3. A nonce of the peer can be used once, within 10 s, so an intercepted proof is worthless.  The nonce itself encodes
   when it was made and for which c: greetings of strangers use no memory of the peer, and do not affect other clients.
4. All of it is gRPC metadata, of which gRPC accepts 8 KiB (1.85: 16 MiB until its settings have been acknowledged): the
   peer reads no message from a stranger.
"""

from __future__ import annotations

import hmac
import os
import secrets
import struct
import sys
from importlib.metadata import PackageNotFoundError, version
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from woolexec.errors import PeerRefusedError
from woolexec.platform.posix import host_name
from woolexec.printable import printable
from woolexec.wire.wire_pb2 import Hello, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 1

HELLO_KEY = "woolexec-hello-bin"
WELCOME_KEY = "woolexec-welcome-bin"
"""Keys of the metadata; gRPC carries bytes under keys that end in ``-bin``."""

FREE_KEY = "woolexec-free"
"""Key in the metadata of a link: the number of free places at its start, for `woolexec doctor`."""

DRAINING = "the peer is draining"
CANNOT_WORK = "the peer cannot run tasks now"
"""The message of a peer that accepts no more clients."""

_TEXT_LIMIT = 255
"""Maximum length of each text in a greeting, in characters: no host name and no identity is longer."""

_NONCE = 32
_NONCE_AGE = 10.0
"""How long a peer's nonce can be used, in seconds."""

_MADE = struct.Struct("<d8s")
"""The start of a peer's nonce: when it was made, by the peer's clock, and random bytes; the rest is a MAC."""


def describe(greeting: Hello | Welcome) -> None:
    """Fill in the description of this process."""
    greeting.protocol = PROTOCOL
    greeting.python = f"{sys.version_info.major}.{sys.version_info.minor}"
    greeting.woolexec = _version("woolexec")
    greeting.cloudpickle = _version("cloudpickle")
    greeting.host = host_name()
    greeting.pid = os.getpid()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from its sources
        return ""


def misfit(ours: Hello | Welcome, theirs: Hello | Welcome) -> str | None:
    """Return why these two ends cannot work together, worded for the first; None if they can."""
    reasons = []
    if ours.protocol != theirs.protocol:
        reasons.append(f"protocol {ours.protocol} here, {theirs.protocol} there")
    if ours.python != theirs.python:
        reasons.append(f"Python {ours.python} here, {theirs.python} there: functions would not unpickle")
    if _major(ours.cloudpickle) != _major(theirs.cloudpickle):
        reasons.append(f"cloudpickle {ours.cloudpickle} here, {theirs.cloudpickle} there")
    return "; ".join(reasons) or None


def _encode_texts(greeting: Hello | Welcome) -> None:
    """Encode what cannot be printed, and cut what is too long: the texts get into logs, messages and tables."""
    for field, value in greeting.ListFields():
        if isinstance(value, str):
            setattr(greeting, field.name, printable(value, _TEXT_LIMIT))
        elif not isinstance(value, bytes | int | float):  # several texts
            value[:] = [printable(each, _TEXT_LIMIT) for each in value]


def final(error: PeerRefusedError) -> PeerRefusedError:
    """Mark a refusal as final: a retry would not help."""
    error.is_final = True
    return error


def _major(text: str) -> str:
    return text.partition(".")[0]


class Caller:
    """
    The client's part of the handshake.

    :param token: the secret that both ends have; None: no token is required
    :param pool: the name of the requested pool; empty: any
    :param session: names the client: those who give the same share workers
    :param client: what the client is called, if this process passes on its tasks
    :param hops: peers that they have passed through; 0: they are our own
    """

    def __init__(
        self, token: bytes | None, pool: str = "", session: bytes = b"", client: str = "", hops: int = 0
    ) -> None:
        self._token = token
        self._hello = Hello(nonce=secrets.token_bytes(_NONCE), pool=pool)
        self._session, self._client, self._hops = session, client, hops
        describe(self._hello)

    @property
    def hello(self) -> bytes:
        """The first message."""
        return self._hello.SerializeToString()

    def answer(self, data: bytes) -> tuple[Welcome, bytes]:
        """
        Check the peer's welcome.

        :return: the welcome, and the message that opens the link
        :raises PeerRefusedError: if the peer has not proved its identity, or is not compatible
        """
        try:
            welcome = Welcome.FromString(data)
        except Exception as exc:  # protobuf's DecodeError
            raise PeerRefusedError("it does not speak woolexec's protocol") from exc
        _encode_texts(welcome)
        if self._token is not None:
            proof = _proof(self._token, b"peer", self._hello.nonce, welcome.nonce)
            if not hmac.compare_digest(proof, welcome.proof):
                raise PeerRefusedError("the peer has not proved that it has the token")
        reason = misfit(self._hello, welcome)
        if reason is not None:
            raise final(PeerRefusedError(reason))
        opening = Hello()
        opening.CopyFrom(self._hello)
        opening.first, opening.nonce = self._hello.nonce, welcome.nonce
        # This is not told to a peer that has not proved itself.
        opening.session, opening.client, opening.hops = self._session, self._client, self._hops
        if self._token is not None:
            opening.proof = _proof(self._token, b"client", self._hello.nonce, welcome.nonce)
        return welcome, opening.SerializeToString()


class Door:
    """
    The peer's part of the handshake.

    :param token: the secret that clients must have; None: any client that can connect is accepted
    :param welcome: the peer's description of itself
    """

    def __init__(self, token: bytes | None, welcome: Welcome) -> None:
        self._token = token
        self._welcome = welcome
        describe(self._welcome)
        self._secret = secrets.token_bytes(32)
        self._used: dict[bytes, float] = {}  # nonces that were used, and when they expire

    def greet(self, metadata: Iterable[tuple[str, Any]]) -> bytes:
        """
        Answer a Hello.

        :raises PeerRefusedError: if it is invalid, or its sender is not compatible
        """
        hello = self._read(metadata)
        self._check(hello)
        welcome = Welcome()
        welcome.CopyFrom(self._welcome)
        welcome.nonce = self._sign(_MADE.pack(monotonic(), secrets.token_bytes(8)), hello.nonce)
        welcome.clock = time()
        if self._token is not None:
            welcome.proof = _proof(self._token, b"peer", hello.nonce, welcome.nonce)
        return welcome.SerializeToString()

    def admit(self, metadata: Iterable[tuple[str, Any]]) -> Hello:
        """
        Admit a client that has received the welcome.

        :raises PeerRefusedError: if it has not proved its identity
        """
        hello = self._read(metadata)
        self._check_nonce(hello)
        if self._token is not None:
            proof = _proof(self._token, b"client", hello.first, hello.nonce)
            if not hmac.compare_digest(proof, hello.proof):
                raise PeerRefusedError("the client has not proved that it has the token")
        self._check(hello)
        self._use(hello.nonce)
        return hello

    def _read(self, metadata: Iterable[tuple[str, Any]]) -> Hello:
        for key, value in metadata:
            if key == HELLO_KEY and isinstance(value, bytes):
                try:
                    hello = Hello.FromString(value)
                except Exception:  # protobuf's DecodeError
                    break
                if len(hello.nonce) == _NONCE:
                    _encode_texts(hello)
                    return hello
        raise PeerRefusedError("it does not speak woolexec's protocol")

    def _check(self, hello: Hello) -> None:
        reason = misfit(hello, self._welcome)  # worded for the client, which reads it
        if reason is None and hello.pool and hello.pool != self._welcome.pool:
            reason = f"pool {hello.pool!r} is requested, but this peer belongs to pool {self._welcome.pool!r}"
        if reason is not None:
            raise PeerRefusedError(reason)

    def _sign(self, made: bytes, callers: bytes) -> bytes:
        """Make a nonce from its creation time and the caller's nonce."""
        return made + hmac.digest(self._secret, made + callers, "sha256")[: _NONCE - len(made)]

    def _check_nonce(self, hello: Hello) -> None:
        """
        Check that this process issued a nonce.

        :raises PeerRefusedError: if it did not, or the nonce is expired or was used before
        """
        made = hello.nonce[: _MADE.size]
        genuine = hmac.compare_digest(self._sign(made, hello.first), hello.nonce)
        if not genuine or _MADE.unpack(made)[0] + _NONCE_AGE < monotonic() or hello.nonce in self._used:
            raise PeerRefusedError("the nonce is unknown, expired or already used")

    def _use(self, nonce: bytes) -> None:
        """Record that a nonce was used."""
        now = monotonic()
        self._used = {each: until for each, until in self._used.items() if until > now}
        self._used[nonce] = now + _NONCE_AGE


def _proof(token: bytes, role: bytes, callers: bytes, peers: bytes) -> bytes:
    return hmac.digest(token, b"woolexec 1 " + role + b"\0" + callers + peers, "sha256")
