"""Row 53: streams that are still open when their pool is shut down."""

import gc
import threading
import time

import anyio
import pytest

from tests.aio.stream_tasks import (
    blocks,
    fails_at_its_end,
    fails_at_its_end_async,
    keeps,
    keeps_async,
    reads_all,
    reads_all_async,
    sleeps,
)
from tests.faults.tasks import SOON, eventually, note, notes
from tests.marks import slow
from tests.mesh.conftest import CREDENTIALS, joined
from woolexec import PeerPoolExecutor
from woolexec.mesh.server.peer import Peer

from . import stream_tasks as tasks
from .faces import FACES, Ended

pytestmark = pytest.mark.matrix

SHUT = "closed by the shutdown of its pool"


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request):
    """How streams are pulled."""
    return request.param


@pytest.fixture(params=["", "_async"], ids=["generator", "async_generator"])
def kind(request):
    """Find the generator function of this name, of one kind."""
    return lambda name: getattr(tasks, name + request.param)


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "journal")


async def rest_of(face, stream):
    """Pull until the shutdown is named."""
    items = []
    with pytest.raises(RuntimeError, match=SHUT) as caught:
        while True:
            items.append(await face.next(stream))
    with pytest.raises(Ended):
        await face.next(stream)
    return items, caught.value


async def opened(face, pool, fn, *args, prefetch=0):
    """Open a stream that nobody closes."""
    scope = pool.stream(fn, *args, prefetch=prefetch)
    return scope.__enter__() if face.name == "plain" else await scope.__aenter__()


async def leave(face, pool):
    await pool.__aexit__(None, None, None) if face.name != "plain" else pool.__exit__(None, None, None)


# -- leaving the block ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prefetch", "pulls"), [(0, 1), (3, 0), *slow((0, 0), (3, 1))])
def test_block_is_left_while_a_stream_is_open(face, kind, journal, prefetch, pulls):
    async def body():
        pool = PeerPoolExecutor(1)
        stream = await opened(face, pool, kind("noting"), journal, 1_000, prefetch=prefetch)
        for number in range(pulls):
            assert await face.next(stream) == number
        await leave(face, pool)
        assert notes(journal)[-1:] == ["finally"] * pulls
        items, _ = await rest_of(face, stream)
        assert items == list(range(pulls, pulls + len(items)))
        assert len(items) <= prefetch
        await face.close(stream)

    face.run(body)


def test_block_is_left_by_an_exception_while_a_stream_is_open(face, kind, journal):
    async def body(pool):
        stream = await face.start(pool, kind("noting"), journal, 1_000)
        await face.next(stream)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        face.run_alone(body)
    assert notes(journal)[-1] == "finally"


def test_block_is_left_while_a_suspended_generator_holds_the_stream(kind, journal):
    def items(pool):
        with pool.stream(kind("noting"), journal, 1_000) as stream:
            yield from stream

    with PeerPoolExecutor(1) as pool:
        suspended = items(pool)
        assert next(suspended) == 0
    assert notes(journal)[-1] == "finally"
    with pytest.raises(RuntimeError, match=SHUT):
        next(suspended)


def test_scope_of_a_stream_that_outlives_the_pool_is_left_in_silence(face, kind, journal):
    async def body():
        pool = PeerPoolExecutor(1)
        async with face.open(pool, kind("noting"), journal, 1_000) as stream:
            await face.next(stream)
            await leave(face, pool)
        assert notes(journal)[-1] == "finally"

    face.run(body)


def test_shutdown_that_does_not_wait_closes_streams_as_well(face, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 1_000, prefetch=2) as stream:
            assert await face.next(stream) == 0
            pool.shutdown(wait=False)
            items, _ = await rest_of(face, stream)
            assert items[:1] in ([1], [])
            assert eventually(lambda: notes(journal)[-1] == "finally")

    face.run_alone(body)


def test_stream_that_has_ended_is_no_stream_that_was_closed(face, kind):
    async def body(pool):
        async with face.open(pool, kind("count"), 3, prefetch=10) as stream:
            assert await face.next(stream) == 0
            assert eventually(lambda: stream._buffer.end is not None)
            pool.shutdown(wait=False)
            assert await face.all(stream) == [1, 2]

    face.run_alone(body)


def test_streams_of_a_map_are_closed(kind, journal):
    with PeerPoolExecutor(1) as pool:
        streams = list(pool.map(kind("noting"), [journal] * 3, [1_000] * 3))
        assert [next(stream) for stream in streams] == [0, 0, 0]
    assert notes(journal).count("finally") == 3
    for stream in streams:
        with pytest.raises(RuntimeError, match=SHUT):
            next(stream)


# -- a pull is in progress --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 3])
def test_pull_that_is_in_progress_gets_its_item(kind, tmp_path, prefetch):
    got = []

    def pull(stream):
        got.append(next(stream))
        with pytest.raises(RuntimeError, match=SHUT):
            got.extend(iter(stream.__next__, None))

    with PeerPoolExecutor(1) as pool:
        stream = pool.submit(kind("held"), str(tmp_path), 1_000).result(SOON)
        if prefetch:
            stream = pool.stream(kind("held"), str(tmp_path), 1_000, prefetch=prefetch).__enter__()
        thread = threading.Thread(target=pull, args=(stream,))
        thread.start()
        assert eventually(lambda: (tmp_path / "began").exists())
        pool.shutdown(wait=False)
        assert eventually(lambda: stream._buffer.shut)
        (tmp_path / "open").touch()
    thread.join(SOON)
    assert got == list(range(len(got)))
    assert 1 <= len(got) <= max(1, prefetch)
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_task_that_pulls_gets_its_item(kind, tmp_path, backend):
    got = []

    async def pull(stream):
        got.append(await anext(stream))
        with pytest.raises(RuntimeError, match=SHUT):
            await anext(stream)

    async def body():
        async with anyio.create_task_group() as group:
            async with PeerPoolExecutor(1) as pool:
                stream = await pool.run(kind("held"), str(tmp_path), 1_000)
                group.start_soon(pull, stream)
                await tasks.until((tmp_path / "began").exists)
                pool.shutdown(wait=False)
                await tasks.until(lambda: stream._buffer.shut)
                (tmp_path / "open").touch()

    anyio.run(body, backend=backend)
    assert got == [0]
    assert (tmp_path / "ended").exists()


# -- generators that do not end by themselves -------------------------------------------------------------------------


def test_code_that_runs_ahead_and_waits_is_cancelled(face, journal):
    async def body(pool):
        stream = await opened(face, pool, sleeps, journal, prefetch=5)
        assert await face.next(stream) == 0
        assert eventually(lambda: notes(journal) == ["sleeps"])
        pool.shutdown(wait=False)
        assert await rest_of(face, stream)

    face.run_alone(body)
    assert notes(journal)[-1] == "finally"


def test_code_that_runs_ahead_and_blocks_is_left_behind_after_the_grace(journal):
    with PeerPoolExecutor(1) as pool:
        stream = pool.stream(blocks, journal, prefetch=5).__enter__()
        assert next(stream) == 0
        assert eventually(lambda: notes(journal) == ["blocks"])
        pool.shutdown(wait=False)
        with pytest.raises(RuntimeError, match=SHUT):
            next(stream)


def test_what_cleaning_up_raises_is_the_cause(face):
    for fn in (fails_at_its_end, fails_at_its_end_async):

        async def body(pool, fn=fn):
            stream = await opened(face, pool, fn, prefetch=0)
            assert await face.next(stream) == 0
            pool.shutdown(wait=False)
            _, error = await rest_of(face, stream)
            assert isinstance(error.__cause__, LookupError)

        face.run_alone(body)


# -- what is not a stream that is open --------------------------------------------------------------------------------


def test_stream_whose_start_is_queued_is_started_and_closed(kind, journal):
    with PeerPoolExecutor(1, max_coroutines=1) as pool:
        first = pool.stream(kind("noting"), journal, 1_000).__enter__()
        second = pool.submit(kind("noting"), journal, 1_000)
        assert next(first) == 0
        assert not second.done()
    assert notes(journal) == ["0", "finally"]
    with pytest.raises(RuntimeError, match=SHUT):
        next(second.result(SOON))


def test_coroutines_are_awaited(journal):
    async def slow():
        await anyio.sleep(0.2)
        note(journal, "done")
        return 1

    with PeerPoolExecutor(1) as pool:
        future = pool.submit(slow)
    assert future.result(0) == 1
    assert notes(journal) == ["done"]


def test_pool_that_was_collected_closes_no_stream_that_is_held(face, kind):
    async def body():
        stream = await face.start(PeerPoolExecutor(1), kind("count"), 5)
        gc.collect()
        assert await face.all(stream) == [0, 1, 2, 3, 4]

    face.run(body)


# -- nested -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [reads_all, reads_all_async])
def test_stream_of_a_task_that_runs_is_that_tasks(kind, tmp_path, reader):
    with PeerPoolExecutor(2) as pool:
        future = pool.submit(reader, str(tmp_path), kind("count"))
        assert eventually(lambda: (tmp_path / "began").exists())
        pool.shutdown(wait=False)
        time.sleep(0.1)  # it is looked for open streams meanwhile
        note(str(tmp_path / "go"), "go")
    assert future.result(0) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("keeper", [keeps, keeps_async])
def test_stream_of_a_task_that_has_ended_is_closed(kind, journal, keeper):
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(keeper, kind("noting"), journal, 1_000).result(SOON) == 0
    assert notes(journal)[-1] == "finally"


# -- at a peer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [3, *slow(0)])
def test_stream_at_a_peer_is_closed(face, kind, journal, prefetch):
    async def body():
        with Peer(1, credentials=CREDENTIALS) as peer:
            pool = joined(peer)
            stream = await opened(face, pool, kind("noting"), journal, 1_000, prefetch=prefetch)
            assert await face.next(stream) == 0
            await leave(face, pool)
            assert notes(journal)[-1] == "finally"
            items, _ = await rest_of(face, stream)
            assert items == list(range(1, len(items) + 1))

    face.run(body)


def test_pull_at_a_peer_gets_its_item(kind, tmp_path):
    got = []
    with Peer(1, credentials=CREDENTIALS) as peer:
        with joined(peer) as pool:
            stream = pool.submit(kind("held"), str(tmp_path), 1_000).result(SOON)
            thread = threading.Thread(target=lambda: got.append(next(stream)))
            thread.start()
            assert eventually(lambda: (tmp_path / "began").exists())
            pool.shutdown(wait=False)
            assert eventually(lambda: stream._buffer.shut)
            (tmp_path / "open").touch()
        thread.join(SOON)
    assert got == [0]
