"""Settings of a program apply in its tasks at peers too, except those of the process and its host."""

import ast
import csv
import os
import pickle
import resource
import subprocess
import sys

import pytest

from tests import settings_program
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec.discovery.urls import discoveries
from woolexec.engine.settings import LIMIT
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Settings, encode

pytestmark = pytest.mark.linux

TOP = (
    settings_program.TOP
    + """
def look_here_or_there(folder, ours, other):
    pathlib.Path(folder, ours).touch()
    for _ in range(4000):
        if pathlib.Path(folder, other).exists():
            return os.getppid(), look()
        time.sleep(0.005)
    raise TimeoutError("nobody came")

def look_with_tasks_of_its_own(folder):
    from woolexec import current_executor
    futures = [current_executor().submit(look_here_or_there, folder, *names) for names in ("ab", "ba")]
    return dict(future.result() for future in futures)

def of_the_process():
    return os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE)[0], multiprocessing.parent_process().pid
"""
)

CLIENT = (
    TOP
    + """
from woolexec import Credentials, PeerPoolExecutor

os.nice(1)
files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (files[0] - 1, files[1]))
with PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(bytes.fromhex(sys.argv[2]))) as pool:
    found = {
        "here": look(),
        "task": pool.submit(look).result(20),
        "coroutine": pool.submit(look_beside).result(20),
        "tasks of a task": pool.submit(look_with_tasks_of_its_own, sys.argv[3]).result(20),
        "reducer": type(pool.submit(Weight).result(20)) is Weight,
        "process": pool.submit(of_the_process).result(20),
    }
    with pool.stream(look_in_a_stream) as items:
        (found["stream"],) = items
    print(found)
"""
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a program has found at its peer, and at a peer of that peer; both peers are in this process."""
    with (
        Peer(1, credentials=CREDENTIALS) as far,
        Peer(1, credentials=CREDENTIALS, peers=discoveries(far.address)) as near,
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-c", CLIENT, near.address, CREDENTIALS.token.hex()),
                str(tmp_path_factory.mktemp("found")),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


KINDS = [
    *("csv", "decimal", "digits", "recursion", "warnings", "socket", "locale"),
    *("level names", "levels", "disabled", "logger class"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_setting_of_the_client_holds_in_its_tasks_at_a_peer(found, kind):
    assert found["task"][kind] == found["here"][kind]


def test_every_setting_is_looked_at(found):
    assert found["here"].keys() == set(KINDS)


@pytest.mark.parametrize("where", ["coroutine", "stream"])
def test_settings_hold_in_every_kind_of_task(found, where):
    assert found[where] == found["here"]


def test_settings_go_from_peer_to_peer_with_the_tasks_that_tasks_submit(found):
    near, far = found["tasks of a task"].values()
    for name, value in found["here"].items():
        if name != "recursion":  # it grows with the stack of a call that waits for its tasks
            assert near[name] == far[name] == value


def test_reducer_of_the_client_pickles_results_at_a_peer(found):
    assert found["reducer"]


def test_niceness_limits_and_parent_are_those_of_the_process_that_serves(found):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found["process"] == (os.nice(0), limit, os.getpid())


# -- clients in this process, whose settings the tests change ----------------------------------------------------------


FRESH = 131072  # the limit of a fresh interpreter


def limit_there(pool):
    return pool.submit(csv.field_size_limit).result(PATIENCE)


@pytest.fixture
def limit():
    """The limit of `csv` is another one than that of a fresh interpreter."""
    csv.field_size_limit(77)
    yield 77
    csv.field_size_limit(FRESH)


def test_each_client_has_its_own_settings_and_none_those_of_the_peer(peer, limit):
    with joined(peer) as changed, joined(peer) as fresh:
        assert limit_there(changed) == limit
        csv.field_size_limit(FRESH)
        assert limit_there(fresh) == FRESH
        assert limit_there(changed) == limit


@pytest.mark.parametrize("payload", [b"no pickle", pickle.dumps(1), pickle.dumps({"nice": 19})], ids=str)
def test_settings_that_cannot_be_used_are_ignored(peer, monkeypatch, payload):
    monkeypatch.setattr("woolexec.engine.supervisor.settings_for_peers", lambda _: payload)
    with joined(peer) as pool:
        assert pool.submit(os.nice, 0).result(PATIENCE) == os.nice(0)


def test_peer_that_runs_only_listed_functions_applies_no_settings(limit):
    with Peer(1, credentials=CREDENTIALS, allow=["_csv:field_size_limit"]) as peer, joined(peer) as pool:
        assert limit_there(pool) == FRESH


def test_settings_that_are_too_large_end_the_link(peer):
    with joined(peer) as pool:
        assert limit_there(pool) == FRESH
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(encode(Settings(settings=bytes(LIMIT + 1)))))
        eventually(lambda: "too many settings" in pool._peers.explain())


def test_client_without_settings_of_its_own_sends_none(peer, monkeypatch, limit):
    sent = []

    def noted(frame):
        if isinstance(frame, Settings):
            sent.append(frame)
        return encode(frame)

    monkeypatch.setattr("woolexec.mesh.client.sent_code.encode", noted)
    with joined(peer) as pool:
        assert limit_there(pool) == limit
    assert len(sent) == 1
    monkeypatch.setattr("woolexec.engine.supervisor.settings_for_peers", lambda _: b"")
    with joined(peer) as pool:
        assert limit_there(pool) == FRESH
    assert [bool(frame.settings) for frame in sent] == [True, False]  # the other one says where output goes
