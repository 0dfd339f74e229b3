"""
The certificate that a peer makes for itself at its start, for a port with a token.

Only the proofs of the token, which cover it, vouch for it (see `handshake`).  It is valid at any time, regardless of
the clocks of the hosts, and its key is gone when the peer ends.

It is made by the cryptography package, or otherwise by the command ``openssl``.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from woolexec.errors import CredentialsError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.security.certificate import Certificate

SELF_SIGNED = "woolexec.peer"
"""The DNS name in these certificates: not that of a role, which an authority gives."""

_BEGIN, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_TIMEOUT = 30.0
"""Seconds that each command may take."""

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[ca]
default_ca = own
[own]
database = {folder}/database
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{name}
"""


@dataclass(frozen=True, slots=True, repr=False)
class SelfSigned:
    """
    A certificate and its private key.

    :param certificate: in PEM
    :param key: in PEM
    """

    certificate: bytes
    key: bytes

    @classmethod
    def make(cls) -> SelfSigned:
        """
        Make a certificate.

        :raises CredentialsError: if neither the cryptography package nor ``openssl`` works
        """
        try:
            return cls(*_by_cryptography())
        except ImportError:
            pass
        try:
            return cls(*_by_openssl())
        except FileNotFoundError as exc:
            raise CredentialsError(
                "a port with a token needs a certificate, made by the cryptography package or the command openssl, and "
                "neither is installed: pip install 'woolexec[certs]', or listen on a Unix socket (--bind unix:/PATH)"
            ) from exc
        except (OSError, subprocess.SubprocessError) as exc:
            said = getattr(exc, "stderr", None) or b""
            raise CredentialsError(
                f"the command openssl could not make a certificate: {said.decode(errors='replace').strip() or exc}; "
                "pip install 'woolexec[certs]' makes it unnecessary"
            ) from exc

    def fingerprints(self) -> tuple[bytes, ...]:
        """Return SHA-256 of the certificate."""
        (made,) = Certificate.all_in(self.certificate)
        return (bytes.fromhex(made.fingerprint),)

    def server(self) -> Any:
        """Make the gRPC credentials of a server."""
        grpc = load_grpc()

        return grpc.ssl_server_credentials([(self.key, self.certificate)])


def _by_cryptography() -> tuple[bytes, bytes]:
    """
    Use the cryptography package.

    :raises ImportError: if it is not installed
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SELF_SIGNED)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SELF_SIGNED)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), private


def _by_openssl() -> tuple[bytes, bytes]:
    """
    Use the command.

    ``openssl req`` alone would date the certificate by the clock of this host, and a client's may be slow.

    :raises OSError: if there is no such command
    :raises subprocess.SubprocessError: if it fails
    """
    with tempfile.TemporaryDirectory(prefix="woolexec-") as name:  # 0700
        folder = Path(name)
        config, key, request, made = (folder / each for each in ("config", "key", "request", "certificate"))
        config.write_text(_CONFIG.format(folder=folder, name=SELF_SIGNED))
        (folder / "database").touch()
        (folder / "serial").write_text(f"7{secrets.token_hex(16)[1:]}\n")
        curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-pkeyopt", "ec_param_enc:named_curve"]
        new: list[str | Path] = ["req", "-new", "-nodes", "-newkey", "ec", *curve, "-keyout", key, "-out", request]
        times = ["-startdate", f"{_BEGIN:%Y%m%d%H%M%SZ}", "-enddate", f"{_END:%Y%m%d%H%M%SZ}"]
        own: list[str | Path] = [
            "ca",
            "-batch",
            "-notext",
            "-selfsign",
            "-extensions",
            "leaf",
            "-keyfile",
            key,
            "-in",
            request,
        ]
        for arguments in (new, [*own, *times, "-out", made]):
            command = ["openssl", *arguments, "-config", config]
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT)
        return made.read_bytes(), key.read_bytes()
