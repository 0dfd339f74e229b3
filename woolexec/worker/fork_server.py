"""
The fork server: one fresh, single-threaded interpreter from which workers are forked.

::

    engine --- spawn, kill ---> fork server --- fork ---> worker
           <-- forked, exited ---                            |
           <============= frames, on a socketpair ==========>

It holds the worker's modules and no user code, so a fork takes a millisecond and inherits no thread, lock, socket or
file.  Before it forks a third worker, or at a peer while it is idle, it imports modules of the standard library that
tasks are likely to use: otherwise each worker would spend 50 ms on `asyncio` alone.

It is the parent of all workers, and the only process that signals and reaps them, so a signal never reaches a reused
process id.  At a peer it also ends the processes that a worker leaves behind, daemons included: it adopts the worker's
descendants.  When the engine is gone, it gives the workers a moment to end, then kills the remaining ones, and exits;
if it is itself killed, the kernel kills them (`end_with`).

The code that runs before a first result uses `_signal`, `_socket` and `_pickle`, on which the modules without the
underscore are built: those import `enum`, `re` and `selectors`, a quarter of the time until the first result.

For the same reason the cyclic garbage collector is off until everything is imported: it takes an eighth of the imports.

Records are 16 bytes: operation, worker, value.  Descriptors are sent with them as ancillary data.  Neither end waits
for the other one to read: with hundreds of workers that start or end at once, each would wait for the other.
"""

from __future__ import annotations

import gc
import os
import sys
from time import monotonic

from woolexec.platform import terminal
from woolexec.platform.ipc import (
    DONT_WAIT,
    READABLE,
    WRITABLE,
    can_read,
    drain,
    pipe,
    poll,
    receive_with_fds,
    socket_of,
    wake_pipe,
)
from woolexec.platform.posix import (
    SIGKILL,
    SIGURG,
    adopt_orphans,
    end_first,
    end_with,
    forget_children,
    fork,
    kill_children_but,
    kill_group,
    lead_group,
    reap_group,
    wake_on_child,
)
from woolexec.platform.stack_dump import send_dump_signal
from woolexec.wire import unpickling
from woolexec.wire.payload import lenders
from woolexec.worker import import_hooks, settings
from woolexec.worker import process as worker_main
from woolexec.worker.import_path import follow_path
from woolexec.worker.records import CONFIGURE, DUMP, EXITED, FAILED, FORKED, KILL, RECORD, SPAWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    import socket
    from collections.abc import Sequence
    from typing import Any
else:
    import _pickle as pickle

LEAVING = worker_main.LEAVING + 0.25
"""Seconds for workers to end after the engine is gone."""

_FEW = 2
"""Number of workers that are forked before it imports further modules: these workers start first, and may be all."""

_IDLE = 200
"""Milliseconds without a request after which it imports the next module, at a peer."""

_ENDING, _LOOK = 1.0, 0.002
"""Seconds for killed children to end before it exits, and seconds between two checks."""

_FDS = 5
"""Maximum number of descriptors of a worker: its sockets for frames and for descriptors, its shared page, and the pipes
for its output, if the engine wants it."""

_KEPT = 1 << 20
"""Bytes; larger than any payload that is not sent as a separate file."""


def main(control_fd: int) -> None:
    """Serve the engine at the other end of this socket until it is gone."""
    for fd in (0, 1, 2):  # missing in the caller; otherwise the next opened files would get these numbers
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    control = socket_of(control_fd)
    os.set_inheritable(control_fd, False)
    _configure(control)
    woken, wake = wake_pipe()
    wake_on_child(wake)
    _keep_memory()
    gc.freeze()  # a collection in a worker would copy every page that it visits
    gc.enable()
    lifeline, held = pipe()
    workers: dict[int, int] = {}
    readable = poll()
    readable.register(control, READABLE)
    readable.register(woken, READABLE)
    try:
        while True:
            events = readable.poll(_IDLE if _adopts and _unloaded else None)
            if not events:
                _load_next()
            for fd, event in events:
                if fd == woken:
                    drain(woken)
                    _reap(control, workers)
                elif event & ~WRITABLE and not _obey(control, workers, lifeline, (woken, wake, held)):
                    _see_off(control, workers, woken)
                    return
            if _unsent:
                _report(control)
            readable.modify(control, READABLE | WRITABLE if _unsent else READABLE)
    finally:
        for pid in workers.values():
            kill_group(pid, SIGKILL)
        deadline = monotonic() + _ENDING
        while _adopts and kill_children_but(()) and monotonic() < deadline:
            can_read(woken, _LOOK)
        os._exit(0)


def _keep_memory() -> None:
    """
    Make glibc keep the memory of payloads for later ones: by default it returns the top of its heap above 128 KiB.

    When the first large block is freed it raises that threshold to twice the block's size, and workers inherit this.
    Fresh pages for each payload of 64 KiB cost a tenth of the throughput.
    """
    bytes(_KEPT)  # zeros of the kernel: unlike a bytearray it touches no page


def _see_off(control: socket.socket, workers: dict[int, int], woken: int) -> None:
    """Give the workers time, for at most `LEAVING` seconds, to end after the engine is gone."""
    for pid in workers.values():
        kill_group(pid, SIGURG)  # makes a worker read whose main thread is busy
    deadline = monotonic() + LEAVING
    while workers and (left := deadline - monotonic()) > 0:
        if can_read(woken, left):
            drain(woken)
            _reap(control, workers)


def _configure(control: socket.socket) -> None:
    size = RECORD.unpack(_read(control, RECORD.size))[2]
    config: dict[str, Any] = pickle.loads(_read(control, size))  # from the parent process, and only of builtins
    global _adopts
    _adopts = config["adopts"] and adopt_orphans()
    unpickling.level = config["level"]
    _unloaded.extend(config["modules"])
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
        try:
            part = control.recv(size - len(data))
        except ConnectionResetError:  # as below
            part = b""
        if not part:
            os._exit(0)
        data += part
    return data


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    try:
        return receive_with_fds(control, RECORD.size, _FDS)[:2]
    except ConnectionResetError:  # the engine is gone, and has not read all that it was told
        return b"", []


def _obey(control: socket.socket, workers: dict[int, int], lifeline: int, inner: tuple[int, ...]) -> bool:
    """Carry out one record; return False at the end of the connection."""
    data, fds = _receive(control)
    if not data:
        return False
    while len(data) < RECORD.size:
        data += _read(control, RECORD.size - len(data))
    operation, worker, value = RECORD.unpack(data)
    if operation == CONFIGURE:
        global _settings  # for workers that are forked from now on
        _settings = _read(control, value)
    elif operation == SPAWN:
        while _unloaded and len(workers) >= _FEW:
            _load_next()
        try:
            pid = fork()
        except OSError as exc:
            _report(control, RECORD.pack(FAILED, worker, exc.errno or 0))
        else:
            if pid == 0:
                _become_worker(control, worker, fds, lifeline, inner)
            workers[worker] = pid
            _report(control, RECORD.pack(FORKED, worker, pid))
        finally:
            for fd in fds:
                os.close(fd)
    elif operation == KILL and worker in workers:
        kill_group(workers[worker], value)
    elif operation == DUMP and worker in workers:
        send_dump_signal(workers[worker], value)
    return True


def _load_next() -> None:
    """Import one module of the standard library, only from its own folder: no file of the user may shadow it."""
    name = _unloaded.pop(0)
    folder = os.path.dirname(os.__file__)
    path, sys.path[:] = sys.path[:], [folder, os.path.join(folder, "lib-dynload")]
    try:
        __import__(name)
    except Exception:  # the tasks that need it will get the error
        pass
    finally:
        sys.path[:] = path
    gc.freeze()


_unloaded: list[str] = []
"""Modules of the standard library that will be imported when there is time."""

_terminal = os.environ.get(terminal.VARIABLE, "")
"""The terminal that tasks may use."""

_settings = b""
_adopts = False
"""The caller is a peer: processes that a worker leaves behind end with it, even those outside its process group.  If
memory runs out, workers end, not the peer."""


def _become_worker(
    control: socket.socket, number: int, fds: Sequence[int], lifeline: int, inner: tuple[int, ...]
) -> None:
    """Run the worker in this process; never return."""
    try:
        forget_children()
        control.close()
        for fd in inner:
            os.close(fd)
        lead_group()
        if _adopts:  # so that it keeps its descendants until it ends
            adopt_orphans()
            end_first()
        else:
            lenders.add(number)
        sock_fd, descriptors_fd, page_fd, *pipes = fds
        held = end_with(lifeline)
        os.close(lifeline)
        if pipes:
            from woolexec.worker import output

            output.attach(pipes[0], pipes[1])
        settings.apply(pickle.loads(_settings), number, held)
        worker_main.main(socket_of(sock_fd), socket_of(descriptors_fd), page_fd)
    finally:
        os._exit(1)


def _reap(control: socket.socket, workers: dict[int, int]) -> None:
    """Report workers that have ended, and kill the rest of their process groups."""
    for worker, pid in list(workers.items()):
        exitcode = reap_group(pid)
        if exitcode is not None:
            del workers[worker]
            if _terminal:
                terminal.give_back(_terminal, pid)
            _report(control, RECORD.pack(EXITED, worker, exitcode))
    if _adopts:
        kill_children_but(workers.values())


def _report(control: socket.socket, record: bytes = b"") -> None:
    """Send a record, and earlier unsent ones, as far as possible without waiting."""
    _unsent.extend(record)
    try:
        del _unsent[: control.send(_unsent, DONT_WAIT)]
    except BlockingIOError:
        pass
    except OSError:  # the engine is gone
        _unsent.clear()


_unsent = bytearray()
"""Records that the engine was too slow to read."""


if __name__ == "__main__":
    main(int(sys.argv[1]))
