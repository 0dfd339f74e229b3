"""The engine's end of the fork server: see `woolexec.worker.fork_server`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque

from woolexec.engine.settings import settings, settings_of_process
from woolexec.imported import imported
from woolexec.platform.ipc import send_with_fds, socketpair
from woolexec.platform.posix import CLOSE_OTHERS, CONTROL_FD, SIGKILL, kill, reap, resource_limits, spawn
from woolexec.wire import unpickling
from woolexec.worker.records import CONFIGURE, DUMP, KILL, RECORD, SPAWN, STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any
else:  # faster to import, as in `worker/fork_server.py`
    import _pickle as pickle

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""Environment variables that set the size of libraries' thread pools, so that a worker uses its share of processors."""

_CLOSE_LOOKS = 1000

_HANDED_ON = (
    "debug",
    "optimize",
    "dont_write_bytecode",
    "no_site",
    "verbose",
    "bytes_warning",
    "quiet",
    "isolated",
    "ignore_environment",
    "no_user_site",
    "safe_path",
    "dev_mode",
)
"""Flags of `sys.flags` that can be set on the command line."""


_SLOW_MODULES = ("asyncio", "dataclasses", "datetime", "json", "logging", "pathlib", "random", "subprocess", "typing")
"""Modules of the standard library that many programs use and that take milliseconds to import; none of them starts a
thread, opens a file or keeps a state that workers must not share."""


def _shared_modules() -> list[str]:
    """Return those that this program has imported from the standard library: its tasks are likely to use them."""
    folder = os.path.dirname(os.__file__) + os.sep
    return [name for name in _SLOW_MODULES if (getattr(imported(name), "__file__", None) or "").startswith(folder)]


class ForkServer:
    """
    A running fork server process.

    :param threads: value of the thread-pool variables in workers
    :param variables: environment variables for the workers, in addition to those of this process
    :param is_peer: this process is a peer: processes that workers leave behind, such as daemons, are ended with them,
        and workers do not start with the settings of the program here
    :raises OSError: if it cannot be started
    """

    def __init__(self, threads: int, variables: Mapping[str, str] | None = None, *, is_peer: bool = False) -> None:
        ours, theirs = socketpair()
        self.answers = False  # whether its interpreter has run the code below
        self._settings = b""  # the settings that were last sent to it
        self._unread = bytearray()  # a part of a record
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()  # records that it was too slow to read
        self.socket = ours
        try:
            self.pid = _start(theirs.fileno(), {name: str(threads) for name in THREAD_VARIABLES}, variables or {})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.path = import_path()
        self._is_peer = is_peer
        self._limits = resource_limits()
        config = pickle.dumps(
            {
                "path": self.path,
                "argv": [arg for arg in getattr(sys, "argv", [""]) if isinstance(arg, str)],
                "adopts": is_peer,
                "level": unpickling.level + 1,
                "modules": _shared_modules(),
            }
        )
        try:
            ours.sendall(RECORD.pack(CONFIGURE, 0, len(config)) + config)
        except BrokenPipeError:
            self.close()
            raise OSError(f"{interpreter()} exited as soon as it was started") from None
        ours.setblocking(False)
        key = _authentication_key()
        self._key = {} if key is None else {"authkey": key}

    def spawn(self, worker: int, fds: Sequence[int], of_user: Mapping[str, Any] | None = None) -> None:
        """
        Request a worker with these descriptors: a socket for frames, one for descriptors, the shared page, and the
        pipes for its output, if there are any.

        :param of_user: settings that were collected earlier
        :raises OSError: if the fork server is gone
        """
        found = pickle.dumps({**self._changed_settings(), **(of_user or {}), **self._key})
        if found != self._settings:
            self._settings = found
            self._send(RECORD.pack(CONFIGURE, 0, len(found)) + found)
        self._send(RECORD.pack(SPAWN, worker, 0), fds)

    def _changed_settings(self) -> dict[str, Any]:
        found = settings_of_process() if self._is_peer else settings()
        if found.get("limits") == self._limits:  # workers inherit these from the fork server
            found.pop("limits", None)
        return found

    def kill(self, worker: int, number: int) -> None:
        """Send a signal to a worker's process group; do nothing if it has ended."""
        with contextlib.suppress(OSError):
            self._send(RECORD.pack(KILL, worker, number))

    def _send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """
        Send a record, or keep it for `flush`; the engine does not wait for the fork server.

        :raises OSError: if the fork server is gone, or no descriptor is left to keep these
        """
        rest = memoryview(data)
        if not self._unsent:
            try:
                rest = rest[self._write(rest, fds) :]
            except BlockingIOError:
                pass
            else:
                fds = ()
        if rest:
            kept: list[int] = []
            try:
                kept.extend(map(os.dup, fds))
            except OSError:
                _close_all(kept)
                raise
            self._unsent.append((rest, kept))

    def _write(self, data: memoryview, fds: Sequence[int]) -> int:
        return send_with_fds(self.socket, data, fds) if fds else self.socket.send(data)

    def flush(self) -> bool:
        """Send as much as possible of what was kept; return True if nothing is left."""
        try:
            while self._unsent:
                rest, fds = self._unsent[0]
                rest = rest[self._write(rest, fds) :]
                _close_all(fds)
                if rest:
                    self._unsent[0] = rest, []
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            return False
        except OSError:  # it is gone, as the next read will show
            self._drop_unsent()
        return True

    def _drop_unsent(self) -> None:
        while self._unsent:
            _close_all(self._unsent.popleft()[1])

    def dump(self, worker: int, thread: int) -> None:
        """Make a worker dump the stack of a thread, 0 for its main thread; do nothing if it has ended."""
        with contextlib.suppress(OSError):
            self._send(RECORD.pack(DUMP, worker, thread))

    def reports(self) -> Iterator[tuple[int, int, int]]:
        """
        Read its reports, as tuples (operation, worker, value).

        :raises EOFError: if the fork server is gone
        """
        try:
            data = self.socket.recv(RECORD.size * 64)
        except BlockingIOError:
            return
        except OSError as exc:
            raise EOFError from exc
        if not data:
            raise EOFError
        self._unread += data
        self.answers = True
        whole = len(self._unread) // RECORD.size * RECORD.size
        records = bytes(self._unread[:whole])
        del self._unread[:whole]
        yield from (record for record in RECORD.iter_unpack(records) if record[0] != STARTED)

    def close(self) -> None:
        """End the fork server and all its workers."""
        self._drop_unsent()
        self.socket.close()
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            for _ in range(_CLOSE_LOOKS):
                if reap(self.pid) is not None:
                    return
                time.sleep(0.002)
            kill(self.pid, SIGKILL)
            reap(self.pid, wait=True)

    def forget(self) -> None:
        """Close the descriptors in a forked child, which must not end its parent's fork server."""
        self._drop_unsent()
        with contextlib.suppress(OSError):
            self.socket.close()


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _start(fd: int, defaults: Mapping[str, str], variables: Mapping[str, str]) -> int:
    """Start the interpreter with its control socket; it closes all other descriptors of the caller."""
    program = interpreter()
    if not program:
        raise OSError(f"sys.executable is not set; {SAY_WHICH}")
    environment = {**defaults, **os.environ, **variables}
    if getattr(sys, "frozen", False) and program == sys.executable:
        from woolexec.worker import frozen

        if not frozen.is_ready:
            raise OSError(f"a frozen program must call woolexec.freeze_support() first; or {SAY_WHICH}")
        return spawn(program, [program, frozen.FORK_SERVER], environment, fd)
    flags = _interpreter_flags()
    try:
        os.getcwd()
    except OSError:  # it is gone; Python 3.13.0 fails at that unless told with -P not to look there
        flags = [*flags, "-P"]
    path = import_path()
    code = (
        f"import gc, os, sys; gc.disable(); {CLOSE_OTHERS}\n"
        f"try: os.write({CONTROL_FD}, {RECORD.pack(STARTED, 0, 0)!r})\n"
        "except OSError: os._exit(0)\n"  # the caller is gone: there is no one to report to
        f"sys.path[:] = {path!r}; from woolexec.worker.fork_server import main; main({CONTROL_FD})"
    )
    return spawn(program, [program, *flags, "-c", code], environment, fd)


_DEEPEST = 10
"""Number of pools, each in a worker of another one, in which no other pool can be used."""


def check_level() -> None:
    """
    Check that this process may have workers.

    A module that uses a pool while it is imported, with functions of its own, does so again in the worker that imports
    it for them.

    :raises RuntimeError: if it is a worker of too many pools
    """
    if unpickling.level >= _DEEPEST:
        raise RuntimeError(
            f"this is a worker in {unpickling.level} pools, each in a worker of another one: a module that uses a pool "
            "while it is imported does so in its workers too; use the pool in a function"
        )


SAY_WHICH = "choose the Python to use with multiprocessing.set_executable(path)"


def interpreter() -> str:
    """Return the program that workers are started with: the one set in multiprocessing, otherwise this interpreter."""
    spawn = imported("multiprocessing.spawn")
    program = sys.executable if spawn is None else spawn.get_executable()
    return os.fsdecode(program) if program else ""


def _interpreter_flags() -> list[str]:
    """Return the options that this interpreter was started with, in the form in which `multiprocessing` passes them."""
    flags = sys.flags
    if not (sys.warnoptions or sys._xoptions or any(getattr(flags, name) for name in _HANDED_ON)):
        return []  # the usual case: importing `subprocess` takes a tenth of the time until the first result
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    return _args_from_interpreter_flags()  # type: ignore[no-any-return]


_path: tuple[tuple[Any, ...], list[str]] = (), []
"""The last import path seen, and the absolute path made from it."""


def import_path() -> list[str]:
    """Return the caller's import path, made independent of the working directory."""
    global _path  # a cache: this is called for each function that is sent to a worker
    is_relative = any(isinstance(entry, str) and not entry.startswith("/") for entry in sys.path)
    seen = (*sys.path, _working_directory() if is_relative else None)
    if _path[0] != seen:
        _path = seen, _absolute_path()
    return _path[1]


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""


def _absolute_path() -> list[str]:
    path = []
    for entry in sys.path:
        if isinstance(entry, str):
            try:
                path.append(os.path.abspath(entry))
            except OSError:  # the working directory is gone, so relative entries are useless
                continue
    return path


def _authentication_key() -> bytes | None:
    """Return the authentication key of `multiprocessing`, with which tasks can use the caller's managers."""
    try:  # done while the fork server starts; a program that imports it later finds the same key in its tasks
        from multiprocessing.process import current_process
    except (ImportError, SystemError):  # a Python without it, or 3.13.0 where the working directory is gone
        return None
    return bytes(current_process().authkey)
