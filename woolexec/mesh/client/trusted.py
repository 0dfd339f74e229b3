"""The peers that a client trusts by their certificates; links to peers that lose this trust are ended."""

from __future__ import annotations

import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.errors import CredentialsError
from woolexec.mesh.security.tls import CLIENT
from woolexec.mesh.security.trust import LOOK, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from woolexec.mesh.client.link import Link
    from woolexec.mesh.security.tls import Tls
    from woolexec.mesh.security.trust import Accepted


class Trusted:
    """The open links to peers with certificates, and the certificates that are accepted now."""

    def __init__(self) -> None:
        self._trusts: dict[Tls, Trust] = {}
        self._fingerprints: dict[Tls, tuple[float, tuple[str, ...]]] = {}  # and when they were read
        self._accepted: dict[Link, tuple[Trust, Accepted]] = {}

    def of(self, tls: Tls | None) -> Trust | None:
        """
        Return which certificates of peers are accepted; None if they need none.

        :raises CredentialsError: if a file cannot be used
        """
        if tls is None:
            return None
        if tls not in self._trusts:
            self._trusts[tls] = Trust(tls)
        return self._trusts[tls]

    def fingerprints(self, tls: Tls | None) -> tuple[str, ...]:
        """
        Return the fingerprints of the accepted authorities, at most `LOOK` seconds old.

        :raises CredentialsError: if their file cannot be used
        """
        if tls is None:
            return ()
        read, found = self._fingerprints.get(tls, (0.0, None))
        if found is None or monotonic() - read > LOOK:
            found = tls.fingerprints
            self._fingerprints[tls] = monotonic(), found
        return found

    @contextlib.contextmanager
    def watching(self, link: Link, trust: Trust | None, accepted: Accepted | None) -> Iterator[None]:
        """End a link as soon as its certificate is no longer accepted."""
        if trust is not None and accepted is not None:
            self._accepted[link] = trust, accepted
        try:
            yield
        finally:
            self._accepted.pop(link, None)

    def check(self) -> None:
        """End the links to peers whose certificate or authority has been withdrawn."""
        for trust in self._trusts.values():
            trust.refresh()
        for link, (trust, accepted) in list(self._accepted.items()):
            if (reason := trust.why_not(accepted)) is not None:
                logging.getLogger("woolexec").warning("ending the link to %s: %s", link.name, reason)
                link.close()


def fault_of(tls: Tls) -> str:
    """Return what is wrong with this client's certificate, if anything: grpc only reports that the connection ended."""
    if tls.certificate is None:
        return " (no certificate was shown: set WOOLEXEC_TLS_CERT and WOOLEXEC_TLS_KEY)"
    try:
        tls.check_own(CLIENT)
    except (CredentialsError, OSError) as exc:
        return f" ({exc})"
    return ""
