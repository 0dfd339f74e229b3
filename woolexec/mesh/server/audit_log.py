"""A record of the tasks that a peer has run, and for which client, without their arguments and results."""

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
    A file with one JSON object per line for each task that has ended.

    :param path: the file to append to; created readable by its owner only if it does not exist
    :param clock: returns seconds since 1970
    :raises OSError: if it cannot be written to
    """

    def __init__(self, path: str, clock: Callable[[], float] = time) -> None:
        self.clock = clock
        self._has_failed = False
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, client: str, task: str, call: int, started: float | None, outcome: str) -> None:
        """
        Record the end of a task.

        :param client: the client that it was run for
        :param call: the client's number for it
        :param started: seconds since 1970; None: it was never started
        """
        about: dict[str, Any] = {"client": client, "task": task, "call": call, "started": _text(started)}
        about |= {"ended": _text(self.clock()), "outcome": outcome}
        try:
            os.write(self._fd, json.dumps(about).encode() + b"\n")  # one write: lines of several peers do not mix
        except OSError as exc:  # for example a full disk: tasks continue
            if not self._has_failed:
                self._has_failed = True
                logging.getLogger("woolexec").warning("cannot write tasks to the audit log: %s", exc)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _text(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
