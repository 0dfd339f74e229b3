import random

import pytest
from cryptography import x509

from tests.mesh.certificates import issue_with
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.certificate_authority import Authority, show


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("made"), name="made")


def read(path):
    (certificate,) = Certificate.all_in(path.read_bytes())
    return certificate


def test_certificate_says_what_other_readers_find_in_it(made):
    path = made.issue("client", name="Ada \u00e4\u4e2d")
    found, expected = read(path), x509.load_pem_x509_certificate(path.read_bytes())
    assert found.serial == expected.serial_number
    assert found.name == "Ada \u00e4\u4e2d"
    assert found.dns_names == {b"client.woolexec"}
    assert found.fingerprint == show(path)["fingerprint"]
    assert f"{found.serial:x}" == show(path)["serial"]


def test_only_dns_names_are_dns_names(made, tmp_path):
    names = [
        x509.DNSName("a.example"),
        x509.RFC822Name("b.example"),
        x509.UniformResourceIdentifier("c.example"),
        x509.DNSName("d.example\0.e"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    assert read(issue_with(made, tmp_path, "x", names)).dns_names == {b"a.example", b"d.example\0.e"}
    assert read(issue_with(made, tmp_path, "y", [])).dns_names == set()


def test_authority_of_the_same_name_is_told_apart_by_its_key(made, tmp_path):
    other = Authority.make(tmp_path, name="made")
    ours, theirs = read(made._folder / "ca.pem"), read(tmp_path / "ca.pem")
    certificate = read(other.issue("peer"))
    assert certificate.may_be_from(theirs)
    assert not certificate.may_be_from(ours)


def test_data_that_is_no_certificate_is_a_value_error(made):
    der = x509.load_pem_x509_certificate(made.issue("peer").read_bytes()).public_bytes(
        __import__("cryptography.hazmat.primitives.serialization", fromlist=["x"]).Encoding.DER
    )
    rng = random.Random(7)
    for _ in range(3000):
        data = bytearray(der)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            assert isinstance(Certificate.from_der(cut), Certificate)
        except ValueError:
            pass
