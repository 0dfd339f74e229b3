"""
The template: one fresh, single-threaded interpreter from which workers are forked.

::

    engine --- spawn, kill ---> template --- fork ---> worker
           <-- forked, exited ---                        |
           <=========== frames, on a socketpair ========>

It holds the worker's modules and nothing of the user's, so a fork takes a millisecond and inherits no thread, lock,
socket or file.  It is the parent of all workers: it alone signals and reaps them, so a signal never reaches a process
id that has been given to somebody else.  When the engine is gone it lets workers end for a moment, then ends what is
left of them, and itself; when it is itself killed the kernel kills them (`_hold`).

What is on its way to a first result imports `_signal`, `_socket` and `_pickle`, of which the modules without the
underscore are made: those load `enum`, `re` and `selectors`, a quarter of the time until that result is there.

For the same reason the collector of cyclic garbage is off until all is imported: that is an eighth of the imports.

Records are 16 bytes: operation, worker, value.  Descriptors travel beside them.
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
"""Seconds that workers have to end when the engine is gone."""

_KEPT = 1 << 20
"""Bytes: above the largest payload that does not travel as a file of its own."""


def main(control_fd: int) -> None:
    """Serve the engine at the other end of this socket, until it is gone."""
    for fd in (0, 1, 2):  # a caller without them; else the next file that is opened would be taken for them
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
    gc.freeze()  # a collection in a worker would copy every page it looks at
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
    Have glibc keep the memory of payloads for the next ones: by itself it gives the top of its heap back above 128 KiB.

    From the first large block that it is given back it learns to keep twice as much, and workers inherit that.  Fresh
    pages for each payload of 64 KiB cost a tenth of the throughput.
    """
    bytearray(_KEPT)


def _see_off(control: socket.socket, workers: dict[int, int], woken: int) -> None:
    """The engine is gone: let its workers end what can be ended, but not for long."""
    for pid in workers.values():
        _kill_group(pid, signal.SIGURG)  # one whose main thread is busy does not read otherwise
    deadline = monotonic() + LEAVING
    while workers and (left := deadline - monotonic()) > 0:
        if select.select([woken], [], [], left)[0]:
            _drain(woken)
            _reap(control, workers)


def _configure(control: socket.socket) -> None:
    size = RECORD.unpack(_read(control, RECORD.size))[2]
    config: dict[str, Any] = pickle.loads(_read(control, size))  # from our own parent, and of builtins alone
    follow_path(config["path"])
    sys.argv[:] = config["argv"]
    sys.modules["__main__"] = type(sys)("__main__")  # functions of the caller's __main__ travel by value
    import_hooks.when_imported("multiprocessing.shared_memory", _leave_blocks)


def _leave_blocks(shared_memory: Any) -> None:
    """
    Keep a worker from destroying blocks of shared memory at its end.

    A process that opens one has its resource tracker unlink it when that process ends.  The standard library's workers
    share the caller's tracker, so there a block lives on; here it does too: whoever made it calls `unlink`.
    """
    shared_memory.resource_tracker = _Untracked


class _Untracked:
    """Stands for `multiprocessing.resource_tracker`."""

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
    """Carry out one record; False if there will be no more."""
    data, ancillary, _, _ = control.recvmsg(RECORD.size, socket.CMSG_SPACE(32))
    if not data:
        return False
    while len(data) < RECORD.size:
        data += _read(control, RECORD.size - len(data))
    operation, worker, value = RECORD.unpack(data)
    if operation == CONFIGURE:
        global _settings  # of the workers that are forked from here on
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
    """Be a worker and never return."""
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
    Ask the kernel to kill this worker's process group when the other end of the lifeline closes: with the template.

    That holds whatever the worker does, also in C code that keeps the GIL, and reaches its children.  A pipe can be
    opened anew through /proc, which gives each worker an owner setting of its own.  Elsewhere than on Linux a worker
    ends when it next reads its socket, or when the template finds the engine gone.

    :return: what can be read when it has closed; -1 where there is no such thing
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
    if select.select([fd], [], [], 0)[0]:  # it closed before we held it
        os._exit(1)
    return fd


def _reap(control: socket.socket, workers: dict[int, int]) -> None:
    """Report workers that ended; what is left of their process groups ends with them."""
    for worker, pid in list(workers.items()):
        if hasattr(os, "waitid"):  # look first, so that the id cannot be given away before its group is killed
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
    for kill in (os.killpg, os.kill):  # the group may not have been made yet
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
