"""
POSIX features for processes, signals and limits.

No other part of the package uses these primitives directly; `tests/test_layers.py` lists them.  So this folder defines
what another operating system would have to provide: this module, `files`, `ipc` for communication, and `cgroup`.
Features that only Linux has are optional: each function describes what it does on a system without them.

Functions of `os` that need no addition are bound directly, without another Python frame.  The module is loaded by the
caller, by the fork server and by each worker before the first result, so it imports `_signal`, on which `signal` is
built: that imports `enum`, as `socket` does (see `worker/fork_server.py`).
"""

from __future__ import annotations

import os
import resource
import sys
from functools import partial
from time import sleep

from woolexec.platform.ipc import can_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Mapping
    from typing import Any
else:
    import _signal as signal

# -- signals ---------------------------------------------------------------------------------------------------------

SIGCHLD: int = signal.SIGCHLD
SIGCONT: int = signal.SIGCONT
SIGHUP: int = signal.SIGHUP
SIGINT: int = signal.SIGINT
SIGKILL: int = signal.SIGKILL
SIGTERM: int = signal.SIGTERM
SIGURG: int = signal.SIGURG

kill = os.kill
on_signal = signal.signal
handler_of = signal.getsignal
default_interrupt = signal.default_int_handler


def kill_group(pid: int, number: int) -> None:
    """Send a signal to a process group; to the process alone if it has not made its group yet."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, number)
            return
        except (ProcessLookupError, PermissionError):
            continue


def wake_on_child(fd: int) -> None:
    """Write a byte to this descriptor whenever a child of this process has ended."""
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    signal.signal(SIGCHLD, lambda *_: None)


def forget_children() -> None:
    """Undo `wake_on_child`, in a forked child."""
    signal.set_wakeup_fd(-1)
    signal.signal(SIGCHLD, signal.SIG_DFL)


# -- processes -------------------------------------------------------------------------------------------------------

CONTROL_FD = 3
"""The number of the descriptor that `spawn` passes to the process that it starts."""

CLOSE_OTHERS = f"import os; os.closerange({CONTROL_FD + 1}, os.sysconf('SC_OPEN_MAX'))"
"""Code that such a process runs first, to close all other inherited descriptors."""

_DEFAULT_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE]

fork = os.fork


def spawn(program: str, argv: list[str], environment: Mapping[str, str], fd: int) -> int:
    """
    Start a program in its own process group, with an empty standard input; return its process id.

    Its signals are not blocked; those that end a program, and SIGCHLD, have their default handlers.

    :param fd: becomes its descriptor `CONTROL_FD`
    :raises OSError: if it cannot be started
    """
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        return os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, fd, CONTROL_FD)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        os.close(null)


def lead_group() -> None:
    """Make this process the leader of a new process group."""
    os.setpgid(0, 0)


def reap(pid: int, *, wait: bool = False) -> int | None:
    """
    Reap a child that has ended.

    :param wait: wait until it has ended
    :return: its exit code, or the negative number of the signal that ended it; None if it still runs
    :raises ChildProcessError: if there is no such child
    """
    done, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def reap_group(pid: int) -> int | None:
    """
    Reap a child that leads a process group, if it has ended, and kill the rest of the group.

    Without `waitid` the rest of the group is not killed.

    :return: as `reap`
    """
    if hasattr(os, "waitid"):  # looks without reaping, so the id cannot be reused before its group is killed
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
        except ChildProcessError:
            pass
        kill_group(pid, SIGKILL)
    return reap(pid)


_FIRST = b"500"
"""Out of 1000: added to the part of the memory that a process uses, when the kernel chooses a process to kill."""


def end_first() -> None:
    """Make the kernel kill this process before others when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(_FIRST)
    except OSError:  # not Linux, or it is set higher already
        pass


def adopt_orphans() -> bool:
    """Become the parent of descendants whose parents end; return False if the system does not support that."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
    status: int = ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)
    return status == 0


def kill_children_but(known: Collection[int]) -> bool:
    """Kill and reap all children but these; return whether some remain that are about to end."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without this file
        return False
    left = False
    for pid in children:
        if pid not in known:
            kill(pid, SIGKILL)
            left = reap(pid) is None or left
    return left


def kill_leaderless(groups: Collection[int]) -> None:
    """
    Kill the remaining processes of groups whose leaders have ended.

    The kernel does not reuse the number of a group that has a process, so these processes belong to the group.
    """
    if not groups:
        return
    leaders, others = set[int](), set[int]()
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in filter(str.isdecimal, names):
        try:
            state, _, group = status_of(name)[:3]
        except (OSError, ValueError):  # it is gone, or there is no descriptor
            continue
        if int(group) in groups and state != b"Z":
            (leaders if int(group) == int(name) else others).add(int(group))
    for pid in others - leaders:
        kill_group(pid, SIGKILL)


def end_with(lifeline: int) -> int:
    """
    Ask the kernel to kill this process's group when the other end of a pipe closes.

    This works regardless of what the process does, even in C code that holds the GIL, and includes its children.  The
    pipe is opened again through /proc, which gives each process a separate owner setting.

    :param lifeline: the read end of the pipe
    :return: a descriptor that becomes readable when the other end has closed; -1 on systems other than Linux
    """
    if not sys.platform.startswith("linux"):
        return -1
    import fcntl

    set_signal = 10  # F_SETSIG of <fcntl.h>; Python has no name for it
    try:
        fd = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(fd, set_signal, SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:  # no /proc
        return -1
    if can_read(fd, 0):  # it closed before the signal was set up
        os._exit(1)
    return fd


def status_of(pid: int | str) -> list[bytes]:
    """
    Return the fields of /proc/PID/stat from the third, the state, on: the name before it may contain anything.

    :raises OSError: if there is no such process, no /proc, or no descriptor left
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a process, as SIGSTOP does; False if unknown."""
    try:
        return status_of(pid)[0] == b"T"
    except (OSError, IndexError):
        return False


def end_of(pid: int) -> int:
    """
    Return a new descriptor that becomes readable when a process has ended.

    :raises OSError: if no descriptor is left, or the system has no `os.pidfd_open`
    """
    if not hasattr(os, "pidfd_open"):
        raise OSError("sentinel needs os.pidfd_open, which this platform does not have; use join()")
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        fd, writer = os.pipe()
        os.close(writer)
        return fd


def at_fork(**callbacks: Callable[[], object]) -> None:
    """Register functions to call `before` each fork, `after_in_parent` and `after_in_child`, if the system forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**callbacks)


def renewed_at_fork(lock: Any) -> Any:
    """Return a lock that is free in a forked child, where the thread that held it does not exist."""
    at_fork(after_in_child=lock._at_fork_reinit)  # as in the standard library
    return lock


def oom_kills() -> int:
    """Return how many processes the kernel has killed because the machine or a cgroup lacked memory; 0 if unknown."""
    try:
        with open("/proc/vmstat") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


# -- what a process may use ------------------------------------------------------------------------------------------


def affinity(pid: int = 0) -> set[int] | None:
    """Return the processors that a process may run on, this one by default; None if unknown."""
    return os.sched_getaffinity(pid) if hasattr(os, "sched_getaffinity") else None


def set_affinity(cpus: tuple[int, ...]) -> None:
    """Set the processors that this process may run on, unless they are set already."""
    if {*cpus} != os.sched_getaffinity(0):
        os.sched_setaffinity(0, cpus)


yield_processor: Callable[[], object] = getattr(os, "sched_yield", partial(sleep, 0))


def niceness() -> int:
    """Return the niceness of the main thread: on Linux, others may differ."""
    return os.getpriority(os.PRIO_PROCESS, os.getpid())


def set_niceness(value: int) -> None:
    """Set the niceness of the calling thread, unless it is set already."""
    if value != os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, value)


def resource_limits() -> dict[str, tuple[int, int]]:
    """Return the soft and hard resource limits of this process, by their names in `resource`."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def set_resource_limits(limits: dict[str, tuple[int, int]]) -> None:
    """Set the resource limits of this process; ignore limits that it may not set, or that do not exist here."""
    for name, value in limits.items():
        number = getattr(resource, name, None)
        if number is not None and resource.getrlimit(number) != value:
            try:
                resource.setrlimit(number, value)
            except (OSError, ValueError):
                continue


def descriptor_limit() -> int:
    """Return how many descriptors this process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


# -- the host --------------------------------------------------------------------------------------------------------


def host_name() -> str:
    """Return the name of this host."""
    return os.uname().nodename


def boot_id() -> str:
    """Return the unique id of this boot of the kernel; empty if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Return whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
