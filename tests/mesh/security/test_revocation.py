import pytest

from woolexec import CredentialsError
from woolexec.mesh.security import revocation


def test_numbers_are_read_in_every_way_that_tools_write_them(tmp_path):
    path = tmp_path / "revoked"
    path.write_text("# a comment\n\n0A:bc\n  ff  # ada\n0A:bc\n")
    assert revocation.revoked_in(path) == {0xABC, 0xFF}


def test_number_is_added_once_and_its_owner_cannot_add_another(tmp_path):
    revocation.begin(tmp_path)
    for _ in range(2):
        revocation.add(tmp_path, 0xABC, "ada\n123")
    assert revocation.revoked_in(tmp_path / revocation.FILE) == {0xABC}
    revocation.add(tmp_path, 1, "bob")
    assert (tmp_path / revocation.FILE).read_text().splitlines()[1:] == ["abc  # ada 123", "1  # bob"]
    assert [path.name for path in tmp_path.iterdir()] == [revocation.FILE]


@pytest.mark.parametrize("text", ["", "\n \n", "xyz", "-1", "1 2", "0x1", "1.5"])
def test_line_that_makes_no_sense_is_an_error(tmp_path, text):
    (tmp_path / "revoked").write_text(text)
    with pytest.raises(CredentialsError, match="revoked"):
        revocation.revoked_in(tmp_path / "revoked")


def test_list_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "revoked").write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialsError, match="revoked"):
        revocation.revoked_in(tmp_path / "revoked")
