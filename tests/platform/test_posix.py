import os
import signal
import subprocess
import sys
import time

import pytest

from woolexec.platform import ipc, posix

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has this")
PATIENCE = 20


def forked(act):
    """Run `act` in a child that leads a process group; return its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            posix.lead_group()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what a test before has left there
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            act()
        finally:
            os._exit(1)
    return pid


@pytest.fixture
def sleeper():
    """A child that reads from a pipe until it is killed."""
    ours, theirs = os.pipe()

    def wait():
        os.write(theirs, b".")
        while True:
            time.sleep(PATIENCE)

    pid = forked(wait)
    assert os.read(ours, 1)  # it leads its group
    yield pid
    for fd in (ours, theirs):
        os.close(fd)
    posix.kill_group(pid, posix.SIGKILL)
    try:
        posix.reap(pid, wait=True)
    except ChildProcessError:  # the test has reaped it
        pass


def test_signals_have_the_numbers_of_the_system():
    for name in ("SIGCHLD", "SIGHUP", "SIGINT", "SIGKILL", "SIGTERM", "SIGURG"):
        assert getattr(posix, name) == getattr(signal, name)


def test_running_child_is_not_reaped(sleeper):
    assert posix.reap(sleeper) is None
    assert posix.reap_group(sleeper) is None


def test_ended_child_is_reaped_with_its_exit_code():
    assert posix.reap(forked(lambda: os._exit(3)), wait=True) == 3


def test_killed_child_is_reaped_with_the_signal(sleeper):
    posix.kill_group(sleeper, posix.SIGTERM)

    assert posix.reap(sleeper, wait=True) == -posix.SIGTERM


@LINUX
def test_process_that_a_signal_has_stopped_is_stopped_until_it_is_continued(sleeper):
    assert not posix.is_stopped(sleeper)
    os.kill(sleeper, signal.SIGSTOP)
    os.waitpid(sleeper, os.WUNTRACED)
    assert posix.is_stopped(sleeper)
    os.kill(sleeper, signal.SIGCONT)
    os.waitpid(sleeper, os.WCONTINUED)
    assert not posix.is_stopped(sleeper)


def test_process_that_is_gone_is_not_stopped():
    assert not posix.is_stopped(1 << 30)


def leave_a_child_behind():
    """Return the leader of a group, which has ended, and a pipe that its child holds open."""
    ours, theirs = os.pipe()

    def fork_and_end():
        if os.fork():
            os.close(theirs)
            os._exit(0)
        os.close(ours)
        time.sleep(PATIENCE)

    pid = forked(fork_and_end)
    os.close(theirs)
    with os.fdopen(posix.end_of(pid)) as end:
        assert ipc.can_read(end.fileno(), PATIENCE)
    return pid, ours


def test_rest_of_a_group_is_killed_when_its_leader_is_reaped():
    pid, ours = leave_a_child_behind()
    assert posix.reap_group(pid) == 0
    assert ipc.can_read(ours, PATIENCE)  # the other end has closed with the grandchild
    os.close(ours)


@LINUX
@pytest.mark.parametrize("is_reaped", [False, True])
def test_group_whose_leader_has_ended_is_killed_and_one_whose_leader_lives_is_not(sleeper, is_reaped):
    pid, ours = leave_a_child_behind()
    if is_reaped:
        posix.reap(pid, wait=True)
    posix.kill_leaderless({pid, sleeper})
    assert ipc.can_read(ours, PATIENCE)  # the other end has closed with the grandchild
    os.close(ours)
    if not is_reaped:
        posix.reap(pid, wait=True)
    assert posix.reap(sleeper) is None


def test_signal_for_a_group_that_is_gone_is_ignored(sleeper):
    posix.kill_group(sleeper, posix.SIGKILL)
    posix.reap(sleeper, wait=True)

    posix.kill_group(sleeper, posix.SIGKILL)


def test_end_of_a_process_that_is_gone_can_be_read_at_once():
    pid = forked(lambda: os._exit(0))
    posix.reap(pid, wait=True)

    with os.fdopen(posix.end_of(pid)) as end:
        assert ipc.can_read(end.fileno(), PATIENCE)


def test_without_pidfds_the_end_of_a_process_cannot_be_watched(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)

    with pytest.raises(OSError, match="use join"):
        posix.end_of(os.getpid())


@LINUX
def test_process_ends_with_its_lifeline():
    lifeline, held = os.pipe()
    ours, theirs = os.pipe()

    def hang():
        os.close(held)
        posix.end_with(lifeline)
        os.write(theirs, b".")
        time.sleep(PATIENCE)

    pid = forked(hang)
    assert os.read(ours, 1)
    assert posix.reap(pid) is None
    os.close(held)
    assert posix.reap(pid, wait=True) == -posix.SIGKILL
    for fd in (lifeline, ours, theirs):
        os.close(fd)


@LINUX
def test_process_ends_at_once_if_its_lifeline_has_closed_already():
    lifeline, held = os.pipe()

    def start_late():
        os.close(held)
        while not ipc.can_read(lifeline, PATIENCE):
            pass
        posix.end_with(lifeline)
        os._exit(0)

    pid = forked(start_late)
    os.close(held)
    assert posix.reap(pid, wait=True) in {1, -posix.SIGKILL}
    os.close(lifeline)


def test_spawned_program_gets_one_descriptor_and_an_empty_input():
    ours, theirs = os.pipe()
    other = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(other, True)
    code = (
        f"{posix.CLOSE_OTHERS}; import sys, stat; null = sys.stdin.read() == ''; group = os.getpgrp() == os.getpid()\n"
        f"try: os.fstat({other}); inherited = True\n"
        "except OSError: inherited = False\n"
        f"os.write({posix.CONTROL_FD}, repr((null, group, inherited)).encode())"
    )
    pid = posix.spawn(sys.executable, [sys.executable, "-S", "-c", code], dict(os.environ), theirs)
    os.close(theirs)

    with os.fdopen(ours) as answer:
        assert answer.read() == "(True, True, False)"
    assert posix.reap(pid, wait=True) == 0
    os.close(other)


def test_callbacks_of_a_fork_are_called():
    code = """if True:
        import os
        from woolexec.platform import posix
        posix.at_fork(before=lambda: print("before", flush=True), after_in_child=lambda: print("child", flush=True))
        if not os.fork():
            os._exit(0)
        os.wait()
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert ran.stdout == "before\nchild\n", ran.stderr


def test_system_without_forks_has_no_callbacks(monkeypatch):
    monkeypatch.delattr(os, "register_at_fork", raising=False)

    posix.at_fork(before=lambda: None)


def test_affinity_is_unknown_on_a_system_without_it(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)

    assert posix.affinity() is None


@LINUX
def test_affinity_is_set_and_seen():
    def keep_one():
        [*cpus] = posix.affinity()
        posix.set_affinity(tuple(cpus[:1]))
        os._exit(len(posix.affinity()))

    assert posix.reap(forked(keep_one), wait=True) == 1


def test_niceness_is_set_and_seen():
    def rise():
        wanted = min(posix.niceness() + 1, 19)
        posix.set_niceness(wanted)
        os._exit(0 if posix.niceness() == wanted else 2)

    assert posix.reap(forked(rise), wait=True) == 0


def test_resource_limits_are_set_and_others_ignored():
    def lower():
        _, hard = posix.resource_limits()["RLIMIT_CORE"]
        posix.set_resource_limits({"RLIMIT_NOSUCH": (1, 1), "RLIMIT_CORE": (0, hard), "RLIMIT_NOFILE": (50, 10)})
        os._exit(0 if posix.resource_limits()["RLIMIT_CORE"] == (0, hard) else 2)

    assert posix.reap(forked(lower), wait=True) == 0


def test_descriptor_limit_is_a_number_even_without_a_limit(monkeypatch):
    assert posix.descriptor_limit() > 0
    monkeypatch.setattr("resource.getrlimit", lambda _: (posix.resource.RLIM_INFINITY, posix.resource.RLIM_INFINITY))

    assert posix.descriptor_limit() == sys.maxsize


def test_host_and_boot_have_names():
    assert posix.host_name() == os.uname().nodename
    assert posix.boot_id() == posix.boot_id()
    assert posix.oom_kills() >= 0


@pytest.mark.linux
def test_process_that_is_to_end_first_says_so_to_the_kernel():
    code = "from woolexec.platform.posix import end_first; end_first(); print(open('/proc/self/oom_score_adj').read())"
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) >= 500


def test_a_process_is_running_until_it_was_reaped():
    assert posix.is_running(os.getpid())
    assert posix.is_running(1)
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not posix.is_running(process.pid)
