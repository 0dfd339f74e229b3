"""How grpc is loaded, and forks of programs that have links."""

import os
import subprocess
import sys

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec.mesh import grpc_module
from woolexec.mesh.server.peer import Peer

PROGRAM = """
import os
{before}
from woolexec.mesh import grpc_module
grpc_module._EXPERIMENTS = {{"GRPC_EXPERIMENTS": "-nothing_of_the_kind"}}  # grpc says that it does not know it
grpc_module._MEASURED = {measured}
assert grpc_module.load_grpc().aio
print(os.environ.get("GRPC_EXPERIMENTS"), os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
"""


def loaded(before="", measured='("",)'):
    program = PROGRAM.format(before=before, measured=measured)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip(), "nothing_of_the_kind" in done.stderr


def test_grpc_is_loaded_with_our_settings_which_nobody_else_sees():
    assert loaded() == ("None None", True)


@pytest.mark.parametrize(
    ("before", "left"),
    [("import grpc", "None"), ("os.environ['GRPC_EXPERIMENTS'] = '-event_engine_listener'", "-event_engine_listener")],
)
def test_program_that_has_loaded_grpc_or_has_settings_keeps_its_own(before, left):
    assert loaded(before) == (f"{left} None", False)


def test_versions_that_were_not_measured_are_left_alone():
    assert loaded(measured="('0.1.',)") == ("None None", False)


@pytest.mark.parametrize(
    ("own", "quiet", "seen"),
    [(None, False, "ERROR"), (None, True, "NONE"), ("info", False, "info"), ("info", True, "info")],
)
def test_remarks_of_grpc_are_not_written_unless_the_program_asks_for_them(own, quiet, seen, monkeypatch):
    # Such as "Got goaway" with level I, in a client that was suspended for longer than its peer waits.
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    if own is not None:
        monkeypatch.setenv("GRPC_VERBOSITY", own)
    with grpc_module._settings(quiet=quiet):
        assert os.environ["GRPC_VERBOSITY"] == seen
    assert os.environ.get("GRPC_VERBOSITY") == own


SHUT_DOWN = """
import gc, os, sys, time
from woolexec import Credentials, PeerPoolExecutor

with PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(sys.argv[2].encode())) as pool:
    pool.submit(abs, -1).result(20)
del pool
gc.collect()
time.sleep(1)  # it would be shut down within milliseconds
print(len(os.listdir("/proc/self/task")) > 1)
"""


@pytest.mark.linux
def test_core_of_grpc_lives_on_when_the_last_link_has_ended(peer):
    # One of its threads may still be at work for 10 s, and takes a lock then that a core that was shut down has not.
    command = [sys.executable, "-c", SHUT_DOWN, peer.address, CREDENTIALS.token.decode()]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "True\n"


FORKS = """
import gc, os, signal, subprocess, sys, threading, time, warnings
{before}
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.grpc_module import load_grpc

CREDENTIALS = Credentials({token!r})

def refused(what):
    try:
        what()
    except RuntimeError as exc:
        return "parent process" in str(exc)

def copy(pool, address):  # the parent's pool says what it is here
    assert refused(lambda: pool.submit(abs, -1))
    assert refused(lambda: pool.map(abs, [1]))
    assert refused(lambda: pool.run_on_all(abs, -1))
    assert refused(lambda: pool.wait_for_peers(1, 1))
    assert pending is None or refused(pending.result)
    pool.shutdown()

def collected(pool, address):
    gc.collect()

def local(pool, address):
    with PeerPoolExecutor(1) as mine:
        assert mine.submit(abs, -1).result(20) == 1

def remote(pool, address):
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as mine:
        assert mine.submit(abs, -1).result(20) == 1

def grandchild(pool, address):
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as mine:
        assert mine.submit(abs, -1).result(20) == 1
        assert forked(remote, mine, address) == 0
        assert mine.submit(abs, -1).result(20) == 1

def forked(target, pool, address, leave=os._exit):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            target(pool, address)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        leave(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def until(event, pool, counts):
    while not event.is_set():
        counts.append(list(pool.map(abs, range(50))) == list(range(50)))

address = sys.argv[1]
pool = PeerPoolExecutor(peers=address, credentials=CREDENTIALS)
pool.submit(abs, -1).result(20)
pending = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {run}
print(sum(issubclass(each.category, RuntimeWarning) for each in caught))
assert pool.submit(abs, -1).result(20) == 1
pool.shutdown()
"""


def run_forks(address, run, before="", **more):
    program = FORKS.format(before=before, run=run, token=CREDENTIALS.token)
    return subprocess.run(
        [sys.executable, "-c", program, address], capture_output=True, text=True, timeout=50, check=False, **more
    )


@pytest.mark.parametrize("target", ["copy", "collected", "local", "remote", "grandchild"])
def test_parent_and_child_live_after_a_fork_while_a_link_lives(peer, target):
    run = f"pending = pool.submit(time.sleep, 0.5)\n    assert forked({target}, pool, address) == 0"
    done = run_forks(peer.address, run)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_child_that_ends_as_programs_end_does_not_wait_for_the_parents_links(peer):
    done = run_forks(peer.address, "assert forked(collected, pool, address, sys.exit) == 0")
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


@pytest.mark.slow
def test_many_forks_under_load_harm_neither_side(peer):
    run = """
    over, counts = threading.Event(), []
    thread = threading.Thread(target=until, args=(over, pool, counts))
    thread.start()
    for n in range(40):
        if n % 8:
            assert forked((copy, collected)[n % 2], pool, address) == 0
        else:
            subprocess.run(["true"], check=True, preexec_fn=gc.collect)
    over.set()
    thread.join(20)
    assert counts and all(counts)
    """
    done = run_forks(peer.address, run)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_fork_right_after_the_pool_was_made_waits_for_the_import(peer):
    run = """
    for target in (local, remote):
        with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as other:
            assert forked(target, other, address) == 0
    """
    done = run_forks(peer.address, run)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_garbage_of_the_parent_is_not_collected_in_a_forked_child():
    # The last object of grpc.aio to be freed waits for a thread that the child lacks.
    program = """
import gc, os
from woolexec.mesh import grpc_module
grpc_module.load_grpc()
child = os.fork()
if not child:
    os._exit(0 if gc.get_freeze_count() else 3)
assert os.waitpid(child, 0)[1] == 0
assert not gc.get_freeze_count()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_a_process_work_while_a_link_lives(peer, method):
    run = f"""
    import multiprocessing
    with multiprocessing.get_context({method!r}).Pool(1) as processes:
        assert processes.apply_async(abs, (-3,)).get(20) == 3
    """
    done = run_forks(peer.address, run)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


FORK_HOOKS = "from woolexec.mesh.grpc_module import _before_fork, _in_parent; _before_fork(); _in_parent()"


@pytest.mark.parametrize(
    "before", ["import grpc", "os.environ['GRPC_ENABLE_FORK_SUPPORT'] = '1'"], ids=["imported before", "wanted"]
)
def test_program_whose_grpc_supports_forks_is_warned_once_when_it_forks(peer, before):
    # What fork support does to the process is what the warning is about, so nothing forks here.
    run = FORK_HOOKS + "; _before_fork(); _in_parent()"
    done = run_forks(peer.address, run, before)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


@pytest.mark.parametrize(
    ("before", "count"),
    [("os.environ['GRPC_ENABLE_FORK_SUPPORT'] = '0'; import grpc", 0), ("import grpc", 1)],
    ids=["off", "on"],
)
def test_program_that_has_switched_fork_support_off_is_not_warned(peer, before, count):
    assert run_forks(peer.address, FORK_HOOKS, before).stdout == f"{count}\n"


def test_nobody_is_warned_without_links():
    program = "import os, grpc\nfrom woolexec.mesh.grpc_module import load_grpc\nload_grpc()\nos._exit(os.fork() and 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert "links to peers" not in done.stderr


def test_child_that_cannot_load_grpc_again_says_so_when_it_wants_peers(peer):
    run = """
    def unable(pool, address):
        from woolexec.mesh import grpc_module
        def fails(copied):
            raise ImportError("no second time")
        grpc_module._import_with = fails
        try:
            PeerPoolExecutor(peers=address, credentials=CREDENTIALS)
        except RuntimeError as exc:
            assert "no second time" in str(exc) and "spawn" in str(exc), exc
        else:
            raise AssertionError("it was made")
    assert forked(unable, pool, address) == 0
    """
    done = run_forks(peer.address, run)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")


def test_proxies_of_the_environment_are_not_asked_for_peers(monkeypatch):
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
