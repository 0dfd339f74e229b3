"""The information that a peer logs about itself."""

import asyncio
import logging
import os
import signal
from types import SimpleNamespace

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import Credentials, NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.mesh.client.doctor import look
from woolexec.mesh.server.peer import Peer
from woolexec.mesh.server.peer_log import LATELY, MOST, PERIOD, PeerLog


def events(caplog, name):
    return [record.about for record in caplog.records if getattr(record, "about", {}).get("event") == name]


def test_clients_that_join_and_leave_are_told(caplog):
    caplog.set_level(logging.INFO, "woolexec.peer")
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        with joined(peer):
            (event,) = events(caplog, "joined")
            assert event["client"] == f"{os.uname().nodename}:{os.getpid()} ({CREDENTIALS.proof})"
            assert event["address"].startswith("ipv4:127.0.0.1:")
        eventually(lambda: events(caplog, "left"))


def test_refusal_is_told_with_its_reason(caplog):
    with Peer(1, credentials=CREDENTIALS) as peer:
        stranger = PeerPoolExecutor(peers=peer.address, credentials=Credentials(), peers_timeout=0.2)
        with stranger, pytest.raises(NoPeersError, match="the client has not proved that it has the token"):
            stranger.submit(abs, -1).result(PATIENCE)
    assert {event["reason"] for event in events(caplog, "refused")} == {
        "the client has not proved that it has the token: both ends need the same (WOOLEXEC_TOKEN_FILE, --token-file)"
    }


def test_worker_that_dies_is_told_and_one_that_is_let_go_is_not(caplog):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        pid = pool.submit(os.getpid).result(PATIENCE)
        with pytest.raises(WorkerLostError):
            pool.submit(os.kill, pid, signal.SIGKILL).result(PATIENCE)
        eventually(lambda: events(caplog, "worker died"))
        assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert [(event["worker"], event["exitcode"]) for event in events(caplog, "worker died")] == [(pid, -9)]


def test_failures_count_for_a_while():
    now = [100.0]
    log = PeerLog(lambda: now[0])
    worker = SimpleNamespace(pid=1, exitcode=-9)
    log.worker_died(worker, is_early=False)
    assert log.failures == 0
    log.worker_died(worker, is_early=True)
    now[0] += LATELY / 2
    log.serving("no process can be forked")
    log.serving("")
    assert log.failures == 2
    now[0] += LATELY / 2 + 1.0
    assert log.failures == 1


def test_failures_are_told_to_those_who_have_proved_themselves(caplog):
    with Peer(1, credentials=CREDENTIALS) as peer:
        peer._log.serving("no process can be forked")
        assert asyncio.run(look(peer.address, CREDENTIALS)).failures == 1


def test_drain_is_told(caplog):
    caplog.set_level(logging.INFO, "woolexec.peer")
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer):
        peer.drain()
        eventually(lambda: events(caplog, "draining"))
    assert events(caplog, "draining") == [{"event": "draining", "clients": 1}]


def test_strangers_do_not_fill_the_log(caplog):
    now = [0.0]
    log = PeerLog(lambda: now[0])
    for _ in range(1000):
        log.refused("ipv4:192.0.2.1:9", "it does not speak woolexec's protocol")
    now[0] = PERIOD + 1
    log.refused("ipv4:192.0.2.1:9", "it does not speak woolexec's protocol")
    refused = events(caplog, "refused")
    assert len(refused) == MOST + 2
    assert [event["count"] for event in refused if "count" in event] == [1000 - MOST]
