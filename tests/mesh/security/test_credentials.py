import os
import stat

import pytest

from tests.tokens import token_for
from woolexec import Credentials, CredentialsError
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.credentials import state_folder
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server.peer import Peer


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    folder = tmp_path / "state"
    monkeypatch.setenv("WOOLEXEC_STATE", str(folder))
    return folder


def test_processes_of_a_user_share_a_token(state):
    first, second = Credentials.of_this_user(), Credentials.of_this_user()
    assert first == second
    assert first.token.startswith(b"woolexec_")
    assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert os.listdir(state) == ["token"]


def test_token_is_not_shown():
    given = Credentials.with_new_token()
    assert given.token.decode() not in repr(given)


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        (b"", 0o600, "holds no token"),
        (b"  \n", 0o600, "holds no token"),
        (b"short", 0o600, "holds no token"),
        (b"correct horse battery staple, and much more than that", 0o600, "holds no token"),
        (b"0123456789abcdef" * 4, 0o600, "holds no token"),
        (token_for("ours")[:-1], 0o600, "holds no token"),
        (token_for("ours") + b"\n" + token_for("others"), 0o600, "holds no token"),
        (b"0123456789abcdef", 0o644, "chmod 600"),
        (b"0123456789abcdef", 0o660, "chmod 600"),
    ],
)
def test_bad_token_file_is_refused_and_never_falls_back_to_none(tmp_path, content, mode, text):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(CredentialsError, match=text):
        Credentials.from_file(path)


def test_token_behind_links_is_read_and_it_is_the_file_that_must_be_closed(tmp_path):
    (tmp_path / "..2026").mkdir()
    real = tmp_path / "..2026" / "token"
    real.write_bytes(token_for("ours"))
    real.chmod(0o600)
    (tmp_path / "..data").symlink_to("..2026")  # as Kubernetes mounts a Secret
    (tmp_path / "token").symlink_to("..data/token")
    assert Credentials.from_file(tmp_path / "token").token == token_for("ours")

    real.chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        Credentials.from_file(tmp_path / "token")


FILES = "token", "ca", "certificate", "key", "revoked"


@pytest.mark.parametrize("which", FILES)
def test_pipe_that_nobody_writes_is_refused_as_any_file(tmp_path, which):
    authority = Authority.make(tmp_path, name="ours")
    authority.issue("client")
    (tmp_path / "token").write_bytes(token_for("ours"))
    (tmp_path / "token").chmod(0o600)
    names = ("token", "ca.pem", "client.pem", "client.key", "revoked.txt")
    given = dict(zip(FILES, (str(tmp_path / name) for name in names), strict=True))
    Credentials.from_files(**given)

    os.unlink(given[which])
    os.mkfifo(given[which], 0o600)
    with pytest.raises(CredentialsError, match=r"is not a( regular)? file"):
        Credentials.from_files(**given)


def test_folder_is_no_token(tmp_path):
    with pytest.raises(CredentialsError):
        Credentials.from_file(tmp_path)


def test_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Credentials.from_file(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_folder_that_is_open_to_others_is_refused(state, mode):
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(CredentialsError, match="chmod 700"):
        state_folder()


def test_folder_behind_a_link_is_refused(state, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    state.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CredentialsError, match="must be a folder"):
        state_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_token_of_another_user_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(token_for("ours"))
    path.chmod(0o600)
    os.chown(path, 12345, 12345)
    with pytest.raises(CredentialsError, match="another user"):
        Credentials.from_file(path)


@pytest.mark.parametrize("name", ["token", "ca", "certificate", "key"])
@pytest.mark.parametrize("empty", ["", " "])
def test_empty_file_name_never_falls_back_to_less(name, empty):
    with pytest.raises(CredentialsError, match=f"{name} is empty"):
        Credentials.from_files(**{name: empty})


@pytest.mark.parametrize("empty", [b"", b" \n"])
def test_empty_token_is_no_token(empty):
    with pytest.raises(CredentialsError, match="token= is empty"):
        Credentials(empty)


@pytest.mark.parametrize("half", [{"ca": ""}, {"certificate": "a"}, {"key": "a"}, {"certificate": "a", "key": ""}])
def test_half_of_tls_is_refused(half):
    with pytest.raises(CredentialsError, match=r"must be given together|is empty"):
        Tls(**half)


@pytest.mark.parametrize("half", [Tls(), Tls("ca"), Tls(certificate="a", key="b")])
def test_peer_never_serves_everyone_over_tls(half):
    with pytest.raises(CredentialsError, match="a peer that uses TLS needs"):
        Peer(1, credentials=Credentials(tls=half))


def test_empty_state_folder_is_refused(monkeypatch):
    monkeypatch.setenv("WOOLEXEC_STATE", "")
    with pytest.raises(CredentialsError, match="WOOLEXEC_STATE is empty"):
        state_folder()


@pytest.mark.parametrize("token", [b"a password", b"0123456789abcdef" * 4, token_for("ours").upper()])
def test_token_that_woolexec_has_not_made_is_refused_and_not_shown(token):
    for use in (Credentials, Credentials.from_text):
        with pytest.raises(CredentialsError, match="make one with: woolexec certs token") as caught:
            use(token)
        assert token.decode() not in str(caught.value)
    assert Credentials(token_for("ours")).token == token_for("ours")


def test_new_tokens_differ():
    assert Credentials.with_new_token() != Credentials.with_new_token()
