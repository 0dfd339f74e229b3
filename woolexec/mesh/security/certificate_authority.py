"""
A private certificate authority: ``woolexec certs``.

::

    <folder>/ca.pem   ca.key          the authority; its key stays on the host where it was made
    <folder>/revoked.txt              serial numbers of certificates that are no longer accepted
    <folder>/peer.pem   peer.key      an issued certificate; with a name: peer-<name>.pem
    <folder>/client.pem client.key

Needs the ``cryptography`` package.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError
from woolexec.mesh.security import revocation
from woolexec.mesh.security.certificate import Certificate
from woolexec.platform.files import create, read_regular

if TYPE_CHECKING:
    from cryptography import x509

AUTHORITY_DAYS, DAYS = 3650, 397

_EARLIER = timedelta(hours=1)
"""Certificates are valid from this long before their creation, for hosts whose clocks are slow."""


class Authority:
    """
    An authority whose files are in a folder.

    :raises CredentialsError: if the files do not exist, or the cryptography package is not installed
    """

    def __init__(self, folder: Path) -> None:
        _needed()
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self._folder = folder
        try:
            self._certificate = x509.load_pem_x509_certificate(read_regular(folder / "ca.pem"))
            self._key: Any = load_pem_private_key(read_regular(folder / "ca.key"), None)
        except FileNotFoundError as exc:
            raise CredentialsError(f"{exc.filename} does not exist; make it with: woolexec certs init") from exc
        except (OSError, ValueError) as exc:
            raise CredentialsError(f"the authority in {folder} cannot be read: {exc}") from exc

    @classmethod
    def make(cls, folder: Path, *, name: str, days: int = AUTHORITY_DAYS) -> Authority:
        """
        Make a new authority.

        :raises CredentialsError: if the folder already has one
        """
        _needed()
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / "ca.key").exists():
            raise CredentialsError(f"{folder} already has an authority")
        key = ec.generate_private_key(ec.SECP256R1())
        about = _named(name)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        made = (
            _builder(about, about, key, key, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(folder, "ca", made, key)
        revocation.begin(folder)
        return cls(folder)

    def issue(self, role: str, *, name: str = "", days: int = DAYS) -> Path:
        """
        Issue a certificate; replace an existing one of the same name.

        :param role: ``peer``, ``client`` or ``operator``, a client that may see the tasks of other clients
        :param name: the owner's name, for display; part of the file name
        :return: the path of its file; the key is in the same folder
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role == "peer":
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(_named(name or role), self._certificate.subject, key, self._key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{role}.woolexec")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _write(self._folder, f"{role}-{name}" if name else role, made, key)


def revoke(folder: Path, which: str) -> None:
    """
    Add a certificate to the list of revoked ones.

    :param which: the path of its file, or its serial number in hex
    :raises CredentialsError: if it is neither, or the authority in the folder has not issued it
    """
    path = Path(which)
    try:
        (authority,) = Certificate.all_in(read_regular(folder / "ca.pem"))
        if not path.exists():
            revocation.add(folder, revocation.serial(which), "")
            return
        (certificate,) = Certificate.all_in(read_regular(path))
    except FileNotFoundError as exc:
        raise CredentialsError(f"{exc.filename} does not exist; make it with: woolexec certs init") from exc
    except (OSError, ValueError) as exc:
        raise CredentialsError(f"{which} is neither the file of a certificate nor a serial number: {exc}") from exc
    if not certificate.may_be_from(authority):
        raise CredentialsError(f"{which} is not from the authority in {folder}")
    revocation.add(folder, certificate.serial, certificate.name)


def show(path: Path) -> dict[str, str]:
    """
    Return the contents of a certificate.

    :raises CredentialsError: if the file is not a certificate
    """
    _needed()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_pem_x509_certificate(read_regular(path))
    except OSError as exc:
        raise CredentialsError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise CredentialsError(f"{path} is not a certificate: {exc}") from exc
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        roles = [name.removesuffix(".woolexec") for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        roles = ["authority"]
    return {
        "name": certificate.subject.rfc4514_string(),
        "role": ", ".join(roles),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "from": certificate.not_valid_before_utc.isoformat(),
        "until": certificate.not_valid_after_utc.isoformat(),
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _needed() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as exc:
        raise CredentialsError("certificates need the cryptography package: pip install 'woolexec[certs]'") from exc


def _named(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(**given: bool) -> x509.KeyUsage:
    from cryptography import x509

    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**dict.fromkeys(names, False) | given)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, issuers: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
        # Strict verifiers require both (RFC 5280, 4.2.1.1 and 4.2.1.2); Python does since 3.13.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers.public_key()), critical=False)
    )


def _write(folder: Path, name: str, certificate: x509.Certificate, key: Any) -> Path:
    """Write both files, each atomically; only the owner can read the key."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for suffix, data, mode in (("key", private, 0o600), ("pem", certificate.public_bytes(Encoding.PEM), 0o644)):
        own = folder / f".{name}.{suffix}.new"
        own.unlink(missing_ok=True)
        with os.fdopen(create(own, mode), "wb") as file:
            file.write(data)
        own.replace(folder / f"{name}.{suffix}")
    return folder / f"{name}.pem"
