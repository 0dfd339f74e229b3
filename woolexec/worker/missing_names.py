"""
Find names that a task looks up in ``__main__`` and that only the caller's ``__main__`` has.

Objects of the caller's ``__main__`` are sent by value, with the functions that name them.  But some are named only in a
string, such as the jobs of a scheduler (``"__main__:job"``), or in a pickle that was made elsewhere.  When such a name
is looked up, the worker requests it once::

    task --Submit, with the name--> engine (at a peer: forwarded over the link to the client's engine)
         <--Return-- the pickle by value, made in the caller's thread for callbacks
"""

from __future__ import annotations

import os
import sys

from woolexec.wire.unpickling import Untrusted, loads
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_pid = 0
"""Id of the process that may send requests: the worker, but not a process that a task has forked."""

_missed: dict[str, int] = {}
"""Names that the caller did not have when a call requested them; only the next call requests them again."""

_MOST = 1000
"""Maximum number of these."""


class _Answer:
    """Receives the pickle of a function or a class, empty if there is none."""

    def __init__(self) -> None:
        from woolexec.futures.latch import Latch  # few workers send requests, and all start faster without this import

        self.latch = Latch()  # opens when the answer arrives
        self.payload: Any = b""

    def deliver(self, _: Any, payload: Any) -> None:
        # Outcomes are marked if they may come from untrusted peers; this one comes from the caller.
        self.payload = payload.payload if isinstance(payload, Untrusted) else payload
        self.latch.open()

    def deliver_failure(self, _: Any, __: Any) -> None:
        self.latch.open()


def _ask(name: str) -> Any:
    """Return the pickle of a function or class of the caller's ``__main__``; empty if there is none."""
    job = nested_tasks.current_job()
    if job is None or os.getpid() != _pid or _missed.get(name) == job.number:
        return b""
    answer = _Answer()
    nested_tasks.ask_for(name, job, answer)
    if nested_tasks.must_read():
        nested_tasks.wait_until(lambda: answer.latch.is_open, None)
    else:
        nested_tasks.wait_lane()
        answer.latch.wait()
    if not answer.payload:
        if len(_missed) >= _MOST:
            _missed.clear()
        _missed[name] = job.number
    return answer.payload


def find(name: str) -> Any:
    """
    Return a function or a class of the caller's ``__main__``.

    :raises AttributeError: if there is none with this name
    :raises Exception: any exception raised by unpickling
    """
    payload = _ask(name) if name.isidentifier() and not (name.startswith("__") and name.endswith("__")) else b""
    if not payload:
        raise AttributeError(f"module '__main__' has no attribute {name!r}")
    value = loads(payload)  # may store the name, as one of the globals that come along
    return vars(sys.modules["__main__"]).setdefault(name, value)


def watch_main() -> None:
    """From now on, look up names that this process's ``__main__`` lacks with `find`."""
    global _pid  # once, when a worker starts
    _pid = os.getpid()
    sys.modules["__main__"].__getattr__ = find  # type: ignore[method-assign]  # see PEP 562
