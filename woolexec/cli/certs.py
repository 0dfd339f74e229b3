"""``woolexec certs``: a private certificate authority for peers and clients on several hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from woolexec.mesh.security.revocation import FILE

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Create an authority, issue, revoke or show a certificate; return exit code 2 on failure."""
    from woolexec.errors import CredentialsError

    try:
        arguments.act(arguments)
    except CredentialsError as exc:
        print(f"woolexec certs: {exc}", file=sys.stderr)
        return 2
    return 0


def init(arguments: argparse.Namespace) -> None:
    """Create an authority."""
    from woolexec.mesh.security.certificate_authority import AUTHORITY_DAYS, Authority

    Authority.make(Path(arguments.folder), name=arguments.name or "woolexec", days=arguments.days or AUTHORITY_DAYS)
    print(f"copy {arguments.folder}/ca.pem to every host; keep {arguments.folder}/ca.key secret, on this host only")


def issue(arguments: argparse.Namespace) -> None:
    """Issue a certificate."""
    from woolexec.mesh.security.certificate_authority import DAYS, Authority

    certificate_authority = Authority(Path(arguments.folder))
    made = certificate_authority.issue(arguments.role, name=arguments.name or "", days=arguments.days or DAYS)
    files = {"ca": made.with_name("ca.pem"), "cert": made, "key": made.with_suffix(".key")}
    if (revoked := made.with_name(FILE)).exists():
        files["revoked"] = revoked
    if arguments.role == "peer":
        print("woolexec serve --bind 0.0.0.0", *(f"--tls-{name} {path}" for name, path in files.items()))
    else:
        print("export", *(f"WOOLEXEC_TLS_{name.upper()}={path}" for name, path in files.items()))


def revoke(arguments: argparse.Namespace) -> None:
    """Add certificates to the list of those that are not accepted."""
    from woolexec.mesh.security.certificate_authority import revoke

    for each in arguments.which:
        revoke(Path(arguments.folder), each)
    print(f"copy {arguments.folder}/{FILE} to every host: peers (--tls-revoked) and clients (WOOLEXEC_TLS_REVOKED)")


def token(arguments: argparse.Namespace) -> None:
    """Print a new token, or write it to a file that only its owner can read."""
    import os

    from woolexec.errors import CredentialsError
    from woolexec.mesh.security.tokens import new_token
    from woolexec.platform.files import create

    made = new_token().decode()
    if arguments.file is None:
        print(made)
        return
    try:
        with os.fdopen(create(arguments.file, 0o600), "w") as file:
            print(made, file=file)
    except OSError as exc:
        raise CredentialsError(f"{arguments.file}: {exc.strerror}") from exc
    print(f"woolexec serve --bind 0.0.0.0 --token-file {arguments.file}; clients: WOOLEXEC_TOKEN_FILE={arguments.file}")


def show(arguments: argparse.Namespace) -> None:
    """Print the contents of a certificate."""
    from woolexec.mesh.security import certificate_authority

    for name, text in certificate_authority.show(Path(arguments.file)).items():
        print(f"{name + ':':<13}{text}")
