"""A record of what a peer has run, and for whom; nothing of what tasks are given or return."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any


class Audit:
    """
    A file of one JSON object for each task that has ended.

    :param path: is appended to; made for its owner alone to read if it is not there
    :param clock: seconds since 1970
    :raises OSError: if it cannot be written to
    """

    def __init__(self, path: str, clock: Callable[[], float] = time) -> None:
        self.clock = clock
        self._has_failed = False
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, client: str, task: str, call: int, started: float | None, outcome: str) -> None:
        """
        Note the end of a task.

        :param client: who it was run for
        :param call: its number there
        :param started: seconds since 1970; None: it never was
        """
        about: dict[str, Any] = {"client": client, "task": task, "call": call, "started": _text(started)}
        about |= {"ended": _text(self.clock()), "outcome": outcome}
        try:
            os.write(self._fd, json.dumps(about).encode() + b"\n")  # one write: lines of several peers do not mix
        except OSError as exc:  # the disk is full, for instance: tasks go on
            if not self._has_failed:
                self._has_failed = True
                logging.getLogger("woolexec").warning("tasks are not written down: %s", exc)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _text(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
