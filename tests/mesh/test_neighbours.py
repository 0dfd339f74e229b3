"""Two clients of one peer: neither sees, keeps, slows or ends anything of the other."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import Credentials, PeerPoolExecutor, WorkerLostError, current_executor
from woolexec.discovery.urls import discoveries
from woolexec.mesh.client import peers
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.handshake import Caller
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server import tenant
from woolexec.mesh.server.peer import Peer

SCRIPT = """
import sys
from woolexec import Credentials, PeerPoolExecutor

WHO, FACTOR = sys.argv[2], int(sys.argv[3])

def helper(x):
    return WHO, x * FACTOR

def work(x):
    return helper(x)

with PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(bytes.fromhex(sys.argv[4]))) as pool:
    for line in sys.stdin:
        print(*pool.submit(work, int(line)).result(20), flush=True)
"""


@pytest.fixture
def peer():
    with Peer(1, credentials=CREDENTIALS) as peer:
        yield peer


@pytest.fixture
def two(peer):
    with joined(peer) as one, joined(peer) as other:
        yield one, other


def workers(peer):
    return len(peer.engine.pids)


def test_scripts_with_the_same_names_each_get_their_own_results(peer, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    scripts = [
        subprocess.Popen(
            [sys.executable, tmp_path / "script.py", peer.address, who, factor, CREDENTIALS.token.hex()], **pipes
        )
        for who, factor in (("ada", "2"), ("bob", "1000"))
    ]
    try:
        for n in range(4):
            answers = []
            for script in scripts:
                script.stdin.write(f"{n}\n")
                script.stdin.flush()
                answers.append(script.stdout.readline().strip())
            assert answers == [f"ada {2 * n}", f"bob {1000 * n}"]
    finally:
        for script in scripts:
            script.communicate(timeout=PATIENCE)


def keep(value):
    vars(sys)["_kept"] = value
    os.environ["KEPT"] = value


def kept():
    return getattr(sys, "_kept", None), os.environ.get("KEPT")


def test_what_a_task_leaves_in_its_worker_is_not_seen_by_another_client(two):
    one, other = two
    one.submit(keep, "secret").result(PATIENCE)
    assert other.submit(kept).result(PATIENCE) == (None, None)
    assert {one.submit(os.getpid).result(PATIENCE)}.isdisjoint({other.submit(os.getpid).result(PATIENCE)})


def path_in_worker():
    return sys.path


def test_shipped_module_is_found_by_its_client_only(two, peer, tmp_path, monkeypatch):
    (tmp_path / "sortedthings.py").write_text("def whose():\n    return 'of one client'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "sortedthings", None)  # so that it is taken out again after the test
    del sys.modules["sortedthings"]
    import sortedthings

    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, ship=[sortedthings]) as pool:
        assert pool.submit(sortedthings.whose).result(PATIENCE) == "of one client"
        assert [entry for entry in pool.submit(path_in_worker).result(PATIENCE) if entry.endswith(".zip")]
        assert not [entry for entry in two[0].submit(path_in_worker).result(PATIENCE) if "woolexec-code" in entry]


def log_then_die(text):
    logging.getLogger("app").warning(text)
    if not text:
        os._exit(3)


def test_error_about_a_lost_worker_has_no_log_lines_of_another_client(two):
    one, other = two
    one.submit(log_then_die, "the password is hunter2").result(PATIENCE)
    with pytest.raises(WorkerLostError) as caught:
        other.submit(log_then_die, "").result(PATIENCE)
    assert "hunter2" not in str(caught.value)


async def wait_for(path, look=0.01):
    while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240  # the test is in another process
        await asyncio.sleep(look)
    return 1


def test_timeout_of_one_client_ends_no_coroutine_of_another(two, tmp_path):
    one, other = two
    coroutines = [one.submit(wait_for, tmp_path / "go") for _ in range(10)]
    eventually(lambda: all(future.running() for future in coroutines))
    with pytest.raises(TimeoutError):
        other.with_options(timeout=0.2).submit(time.sleep, 60).result(PATIENCE)
    (tmp_path / "go").touch()
    assert [future.result(PATIENCE) for future in coroutines] == [1] * 10


def test_death_of_one_clients_workers_is_not_noticed_by_another(two):
    one, other = two
    pid = one.submit(os.getpid).result(PATIENCE)
    for _ in range(6):  # more than a budget of early deaths would hold
        with pytest.raises(WorkerLostError):
            other.submit(os._exit, 1).result(PATIENCE)
    assert one.submit(kept).result(PATIENCE) == (None, None)
    assert pid != os.getpid()


def leave_daemon(path):
    """Leave a process behind that is in no group, session or parent of ours."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
    os._exit(0)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.linux
@pytest.mark.parametrize("end", ["client leaves", "worker is killed"])
def test_daemon_that_a_task_has_left_ends_with_its_worker(peer, tmp_path, end):
    with joined(peer) as pool:
        pool.submit(leave_daemon, tmp_path / "pid").result(PATIENCE)
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert is_alive(pid)
        if end == "worker is killed":
            os.kill(pool.submit(os.getpid).result(PATIENCE), signal.SIGKILL)
            eventually(lambda: not is_alive(pid))
    eventually(lambda: not is_alive(pid))


@pytest.mark.linux
def test_daemon_that_a_task_has_left_ends_with_the_peer(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer:
        pool = joined(peer)
        pool.submit(leave_daemon, tmp_path / "pid").result(PATIENCE)
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pool.shutdown(cancel_futures=True)
    eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_workers_of_a_client_end_with_it(peer, monkeypatch):
    monkeypatch.setattr(tenant, "LINGER", 0.05)
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert workers(peer) == 1
    eventually(lambda: workers(peer) == 0)
    eventually(lambda: not peer.engine.engines)


def test_client_whose_link_broke_finds_its_workers_again(peer):
    with joined(peer) as pool:
        pool.submit(keep, "mine").result(PATIENCE)
        (link,) = pool._peers.links
        pool._engine.tell(link.close)
        eventually(lambda: pool._peers.links and pool._peers.links[0] is not link)
        assert pool.submit(kept).result(PATIENCE) == ("mine", "mine")


def test_newcomer_gets_a_worker_while_another_client_has_much_to_do(two):
    one, other = two
    many = [one.submit(time.sleep, 0.02) for _ in range(100)]
    eventually(lambda: any(future.done() for future in many))
    assert other.submit(abs, -1).result(PATIENCE) == 1
    assert not all(future.done() for future in many)
    assert [future.result(PATIENCE) for future in many] == [None] * 100


def test_newcomer_gets_a_worker_while_another_client_pins_calls(two):
    one, other = two
    seen = []

    def pin():
        for _ in range(10):
            seen.append(one.run_on_all(time.sleep, 0.05))

    threads = [threading.Thread(target=pin) for _ in range(10)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: seen)
        assert other.submit(abs, -1).result(PATIENCE) == 1
        assert len(seen) < 100
    finally:
        for thread in threads:
            thread.join()


def test_newcomer_runs_a_coroutine_while_another_client_has_filled_its_lanes(two, tmp_path):
    one, other = two
    many = [one.submit(wait_for, tmp_path / "go", 0.5) for _ in range(1500)]
    eventually(lambda: many[0].running())
    (tmp_path / "other").touch()
    assert other.submit(wait_for, tmp_path / "other").result(PATIENCE) == 1
    (tmp_path / "go").touch()
    assert [future.result(PATIENCE) for future in many] == [1] * 1500


def test_call_of_a_client_with_priority_does_not_hold_up_another(two):
    one, other = two
    many = [one.with_options(priority=100).submit(time.sleep, 0.02) for _ in range(100)]
    eventually(lambda: any(future.done() for future in many))
    assert other.submit(abs, -1).result(PATIENCE) == 1
    assert not all(future.done() for future in many)


def hold_after(awaited, room):
    """Wait for a nested coroutine, which needs no seat, and then hold the worker."""
    current_executor().submit(wait_for, awaited).result()
    return tasks.hold(room, "held")


def test_call_that_goes_on_gets_its_seat_back_from_the_client_that_has_it(tmp_path):
    rooms = [tmp_path / name for name in ("parent", "first", "second")]
    for room in rooms:
        room.mkdir()
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        seats = peer.engine.seats
        assert all(other.map(tasks.hold_if, [rooms[1]] * 50, [""] * 50))  # so that the peer takes it to be short
        calls = [one.submit(hold_after, tmp_path / "go", rooms[0])]
        eventually(calls[0].running)
        calls += [other.submit(tasks.hold_if, room, "held") for room in rooms[1:]]
        try:
            eventually(lambda: all((room / "held").exists() for room in rooms[1:]))
            (tmp_path / "go").touch()
            eventually(lambda: seats.free == -1)
            (rooms[1] / "release").touch()
            eventually(lambda: seats.free == 0)
        finally:
            for room in rooms:
                (room / "release").touch()
        for call in calls:
            call.result(PATIENCE)


def nest_far(_):
    """Run a task at another peer: both workers must be used at once."""
    first, second = [current_executor().submit(tasks.pid_after, 0.3) for _ in range(2)]
    return first.result(), second.result()


def test_clients_whose_tasks_a_peer_passes_on_share_no_worker_at_the_next(tmp_path):
    with Peer(2, credentials=CREDENTIALS) as far:
        with Peer(1, credentials=CREDENTIALS, peers=discoveries(far.address)) as near:
            with joined(near) as one, joined(near) as other:
                eventually(lambda: near.clients == 2)
                found = [set(), set()]

                def have_met():
                    for pids, pool in zip(found, (one, other), strict=True):
                        pids.update(pool.submit(nest_far, 0).result(PATIENCE))
                    return all(pids & set(far.engine.pids) for pids in found)

                eventually(have_met)
                assert found[0].isdisjoint(found[1])


def test_client_that_is_passed_on_and_comes_itself_is_one_client(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as far:
        with Peer(1, credentials=CREDENTIALS, peers=discoveries(far.address)) as near, joined(near, far) as pool:

            def is_linked():
                pool.submit(nest_far, 0).result(PATIENCE)
                return far.clients == 2

            eventually(is_linked)
            assert len(far.engine.engines) == 1


def recurse(depth):
    """Have each task submit two others, which peers may pass on to each other."""
    if depth == 0:
        time.sleep(0.02)
        return 1
    futures = [current_executor().submit(recurse, depth - 1) for _ in range(2)]
    return sum(future.result() for future in futures)


@pytest.mark.slow
def test_peers_that_pass_on_tasks_to_each_other_keep_nothing_of_a_client_that_has_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tenant, "LINGER", 0.2)
    found = discoveries(f"dir:{tmp_path}")
    with (
        Peer(1, credentials=CREDENTIALS, announce=found, peers=found) as one,
        Peer(1, credentials=CREDENTIALS, announce=found, peers=found) as other,
    ):
        with joined(one) as pool:

            def go_in_circles():
                assert pool.submit(recurse, 5).result(PATIENCE) == 32
                return one.clients == 2 and other.clients == 1

            eventually(go_in_circles)
        eventually(lambda: one.clients == other.clients == 0)
        eventually(lambda: one.engine.engines == other.engine.engines == [])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authority")
    made = Authority.make(folder, name="ours")
    for name in ("ada", "mallory"):
        made.issue("client", name=name)
    for name in ("one", "two"):
        made.issue("peer", name=name)
    return folder


def proving(folder, name):
    files = [str(folder / each) for each in ("ca.pem", f"{name}.pem", f"{name}.key")]
    return Credentials(tls=Tls(*files))


@pytest.mark.parametrize(
    ("other", "client", "shared"),
    [
        ("client-ada", "", True),  # its link broke, and it comes back
        ("client-mallory", "", False),
        ("client-mallory", "ada", False),  # clients cannot vouch for others
        ("peer-two", "", False),
        ("peer-two", "ada", True),  # a peer passes on what it has from ada
    ],
)
def test_session_belongs_to_whom_has_opened_it(authority, monkeypatch, other, client, shared):
    with Peer(1, credentials=proving(authority, "peer-one"), bind="127.0.0.1:0") as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=proving(authority, "client-ada")) as ada:
            ada.submit(keep, "of ada").result(PATIENCE)
            (bound,) = peer._acceptor.tenants._by_session
            session = bound if client else ada._peers._ours[0]
            ours = session, client, len(client)
            monkeypatch.setattr(peers, "Caller", lambda token, pool, *_: Caller(token, pool, *ours))
            with PeerPoolExecutor(peers=peer.address, credentials=proving(authority, other)) as second:
                seen = "of ada" if shared else None
                assert second.submit(kept).result(PATIENCE) == (seen, seen)
