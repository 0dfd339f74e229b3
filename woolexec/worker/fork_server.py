"""
The fork server: one fresh, single-threaded interpreter from which workers are forked.

::

    engine --- spawn, kill ---> fork server --- fork ---> worker
           <-- forked, exited ---                            |
           <============= frames, on a socketpair ==========>

It holds the worker's modules and no user code, so a fork takes a millisecond and inherits no thread, lock, socket or
file.  It is the parent of all workers: it alone signals and reaps them, so a signal never reaches a process id that has
been reused.  When the engine is gone it gives the workers a moment to end, then kills those that are left, and exits;
if it is itself killed, the kernel kills them (`_hold`).

The code that runs before a first result imports `_signal`, `_socket` and `_pickle`, on which the modules without the
underscore are built: those import `enum`, `re` and `selectors`, a quarter of the time until the first result.

For the same reason the cyclic garbage collector is off until everything is imported: it takes an eighth of the imports.

Records are 16 bytes: operation, worker, value.  Descriptors are sent with them as ancillary data.
"""

from __future__ import annotations

import array
import gc
import os
import select
import sys
from time import monotonic

from woolexec.worker import import_hooks, settings
from woolexec.worker import process as worker_main
from woolexec.worker.import_path import follow_path
from woolexec.worker.records import CONFIGURE, EXITED, FAILED, FORKED, KILL, RECORD, SPAWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    import signal
    import socket
    from typing import Any
else:
    import _pickle as pickle
    import _signal as signal
    import _socket as socket

LEAVING = worker_main.LEAVING + 0.25
"""Seconds that workers have to end after the engine is gone."""

_KEPT = 1 << 20
"""Bytes; larger than any payload that is not sent as a separate file."""


def main(control_fd: int) -> None:
    """Serve the engine at the other end of this socket until it is gone."""
    for fd in (0, 1, 2):  # missing in the caller; else the next files to be opened would get these numbers
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    _configure(control)
    woken, wake = os.pipe()
    for fd in (woken, wake):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _keep_memory()
    gc.freeze()  # a collection in a worker would copy every page that it visits
    gc.enable()
    lifeline, held = os.pipe()
    workers: dict[int, int] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    try:
        while True:
            for fd, _ in poll.poll():
                if fd == woken:
                    _drain(woken)
                    _reap(control, workers)
                elif not _obey(control, workers, lifeline, (woken, wake, held)):
                    _see_off(control, workers, woken)
                    return
    finally:
        for pid in workers.values():
            _kill_group(pid, signal.SIGKILL)
        os._exit(0)


def _keep_memory() -> None:
    """
    Make glibc keep the memory of payloads for later ones: by default it returns the top of its heap above 128 KiB.

    When the first large block is freed it raises that threshold to twice the block's size, and workers inherit this.
    Fresh pages for each payload of 64 KiB cost a tenth of the throughput.
    """
    bytearray(_KEPT)


def _see_off(control: socket.socket, workers: dict[int, int], woken: int) -> None:
    """Give the workers time, for at most `LEAVING` seconds, to end after the engine is gone."""
    for pid in workers.values():
        _kill_group(pid, signal.SIGURG)  # makes a worker read whose main thread is busy
    deadline = monotonic() + LEAVING
    while workers and (left := deadline - monotonic()) > 0:
        if select.select([woken], [], [], left)[0]:
            _drain(woken)
            _reap(control, workers)


def _configure(control: socket.socket) -> None:
    size = RECORD.unpack(_read(control, RECORD.size))[2]
    config: dict[str, Any] = pickle.loads(_read(control, size))  # from our own parent, and made of builtins only
    follow_path(config["path"])
    sys.argv[:] = config["argv"]
    sys.modules["__main__"] = type(sys)("__main__")  # functions of the caller's __main__ are pickled by value
    import_hooks.when_imported("multiprocessing.shared_memory", _leave_blocks)


def _leave_blocks(shared_memory: Any) -> None:
    """
    Keep a worker from unlinking shared memory blocks at its end.

    The resource tracker of a process unlinks the blocks that the process has opened when the process ends.  The
    standard library's workers share the caller's tracker, so blocks outlive them there; they do here too: the process
    that created a block calls `unlink`.
    """
    shared_memory.resource_tracker = _Untracked


class _Untracked:
    """Replaces `multiprocessing.resource_tracker`."""

    @staticmethod
    def register(name: str, rtype: str) -> None:
        """Do nothing."""

    unregister = register


def _read(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def _obey(control: socket.socket, workers: dict[int, int], lifeline: int, inner: tuple[int, ...]) -> bool:
    """Carry out one record; return False at the end of the connection."""
    data, ancillary, _, _ = control.recvmsg(RECORD.size, socket.CMSG_SPACE(32))
    if not data:
        return False
    while len(data) < RECORD.size:
        data += _read(control, RECORD.size - len(data))
    operation, worker, value = RECORD.unpack(data)
    if operation == CONFIGURE:
        global _settings  # for workers that are forked from now on
        _settings = _read(control, value)
    elif operation == SPAWN:
        fds = [fd for _, _, packed in ancillary for fd in array.array("i", packed)]
        try:
            pid = os.fork()
        except OSError as exc:
            control.sendall(RECORD.pack(FAILED, worker, exc.errno or 0))
        else:
            if pid == 0:
                _become_worker(control, worker, fds, lifeline, inner)
            workers[worker] = pid
            control.sendall(RECORD.pack(FORKED, worker, pid))
        finally:
            for fd in fds:
                os.close(fd)
    elif operation == KILL and worker in workers:
        _kill_group(workers[worker], value)
    return True


_settings = b""


def _become_worker(control: socket.socket, number: int, fds: list[int], lifeline: int, inner: tuple[int, ...]) -> None:
    """Run the worker in this process; never return."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        for fd in inner:
            os.close(fd)
        os.setpgid(0, 0)
        sock_fd, descriptors_fd, page_fd = fds
        held = _hold(lifeline)
        os.close(lifeline)
        sock, descriptors = socket.socket(fileno=sock_fd), socket.socket(fileno=descriptors_fd)
        settings.apply(pickle.loads(_settings), number, held)
        worker_main.main(sock, descriptors, page_fd)
    finally:
        os._exit(1)


def _hold(lifeline: int) -> int:
    """
    Ask the kernel to kill this worker's process group when the other end of the lifeline closes, with the fork server.

    This works whatever the worker does, also in C code that keeps the GIL, and reaches its children.  The pipe is
    opened again through /proc, which gives each worker a separate owner setting.  On systems other than Linux a worker
    ends when it next reads its socket, or when the fork server finds that the engine is gone.

    :return: a descriptor that becomes readable when the other end has closed; -1 if the system has no such thing
    """
    if not sys.platform.startswith("linux"):
        return -1
    import fcntl

    set_signal = 10  # F_SETSIG of <fcntl.h>; Python has no name for it
    try:
        fd = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(fd, set_signal, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:  # no /proc
        return -1
    if select.select([fd], [], [], 0)[0]:  # it closed before the signal was set up
        os._exit(1)
    return fd


def _reap(control: socket.socket, workers: dict[int, int]) -> None:
    """Report workers that have ended, and kill the rest of their process groups."""
    for worker, pid in list(workers.items()):
        if hasattr(os, "waitid"):  # without reaping, so that the id cannot be reused before its group is killed
            try:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    continue
            except ChildProcessError:
                pass
            _kill_group(pid, signal.SIGKILL)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            del workers[worker]
            try:
                control.sendall(RECORD.pack(EXITED, worker, os.waitstatus_to_exitcode(status)))
            except OSError:  # the engine is gone
                pass


def _kill_group(pid: int, number: int) -> None:
    for kill in (os.killpg, os.kill):  # the group may not exist yet
        try:
            kill(pid, number)
            return
        except (ProcessLookupError, PermissionError):
            continue


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
