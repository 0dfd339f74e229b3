import base64
import secrets

import pytest

from tests.tokens import token_for
from woolexec import CredentialsError
from woolexec.mesh.security.tokens import check_token, new_token, token_of


def test_token_has_32_random_bytes():
    data = base64.urlsafe_b64decode(new_token().removeprefix(b"woolexec_"))
    assert len(data) == 32 + 4
    assert len({new_token() for _ in range(1000)}) == 1000


def test_tokens_that_were_made_are_accepted():
    for _ in range(1000):
        check_token(new_token(), "it")


def test_token_with_one_wrong_character_is_refused():
    token = token_for("this")
    check_token(token, "it")
    for pos in range(len(token)):
        wrong = token[:pos] + (b"A" if token[pos : pos + 1] != b"A" else b"B") + token[pos + 1 :]
        with pytest.raises(CredentialsError, match="it holds no token"):
            check_token(wrong, "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token[:-4],
        lambda token: token + b"A",
        lambda token: token + b"=",
        lambda token: token + b"\n",
        lambda token: b" " + token,
        lambda token: token.removeprefix(b"woolexec_"),
        lambda token: token.swapcase(),
        lambda token: token.replace(b"_", b"/").replace(b"-", b"+"),
        lambda token: token + token,
        lambda token: b"",
        lambda token: b"\0" * 57,
        lambda token: "woolexec_ä".encode(),
    ],
    ids=range(13),
)
def test_token_in_another_format_is_refused(change):
    with pytest.raises(CredentialsError, match=r"it holds no token|it is empty"):
        check_token(change(token_for("this 2")), "it")


def test_random_digits_are_accepted():
    for _ in range(100):
        check_token(secrets.token_hex(32).encode(), "it")
        check_token(secrets.token_hex(32).upper().encode(), "it")


KEYS = (bytes(32), b"\xff" * 32, b"password" * 4, bytes(range(32)), bytes(range(255, 223, -1)), bytes(range(0, 96, 3)))


@pytest.mark.parametrize("secret", KEYS)
def test_keys_of_examples_are_refused_in_both_formats(secret):
    for token in (token_of(secret), secret.hex().encode()):
        with pytest.raises(CredentialsError, match="it holds no token"):
            check_token(token, "it")


@pytest.mark.parametrize("digits", ["0" * 64, "abcd" * 16, "0123456789abcdef" * 4, "f" * 63, "e" * 65, "deadbeef" * 8])
def test_digits_that_do_not_look_random_are_refused(digits):
    with pytest.raises(CredentialsError, match="it holds no token"):
        check_token(digits.encode(), "it")
