"""
Find leftovers of a test: processes, threads, open files, mapped memory files, temporary files, signal handlers.

1. ``Snapshot.take()`` before the test records what exists.
2. ``left_behind(before)`` after it names what is new, after up to ``SETTLE`` seconds for it to disappear; ``look`` also
   returns a new snapshot, with which the next test may begin.

Processes are found by parent and by a mark in their environment, so orphans are found too.
Without ``/proc``, only threads and temporary files are checked.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from woolexec.wire.spare_files import drop_spares

SETTLE = 10.0
COLLECTS = 0.008
"""The pause, in a series that doubles from 1 ms, before which garbage is collected."""
PREFIX = "woolexec"
_CLOSED_BY_PEER = "08"  # CLOSE_WAIT, in /proc/net/tcp
MARK = "TESTS_OF_WOOLEXEC"
_run = f"{os.getpid()}-{uuid.uuid4().hex}"

# They serve the whole test process: the standard library starts them at first use, and they end with the process.
_STDLIB_SERVANTS = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")

# Signals that a program, a server or an event loop may handle in its main thread; SIGALRM is the tests' time limit.
_HANDLED = tuple(getattr(signal, f"SIG{name}") for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "CHLD"))


def mark_this_run() -> None:
    """Put the mark into the environment, where every process started from here on inherits it."""
    os.environ[MARK] = _run


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    state: str

    def __str__(self) -> str:
        return f"process {self.pid} (state {self.state}, parent {self.parent}): {_command(self.pid)}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    # Only their ids: reading the details of all processes twice in each test took a tenth of the whole run.
    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    files: dict[int, str]
    memory: Counter[str]
    temporary: frozenset[str]
    handlers: tuple[object, ...]

    @classmethod
    def take(cls) -> Snapshot:
        return cls(
            frozenset(_all_processes()),
            frozenset(threading.enumerate()),
            _open_files(),
            _memory_files(),
            frozenset(_temporary()),
            tuple(map(signal.getsignal, _HANDLED)),
        )


def left_behind(before: Snapshot, settle: float | None = None) -> list[str]:
    """Name leftovers since the snapshot; they have ``settle`` seconds (`SETTLE`) to disappear."""
    return look(before, settle)[0]


def look(before: Snapshot, settle: float | None = None) -> tuple[list[str], Snapshot]:
    """Do the same as `left_behind`; also return a new snapshot."""
    leaks, now = _difference(before)
    deadline = time.monotonic() + (SETTLE if settle is None else settle)
    pause, is_last = 0.001, False
    while leaks and not is_last:
        if pause == COLLECTS:  # not at once: most leftovers are ending threads, and a large heap takes long
            gc.collect()
        is_last = time.monotonic() >= deadline
        time.sleep(0 if is_last else pause)
        pause = min(pause * 2, 0.128)
        leaks, now = _difference(before)
    return leaks, now


def clean_up(before: Snapshot) -> None:
    """End everything that a failed test left running, and remove its signal handlers, before the next test."""
    for number, handler in zip(_HANDLED, before.handlers, strict=True):
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)
    for process in _new_processes(before, _all_processes()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        if process.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, 0)


def _difference(before: Snapshot) -> tuple[list[str], Snapshot]:
    drop_spares()  # a pool that several tests share keeps some of the memory files that it has sent
    now = Snapshot.take()
    leaks = [str(process) for process in _new_processes(before, now.processes)]
    leaks += [
        f"thread {thread.name!r} ({'daemon' if thread.daemon else 'not daemon'})"
        for thread in now.threads - before.threads
    ]
    numbers = {target: fd for fd, target in now.files.items()}
    leaks += [
        f"open file {numbers[target]} -> {described}" + (f" ({count} more than before)" if count > 1 else "")
        for target, count in (Counter(now.files.values()) - Counter(before.files.values())).items()
        if (described := _described(target)) is not None
    ]
    leaks += [f"mapped memory file {name}" for name in now.memory - before.memory]
    leaks += [f"temporary file {path}" for path in now.temporary - before.temporary]
    leaks += [
        f"handler of {number.name}: {handler}"
        for number, handler, earlier in zip(_HANDLED, now.handlers, before.handlers, strict=True)
        if handler != earlier
    ]
    return leaks, now


# -- processes ---------------------------------------------------------------------------------------------------------


def _all_processes() -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def _process(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name is in brackets, and may itself contain brackets and spaces.
    state, parent, *_ = stat[stat.rindex(")") + 2 :].split()
    return Process(pid, int(parent), state)


def _new_processes(before: Snapshot, now: Iterable[int]) -> list[Process]:
    found = [_process(pid) for pid in now if pid not in before.processes]
    return [process for process in found if process is not None and _is_ours(process)]


def _is_ours(process: Process) -> bool:
    if process.pid == os.getpid():
        return False
    if process.parent != os.getpid() and f"{MARK}={_run}".encode() not in _read(process.pid, "environ").split(b"\0"):
        return False
    return not any(servant in _read(process.pid, "cmdline") for servant in _STDLIB_SERVANTS)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _command(pid: int) -> str:
    command = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return command[:200] or "(ended, nobody waited for it)"


# -- files -------------------------------------------------------------------------------------------------------------


def _open_files() -> dict[int, str]:
    files = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    servants = {
        getattr(multiprocessing.resource_tracker._resource_tracker, "_fd", None),
        getattr(multiprocessing.forkserver._forkserver, "_forkserver_alive_fd", None),
    }
    return {fd: target for fd, target in files.items() if fd not in servants and not _belongs_to_grpc(target)}


_OF_UUIDS = "/var/lib/libuuid/clock.txt"
"""libuuid, which `uuid.uuid1` uses where it can, opens it at its first use."""


def _described(target: str) -> str | None:
    """
    Add the kernel's data to the name of a socket.

    :return: None for a socket that grpc closes when it polls next, and for a file that is never closed
    """
    if target == _OF_UUIDS:
        return None
    if not target.startswith("socket:["):
        return target
    inode = target[len("socket:[") : -1]
    for kind in ("unix", "tcp", "tcp6", "udp", "udp6", "netlink"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{kind}").read_text().splitlines():
                fields = line.split()
                if inode in fields:
                    is_left = kind.startswith("tcp") and fields[3] == _CLOSED_BY_PEER and "grpc" in sys.modules
                    return None if is_left else f"{target} ({kind}: {' '.join(fields)})"
    # It was refused while the channel was closed: without its own threads, grpc has not polled it since.
    return None if "grpc" in sys.modules else target


def _belongs_to_grpc(target: str) -> bool:
    """Return whether grpc may have opened it for the lifetime of the process, if grpc is imported."""
    return "grpc" in sys.modules and target.startswith("anon_inode:")


def _memory_files() -> Counter[str]:
    try:
        maps = Path("/proc/self/maps").read_bytes()
    except OSError:
        return Counter()
    marked = f"/memfd:{PREFIX}".encode()
    if marked not in maps:
        return Counter()
    return Counter(line.split(maxsplit=5)[-1].decode() for line in maps.splitlines() if marked in line)


def _temporary() -> list[str]:
    return [
        f"{folder}/{name}"
        for folder in {tempfile.gettempdir(), "/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "")}
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if name.lstrip(".").startswith(PREFIX)
    ]
