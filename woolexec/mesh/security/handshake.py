"""
How the two ends of a link come to trust each other, before the first frame.

::

    client                                                     peer
      -- Hello    versions, nonce c -------------------------->
      <- Welcome  versions, identity, nonce s, proof(peer) -----     proves that it has the token
      -- Link     versions, nonces c and s, proof(client) ----->     frames follow

Guarantees:
1. The token never travels: each end proves that it has it, by an HMAC of both nonces.
2. The peer proves itself first: no byte of a task, and no proof, is given to an impostor.
3. A nonce of the peer's serves once, for 10 s, so a proof that was listened to is worth nothing.  It says itself when
   it was made, and for which c: strangers who greet leave nothing in the peer's memory, and take nothing from others.
4. All of it is gRPC metadata, of which gRPC accepts 8 KiB (1.85: 16 MiB until its settings have been acknowledged): the
   peer reads no message of a stranger.
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
from woolexec.wire.wire_pb2 import Hello, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 1

HELLO_KEY = "woolexec-hello-bin"
WELCOME_KEY = "woolexec-welcome-bin"
"""Of the metadata; gRPC carries bytes under names that end so."""

FREE_KEY = "woolexec-free"
"""Of the metadata of a link: how many places of the peer are free when it begins, for `woolexec doctor`."""

DRAINING = "the peer is draining"
"""What a peer says that lets nobody in any more."""

_NONCE = 32
_NONCE_AGE = 10.0
"""For how long a peer's nonce serves, in seconds."""

_MADE = struct.Struct("<d8s")
"""What a peer's nonce begins with: when it was made, by the peer's clock, and random bytes; the rest is a MAC."""


def describe(greeting: Hello | Welcome) -> None:
    """Fill in what this process says of itself."""
    greeting.protocol = PROTOCOL
    greeting.python = f"{sys.version_info.major}.{sys.version_info.minor}"
    greeting.woolexec = _version("woolexec")
    greeting.cloudpickle = _version("cloudpickle")
    greeting.host = os.uname().nodename
    greeting.pid = os.getpid()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from its sources
        return ""


def misfit(ours: Hello | Welcome, theirs: Hello | Welcome) -> str | None:
    """Say to us why these two cannot work together, or None."""
    reasons = []
    if ours.protocol != theirs.protocol:
        reasons.append(f"protocol {ours.protocol} here, {theirs.protocol} there")
    if ours.python != theirs.python:
        reasons.append(f"Python {ours.python} here, {theirs.python} there: functions would not unpickle")
    if _major(ours.cloudpickle) != _major(theirs.cloudpickle):
        reasons.append(f"cloudpickle {ours.cloudpickle} here, {theirs.cloudpickle} there")
    return "; ".join(reasons) or None


def final(error: PeerRefusedError) -> PeerRefusedError:
    """Say of a refusal that asking again would not help."""
    error.is_final = True
    return error


def _major(text: str) -> str:
    return text.partition(".")[0]


class Caller:
    """
    The client's part.

    :param token: the secret that both ends have; None where none is asked for
    :param pool: the name of the pool that is wanted; empty: any
    """

    def __init__(self, token: bytes | None, pool: str = "") -> None:
        self._token = token
        self._hello = Hello(nonce=secrets.token_bytes(_NONCE), pool=pool)
        describe(self._hello)

    @property
    def hello(self) -> bytes:
        """What is sent first."""
        return self._hello.SerializeToString()

    def answer(self, data: bytes) -> tuple[Welcome, bytes]:
        """
        Check the peer's welcome.

        :return: it, and what opens the link
        :raises PeerRefusedError: if the peer has not proved itself, or does not fit
        """
        try:
            welcome = Welcome.FromString(data)
        except Exception as exc:  # protobuf's DecodeError
            raise PeerRefusedError("it does not speak woolexec's protocol") from exc
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
        if self._token is not None:
            opening.proof = _proof(self._token, b"client", self._hello.nonce, welcome.nonce)
        return welcome, opening.SerializeToString()


class Door:
    """
    The peer's part.

    :param token: the secret that clients must have; None: whoever reaches the peer may use it
    :param welcome: what the peer says of itself
    """

    def __init__(self, token: bytes | None, welcome: Welcome) -> None:
        self._token = token
        self._welcome = welcome
        describe(self._welcome)
        self._secret = secrets.token_bytes(32)
        self._used: dict[bytes, float] = {}  # nonces that have served, and until when they would

    def greet(self, metadata: Iterable[tuple[str, Any]]) -> bytes:
        """
        Answer a Hello.

        :raises PeerRefusedError: if it is none, or its sender does not fit
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
        Let a client in that has heard the welcome.

        :raises PeerRefusedError: if it has not proved itself
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
                    return hello
        raise PeerRefusedError("it does not speak woolexec's protocol")

    def _check(self, hello: Hello) -> None:
        reason = misfit(hello, self._welcome)  # for the client reads it
        if reason is None and hello.pool and hello.pool != self._welcome.pool:
            reason = f"pool {hello.pool!r} is wanted, and this peer is of pool {self._welcome.pool!r}"
        if reason is not None:
            raise PeerRefusedError(reason)

    def _sign(self, made: bytes, callers: bytes) -> bytes:
        """Make a nonce of when it was made and the caller's."""
        return made + hmac.digest(self._secret, made + callers, "sha256")[: _NONCE - len(made)]

    def _check_nonce(self, hello: Hello) -> None:
        """
        See that a nonce is one of ours.

        :raises PeerRefusedError: if it is none, is old, or has served before
        """
        made = hello.nonce[: _MADE.size]
        genuine = hmac.compare_digest(self._sign(made, hello.first), hello.nonce)
        if not genuine or _MADE.unpack(made)[0] + _NONCE_AGE < monotonic() or hello.nonce in self._used:
            raise PeerRefusedError("no such welcome was given, or not lately")

    def _use(self, nonce: bytes) -> None:
        """A nonce has served."""
        now = monotonic()
        self._used = {each: until for each, until in self._used.items() if until > now}
        self._used[nonce] = now + _NONCE_AGE


def _proof(token: bytes, role: bytes, callers: bytes, peers: bytes) -> bytes:
    return hmac.digest(token, b"woolexec 1 " + role + b"\0" + callers + peers, "sha256")
