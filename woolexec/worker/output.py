"""
The output of a worker, sent to the engine on request: `sys.stdout`, `sys.stderr` and their descriptors.

::

    print ---> line by line ---> records --.
    C code, other processes ---------------+--> pipes, read by the engine

A task does not depend on how fast the pipe is read: if a pipe is full for `_PATIENCE` seconds, output is dropped and
counted until there is room again.  C code and other processes wait while a pipe is full, as usual; the engine always
reads.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from threading import get_ident

from woolexec.platform.ipc import can_write
from woolexec.wire.printed import LONGEST, STDERR, STDOUT, end_of_lines, lost_record, record
from woolexec.worker import job as jobs
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 0.1
"""Seconds that a task waits for room in the pipe; it does not wait if the previous attempt found no room."""

_LINE_BUFFERED = 1
"""_IOLBF of <stdio.h>."""

_LINE = 8192
"""Minimum size, in bytes, at which an incomplete line is passed on."""


class Printer:
    """
    Sends the output of tasks in whole lines: lines of different tasks and threads are never mixed.

    There is no lock: each thread has its own lines, and each write is short enough to be atomic on a pipe.

    :param fd: the pipe
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun: dict[tuple[int, int, int], bytes] = {}  # lines that have not ended: by call, thread and stream
        self._lost = 0
        self._is_full = False

    def write(self, stream: int, text: bytes) -> None:
        """Send the lines that are complete with this text."""
        job = nested_tasks.current_job()
        key = 0 if job is None else job.number, get_ident(), stream
        text = self._begun.pop(key, b"") + text
        end = end_of_lines(text)
        if len(text) - end > _LINE:
            end = len(text)
        if end < len(text):
            self._begun[key] = text[end:]
        if end:
            self._send(key, text[:end])

    def end(self, call: int) -> None:
        """Complete the lines of a call, which is about to send its outcome."""
        if self._begun:
            for key in [key for key in tuple(self._begun) if key[0] == call]:
                text = self._begun.pop(key, b"")
                self._send(key, text + b"\n")
        if self._lost:
            self._say_lost(call)

    def close(self) -> None:
        """Complete all lines, and report dropped output that was not reported yet, before the process ends."""
        for call in {0, *(key[0] for key in tuple(self._begun))}:
            self.end(call)

    def _send(self, key: tuple[int, int, int], text: bytes) -> None:
        call, writer, stream = key
        for start in range(0, len(text), LONGEST):
            end = start + LONGEST
            self._put(call, record(call, writer, stream, text[start:end], goes_on=end < len(text)))

    def _put(self, call: int, data: bytes) -> None:
        if self._lost:
            self._say_lost(call)
        if self._lost or not self._has_room():
            self._lost += len(data)
        else:
            self._write(data)

    def _say_lost(self, call: int) -> None:
        """Report how many bytes were dropped, if there is room for that."""
        if self._has_room():
            lost, self._lost = self._lost, 0
            self._write(lost_record(call, lost))

    def _has_room(self) -> bool:
        if not can_write(self._fd, 0) and (self._is_full or not can_write(self._fd, _PATIENCE)):
            self._is_full = True
            return False
        self._is_full = False
        return True

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except OSError:  # the engine is gone
            pass


class Stream(io.RawIOBase):
    """The raw stream below `sys.stdout` or `sys.stderr`."""

    def __init__(self, printer: Printer, stream: int) -> None:
        self._printer, self._stream = printer, stream
        self.name = f"<{'stdout' if stream == STDOUT else 'stderr'}>"

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that other processes inherit."""
        return self._stream

    def write(self, data: Any) -> int:
        """Send this output to the engine."""
        text = bytes(data)
        self._printer.write(self._stream, text)
        return len(text)


def attach(stdout: int, stderr: int) -> None:
    """Redirect all output of this process to these pipes."""
    os.dup2(stdout, STDOUT)
    os.dup2(stderr, STDERR)
    os.close(stderr)
    printer = Printer(stdout)
    for name, stream in (("stdout", STDOUT), ("stderr", STDERR)):
        old = getattr(sys, f"__{name}__")
        if old is not None:
            old.reconfigure(line_buffering=True)  # it writes to the descriptor
        text = io.TextIOWrapper(
            Stream(printer, stream), encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        text.mode = "w"  # type: ignore[misc]  # as in the original stream
        setattr(sys, name, text)
    jobs.before_outcome = printer.end
    atexit.register(printer.close)
    _have_c_code_print_lines()


def _have_c_code_print_lines() -> None:
    """Make the C library write each line at once, as on a terminal; for a pipe it would buffer many lines."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(library, "__stdoutp" if sys.platform == "darwin" else "stdout")
        library.setvbuf(stdout, None, _LINE_BUFFERED, 0)
    except (ImportError, OSError, ValueError, AttributeError):  # a Python without it, or another library
        pass
