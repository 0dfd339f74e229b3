"""
Which certificates are accepted now: those from trusted authorities, with the right role, that are not revoked.

TLS verifies a certificate when a connection begins.  This adds what TLS does not check: the role of the owner, which is
an exact DNS name; revoked serial numbers; and the end of open links whose authority or certificate is withdrawn.  The
files are read again when they change.
"""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.handshake import final
from woolexec.mesh.security.revocation import revoked_in
from woolexec.platform.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.mesh.security.tls import Tls

LOOK = 1.0
"""Seconds between two checks whether a file has changed."""

_PEM, _CHAIN = "x509_pem_cert", "x509_pem_cert_chain"
"""gRPC's keys for the certificate of the other end, and for those that it has sent."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A certificate that was accepted.

    :param keys: the name and the key of each authority that may have issued it
    :param serials: the serial numbers of the certificate, of intermediate authorities, and of the trusted authority
    """

    certificate: Certificate
    keys: frozenset[tuple[bytes, bytes]]
    serials: frozenset[int]

    def __str__(self) -> str:
        """Return the name of its owner."""
        return f"certificate {self.certificate.name!r} {self.certificate.serial:x}"


@dataclass(frozen=True, slots=True)
class Identity:
    """
    The identity of a client.

    :param proved: the certificate or the token that it has proved to have
    :param claims: its unproved description of itself
    :param accepted: its certificate, if it has shown one
    """

    proved: str
    claims: str
    accepted: Accepted | None = None

    def __str__(self) -> str:
        """Describe the client, for logs."""
        return f"{self.claims} ({self.proved})"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its certificate; empty if it has shown none."""
        return "" if self.accepted is None else self.accepted.certificate.fingerprint

    def own(self, session: bytes) -> bytes:
        """
        Return the session of this client at peers, bound to its identity: another client with the same name differs.

        All peers to which the client proves the same identity get the same session; only peers can pass it on.

        :param session: the name that the client gives; empty: none
        """
        proved = self.fingerprint or self.proved
        return session and hmac.digest(session, b"woolexec session\0" + proved.encode(), "sha256")


class Trust:
    """
    The certificates that are trusted now.

    :param tls: the files
    :raises CredentialsError: if a file cannot be used
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._revoked = frozenset[int]()
        try:
            self._seen = self._times()
        except OSError as exc:
            raise CredentialsError(f"{exc.filename}: {exc.strerror}") from exc
        self._read()

    def _times(self) -> list[tuple[int, int, int]]:
        about = [os.stat(path) for path in (self._tls.ca, self._tls.revoked) if path is not None]
        return [(each.st_mtime_ns, each.st_ino, each.st_size) for each in about]

    def _read(self) -> None:
        tls = self._tls
        keys = None
        if tls.ca is not None:
            try:
                authorities = Certificate.all_in(read_regular(tls.ca))
            except (OSError, ValueError) as exc:
                raise CredentialsError(f"{tls.ca}: {getattr(exc, 'strerror', None) or exc}") from exc
            if not authorities:
                raise CredentialsError(f"{tls.ca} has no certificate of an authority")
            keys = {(each.subject, each.key): each for each in authorities}
        if tls.revoked is not None:  # a revocation is never undone: the file may be only half written
            self._revoked |= revoked_in(tls.revoked)
        self._authorities = keys

    def refresh(self) -> bool:
        """Read the files again if they have changed; if they cannot be used, keep what was read before."""
        try:
            seen = self._times()
            if seen == self._seen:
                return False
            self._seen = seen
            self._read()
        except (OSError, CredentialsError) as exc:
            logging.getLogger("woolexec").warning("keeping the old authorities and revocations: %s", exc)
            return False
        return True

    def accept_call(self, auth_context: Any, roles: Sequence[str]) -> Accepted:
        """
        Check the certificate of a client.

        :param auth_context: a gRPC call's `auth_context()`
        :raises PeerRefusedError: as `accept` does
        """
        try:
            (certificate,) = Certificate.all_in(auth_context[_PEM][0])
            sent = Certificate.all_in(b"\n".join(auth_context.get(_CHAIN, ())))
        except (KeyError, IndexError, ValueError) as exc:
            raise PeerRefusedError("its certificate cannot be read") from exc
        return self.accept(certificate, roles, sent)

    def accept(
        self, certificate: Certificate, roles: Sequence[str] | None, chain: Sequence[Certificate] = ()
    ) -> Accepted:
        """
        Check a certificate that TLS has verified.

        :param roles: it must have one of these names; None: its names were already checked
        :param chain: the certificates by which it was verified, as far as known
        :raises PeerRefusedError: if it has none of the names, or a certificate of the chain is revoked
        """
        self.refresh()
        if roles is not None and not certificate.dns_names & {role.encode() for role in roles}:
            names = sorted(name.decode(errors="replace") for name in certificate.dns_names)
            text = f"its certificate is not that of {' or '.join(roles)}: it has the DNS names {names or 'none'}"
            raise final(PeerRefusedError(text))
        authorities = self._authorities or {}
        # If there are none, it is from an intermediate authority, or names are encoded in several ways: it may be any.
        keys = [key for key, each in authorities.items() if certificate.may_be_from(each)] or authorities
        shown = [certificate, *chain]
        ours = [each for each in authorities.values() if any(one.may_be_from(each) for one in shown)]
        accepted = Accepted(certificate, frozenset(keys), frozenset(each.serial for each in (*shown, *ours)))
        if (reason := self.why_not(accepted)) is not None:
            raise final(PeerRefusedError(reason))
        return accepted

    def why_not(self, accepted: Accepted) -> str | None:
        """Return why an accepted certificate is no longer accepted; None if it still is."""
        if accepted.certificate.serial in self._revoked:
            return f"{accepted} has been revoked"
        if accepted.serials & self._revoked:
            return f"an authority of {accepted} has been revoked"
        if self._authorities is not None and not accepted.keys <= self._authorities.keys():
            return f"the authority of {accepted} has been withdrawn"
        return None
