"""Warnings of slow tasks, with the test's clock; one test has real workers, and one a real peer."""

import logging
import os
import time
from types import SimpleNamespace

import pytest

from tests.engine.fake_workers import StreamReceiver
from tests.faults.tasks import eventually
from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec import PeerPoolExecutor
from woolexec.core.call import ASYNCIO, LIFE
from woolexec.core.slow_tasks import ENOUGH
from woolexec.core.stack_text import SILENT
from woolexec.engine.slow_watch import MOST
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Inspected, Return

STACK = '  File "/a.py", line 1, in f'


@pytest.fixture
def watched(engine):
    """An engine that warns, and knows the functions f and g."""
    engine.rounds.warn_of_slow(10.0)
    for name in ("f", "g"):
        engine.scheduler.tallies._named(name).runs.add(0.01, ENOUGH)
    return engine


def warnings(engine, caplog):
    caplog.clear()
    pieces, engine.loop.user_code[:] = engine.loop.user_code[:], []
    for piece in pieces:
        piece()
    return [text for record in caplog.records if " run " in (text := record.getMessage()) and "tasks" in text]


def pass_time(engine, seconds):
    for _ in range(seconds):
        engine.loop.pass_time(1.0)


def test_slow_task_is_named_once_with_its_stack(watched, caplog):
    call, worker, far = watched.running()
    worker.pid = os.getpid()
    far.page.set_ready()
    pass_time(watched, 10)
    assert warnings(watched, caplog) == []
    watched.loop.pass_time(0.11)
    area = far.page.stacks
    area.answer(area.asked, Inspected(call=(call.number,), stack=(STACK,)))
    pass_time(watched, 100)

    (text,) = warnings(watched, caplog)
    assert text.startswith(f"f (task {call.number}) has run for 10.")
    assert f"in worker {os.getpid()}, and 95 % of such tasks took at most 0.01 s;" in text
    assert text.endswith(STACK)


def test_task_whose_worker_does_not_answer_is_named_too(watched, caplog):
    call, _, _ = watched.running()
    pass_time(watched, 15)
    (text,) = warnings(watched, caplog)
    assert f"f (task {call.number})" in text
    assert text.endswith(SILENT)


def test_task_that_was_sent_under_a_permit_is_seen(make_engine, caplog):
    engine = make_engine(permits=True)
    engine.rounds.warn_of_slow(10.0)
    engine.scheduler.tallies._named("f").runs.add(0.01, ENOUGH)
    call, worker, far = engine.running()
    engine.tell(worker, Return(call=(call.number,), seconds=(0.001,), payload=b"value"))
    assert worker.has_permit
    call = engine.call()
    assert worker.send_directly(call)
    assert far.start(SimpleNamespace(number=worker._permit.number, function=call.function), engine.loop.now)
    pass_time(engine, 30)
    (text,) = warnings(engine, caplog)
    assert text.startswith("f (task 2)")


def test_streams_and_the_lives_of_actors_are_left_out(watched, caplog):
    stream = StreamReceiver()
    stream.is_open = True
    watched.running(lane=ASYNCIO, receiver=stream)
    call, _, _ = watched.running("g")
    call.function.lane = LIFE
    pass_time(watched, 100)
    assert warnings(watched, caplog) == []


def test_functions_that_were_not_called_often_are_left_out(watched, caplog):
    watched.running("new")
    pass_time(watched, 100)
    assert warnings(watched, caplog) == []


def peer_with(engine, monkeypatch, count):
    calls = [engine.call() for _ in range(count)]
    for number, call in enumerate(calls, 1):
        call.number = number
    place = SimpleNamespace(outstanding={}, has_started=lambda _: True)
    link = SimpleNamespace(
        outstanding={call.number: call for call in calls},
        lane_place=place,
        candidate=SimpleNamespace(address="h:1"),
        has_started=lambda call: call.number != 1,
    )
    monkeypatch.setattr(engine.scheduler, "links", [link])


def test_task_at_a_peer_is_named_with_the_peer(watched, monkeypatch, caplog):
    peer_with(watched, monkeypatch, 2)
    pass_time(watched, 22)
    (text,) = warnings(watched, caplog)
    assert text.startswith("f (task 2) has run for 1")
    assert "at the peer at h:1" in text


def test_flood_of_slow_tasks_is_counted(watched, monkeypatch, caplog):
    peer_with(watched, monkeypatch, 101)
    pass_time(watched, 22)
    texts = warnings(watched, caplog)
    assert len(texts) == MOST + 1
    assert texts[-1].startswith("90 more tasks have run much longer")
    pass_time(watched, 100)
    assert warnings(watched, caplog) == []


# -- real workers ---------------------------------------------------------------------------------------------------


def named(caplog):
    return [record.getMessage() for record in caplog.records if "held (task" in record.getMessage()]


def be_slow(pool, caplog, go):
    def hold(path):  # its worker need not import this module
        while path and not os.path.exists(path):
            time.sleep(0.01)

    with caplog.at_level(logging.WARNING, "woolexec"):
        for _ in range(40):  # so that one that was delayed is not among the quickest 95 %
            pool.submit(hold, "").result()
        future = pool.with_options(name="held").submit(hold, str(go))
        try:
            assert eventually(lambda: named(caplog))
        finally:
            go.touch()
        future.result()
    (text,) = named(caplog)
    return text


def test_pool_names_a_slow_task(caplog, tmp_path):
    with PeerPoolExecutor(1, slow_after=0.1) as pool:
        text = be_slow(pool, caplog, tmp_path / "go")
    assert "in worker" in text
    assert text.endswith(".hold")


def test_pool_warns_of_nothing_when_that_is_off():
    with PeerPoolExecutor(1, slow_after=None) as pool:
        pool.submit(abs, -1).result()
        assert not [timer for timer in pool._engine._loop._timers if "warn_of_slow" in repr(timer)]
    with PeerPoolExecutor(1) as pool:
        assert [timer for timer in pool._engine._loop._timers if "warn_of_slow" in repr(timer)]


@pytest.mark.slow
def test_client_names_a_slow_task_at_a_peer(caplog, tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, slow_after=0.1) as pool:
            pool.wait_for_peers(1, PATIENCE)
            text = be_slow(pool, caplog, tmp_path / "go")
    assert f"at the peer at {peer.address}" in text
