"""Certificates that are not valid now, or that say something unusual."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from woolexec.mesh.security import certificate_authority


def issue_at(made, role, days, *, name, lasts=10):
    """Have a certificate issued so many days from now."""

    class Then(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    try:
        certificate_authority.datetime = Then
        return made.issue(role, name=name, days=lasts)
    finally:
        certificate_authority.datetime = dt.datetime


def issue_with(made, folder, name, names, *, common_name=None):
    """Have a certificate issued that both ends may show, with these alternative names."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    subject = certificate_authority._named(common_name or name)
    builder = certificate_authority._builder(subject, made._certificate.subject, key, made._key, 10)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return certificate_authority._write(folder, name, builder.sign(made._key, hashes.SHA256()), key)


def authorities(folder, *, days=10):
    """Make an authority and one that it has issued; return both."""
    made = []
    for name, length in (("root", None), ("between", 0)):
        (folder / name).mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        about = certificate_authority._named(name)
        issuer, issuers = (made[0]._certificate.subject, made[0]._key) if made else (about, key)
        builder = certificate_authority._builder(about, issuer, key, issuers, days if made else 10)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
        usage = certificate_authority._usage(key_cert_sign=True, crl_sign=True)
        builder = builder.add_extension(usage, critical=True)
        certificate_authority._write(folder / name, "ca", builder.sign(issuers, hashes.SHA256()), key)
        made.append(certificate_authority.Authority(folder / name))
    return made
