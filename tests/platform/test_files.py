import os
import stat

import pytest

from woolexec.platform import files


def test_only_our_own_files_are_ours(tmp_path, monkeypatch):
    about = tmp_path.stat()
    assert files.is_ours(about)
    monkeypatch.setattr(os, "geteuid", lambda: about.st_uid + 1)
    assert not files.is_ours(about)
    assert files.is_ours(about, or_of_root=True) == (about.st_uid == 0)


@pytest.mark.parametrize(("mode", "closed"), [(0o600, True), (0o640, False), (0o604, False), (0o700, True)])
def test_a_file_is_closed_to_others_if_they_have_no_access(tmp_path, mode, closed):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)

    assert files.is_closed_to_others(path.stat()) is closed


@pytest.mark.parametrize(
    ("mode", "owner", "user", "secret"),
    [
        (0o600, 7, 7, True),
        (0o640, 7, 7, False),
        (0o440, 0, 7, True),  # as Kubernetes has it for a user other than root
        (0o640, 0, 7, True),
        (0o444, 0, 7, False),
        (0o660, 0, 7, False),
        (0o640, 0, 0, False),
    ],
)
def test_a_secret_is_closed_to_others_or_of_root_and_for_a_group(monkeypatch, mode, owner, user, secret):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert files.is_secret(os.stat_result((mode, 0, 0, 1, owner, 7, 0, 0, 0, 0))) is secret


def test_a_file_is_created_with_its_mode_and_never_through_a_link(tmp_path):
    with os.fdopen(files.create(tmp_path / "new", 0o600), "w") as file:
        file.write("text")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    for name in ("new", "link"):
        with pytest.raises(FileExistsError):
            files.create(tmp_path / name, 0o600)
    assert not (tmp_path / "target").exists()


def test_a_link_is_not_read_and_a_pipe_does_not_wait(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError):
        files.open_to_read(tmp_path / "link")
    os.close(files.open_to_read(tmp_path / "pipe"))


def test_only_a_regular_file_is_read_as_a_whole_and_links_to_it(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "link"):
        assert files.read_regular(tmp_path / name) == files.read_regular(tmp_path / name, 4) == b"text"
        assert files.check_regular(tmp_path / name).st_size == 4

    for path, reason in (
        (tmp_path / "pipe", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        for read in (files.read_regular, files.check_regular):
            with pytest.raises(OSError, match=reason):
                read(path)
    with pytest.raises(OSError, match="it has more than 3 bytes"):
        files.read_regular(tmp_path / "file", 3)
