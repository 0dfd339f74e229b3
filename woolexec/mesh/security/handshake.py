"""
How the two ends of a link authenticate each other before the first frame.

::

    client                                                     peer
      -- Hello    versions, nonce c -------------------------->
      <- Welcome  versions, nonce s ---------------------------     nothing that depends on the token
      -- Link     its identity, nonces c and s; its proof ---->     checked before anything in it is trusted
      <- Welcome  what the peer offers; its proof -------------     checked before the first frame is sent

A proof is an HMAC, keyed with the token, of the protocol's version, the role of the end that makes it, the certificate
that the peer shows on this connection, both nonces, and the message that contains the proof.

Guarantees:
1. The token is never sent, and an end that does not have it gets nothing from a peer that depends on it.
2. A peer that has not proved that it has the token receives no byte of a task.
3. A proof is not valid on another connection: a relay of the handshake shows the client a different certificate, and
   both ends refuse.  Addresses are not part of a proof, so forwarded ports work.  A Unix socket has no certificate; its
   folder and the user at its other end are checked instead (see `woolexec.mesh.client.channel`).
4. A nonce of the peer can be used once, within 10 s.  The nonce encodes its creation time and the client's nonce, so
   greetings of strangers use no memory of the peer, and do not affect other clients.
5. The handshake uses only gRPC metadata, of which gRPC accepts 8 KiB (1.85: 16 MiB until its settings have been
   acknowledged): the peer reads no message from a stranger.
"""

from __future__ import annotations

import hmac
import os
import secrets
import struct
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from woolexec.errors import PeerRefusedError
from woolexec.platform.posix import host_name
from woolexec.printable import printable
from woolexec.wire.wire_pb2 import Hello, Welcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PROTOCOL = 3

HELLO_KEY = "woolexec-hello-bin"
WELCOME_KEY = "woolexec-welcome-bin"
PROOF_KEY = "woolexec-proof-bin"
"""Keys of the metadata; gRPC carries bytes under keys that end in ``-bin``."""

FREE_KEY = "woolexec-free"
"""Key in the metadata of a link: the number of free places at its start, for `woolexec doctor`."""

DRAINING = "the peer is draining"
CANNOT_WORK = "the peer cannot run tasks now"
"""The message of a peer that accepts no more clients."""

MOST_WORKERS = 1 << 16
"""Maximum number of workers of one peer."""

_TEXT_LIMIT = 255
"""Maximum length of each text in a greeting, in characters: no host name and no identity is longer."""

_NONCE = 32
_NONCE_AGE = 10.0
"""Seconds for which a peer's nonce can be used."""

_MADE = struct.Struct("<d8s")
"""The start of a peer's nonce: when it was made, by the peer's clock, and random bytes; the rest is a MAC."""

_SAME = ": both ends need the same (WOOLEXEC_TOKEN_FILE, --token-file)"
_FOREIGN = "it does not speak woolexec's protocol"


def describe(greeting: Hello | Welcome) -> None:
    """Fill in what the other end must know about this process to work with it."""
    greeting.protocol = PROTOCOL
    greeting.python = f"{sys.version_info.major}.{sys.version_info.minor}"
    greeting.cloudpickle = _version("cloudpickle")


def introduce(greeting: Hello | Welcome) -> None:
    """Fill in the description of this process."""
    describe(greeting)
    greeting.woolexec = _version("woolexec")
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
    """Escape unprintable characters and shorten long texts: they appear in logs, messages and tables."""
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


def no_certificates() -> Sequence[bytes]:
    """Return the fingerprint that represents a connection without TLS."""
    return (b"",)


@dataclass(frozen=True, slots=True)
class _Connection:
    """
    What the proofs of both ends depend on, in addition to the token.

    :param fingerprint: SHA-256 of the peer's certificate; empty without TLS
    """

    fingerprint: bytes
    callers: bytes
    peers: bytes

    def proof(self, token: bytes, role: bytes, message: bytes) -> bytes:
        """Prove that this end has the token, and sent this message over this connection."""
        assert len(self.callers) == len(self.peers) == _NONCE
        head = b"woolexec %d %s\0%c" % (PROTOCOL, role, len(self.fingerprint))
        return hmac.digest(token, head + self.fingerprint + self.callers + self.peers + message, "sha256")


class Caller:
    """
    The client's part of the handshake.

    :param token: the secret that both ends have; None: no token is required
    :param pool: the name of the requested pool; empty: any
    :param session: the secret name of the client: links with the same name share workers
    :param client: the name of the client, if this process passes on its tasks
    :param hops: number of peers that these tasks have passed through; 0: they are this process's own
    :param compression: formats of compressed parts that this process can decompress
    """

    def __init__(
        self,
        token: bytes | None,
        pool: str = "",
        session: bytes = b"",
        client: str = "",
        hops: int = 0,
        compression: Sequence[str] = (),
    ) -> None:
        self._token = token
        self._hello = Hello(nonce=secrets.token_bytes(_NONCE))
        describe(self._hello)
        self._opening = Hello(first=self._hello.nonce, pool=pool, session=session, client=client, hops=hops)
        self._opening.compression.extend(compression)
        introduce(self._opening)

    @property
    def hello(self) -> bytes:
        """The first message."""
        return self._hello.SerializeToString()

    def answer(self, data: bytes, fingerprint: bytes = b"") -> tuple[Welcome, Opening]:
        """
        Answer the peer's welcome, which is not authenticated yet.

        :param fingerprint: SHA-256 of the certificate that the peer shows on this connection; empty without TLS
        :return: the welcome, and what opens the link
        :raises PeerRefusedError: if the peer is not compatible
        """
        welcome = _welcome(data)
        if (reason := misfit(self._hello, welcome)) is not None:
            raise final(PeerRefusedError(reason))
        if len(welcome.nonce) != _NONCE:
            raise PeerRefusedError(_FOREIGN)
        self._opening.nonce = welcome.nonce
        message = self._opening.SerializeToString()
        connection = _Connection(fingerprint, self._hello.nonce, welcome.nonce)
        return welcome, Opening(message, self._token, connection)


@dataclass(frozen=True, slots=True, repr=False)
class Opening:
    """What opens a link: the client's second message, and what the peer must then prove."""

    message: bytes
    _token: bytes | None
    _connection: _Connection

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The metadata of the call that opens the link."""
        message = HELLO_KEY, self.message
        if self._token is None:
            return (message,)
        return message, (PROOF_KEY, self._connection.proof(self._token, b"client", self.message))

    def check(self, metadata: Iterable[tuple[str, Any]]) -> Welcome:
        """
        Check the metadata with which the peer opened the link.

        :return: the peer's description of itself
        :raises PeerRefusedError: if it has not proved its identity
        """
        answer = dict(metadata)
        data, proof = answer.get(WELCOME_KEY), answer.get(PROOF_KEY)
        if not isinstance(data, bytes):
            raise PeerRefusedError(_FOREIGN)
        if self._token is not None:
            right = self._connection.proof(self._token, b"peer", data)
            if not hmac.compare_digest(right, proof if isinstance(proof, bytes) else b""):
                raise PeerRefusedError(f"the peer has not proved that it has the token{_SAME}")
        return _welcome(data)


def _welcome(data: bytes) -> Welcome:
    try:
        welcome = Welcome.FromString(data)
    except Exception as exc:  # protobuf's DecodeError
        raise PeerRefusedError(_FOREIGN) from exc
    _encode_texts(welcome)
    return welcome


class Door:
    """
    The peer's part of the handshake.

    :param token: the secret that clients must have; None: any client that can connect is accepted
    :param welcome: the peer's description of itself
    :param fingerprints: returns SHA-256 of each certificate that connections may have been made with
    :param failures: returns how often the peer has failed lately
    """

    def __init__(
        self,
        token: bytes | None,
        welcome: Welcome,
        fingerprints: Callable[[], Sequence[bytes]] = no_certificates,
        failures: Callable[[], int] = lambda: 0,
    ) -> None:
        self._token = token
        self._welcome = welcome
        introduce(self._welcome)
        self._fingerprints, self._failures = fingerprints, failures
        self._secret = secrets.token_bytes(32)
        self._used: dict[bytes, float] = {}  # by used nonce: when it expires

    def greet(self, metadata: Iterable[tuple[str, Any]]) -> bytes:
        """
        Answer a Hello.

        :raises PeerRefusedError: if it is invalid, or its sender is not compatible
        """
        hello, _, _ = self._read(metadata)
        if (reason := misfit(hello, self._welcome)) is not None:  # worded for the client, which reads it
            raise final(PeerRefusedError(reason))
        welcome = Welcome(identity=self._welcome.identity)
        describe(welcome)
        welcome.nonce = self._sign(_MADE.pack(monotonic(), secrets.token_bytes(8)), hello.nonce)
        return welcome.SerializeToString()

    def admit(self, metadata: Iterable[tuple[str, Any]]) -> Admitted:
        """
        Admit a client that has received the welcome.

        :raises PeerRefusedError: if it has not proved its identity, or is not compatible
        """
        hello, message, proof = self._read(metadata)
        self._check_nonce(hello)
        connection = self._proved(hello, message, proof)
        reason = misfit(hello, self._welcome)
        if reason is None and hello.pool and hello.pool != self._welcome.pool:
            reason = f"pool {hello.pool!r} is requested, but this peer belongs to pool {self._welcome.pool!r}"
        if reason is not None:
            raise final(PeerRefusedError(reason))
        self._use(hello.nonce)
        return Admitted(hello, connection)

    def welcome(self, admitted: Admitted, passage: bytes = b"") -> tuple[tuple[str, bytes], ...]:
        """
        Return the metadata that opens the link for a client.

        :param passage: see `woolexec.mesh.link.fd_passing`
        """
        welcome = Welcome()
        welcome.CopyFrom(self._welcome)
        welcome.clock, welcome.passage, welcome.failures = time(), passage, self._failures()
        data = welcome.SerializeToString()
        if self._token is None:
            return ((WELCOME_KEY, data),)
        return (WELCOME_KEY, data), (PROOF_KEY, admitted.connection.proof(self._token, b"peer", data))

    def _proved(self, hello: Hello, message: bytes, proof: bytes) -> _Connection:
        """
        Return the connection for which a client has proved that it has the token.

        :raises PeerRefusedError: if it has not
        """
        connections = [_Connection(each, hello.first, hello.nonce) for each in self._fingerprints()]
        if self._token is None:
            return connections[0]
        for each in connections:
            if hmac.compare_digest(each.proof(self._token, b"client", message), proof):
                return each
        relayed = "; or something between the two ends TLS" if connections[0].fingerprint else ""
        raise PeerRefusedError(f"the client has not proved that it has the token{_SAME}{relayed}")

    def _read(self, metadata: Iterable[tuple[str, Any]]) -> tuple[Hello, bytes, bytes]:
        """Return a message, parsed and in its sent form, and its proof."""
        given = {key: value for key, value in metadata if key in (HELLO_KEY, PROOF_KEY) and isinstance(value, bytes)}
        message = given.get(HELLO_KEY, b"")
        try:
            hello = Hello.FromString(message)
        except Exception as exc:  # protobuf's DecodeError
            raise PeerRefusedError(_FOREIGN) from exc
        if len(hello.nonce) != _NONCE:
            raise PeerRefusedError(_FOREIGN)
        _encode_texts(hello)
        return hello, message, given.get(PROOF_KEY, b"")

    def _sign(self, made: bytes, callers: bytes) -> bytes:
        """Make a nonce from its creation time and the caller's nonce."""
        return made + hmac.digest(self._secret, made + callers, "sha256")[: _NONCE - len(made)]

    def _check_nonce(self, hello: Hello) -> None:
        """
        Check that this process issued a nonce.

        :raises PeerRefusedError: if it did not, or the nonce is expired or was used before
        """
        made = hello.nonce[: _MADE.size]
        genuine = len(hello.first) == _NONCE and hmac.compare_digest(self._sign(made, hello.first), hello.nonce)
        if not genuine or _MADE.unpack(made)[0] + _NONCE_AGE < monotonic() or hello.nonce in self._used:
            raise PeerRefusedError("the nonce is unknown, expired or already used")

    def _use(self, nonce: bytes) -> None:
        """Record that a nonce was used."""
        now = monotonic()
        self._used = {each: until for each, until in self._used.items() if until > now}
        self._used[nonce] = now + _NONCE_AGE


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that was admitted: its message, and the connection that its proof is for."""

    hello: Hello
    connection: _Connection
