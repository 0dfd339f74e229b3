"""
How the two ends of a link come to trust each other, before the first frame.

::

    client                                                     peer
      -- Hello    versions, nonce c -------------------------->
      <- Welcome  versions, identity, nonce s, proof(peer) -----     proves that it has the token
      -- Link     versions, nonce s, proof(client) ------------>     frames follow

Guarantees:
1. The token never travels: each end proves that it has it, by an HMAC of both nonces.
2. The peer proves itself first: no byte of a task, and no proof, is given to an impostor.
3. A nonce of the peer's serves once, for 10 s, so a proof that was listened to is worth nothing.
4. All of it is gRPC metadata, of which gRPC accepts 8 KiB: the peer reads no message of a stranger.
"""

from __future__ import annotations

import hmac
import os
import secrets
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

_NONCE = 32
_NONCE_AGE = 10.0
_NONCES = 1024
"""Nonces that a peer remembers, at most, and for how long, in seconds."""


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
    """Say why these two cannot work together, or None."""
    reasons = []
    if ours.protocol != theirs.protocol:
        reasons.append(f"protocol {ours.protocol} here, {theirs.protocol} there")
    if ours.python != theirs.python:
        reasons.append(f"Python {ours.python} here, {theirs.python} there: functions would not unpickle")
    if _major(ours.cloudpickle) != _major(theirs.cloudpickle):
        reasons.append(f"cloudpickle {ours.cloudpickle} here, {theirs.cloudpickle} there")
    return "; ".join(reasons) or None


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
                raise PeerRefusedError("it has not proved that it has the token")
        reason = misfit(self._hello, welcome)
        if reason is not None:
            raise PeerRefusedError(reason)
        opening = Hello()
        opening.CopyFrom(self._hello)
        opening.nonce = welcome.nonce
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
        self._nonces: dict[bytes, tuple[bytes, float]] = {}

    def greet(self, metadata: Iterable[tuple[str, Any]]) -> bytes:
        """
        Answer a Hello.

        :raises PeerRefusedError: if it is none, or its sender does not fit
        """
        hello = self._read(metadata)
        self._check(hello)
        welcome = Welcome()
        welcome.CopyFrom(self._welcome)
        welcome.nonce = secrets.token_bytes(_NONCE)
        welcome.clock = time()
        if self._token is not None:
            welcome.proof = _proof(self._token, b"peer", hello.nonce, welcome.nonce)
        self._remember(welcome.nonce, hello.nonce)
        return welcome.SerializeToString()

    def admit(self, metadata: Iterable[tuple[str, Any]]) -> Hello:
        """
        Let a client in that has heard the welcome.

        :raises PeerRefusedError: if it has not proved itself
        """
        hello = self._read(metadata)
        known = self._nonces.pop(hello.nonce, None)
        if known is None or known[1] < monotonic():
            raise PeerRefusedError("no such welcome was given, or not lately")
        if self._token is not None:
            proof = _proof(self._token, b"client", known[0], hello.nonce)
            if not hmac.compare_digest(proof, hello.proof):
                raise PeerRefusedError("it has not proved that it has the token")
        self._check(hello)
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
        reason = misfit(self._welcome, hello)
        if reason is None and hello.pool and hello.pool != self._welcome.pool:
            reason = f"pool {self._welcome.pool!r} here, {hello.pool!r} is wanted"
        if reason is not None:
            raise PeerRefusedError(reason)

    def _remember(self, nonce: bytes, callers: bytes) -> None:
        while len(self._nonces) >= _NONCES:
            del self._nonces[next(iter(self._nonces))]
        self._nonces[nonce] = callers, monotonic() + _NONCE_AGE


def _proof(token: bytes, role: bytes, callers: bytes, peers: bytes) -> bytes:
    return hmac.digest(token, b"woolexec 1 " + role + b"\0" + callers + peers, "sha256")
