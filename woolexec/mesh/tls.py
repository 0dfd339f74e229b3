"""
TLS between the ends of a link: files of certificates, read anew for each connection, so that they can be replaced.

A certificate says by a DNS name what its owner may be: ``peer.woolexec`` a peer, ``client.woolexec`` a client.  A
client accepts only a peer, whatever address it was found at; a peer accepts clients and other peers.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.grpc_module import load_grpc

PEER, CLIENT = "peer.woolexec", "client.woolexec"
"""DNS names in certificates."""

_SAN = "x509_subject_alternative_name"
"""Grpc's word for the names in a certificate."""


@dataclass(frozen=True, slots=True)
class Tls:
    """
    Files in PEM format.

    :param ca: the authorities whose certificates the other end may have; None: a client trusts those of its system, and
        a peer asks clients for no certificate
    :param certificate: what this process shows, followed by those between it and its authority
    :param key: its private key
    :param name: what a peer's certificate must name; empty: the host of the address
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    name: str = PEER

    def check(self) -> None:
        """
        Read all of it once.

        :raises CredentialsError: if a file is missing, does not hold what it should, or a key can be read by others
        """
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError("a certificate takes its key, and a key its certificate")
        if self.key is not None and os.path.exists(self.key) and os.stat(self.key).st_mode & 0o077:
            raise CredentialsError(f"key {self.key} can be read by others: chmod 600 it")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for path in (self.ca, self.certificate):
            try:
                if path is None:
                    continue
                if path is self.ca:
                    context.load_verify_locations(path)
                else:
                    context.load_cert_chain(path, self.key)
            except ssl.SSLError as exc:
                raise CredentialsError(f"{path}: {exc.reason or exc}") from exc
            except OSError as exc:
                raise CredentialsError(f"{exc.filename or path}: {exc.strerror}") from exc

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each of the authorities, in hex."""
        return _fingerprints(_read(self.ca) or b"")

    def channel(self) -> tuple[Any, Sequence[tuple[str, str]]]:
        """
        Make what a client's channel takes.

        :return: credentials of grpc, and options
        :raises CredentialsError: if a file cannot be read
        """
        grpc = load_grpc()

        made = grpc.ssl_channel_credentials(*(_read(path) for path in (self.ca, self.key, self.certificate)))
        return made, [("grpc.ssl_target_name_override", self.name)] if self.name else []

    def server(self) -> Any:
        """
        Make what a server takes: credentials of grpc that follow the files.

        :raises CredentialsError: if a file cannot be read
        """
        grpc = load_grpc()

        files = _Files(self)
        return grpc.dynamic_ssl_server_credentials(
            files.configuration(), files.changed, require_client_authentication=self.ca is not None
        )


class _Files:
    """What a server shows, from files that may be replaced."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._times()

    def _times(self) -> list[tuple[int, int]]:
        paths = (self._tls.ca, self._tls.certificate, self._tls.key)
        about = [os.stat(path) for path in paths if path is not None]
        return [(each.st_mtime_ns, each.st_ino) for each in about]

    def configuration(self) -> Any:
        """Read the files."""
        grpc = load_grpc()

        tls = self._tls
        return grpc.ssl_server_certificate_configuration([(_read(tls.key), _read(tls.certificate))], _read(tls.ca))

    def changed(self) -> Any:
        """Return the new configuration; None if it is the one that grpc has.  Grpc asks at each handshake."""
        try:
            seen = self._times()
            if seen == self._seen:
                return None
            self._tls.check()  # half of a replacement is no reason to turn clients away
            made = self.configuration()
        except (OSError, CredentialsError) as exc:
            logging.getLogger("woolexec").warning("the certificates have changed and cannot be used: %s", exc)
            return None
        self._seen = seen
        return made


def check_client(auth_context: Any) -> str:
    """
    Look at what a client's certificate says that it may be.

    :param auth_context: of a call, as grpc gives it
    :return: its names
    :raises PeerRefusedError: if it is neither a client's nor a peer's
    """
    names = [name.decode(errors="replace") for name in auth_context.get(_SAN, ())]
    if not {PEER, CLIENT} & set(names):
        raise PeerRefusedError(f"its certificate is neither a client's nor a peer's: it has the names {names}")
    return ", ".join(names)


def _fingerprints(pem: bytes) -> tuple[str, ...]:
    end = "-----END CERTIFICATE-----"
    parts = pem.decode(errors="replace").split(end)[:-1]
    begin = "-----BEGIN CERTIFICATE-----"
    return tuple(
        hashlib.sha256(ssl.PEM_cert_to_DER_cert(begin + part.partition(begin)[2] + end)).hexdigest() for part in parts
    )


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise CredentialsError(f"{path}: {exc.strerror}") from exc
