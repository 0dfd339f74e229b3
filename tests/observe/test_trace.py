import asyncio
import json
import subprocess
import sys

import pytest

from tests.shared_pools import shared
from woolexec import PeerPoolExecutor
from woolexec.observe import trace as trace_module


def runs_in(path):
    return [event for event in json.loads(path.read_text()) if event["ph"] == "X"]


def fails():
    raise ValueError


pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def pool():
    with shared(1) as pool:
        yield pool


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.json"


def test_the_tasks_of_a_block_are_in_the_file(pool, path):
    pool.submit(abs, 1).result()
    with pool.trace(path) as trace:
        assert pool.submit(abs, -1).result() == 1
        list(pool.map(str, range(10), chunksize=5))
    assert trace.dropped == 0
    assert [(run["name"], run["args"].get("items")) for run in runs_in(path)] == [("abs", None), ("str", 5), ("str", 5)]


def test_async_with_writes_it_as_well(pool, path):
    async def main():
        async with pool.trace(path):
            await pool.run(abs, -1)

    asyncio.run(main())
    assert [run["name"] for run in runs_in(path)] == ["abs"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_file_is_complete_when_the_block_is_left_by_an_exception(pool, path, error):
    with pytest.raises(error):
        with pool.trace(path):
            pool.submit(abs, -1).result()
            raise error
    assert [run["name"] for run in runs_in(path)] == ["abs"]


def test_the_pool_may_be_shut_down_inside_the_block(path):
    pool = PeerPoolExecutor(1)
    with pool.trace(path):
        future = pool.submit(abs, -1)
        pool.shutdown()
    assert future.result() == 1
    assert [run["name"] for run in runs_in(path)] == ["abs"]


def test_a_pool_is_traced_once_at_a_time(pool, path, tmp_path):
    with pool.trace(path):
        with pytest.raises(RuntimeError, match="traced already"):
            with pool.trace(tmp_path / "other.json"):
                pass
    with pool.trace(path):
        pass
    assert runs_in(path) == []


def test_a_pool_that_was_shut_down_is_not_traced(path):
    pool = PeerPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.trace(path)
    assert not path.exists()


def test_a_file_that_cannot_be_created_is_an_error_at_once(pool, tmp_path):
    with pytest.raises(FileNotFoundError):
        with pool.trace(tmp_path / "no" / "run.json"):
            pass
    with pool.trace(tmp_path / "run.json"):
        pass


@pytest.mark.linux
def test_a_full_disk_is_an_error_at_the_end_and_hides_no_other_one(pool, caplog):
    with pytest.raises(OSError, match="No space"):
        with pool.trace("/dev/full"):
            for _ in range(2000):
                pool.submit(abs, -1).result()
    with pytest.raises(ValueError, match="first"):
        with pool.trace("/dev/full"):
            raise ValueError("first")
    assert "could not be written" in caplog.text


def test_calls_that_end_faster_than_they_are_written_are_counted(pool, path, monkeypatch):
    monkeypatch.setattr(trace_module, "_AHEAD", 0)
    with pool.trace(path) as trace:
        pool.submit(abs, -1).result()
    assert trace.dropped == 1
    assert "1 calls are missing" in path.read_text()


def test_nothing_of_it_is_imported_until_it_is_used():
    code = """
import sys
from woolexec import PeerPoolExecutor
with PeerPoolExecutor(1) as pool:
    pool.submit(abs, 1).result()
    pool.submit(abs, pool.submit(abs, 1)).result()
print([name for name in sys.modules if "observe" in name or "recorder" in name or "peer_runs" in name])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
