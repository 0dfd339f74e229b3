"""``woolexec certs``: a private certificate authority for peers and clients on several hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Create an authority, issue a certificate, or show one; return exit code 2 on failure."""
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
    key = made.with_suffix(".key")
    if arguments.role == "peer":
        print(f"woolexec serve --tls-ca {made.with_name('ca.pem')} --tls-cert {made} --tls-key {key}")
    else:
        print(f"export WOOLEXEC_TLS_CA={made.with_name('ca.pem')} WOOLEXEC_TLS_CERT={made} WOOLEXEC_TLS_KEY={key}")


def show(arguments: argparse.Namespace) -> None:
    """Print the contents of a certificate."""
    from woolexec.mesh.security import certificate_authority

    for name, text in certificate_authority.show(Path(arguments.file)).items():
        print(f"{name + ':':<13}{text}")
