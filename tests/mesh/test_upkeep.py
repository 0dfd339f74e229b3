"""Workers at peers are managed as their client requests, within the limits of the operator."""

import os
from contextlib import closing

import pytest

from tests.faults import tasks, upkeep
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from woolexec import PeerPoolExecutor, WorkerMemoryError
from woolexec.core.memory_limits import MemoryLimits
from woolexec.engine.peer_upkeep import Rules
from woolexec.mesh.server.audit_log import Audit
from woolexec.mesh.server.peer import Peer

MIB = 1 << 20


@pytest.fixture
def client():
    """Make a pool of a peer."""
    pools = []

    def make(peer, **options):
        pools.append(PeerPoolExecutor(0, peers=[peer.address], credentials=CREDENTIALS, **options))
        pools[-1].wait_for_peers(1, PATIENCE)
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()


def test_clients_settings_hold_for_its_workers_at_a_peer(peer, client, journal):
    pool = client(
        peer,
        memory_limit="200 MiB",
        idle_timeout=0.2,
        finalizer=upkeep.Leaver(journal),
        environment={"UPKEEP_COLOUR": "red", "LD_PRELOAD": "/no/such/library"},
    )
    assert pool.submit(upkeep.variables, "UPKEEP_COLOUR", "LD_PRELOAD").result(PATIENCE) == ["red", None]
    assert pool.submit(upkeep.variable_at_import).result(PATIENCE) == "red"
    pid = pool.submit(tasks.pid).result(PATIENCE)
    eventually(lambda: str(pid) in tasks.notes(journal))
    eventually(lambda: not peer.engine.pids)
    error = pool.submit(upkeep.grow_for_ever, 8 * MIB).exception(PATIENCE)
    assert isinstance(error, WorkerMemoryError)
    assert "more than memory_limit=200 MiB" in str(error)


FORBIDDEN = (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "WOOLEXEC_TOKEN_FILE",
    "WOOLEXEC_WORKER_ALLOWS",
)


def test_variables_of_a_client_are_those_of_its_workers_alone_and_are_told_nobody(client, caplog, tmp_path):
    caplog.set_level(0)
    secret = "of the client"
    audit = Audit(os.fspath(tmp_path / "audit"))
    with closing(audit), Peer(2, credentials=CREDENTIALS, audit=audit) as peer:
        given = {"UPKEEP_SECRET": secret, **dict.fromkeys(FORBIDDEN, secret)}
        one, other = client(peer, environment=given), client(peer)
        names = ("UPKEEP_SECRET", *FORBIDDEN)
        assert one.submit(upkeep.variables, names[0]).result(PATIENCE) == [secret]
        assert secret not in one.submit(upkeep.variables, *FORBIDDEN).result(PATIENCE)
        assert secret not in other.submit(upkeep.variables, *names).result(PATIENCE)
        failures = [one.submit(task).exception(PATIENCE) for task in (upkeep.leave, upkeep.fail)]
        assert all(failures)
    said = [caplog.text, (tmp_path / "audit").read_text(), *(f"{each!r} {each.__cause__}" for each in failures)]
    assert not [text for text in said if secret in text]


def test_peer_with_a_list_of_functions_takes_no_variables(client):
    with Peer(1, credentials=CREDENTIALS, allow=["tests.faults.upkeep:variables"]) as peer:
        pool = client(peer, environment={"UPKEEP_COLOUR": "red"})
        assert pool.submit(upkeep.variables, "UPKEEP_COLOUR").result(PATIENCE) == [None]


@pytest.mark.slow
def test_finalizer_runs_at_a_peer_when_its_client_leaves(peer, client, journal):
    pool = client(peer, finalizer=upkeep.Leaver(journal, seconds=0.5))
    pid = pool.submit(tasks.pid).result(PATIENCE)
    pool.shutdown()
    eventually(lambda: tasks.notes(journal) == [str(pid)])


@pytest.mark.slow
def test_worker_at_a_peer_is_replaced_when_it_has_grown(peer, client):
    pool = client(peer, max_memory_per_child="100 MiB")
    pid = pool.submit(upkeep.keep, 150 * MIB).result(PATIENCE)
    eventually(lambda: pid not in peer.engine.pids)
    assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.slow
def test_operators_limit_holds_whatever_clients_say(client):
    rules = Rules(MemoryLimits(None, 200 * MIB), takes_environment=False)
    with Peer(2, credentials=CREDENTIALS, rules=rules) as peer:
        for options in ({}, {"memory_limit": "10 GiB", "environment": {"UPKEEP_COLOUR": "red"}}):
            pool = client(peer, **options)
            error = pool.submit(upkeep.grow_for_ever, 8 * MIB).exception(PATIENCE)
            assert isinstance(error, WorkerMemoryError)
            assert "more than memory_limit=200 MiB" in str(error)
            assert pool.submit(upkeep.variables, "UPKEEP_COLOUR").result(PATIENCE) == [None]


@pytest.fixture
def journal(tmp_path):
    return os.fspath(tmp_path / "journal")
