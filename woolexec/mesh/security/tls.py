"""
TLS between the ends of a link: certificate files, read again for each connection, so that they can be replaced.

A DNS name in a certificate states the role of its owner: ``peer.woolexec`` a peer, ``client.woolexec`` a client,
``operator.woolexec`` a client that may see the tasks of others.  A client accepts only peers, whatever their address; a
peer accepts all of them: see `trust`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import ssl
import time
from dataclasses import dataclass
from time import monotonic
from typing import Any

from woolexec.errors import CredentialsError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.revocation import revoked_in
from woolexec.platform.files import check_regular, is_secret, read_regular

PEER, CLIENT, OPERATOR = "peer.woolexec", "client.woolexec", "operator.woolexec"
"""DNS names in certificates."""

_REPLACED = 60.0
"""Seconds for which a peer's replaced certificate still counts for connections made before."""

_ANY_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL."""


@dataclass(frozen=True, slots=True)
class Tls:
    """
    Files in PEM format.

    :param ca: the authorities that may have issued the other end's certificate; None: a client trusts the authorities
        of its system, and a peer requires no certificate from clients
    :param certificate: the certificate of this process, followed by the chain to its authority
    :param key: its private key
    :param name: the DNS name that a peer's certificate must have; empty: the host of the address
    :param revoked: the file with serial numbers of certificates that are not accepted: see `revocation`
    :raises CredentialsError: if a path is empty, or a certificate and its key are not given together
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    name: str = PEER
    revoked: str | None = None

    def __post_init__(self) -> None:
        if "" in (self.ca, self.certificate, self.key, self.revoked):
            raise CredentialsError("the path of a file for TLS is empty: give a file, or None")
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError(
                "a certificate and its key must be given together: WOOLEXEC_TLS_CERT and WOOLEXEC_TLS_KEY, "
                "or --tls-cert and --tls-key"
            )

    def check(self) -> None:
        """
        Check that all files can be read and used.

        :raises CredentialsError: if a file is missing or invalid, or others can read the key
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.revoked is not None:
            revoked_in(self.revoked)
        for path in (self.ca, self.certificate):
            try:
                if path is None:
                    continue
                check_regular(path)
                if path is self.ca:
                    context.load_verify_locations(path)
                    continue
                if self.key is not None and not is_secret(check_regular(self.key)):
                    raise CredentialsError(f"key {self.key} can be read by others: chmod 600 it")
                context.load_cert_chain(path, self.key)
            except ssl.SSLError as exc:
                if exc.reason == "KEY_VALUES_MISMATCH":
                    raise CredentialsError(f"{self.key} is not the key of {path}") from exc
                raise CredentialsError(f"{path} cannot be read as PEM ({exc.reason or exc})") from exc
            except OSError as exc:
                raise CredentialsError(f"{exc.filename or path}: {exc.strerror}") from exc

    def check_own(self, role: str) -> float:
        """
        Check that an end with the same authorities would accept this process's certificate.

        The check is a TLS handshake in memory.

        :param role: `PEER` or `CLIENT`; a peer may be a client as well
        :return: seconds until it expires
        :raises CredentialsError: if it is for another role, is not valid now, or is not from one of the authorities
        """
        assert self.certificate is not None
        about = _read_certificate(self.certificate, self.key)
        names = {name for kind, name in about.get("subjectAltName", ()) if kind == "DNS"}
        if self.ca is not None and not names & ({PEER} if role == PEER else {role, PEER, OPERATOR}):
            word, what = role.partition(".")[0], ", ".join(sorted(names)) or "no DNS name"
            raise CredentialsError(
                f"{self.certificate} is not the certificate of a {word}: it names {what}, not {role}. "
                f"Make one with: woolexec certs issue {word}"
            )
        now = time.time()
        begins, ends = (ssl.cert_time_to_seconds(about[name]) for name in ("notBefore", "notAfter"))
        if ends <= now:
            raise CredentialsError(
                f"{self.certificate} expired on {about['notAfter']}: renew it with: woolexec certs issue"
            )
        if begins > now:
            raise CredentialsError(f"{self.certificate} is not valid before {about['notBefore']}: is the clock right?")
        if self.ca is not None:
            try:
                _shake_hands(self.certificate, self.key, self.ca, role)
            except ssl.SSLCertVerificationError as exc:
                raise CredentialsError(
                    f"{self.certificate} fails verification against {self.ca}: {exc.verify_message}"
                ) from exc
        return ends - now

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """
        SHA-256 of the certificate of each authority, in hex.

        :raises CredentialsError: if the file of the authorities cannot be used
        """
        try:
            return tuple(each.fingerprint for each in Certificate.all_in(_read(self.ca) or b""))
        except ValueError as exc:
            raise CredentialsError(f"{self.ca}: {exc}") from exc

    def channel(self, only: str) -> Any:
        """
        Make the gRPC credentials of a client's channel.

        :param only: the one certificate that the peer may have, in PEM
        :raises CredentialsError: if a file cannot be read
        """
        grpc = load_grpc()

        return grpc.ssl_channel_credentials(only.encode(), _read(self.key), _read(self.certificate))

    def context(self, host: str) -> ssl.SSLContext:
        """
        Make the context of a client's connection outside of gRPC.

        :param host: the host of the address
        :raises CredentialsError: if a file cannot be used
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = not self.name  # other names are compared by `trust`
        context.set_alpn_protocols(["h2"])
        try:
            for path in filter(None, (self.ca, self.certificate, self.key)):
                check_regular(path)
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as exc:
            raise CredentialsError(f"{exc.filename or self.ca}: {exc.strerror or exc}") from exc
        return context


class ServerFiles:
    """
    The certificate and the key that a peer shows; they are read again when the files change.

    :param tls: the files
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen: list[tuple[int, int]] = []
        self._shown: dict[bytes, float] = {}  # by fingerprint: until when it counts

    def server(self) -> Any:
        """
        Make the gRPC credentials of a server; they are updated when the files change.

        :raises CredentialsError: if a file cannot be read
        """
        grpc = load_grpc()

        configuration = self._configuration()
        self._seen = self._times()
        return grpc.dynamic_ssl_server_credentials(
            configuration, self._changed, require_client_authentication=self._tls.ca is not None
        )

    def fingerprints(self) -> tuple[bytes, ...]:
        """Return SHA-256 of the certificate, and of those that were just replaced."""
        now = monotonic()
        return tuple(each for each, until in tuple(self._shown.items()) if until > now)

    def _times(self) -> list[tuple[int, int]]:
        paths = (self._tls.ca, self._tls.certificate, self._tls.key)
        about = [os.stat(path) for path in paths if path is not None]
        return [(each.st_mtime_ns, each.st_ino) for each in about]

    def _configuration(self) -> Any:
        """Read the files."""
        grpc = load_grpc()

        tls = self._tls
        key, certificate, ca = _read(tls.key), _read(tls.certificate), _read(tls.ca)
        made = grpc.ssl_server_certificate_configuration([(key, certificate)], ca)
        self._show(certificate or b"")
        return made

    def _show(self, certificate: bytes) -> None:
        try:
            own, *_ = Certificate.all_in(certificate)
        except ValueError as exc:
            raise CredentialsError(f"{self._tls.certificate} has no certificate that can be read") from exc
        until = monotonic() + _REPLACED
        kept = {each: min(end, until) for each, end in self._shown.items() if end > monotonic()}
        self._shown = kept | {bytes.fromhex(own.fingerprint): math.inf}

    def _changed(self) -> Any:
        """Return the new configuration; None if it has not changed.  gRPC calls this at each handshake."""
        try:
            seen = self._times()
            if seen == self._seen:
                return None
            self._tls.check()  # keep serving while only some files are replaced
            made = self._configuration()
        except (OSError, CredentialsError) as exc:
            logging.getLogger("woolexec").warning("keeping the old certificates, the new ones cannot be used: %s", exc)
            return None
        self._seen = seen
        return made


def _read_certificate(certificate: str, key: str | None) -> dict[str, Any]:
    """Return the contents of a certificate, as `ssl.SSLSocket.getpeercert` does, without verifying it."""
    flags = _ANY_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        return _shake_hands(certificate, key, certificate, PEER, flags)
    except ssl.SSLCertVerificationError:  # not valid for servers
        return _shake_hands(certificate, key, certificate, CLIENT, flags)


def _shake_hands(certificate: str, key: str | None, ca: str, role: str, flags: int = 0) -> dict[str, Any]:
    """
    Do a TLS handshake with this certificate, in memory.

    :param role: `PEER`: show it as a server; else as a client
    :return: its contents, as `ssl.SSLSocket.getpeercert` returns them
    :raises ssl.SSLCertVerificationError: if it fails verification against `ca`
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in (server, client):
        context.load_cert_chain(certificate, key)
    judge = client if role == PEER else server
    judge.verify_mode = ssl.CERT_REQUIRED
    judge.load_verify_locations(ca)
    judge.verify_flags |= flags
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for end in (*ends, *ends):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[0 if judge is client else 1].getpeercert() or {}


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return read_regular(path)
    except OSError as exc:
        raise CredentialsError(f"{path}: {exc.strerror}") from exc
