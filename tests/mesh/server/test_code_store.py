"""The code archives that clients have sent to a peer."""

import hashlib
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from woolexec.errors import ProtocolError
from woolexec.mesh.server import code_store
from woolexec.mesh.server.code_store import CodeStore, Incoming
from woolexec.wire.frames import Code


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def store():
    store = CodeStore()
    yield store
    store.close()


def add(store, data, digest=None):
    """Have a client send an archive."""
    Incoming(store).take(Code(digest=digest or digest_of(data), data=data, last=True))


def test_folder_is_made_for_the_first_archive_for_nobody_else_and_removed(store):
    folder = Path(store.folder)
    assert not folder.exists()
    add(store, b"code")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    store.close()
    assert not folder.exists()


def test_digest_is_no_way_to_other_archives(store, tmp_path):
    add(store, b"code")
    (tmp_path / "other.zip").write_bytes(b"secret")
    assert store.get(f"{tmp_path}/other") is None
    assert store.get(f"../{Path(store.folder).name}/{digest_of(b'code')}") is None


def test_archive_that_was_added_is_there_and_another_is_not(store):
    add(store, b"code")
    assert store.get(digest_of(b"code")) == b"code"
    assert store.get(digest_of(b"other")) is None


def test_digest_that_does_not_match_is_refused_and_leaves_nothing(store):
    with pytest.raises(ProtocolError, match="does not match its contents"):
        add(store, b"other code", digest_of(b"code"))
    assert store.get(digest_of(b"code")) is None
    assert os.listdir(store.folder) == []


def test_archive_that_is_there_counts_once(monkeypatch, store):
    monkeypatch.setattr(code_store, "LIMIT_OF_ALL", 4)
    for _ in range(3):
        add(store, b"code")
    with pytest.raises(ProtocolError, match="too much code: the archives of all clients"):
        add(store, b"more")


def test_folder_that_others_can_write_to_is_not_used(store):
    add(store, b"code")
    Path(store.folder).chmod(0o777)
    with pytest.raises(PermissionError, match="must belong to this user"):
        add(store, b"more")


def test_pieces_become_one_archive_and_the_next_one_begins_anew(store):
    incoming = Incoming(store)
    for data in (b"some code", b"other code"):
        incoming.take(Code(digest=digest_of(data), data=data[:3]))
        assert store.get(digest_of(data)) is None
        incoming.take(Code(digest=digest_of(data), data=data[3:], last=True))
        assert store.get(digest_of(data)) == data


def test_archive_that_arrives_is_not_in_memory_and_what_is_incomplete_goes_with_its_client(store):
    incoming = Incoming(store)
    data = bytes(1 << 20)
    tracemalloc.start()
    try:
        for _ in range(30):
            incoming.take(Code(digest="x", data=data))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert len(os.listdir(store.folder)) == 1
    incoming.close()
    assert os.listdir(store.folder) == []


def test_archive_above_the_limit_is_refused_before_its_end(monkeypatch, store):
    monkeypatch.setattr(code_store, "LIMIT", 5)
    incoming = Incoming(store)
    incoming.take(Code(digest="x", data=b"12345"))
    with pytest.raises(ProtocolError, match="an archive exceeds the limit"):
        incoming.take(Code(digest="x", data=b"6"))


def test_peer_with_a_list_of_functions_drops_code_of_any_size(monkeypatch):
    monkeypatch.setattr(code_store, "LIMIT", 5)
    incoming = Incoming(None)
    for _ in range(3):
        incoming.take(Code(digest="x", data=b"12345", last=True))
