import asyncio
import itertools
import json
import os
from dataclasses import replace

import pytest

from tests.discovery.watching import watching
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from woolexec import DiscoveryError, PeerPoolExecutor
from woolexec.discovery import directory
from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.discovery.directory import Directory
from woolexec.mesh.security.record_key import RecordKey
from woolexec.mesh.server.peer import Peer

RECORD = Record("one", ("10.0.0.1:7437", "[fd00::1]:7437"), "team", ("gpu=a100",), "ab" * 32)


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(directory.Directory, "pause", 0.005)


def test_watcher_hears_of_who_is_there_who_comes_and_who_leaves(tmp_path):
    async def main():
        found = Directory(tmp_path)
        async with found.announce(RECORD), watching(Directory(tmp_path)) as heard:
            assert await heard.first(bool) == Joined(RECORD)
            other = Record("two", ("10.0.0.2:7437",))
            async with found.announce(other):
                assert await heard.first(bool) == Joined(other)
            assert await heard.first(bool) == Left("two")
        assert os.listdir(tmp_path) == []

    asyncio.run(main())


def test_record_that_changes_is_updated(tmp_path):
    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            await heard.first(bool)
            changed = Record("one", ("10.0.0.9:7437",), "team")
            async with found.announce(changed):
                assert await heard.first(bool) == Updated(changed)

    asyncio.run(main())


def test_only_the_wanted_pool_is_heard_of(tmp_path):
    async def main():
        found = Directory(tmp_path)
        async with found.announce(RECORD), found.announce(Record("two", ("h:1",), "others")):
            async with watching(Directory(tmp_path, "others")) as heard:
                assert (await heard.first(bool)).record.key == "two"
                async with found.announce(Record("three", ("h:2",), "others")):
                    assert (await heard.first(bool)).record.key == "three"

    asyncio.run(main())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"key": "x", "addresses": [], "pool": "", "tags": [], "fingerprint": ""}',
        b'{"key": 5, "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": ""}',
        b'{"key": "x", "addresses": [1], "pool": "", "tags": [], "fingerprint": ""}',
        b'{"key": "x", "addresses": ["h\\ud800:1"], "pool": "", "tags": [], "fingerprint": ""}',
        b'{"key": "a", "addresses": "h:1", "pool": "", "tags": [], "fingerprint": ""}',
        b'{"key": "a", "addresses": ["h:1"], "pool": "", "tags": "x", "fingerprint": ""}',
        b'{"key": "a", "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": "", "time": NaN}',
        b'{"key": "a", "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": "", "time": "1"}',
        b'{"key": "a", "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": "", "time": 1' + b"0" * 400 + b"}",
        b'{"key": "a", "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": "", "mac": 1}',
        b'{"key": "a", "addresses": [' + b",".join([b'"h:1"'] * 33) + b'], "pool": "", "tags": [], "fingerprint": ""}',
        b" " * 70_000 + b'{"key": "x", "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": ""}',
    ],
)
def test_files_that_are_no_records_are_passed_over(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    os.symlink("/etc/passwd", tmp_path / "b.json")
    os.mkfifo(tmp_path / "c.json")
    (tmp_path / "d.json").mkdir()

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            assert await heard.first(bool) == Joined(RECORD)

    asyncio.run(main())


def flood(folder, count):
    about = {"addresses": ["127.0.0.1:9"], "pool": "", "tags": [], "fingerprint": ""}
    for n in range(count):
        (folder / f"{n}.json").write_text(json.dumps(about | {"key": str(n)}))


def test_record_is_found_among_very_many_files(tmp_path):
    flood(tmp_path, 3000)
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "secret.json").chmod(0)
    os.symlink("/dev/zero", tmp_path / "zero.json")
    os.symlink("loop.json", tmp_path / "loop.json")

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            assert await heard.first(lambda event: event.record.key == "one") == Joined(RECORD)

    asyncio.run(main())


def test_of_more_files_than_count_those_that_are_records_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "_FILES", 50)
    for n in range(100):
        (tmp_path / f"none-{n}.json").write_text("{}")

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            assert await heard.first(bool) == Joined(RECORD)
            async with found.announce(Record("two", ("h:2",))):
                assert await heard.first(bool) == Joined(Record("two", ("h:2",)))
            assert await heard.first(bool) == Left("two")

    asyncio.run(main())


def test_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    flood(tmp_path, 10)
    read = []
    real = directory._read
    monkeypatch.setattr(directory, "_read", lambda path: read.append(os.path.basename(path)) or real(path))
    folder = directory._Folder(str(tmp_path), "")
    assert len(folder.changes()) == 10
    (tmp_path / "3.json").write_text((tmp_path / "4.json").read_text())
    assert folder.changes() == [Left("3")]  # the name of a file is the key of its record
    assert len(read) == 11


def test_files_that_were_not_read_in_time_are_read_at_the_next_look(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "_READING", -1.0)
    flood(tmp_path, 5)
    folder = directory._Folder(str(tmp_path), "")
    assert folder.changes() == []
    assert not folder.has_read_all
    monkeypatch.setattr(directory, "_READING", 60.0)
    assert len(folder.changes()) == 5
    assert folder.has_read_all


def test_file_cannot_hide_the_record_of_another(tmp_path):
    about = {"key": "one", "addresses": ["evil:1"], "pool": "", "tags": [], "fingerprint": ""}
    (tmp_path / "z.json").write_text(json.dumps(about))

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            assert await heard.first(bool) == Joined(RECORD)

    asyncio.run(main())


def test_signed_record_that_is_written_again_becomes_no_younger(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "STALE", 0.2)
    signed = Record("one", ("h:1",), signing=RecordKey(CREDENTIALS.token)).signed()
    folder = directory._Folder(str(tmp_path), "")

    def write(record, beat):
        (tmp_path / "new").write_bytes(directory._encode(record, beat))
        os.replace(tmp_path / "new", tmp_path / "one.json")
        return folder.changes()

    assert write(signed, 1) == [Joined(signed)]
    beats = itertools.count(2)
    eventually(lambda: write(signed, next(beats)) == [Left("one")])
    younger = replace(signed, time=signed.time + 1).signed()
    assert write(younger, 1) == [Joined(younger)]


def test_peer_signs_its_record_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "BEAT", 0.01)
    key = RecordKey(CREDENTIALS.token)

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(Record("one", ("h:1",), signing=key)):
            first, second = (await heard.first(bool)).record, (await heard.first(bool)).record
            assert first.fault(key) is second.fault(key) is None
            assert second.time > first.time

    asyncio.run(main())


@pytest.mark.parametrize("tags", [("x=" + "y" * 5000,), tuple(f"t{n}=x" for n in range(101))])
def test_record_that_watchers_would_not_read_is_not_announced(tmp_path, tags):
    async def main():
        async with Directory(tmp_path).announce(Record("one", ("h:1",), tags=tags)):
            pass

    with pytest.raises(DiscoveryError, match="at most 32 addresses, 100 tags and 4096 bytes"):
        asyncio.run(main())
    assert os.listdir(tmp_path) == []


def test_file_of_a_killed_peer_is_believed_only_for_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "STALE", 0.2)
    monkeypatch.setattr(directory, "BEAT", 0.02)

    async def main():
        found = Directory(tmp_path)
        async with watching(found) as heard, found.announce(RECORD):
            await heard.first(bool)
            about = json.loads((tmp_path / "one.json").read_text()) | {"key": "killed"}
            (tmp_path / "killed.json").write_text(json.dumps(about))
            assert (await heard.first(bool)).record.key == "killed"
            assert await heard.first(bool) == Left("killed")  # and not the one that goes on writing

    asyncio.run(main())


def test_next_peer_removes_what_peers_left_long_ago_and_nothing_else(tmp_path):
    left, other = "a" * 32, "b" * 32
    about = {"key": left, "addresses": ["h:1"], "pool": "", "tags": [], "fingerprint": ""}
    (tmp_path / f"{left}.json").write_text(json.dumps(about))
    for name in ("package.json", f"{other}.json", "old.txt"):
        (tmp_path / name).write_text(json.dumps(about))
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    (tmp_path / f"{'c' * 32}.json").write_text(json.dumps(about | {"key": "c" * 32}))

    async def main():
        async with Directory(tmp_path).announce(RECORD):
            await asyncio.to_thread(eventually, lambda: not (tmp_path / f"{left}.json").exists())
        assert len(os.listdir(tmp_path)) == 4

    asyncio.run(main())


def test_nobody_in_the_folder_chooses_where_a_record_is_written(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".one.new").symlink_to("mine")
    (tmp_path / "one.json").symlink_to("mine")

    async def main():
        async with Directory(tmp_path).announce(RECORD):
            assert not (tmp_path / "one.json").is_symlink()

    asyncio.run(main())
    assert (tmp_path / "mine").read_text() == "mine"


def test_folder_that_is_not_there_is_an_error_on_both_sides(tmp_path):
    nowhere = Directory(tmp_path / "nowhere")

    async def watch():
        await anext(nowhere.watch())

    async def announce():
        async with nowhere.announce(RECORD):
            pass

    for each in (watch, announce):
        with pytest.raises(DiscoveryError, match=r"nowhere: No such file"):
            asyncio.run(each())


@pytest.mark.slow
def test_clients_use_peers_that_come_and_keep_a_link_whose_record_vanishes(tmp_path):
    where = f"dir:{tmp_path}"
    with PeerPoolExecutor(peers=where, credentials=CREDENTIALS) as pool:
        with (
            Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as one,
            Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as two,
        ):
            assert pool.wait_for_peers(2, PATIENCE) == 2
            (tmp_path / f"{one.identity}.json").unlink()
            eventually(lambda: len(pool._peers._attempts.candidates.known) == 1)
            pids = {*pool.map(_pid, range(20), chunksize=1)}
            assert pids == {*one.engine.pids, *two.engine.pids}
        eventually(lambda: not pool._peers.links)
        with Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as three:
            assert pool.submit(os.getpid).result(PATIENCE) in three.engine.pids


def _pid(_):
    import time

    time.sleep(0.02)
    return os.getpid()


def test_peer_that_drains_is_announced_no_more(tmp_path):
    with Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as peer:
        assert os.listdir(tmp_path) == [f"{peer.identity}.json"]
        peer.drain()
        eventually(lambda: os.listdir(tmp_path) == [])


def test_peer_that_cannot_be_announced_does_not_start(tmp_path):
    with pytest.raises(DiscoveryError, match="No such file"):
        Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path / "nowhere")])
