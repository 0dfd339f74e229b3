"""``woolexec certs``: a private certificate authority for peers and clients on several hosts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Make an authority, issue a certificate, or show one; exit code 2 if that cannot be done."""
    from woolexec.errors import CredentialsError

    try:
        arguments.act(arguments)
    except CredentialsError as exc:
        print(f"woolexec certs: {exc}", file=sys.stderr)
        return 2
    return 0


def init(arguments: argparse.Namespace) -> None:
    """Make an authority."""
    from woolexec.mesh.security.certificate_authority import AUTHORITY_DAYS, Authority

    Authority.make(Path(arguments.folder), name=arguments.name or "woolexec", days=arguments.days or AUTHORITY_DAYS)
    print(f"{arguments.folder}/ca.pem goes to every host; {arguments.folder}/ca.key stays here, and secret")


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
    """Print what a certificate says."""
    from woolexec.mesh.security import certificate_authority

    for name, text in certificate_authority.show(Path(arguments.file)).items():
        print(f"{name + ':':<13}{text}")
