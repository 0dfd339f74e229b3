"""The credentials of ``woolexec serve``, which are checked before it listens."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from woolexec.cli.serve_settings import SERVE
from woolexec.cli.settings import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.mesh.security.credentials import Credentials

_LONGEST = 4096
"""Maximum length of a line of stdin that may be a token, in bytes."""

_SOON = 30 * 86400.0
"""Seconds before the expiry of a certificate at which a warning is logged."""


def own_credentials(settings: dict[str, Any], warn: Callable[[str], object]) -> Credentials:
    """
    Return the credentials that clients must match.

    :param warn: called with each warning for the user
    :raises SettingError: if the address may not be served with these credentials
    :raises CredentialsError: if the token or a certificate cannot be used
    :raises FileNotFoundError: if there is no token file
    """
    from woolexec.mesh.client.channel import is_local
    from woolexec.mesh.security.credentials import Credentials

    names = ("token-file", "tls-ca", "tls-cert", "tls-key", "tls-revoked")
    token, ca, certificate, key, revoked = map(settings.get, names)
    if settings["insecure"]:
        if any((token, ca, certificate, key, revoked)):
            raise SettingError(
                "--insecure lets anyone in, so it must not be given together with --token-file or --tls-...; "
                "the same holds for WOOLEXEC_TOKEN_FILE"
            )
        warn("--insecure: anyone who can connect to this address can run code here")
        return Credentials()
    if (certificate is None) != (key is None) or (ca is not None and certificate is None):
        raise SettingError("--tls-cert and --tls-key must be given together, and --tls-ca only with them")
    if revoked is not None and ca is None:
        raise SettingError("--tls-revoked must be given together with --tls-ca")
    bind = settings["bind"]
    if not (bind is None or is_local(bind) or token or (certificate and ca)):
        raise SettingError(
            f"{bind} can be reached from other hosts, so say who may use it. Make a token with `woolexec certs token "
            "--file FILE`, which clients need too, and give --token-file FILE; or make certificates with `woolexec "
            "certs init` and `woolexec certs issue peer`, and give --tls-cert, --tls-key and "
            f"--tls-ca{_hint()}; or bind to 127.0.0.1 and connect through ssh://; or, in a network that you trust, "
            "give --insecure"
        )
    if token == "-":  # noqa: S105  # the name of a file
        own = Credentials.from_text(sys.stdin.buffer.readline(_LONGEST).strip(), "stdin")
    elif token:
        own = Credentials.from_file(token)
    elif ca and certificate:  # clients' certificates are sufficient
        own = Credentials()
    else:
        own = Credentials.of_this_user()
    if certificate is None:
        return own
    made = replace(own, tls=Credentials.from_files(None, ca, certificate, key, revoked).tls)
    _check_certificate(made, warn)
    return made


def _hint() -> str:
    """Return a hint for a user who set the client's certificate variable for the peer, otherwise an empty string."""
    name = "WOOLEXEC_TLS_CERT"
    return f" ({name} is the variable of clients; a peer's is {SERVE}TLS_CERT)" if name in os.environ else ""


def _check_certificate(credentials: Credentials, warn: Callable[[str], object]) -> None:
    """
    Refuse a certificate that no client would accept, and warn of one that expires soon.

    :raises CredentialsError: if it has the wrong role, is not valid now, or was not issued by its authority
    """
    from woolexec.mesh.security.tls import PEER

    assert credentials.tls is not None
    left = credentials.tls.check_own(PEER)
    if left < _SOON:
        warn(f"certificate {credentials.tls.certificate} expires in {left // 86400:.0f} days")
