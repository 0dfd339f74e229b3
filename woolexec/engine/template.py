"""The engine's end of the template process: see `woolexec.worker.template`."""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from woolexec.imported import imported
from woolexec.worker.template import CONFIGURE, KILL, RECORD, SPAWN

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
"""Libraries that make a thread pool of their own size it by these; a worker has its share of the processors."""

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
"""Those of `sys.flags` that a command line can say."""


class Template:
    """
    A running template process.

    :raises OSError: if it cannot be started
    """

    def __init__(self, threads: int, variables: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair()
        self._unsent = bytearray()
        self.socket = ours
        try:
            self.pid = _start(theirs.fileno(), {name: str(threads) for name in THREAD_VARIABLES}, variables or {})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        config = pickle.dumps(
            {
                "path": _path(),
                "authkey": _authentication_key(),
                "argv": [arg for arg in getattr(sys, "argv", [""]) if isinstance(arg, str)],
                "recursion": sys.getrecursionlimit(),
                "levels": _logger_levels(),
            }
        )
        try:
            ours.sendall(RECORD.pack(CONFIGURE, 0, len(config)) + config)
        except BrokenPipeError:
            self.close()
            raise OSError(f"{sys.executable} ended at once") from None
        ours.setblocking(False)

    def spawn(self, worker: int, fds: Sequence[int]) -> None:
        """
        Ask for a worker that holds these descriptors: socket, page, crash file.

        :raises OSError: if the template is gone
        """
        packed = array.array("i", fds)
        self.socket.setblocking(True)  # a few bytes into an empty buffer
        try:
            self.socket.sendmsg([RECORD.pack(SPAWN, worker, 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
        finally:
            self.socket.setblocking(False)

    def kill(self, worker: int, number: int) -> None:
        """Send a signal to a worker's process group; nothing happens if it has ended."""
        with contextlib.suppress(OSError):
            self.socket.send(RECORD.pack(KILL, worker, number))

    def reports(self) -> Iterator[tuple[int, int, int]]:
        """
        Read what it has to say: (operation, worker, value).

        :raises EOFError: if it is gone
        """
        try:
            data = self.socket.recv(RECORD.size * 64)
        except BlockingIOError:
            return
        except OSError as exc:
            raise EOFError from exc
        if not data:
            raise EOFError
        self._unsent += data
        whole = len(self._unsent) // RECORD.size * RECORD.size
        records = bytes(self._unsent[:whole])
        del self._unsent[:whole]
        yield from RECORD.iter_unpack(records)

    def close(self) -> None:
        """End it, and all its workers with it."""
        self.socket.close()
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            for _ in range(_CLOSE_LOOKS):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.002)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def forget(self) -> None:
        """Close our ends in a forked child, which must not end what belongs to its parent."""
        with contextlib.suppress(OSError):
            self.socket.close()


def _start(fd: int, defaults: Mapping[str, str], variables: Mapping[str, str]) -> int:
    """Start the interpreter with descriptor 3 as its control socket; everything else of the caller's is closed."""
    if not sys.executable:
        raise OSError("sys.executable is not set")
    if getattr(sys, "frozen", False):  # it would start the application anew, which makes a pool, which starts ...
        raise OSError("a frozen application has no interpreter to start workers with")
    environment = {**defaults, **os.environ, **variables}
    flags = _interpreter_flags()
    try:
        os.getcwd()
    except OSError:  # it is gone; Python 3.13.0 stumbles over that, unless it is not to look there
        flags = [*flags, "-P"]
    path = _path()
    code = (
        "import gc, os, sys; gc.disable(); os.closerange(4, os.sysconf('SC_OPEN_MAX'));"
        f"sys.path[:] = {path!r}; from woolexec.worker.template import main; main(3)"
    )
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *flags, "-c", code],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, fd, 3),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE],
        )
    finally:
        os.close(null)


def _interpreter_flags() -> list[str]:
    """Return the options that this interpreter was started with, as `multiprocessing` hands them on."""
    flags = sys.flags
    if not (sys.warnoptions or sys._xoptions or any(getattr(flags, name) for name in _HANDED_ON)):
        return []  # the usual case: `subprocess` takes a tenth of the time until the first result to import
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    return _args_from_interpreter_flags()  # type: ignore[no-any-return]


def _path() -> list[str]:
    """Make the caller's import path independent of the working directory."""
    path = []
    for entry in sys.path:
        if isinstance(entry, str):
            try:
                path.append(os.path.abspath(entry))
            except OSError:  # the working directory is gone, and so is what is relative to it
                continue
    return path


def _authentication_key() -> bytes | None:
    """Return what `multiprocessing` signs its connections with, so that tasks can use the caller's managers."""
    try:  # while the template's interpreter starts; a program that loads it later finds the same key in its tasks
        from multiprocessing.process import current_process
    except ImportError:  # a Python without it
        return None
    return bytes(current_process().authkey)


def _logger_levels() -> dict[str, int]:
    logging = imported("logging")
    if logging is None:
        return {}
    levels = {"": logging.getLogger().level}
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        level = getattr(logger, "level", 0)
        if level:
            levels[name] = level
    return levels
