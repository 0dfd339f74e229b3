"""
The contents of a certificate: serial number, names, and the authority that issued it.

TLS has verified the certificate; this only reads it.  gRPC and `ssl` do not distinguish the kinds of names, or do not
show them, so the certificate is parsed here: X.509 (RFC 5280), in DER.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_SEQUENCE, _SET = 0x30, 0x31
_VERSION, _EXTENSIONS, _DNS_NAME, _KEY_ID = 0xA0, 0xA3, 0x82, 0x80
_COMMON_NAME, _ALTERNATIVE_NAMES = bytes.fromhex("550403"), bytes.fromhex("551d11")
_SUBJECT_KEY, _AUTHORITY_KEY = bytes.fromhex("551d0e"), bytes.fromhex("551d23")
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    A certificate.

    :param subject: its owner's name, encoded
    :param issuer: the name of its authority, encoded
    :param key: the public key, encoded
    :param name: its owner's common name, for display: it only proves that the authority has signed it
    :param dns_names: its DNS names, unchanged
    """

    serial: int
    subject: bytes
    issuer: bytes
    key: bytes
    name: str
    dns_names: frozenset[bytes]
    key_id: bytes
    authority_key_id: bytes
    fingerprint: str

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """
        Read a certificate.

        :raises ValueError: if it is not one
        """
        try:
            return cls._parse(der)
        except IndexError as exc:
            raise ValueError("not a certificate: something is missing") from exc

    @classmethod
    def _parse(cls, der: bytes) -> Certificate:
        ((_, whole),) = _values(der)
        (_, body), *_ = _values(whole)
        fields = [(tag, value) for tag, value in _values(body) if tag != _VERSION]
        (_, serial), _, (_, issuer), _, (_, subject), (_, key), *rest = fields
        extensions: dict[bytes, bytes] = {}
        for tag, value in rest:
            if tag == _EXTENSIONS:
                extensions.update(map(_extension, _inside(value)))
        names = _inside(extensions.get(_ALTERNATIVE_NAMES, b""))
        authority = dict(_inside(extensions.get(_AUTHORITY_KEY, b"")))
        return cls(
            serial=int.from_bytes(serial, "big", signed=True),
            subject=subject,
            issuer=issuer,
            key=key,
            name=_common_name(subject),
            dns_names=frozenset(value for tag, value in names if tag == _DNS_NAME),
            key_id=next((value for _, value in _values(extensions.get(_SUBJECT_KEY, b""))), b""),
            authority_key_id=authority.get(_KEY_ID, b""),
            fingerprint=hashlib.sha256(der).hexdigest(),
        )

    @classmethod
    def all_in(cls, pem: bytes) -> list[Certificate]:
        """
        Read the certificates in a file.

        :raises ValueError: if one of them is not valid
        """
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        parts = pem.decode(errors="replace").split(end)[:-1]
        return [cls.from_der(ssl.PEM_cert_to_DER_cert(begin + part.partition(begin)[2] + end)) for part in parts]

    def may_be_from(self, authority: Certificate) -> bool:
        """Return whether an authority may have issued it, by the names and key ids that both have."""
        if self.issuer != authority.subject:
            return False
        return self.authority_key_id == authority.key_id or not (self.authority_key_id and authority.key_id)


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Yield the tag and the contents of each value in DER.

    :raises ValueError: if they are not encoded correctly
    """
    pos = 0
    while pos < len(data):
        if len(data) < pos + 2:
            raise ValueError("not a certificate: it is cut off")
        tag, size = data[pos], data[pos + 1]
        pos += 2
        if size & 0x80:
            width = size & 0x7F
            size = int.from_bytes(data[pos : pos + width], "big")
            pos += width
        if len(data) < pos + size:
            raise ValueError("not a certificate: it is cut off")
        yield tag, data[pos : pos + size]
        pos += size


def _inside(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of a sequence."""
    for tag, value in _values(data):
        if tag == _SEQUENCE:
            yield from _values(value)


def _extension(item: tuple[int, bytes]) -> tuple[bytes, bytes]:
    """Return the identifier and the contents of an extension."""
    fields = list(_values(item[1]))  # identifier, optionally whether it is critical, contents
    return fields[0][1], fields[-1][1]


def _common_name(subject: bytes) -> str:
    for tag, relative in _values(subject):
        if tag != _SET:
            continue
        for _, pair in _values(relative):
            (_, oid), (kind, value), *_ = _values(pair)
            if oid == _COMMON_NAME:
                return value.decode(_ENCODINGS.get(kind, "ascii"), errors="replace")
    return ""
