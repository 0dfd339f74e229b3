"""
A record of the tasks that a peer has run, and for which client, without their arguments and results.

Its size is bounded: when a file is full, it is renamed, and a new one is begun::

    FILE    FILE.1    FILE.2    FILE.3    FILE.4      the newest lines are in FILE, the oldest in FILE.4

Several peers may write to one file, and other programs may rename it.  Nothing waits here: the engine's thread writes.
What a pipe has no room for is lost, and a file that another process is renaming grows by a line.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any

from woolexec.platform.files import lock, open_to_append

LIMIT = 64 << 20
"""Default for the size of a file, in bytes."""

KEPT = 4
"""Number of full files that are kept."""

_TEXT_LIMIT = 300
"""Maximum length of each text, in characters: clients choose the names of tasks and hosts."""


class Audit:
    """
    A file with one JSON object per line for each task that has ended.

    :param path: the file to append to; created readable by its owner only if it does not exist
    :param limit: size in bytes at which a new file is begun
    :param clock: returns seconds since 1970
    :raises OSError: if it cannot be written to
    """

    def __init__(self, path: str, *, limit: int = LIMIT, clock: Callable[[], float] = time) -> None:
        self.clock = clock
        self._path = path
        self._limit = limit
        self._has_failed = False
        self._fd = self._open()

    def _open(self) -> int:
        return open_to_append(self._path, 0o600)

    def note(self, client: str, task: str, call: int, started: float | None, outcome: str, *, claims: str = "") -> None:
        """
        Record the end of a task.

        :param client: the proved identity of the client
        :param task: the name that the client gave it
        :param call: the client's number for it
        :param started: seconds since 1970; None: it was never started
        :param claims: the client's unproved description of itself
        """
        about: dict[str, Any] = {"client": client, "claims": _cut(claims), "task": _cut(task), "call": call}
        about |= {"started": _text(started), "ended": _text(self.clock()), "outcome": _cut(outcome)}
        line = json.dumps(about).encode() + b"\n"  # ASCII: all other characters, and those of control, are escaped
        try:
            self._make_room(len(line))
            os.write(self._fd, line)  # one write: lines of several peers do not mix
        except OSError as exc:  # for example a full disk: tasks continue
            if not self._has_failed:
                self._has_failed = True
                logging.getLogger("woolexec").warning("cannot write tasks to the audit log: %s", exc)

    def _make_room(self, size: int) -> None:
        """Begin a new file if this one is full, or is no longer the one at the path."""
        about = os.fstat(self._fd)
        if not stat.S_ISREG(about.st_mode):
            return
        if not self._is_at_path(about):
            self._reopen()
            about = os.fstat(self._fd)
        if not about.st_size or about.st_size + size <= self._limit:
            return
        if not lock(self._fd):
            return
        if self._is_at_path(about):  # otherwise another process has renamed it
            for number in range(KEPT, 0, -1):
                older = self._path if number == 1 else f"{self._path}.{number - 1}"
                if os.path.lexists(older):
                    os.replace(older, f"{self._path}.{number}")
        self._reopen()

    def _is_at_path(self, about: os.stat_result) -> bool:
        try:
            return os.path.samestat(about, os.stat(self._path))
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        fd, self._fd = self._fd, self._open()
        os.close(fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}... ({len(text)} characters)"


def _text(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
