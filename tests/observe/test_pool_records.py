import json
import os

import pytest

from woolexec.errors import CredentialsError
from woolexec.observe.pool_records import PoolRecord, records, write


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("WOOLEXEC_STATE", str(folder))
    return folder


def test_what_is_written_is_found_until_it_is_removed():
    path = write("http://127.0.0.1:1/?token=x", "key")
    assert records() == [PoolRecord(os.getpid(), "http://127.0.0.1:1/?token=x", "key")]
    path.unlink()
    assert records() == []


def test_nobody_else_can_read_a_token():
    path = write("http://127.0.0.1:1/?token=x", "key")
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_enter_has_no_records(state, caplog):
    caplog.set_level("INFO", "woolexec")
    state.chmod(0o755)
    assert write("http://127.0.0.1:1/?token=x", "key") is None
    assert "woolexec top will not find this pool" in caplog.text
    with pytest.raises(CredentialsError):
        records()


def test_the_record_of_a_process_that_was_killed_is_removed():
    path = write("http://127.0.0.1:1/?token=x", "key")
    path.write_text(json.dumps({"pid": 2**22 + 1, "url": "http://127.0.0.1:1/?token=x"}))
    assert records() == []
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x", "url": ""}', "1"])
def test_what_is_no_record_is_passed_over(text):
    path = write("http://127.0.0.1:1/?token=x", "key")
    path.write_text(text)
    assert records() == []


def test_a_link_to_another_file_is_not_followed(tmp_path):
    path = write("http://127.0.0.1:1/?token=x", "key")
    path.rename(tmp_path / "other.json")
    path.symlink_to(tmp_path / "other.json")
    assert records() == []
