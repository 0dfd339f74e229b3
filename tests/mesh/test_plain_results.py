"""A client that does not trust its peers: nothing that they send runs code in its process or in its workers."""

import asyncio
import logging
import pickle

import numpy as np
import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, free_port
from woolexec import PeerPoolExecutor, RemoteError, WorkerLostError
from woolexec.mesh.server.log_feed import LogFeed
from woolexec.mesh.server.peer import Peer

pytestmark = pytest.mark.matrix


@pytest.fixture
def peer():
    with Peer(2, credentials=CREDENTIALS, tags=["zone=b"]) as peer:
        yield peer


def pool_of(peer, local=0):
    return PeerPoolExecutor(local, peers=peer.address, credentials=CREDENTIALS, results="plain")


@pytest.fixture
def plain(peer):
    with pool_of(peer) as pool:
        yield pool


@pytest.fixture
def mark(tmp_path):
    path = tmp_path / "evil"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("kind", ["numbers", "text", "containers", "dates", "arrays"])
def test_plain_data_comes_home_as_it_is(plain, kind):
    made, expected = plain.submit(tasks.answer, kind).result(PATIENCE), tasks.answer(kind)
    assert [type(value) for value in made] == [type(value) for value in expected]
    if kind == "arrays":
        for value, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(value, other)
            assert value.dtype == other.dtype
    else:
        assert made == expected


def test_everything_else_is_an_error_of_its_future_only(plain, mark):
    others = [plain.submit(pow, 2, n) for n in range(20)]
    bad = [plain.submit(tasks.evil, mark), plain.submit(tasks.evil, mark, times=3), plain.submit(tasks.shared)]
    for future in bad:
        with pytest.raises(pickle.UnpicklingError, match="is not plain data, the only results that"):
            future.result(PATIENCE)
    assert [future.result(PATIENCE) for future in others] == [2**n for n in range(20)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("value", ValueError("v", 3)),
        ("os", FileNotFoundError(2, "No such file", "name")),
        ("unicode", UnicodeDecodeError("utf8", b"x", 0, 1, "y")),
    ],
)
def test_exceptions_of_python_stay_themselves(plain, kind, expected):
    error = plain.submit(tasks.raise_one, kind).exception(PATIENCE)
    assert (type(error), error.args, str(error)) == (type(expected), expected.args, str(expected))
    assert "raise_one" in str(error.__cause__)


def test_groups_of_exceptions_stay_groups(plain):
    group = plain.submit(tasks.raise_one, "group").exception(PATIENCE)
    assert type(group) is ExceptionGroup
    assert [repr(error) for error in group.exceptions] == ["ValueError(1)", "KeyError('k')"]


@pytest.mark.parametrize("kind", ["exit", "interrupt"])
def test_peer_cannot_end_the_program(plain, kind):
    error = plain.submit(tasks.raise_one, kind).exception(PATIENCE)
    assert type(error) is RemoteError
    assert error.type_name in ("builtins.SystemExit", "builtins.KeyboardInterrupt")


def test_exception_of_the_program_becomes_a_remote_error(plain, mark):
    error = plain.submit(tasks.raise_only_evil, mark).exception(PATIENCE)
    assert type(error) is RemoteError
    assert error.type_name == "tests.mesh.tasks.EvilError"
    error = plain.submit(tasks.raise_evil, mark).exception(PATIENCE)
    assert (type(error), error.args) == (ValueError, (r"above \x1b[2J it",))
    assert type(error.__cause__) is RemoteError
    assert "\x1b" not in str(error.__cause__.__cause__)


def test_lost_worker_is_still_known_as_one(plain):
    error = plain.submit(__import__("os")._exit, 3).exception(PATIENCE)
    assert type(error) is WorkerLostError
    assert error.exitcode == 3


def test_results_of_maps_are_plain(plain, mark):
    assert list(plain.map(pow, range(100), [2] * 100)) == [n * n for n in range(100)]
    with pytest.raises(pickle.UnpicklingError, match="is not plain data"):
        list(plain.map(tasks.evil, [mark] * 100))
    errors = list(plain.map(tasks.raise_only_evil, [mark] * 10, return_exceptions=True))
    assert {type(error) for error in errors} == {RemoteError}


def test_results_of_asynchronous_maps_are_plain(peer, mark):
    async def run():
        async with pool_of(peer) as pool:
            assert [n async for n in pool.map_async(abs, range(-10, 0))] == list(range(10, 0, -1))
            errors = [each async for each in pool.map_async(tasks.evil, [mark] * 5, return_exceptions=True)]
            assert {type(error) for error in errors} == {pickle.UnpicklingError}
            errors = [each async for each in pool.map_async(tasks.raise_only_evil, [mark] * 5, return_exceptions=True)]
            assert {type(error) for error in errors} == {RemoteError}

    asyncio.run(run())


@pytest.mark.parametrize("prefetch", [0, 10])
def test_items_of_streams_are_plain(plain, mark, prefetch):
    with plain.stream(tasks.yield_evil, mark, prefetch=prefetch) as items:
        with pytest.raises(pickle.UnpicklingError, match="is not plain data"):
            list(items)
    with plain.stream(tasks.count, 100, prefetch=prefetch) as items:
        assert list(items) == list(range(100))


def test_context_variables_that_come_back_are_plain(peer, mark):
    async def run():
        async with pool_of(peer) as pool:
            with pytest.raises(pickle.UnpicklingError, match="is not plain data"):
                await pool.with_options(context_back=True).run(tasks.bring_evil_back, mark)
            with pytest.raises(pickle.UnpicklingError, match="is not plain data"):
                async with pool.with_options(context_back=True).stream(tasks.yield_evil_context, mark) as items:
                    async for _ in items:
                        pass

    asyncio.run(run())


def test_results_of_nested_tasks_are_plain_in_our_own_workers(mark, tmp_path):
    address, gate = f"127.0.0.1:{free_port()}", tmp_path / "gate"
    with PeerPoolExecutor(1, peers=address, credentials=CREDENTIALS, results="plain") as pool:
        outer = pool.submit(tasks.nest_evil, mark, gate)  # it starts here, because there is no peer yet
        eventually(outer.running)
        with Peer(1, bind=address, credentials=CREDENTIALS, tags=["zone=b"]):
            pool.wait_for_peers(1, PATIENCE)
            gate.touch()
            assert outer.result(PATIENCE) == "UnpicklingError"


def test_log_records_are_plain(peer, mark, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    log = LogFeed.send

    def forged(record):
        def send(feed, frame):
            frame.record = pickle.dumps(record)
            log(feed, frame)

        return send

    about = {"name": "jobs", "levelno": 30, "levelname": "WARNING", "msg": "red \x1b[31m %s", "exc_info": ("a", 1)}
    for record in (about, tasks.Evil(mark), about | {"args": tasks.Evil(mark)}, [], about | {"getMessage": 1}):
        monkeypatch.setattr(LogFeed, "send", forged(record))
        with pool_of(peer) as pool:
            pool.submit(tasks.say, "a record").result(PATIENCE)
    eventually(lambda: len(caplog.records) >= 5)
    assert [record.getMessage() for record in caplog.records if record.name == "jobs"] == [r"red \x1b[31m %s"] * 2


@pytest.mark.parametrize(("value", "error"), [("plane", ValueError), ("", ValueError), (None, TypeError)])
def test_parameter_is_checked(value, error):
    with pytest.raises(error, match="results must be 'pickle' or 'plain'"):
        PeerPoolExecutor(results=value)


def test_results_of_our_own_workers_may_be_anything():
    with PeerPoolExecutor(1, results="plain") as pool:
        assert pool.submit(tasks.shared).result(PATIENCE).path == "/srv"
