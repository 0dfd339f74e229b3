import asyncio
import json
import os

import pytest

from tests.discovery.watching import watching
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from woolexec import DiscoveryError, PeerPoolExecutor
from woolexec.discovery import directory
from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.discovery.directory import Directory
from woolexec.mesh.server.peer import Peer

RECORD = Record("one", ("10.0.0.1:7437", "[fd00::1]:7437"), "team", ("gpu=a100",), "ab" * 32)


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(directory, "_LOOK", 0.005)


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


def test_clients_use_peers_that_come_and_keep_a_link_whose_record_vanishes(tmp_path):
    where = f"dir:{tmp_path}"
    with PeerPoolExecutor(peers=where, credentials=CREDENTIALS) as pool:
        with (
            Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as one,
            Peer(1, credentials=CREDENTIALS, announce=[Directory(tmp_path)]) as two,
        ):
            assert pool.wait_for_peers(2, PATIENCE) == 2
            (tmp_path / f"{one.identity}.json").unlink()
            eventually(lambda: len(pool._peers._known) == 1)
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
